//! The services of the example, with a real engine and real sockets: after each step the
//! subscriber holds what is true.

use std::sync::Arc;
use std::time::Duration;

use governance_api::{EventType, Notification};
use governance_domain::{PodKey, Register, Status, Timestamp, Unregister, Verdict};
use governance_store::{MemoryStore, Owner};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::receiver::{Answer, Receiver};
use super::world::{content, key, provider, settings, wish};
use crate::clock::SystemClock;
use crate::config::{self, Targets};
use crate::connect::{Dialer, Policy, SystemResolver, Trust};
use crate::engine::{DeliveryReader, Engine, EngineHandle, EngineSettings, Observation, Origin};
use crate::notify::Notify;
use crate::telemetry::traces::TraceContext;

/// A manager without its HTTP side and its checks.
struct Manager {
    engine: EngineHandle,
    store: Arc<MemoryStore>,
    reader: Arc<dyn DeliveryReader>,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl Manager {
    fn start(store: Arc<MemoryStore>, settings: &config::Notification) -> Self {
        let owner = Owner { id: Uuid::nil(), address: "here:1".to_owned(), last: None };
        let engine_settings = EngineSettings {
            event_queue_size: 100,
            max_pods_per_service: 100,
            audit_retention: Duration::from_hours(1),
            owner,
        };
        let kept: Arc<dyn governance_store::Store> = Arc::<MemoryStore>::clone(&store);
        let (mut engine, handle) = Engine::new(kept, engine_settings, Arc::new(SystemClock));
        let targets = Targets { deny: Vec::new(), allow: Vec::new(), ca_file: None };
        let trust = Trust::load("TARGET_CA_FILE", None).unwrap();
        let dialer = Dialer::new(Policy::new(&targets), Arc::new(SystemResolver::new()), trust);
        let (observer, task) =
            Notify::new(settings, handle.clone(), Arc::new(SystemClock), Arc::new(dialer));
        engine.add_observer(observer);
        let (reader, shutdown) = (task.reader(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(task.run(shutdown.clone()));
        tasks.spawn(async move { engine.run().await.unwrap() });
        Self { engine: handle, store, reader, shutdown, tasks }
    }

    async fn register(&self, name: &str, port: i64, url: &str, services: &[&str]) {
        let wishes: Vec<_> = services.iter().map(|service| wish(service)).collect();
        let mut content = content("x", &[provider(port, None)], &wishes);
        content.notification_url = url.into();
        let command = Register { key: key(name), content: Arc::new(content) };
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let command = command.clone();
            match self.engine.register(command, Origin::default(), deadline).await {
                Ok(_) => return,
                // It may still be loading.
                Err(fault) => assert!(Instant::now() < deadline, "{fault}"),
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn unregister(&self, name: &str) {
        let command = Unregister { key: key(name), registration_id: None, instance_id: None };
        let deadline = Instant::now() + Duration::from_secs(10);
        self.engine.unregister(command, Origin::default(), deadline).await.unwrap();
    }

    fn observe(&self, name: &str, status: Status) {
        let key: PodKey = key(name);
        let snapshot = self.engine.snapshot();
        let registration_id = snapshot.registry.pod_by(&key).unwrap().registration_id;
        let verdict = Verdict { status, at: Timestamp::from_micros(1) };
        let reason = "for the test".to_owned();
        let trace = TraceContext::default();
        assert!(self.engine.observe(Observation { key, registration_id, verdict, reason, trace }));
    }

    async fn stop(mut self) {
        self.shutdown.cancel();
        self.engine.close();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

/// Waits until the last that the subscriber was told of a service is this.
async fn holds(receiver: &Receiver, service: &str, event: Option<EventType>, pods: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let told = receiver.told();
        let last = told.iter().rev().find(|told| told.service_name == service);
        let matches = |told: &Notification| {
            text(told) == pods && event.is_none_or(|event| told.event_type == event)
        };
        if last.is_some_and(matches) {
            return;
        }
        assert!(Instant::now() < deadline, "wanted {event:?} {pods:?}, has {told:?}");
        sleep(Duration::from_millis(2)).await;
    }
}

/// `name status port` of each pod.
fn text(told: &Notification) -> String {
    let pods = told.pods.iter().map(|pod| {
        let status = serde_json::to_value(pod.status).unwrap();
        format!("{} {} {}", pod.pod_name, status.as_str().unwrap(), pod.providers[0].port)
    });
    pods.collect::<Vec<_>>().join(", ")
}

fn is_subsequence(seen: &[EventType], of: &[EventType]) -> bool {
    let mut rest = of.iter();
    seen.iter().all(|event| rest.any(|other| other == event))
}

#[tokio::test]
async fn the_services_of_the_example_hear_of_each_other() {
    use EventType::{Reconcile, Register, Unregister, Update};
    let every = Some(Duration::from_secs(2));
    let settings = config::Notification { interval: every, ..settings() };
    let manager = Manager::start(Arc::default(), &settings);
    let receiver = Receiver::open().await;
    manager.register("http-gw:1", 8080, &receiver.url(), &["diam-gw", "eir"]).await;
    holds(&receiver, "eir", Some(Reconcile), "").await;
    let nobody = "http://127.0.0.1:9/";
    manager.register("eir:1", 80, nobody, &[]).await;
    holds(&receiver, "eir", Some(Register), "1 unknown 80").await;
    manager.observe("eir:1", Status::Healthy);
    holds(&receiver, "eir", Some(Update), "1 healthy 80").await;
    manager.register("eir:1", 81, nobody, &[]).await;
    holds(&receiver, "eir", Some(Register), "1 unknown 81").await;
    for status in [Status::Healthy, Status::Unhealthy, Status::Healthy] {
        manager.observe("eir:1", status);
        holds(&receiver, "eir", Some(Update), &format!("1 {status} 81")).await;
    }
    manager.unregister("eir:1").await;
    holds(&receiver, "eir", Some(Unregister), "").await;
    holds(&receiver, "eir", Some(Reconcile), "").await;
    let told = receiver.told();
    let of = |service: &str| {
        let told = told.iter().filter(|told| told.service_name == service);
        told.filter(|told| told.event_type != Reconcile).map(|told| told.event_type).collect()
    };
    let eir: Vec<EventType> = of("eir");
    let all = [Register, Update, Register, Update, Update, Update, Unregister];
    assert!(is_subsequence(&eir, &all), "{eir:?}");
    assert_eq!(of("diam-gw"), [], "it never had a pod");
    let revisions: Vec<u64> = told.iter().map(|told| told.revision).collect();
    assert!(revisions.is_sorted(), "{revisions:?}");
    let states = manager.reader.deliveries(&key("http-gw:1"));
    assert!(states.iter().all(|state| state.delivered.is_some() && state.behind_since.is_none()));
    let deadline = Instant::now() + Duration::from_secs(20);
    while !manager.store.audit().iter().any(|entry| entry.action.as_str() == "reconcile") {
        assert!(Instant::now() < deadline, "no entry in the audit");
        sleep(Duration::from_millis(10)).await;
    }
    manager.stop().await;
}

#[tokio::test]
async fn after_a_start_a_subscriber_that_could_not_be_told_before_gets_the_state() {
    let store: Arc<MemoryStore> = Arc::default();
    let receiver = Receiver::open().await;
    receiver.answer(&[Answer::Silence]);
    let first = Manager::start(Arc::clone(&store), &settings());
    first.register("gw:1", 80, &receiver.url(), &["eir"]).await;
    first.register("eir:1", 80, "http://127.0.0.1:9/", &[]).await;
    receiver.wait("a request", |log| log.len() >= 2).await;
    drop(first);
    let second = Manager::start(store, &settings());
    holds(&receiver, "eir", Some(EventType::Reconcile), "1 unknown 80").await;
    second.stop().await;
}
