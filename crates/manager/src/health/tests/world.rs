//! A whole manager without network: the real engine on a store in memory, the real loop, pods that
//! do as they are told, and a clock that runs only when nothing else does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use governance_domain::{
    Content, Pod, PodKey, PodName, Protocol, Provider, Register, RegistrationId, ServiceName,
    Status, Timestamp, Unregister,
};
use governance_store::memory::MemoryStore;
use governance_store::{Owner, Store, Uuid};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config;
use crate::connect::{OwnFault, OwnFaultKind};
use crate::engine::{
    CheckSoon, Engine, EngineHandle, EngineSettings, HealthReader, Observer, Origin, Phase,
};
use crate::health::Health;
use crate::health::limits::Places;
use crate::health::probe::Prober;
use crate::health::reason::{Attempt, Reason};

/// What a pod does when it is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    Pass,
    Refuse,
    /// Answers well after a while.
    Slow(Duration),
    /// Never answers; the attempt ends with its time.
    Hang,
    /// Cannot be asked, for a reason of this machine.
    Ours,
    Panic,
}

/// The pods as the prober meets them, by URL.
#[derive(Default)]
pub(super) struct Pods {
    ways: Mutex<HashMap<String, Way>>,
    asked: Mutex<Vec<(String, Duration)>>,
    under_way: Mutex<HashMap<String, usize>>,
}

struct Script {
    pods: Arc<Pods>,
    started: Instant,
    limit: Duration,
}

/// Counts an attempt while it lives, and never two for one pod.
struct Presence(Arc<Pods>, String);

impl Presence {
    fn enter(pods: &Arc<Pods>, url: &str) -> Self {
        let mut under_way = pods.under_way.lock().unwrap();
        let count = under_way.entry(url.to_owned()).or_default();
        *count += 1;
        assert_eq!(*count, 1, "two attempts at once for {url}");
        Self(Arc::clone(pods), url.to_owned())
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        *self.0.under_way.lock().unwrap().get_mut(&self.1).unwrap() -= 1;
    }
}

impl Prober for Script {
    fn probe(&self, content: &Arc<Content>) -> BoxFuture<'static, Attempt> {
        let url = content.health_check_url.to_string();
        let way = *self.pods.ways.lock().unwrap().get(&url).unwrap_or(&Way::Pass);
        self.pods.asked.lock().unwrap().push((url.clone(), self.started.elapsed()));
        // Presence is by pod, whatever URL it registered with: the part before the question mark.
        let pod = url.split('?').next().unwrap_or_default();
        let presence = Presence::enter(&self.pods, pod);
        let limit = self.limit;
        async move {
            let _presence = presence;
            match way {
                Way::Pass => Attempt::Passed(Reason::Answered(200)),
                Way::Refuse => Attempt::Failed(Reason::Refused),
                Way::Slow(time) => {
                    sleep(time).await;
                    Attempt::Passed(Reason::Answered(200))
                }
                Way::Hang => {
                    sleep(limit).await;
                    Attempt::Failed(Reason::NoAnswer(limit))
                }
                Way::Ours => {
                    let kind = OwnFaultKind::Descriptors;
                    Attempt::Ours(OwnFault { kind, detail: "no descriptor".to_owned() })
                }
                Way::Panic => panic!("a defect"),
            }
        }
        .boxed()
    }
}

/// Wall-clock time that moves with the paused clock.
pub(super) struct TestClock(Instant);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let passed = i64::try_from(self.0.elapsed().as_micros()).unwrap();
        Timestamp::from_micros(1_700_000_000_000_000 + passed)
    }
}

pub(super) struct World {
    pub(super) engine: EngineHandle,
    pub(super) store: Arc<MemoryStore>,
    pub(super) health: Arc<dyn HealthReader>,
    pub(super) sooner: Arc<dyn CheckSoon>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) pods: Arc<Pods>,
    started: Instant,
    _tasks: JoinSet<()>,
}

/// Thirty seconds, five seconds, three retries, and nobody is removed.
pub(super) fn settings() -> config::Health {
    config::Health {
        interval: Duration::from_secs(30),
        timeout: Duration::from_secs(5),
        retry: 3,
        failure_limit: 0,
    }
}

impl World {
    pub(super) async fn new(settings: config::Health) -> Self {
        Self::on(Arc::default(), settings, Places::new(1_000)).await
    }

    /// A manager that starts on a store, with so many places for attempts.
    pub(super) async fn on(
        store: Arc<MemoryStore>,
        settings: config::Health,
        places: Places,
    ) -> Self {
        let started = Instant::now();
        let clock: Arc<dyn Clock> = Arc::new(TestClock(started));
        let owner = Owner { id: Uuid::new_v4(), address: "test".to_owned(), last: None };
        let engine_settings = EngineSettings {
            event_queue_size: 1_000,
            max_pods_per_service: 100_000,
            audit_retention: Duration::from_hours(1),
            owner,
        };
        let shared: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
        let (mut engine, handle) = Engine::new(shared, engine_settings, Arc::clone(&clock));
        let pods = Arc::new(Pods::default());
        let script = Script { pods: Arc::clone(&pods), started, limit: settings.timeout };
        let (health, task) =
            Health::with(&settings, handle.clone(), clock, Arc::new(script), places);
        engine.add_observer(health.observer());
        let mut tasks = JoinSet::new();
        tasks.spawn(task.run(CancellationToken::new()));
        tasks.spawn(async move { engine.run().await.unwrap() });
        let world = Self {
            engine: handle,
            store,
            health: health.reader(),
            sooner: health.check_soon(),
            observer: health.observer(),
            pods,
            started,
            _tasks: tasks,
        };
        world.until("active", || world.engine.standing().phase == Phase::Active).await;
        world
    }

    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Waits for a condition; fails when it does not hold within ten minutes of paused time.
    pub(super) async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        for _ in 0..120_000 {
            if holds() {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
        panic!("never: {what}");
    }

    /// Waits until a pod has a status; returns how long that took, to some milliseconds.
    pub(super) async fn until_status(&self, pod: &str, status: Status) -> Duration {
        let begun = self.now();
        self.until(&format!("{pod} {status}"), || self.status(pod) == Some(status)).await;
        self.now() - begun
    }

    pub(super) fn sets(&self, pod: &str, way: Way) {
        self.pods.ways.lock().unwrap().insert(url(pod), way);
    }

    pub(super) fn pods_do(&self, url: &str, way: Way) {
        self.pods.ways.lock().unwrap().insert(url.to_owned(), way);
    }

    /// Registers with the same endpoints and another wish.
    pub(super) async fn amend(&self, pod: &str) -> RegistrationId {
        let notification_url = "http://10.0.0.2/notify".into();
        let content = Content { notification_url, ..Content::clone(&content(&url(pod))) };
        let command = Register { key: key(pod), content: Arc::new(content) };
        let deadline = Instant::now() + Duration::from_secs(5);
        let answer = self.engine.register(command, Origin::default(), deadline).await;
        answer.unwrap().registration_id
    }

    pub(super) async fn register(&self, pod: &str) -> RegistrationId {
        self.register_at(pod, &url(pod)).await
    }

    pub(super) async fn register_at(&self, pod: &str, url: &str) -> RegistrationId {
        let command = Register { key: key(pod), content: content(url) };
        let deadline = Instant::now() + Duration::from_secs(5);
        let answer = self.engine.register(command, Origin::default(), deadline).await;
        answer.unwrap().registration_id
    }

    pub(super) async fn unregister(&self, pod: &str) {
        let command = Unregister { key: key(pod), registration_id: None, instance_id: None };
        let deadline = Instant::now() + Duration::from_secs(5);
        self.engine.unregister(command, Origin::default(), deadline).await.unwrap();
    }

    pub(super) fn status(&self, pod: &str) -> Option<Status> {
        Some(self.engine.snapshot().registry.pod_by(&key(pod))?.status)
    }

    /// When a pod was asked, since the start.
    pub(super) fn asked(&self, pod: &str) -> Vec<Duration> {
        let url = url(pod);
        let asked = self.pods.asked.lock().unwrap();
        let of_pod = asked.iter().filter(|(found, _)| found.split('?').next() == Some(&url));
        of_pod.map(|(_, at)| *at).collect()
    }

    pub(super) fn forget_asked(&self) {
        self.pods.asked.lock().unwrap().clear();
    }
}

pub(super) fn key(pod: &str) -> PodKey {
    PodKey::new(ServiceName::parse("eir").unwrap(), PodName::parse(pod).unwrap())
}

/// A pod as the store has it, healthy.
pub(super) fn pod(pod: &str) -> Arc<Pod> {
    registered(pod, 1, Status::Healthy)
}

/// A pod with this registration.
pub(super) fn registered(pod: &str, id: u64, status: Status) -> Arc<Pod> {
    let at = Timestamp::from_micros(0);
    Arc::new(Pod {
        key: key(pod),
        registration_id: RegistrationId::from_u64(id),
        content: content(&url(pod)),
        status,
        last_health_check: None,
        registered_at: at,
        updated_at: at,
    })
}

pub(super) fn url(pod: &str) -> String {
    format!("http://{pod}.test/health")
}

pub(super) fn content(url: &str) -> Arc<Content> {
    let protocol = Protocol::parse("http").unwrap();
    let provider = Provider { protocol, host: "10.0.0.1".into(), port: 80, id: None };
    Arc::new(Content {
        providers: [provider].into(),
        health_check_url: url.into(),
        notification_url: "http://10.0.0.1/notify".into(),
        subscriptions: [].into(),
        instance_id: None,
    })
}

/// Asserts that two durations are the same to some milliseconds.
#[track_caller]
pub(super) fn assert_near(found: Duration, expected: Duration) {
    assert!(found.abs_diff(expected) <= Duration::from_millis(20), "{found:?}, not {expected:?}");
}
