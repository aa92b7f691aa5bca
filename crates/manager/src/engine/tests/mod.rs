//! The engine on a store that fails: who is told what, and whether state and store agree.
//!
//! Here: the rig that all of them use, and a witness that checks each publication. Time is paused
//! and runs by itself when nobody has anything to do, so that a test of timeouts takes no time.

#![expect(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]

mod office;
mod outcomes;
mod queue;
mod restorable;
mod simulation;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use governance_domain::{
    Content, Pod, PodKey, PodName, Protocol, Provider, Register, RegistrationId, ServiceName,
    Status, Timestamp, Unregister, Verdict,
};
use governance_store::{MemoryStore, Owner, Store, StoreFault, Uuid};
use governance_testkit::faulty_store::FaultyStore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Engine, EngineHandle, EngineSettings, Event, Observation, Observer, Origin, Phase, Registered,
    Snapshot, SubmitError, Unregistered, Writes,
};
use crate::clock::Clock;
use crate::telemetry::traces::TraceContext;

/// How long a command may take, as in the real server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);
/// How long a condition may take to come true; paused time makes this free.
const PATIENCE: Duration = Duration::from_mins(2);

/// An engine that runs on a store with faults.
struct Rig {
    store: Arc<FaultyStore>,
    handle: EngineHandle,
    witness: Arc<Witness>,
    engine: JoinHandle<Result<(), StoreFault>>,
}

impl Rig {
    /// An engine that is active.
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut EngineSettings)) -> Self {
        let rig = Self::launch(FaultyStore::new(Arc::new(MemoryStore::default())), change);
        rig.until("it is active", || rig.handle.standing().phase == Phase::Active).await;
        rig
    }

    /// An engine that begins to run on this store.
    fn launch(store: Arc<FaultyStore>, change: impl FnOnce(&mut EngineSettings)) -> Self {
        let mut settings = EngineSettings {
            event_queue_size: 1_000,
            max_pods_per_service: 10_000,
            audit_retention: Duration::from_hours(720),
            owner: Owner {
                id: Uuid::from_u128(1),
                address: "127.0.0.1:8080".to_owned(),
                last: None,
            },
        };
        change(&mut settings);
        let clock = Arc::new(TestClock(Instant::now()));
        let shared: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
        let (mut engine, handle) = Engine::new(shared, settings, clock);
        let witness = Arc::new(Witness {
            store: Arc::clone(&store),
            seen: Mutex::default(),
            compares: AtomicBool::new(true),
        });
        engine.add_observer(Arc::clone(&witness) as Arc<dyn Observer>);
        let engine = tokio::spawn(engine.run());
        Self { store, handle, witness, engine }
    }

    async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let looked = async {
            while !holds() {
                assert!(!self.engine.is_finished(), "the engine ended before {what}");
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, looked).await.unwrap_or_else(|_| panic!("it never was that {what}"));
    }

    async fn register(&self, name: &str, number: u16) -> Result<Registered, SubmitError> {
        let command = Register { key: key(name), content: content(number, 0) };
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        self.handle.register(command, Origin::default(), deadline).await
    }

    async fn unregister(&self, name: &str) -> Result<Unregistered, SubmitError> {
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        self.handle.unregister(removal(name), Origin::default(), deadline).await
    }

    /// A command that runs beside the test.
    fn begin_register(
        &self,
        name: &str,
        number: u16,
    ) -> JoinHandle<Result<Registered, SubmitError>> {
        let (handle, command) =
            (self.handle.clone(), Register { key: key(name), content: content(number, 0) });
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        tokio::spawn(async move { handle.register(command, Origin::default(), deadline).await })
    }

    fn begin_unregister(&self, name: &str) -> JoinHandle<Result<Unregistered, SubmitError>> {
        let (handle, command) = (self.handle.clone(), removal(name));
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        tokio::spawn(async move { handle.unregister(command, Origin::default(), deadline).await })
    }

    fn observe(&self, name: &str, registration_id: RegistrationId, status: Status) {
        let verdict = Verdict { status, at: Timestamp::from_micros(77) };
        let reason = "the test says so".to_owned();
        let (key, trace) = (key(name), TraceContext::default());
        let observation = Observation { key, registration_id, verdict, reason, trace };
        assert!(self.handle.observe(observation), "there is room");
    }

    /// The number a pod registered with, as readers see it.
    fn shown(&self, name: &str) -> Option<u16> {
        self.handle.snapshot().registry.pod_by(&key(name)).map(|pod| number_of(pod))
    }

    /// The number a pod registered with, as the store has it.
    fn stored(&self, name: &str) -> Option<u16> {
        stored_pods(self.store.inner()).get(&key(name)).map(number_of)
    }

    fn takes_writes(&self) -> bool {
        self.handle.standing().writes == Writes::Available
    }

    /// Ends the engine; what readers see and what is stored is the same then, health included.
    async fn stop_and_compare(self) {
        self.handle.close();
        let ended = timeout(PATIENCE, self.engine).await.expect("it ends when it is closed");
        ended.expect("it does not panic").expect("it ends well");
        let snapshot = self.handle.snapshot();
        snapshot.registry.assert_consistent();
        let stored = stored_pods(self.store.inner());
        assert_eq!(snapshot.registry.pod_count(), stored.len());
        for pod in snapshot.registry.pods() {
            // Health is written behind a change of the same pod, and its time with it.
            let updated_at = pod.updated_at;
            let stored = stored.get(&pod.key).map(|stored| Pod { updated_at, ..stored.clone() });
            assert_eq!(stored.as_ref(), Some(&**pod));
        }
    }
}

/// Time that only passes when the test lets it.
struct TestClock(Instant);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(i64::try_from(self.0.elapsed().as_micros()).unwrap())
    }
}

/// Follows what is published and holds it against what is stored.
struct Witness {
    store: Arc<FaultyStore>,
    seen: Mutex<Seen>,
    /// Off for a store that cannot be read at once.
    compares: AtomicBool,
}

#[derive(Default)]
struct Seen {
    registry_id: Option<Uuid>,
    last_revision: u64,
    loads: usize,
    losses: usize,
    /// What the events alone make of it.
    replica: BTreeMap<PodKey, Arc<Pod>>,
}

impl Seen {
    fn assert_newer(&mut self, registry_id: Uuid, revision: u64) {
        if self.registry_id.replace(registry_id) == Some(registry_id) {
            assert!(revision >= self.last_revision, "{revision} after {}", self.last_revision);
        }
        self.last_revision = revision;
    }
}

impl Observer for Witness {
    fn loaded(&self, snapshot: &Arc<Snapshot>) {
        let mut seen = self.seen.lock().unwrap();
        seen.loads += 1;
        seen.assert_newer(snapshot.registry_id, snapshot.revision().as_u64());
        let pods = snapshot.registry.pods();
        seen.replica = pods.map(|pod| (pod.key.clone(), Arc::clone(pod))).collect();
    }

    fn published(&self, snapshot: &Arc<Snapshot>, events: &[Event]) {
        let mut seen = self.seen.lock().unwrap();
        let mut is_durable = false;
        for event in events {
            let before = seen.last_revision;
            assert!(event.revision.as_u64() > before, "{} after {before}", event.revision);
            seen.assert_newer(snapshot.registry_id, event.revision.as_u64());
            let known = seen.replica.get(&event.key).map(followed);
            assert_eq!(known, event.before.as_ref().map(followed), "{}", event.key);
            match &event.after {
                Some(pod) => seen.replica.insert(event.key.clone(), Arc::clone(pod)),
                None => seen.replica.remove(&event.key),
            };
            is_durable |= !is_health(event);
        }
        assert_eq!(snapshot.revision().as_u64(), seen.last_revision);
        if is_durable && self.compares.load(Ordering::Relaxed) {
            let shown = durable(snapshot.registry.pods().map(AsRef::as_ref));
            let stored = stored_pods(self.store.inner());
            assert_eq!(shown, durable(stored.values()), "published before it was stored");
        }
    }

    fn lost(&self) {
        self.seen.lock().unwrap().losses += 1;
    }
}

fn is_health(event: &Event) -> bool {
    match (&event.before, &event.after) {
        (Some(before), Some(after)) => {
            before.registration_id == after.registration_id && before.content == after.content
        }
        _ => false,
    }
}

/// What of a pod is told in events: all but the time of a check that found nothing new.
fn followed(pod: &Arc<Pod>) -> (RegistrationId, Arc<Content>, Status) {
    (pod.registration_id, Arc::clone(&pod.content), pod.status)
}

/// What of the pods is durable before it is seen: all but health.
fn durable<'a>(
    pods: impl Iterator<Item = &'a Pod>,
) -> BTreeMap<PodKey, (RegistrationId, Arc<Content>)> {
    pods.map(|pod| (pod.key.clone(), (pod.registration_id, Arc::clone(&pod.content)))).collect()
}

fn stored_pods(store: &Arc<dyn Store>) -> BTreeMap<PodKey, Pod> {
    let loaded = store.load().now_or_never().expect("memory answers at once");
    loaded.expect("memory has no faults").pods.into_iter().map(|p| (p.key.clone(), p)).collect()
}

fn key(name: &str) -> PodKey {
    PodKey::new(ServiceName::stored("eir"), PodName::stored(name))
}

/// Another `number` is another endpoint, another `wish` another place to be told.
fn content(number: u16, wish: u16) -> Arc<Content> {
    let provider = Provider {
        protocol: Protocol::stored("http"),
        host: "127.0.0.1".into(),
        port: i64::from(number),
        id: None,
    };
    Arc::new(Content {
        providers: [provider].into(),
        health_check_url: "http://127.0.0.1/health".into(),
        notification_url: format!("http://127.0.0.1/{wish}").into(),
        subscriptions: Box::default(),
        instance_id: None,
    })
}

fn number_of(pod: &Pod) -> u16 {
    u16::try_from(pod.content.providers[0].port).unwrap()
}

fn removal(name: &str) -> Unregister {
    Unregister { key: key(name), registration_id: None, instance_id: None }
}

/// Lets everything else run until it waits, without any time passing.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}
