//! Two managers on one database: one is active, the other says who is and takes over. Whatever
//! becomes of the active one, never do both write.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod postgres_common;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use governance_testkit::http::{Wire, request};
use governance_testkit::manager::{ManagerProcess, PATIENCE};
use governance_testkit::postgres::Cluster;
use governance_testkit::wait::until;
use postgres_common::{
    Clients, DATABASE, Gate, health, manager, readiness, registration, revision, shown_states,
    stored_states,
};
use rustix::process::Signal;

const LEASE: Duration = Duration::from_secs(5);
const CONNECTIONS: usize = 16;
const CHANGES: usize = 200;

/// The database's clock and the end of the lease, in seconds.
#[track_caller]
fn lease(cluster: &Cluster) -> (f64, f64) {
    let query = "SELECT extract(epoch FROM clock_timestamp()), extract(epoch FROM expires_at) \
                 FROM governance_lease";
    let row = cluster.sql(DATABASE, query).unwrap();
    let (now, end) = row.split_once('|').unwrap();
    (now.parse().unwrap(), end.parse().unwrap())
}

/// A second manager, once it is standby and the active one has learnt of it.
#[track_caller]
fn standby_of(active: &ManagerProcess, cluster: &Cluster) -> ManagerProcess {
    standby_at(cluster.address(), active, cluster)
}

/// The same, with its own way to the database.
#[track_caller]
fn standby_at(database: SocketAddr, active: &ManagerProcess, cluster: &Cluster) -> ManagerProcess {
    let standby = manager(database).launch();
    assert!(until(PATIENCE, || says_standby(&standby, active)), "{}", standby.log_text());
    let (seen, _) = lease(cluster);
    // A renewal that began after the standby asked tells of it.
    let is_known = until(PATIENCE, || lease(cluster).1 > seen + LEASE.as_secs_f64());
    assert!(is_known, "{}", active.log_text());
    standby
}

/// Whether it says that it is standby, and who is active.
fn says_standby(manager: &ManagerProcess, active: &ManagerProcess) -> bool {
    let answer = manager.client().get("/ready");
    let address = active.address().to_string();
    answer.status == 503 && answer.json()["active"].as_str() == Some(&address)
}

#[track_caller]
fn assert_is_standby(standby: &ManagerProcess, active: &ManagerProcess) {
    let became = until(PATIENCE, || says_standby(standby, active));
    assert!(became, "{:?}\n{}", standby.client().get("/ready"), standby.log_text());
    assert_eq!(health(standby)["role"], "standby");
    let mut client = standby.client();
    assert_eq!(client.get("/version").status, 200);
    for (method, target) in [
        ("GET", "/services"),
        ("GET", "/services/eir"),
        ("GET", "/services/eir/pods/eir-1"),
        ("POST", "/heartbeat?service_name=eir&pod_name=eir-1"),
        ("DELETE", "/unregister?service_name=eir&pod_name=eir-1"),
    ] {
        let answer = client.send(method, target);
        let told = answer.json();
        assert_eq!((answer.status, told["error"].as_str()), (503, Some("not_active")), "{target}");
        assert_eq!(told["active"], active.address().to_string(), "{target}");
        assert!(answer.header("retry-after").is_some(), "{target}");
    }
    let refused = client.call("POST", "/register", Some(&registration("refused", 1))).unwrap();
    assert_eq!((refused.status, &refused.json()["error"]), (503, &"not_active".into()));
}

/// Waits until it is active; how long that took.
#[track_caller]
fn taken_over(standby: &ManagerProcess) -> Duration {
    let begun = Instant::now();
    let is_active = until(PATIENCE, || readiness(standby) == Some(200));
    let took = begun.elapsed();
    assert!(is_active, "{}", standby.log_text());
    took
}

/// Epoch and revisions went on upwards in the same registry.
#[track_caller]
fn assert_continues(before: &(u64, String), manager: &ManagerProcess) {
    let now = revision(manager);
    assert_eq!(now.1, before.1, "it is the same registry");
    assert!(now.0 > before.0, "{before:?} became {now:?}");
    let epoch = health(manager)["epoch"].as_u64().unwrap();
    assert!(epoch > before.0 >> 32, "epoch {epoch} after revision {}", before.0);
    assert_eq!(now.0 >> 32, epoch, "a revision starts with its epoch");
}

#[test]
fn a_standby_says_so_and_takes_over_when_the_active_one_is_killed() {
    let cluster = Cluster::start().unwrap();
    let active = manager(cluster.address()).start();
    let standby = standby_of(&active, &cluster);
    assert_is_standby(&standby, &active);
    assert_eq!(health(&active)["role"], "active");
    let mut clients = Clients::new(CONNECTIONS);
    let before = clients.work_during(active.address(), |progress| {
        progress.wait_for_more(CHANGES, &active);
        let before = revision(&active);
        active.signal(Signal::KILL);
        before
    });
    let took = taken_over(&standby);
    assert!(took <= LEASE + Duration::from_secs(1), "it took {took:?}");
    eprintln!("took over {took:?} after a kill");
    assert_continues(&before, &standby);
    clients.compare(&standby, &cluster);
    clients.work_during(standby.address(), |progress| progress.wait_for_more(CHANGES, &standby));
    clients.compare(&standby, &cluster);

    let again = active.sigkill().launch();
    assert_is_standby(&again, &standby);
}

#[test]
fn an_active_one_that_was_stopped_for_a_while_writes_nothing_and_becomes_standby() {
    let cluster = Cluster::start().unwrap();
    let old = manager(cluster.address()).start();
    let new = standby_of(&old, &cluster);
    let mut clients = Clients::new(CONNECTIONS);
    let before = clients.work_during(old.address(), |progress| {
        progress.wait_for_more(CHANGES, &old);
        let before = revision(&old);
        old.signal(Signal::STOP);
        let took = taken_over(&new);
        eprintln!("took over {took:?} after a stop");
        // What waits for it in its sockets when it goes on.
        let mut late = Wire::open(old.address()).unwrap();
        late.send(request("POST", "/register", Some(&registration("late", 1)))).unwrap();
        old.signal(Signal::CONT);
        let answer = late.receive().unwrap();
        assert!([503, 504].contains(&answer.status), "it wrote: {answer:?}");
        before
    });
    assert_is_standby(&old, &new);
    assert_continues(&before, &new);
    clients.compare(&new, &cluster);
    assert!(!shown_states(&new).contains_key("late"));
    clients.work_during(new.address(), |progress| progress.wait_for_more(CHANGES, &new));
    clients.compare(&new, &cluster);
    assert_is_standby(&old, &new);
}

#[test]
fn an_active_one_that_is_cut_off_stops_before_the_standby_takes_over() {
    let cluster = Cluster::start().unwrap();
    let gate = Gate::before(&cluster);
    let old = manager(gate.proxy.address).set("REQUEST_TIMEOUT", "3s").start();
    let new = standby_of(&old, &cluster);
    let mut clients = Clients::new(CONNECTIONS);
    let before = clients.work_during(old.address(), |progress| {
        progress.wait_for_more(CHANGES, &old);
        let before = revision(&old);
        gate.proxy.black_hole();
        assert_eq!(old.client().get("/services?limit=1").status, 200, "its lease lasts still");
        let took = taken_over(&new);
        // It does not know who is active, so it shows what it knows and writes nothing.
        assert_eq!(old.client().get("/services?limit=1").status, 200, "{}", old.log_text());
        let body = registration("late", 1);
        let late = old.client().call("POST", "/register", Some(&body)).unwrap();
        assert_eq!(late.status, 503, "two are active at once\n{}", old.log_text());
        eprintln!("took over {took:?} after the active one was cut off");
        before
    });
    assert_continues(&before, &new);
    clients.compare(&new, &cluster);
    // What was held back, perhaps a batch, reaches the database now: too late.
    gate.proxy.clear();
    assert_is_standby(&old, &new);
    assert_eq!(shown_states(&new), stored_states(&cluster));
    clients.compare(&new, &cluster);
}

#[test]
fn while_the_database_is_away_for_both_one_goes_on_reading_and_is_there_again_afterwards() {
    let cluster = Cluster::start().unwrap();
    let (gate, other_gate) = (Gate::before(&cluster), Gate::before(&cluster));
    let active = manager(gate.proxy.address).set("REQUEST_TIMEOUT", "1s").start();
    let standby = standby_at(other_gate.proxy.address, &active, &cluster);
    let body = registration("first", 1);
    assert_eq!(active.client().call("POST", "/register", Some(&body)).unwrap().status, 200);
    let (_, end) = lease(&cluster);
    gate.proxy.black_hole();
    other_gate.proxy.black_hole();
    assert!(until(PATIENCE, || lease(&cluster).0 > end + 3.0));
    active.wait_for_log(|line| {
        line["message"]
            .as_str()
            .is_some_and(|text| text.contains("reads go on") && text.contains("lease ended"))
    });
    assert_eq!(shown_states(&active).len(), 1, "{}", active.log_text());
    let body = registration("second", 2);
    let refused = active.client().call("POST", "/register", Some(&body)).unwrap();
    assert_eq!(
        (refused.status, refused.json()["error"].as_str()),
        (503, Some("store_unavailable"))
    );
    gate.proxy.clear();
    other_gate.proxy.clear();
    let managers = [&active, &standby];
    let is_back = until(PATIENCE, || {
        managers.iter().any(|manager| {
            let body = registration("second", 2);
            manager.client().call("POST", "/register", Some(&body)).unwrap().status == 200
        })
    });
    assert!(is_back, "{}\n{}", active.log_text(), standby.log_text());
    let roles = || managers.map(|manager| health(manager)["role"].clone());
    let is_settled = until(PATIENCE, || {
        roles().iter().filter(|role| **role == "active").count() == 1
            && roles().iter().any(|role| *role == "standby")
    });
    assert!(is_settled, "{:?}\n{}\n{}", roles(), active.log_text(), standby.log_text());
}

#[test]
fn an_active_one_that_does_not_know_who_is_active_still_ends_well() {
    let cluster = Cluster::start().unwrap();
    let gate = Gate::before(&cluster);
    let mut old = manager(gate.proxy.address).start();
    let new = standby_of(&old, &cluster);
    gate.proxy.black_hole();
    taken_over(&new);
    old.wait_for_log(|line| {
        line["message"].as_str().is_some_and(|text| text.contains("lease ended"))
    });
    assert_eq!(old.stop().code(), Some(0), "{}", old.log_text());
}

#[test]
fn an_active_one_without_a_standby_goes_on_reading_when_it_is_cut_off() {
    let cluster = Cluster::start().unwrap();
    let gate = Gate::before(&cluster);
    let alone = manager(gate.proxy.address).set("REQUEST_TIMEOUT", "1s").start();
    let body = registration("first", 1);
    let first = alone.client().call("POST", "/register", Some(&body)).unwrap();
    assert_eq!(first.status, 200);
    let (_, end) = lease(&cluster);
    gate.proxy.black_hole();
    // Past the end of its lease, whatever was renewed meanwhile.
    assert!(until(PATIENCE, || lease(&cluster).0 > end + 3.0));
    assert_eq!(shown_states(&alone).len(), 1, "{}", alone.log_text());
    assert_eq!(health(&alone)["role"], "active");
    gate.proxy.clear();
    let is_back = until(PATIENCE, || {
        let body = registration("second", 2);
        alone.client().call("POST", "/register", Some(&body)).unwrap().status == 200
    });
    assert!(is_back, "{}", alone.log_text());
    assert_eq!(shown_states(&alone), stored_states(&cluster));
}

#[test]
fn a_lease_that_is_given_back_at_the_end_is_taken_at_once() {
    let cluster = Cluster::start().unwrap();
    let mut active = manager(cluster.address()).start();
    let standby = standby_of(&active, &cluster);
    let mut clients = Clients::new(CONNECTIONS);
    let before = clients.work_during(active.address(), |progress| {
        progress.wait_for_more(CHANGES, &active);
        let before = revision(&active);
        active.sigterm();
        before
    });
    assert_eq!(active.wait().code(), Some(0), "{}", active.log_text());
    let took = taken_over(&standby);
    assert!(took <= Duration::from_secs(1), "it took {took:?}");
    eprintln!("took over {took:?} after the end of the active one");
    assert_continues(&before, &standby);
    clients.compare(&standby, &cluster);
}

#[test]
fn of_managers_that_start_at_once_on_an_empty_server_one_is_active() {
    let cluster = Cluster::start().unwrap();
    let managers: Vec<ManagerProcess> = std::thread::scope(|scope| {
        let start = || manager(cluster.address()).launch();
        let starts: Vec<_> = (0..3).map(|_| scope.spawn(start)).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    let is_decided = until(PATIENCE, || {
        let roles = managers.iter().map(|manager| health(manager)["role"].clone());
        let mut roles: Vec<String> = roles.map(|role| role.as_str().unwrap().to_owned()).collect();
        roles.sort();
        roles == ["active", "standby", "standby"]
    });
    let logs = || managers.iter().map(ManagerProcess::log_text).collect::<Vec<_>>().join("\n\n");
    assert!(is_decided, "{}", logs());
    let (active, standbys): (Vec<_>, Vec<_>) =
        managers.iter().partition(|manager| readiness(manager) == Some(200));
    for standby in standbys {
        assert_is_standby(standby, active[0]);
    }
    let mut clients = Clients::new(CONNECTIONS);
    clients.work_during(active[0].address(), |progress| progress.wait_for_more(CHANGES, active[0]));
    clients.compare(active[0], &cluster);
}

#[test]
fn a_manager_that_crashed_takes_its_own_lease_back_at_once() {
    let cluster = Cluster::start().unwrap();
    let first = manager(cluster.address()).start();
    let before = revision(&first);
    let builder = first.sigkill();
    let (_, end) = lease(&cluster);
    let begun = Instant::now();
    let second = builder.start();
    let took = begun.elapsed();
    let (now, _) = lease(&cluster);
    assert!(now < end, "it waited for the end of its own lease: {now} {end}");
    eprintln!("started again in {took:?}");
    assert_continues(&before, &second);
}
