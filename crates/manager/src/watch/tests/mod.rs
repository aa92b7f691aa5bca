//! Watchers of a real engine on a store in memory: what they are sent, whatever happens meanwhile.

mod resuming;
mod sending;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use governance_domain::{
    Content, PodKey, PodName, Protocol, Provider, Register, Revision, ServiceName, Status,
    Unregister, Verdict,
};
use governance_store::{MemoryStore, Owner, Uuid};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Stream, Watch};
use crate::clock::SystemClock;
use crate::engine::{Engine, EngineHandle, EngineSettings, Observation, Origin, Phase};
use crate::telemetry::traces::TraceContext;

/// A manager's engine and its watch.
struct World {
    engine: EngineHandle,
    watch: Watch,
    closing: CancellationToken,
    tasks: JoinSet<()>,
}

impl World {
    async fn start(changes_max: usize) -> Self {
        let settings = EngineSettings {
            event_queue_size: 1_000,
            max_pods_per_service: 10_000,
            audit_retention: Duration::from_hours(1),
            owner: Owner { id: Uuid::nil(), address: "127.0.0.1:1".to_owned(), last: None },
        };
        let store = Arc::new(MemoryStore::default());
        let (mut engine, handle) = Engine::new(store, settings, Arc::new(SystemClock));
        let watch = Watch::keeping(handle.clone(), changes_max);
        engine.add_observer(watch.observer());
        let closing = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(watch.clone().run(closing.clone()));
        tasks.spawn(async move { engine.run().await.unwrap() });
        let world = Self { engine: handle, watch, closing, tasks };
        within(async {
            while world.engine.standing().phase != Phase::Active {
                tokio::task::yield_now().await;
            }
        })
        .await;
        world
    }

    fn open(&self, service: Option<&str>, last_seen: Option<u64>) -> Reader {
        let last_seen = last_seen.map(Revision::from_u64);
        Reader::new(self.watch.open(service.map(Into::into), last_seen).unwrap())
    }

    /// Registers a pod, each time with another port; returns the revision.
    async fn register(&self, service: &str, pod: &str, port: i64) -> u64 {
        let content = Content {
            providers: [Provider {
                protocol: Protocol::stored("http"),
                host: "127.0.0.1".into(),
                port,
                id: None,
            }]
            .into(),
            health_check_url: "http://127.0.0.1:9/health".into(),
            notification_url: "http://127.0.0.1:9/notify".into(),
            subscriptions: [].into(),
            instance_id: None,
        };
        let command = Register { key: key(service, pod), content: Arc::new(content) };
        let done = self.engine.register(command, Origin::default(), deadline()).await;
        done.unwrap().revision.as_u64()
    }

    async fn unregister(&self, service: &str, pod: &str) -> u64 {
        let key = key(service, pod);
        let command = Unregister { key, registration_id: None, instance_id: None };
        let done = self.engine.unregister(command, Origin::default(), deadline()).await;
        done.unwrap().revision.as_u64()
    }

    fn observe(&self, service: &str, pod: &str, status: Status, reason: &str) {
        let key = key(service, pod);
        let registration_id = self.engine.snapshot().registry.pod_by(&key).unwrap().registration_id;
        let verdict = Verdict { status, at: governance_domain::Timestamp::from_micros(1) };
        let reason = reason.to_owned();
        let trace = TraceContext::default();
        assert!(self.engine.observe(Observation { key, registration_id, verdict, reason, trace }));
    }
}

fn key(service: &str, pod: &str) -> PodKey {
    PodKey::new(ServiceName::stored(service), PodName::stored(pod))
}

fn deadline() -> Instant {
    Instant::now() + Duration::from_mins(10)
}

/// Fails the test if it takes too long. Counts seconds in which something could happen: while the
/// machine stands still, one passes at most.
async fn within<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    for _ in 0..30 {
        if let Ok(done) = tokio::time::timeout(Duration::from_secs(1), &mut future).await {
            return done;
        }
    }
    panic!("it does not happen in time");
}

/// One event as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Read {
    event: String,
    id: Option<u64>,
    data: Value,
}

/// Reads a stream as a browser does.
struct Reader {
    stream: Stream,
    text: String,
    /// What a client sends when it comes back.
    last_id: Option<u64>,
}

impl Reader {
    fn new(stream: Stream) -> Self {
        Self { stream, text: String::new(), last_id: None }
    }

    /// The next event; none at the end of the stream.
    async fn next(&mut self) -> Option<Read> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (read, rest) = (parse(block), rest.to_owned());
                self.text = rest;
                let Some(read) = read else { continue };
                self.last_id = read.id.or(self.last_id);
                return Some(read);
            }
            let piece = poll_fn(|context| self.stream.poll_next(context)).await?;
            self.text.push_str(std::str::from_utf8(&piece).unwrap());
        }
    }

    async fn expect(&mut self, event: &str) -> Read {
        let read = within(self.next()).await.expect("the stream goes on");
        assert_eq!(read.event, event, "{read:?}");
        read
    }

    /// Reads a snapshot: its pods by key, and its revision.
    async fn snapshot(&mut self) -> (BTreeMap<String, Value>, u64) {
        let begin = self.expect("snapshot-begin").await;
        assert_eq!(begin.id, None);
        let mut pods = BTreeMap::new();
        loop {
            let read = within(self.next()).await.expect("the stream goes on");
            if read.event == "snapshot-end" {
                assert_eq!(
                    read.data,
                    serde_json::json!({
                        "revision": begin.data["revision"],
                        "registry_id": begin.data["registry_id"],
                    })
                );
                assert_eq!(begin.data["count"], pods.len());
                assert_eq!(read.id, begin.data["revision"].as_u64());
                return (pods, read.id.unwrap());
            }
            assert_eq!((read.event.as_str(), read.id), ("snapshot", None));
            for pod in read.data["pods"].as_array().unwrap() {
                let key = pod["service_key"].as_str().unwrap().to_owned();
                assert_eq!(pods.insert(key, pod.clone()), None, "each pod once");
            }
        }
    }

    /// The next change, past bookmarks.
    async fn change(&mut self) -> Read {
        loop {
            let read = within(self.next()).await.expect("the stream goes on");
            if read.event != "bookmark" {
                assert_eq!(read.event, "change", "{read:?}");
                assert_eq!(read.id, read.data["revision"].as_u64());
                return read;
            }
        }
    }
}

/// None for a comment.
fn parse(block: &str) -> Option<Read> {
    let mut read = Read { event: String::new(), id: None, data: Value::Null };
    for line in block.lines() {
        match line.split_once(": ") {
            Some(("event", event)) => event.clone_into(&mut read.event),
            Some(("id", id)) => read.id = Some(id.parse().unwrap()),
            Some(("data", data)) => read.data = serde_json::from_str(data).unwrap(),
            _ => assert!(line.starts_with(':'), "{line:?}"),
        }
    }
    (!read.event.is_empty()).then_some(read)
}
