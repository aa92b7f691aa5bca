//! The audit in PostgreSQL: ids that are taken early and committed late, and tables of an earlier
//! version.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic says that the test failed"
)]

mod postgres_common;

use std::sync::Arc;

use governance_domain::Timestamp;
use governance_store::{
    AuditAction, AuditEntry, AuditQuery, AuditResult, Batch, PostgresStore, Store, Tenure,
};
use governance_testkit::postgres::Cluster;
use postgres_common::{DATABASE, key, owner, settings};

const BLOCK: usize = 4_096;

struct Scene {
    cluster: Cluster,
    store: PostgresStore,
    tenure: Tenure,
    sequence: u64,
}

impl Scene {
    async fn set() -> Self {
        let cluster = Cluster::start().unwrap();
        let store = PostgresStore::new(settings(cluster.address()));
        let tenure = store.acquire(&owner("a:1")).await.unwrap();
        Self { cluster, store, tenure, sequence: 0 }
    }

    /// Stores entries of a pod.
    async fn note(&mut self, pod: &str, count: usize) {
        let entry = AuditEntry {
            at: Timestamp::from_micros(0),
            action: AuditAction::Register,
            result: AuditResult::Success,
            key: Some(key("eir", pod)),
            details: String::new(),
            previous_status: None,
            new_status: None,
            request_id: None,
            remote: None,
        };
        self.sequence += 1;
        let (epoch, sequence) = (self.tenure.epoch, self.sequence);
        let batch = Batch { epoch, sequence, rows: Vec::new(), audit: vec![entry; count] };
        self.store.commit(Arc::new(batch)).await.unwrap();
    }

    /// As a manager that starts anew.
    async fn take_again(&mut self) {
        self.cluster.sql(DATABASE, "UPDATE governance_lease SET expires_at = now()").unwrap();
        self.tenure = self.store.acquire(&owner("a:1")).await.unwrap();
    }

    async fn digest(&self) -> usize {
        self.store.digest_audit(&self.tenure, 9).await.unwrap()
    }

    async fn total(&self, pod: &str) -> usize {
        let pod = Some(pod.to_owned());
        let query = AuditQuery { pod, limit: 1, ..AuditQuery::default() };
        self.store.read_audit(query).await.unwrap().total
    }

    /// Another connection.
    async fn stranger(&self) -> tokio_postgres::Client {
        let settings = settings(self.cluster.address());
        let mut config = tokio_postgres::Config::new();
        config.host(&settings.hosts[0].0).port(settings.hosts[0].1).dbname(DATABASE);
        config.user(&settings.user).password(&settings.password);
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
        #[expect(clippy::disallowed_methods, reason = "it ends with the test's client")]
        tokio::spawn(connection);
        client
    }
}

const LATE: &str = "INSERT INTO governance_audit (at, action, result, service_name, pod_name, \
    details) VALUES ('2026-01-02', 'register', 'success', 'eir', 'late', '')";

#[tokio::test]
async fn an_id_that_is_taken_early_and_committed_late_is_found() {
    let mut scene = Scene::set().await;
    scene.note("a", 10).await;
    let stranger = scene.stranger().await;
    stranger.batch_execute(&format!("BEGIN; {LATE}")).await.unwrap();
    scene.note("b", 3 * BLOCK).await;
    assert_eq!(scene.digest().await, 2, "the first block has a gap");
    assert_eq!(scene.digest().await, 0);
    assert_eq!(scene.total("late").await, 0);
    stranger.batch_execute("COMMIT").await.unwrap();
    assert_eq!(scene.total("late").await, 1);
    assert_eq!((scene.total("a").await, scene.total("b").await), (10, 10_000));
    let first =
        scene.cluster.sql(DATABASE, "SELECT id FROM governance_audit WHERE pod_name = 'late'");
    assert_eq!(first.unwrap(), "11");
}

#[tokio::test]
async fn an_audit_of_an_earlier_version_is_read_before_and_digested_after_the_upgrade() {
    let mut scene = Scene::set().await;
    scene.note("a", BLOCK + 10).await;
    let earlier =
        "DROP TABLE governance_audit_blocks; DELETE FROM governance_schema WHERE version >= 9";
    scene.cluster.sql(DATABASE, earlier).unwrap();
    assert_eq!(scene.total("a").await, BLOCK + 10);
    assert!(scene.store.digest_audit(&scene.tenure, 9).await.is_err());
    assert_eq!(scene.total("a").await, BLOCK + 10);
    scene.take_again().await;
    assert_eq!(scene.digest().await, 1);
    assert_eq!((scene.total("a").await, scene.total("b").await), (BLOCK + 10, 0));
}

#[tokio::test]
async fn digests_of_a_table_that_somebody_emptied_go() {
    let mut scene = Scene::set().await;
    scene.note("a", BLOCK + 10).await;
    assert_eq!(scene.digest().await, 1);
    scene.cluster.sql(DATABASE, "TRUNCATE governance_audit RESTART IDENTITY").unwrap();
    let prune = scene.store.prune_audit(&scene.tenure, Timestamp::from_micros(0), 10);
    prune.await.unwrap();
    scene.note("b", BLOCK + 10).await;
    assert_eq!((scene.total("a").await, scene.total("b").await), (0, BLOCK + 10));
}

#[tokio::test]
async fn digests_that_a_restored_backup_knows_nothing_of_go_and_a_missing_table_is_made() {
    let mut scene = Scene::set().await;
    scene.note("a", BLOCK + 10).await;
    assert_eq!(scene.digest().await, 1);
    // An earlier program's backup names neither the table nor the step, and gives the same ids.
    let restored = "TRUNCATE governance_audit RESTART IDENTITY; \
                    DELETE FROM governance_schema WHERE version >= 9";
    scene.cluster.sql(DATABASE, restored).unwrap();
    scene.note("b", BLOCK + 10).await;
    assert!(scene.total("b").await < BLOCK, "the digest speaks of other entries");
    scene.take_again().await;
    assert_eq!(scene.total("b").await, BLOCK + 10);

    scene.cluster.sql(DATABASE, "DROP TABLE governance_audit_blocks").unwrap();
    let pruned = scene.store.prune_audit(&scene.tenure, Timestamp::from_micros(0), 10).await;
    assert!(pruned.is_err(), "{pruned:?}");
    scene.take_again().await;
    scene.store.prune_audit(&scene.tenure, Timestamp::from_micros(0), 10).await.unwrap();
    assert_eq!(scene.digest().await, 1);
}
