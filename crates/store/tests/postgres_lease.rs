//! One active and its standbys on one database: who may write, and who changes tables.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic says that the test failed"
)]

mod postgres_common;

use governance_store::postgres::PostgresSettings;
use governance_store::{AcquireError, CommitError, LastTenure, PostgresStore, Store, Tenure};
use governance_testkit::postgres::Cluster;
use postgres_common::{DATABASE, batch, names, owner, pod, refusal, settings};

const EXPIRE: &str = "UPDATE governance_lease SET expires_at = clock_timestamp()";

fn store(cluster: &Cluster) -> PostgresStore {
    PostgresStore::new(settings(cluster.address()))
}

#[tokio::test]
async fn a_standby_is_told_who_is_active_and_the_active_that_it_has_a_standby() {
    let cluster = Cluster::start().unwrap();
    let (active, standby) = (store(&cluster), store(&cluster));
    let tenure = active.acquire(&owner("active:8080")).await.unwrap();
    assert!(!active.renew(&tenure).await.unwrap().standby_is_alive);
    match standby.acquire(&owner("standby:8080")).await {
        Err(AcquireError::Held { address, tenure: seen }) => {
            assert_eq!(address, "active:8080");
            let Tenure { registry_id, epoch, .. } = tenure;
            assert_eq!(seen, Some(LastTenure { registry_id, epoch, sequence: 0 }));
        }
        other => panic!("{other:?}"),
    }
    assert!(active.renew(&tenure).await.unwrap().standby_is_alive);
}

#[tokio::test]
async fn a_lease_that_ended_is_taken_and_the_former_holder_writes_nothing_more() {
    let cluster = Cluster::start().unwrap();
    let (former, next) = (store(&cluster), store(&cluster));
    let old = former.acquire(&owner("a:1")).await.unwrap();
    former.commit(batch(old.epoch, 1, pod("eir", "eir-1", 1))).await.unwrap();
    cluster.sql(DATABASE, EXPIRE).unwrap();
    let new = next.acquire(&owner("b:1")).await.unwrap();
    assert_eq!((new.epoch, new.sequence), (old.epoch + 1, 1));
    let late = former.commit(batch(old.epoch, 2, pod("eir", "eir-2", 2))).await;
    assert!(matches!(late, Err(CommitError::Lost(_))), "{late:?}");
    let late = former.rewrite(&old, vec![pod("eir", "eir-3", 3)], Vec::new()).await;
    assert!(matches!(late, Err(CommitError::Lost(_))), "{late:?}");
    assert_eq!(names(&next.load().await.unwrap()), ["eir:eir-1"]);
}

#[tokio::test]
async fn a_released_lease_is_taken_at_once() {
    let cluster = Cluster::start().unwrap();
    let (former, next) = (store(&cluster), store(&cluster));
    let tenure = former.acquire(&owner("a:1")).await.unwrap();
    former.release(&tenure).await.unwrap();
    assert_eq!(next.acquire(&owner("b:1")).await.unwrap().epoch, 2);
}

#[tokio::test]
async fn a_renewed_lease_is_not_taken_although_it_had_ended() {
    let cluster = Cluster::start().unwrap();
    let (active, standby) = (store(&cluster), store(&cluster));
    let tenure = active.acquire(&owner("a:1")).await.unwrap();
    cluster.sql(DATABASE, EXPIRE).unwrap();
    active.renew(&tenure).await.unwrap();
    let taken = standby.acquire(&owner("b:1")).await;
    assert!(matches!(taken, Err(AcquireError::Held { .. })), "{taken:?}");
}

#[tokio::test]
async fn of_several_that_start_at_once_on_an_empty_server_exactly_one_gets_the_lease() {
    let cluster = Cluster::start().unwrap();
    let starts = (0..6).map(|number| {
        let store = store(&cluster);
        async move { store.acquire(&owner(&format!("m{number}:1"))).await }
    });
    let outcomes = futures_util::future::join_all(starts).await;
    let (taken, held): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(taken.len(), 1, "{taken:?} {held:?}");
    assert!(held.iter().all(|h| matches!(h, Err(AcquireError::Held { .. }))), "{held:?}");
}

#[tokio::test]
async fn a_standby_changes_no_table() {
    let cluster = Cluster::start().unwrap();
    let active = store(&cluster);
    active.acquire(&owner("a:1")).await.unwrap();
    // As if an older program held the lease: the last step is not done yet.
    cluster
        .sql(
            DATABASE,
            "DROP TABLE governance_audit_blocks; \
             DELETE FROM governance_schema WHERE version = 9",
        )
        .unwrap();
    let standby = store(&cluster);
    let held = standby.acquire(&owner("b:1")).await;
    assert!(matches!(held, Err(AcquireError::Held { .. })), "{held:?}");
    let audit = "SELECT to_regclass('governance_audit_blocks') IS NULL";
    assert_eq!(cluster.sql(DATABASE, audit).unwrap(), "t");
    cluster.sql(DATABASE, EXPIRE).unwrap();
    standby.acquire(&owner("b:1")).await.unwrap();
    assert_eq!(cluster.sql(DATABASE, audit).unwrap(), "f");
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let cluster = Cluster::start().unwrap();
    store(&cluster).acquire(&owner("a:1")).await.unwrap();
    let newer = "INSERT INTO governance_schema VALUES (99, 'later', 'x', now())";
    cluster.sql(DATABASE, &format!("{newer}; {EXPIRE}")).unwrap();
    let text = refusal(settings(cluster.address())).await;
    assert!(text.starts_with("unusable: ") && text.contains("version 99"), "{text}");
    assert_eq!(cluster.sql(DATABASE, "SELECT epoch FROM governance_lease").unwrap(), "1");
}

#[tokio::test]
async fn a_table_services_of_another_program_is_refused_before_anything_is_made() {
    let cluster = Cluster::start().unwrap();
    cluster.sql("postgres", "CREATE TABLE services (id int PRIMARY KEY, status text)").unwrap();
    let settings =
        PostgresSettings { database: "postgres".to_owned(), ..settings(cluster.address()) };
    let text = refusal(settings).await;
    assert!(text.starts_with("unusable: ") && text.contains("another program's"), "{text}");
    let tables = "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'governance%'";
    assert_eq!(cluster.sql("postgres", tables).unwrap(), "0");
}
