//! What the tests of the manager on a real PostgreSQL share: how it is started, clients that write
//! down what they were told, and the comparison of their books with memory and table.
//!
//! INVARIANT: a client changes only its own pods, one at a time, so that it knows what may be there.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]
#![allow(dead_code, reason = "each test crate uses a part")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use governance_testkit::http::{Client, Wire, request};
use governance_testkit::manager::{ManagerBuilder, ManagerProcess, PATIENCE};
use governance_testkit::postgres::{Cluster, PASSWORD, USER};
use governance_testkit::proxy::Proxy;
use governance_testkit::wait::until;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// The database of the documentation; the manager creates it.
pub(crate) const DATABASE: &str = "governance_db";

/// A manager that keeps its registry at that address.
pub(crate) fn manager(database: SocketAddr) -> ManagerBuilder {
    ManagerProcess::builder(env!("CARGO_BIN_EXE_governance-manager"))
        .set("STORAGE", "postgres")
        .set("DB_HOST", database.ip().to_string())
        .set("DB_PORT", database.port().to_string())
        .set("DB_NAME", DATABASE)
        .set("DB_USER", USER)
        .set("DB_PASSWORD", PASSWORD)
        // Checks of pods that do not exist are not what this is about.
        .set("HEALTH_CHECK_INTERVAL", "24h")
        .set("HEALTH_CHECK_FAILURE_LIMIT", "0")
        .set("NOTIFICATION_INTERVAL", "0")
        .set("LOG_LEVEL", "warn,governance_manager=info,governance_store=info")
}

/// How often something is done: more often where the environment says so.
pub(crate) fn times(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// A proxy in front of the database, with the threads it runs on.
pub(crate) struct Gate {
    pub(crate) proxy: Proxy,
    _runtime: Runtime,
}

impl Gate {
    pub(crate) fn before(cluster: &Cluster) -> Self {
        let runtime = Runtime::new().unwrap();
        let proxy = runtime.block_on(Proxy::start(cluster.address())).unwrap();
        Self { proxy, _runtime: runtime }
    }
}

/// What is known of one pod: `None` is "not registered", a number stands in its content.
pub(crate) type State = Option<u64>;

/// What one client was told of one of its pods.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry {
    /// The last state that was acknowledged.
    acknowledged: State,
    /// States asked for later, of which nobody knows whether they came to be.
    possible: Vec<State>,
}

impl Entry {
    fn allows(&self, state: State) -> bool {
        state == self.acknowledged || self.possible.contains(&state)
    }
}

/// One client's book, by pod name.
type Book = BTreeMap<String, Entry>;

/// How the clients fare, seen from outside.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    acknowledged: AtomicUsize,
    refused: AtomicUsize,
    unknown: AtomicUsize,
    is_over: AtomicBool,
}

impl Progress {
    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed)
    }

    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    pub(crate) fn unknown(&self) -> usize {
        self.unknown.load(Ordering::Relaxed)
    }

    /// Waits for so many more changes that were acknowledged.
    #[track_caller]
    pub(crate) fn wait_for_more(&self, count: usize, manager: &ManagerProcess) {
        let goal = self.acknowledged() + count;
        let is_reached = until(PATIENCE, || self.acknowledged() >= goal);
        assert!(is_reached, "too few changes were acknowledged:\n{}", manager.log_text());
    }
}

/// Ends the clients also when the test fails, which would wait for them else.
struct Bell<'a>(&'a Progress);

impl Drop for Bell<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

/// Clients that change their pods as fast as they are answered.
#[derive(Debug)]
pub(crate) struct Clients {
    books: Vec<Book>,
    rounds: u64,
    unknown: usize,
}

impl Clients {
    pub(crate) fn new(connections: usize) -> Self {
        let books = (0..connections).map(|client| {
            let pods = (0..4).map(|pod| format!("pod-{client}-{pod}"));
            pods.map(|pod| (pod, Entry::default())).collect()
        });
        Self { books: books.collect(), rounds: 0, unknown: 0 }
    }

    /// Lets them work while something happens. A client whose connection breaks stops.
    pub(crate) fn work_during<T>(
        &mut self,
        address: SocketAddr,
        happens: impl FnOnce(&Progress) -> T,
    ) -> T {
        self.rounds += 1;
        let progress = Progress::default();
        let result = std::thread::scope(|scope| {
            let _bell = Bell(&progress);
            for (client, book) in self.books.iter_mut().enumerate() {
                let seed = (self.rounds * 1_000 + client as u64 + 1) * 0x9e37_79b9;
                let progress = &progress;
                scope.spawn(move || work(address, book, seed, progress));
            }
            happens(&progress)
        });
        let entries = self.books.iter().flat_map(BTreeMap::values);
        self.unknown += entries.filter(|entry| !entry.possible.is_empty()).count();
        result
    }

    /// How many pods were left in an unknown state, in all rounds.
    pub(crate) fn unknown(&self) -> usize {
        self.unknown
    }

    /// What is there is exactly what was acknowledged, or something later of unknown outcome; and
    /// the table holds the same.
    #[track_caller]
    pub(crate) fn compare(&mut self, manager: &ManagerProcess, cluster: &Cluster) {
        settle(manager);
        let mut shown = shown_states(manager);
        assert_eq!(shown, stored_states(cluster), "memory and table\n{}", manager.log_text());
        shown.remove(SETTLED);
        let mut expected = 0;
        for (pod, entry) in self.books.iter_mut().flatten() {
            let state = shown.get(pod).copied();
            let log = || manager.log_text();
            assert!(entry.allows(state), "{pod} is {state:?}, told was {entry:?}\n{}", log());
            *entry = Entry { acknowledged: state, possible: Vec::new() };
            expected += usize::from(state.is_some());
        }
        assert_eq!(shown.len(), expected, "pods that nobody registered");
    }
}

/// The pod that no client owns: once its change is acknowledged, all before it is decided.
const SETTLED: &str = "settled";

/// Waits until a change is acknowledged.
#[track_caller]
pub(crate) fn settle(manager: &ManagerProcess) {
    let number = shown_states(manager).get(SETTLED).map_or(1, |number| number + 1);
    let body = registration(SETTLED, number);
    let is_settled = until(PATIENCE, || {
        let answer = manager.client().call("POST", "/register", Some(&body));
        answer.is_ok_and(|answer| answer.status == 200)
    });
    assert!(is_settled, "no write succeeds:\n{}", manager.log_text());
}

pub(crate) fn registration(pod: &str, number: u64) -> Vec<u8> {
    // The number is in two fields, so that a mixture of two registrations would be seen.
    let registration = json!({
        "service_name": format!("service-{}", pod.len() % 3),
        "pod_name": pod,
        "providers": [{"protocol": "http", "ip": "127.0.0.1", "port": 1, "provider_id": format!("n{number}")}],
        "health_check_url": format!("http://127.0.0.1:1/{number}"),
        "notification_url": "http://127.0.0.1:1/notify",
        "subscriptions": [],
    });
    registration.to_string().into_bytes()
}

fn unregister_target(pod: &str) -> String {
    format!("/unregister?service_name=service-{}&pod_name={pod}", pod.len() % 3)
}

/// The numbers of all pods of a list of objects, wherever it came from.
fn states(pods: &[Value]) -> BTreeMap<String, u64> {
    let state = |pod: &Value| {
        let name = pod["pod_name"].as_str().unwrap().to_owned();
        let url = pod["health_check_url"].as_str().unwrap();
        let number: u64 = url.rsplit('/').next().unwrap().parse().unwrap();
        let id = &pod["providers"][0]["provider_id"];
        assert_eq!(*id, format!("n{number}"), "{name} is a mixture");
        (name, number)
    };
    pods.iter().map(state).collect()
}

/// What the manager shows.
#[track_caller]
pub(crate) fn shown_states(manager: &ManagerProcess) -> BTreeMap<String, u64> {
    let list = manager.client().get("/services");
    assert_eq!(list.status, 200, "{list:?}");
    let list = list.json();
    let pods = list["services"].as_array().unwrap();
    assert_eq!(list["count"], pods.len());
    states(pods)
}

/// What the table holds.
#[track_caller]
pub(crate) fn stored_states(cluster: &Cluster) -> BTreeMap<String, u64> {
    let query = "SELECT coalesce(json_agg(services), '[]') FROM services";
    let rows = cluster.sql(DATABASE, query).unwrap();
    let rows: Vec<Value> = serde_json::from_str(&rows).unwrap();
    states(&rows)
}

/// A stream of numbers, the same for the same seed (xorshift64*).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

/// One client: changes its pods, one at a time, until its connection breaks or it is told to stop.
fn work(address: SocketAddr, book: &mut Book, seed: u64, progress: &Progress) {
    let Ok(mut wire) = Wire::open(address) else { return };
    let mut random = Random(seed | 1);
    let pods: Vec<String> = book.keys().cloned().collect();
    while !progress.is_over.load(Ordering::Relaxed) {
        let pod = &pods[usize::try_from(random.below(pods.len() as u64)).unwrap()];
        let entry = book.get_mut(pod).unwrap();
        let is_there = entry.acknowledged.is_some() || !entry.possible.is_empty();
        let wanted =
            if is_there && random.below(4) == 0 { None } else { Some(random.below(u64::MAX) + 1) };
        let bytes = match wanted {
            Some(number) => request("POST", "/register", Some(&registration(pod, number))),
            None => request("DELETE", &unregister_target(pod), None),
        };
        let answer = match wire.send(bytes).and_then(|()| wire.receive()) {
            Ok(answer) => answer,
            Err(_broken) => {
                // Part of it may have arrived.
                entry.possible.push(wanted);
                return;
            }
        };
        match answer.status {
            200 => {
                *entry = Entry { acknowledged: wanted, possible: Vec::new() };
                progress.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            404 if wanted.is_none() => {
                assert!(entry.allows(None), "{pod} was acknowledged and is gone: {entry:?}");
                *entry = Entry::default();
            }
            // Certainly not applied: the book stays as it is.
            429 | 503 => {
                progress.refused.fetch_add(1, Ordering::Relaxed);
            }
            504 => {
                entry.possible.push(wanted);
                progress.unknown.fetch_add(1, Ordering::Relaxed);
            }
            other => panic!("{other} is no answer to this: {answer:?}"),
        }
    }
}

/// The status of `/ready`; none if there is no answer.
pub(crate) fn readiness(manager: &ManagerProcess) -> Option<u16> {
    let answer = Client::new(manager.address()).call("GET", "/ready", None);
    answer.ok().map(|answer| answer.status)
}

/// What `/health` says.
#[track_caller]
pub(crate) fn health(manager: &ManagerProcess) -> Value {
    let answer = manager.client().get("/health");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// The revision of the whole list, and the registry it belongs to.
#[track_caller]
pub(crate) fn revision(manager: &ManagerProcess) -> (u64, String) {
    let list = manager.client().get("/services?limit=1").json();
    (list["revision"].as_u64().unwrap(), list["registry_id"].as_str().unwrap().to_owned())
}
