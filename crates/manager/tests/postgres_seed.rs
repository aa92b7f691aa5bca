//! The documented steps with PostgreSQL: the examples of the documentation are registered, and its
//! `psql` lines give the expected answers, during and after load. Each line is run as it is
//! printed, but for a port of its own and the password.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod postgres_common;

use std::process::Command;

use governance_testkit::manager::{ManagerProcess, PATIENCE};
use governance_testkit::postgres::{Cluster, PASSWORD};
use governance_testkit::wait::until;
use postgres_common::{Clients, DATABASE, manager};
use serde_json::{Value, json};

/// The three registrations of the documentation, with their bytes as `curl -d` sends them.
const HTTP_GW: &str = r#"{
    "service_name": "http-gw",
    "pod_name": "http-gw-pod-1",
    "providers": [
      {
        "protocol": "http",
        "ip": "192.168.1.10",
        "port": 8080
      }
    ],
    "health_check_url": "http://192.168.1.10:8080/health",
    "notification_url": "http://192.168.1.10:8080/notify",
    "subscriptions": ["diam-gw", "eir"]
  }"#;
const DIAM_GW: &str = r#"{
    "service_name": "diam-gw",
    "pod_name": "diam-gw-pod-1",
    "providers": [
      {
        "protocol": "tcp",
        "ip": "192.168.1.20",
        "port": 3868
      }
    ],
    "health_check_url": "http://192.168.1.20:8080/health",
    "notification_url": "http://192.168.1.20:8080/notify",
    "subscriptions": ["eir"]
  }"#;
const EIR: &str = r#"{
    "service_name": "eir",
    "pod_name": "eir-pod-1",
    "providers": [
      {
        "protocol": "http",
        "ip": "192.168.1.30",
        "port": 8080
      },
      {
        "protocol": "tcp",
        "ip": "192.168.1.30",
        "port": 3868
      }
    ],
    "health_check_url": "http://192.168.1.30:8080/health",
    "notification_url": "http://192.168.1.30:8080/notify",
    "subscriptions": []
  }"#;

/// The four lines of the documentation, with what stands between the quotes.
const ALL: &str = "SELECT * FROM services";
const BY_TYPE: &str = "SELECT service_name, COUNT(*) FROM services GROUP BY service_name";
const HEALTH: &str =
    "SELECT service_key, status, last_health_check FROM services ORDER BY last_health_check DESC";
const SUBSCRIPTIONS: &str = "SELECT service_key, subscriptions FROM services WHERE \
                             jsonb_array_length(subscriptions) > 0";

/// What `psql` prints: its cells, the first row with the columns' names.
#[track_caller]
fn psql(cluster: &Cluster, query: &str) -> Vec<Vec<String>> {
    let printed = Command::new("psql")
        .args(["-h", "localhost", "-U", "postgres", "-d", "governance_db", "-c", query])
        // How it is printed, so that it can be read here.
        .args(["-X", "-A", "-F", "\t"])
        .env("PGPORT", cluster.address().port().to_string())
        .env("PGPASSWORD", PASSWORD)
        .output()
        .expect("these tests need psql (Debian package postgresql-client)");
    let errors = String::from_utf8_lossy(&printed.stderr);
    assert!(printed.status.success(), "{query}: {errors}");
    let text = String::from_utf8(printed.stdout).unwrap();
    let mut rows: Vec<Vec<String>> =
        text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect();
    let footer = rows.pop().unwrap_or_default().concat();
    assert!(footer.starts_with('('), "no count of rows: {text}");
    rows
}

/// The rows without the names, sorted by their first cell.
#[track_caller]
fn sorted(cluster: &Cluster, query: &str) -> Vec<Vec<String>> {
    let mut rows = psql(cluster, query);
    rows.remove(0);
    rows.sort();
    rows
}

fn register_all(manager: &ManagerProcess) {
    for example in [HTTP_GW, DIAM_GW, EIR] {
        let answer = manager.client().call("POST", "/register", Some(example.as_bytes())).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

/// The rows of the three examples are as documented, whatever else is in the table.
#[track_caller]
fn assert_examples(cluster: &Cluster) {
    let all = psql(cluster, ALL);
    let columns = &all[0];
    for example in [DIAM_GW, EIR, HTTP_GW] {
        let asked: Value = serde_json::from_str(example).unwrap();
        let text = |field: &str| asked[field].as_str().unwrap().to_owned();
        let key = format!("{}:{}", text("service_name"), text("pod_name"));
        let row = all.iter().find(|row| row[0] == key).unwrap_or_else(|| panic!("no {key}"));
        let cell = |name: &str| &row[columns.iter().position(|column| column == name).unwrap()];
        for field in ["service_name", "pod_name", "health_check_url", "notification_url"] {
            assert_eq!(*cell(field), text(field), "{field} of {key}");
        }
        for field in ["providers", "subscriptions"] {
            let stored: Value = serde_json::from_str(cell(field)).unwrap();
            assert_eq!(stored, asked[field], "{field} of {key}");
        }
        assert!(["healthy", "unhealthy", "unknown"].contains(&cell("status").as_str()));
        for field in ["last_health_check", "registered_at", "updated_at"] {
            assert_eq!(cell(field).as_bytes()[4], b'-', "{field} of {key}: {}", cell(field));
        }
    }
    let wishes = sorted(cluster, SUBSCRIPTIONS);
    let wish = |key: &str, services: &str| vec![key.to_owned(), services.to_owned()];
    let documented = [
        wish("diam-gw:diam-gw-pod-1", r#"["eir"]"#),
        wish("http-gw:http-gw-pod-1", r#"["diam-gw", "eir"]"#),
    ];
    assert_eq!(wishes, documented);
}

/// The counts by type are those that the manager shows, and the three examples are among them.
#[track_caller]
fn assert_counts(cluster: &Cluster, manager: &ManagerProcess) {
    let counts = sorted(cluster, BY_TYPE);
    for row in &counts {
        let list = manager.client().get(&format!("/services/{}", row[0])).json();
        assert_eq!(list["count"].to_string(), row[1], "{}", row[0]);
    }
    let names: Vec<&str> = counts.iter().map(|row| row[0].as_str()).collect();
    for name in ["diam-gw", "eir", "http-gw"] {
        assert!(names.contains(&name), "{names:?}");
    }
}

#[test]
fn the_table_is_the_documented_one() {
    let cluster = Cluster::start().unwrap();
    let _manager = manager(cluster.address()).start();
    let columns = "SELECT column_name || ' ' || data_type || coalesce(character_maximum_length::text, '') \
                   || ' ' || is_nullable FROM information_schema.columns \
                   WHERE table_name = 'services' ORDER BY ordinal_position";
    let documented = "service_key character varying255 NO
service_name character varying128 NO
pod_name character varying128 NO
providers jsonb NO
health_check_url character varying512 NO
notification_url character varying512 NO
subscriptions jsonb NO
status character varying20 NO
last_health_check timestamp without time zone NO
registered_at timestamp without time zone NO
updated_at timestamp without time zone NO";
    assert_eq!(cluster.sql(DATABASE, columns).unwrap(), documented);
    let key = "SELECT pg_get_constraintdef(oid) FROM pg_constraint \
               WHERE conrelid = 'services'::regclass";
    assert_eq!(cluster.sql(DATABASE, key).unwrap(), "PRIMARY KEY (service_key)");
    let indexes = "SELECT indexdef FROM pg_indexes WHERE tablename = 'services' ORDER BY 1";
    let indexes = cluster.sql(DATABASE, indexes).unwrap();
    for (name, column) in
        [("idx_services_service_name", "(service_name)"), ("idx_services_status", "(status)")]
    {
        let is_there = indexes.lines().any(|line| line.contains(name) && line.ends_with(column));
        assert!(is_there, "{indexes}");
    }
}

#[test]
fn every_documented_line_of_psql_gives_the_expected_answer_without_during_and_after_load() {
    let cluster = Cluster::start().unwrap();
    let manager = manager(cluster.address()).start();
    for query in [ALL, BY_TYPE, HEALTH, SUBSCRIPTIONS] {
        assert_eq!(psql(&cluster, query).len(), 1, "{query}: the names of the columns alone");
    }
    register_all(&manager);
    assert_examples(&cluster);
    let one = |name: &str| vec![name.to_owned(), "1".to_owned()];
    assert_eq!(sorted(&cluster, BY_TYPE), [one("diam-gw"), one("eir"), one("http-gw")]);

    let mut clients = Clients::new(32);
    clients.work_during(manager.address(), |progress| {
        for _ in 0..5 {
            progress.wait_for_more(200, &manager);
            assert_examples(&cluster);
            let rows = psql(&cluster, HEALTH);
            assert_eq!(rows[0], ["service_key", "status", "last_health_check"]);
            assert!(rows.len() > 3, "{rows:?}");
        }
    });
    assert_examples(&cluster);
    assert_counts(&cluster, &manager);
    assert_health(&cluster, &manager);

    let target = "/unregister?service_name=http-gw&pod_name=http-gw-pod-1";
    let gone = manager.client().send("DELETE", target);
    assert_eq!((gone.status, &gone.json()["status"]), (200, &json!("success")));
    let keys = sorted(&cluster, "SELECT service_key FROM services WHERE service_name = 'http-gw'");
    assert_eq!(keys, [[]; 0] as [[String; 0]; 0], "the row went with the answer");
}

/// Statuses and times are those that the manager shows, the latest check first. Both are written
/// behind, so that they may differ for a moment.
#[track_caller]
fn assert_health(cluster: &Cluster, manager: &ManagerProcess) {
    let mut newest = (Vec::new(), Value::Null);
    let agrees = until(PATIENCE, || {
        let mut rows = psql(cluster, HEALTH);
        rows.remove(0);
        assert!(rows.is_sorted_by(|a, b| a[2] >= b[2]), "the latest comes first: {rows:?}");
        rows.sort();
        let list = manager.client().get("/services").json();
        let pods = list["services"].as_array().unwrap();
        assert_eq!(pods.len(), rows.len());
        let agrees = rows.iter().all(|row| {
            let pod =
                pods.iter().find(|pod| pod["service_key"] == row[0]).expect("a row of no pod");
            let never = row[2].starts_with("0001-01-01 00:00:00");
            pod["status"] == row[1] && pod["last_health_check"].is_null() == never
        });
        newest = (rows, list);
        agrees
    });
    assert!(agrees, "{newest:?}");
}

#[test]
fn a_setting_of_the_database_alone_makes_it_the_storage() {
    let cluster = Cluster::start().unwrap();
    let builder = manager(cluster.address())
        .unset("STORAGE")
        .unset("DB_HOST")
        .unset("DB_NAME")
        .unset("DB_USER")
        .unset("DB_PASSWORD");
    // DB_PORT alone is left: all else is as documented.
    let manager = builder.start();
    let line = manager.wait_for_log(|line| line["message"] == "storage");
    assert_eq!(line["kind"], "postgres", "{line}");
    assert!(line["reason"].as_str().is_some_and(|reason| reason.contains("DB_")), "{line}");
    register_all(&manager);
    assert_examples(&cluster);
    assert!(!builder.data_dir().join("governance.db").exists(), "no file beside it");
}
