//! A database that is away: reads go on, what can wait waits, the rest is refused in time, and all
//! is well again when it is back, without a restart.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod postgres_common;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use governance_testkit::http::Client;
use governance_testkit::manager::{ManagerProcess, PATIENCE};
use governance_testkit::postgres::{Cluster, Shutdown};
use governance_testkit::wait::until;
use postgres_common::{DATABASE, Gate, manager, registration, shown_states, stored_states};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// A refusal comes at the latest so long after `REQUEST_TIMEOUT`.
const REFUSAL_SLACK: Duration = Duration::from_millis(500);
/// Writes succeed again so long after the database is back.
const RETURN_MAX: Duration = Duration::from_secs(2);
/// What began so shortly before the return waits long enough.
const WAITS_FOR_SURE: Duration = Duration::from_millis(700);
const OUTAGE: Duration = Duration::from_secs(20);

/// One write, as its client saw it.
#[derive(Debug)]
struct Write {
    pod: String,
    began: Instant,
    ended: Instant,
    status: u16,
}

/// What the clients saw.
#[derive(Debug, Default)]
struct Seen {
    writes: Mutex<Vec<Write>>,
    reads: AtomicU64,
    is_over: AtomicBool,
}

struct Bell<'a>(&'a Seen);

impl Drop for Bell<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

impl Seen {
    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }

    fn count(&self, is_meant: impl Fn(&Write) -> bool) -> usize {
        self.writes.lock().unwrap().iter().filter(|write| is_meant(write)).count()
    }
}

/// Registers one pod after the other, each once.
fn write(manager: &ManagerProcess, name: usize, seen: &Seen) {
    let mut client = manager.client();
    for number in 1.. {
        if !seen.goes_on() {
            return;
        }
        let pod = format!("pod-{name}-{number}");
        let body = registration(&pod, number);
        let began = Instant::now();
        let status = client.call("POST", "/register", Some(&body)).unwrap().status;
        let write = Write { pod, began, ended: Instant::now(), status };
        seen.writes.lock().unwrap().push(write);
        // Not all that is possible: it is not about speed, and a list of many pods is slow to read.
        until(Duration::from_millis(20), || false);
    }
}

/// Reads as fast as it is answered; every one must be answered, and nothing may disappear.
fn read(manager: &ManagerProcess, seen: &Seen) {
    let mut client = manager.client();
    let mut most = 0;
    while seen.goes_on() {
        let list = client.get("/services?limit=1");
        assert_eq!(list.status, 200, "{list:?}");
        let count = list.json()["count"].as_u64().unwrap();
        assert!(count >= most, "{most} pods became {count}");
        most = count;
        let beat = client.send("POST", "/heartbeat?service_name=service-2&pod_name=first");
        assert_eq!(beat.status, 200, "{beat:?}");
        assert_eq!(client.get("/ready").status, 200);
        seen.reads.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_server_that_ends_and_starts_costs_no_read_and_only_writes_that_cannot_wait() {
    let mut cluster = Cluster::start().unwrap();
    let manager = manager(cluster.address()).set("REQUEST_TIMEOUT", "3s").start();
    assert_survives_an_outage(&manager, |is_away| {
        if is_away {
            cluster.stop(Shutdown::Immediate).unwrap();
        } else {
            cluster.start_again().unwrap();
        }
    });
    assert_eq!(shown_states(&manager), stored_states(&cluster), "memory and table");
}

#[test]
fn a_network_that_swallows_everything_costs_no_read_and_only_writes_that_cannot_wait() {
    let cluster = Cluster::start().unwrap();
    let gate = Gate::before(&cluster);
    let manager = manager(gate.proxy.address).set("REQUEST_TIMEOUT", "3s").start();
    assert_survives_an_outage(&manager, |is_away| {
        if is_away { gate.proxy.black_hole() } else { gate.proxy.clear() }
    });
    assert_eq!(shown_states(&manager), stored_states(&cluster), "memory and table");
}

#[test]
fn a_server_of_a_list_that_falls_silent_is_left_for_the_next_one() {
    let cluster = Cluster::start().unwrap();
    let gate = Gate::before(&cluster);
    // Two ways to one server, as to a primary and the one that took its place.
    let hosts = format!("{},{}", gate.proxy.address, cluster.address());
    let manager = manager(cluster.address()).set("DB_HOST", hosts).start();
    let mut number = 0;
    let mut register = || {
        number += 1;
        let body = registration("first", number);
        manager.client().call("POST", "/register", Some(&body)).unwrap().status
    };
    assert_eq!(register(), 200);
    gate.proxy.black_hole();
    assert!(until(PATIENCE, || register() == 200), "{}", manager.log_text());
    assert_eq!(shown_states(&manager), stored_states(&cluster), "memory and table");
}

/// Changes whether the database is away, under load, and looks at what it cost.
#[track_caller]
fn assert_survives_an_outage(manager: &ManagerProcess, mut make_away: impl FnMut(bool)) {
    let first = manager.client().call("POST", "/register", Some(&registration("first", 1)));
    assert_eq!(first.unwrap().status, 200);
    let seen = Seen::default();
    let (away, back) = std::thread::scope(|scope| {
        let _bell = Bell(&seen);
        for name in 0..16 {
            let seen = &seen;
            scope.spawn(move || write(manager, name, seen));
        }
        scope.spawn(|| read(manager, &seen));
        assert!(until(PATIENCE, || seen.count(|write| write.status == 200) > 100));
        let away = Instant::now();
        make_away(true);
        // The outage itself: nothing to wait for but its end.
        until(OUTAGE, || false);
        assert_eq!(manager.client().get("/ready").json()["writes"], "unavailable");
        make_away(false);
        let back = Instant::now();
        let is_well =
            until(PATIENCE, || seen.count(|write| write.status == 200 && write.began > back) > 100);
        assert!(is_well, "{}", manager.log_text());
        (away, back)
    });
    assert_writes(&seen, away, back);
    assert!(seen.reads.load(Ordering::Relaxed) > 100, "reads went on");
    let shown = shown_states(manager);
    for write in &*seen.writes.lock().unwrap() {
        match write.status {
            200 => assert!(shown.contains_key(&write.pod), "acknowledged and gone: {write:?}"),
            503 => assert!(!shown.contains_key(&write.pod), "refused and there: {write:?}"),
            504 => {}
            other => panic!("{other} is no answer to this: {write:?}"),
        }
    }
}

#[track_caller]
fn assert_writes(seen: &Seen, away: Instant, back: Instant) {
    let writes = seen.writes.lock().unwrap();
    let slowest = writes
        .iter()
        .filter(|write| write.status != 200)
        .map(|write| write.ended - write.began)
        .max()
        .expect("some writes were refused");
    assert!(slowest <= REQUEST_TIMEOUT + REFUSAL_SLACK, "a refusal took {slowest:?}");
    let refused = writes.iter().filter(|write| write.status == 503).count();
    assert!(refused >= 16, "{refused} writes were refused");
    // One batch was under way when the server went; its callers alone are told that nobody knows.
    for write in writes.iter().filter(|write| write.status == 504) {
        assert!(write.began < away + Duration::from_secs(1), "nobody knows: {write:?}");
    }
    let first = writes.iter().filter(|write| write.status == 200 && write.ended > back);
    let returned = first.map(|write| write.ended - back).min().expect("writes succeed again");
    assert!(returned <= RETURN_MAX, "the first write took {returned:?} after the return");
    for write in writes.iter().filter(|write| write.began + WAITS_FOR_SURE > back) {
        assert_eq!(write.status, 200, "it could have waited: {write:?}, back {back:?}");
    }
    let waited = writes.iter().filter(|write| write.began < back && write.ended > back).count();
    eprintln!(
        "slowest refusal {slowest:?}, first write {returned:?} after the return, {waited} waited"
    );
}

#[test]
fn a_manager_that_is_started_before_its_database_waits_for_it() {
    let mut cluster = Cluster::start().unwrap();
    cluster.stop(Shutdown::Fast).unwrap();
    let mut manager = manager(cluster.address()).launch();
    let line = manager.wait_for_log(|line| line["level"] == "ERROR");
    let why = line["why"].as_str().unwrap();
    assert!(why.contains("is PostgreSQL running there"), "{line}");
    let mut client = manager.client();
    let ready = client.get("/ready");
    assert_eq!((ready.status, ready.json()["error"].as_str()), (503, Some("loading")));
    assert_eq!(client.get("/health").status, 200, "the process lives");
    for (method, target) in [
        ("GET", "/services"),
        ("POST", "/heartbeat?service_name=eir&pod_name=eir-1"),
        ("DELETE", "/unregister?service_name=eir&pod_name=eir-1"),
    ] {
        let refused = client.send(method, target);
        assert_eq!(refused.status, 503, "never 404: nothing is known yet: {refused:?}");
        assert!(refused.header("retry-after").is_some(), "{refused:?}");
    }
    cluster.start_again().unwrap();
    let back = Instant::now();
    manager.wait_until_ready();
    let body = registration("first", 1);
    let first = Client::new(manager.address()).call("POST", "/register", Some(&body));
    assert_eq!(first.unwrap().status, 200);
    eprintln!("the first write {:?} after the database came", back.elapsed());
    assert_eq!(cluster.sql(DATABASE, "SELECT pod_name FROM services").unwrap(), "first");
}
