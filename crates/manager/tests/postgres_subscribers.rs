//! What subscribers hear of two managers on one database: never first the new one and then the
//! old one again, whatever happened to the old one. The book is kept by the subscribers, outside
//! of both; whose word it was stands in the revision, which begins with the epoch.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod postgres_common;

use std::collections::{BTreeMap, BTreeSet};

use governance_testkit::fleet::{FakePod, Fleet, Health, Reception, Told};
use governance_testkit::http::Client;
use governance_testkit::manager::{ManagerProcess, PATIENCE};
use governance_testkit::postgres::Cluster;
use governance_testkit::wait::until;
use postgres_common::{DATABASE, Gate, manager, readiness};
use rustix::process::Signal;
use serde_json::json;

/// Half of them take what they are told, the others do not, so that retries are always due.
const SUBSCRIBERS: usize = 40;
const SERVICES: [&str; 3] = ["eir", "diam-gw", "smf"];

/// Subscribers, and pods whose health changes.
struct Town {
    fleet: Fleet,
    subscribers: Vec<FakePod>,
    patients: Vec<FakePod>,
}

impl Town {
    fn found(manager: &ManagerProcess) -> Self {
        let fleet = Fleet::new().unwrap();
        let subscribers: Vec<FakePod> =
            (0..SUBSCRIBERS).map(|n| fleet.pod(&format!("gw-{n}")).unwrap()).collect();
        let patients: Vec<FakePod> =
            SERVICES.iter().map(|service| fleet.pod(service).unwrap()).collect();
        let mut client = manager.client();
        for (number, pod) in subscribers.iter().enumerate() {
            if number % 2 == 1 {
                pod.set_reception(Reception::Answer(500));
            }
            register(&mut client, "http-gw", pod, &SERVICES);
        }
        for pod in &patients {
            register(&mut client, &pod.name, pod, &[]);
        }
        Self { fleet, subscribers, patients }
    }

    /// Has the health of every patient change, so that there is news all the time.
    fn flip(&self, round: usize) {
        for pod in &self.patients {
            pod.set_health(Health::Answer(if round.is_multiple_of(2) { 500 } else { 200 }));
        }
    }

    /// Waits until every subscriber was told something by a manager of a later epoch.
    fn wait_for_epoch_after(&self, epoch: u64, log: impl Fn() -> String) {
        let everyone: BTreeSet<&str> =
            self.subscribers.iter().map(|pod| pod.name.as_str()).collect();
        let is_told = until(PATIENCE, || {
            let told = self.fleet.told();
            let late = told.iter().filter(|told| epoch_of(told) > epoch);
            late.map(|told| told.to.as_str()).collect::<BTreeSet<_>>() == everyone
        });
        assert!(is_told, "not everyone was told after the take-over\n{}", log());
    }

    /// Nobody heard an earlier epoch after a later one.
    #[track_caller]
    fn assert_one_after_the_other(&self) {
        let mut last: BTreeMap<String, u64> = BTreeMap::new();
        for told in self.fleet.told() {
            let epoch = epoch_of(&told);
            let before = last.insert(told.to.clone(), epoch).unwrap_or(0);
            assert!(before <= epoch, "{} heard {epoch} after {before}: {told:?}", told.to);
        }
    }
}

fn epoch_of(told: &Told) -> u64 {
    told.revision() >> 32
}

fn register(client: &mut Client, service: &str, pod: &FakePod, subscriptions: &[&str]) {
    let body = json!({
        "service_name": service, "pod_name": pod.name,
        "providers": [{"protocol": "http", "ip": "127.0.0.1", "port": 1}],
        "health_check_url": pod.health_url(), "notification_url": pod.notification_url(),
        "subscriptions": subscriptions,
    });
    let answer = client.post("/register", &body);
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn busy(database: std::net::SocketAddr) -> governance_testkit::manager::ManagerBuilder {
    manager(database)
        .set("HEALTH_CHECK_INTERVAL", "200ms")
        .set("HEALTH_CHECK_TIMEOUT", "1s")
        .set("HEALTH_CHECK_RETRY", "0")
        .set("NOTIFICATION_INTERVAL", "1s")
        .set("NOTIFICATION_MIN_INTERVAL", "100ms")
}

/// A second manager, once the active one knows of it.
#[track_caller]
fn standby(active: &ManagerProcess, cluster: &Cluster) -> ManagerProcess {
    let standby = busy(cluster.address()).launch();
    assert!(until(PATIENCE, || readiness(&standby) == Some(503)), "{}", standby.log_text());
    await_renewals(cluster, active);
    standby
}

/// Waits for two renewals of the lease: one that began after the standby asked tells of it.
fn await_renewals(cluster: &Cluster, active: &ManagerProcess) {
    let end = || cluster.sql(DATABASE, "SELECT expires_at FROM governance_lease").unwrap();
    for _ in 0..2 {
        let seen = end();
        assert!(until(PATIENCE, || end() != seen), "{}", active.log_text());
    }
}

fn epoch(manager: &ManagerProcess) -> u64 {
    manager.client().get("/health").json()["epoch"].as_u64().unwrap()
}

/// Keeps changing health until the other one is active.
#[track_caller]
fn await_takeover(town: &Town, to: &ManagerProcess) {
    let mut round = 0;
    let is_active = until(PATIENCE, || {
        round += 1;
        if round % 30 == 0 {
            town.flip(round / 30);
        }
        readiness(to) == Some(200)
    });
    assert!(is_active, "{}", to.log_text());
}

#[test]
fn a_manager_that_was_stopped_says_nothing_more_once_another_one_spoke() {
    let cluster = Cluster::start().unwrap();
    let first = busy(cluster.address()).start();
    let second = standby(&first, &cluster);
    let town = Town::found(&first);
    let (mut active, mut other) = (&first, &second);
    for round in 0..2 {
        town.wait_for_epoch_after(epoch(active) - 1, || active.log_text());
        let before = epoch(active);
        active.signal(Signal::STOP);
        await_takeover(&town, other);
        // By now everything that the stopped one had planned is long due.
        town.wait_for_epoch_after(before, || other.log_text());
        town.flip(round);
        active.signal(Signal::CONT);
        let is_standby = until(PATIENCE, || readiness(active) == Some(503));
        assert!(is_standby, "{}", active.log_text());
        await_renewals(&cluster, other);
        town.assert_one_after_the_other();
        (active, other) = (other, active);
    }
}

#[test]
fn a_manager_that_is_cut_off_from_the_database_says_nothing_more_once_another_one_spoke() {
    let cluster = Cluster::start().unwrap();
    let gate = Gate::before(&cluster);
    let old = busy(gate.proxy.address).start();
    let new = standby(&old, &cluster);
    let town = Town::found(&old);
    town.wait_for_epoch_after(0, || old.log_text());
    let before = epoch(&old);
    gate.proxy.black_hole();
    await_takeover(&town, &new);
    town.wait_for_epoch_after(before, || new.log_text());
    for round in 0..2 {
        town.flip(round);
        await_renewals(&cluster, &new);
    }
    town.assert_one_after_the_other();
    gate.proxy.clear();
    await_renewals(&cluster, &new);
    assert!(until(PATIENCE, || readiness(&old) == Some(503)), "{}", old.log_text());
    town.assert_one_after_the_other();
}

#[test]
fn a_manager_that_was_stopped_before_it_knew_of_any_standby_says_nothing_more_either() {
    let cluster = Cluster::start().unwrap();
    let old = busy(cluster.address()).start();
    let town = Town::found(&old);
    town.wait_for_epoch_after(0, || old.log_text());
    let before = epoch(&old);
    old.signal(Signal::STOP);
    let new = busy(cluster.address()).launch();
    await_takeover(&town, &new);
    town.wait_for_epoch_after(before, || new.log_text());
    old.signal(Signal::CONT);
    assert!(until(PATIENCE, || readiness(&old) == Some(503)), "{}", old.log_text());
    await_renewals(&cluster, &new);
    town.assert_one_after_the_other();
}

#[test]
fn a_manager_that_was_stopped_asks_no_pod_before_it_knows_that_it_is_active_again() {
    let cluster = Cluster::start().unwrap();
    let old = busy(cluster.address()).start();
    let fleet = Fleet::new().unwrap();
    let pods: Vec<FakePod> =
        (0..20).map(|number| fleet.pod(&format!("eir-{number}")).unwrap()).collect();
    for pod in &pods {
        register(&mut old.client(), "eir", pod, &[]);
    }
    let checks = || pods.iter().map(FakePod::checks).sum::<usize>();
    // It knows of no standby, so that only an answer of the database tells it of one.
    old.signal(Signal::STOP);
    let new = busy(cluster.address()).launch();
    assert!(until(PATIENCE, || readiness(&new) == Some(200)), "{}", new.log_text());
    let seen = checks();
    assert!(until(PATIENCE, || checks() > seen + pods.len()), "the new one checks");
    let before = epoch(&new);
    // Now nobody runs, and the lease is the new one's still.
    new.signal(Signal::STOP);
    let mut last = None;
    let is_quiet = until(PATIENCE, || {
        let now = checks();
        let is_same = last.replace(now) == Some(now);
        is_same && !until(std::time::Duration::from_millis(300), || checks() != now)
    });
    assert!(is_quiet);
    let seen = checks();
    old.signal(Signal::CONT);
    let is_active = until(PATIENCE, || {
        // Looked at in this order: who asks must be active a moment later at the latest.
        let asked = checks();
        let is_active = readiness(&old) == Some(200) && epoch(&old) > before;
        assert!(
            is_active || asked == seen,
            "it asked {} times while it was not active\n{}",
            asked - seen,
            old.log_text()
        );
        is_active
    });
    assert!(is_active, "{}", old.log_text());
    assert!(until(PATIENCE, || checks() > seen + pods.len()), "and then it checks again");
}
