//! Databases that earlier managers filled: every row is kept, shown and removable, their other
//! tables are left alone, and looking twice changes nothing.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic says that the test failed"
)]

mod postgres_common;

use governance_domain::{PodKey, Status};
use governance_store::{HealthWrite, Loaded, PostgresStore, RowChange, Store, Tenure};
use governance_testkit::postgres::Cluster;
use postgres_common::{DATABASE, batch, changes, key, names, owner, pod, settings};

/// The older one: times without zone, subscriptions as strings or `null`, an audit of its own.
const FIRST_GENERATION: &str = r#"
CREATE TABLE services (
    service_key VARCHAR(255) PRIMARY KEY,
    service_name VARCHAR(128) NOT NULL,
    pod_name VARCHAR(128) NOT NULL,
    providers JSONB NOT NULL,
    health_check_url VARCHAR(512) NOT NULL,
    notification_url VARCHAR(512) NOT NULL,
    subscriptions JSONB NOT NULL,
    status VARCHAR(20) NOT NULL,
    last_health_check TIMESTAMP NOT NULL,
    registered_at TIMESTAMP NOT NULL,
    updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX idx_services_service_name ON services(service_name);
CREATE INDEX idx_services_status ON services(status);
CREATE TABLE audit_logs (id VARCHAR(64) PRIMARY KEY, timestamp TIMESTAMP, action TEXT, details JSONB);
INSERT INTO audit_logs VALUES ('a', '2025-01-01', 'register', 'null');
INSERT INTO services VALUES
 ('eir:eir-1','eir','eir-1','[{"protocol":"http","ip":"192.168.1.30","port":8080}]',
  'http://192.168.1.30:8080/health','http://192.168.1.30:8080/notify','null','healthy',
  '2025-01-02 03:04:05.25','2025-01-02 03:04:05','2025-01-02 03:04:05'),
 ('http-gw:p','http-gw','p','[]','http://::1:8080/h','http://a/n','["diam-gw","eir"]','unknown',
  '0001-01-01 00:00:00','2999-01-01 00:00:00','infinity'),
 ('odd name:-','odd name','-','[{"protocol":"HTTP","ip":"","port":99999}]','','x','{}','gone',
  '-infinity','2025-01-01','2025-01-01'),
 ('ghost','eir','eir-2','[]','http://a/h','http://a/n','[]','healthy',
  '2025-01-01','2025-01-01','2025-01-01'),
 ('ghost of eir-1','eir','eir-1','[]','http://ghost/h','http://ghost/n','"diam-gw"','healthy',
  '2026-01-01','2026-01-01','2026-01-01')"#;

/// The younger one: times with zone, filters in subscriptions, columns that may be empty.
const SECOND_GENERATION: &str = r#"
SET timezone = 'Asia/Ho_Chi_Minh';
CREATE TABLE services (
    service_key TEXT PRIMARY KEY,
    service_name TEXT NOT NULL,
    pod_name TEXT NOT NULL,
    providers JSON,
    health_check_url TEXT,
    notification_url TEXT,
    subscriptions JSON,
    status TEXT,
    last_health_check TIMESTAMPTZ,
    registered_at TIMESTAMPTZ,
    updated_at TIMESTAMPTZ
);
INSERT INTO services VALUES
 ('eir:eir-1','eir','eir-1','[{"protocol":"tcp","ip":"10.0.0.1","port":3868,"provider_id":"d"}]',
  'http://10.0.0.1/health','http://10.0.0.1/notify',
  '["http-gw",{"service_name":"diam-gw","provider_ids":["x"]},{"service_name":"smf","provider_ids":null}]',
  'healthy','2025-01-02 10:04:05','2025-01-02 10:04:05','2025-01-02 10:04:05'),
 ('eir:eir-2','eir','eir-2',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL)"#;

/// 2025-01-02T03:04:05Z.
const REGISTERED: i64 = 1_735_787_045_000_000;

struct TakenOver {
    cluster: Cluster,
    store: PostgresStore,
    tenure: Tenure,
    loaded: Loaded,
}

impl TakenOver {
    async fn of(generation: &str) -> Self {
        let cluster = Cluster::start().unwrap();
        cluster.sql("postgres", &format!("CREATE DATABASE {DATABASE}")).unwrap();
        cluster.sql(DATABASE, generation).unwrap();
        Self::start(cluster).await
    }

    async fn start(cluster: Cluster) -> Self {
        let store = PostgresStore::new(settings(cluster.address()));
        let tenure = store.acquire(&owner("a:1")).await.unwrap();
        let loaded = store.load().await.unwrap();
        Self { cluster, store, tenure, loaded }
    }

    async fn start_again(self) -> Self {
        self.store.release(&self.tenure).await.unwrap();
        Self::start(self.cluster).await
    }

    fn sql(&self, sql: &str) -> String {
        self.cluster.sql(DATABASE, sql).unwrap()
    }

    fn content(&self) -> String {
        self.sql(
            "SELECT * FROM services ORDER BY 1; \
             SELECT service_key, registration_id, deleted FROM governance_pods ORDER BY 1",
        )
    }

    async fn delete(&self, sequence: u64, key: &PodKey) {
        let delete = RowChange::Delete { key: key.clone() };
        self.store.commit(changes(self.tenure.epoch, sequence, vec![delete])).await.unwrap();
    }

    fn pod(&self, key: &PodKey) -> &governance_domain::Pod {
        self.loaded.pods.iter().find(|pod| pod.key == *key).unwrap()
    }
}

#[tokio::test]
async fn rows_of_the_first_generation_are_kept_and_shown() {
    let taken = TakenOver::of(FIRST_GENERATION).await;
    assert_eq!(names(&taken.loaded), ["eir:eir-1", "eir:eir-2", "http-gw:p", "odd name:-"]);
    let pod = taken.pod(&key("eir", "eir-1"));
    assert_eq!(&*pod.content.health_check_url, "http://192.168.1.30:8080/health", "not the ghost");
    assert_eq!(pod.registered_at.as_micros(), REGISTERED);
    assert_eq!(taken.pod(&key("http-gw", "p")).last_health_check, None);
    assert_eq!(taken.pod(&key("odd name", "-")).status, Status::Unknown);
    assert_eq!(taken.sql("SELECT count(*) FROM services"), "5", "the ghost too is kept");
    assert!(taken.loaded.odd_count >= 3, "{:?}", taken.loaded.oddities);
}

#[tokio::test]
async fn rows_of_the_second_generation_are_kept_and_their_times_are_utc() {
    let taken = TakenOver::of(SECOND_GENERATION).await;
    assert_eq!(names(&taken.loaded), ["eir:eir-1", "eir:eir-2"]);
    let pod = taken.pod(&key("eir", "eir-1"));
    assert_eq!(pod.registered_at.as_micros(), REGISTERED);
    assert_eq!(pod.content.subscriptions.len(), 3);
    let changed = batch(taken.tenure.epoch, 1, postgres_common::pod("eir", "eir-1", 1 << 32));
    taken.store.commit(changed).await.unwrap();
    let loaded = taken.store.load().await.unwrap();
    let stored = loaded.pods.iter().find(|pod| pod.key == key("eir", "eir-1")).unwrap();
    assert_eq!(*stored, *postgres_common::pod("eir", "eir-1", 1 << 32));
}

#[tokio::test]
async fn the_documented_query_over_subscriptions_works_after_a_take_over() {
    for (generation, function, count) in [
        (FIRST_GENERATION, "jsonb_array_length", "3"),
        (SECOND_GENERATION, "json_array_length", "1"),
    ] {
        let taken = TakenOver::of(generation).await;
        let query = format!("SELECT count(*) FROM services WHERE {function}(subscriptions) > 0");
        assert_eq!(taken.sql(&query), count);
    }
}

#[tokio::test]
async fn starting_twice_changes_nothing_and_another_programs_table_is_never_touched() {
    for generation in [FIRST_GENERATION, SECOND_GENERATION] {
        let first = TakenOver::of(generation).await;
        let content = first.content();
        let second = first.start_again().await;
        assert_eq!(second.content(), content);
        if generation == FIRST_GENERATION {
            let audit = second.sql("SELECT * FROM audit_logs");
            assert_eq!(audit, "a|2025-01-01 00:00:00|register|null");
        }
    }
}

#[tokio::test]
async fn every_row_can_be_removed_by_its_names_whatever_its_key() {
    let taken = TakenOver::of(FIRST_GENERATION).await;
    let keys: Vec<PodKey> = taken.loaded.pods.iter().map(|pod| pod.key.clone()).collect();
    for (sequence, key) in (1..).zip(&keys) {
        taken.delete(sequence, key).await;
    }
    assert_eq!(taken.sql("SELECT service_key FROM services"), "");
}

#[tokio::test]
async fn a_pod_that_registers_again_leaves_its_ghosts_behind() {
    let taken = TakenOver::of(FIRST_GENERATION).await;
    for (sequence, name) in [(1, "eir-1"), (2, "eir-2")] {
        let pod = pod("eir", name, (1 << 32) + sequence);
        taken.store.commit(batch(taken.tenure.epoch, sequence, pod)).await.unwrap();
    }
    let keys = taken.sql("SELECT service_key FROM services WHERE service_name = 'eir' ORDER BY 1");
    assert_eq!(keys, "eir:eir-1\neir:eir-2");
}

#[tokio::test]
async fn health_is_written_to_a_row_with_an_odd_key() {
    let taken = TakenOver::of(FIRST_GENERATION).await;
    let pod = taken.pod(&key("eir", "eir-2"));
    let write = HealthWrite {
        key: pod.key.clone(),
        registration_id: pod.registration_id,
        status: Status::Unhealthy,
        last_health_check: pod.registered_at,
        status_changed_at: None,
    };
    taken.store.write_health(&taken.tenure, vec![write], Vec::new()).await.unwrap();
    let status = "SELECT status FROM services WHERE service_key = 'ghost'";
    assert_eq!(taken.sql(status), "unhealthy");
}

#[tokio::test]
async fn a_regular_registration_under_another_pods_odd_key_takes_its_place() {
    let cluster = Cluster::start().unwrap();
    cluster.sql("postgres", &format!("CREATE DATABASE {DATABASE}")).unwrap();
    cluster.sql(DATABASE, FIRST_GENERATION).unwrap();
    cluster
        .sql(DATABASE, "UPDATE services SET service_key = 'a:b' WHERE service_key = 'ghost'")
        .unwrap();
    let taken = TakenOver::start(cluster).await;
    let put = RowChange::Put { pod: pod("a", "b", 1 << 32), resets_health: true };
    let delete = RowChange::Delete { key: key("eir", "eir-2") };
    let both = changes(taken.tenure.epoch, 1, vec![put, delete]);
    taken.store.commit(both).await.unwrap();
    assert_eq!(taken.sql("SELECT pod_name FROM services WHERE service_key = 'a:b'"), "b");
    taken.delete(2, &key("a", "b")).await;
    assert_eq!(taken.sql("SELECT count(*) FROM services WHERE service_key = 'a:b'"), "0");
}
