//! A database that went back to an earlier state under a running manager: nobody is told that
//! acknowledged pods are gone, the log says what happened, and the table is whole again.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod postgres_common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use governance_testkit::manager::{ManagerProcess, PATIENCE};
use governance_testkit::postgres::Cluster;
use governance_testkit::wait::until;
use postgres_common::{
    DATABASE, manager, registration, revision, settle, shown_states, stored_states,
};
use serde_json::Value;

#[track_caller]
fn register(manager: &ManagerProcess, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let body = registration(&format!("pod-{number}"), number);
        let answer = manager.client().call("POST", "/register", Some(&body)).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

/// Whether the log says, for a person, that the database went back.
fn is_told(manager: &ManagerProcess) -> bool {
    let is_it = |line: &Value| {
        line["level"] == "ERROR"
            && line["message"].as_str().is_some_and(|text| text.contains("went back"))
    };
    manager.log().iter().any(is_it)
}

struct Bell<'a>(&'a AtomicBool);

impl Drop for Bell<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Takes the database back while readers look, and waits until all is whole again.
#[track_caller]
fn assert_restores(manager: &ManagerProcess, cluster: &Cluster, take_back: impl FnOnce()) {
    let before: BTreeMap<String, u64> = shown_states(manager);
    let (last, registry_id) = revision(manager);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _bell = Bell(&is_over);
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let shown = shown_states(manager);
                let missing = before.keys().find(|pod| !shown.contains_key(*pod));
                assert_eq!(missing, None, "readers were told that it is gone");
            }
        });
        take_back();
        // Without a write: the loss is found by itself.
        assert!(until(PATIENCE, || is_told(manager)), "{}", manager.log_text());
        let is_whole = until(PATIENCE, || {
            revision(manager).1 != registry_id && stored_states(cluster) == before
        });
        assert!(is_whole, "{}", manager.log_text());
        settle(manager);
    });
    let shown = shown_states(manager);
    assert_eq!(shown, stored_states(cluster), "memory and table");
    assert!(before.iter().all(|(pod, number)| shown.get(pod) == Some(number)));
    let (now, new_id) = revision(manager);
    assert_ne!(new_id, registry_id, "another history is another registry");
    assert!(now > last, "{last} became {now}");
    let stored = cluster.sql(DATABASE, "SELECT registry_id FROM governance_lease").unwrap();
    assert_eq!(stored, new_id);
}

/// Another process reads what the first one wrote back.
#[track_caller]
fn assert_survives_a_restart(manager: ManagerProcess) {
    let shown = shown_states(&manager);
    let last = revision(&manager);
    let manager = manager.sigkill().start();
    assert_eq!(shown_states(&manager), shown);
    let now = revision(&manager);
    assert_eq!(now.1, last.1);
    assert!(now.0 > last.0, "{last:?} became {now:?}");
}

#[test]
fn rows_and_sequence_of_the_same_epoch_that_went_back_are_written_again() {
    let cluster = Cluster::start().unwrap();
    let manager = manager(cluster.address()).start();
    register(&manager, 0..20);
    assert_restores(&manager, &cluster, || {
        let loss = "DELETE FROM services WHERE pod_name LIKE 'pod-1%'; \
                    DELETE FROM governance_pods WHERE service_key LIKE '%:pod-1%'; \
                    UPDATE governance_lease SET sequence = sequence - 11";
        cluster.sql(DATABASE, loss).unwrap();
    });
    assert_survives_a_restart(manager);
}

#[test]
fn a_standby_leaves_a_database_that_went_back_to_the_one_that_can_mend_it() {
    let cluster = Cluster::start().unwrap();
    let active = manager(cluster.address()).start();
    register(&active, 0..20);
    let standby = manager(cluster.address()).launch();
    standby
        .wait_for_log(|line| line["message"].as_str().is_some_and(|text| text.contains("standby")));
    // What the standby saw last is what everybody was told.
    let seen = "UPDATE governance_lease SET standby_seen_at = NULL";
    cluster.sql(DATABASE, seen).unwrap();
    let is_seen = "SELECT standby_seen_at IS NOT NULL FROM governance_lease";
    assert!(until(PATIENCE, || cluster.sql(DATABASE, is_seen).unwrap() == "t"));
    assert_restores(&active, &cluster, || {
        // A copy of an hour ago: its lease is over, and anybody's.
        let loss = "DELETE FROM services WHERE pod_name LIKE 'pod-1%'; \
                    DELETE FROM governance_pods WHERE service_key LIKE '%:pod-1%'; \
                    UPDATE governance_lease SET sequence = sequence - 11, \
                        expires_at = clock_timestamp() - interval '1 hour'";
        cluster.sql(DATABASE, loss).unwrap();
    });
    let is_standby = until(PATIENCE, || {
        standby.client().get("/ready").json()["active"] == active.address().to_string()
    });
    assert!(is_standby, "{}", standby.log_text());
    let shown = shown_states(&active);
    drop(active);
    let has_taken_over = until(PATIENCE, || standby.client().get("/ready").status == 200);
    assert!(has_taken_over, "{}", standby.log_text());
    assert_eq!(shown_states(&standby), shown);
}

#[test]
fn a_copy_of_an_earlier_epoch_in_place_of_the_database_is_written_again() {
    let cluster = Cluster::start().unwrap();
    let mut first = manager(cluster.address()).start();
    register(&first, 0..10);
    assert_eq!(first.stop().code(), Some(0));
    let copy = format!("CREATE DATABASE earlier TEMPLATE {DATABASE}");
    cluster.sql("postgres", &copy).unwrap();
    let manager = first.settings().start();
    register(&manager, 10..20);
    let gone = manager.client().send("DELETE", "/unregister?service_name=service-2&pod_name=pod-3");
    assert_eq!(gone.status, 200, "{gone:?}");
    assert_restores(&manager, &cluster, || {
        let close = format!(
            "ALTER DATABASE {DATABASE} ALLOW_CONNECTIONS false; \
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{DATABASE}'"
        );
        cluster.sql("postgres", &close).unwrap();
        // In one transaction: at no time is there no database of that name.
        let swap = format!(
            "ALTER DATABASE {DATABASE} RENAME TO lost; ALTER DATABASE earlier RENAME TO {DATABASE}"
        );
        assert!(until(PATIENCE, || cluster.sql("postgres", &swap).is_ok()));
    });
    assert!(!shown_states(&manager).contains_key("pod-3"), "what was removed does not come back");
    assert_survives_a_restart(manager);
}

#[test]
fn a_database_that_was_dropped_is_made_and_written_again() {
    let cluster = Cluster::start().unwrap();
    let manager = manager(cluster.address()).start();
    register(&manager, 0..20);
    assert_restores(&manager, &cluster, || {
        let drop = format!("DROP DATABASE {DATABASE} WITH (FORCE)");
        cluster.sql("postgres", &drop).unwrap();
    });
    assert_survives_a_restart(manager);
}

#[test]
fn tables_that_were_dropped_are_made_and_written_again() {
    let cluster = Cluster::start().unwrap();
    let manager = manager(cluster.address()).start();
    register(&manager, 0..20);
    assert_restores(&manager, &cluster, || {
        cluster.sql(DATABASE, "DROP SCHEMA public CASCADE; CREATE SCHEMA public").unwrap();
    });
    assert_survives_a_restart(manager);
}
