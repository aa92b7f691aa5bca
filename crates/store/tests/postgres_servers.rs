//! Which server is used, and what an operator reads when none can be.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic says that the test failed"
)]

mod postgres_common;

use std::net::SocketAddr;
use std::time::Duration;

use governance_store::postgres::{PostgresSettings, probe};
use governance_store::{AcquireError, PostgresStore, Store};
use governance_testkit::postgres::{Cluster, Shutdown};
use governance_testkit::wait::until;
use postgres_common::{DATABASE, batch, names, owner, pod, refusal, settings};

fn of_hosts(addresses: &[SocketAddr]) -> PostgresSettings {
    let hosts = addresses.iter().map(|at| (at.ip().to_string(), at.port())).collect();
    PostgresSettings { hosts, ..settings(addresses[0]) }
}

fn as_gov(cluster: &Cluster) -> PostgresSettings {
    let settings = settings(cluster.address());
    PostgresSettings { user: "gov".to_owned(), password: "gov".to_owned(), ..settings }
}

#[tokio::test]
async fn a_missing_database_is_created_and_then_used_again() {
    let cluster = Cluster::start().unwrap();
    let settings =
        PostgresSettings { database: "it's \"odd\"".to_owned(), ..settings(cluster.address()) };
    let first = PostgresStore::new(settings.clone()).acquire(&owner("a:1")).await.unwrap();
    let second = PostgresStore::new(settings).acquire(&owner("b:1")).await;
    assert!(matches!(second, Err(AcquireError::Held { .. })), "{first:?} {second:?}");
}

#[tokio::test]
async fn a_database_that_may_not_be_created_is_told_with_the_cure() {
    let cluster = Cluster::start().unwrap();
    cluster.sql("postgres", "CREATE ROLE gov LOGIN PASSWORD 'gov'").unwrap();
    let text = refusal(as_gov(&cluster)).await;
    assert!(text.starts_with("unusable: "), "{text}");
    assert!(text.contains("CREATE DATABASE \"governance_db\" OWNER \"gov\""), "{text}");
}

#[tokio::test]
async fn missing_rights_are_told_with_the_cure() {
    let cluster = Cluster::start().unwrap();
    cluster.sql("postgres", "CREATE ROLE gov LOGIN PASSWORD 'gov'").unwrap();
    cluster.sql("postgres", &format!("CREATE DATABASE {DATABASE}")).unwrap();
    let text = refusal(as_gov(&cluster)).await;
    assert!(text.starts_with("unusable: ") && text.contains("grant"), "{text}");
    cluster.sql(DATABASE, "GRANT CREATE ON SCHEMA public TO gov").unwrap();
    PostgresStore::new(as_gov(&cluster)).acquire(&owner("a:1")).await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_told_without_showing_it() {
    let cluster = Cluster::start().unwrap();
    let settings =
        PostgresSettings { password: "hunter2".to_owned(), ..settings(cluster.address()) };
    let text = refusal(settings.clone()).await;
    assert!(text.starts_with("unusable: ") && text.contains("DB_PASSWORD"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    assert!(probe(&settings, Duration::from_secs(10)).await.is_err());
}

#[tokio::test]
async fn a_server_without_free_connections_is_waited_for() {
    let cluster = Cluster::start().unwrap();
    let role = "CREATE ROLE gov LOGIN CREATEDB PASSWORD 'gov' CONNECTION LIMIT 0";
    cluster.sql("postgres", role).unwrap();
    let text = refusal(as_gov(&cluster)).await;
    assert!(text.starts_with("unavailable: ") && text.contains("max_connections"), "{text}");
}

#[tokio::test]
async fn a_read_only_server_is_waited_for() {
    let parameters = [("fsync", "off"), ("default_transaction_read_only", "on")];
    let cluster = Cluster::start_with(&parameters).unwrap();
    let settings =
        PostgresSettings { database: "postgres".to_owned(), ..settings(cluster.address()) };
    let text = refusal(settings).await;
    assert!(text.starts_with("unavailable: ") && text.contains("takes no writes"), "{text}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_waited_for() {
    let mut cluster = Cluster::start().unwrap();
    cluster.stop(Shutdown::Fast).unwrap();
    let settings = settings(cluster.address());
    let text = refusal(settings.clone()).await;
    assert!(text.starts_with("unavailable: ") && text.contains("nothing answers"), "{text}");
    assert!(probe(&settings, Duration::from_secs(10)).await.is_err());
}

#[tokio::test]
async fn a_name_that_leads_nowhere_is_told() {
    let mut settings = settings("127.0.0.1:5432".parse().unwrap());
    settings.hosts = vec![("no-such-host.invalid".to_owned(), 5432)];
    let text = refusal(settings).await;
    assert!(text.starts_with("unavailable: no-such-host.invalid:5432"), "{text}");
    assert!(text.contains("DB_HOST"), "{text}");
}

#[tokio::test]
async fn a_probe_finds_a_server_whose_database_is_still_missing_and_creates_nothing() {
    let cluster = Cluster::start().unwrap();
    probe(&settings(cluster.address()), Duration::from_secs(10)).await.unwrap();
    let databases = cluster.sql("postgres", "SELECT datname FROM pg_database").unwrap();
    assert!(!databases.contains(DATABASE), "{databases}");
}

#[tokio::test]
async fn the_writable_server_of_a_list_is_used_and_found_again_after_a_fail_over() {
    let mut primary = Cluster::start().unwrap();
    primary.sql("postgres", &format!("CREATE DATABASE {DATABASE}")).unwrap();
    let standby = primary.start_standby().unwrap();
    let store = PostgresStore::new(of_hosts(&[standby.address(), primary.address()]));
    let owner = owner("a:1");
    let tenure = store.acquire(&owner).await.unwrap();
    store.commit(batch(tenure.epoch, 1, pod("eir", "eir-1", 1))).await.unwrap();
    let arrived = until(Duration::from_secs(30), || {
        standby.sql(DATABASE, "SELECT count(*) FROM services").is_ok_and(|count| count == "1")
    });
    assert!(arrived, "the standby does not follow");
    primary.stop(Shutdown::Immediate).unwrap();
    assert!(store.renew(&tenure).await.is_err());
    let text = store.acquire(&owner).await.unwrap_err().to_string();
    assert!(text.contains("nothing answers") && text.contains("standby"), "{text}");
    standby.promote().unwrap();
    let tenure = store.acquire(&owner).await.unwrap();
    assert_eq!((tenure.epoch, tenure.sequence), (2, 1));
    store.commit(batch(tenure.epoch, 2, pod("eir", "eir-2", 2))).await.unwrap();
    assert_eq!(names(&store.load().await.unwrap()), ["eir:eir-1", "eir:eir-2"]);
}

#[tokio::test]
async fn a_server_that_is_demoted_under_us_does_not_take_the_batch() {
    let cluster = Cluster::start().unwrap();
    let store = PostgresStore::new(settings(cluster.address()));
    let tenure = store.acquire(&owner("a:1")).await.unwrap();
    let read_only = |on: &str| {
        cluster
            .sql("postgres", &format!("ALTER SYSTEM SET default_transaction_read_only = {on}"))?;
        cluster.sql("postgres", "SELECT pg_reload_conf()")
    };
    read_only("on").unwrap();
    let mut sequence = 0;
    // The server's processes learn of it one by one.
    let text = loop {
        sequence += 1;
        let pod = pod("eir", &format!("eir-{sequence}"), sequence);
        match store.commit(batch(tenure.epoch, sequence, pod)).await {
            Ok(()) => assert!(sequence < 10_000, "it still takes writes"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(text.contains("did not take it") && text.contains("no writes"), "{text}");
}
