//! What the tests of notifications stand on: a registry that publishes as the writer does, a clock
//! that stands still, and a scripted peer in the place of all subscribers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use governance_api::{EventType, Notification};
use governance_domain::{
    Change, Content, Pod, PodKey, PodName, Protocol, Provider, ProviderFilter, RegistrationId,
    Registry, Revision, ServiceName, Status, Subscription, Timestamp, Verdict,
};
use http::HeaderMap;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clock::Clock;
use crate::config::{self, UnhealthyPods};
use crate::engine::{DeliveryReader, DeliveryState, Event, Observer, Snapshot};
use crate::notify::courier::{Courier, Failure, Fault, Parcel};
use crate::notify::limits::Limits;
use crate::notify::mailbox::Mailbox;
use crate::notify::{Office, assemble};
use crate::telemetry::traces::TraceContext;

/// What the peer does with an attempt.
#[derive(Clone, Debug)]
pub(super) enum Reaction {
    /// Receives it after this time.
    Receive(Duration),
    /// Fails it after this time.
    Fail(Duration, Fault, Option<Duration>),
    /// Never answers; the attempt times out.
    Hang,
}

pub(super) const AT_ONCE: Reaction = Reaction::Receive(Duration::ZERO);
/// `NOTIFICATION_TIMEOUT`.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// One attempt as the peer saw it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Since the test began.
    pub(super) at: Duration,
    pub(super) to: String,
    pub(super) url: String,
    pub(super) body: Notification,
    /// When and how it ended; none while it is under way, or when it was broken off.
    pub(super) end: Option<(Duration, bool)>,
    /// The very bytes of the list.
    pub(super) list: Bytes,
    /// The header that says where it belongs.
    #[cfg_attr(not(feature = "traces"), expect(dead_code, reason = "there is none without"))]
    pub(super) traceparent: Option<String>,
}

impl Seen {
    pub(super) fn pods(&self) -> Vec<&str> {
        self.body.pods.iter().map(|pod| pod.pod_name.as_str()).collect()
    }

    pub(super) fn is_received(&self) -> bool {
        self.end.is_some_and(|(_, is_received)| is_received)
    }
}

/// All subscribers: reactions by pod, and everything that arrived.
#[derive(Debug)]
pub(super) struct Peer {
    begun: Instant,
    scripts: Mutex<BTreeMap<String, VecDeque<Reaction>>>,
    habits: Mutex<BTreeMap<String, Reaction>>,
    seen: Mutex<Vec<Seen>>,
    /// How many of those the test asked to forget.
    forgotten: Mutex<usize>,
}

impl Peer {
    fn reaction(&self, to: &str) -> Reaction {
        let next = self.scripts.lock().unwrap().get_mut(to).and_then(VecDeque::pop_front);
        next.or_else(|| self.habits.lock().unwrap().get(to).cloned()).unwrap_or(AT_ONCE)
    }

    async fn attempt(&self, parcel: Parcel) -> Result<(), Failure> {
        let to = parcel.subscriber.to_string();
        let reaction = self.reaction(&to);
        let text = [&parcel.head[..], &parcel.list[..]].concat();
        let body: Notification = serde_json::from_slice(&text).expect("the body is a notification");
        assert_eq!(body.revision, parcel.revision.as_u64());
        let index = {
            let mut seen = self.seen.lock().unwrap();
            let url = parcel.content.notification_url.to_string();
            let (at, list) = (self.begun.elapsed(), parcel.list);
            let mut headers = HeaderMap::new();
            parcel.trace.write(&mut headers);
            let traceparent = headers.get("traceparent");
            let traceparent = traceparent.map(|value| value.to_str().unwrap().to_owned());
            seen.push(Seen { at, to, url, body, end: None, list, traceparent });
            seen.len() - 1
        };
        let (pause, result) = match reaction {
            Reaction::Receive(pause) => (pause, Ok(())),
            Reaction::Fail(pause, fault, retry_after) => (pause, Err((fault, retry_after))),
            Reaction::Hang => (TIMEOUT, Err((Fault::TimedOut, None))),
        };
        sleep(pause).await;
        self.seen.lock().unwrap()[index].end = Some((self.begun.elapsed(), result.is_ok()));
        result.map_err(|(fault, retry_after)| Failure {
            fault,
            text: "as the script says".into(),
            retry_after,
        })
    }
}

struct ScriptedCourier(Arc<Peer>);

impl Courier for ScriptedCourier {
    fn carry(self: Arc<Self>, parcel: Parcel) -> BoxFuture<'static, Result<(), Failure>> {
        Box::pin(async move { self.0.attempt(parcel).await })
    }
}

/// A manager that is active unless the test says otherwise.
#[derive(Debug, Default)]
pub(super) struct Desk {
    pub(super) notes: Mutex<Vec<String>>,
    /// How often it says that it is active before it says no; none for ever.
    pub(super) patience: Mutex<Option<usize>>,
}

impl Office for Desk {
    fn may_send(&self) -> bool {
        match &mut *self.patience.lock().unwrap() {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }

    fn note_reconcile(&self, details: String) {
        self.notes.lock().unwrap().push(details);
    }
}

/// Starts with the test and follows tokio's clock.
struct TestClock(Instant);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let since = i64::try_from(self.0.elapsed().as_micros()).unwrap();
        Timestamp::from_micros(1_767_323_045_678_000 + since)
    }
}

/// A manager's notifications with everything around them scripted.
pub(super) struct World {
    pub(super) registry: Registry,
    pub(super) registry_id: Uuid,
    last_id: RegistrationId,
    observer: Arc<Mailbox>,
    pub(super) peer: Arc<Peer>,
    pub(super) desk: Arc<Desk>,
    /// Where the changes that follow belong.
    pub(super) trace: TraceContext,
    reader: Arc<dyn DeliveryReader>,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

pub(super) fn settings() -> config::Notification {
    config::Notification {
        interval: None,
        timeout: TIMEOUT,
        min_interval: Duration::from_millis(250),
        unhealthy_pods: UnhealthyPods::List,
    }
}

/// `service:pod`.
pub(super) fn key(text: &str) -> PodKey {
    let (service, pod) = text.split_once(':').expect("service:pod");
    PodKey::new(ServiceName::stored(service), PodName::stored(pod))
}

pub(super) fn provider(port: i64, id: Option<&str>) -> Provider {
    let protocol = Protocol::stored("http");
    Provider { protocol, host: "10.0.0.1".into(), port, id: id.map(Into::into) }
}

pub(super) fn wish(service: &str) -> Subscription {
    Subscription::to_all_of(ServiceName::stored(service))
}

pub(super) fn filtered(service: &str, ids: &[&str], healthy_only: bool) -> Subscription {
    let filter = ProviderFilter::from_ids(ids.iter().map(|id| (*id).into()).collect());
    Subscription { filter, healthy_only, ..wish(service) }
}

pub(super) fn content(name: &str, providers: &[Provider], wishes: &[Subscription]) -> Content {
    Content {
        providers: providers.into(),
        health_check_url: format!("http://{name}.test/health").into(),
        notification_url: format!("http://{name}.test/notify").into(),
        subscriptions: wishes.into(),
        instance_id: None,
    }
}

impl World {
    /// Runs, but has not loaded anything.
    pub(super) fn unloaded(settings: &config::Notification) -> Self {
        let begun = Instant::now();
        let peer = Arc::new(Peer {
            begun,
            scripts: Mutex::default(),
            habits: Mutex::default(),
            seen: Mutex::default(),
            forgotten: Mutex::default(),
        });
        let desk = Arc::new(Desk::default());
        let courier = Arc::new(ScriptedCourier(Arc::clone(&peer)));
        let random = fastrand::Rng::with_seed(42);
        let office = Arc::clone(&desk) as Arc<dyn Office>;
        let clock = Arc::new(TestClock(begun));
        let (observer, task) =
            assemble(settings, Limits::default(), office, clock, courier, random);
        let (reader, shutdown) = (task.reader(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(task.run(shutdown.clone()));
        Self {
            registry: Registry::new(Revision::start_of(1)),
            registry_id: Uuid::from_u128(7),
            last_id: RegistrationId::start_of(1),
            observer,
            peer,
            desk,
            trace: TraceContext::default(),
            reader,
            shutdown,
            tasks,
        }
    }

    /// Runs with an empty registry.
    pub(super) fn new(settings: &config::Notification) -> Self {
        let world = Self::unloaded(settings);
        world.load();
        world
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::new(Snapshot { registry_id: self.registry_id, registry: self.registry.clone() })
    }

    pub(super) fn load(&self) {
        self.observer.loaded(&self.snapshot());
    }

    pub(super) fn lose(&self) {
        self.observer.lost();
    }

    fn publish(&mut self, events: &[Event]) {
        self.observer.published(&self.snapshot(), events);
    }

    fn apply(&mut self, change: &Change) -> Event {
        let applied = self.registry.apply(change);
        Event {
            revision: applied.revision,
            key: change.key().clone(),
            before: applied.before,
            after: applied.after,
            notice: applied.notice,
            reason: "".into(),
            trace: self.trace.clone(),
        }
    }

    /// Registers a pod without telling anybody.
    pub(super) fn put(&mut self, name: &str, content: Content) -> Event {
        self.last_id = self.last_id.next();
        let pod = Pod {
            key: key(name),
            registration_id: self.last_id,
            content: Arc::new(content),
            status: Status::Unknown,
            last_health_check: None,
            registered_at: Timestamp::from_micros(0),
            updated_at: Timestamp::from_micros(0),
        };
        self.apply(&Change::PodRegistered { pod: Arc::new(pod) })
    }

    pub(super) fn register_with(&mut self, name: &str, content: Content) {
        let event = self.put(name, content);
        self.publish(&[event]);
    }

    /// Registers a pod with one provider.
    pub(super) fn register(&mut self, name: &str, services: &[&str]) {
        let wishes: Vec<_> = services.iter().map(|service| wish(service)).collect();
        let host = name.replace(':', "-");
        self.register_with(name, content(&host, &[provider(80, None)], &wishes));
    }

    /// The same registration with other wishes.
    pub(super) fn amend(&mut self, name: &str, content: Content) {
        let key = key(name);
        let registration_id = self.registry.pod_by(&key).unwrap().registration_id;
        let at = Timestamp::from_micros(1);
        let change = Change::PodAmended { key, registration_id, content: Arc::new(content), at };
        let event = self.apply(&change);
        self.publish(&[event]);
    }

    pub(super) fn unregister(&mut self, name: &str) {
        let key = key(name);
        let registration_id = self.registry.pod_by(&key).unwrap().registration_id;
        let event = self.apply(&Change::PodUnregistered { key, registration_id });
        self.publish(&[event]);
    }

    pub(super) fn observe(&mut self, name: &str, status: Status) {
        let key = key(name);
        let registration_id = self.registry.pod_by(&key).unwrap().registration_id;
        let verdict = Verdict { status, at: Timestamp::from_micros(2) };
        let applied = self.registry.observe(&key, registration_id, verdict);
        let (before, after) = (applied.before, applied.after);
        if before.is_some() {
            let (revision, notice) = (applied.revision, applied.notice);
            let (reason, trace) = ("".into(), TraceContext::default());
            self.publish(&[Event { revision, key, before, after, notice, reason, trace }]);
        }
    }

    /// What the peer does with the next attempts to one pod.
    pub(super) fn script(&self, name: &str, reactions: &[Reaction]) {
        let reactions = reactions.iter().cloned().collect();
        self.peer.scripts.lock().unwrap().insert(name.to_owned(), reactions);
    }

    /// What the peer does with all other attempts to it.
    pub(super) fn habit(&self, name: &str, reaction: Reaction) {
        self.peer.habits.lock().unwrap().insert(name.to_owned(), reaction);
    }

    /// Lets time pass, and everything that happens in it.
    pub(super) async fn pass(&self, time: Duration) {
        sleep(time).await;
    }

    pub(super) async fn pass_ms(&self, ms: u64) {
        self.pass(Duration::from_millis(ms)).await;
    }

    /// Past the first reconciliation of all that registered so far; then forgets what was seen.
    pub(super) async fn settle(&self) {
        self.pass_ms(1_500).await;
        self.forget();
    }

    pub(super) fn forget(&self) {
        *self.peer.forgotten.lock().unwrap() = self.peer.seen.lock().unwrap().len();
    }

    pub(super) fn now(&self) -> Duration {
        self.peer.begun.elapsed()
    }

    pub(super) async fn until(&self, since_begun: Duration) {
        sleep_until(self.peer.begun + since_begun).await;
    }

    /// All attempts.
    pub(super) fn seen(&self) -> Vec<Seen> {
        let forgotten = *self.peer.forgotten.lock().unwrap();
        self.peer.seen.lock().unwrap()[forgotten..].to_vec()
    }

    /// Attempts to one pod.
    pub(super) fn seen_by(&self, name: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.to == name).collect()
    }

    /// `service event pod,pod` of each attempt to one pod.
    pub(super) fn told(&self, name: &str) -> Vec<String> {
        let text = |seen: &Seen| {
            let event = event_name(seen.body.event_type);
            format!("{} {event} {}", seen.body.service_name, seen.pods().join(","))
        };
        self.seen_by(name).iter().map(text).collect()
    }

    pub(super) fn delivery(&self, name: &str, service: &str) -> DeliveryState {
        let states = self.reader.deliveries(&key(name));
        let state = states.into_iter().find(|state| state.service.as_str() == service);
        let listed = self.reader.deliveries_of(service);
        let listed = listed.into_iter().find(|(of, _)| *of == key(name)).map(|(_, state)| state);
        assert_eq!(state, listed, "both ways to read say the same");
        state.expect("it subscribes")
    }

    /// Tells the task to end, and waits for that.
    pub(super) async fn stop(&mut self) {
        self.shutdown.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("the task did not panic");
        }
    }
}

pub(super) fn event_name(event: EventType) -> &'static str {
    match event {
        EventType::Register => "register",
        EventType::Unregister => "unregister",
        EventType::Update => "update",
        EventType::Reconcile => "reconcile",
    }
}
