//! The promise: what was answered 200 is stored, what was refused is not. Kept through twenty
//! SIGKILLs under full load.
//!
//! Every client owns some pods, changes one at a time, and writes down what it was told. After
//! each restart the book is compared with what the manager shows and with what the file holds.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use governance_testkit::http::{Client, Wire, request};
use governance_testkit::manager::{ManagerProcess, PATIENCE};
use governance_testkit::sqlite_shell::{LockHolder, query};
use governance_testkit::wait::until;
use serde_json::{Value, json};

const KILLS: usize = 20;
const CONNECTIONS: usize = 64;
const PODS_PER_CONNECTION: usize = 4;
/// Acknowledged changes before a kill: enough that many batches were committed.
const CHANGES_BEFORE_KILL: usize = 400;

/// What is known of one pod: `None` is "not registered", a number stands in its content.
type State = Option<u64>;

/// What one client was told of one of its pods.
#[derive(Clone, Debug, Default)]
struct Entry {
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

fn registration(pod: &str, number: u64) -> Vec<u8> {
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

/// The numbers of all pods of a list, however it came.
fn states<'a>(pods: impl Iterator<Item = (&'a str, &'a str, Value)>) -> BTreeMap<String, u64> {
    pods.map(|(pod, url, providers)| {
        let number: u64 = url.rsplit('/').next().unwrap().parse().unwrap();
        assert_eq!(providers[0]["provider_id"], format!("n{number}"), "{pod} is a mixture");
        (pod.to_owned(), number)
    })
    .collect()
}

fn shown_states(manager: &ManagerProcess) -> BTreeMap<String, u64> {
    let list = manager.client().get("/services").json();
    let pods = list["services"].as_array().unwrap();
    assert_eq!(list["count"], pods.len());
    states(pods.iter().map(|pod| {
        let text = |field: &str| pod[field].as_str().unwrap();
        (text("pod_name"), text("health_check_url"), pod["providers"].clone())
    }))
}

fn stored_states(data_dir: &Path) -> BTreeMap<String, u64> {
    let sql = "SELECT pod_name, health_check_url, providers FROM services";
    let rows = query(&data_dir.join("governance.db"), sql);
    states(rows.iter().map(|row| {
        let text = |field: &str| row[field].as_str().unwrap();
        (
            text("pod_name"),
            text("health_check_url"),
            serde_json::from_str(text("providers")).unwrap(),
        )
    }))
}

/// A stream of numbers, the same for the same seed (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

/// One client: changes its pods, one at a time, until its connection breaks or it is told to stop.
fn load(
    manager: &ManagerProcess,
    book: &mut Book,
    seed: u64,
    acknowledged: &AtomicUsize,
    stop: &AtomicBool,
) {
    let Ok(mut wire) = Wire::open(manager.address()) else { return };
    let mut random = Random(seed | 1);
    let pods: Vec<String> = book.keys().cloned().collect();
    while !stop.load(Ordering::Relaxed) {
        let pod = &pods[usize::try_from(random.below(pods.len() as u64)).unwrap()];
        let entry = book.get_mut(pod).unwrap();
        let is_there = entry.acknowledged.is_some() || !entry.possible.is_empty();
        let wanted =
            if is_there && random.below(4) == 0 { None } else { Some(random.below(u64::MAX) + 1) };
        let bytes = match wanted {
            Some(number) => request("POST", "/register", Some(&registration(pod, number))),
            None => request("DELETE", &unregister_target(pod), None),
        };
        if wire.send(bytes).is_err() {
            // Part of it may have arrived.
            entry.possible.push(wanted);
            return;
        }
        let Ok(answer) = wire.receive() else {
            entry.possible.push(wanted);
            return;
        };
        match answer.status {
            200 => {
                *entry = Entry { acknowledged: wanted, possible: Vec::new() };
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            404 if wanted.is_none() => {
                assert!(entry.allows(None), "{pod} was acknowledged and is gone: {entry:?}");
                *entry = Entry::default();
            }
            // Certainly not applied: the book stays as it is.
            429 | 503 => {}
            504 => entry.possible.push(wanted),
            other => panic!("{other} is no answer to this: {answer:?}"),
        }
    }
}

/// What is there is exactly what was acknowledged, or something later of unknown outcome.
fn compare(books: &mut [Book], shown: &BTreeMap<String, u64>, round: usize) {
    let mut expected = 0;
    for (pod, entry) in books.iter_mut().flatten() {
        let state = shown.get(pod).copied();
        assert!(entry.allows(state), "round {round}: {pod} is {state:?}, told was {entry:?}");
        *entry = Entry { acknowledged: state, possible: Vec::new() };
        expected += usize::from(state.is_some());
    }
    assert_eq!(shown.len(), expected, "round {round}: pods that nobody registered");
}

#[test]
fn what_was_acknowledged_survives_twenty_kills_under_load() {
    let mut builder = ManagerProcess::builder(env!("CARGO_BIN_EXE_governance-manager"))
        // Checks of pods that do not exist are not what this is about.
        .set("HEALTH_CHECK_INTERVAL", "24h")
        .set("NOTIFICATION_INTERVAL", "0")
        .set("LOG_LEVEL", "warn,governance_manager=info");
    let mut books: Vec<Book> = (0..CONNECTIONS)
        .map(|client| {
            let pods = (0..PODS_PER_CONNECTION).map(|pod| format!("pod-{client}-{pod}"));
            pods.map(|pod| (pod, Entry::default())).collect()
        })
        .collect();
    let mut registry_id = None;
    let mut revision = 0;
    let mut unknown = 0;
    for round in 0..KILLS {
        let manager = builder.start();
        let list = manager.client().get("/services").json();
        assert_eq!(*registry_id.get_or_insert(list["registry_id"].clone()), list["registry_id"]);
        assert!(list["revision"].as_u64() >= Some(revision), "round {round}: it went back");
        let shown = shown_states(&manager);
        assert_eq!(shown, stored_states(&builder.data_dir()), "round {round}");
        compare(&mut books, &shown, round);

        let (acknowledged, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        revision = std::thread::scope(|scope| {
            for (client, book) in books.iter_mut().enumerate() {
                let (manager, acknowledged, stop) = (&manager, &acknowledged, &stop);
                let seed = (round * CONNECTIONS + client + 1) as u64 * 0x9e37_79b9;
                scope.spawn(move || load(manager, book, seed, acknowledged, stop));
            }
            let goal = CHANGES_BEFORE_KILL + round * 7;
            let is_loaded = until(PATIENCE, || acknowledged.load(Ordering::Relaxed) >= goal);
            let newest = Client::new(manager.address()).get("/services?limit=1").json();
            builder = manager_killed(&manager, is_loaded);
            newest["revision"].as_u64().unwrap()
        });
        drop(manager);
        unknown +=
            books.iter().flat_map(BTreeMap::values).filter(|e| !e.possible.is_empty()).count();
    }
    let manager = builder.start();
    let shown = shown_states(&manager);
    assert_eq!(shown, stored_states(&builder.data_dir()));
    compare(&mut books, &shown, KILLS);
    assert!(unknown > KILLS, "the kills did not hit anything under way");
}

/// Kills it while its clients are at work.
fn manager_killed(
    manager: &ManagerProcess,
    is_loaded: bool,
) -> governance_testkit::manager::ManagerBuilder {
    let builder = manager.settings().clone();
    manager.signal(rustix::process::Signal::KILL);
    assert!(is_loaded, "too few changes were acknowledged:\n{}", manager.log_text());
    builder
}

#[test]
fn commands_that_the_queue_has_no_room_for_are_refused_and_not_applied() {
    // A queue of one, and time for nothing: most commands are refused while the file is locked.
    let manager = ManagerProcess::builder(env!("CARGO_BIN_EXE_governance-manager"))
        .set("EVENT_QUEUE_SIZE", "1")
        .set("REQUEST_TIMEOUT", "200ms")
        .set("HEALTH_CHECK_INTERVAL", "24h")
        .start();
    let file = manager.settings().data_dir().join("governance.db");
    let holder = LockHolder::start(&file);
    let mut books: Vec<Book> = (0..32)
        .map(|client| BTreeMap::from([(format!("pod-{client}"), Entry::default())]))
        .collect();
    let (refused, acknowledged) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for book in &mut books {
            let (manager, counts, stop) = (&manager, (&refused, &acknowledged), &stop);
            scope.spawn(move || insist(manager, book, counts, stop));
        }
        let reaches =
            |count: &AtomicUsize, goal| until(PATIENCE, || count.load(Ordering::Relaxed) >= goal);
        let is_refused = reaches(&refused, 200);
        holder.let_go();
        let is_served = reaches(&acknowledged, 200);
        stop.store(true, Ordering::Relaxed);
        assert!(is_refused && is_served, "{}", manager.log_text());
    });
    // What is of unknown outcome is decided once the store answers again.
    let body = registration("settled", 1);
    let is_settled = until(Duration::from_secs(20), || {
        let answer = manager.client().call("POST", "/register", Some(&body));
        answer.is_ok_and(|answer| answer.status == 200)
    });
    assert!(is_settled, "{}", manager.log_text());
    let mut shown = shown_states(&manager);
    assert_eq!(shown, stored_states(&manager.settings().data_dir()));
    shown.remove("settled");
    compare(&mut books, &shown, 0);
}

/// Registers the book's one pod with always new content, whatever the answers are.
fn insist(
    manager: &ManagerProcess,
    book: &mut Book,
    (refused, acknowledged): (&AtomicUsize, &AtomicUsize),
    stop: &AtomicBool,
) {
    let mut client = manager.client();
    let (pod, entry) = book.iter_mut().next().unwrap();
    for number in 1.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let answer = client.call("POST", "/register", Some(&registration(pod, number))).unwrap();
        match answer.status {
            200 => {
                *entry = Entry { acknowledged: Some(number), possible: Vec::new() };
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            503 => {
                assert!(answer.header("retry-after").is_some(), "{answer:?}");
                refused.fetch_add(1, Ordering::Relaxed);
            }
            504 => entry.possible.push(Some(number)),
            other => panic!("{other} is no answer to this: {answer:?}"),
        }
    }
}
