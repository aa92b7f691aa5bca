//! What becomes of a batch when the connection or the server fails at the worst moment: the store
//! says what it knows, and taking the lease again tells the rest.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic says that the test failed"
)]

mod postgres_common;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use governance_domain::Pod;
use governance_store::postgres::PostgresSettings;
use governance_store::{AcquireError, Batch, CommitError, Owner, PostgresStore, Store, Tenure};
use governance_testkit::postgres::{Cluster, Shutdown};
use governance_testkit::proxy::{Fate, Proxy};
use governance_testkit::wait::until;
use postgres_common::{DATABASE, batch, names, owner, pod, settings};

/// A store behind a proxy that has committed its first batch.
struct Scene {
    cluster: Cluster,
    proxy: Proxy,
    store: PostgresStore,
    owner: Owner,
    tenure: Tenure,
}

impl Scene {
    async fn set(statement_timeout: Duration) -> Self {
        Self::on(Cluster::start().unwrap(), statement_timeout).await
    }

    async fn on(cluster: Cluster, statement_timeout: Duration) -> Self {
        let proxy = Proxy::start(cluster.address()).await.unwrap();
        let store =
            PostgresStore::new(PostgresSettings { statement_timeout, ..settings(proxy.address) });
        let owner = owner("a:1");
        let tenure = store.acquire(&owner).await.unwrap();
        let scene = Self { cluster, proxy, store, owner, tenure };
        scene.commit(1).await.unwrap();
        scene
    }

    fn batch(&self, sequence: u64) -> Arc<Batch> {
        let pod = pod("eir", &format!("eir-{sequence}"), sequence);
        batch(self.tenure.epoch, sequence, pod)
    }

    async fn commit(&self, sequence: u64) -> Result<(), CommitError> {
        self.store.commit(self.batch(sequence)).await
    }

    async fn acquire_again(&mut self) {
        self.tenure = self.store.acquire(&self.owner).await.unwrap();
    }

    async fn names(&self) -> Vec<String> {
        names(&self.store.load().await.unwrap())
    }
}

fn is_unknown(outcome: &Result<(), CommitError>) -> bool {
    matches!(outcome, Err(CommitError::Unknown(_)))
}

async fn outcome_of(fate: Fate) -> (Scene, u64) {
    let mut scene = Scene::set(Duration::from_secs(10)).await;
    scene.proxy.doom_next(fate);
    let outcome = scene.commit(2).await;
    assert!(is_unknown(&outcome), "{fate:?}: {outcome:?}");
    let stale = scene.batch(2);
    scene.acquire_again().await;
    let late = scene.store.commit(stale).await;
    assert!(matches!(late, Err(CommitError::Lost(_))), "of the epoch before: {late:?}");
    let sequence = scene.tenure.sequence;
    (scene, sequence)
}

#[tokio::test]
async fn a_batch_cut_off_before_the_server_is_not_stored_and_can_be_sent_again() {
    let (scene, sequence) = outcome_of(Fate::CutBefore).await;
    assert_eq!(sequence, 1);
    scene.commit(2).await.unwrap();
    assert_eq!(scene.names().await, ["eir:eir-1", "eir:eir-2"]);
}

#[tokio::test]
async fn a_batch_cut_in_half_is_not_stored_and_can_be_sent_again() {
    let (scene, sequence) = outcome_of(Fate::CutWithin).await;
    assert_eq!(sequence, 1);
    scene.commit(2).await.unwrap();
    assert_eq!(scene.names().await, ["eir:eir-1", "eir:eir-2"]);
}

#[tokio::test]
async fn a_batch_whose_answer_is_lost_is_stored_and_the_sequence_says_so() {
    let (scene, sequence) = outcome_of(Fate::CutAfter).await;
    assert_eq!(sequence, 2);
    assert_eq!(scene.names().await, ["eir:eir-1", "eir:eir-2"]);
    scene.commit(3).await.unwrap();
}

#[tokio::test]
async fn an_answer_that_never_comes_is_not_waited_for() {
    let mut scene = Scene::set(Duration::from_millis(300)).await;
    scene.proxy.doom_next(Fate::SwallowAnswer);
    let outcome = scene.commit(2).await;
    assert!(is_unknown(&outcome), "{outcome:?}");
    scene.acquire_again().await;
    assert_eq!(scene.tenure.sequence, 2);
    scene.commit(3).await.unwrap();
}

#[tokio::test]
async fn a_network_that_swallows_everything_leaves_the_outcome_open_until_it_is_back() {
    let mut scene = Scene::set(Duration::from_millis(300)).await;
    scene.proxy.black_hole();
    let outcome = scene.commit(2).await;
    assert!(is_unknown(&outcome), "{outcome:?}");
    scene.proxy.refuse();
    let refused = scene.store.acquire(&scene.owner).await;
    assert!(matches!(refused, Err(AcquireError::Unavailable(_))), "{refused:?}");
    scene.proxy.clear();
    scene.acquire_again().await;
    let next = scene.tenure.sequence + 1;
    scene.commit(next).await.unwrap();
}

#[tokio::test]
async fn without_a_connection_a_batch_is_certainly_not_applied() {
    let scene = Scene::set(Duration::from_secs(10)).await;
    scene.proxy.refuse();
    // The first call may still find the connection open.
    let _ = scene.store.renew(&scene.tenure).await;
    let outcome = scene.commit(2).await;
    assert!(matches!(outcome, Err(CommitError::NotApplied(_))), "{outcome:?}");
    scene.proxy.clear();
    scene.commit(2).await.unwrap();
    assert_eq!(scene.names().await, ["eir:eir-1", "eir:eir-2"]);
}

#[tokio::test]
async fn what_was_acknowledged_survives_killing_the_server() {
    let mut cluster = Cluster::start_with(&[("fsync", "on")]).unwrap();
    let store = PostgresStore::new(settings(cluster.address()));
    let owner = owner("a:1");
    let tenure = store.acquire(&owner).await.unwrap();
    for sequence in 1..=20 {
        let pod = pod("eir", &format!("eir-{sequence:02}"), sequence);
        store.commit(batch(tenure.epoch, sequence, pod)).await.unwrap();
    }
    cluster.stop(Shutdown::Kill).unwrap();
    let down = store.renew(&tenure).await;
    assert!(down.is_err(), "{down:?}");
    cluster.start_again().unwrap();
    let tenure = store.acquire(&owner).await.unwrap();
    assert_eq!(tenure.sequence, 20);
    let loaded = store.load().await.unwrap();
    assert_eq!(loaded.pods.len(), 20);
    store.commit(batch(tenure.epoch, 21, pod("eir", "eir-21", 21))).await.unwrap();
}

/// Holds rows in a transaction of its own, as a batch at work does, and sleeps on them.
fn hold(cluster: &Cluster, sql: &str, seconds: f32) -> JoinHandle<anyhow::Result<String>> {
    let holding = format!("BEGIN; {sql}; SELECT pg_sleep({seconds}); COMMIT");
    let beside = cluster.sql_beside(DATABASE, &holding);
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    let is_held = until(Duration::from_secs(10), || {
        cluster.sql(DATABASE, sleeping).is_ok_and(|count| count == "1")
    });
    assert!(is_held, "nobody holds the rows");
    beside
}

#[tokio::test]
async fn taking_the_lease_again_waits_for_a_batch_that_is_still_at_work() {
    let mut scene = Scene::set(Duration::from_secs(10)).await;
    let at_work = "UPDATE governance_lease SET sequence = 2";
    let older = hold(&scene.cluster, at_work, 2.0);
    scene.acquire_again().await;
    assert_eq!(scene.tenure.sequence, 2);
    older.join().unwrap().unwrap();
    scene.commit(3).await.unwrap();
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_given_up_and_certainly_not_applied() {
    let scene = Scene::set(Duration::from_millis(300)).await;
    let held = "UPDATE governance_lease SET sequence = sequence";
    let other = hold(&scene.cluster, held, 3.0);
    let outcome = scene.commit(2).await;
    assert!(matches!(outcome, Err(CommitError::NotApplied(_))), "{outcome:?}");
    other.join().unwrap().unwrap();
    scene.commit(2).await.unwrap();
}

#[tokio::test]
async fn a_batch_that_meets_another_transaction_is_sent_again_whole() {
    let parameters = [("fsync", "off"), ("deadlock_timeout", "3s")];
    let cluster = Cluster::start_with(&parameters).unwrap();
    let scene = Scene::on(cluster, Duration::from_secs(10)).await;
    // It has the row that the batch wants second, and then wants the one that the batch has. The
    // server gives up the one that looks first, and this one never looks.
    let other = hold(
        &scene.cluster,
        "SET deadlock_timeout = '1min'; UPDATE services SET pod_name = pod_name; \
         SELECT pg_sleep(2); UPDATE governance_lease SET address = 'x'",
        0.0,
    );
    let again = batch(scene.tenure.epoch, 2, pod("eir", "eir-1", 7));
    scene.store.commit(again).await.unwrap();
    other.join().unwrap().unwrap();
    assert!(scene.cluster.log().contains("deadlock detected"), "they did not meet");
    let loaded = scene.store.load().await.unwrap();
    assert_eq!(loaded.pods, [Pod::clone(&pod("eir", "eir-1", 7))]);
}

#[tokio::test]
async fn a_connection_that_an_operator_ends_leaves_the_outcome_open() {
    let mut scene = Scene::set(Duration::from_secs(10)).await;
    let held = "UPDATE governance_lease SET sequence = sequence";
    let other = hold(&scene.cluster, held, 3.0);
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE application_name = 'telco-governance-manager' AND wait_event_type = 'Lock'";
    let ending = async {
        let is_ended = || scene.cluster.sql(DATABASE, end).is_ok_and(|count| count == "1");
        while !is_ended() {
            tokio::task::yield_now().await;
        }
    };
    let (outcome, ()) = tokio::join!(scene.commit(2), ending);
    assert!(is_unknown(&outcome), "{outcome:?}");
    other.join().unwrap().unwrap();
    scene.acquire_again().await;
    assert_eq!(scene.tenure.sequence, 1);
}

#[tokio::test]
async fn data_that_the_database_refuses_is_told_from_trouble_and_hurts_nobody_else() {
    let scene = Scene::set(Duration::from_secs(10)).await;
    for name in ["x".repeat(200), "nul\0".to_owned()] {
        let outcome = scene.store.commit(batch(scene.tenure.epoch, 2, pod("eir", &name, 2))).await;
        assert!(matches!(outcome, Err(CommitError::Refused { .. })), "{name:?}: {outcome:?}");
    }
    scene.commit(2).await.unwrap();
    assert_eq!(scene.names().await, ["eir:eir-1", "eir:eir-2"]);
}
