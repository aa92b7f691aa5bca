//! The documented examples, as a newcomer types them, and the table as the `sqlite3` shell shows
//! it while the manager runs.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]

use std::path::Path;

use governance_testkit::manager::{ManagerBuilder, ManagerProcess, PATIENCE};
use governance_testkit::sqlite_shell::{LockHolder, query};
use governance_testkit::wait::until;
use serde_json::{Value, json};

fn manager() -> ManagerBuilder {
    ManagerProcess::builder(env!("CARGO_BIN_EXE_governance-manager"))
}

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

fn shell(data_dir: &Path, sql: &str) -> Vec<Value> {
    query(&data_dir.join("governance.db"), sql)
}

fn register_all(manager: &ManagerProcess) {
    for example in [HTTP_GW, DIAM_GW, EIR] {
        let answer = manager.client().call("POST", "/register", Some(example.as_bytes())).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[test]
fn every_documented_request_does_what_it_says() {
    let manager = manager().start();
    let mut client = manager.client();
    for example in [HTTP_GW, DIAM_GW, EIR] {
        let asked: Value = serde_json::from_str(example).unwrap();
        let answer = client.call("POST", "/register", Some(example.as_bytes())).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let answer = answer.json();
        assert_eq!(answer["status"], "success");
        assert_eq!(answer["service_name"], asked["service_name"]);
        assert_eq!(answer["pod_name"], asked["pod_name"]);
        assert_eq!(answer["pods"][0]["pod_name"], asked["pod_name"]);
        assert_eq!(answer["pods"][0]["providers"], asked["providers"]);
        for subscription in asked["subscriptions"].as_array().unwrap() {
            let pods = &answer["subscribed_services"][subscription.as_str().unwrap()];
            assert_eq!(pods, &json!([]), "nobody of {subscription} is there yet");
        }
    }

    let list = client.get("/services").json();
    assert_eq!(list["count"], 3);
    let pods = list["services"].as_array().unwrap();
    let keys: Vec<_> = pods.iter().map(|pod| &pod["service_key"]).collect();
    assert_eq!(keys, ["diam-gw:diam-gw-pod-1", "eir:eir-pod-1", "http-gw:http-gw-pod-1"]);

    let target = "/unregister?service_name=http-gw&pod_name=http-gw-pod-1";
    let gone = client.send("DELETE", target);
    assert_eq!((gone.status, &gone.json()["status"]), (200, &json!("success")));
    assert_eq!(client.get("/services").json()["count"], 2);
    let again = client.send("DELETE", target);
    assert_eq!((again.status, &again.json()["error"]), (404, &json!("pod_not_registered")));

    let health = client.get("/health");
    assert_eq!((health.status, &health.json()["status"]), (200, &json!("healthy")));
}

#[test]
fn the_table_is_the_documented_one() {
    let manager = manager().start();
    let data_dir = manager.settings().data_dir();
    let columns =
        shell(&data_dir, "SELECT name, type, \"notnull\", pk FROM pragma_table_info('services')");
    let columns: Vec<String> = columns
        .iter()
        .map(|column| {
            let is_required = column["notnull"] == 1 || column["pk"] == 1;
            let (name, kind) = (column["name"].as_str().unwrap(), column["type"].as_str().unwrap());
            format!("{name} {kind} {is_required} {}", column["pk"])
        })
        .collect();
    let names: Vec<&str> = columns.iter().map(|column| column.split(' ').next().unwrap()).collect();
    let documented = [
        "service_key",
        "service_name",
        "pod_name",
        "providers",
        "health_check_url",
        "notification_url",
        "subscriptions",
        "status",
        "last_health_check",
        "registered_at",
        "updated_at",
    ];
    assert_eq!(names, documented);
    assert!(columns[0].ends_with(" 1"), "the key is the primary key: {}", columns[0]);
    assert!(columns.iter().all(|column| column.contains(" true ")), "{columns:?}");
}

#[test]
fn the_documented_queries_give_the_expected_answers_while_the_manager_runs() {
    let manager = manager().set("HEALTH_CHECK_INTERVAL", "24h").start();
    register_all(&manager);
    let data_dir = manager.settings().data_dir();

    let rows = shell(&data_dir, "SELECT * FROM services ORDER BY service_key");
    assert_eq!(rows.len(), 3);
    for (row, example) in rows.iter().zip([DIAM_GW, EIR, HTTP_GW]) {
        let asked: Value = serde_json::from_str(example).unwrap();
        for field in ["service_name", "pod_name", "health_check_url", "notification_url"] {
            assert_eq!(row[field], asked[field], "{field}");
        }
        let key = format!("{}:{}", asked["service_name"], asked["pod_name"]).replace('"', "");
        assert_eq!(row["service_key"], json!(key));
        for field in ["providers", "subscriptions"] {
            let stored: Value = serde_json::from_str(row[field].as_str().unwrap()).unwrap();
            assert_eq!(stored, asked[field], "{field}");
        }
        let status = row["status"].as_str().unwrap();
        assert!(["unknown", "unhealthy", "healthy"].contains(&status), "{status}");
    }

    let counts = "SELECT service_name, COUNT(*) AS n FROM services GROUP BY service_name";
    let counts = shell(&data_dir, counts);
    let names: Vec<_> = counts.iter().map(|row| (&row["service_name"], &row["n"])).collect();
    let one = json!(1);
    let (diam_gw, eir, http_gw) = (json!("diam-gw"), json!("eir"), json!("http-gw"));
    assert_eq!(names, [(&diam_gw, &one), (&eir, &one), (&http_gw, &one)]);

    let health = "SELECT service_key, status, last_health_check FROM services \
                  ORDER BY last_health_check DESC";
    let health = shell(&data_dir, health);
    assert_eq!(health.len(), 3);
    for row in &health {
        let time = row["last_health_check"].as_str().unwrap();
        assert_eq!(time.as_bytes().get(..5).map(|year| year[4]), Some(b'-'), "{time}");
    }

    let wishes = "SELECT service_key, subscriptions FROM services \
                  WHERE json_array_length(subscriptions) > 0 ORDER BY service_key";
    let wishes = shell(&data_dir, wishes);
    let keys: Vec<_> = wishes.iter().map(|row| &row["service_key"]).collect();
    assert_eq!(keys, [&json!("diam-gw:diam-gw-pod-1"), &json!("http-gw:http-gw-pod-1")]);
}

#[test]
fn a_pod_that_was_never_checked_has_the_documented_time_and_a_removed_one_has_no_row() {
    let manager = manager().set("STORAGE", "sqlite").start();
    register_all(&manager);
    let data_dir = manager.settings().data_dir();
    let mut client = manager.client();
    let pod = client.get("/services/eir/pods/eir-pod-1");
    assert_eq!(pod.status, 200, "{pod:?}");
    let query = "SELECT last_health_check FROM services WHERE service_key = 'eir:eir-pod-1'";
    let agrees = until(PATIENCE, || {
        let stored = shell(&data_dir, query)[0]["last_health_check"].as_str().unwrap().to_owned();
        let shown = client.get("/services?service_name=eir").json();
        shown["services"][0]["last_health_check"].is_null()
            == stored.starts_with("0001-01-01 00:00:00")
    });
    assert!(agrees, "never checked is null here and 0001-01-01 there");
    client.send("DELETE", "/unregister?service_name=eir&pod_name=eir-pod-1");
    assert_eq!(shell(&data_dir, query), [] as [Value; 0], "the row went with the answer");
}

#[test]
fn a_person_who_holds_the_write_lock_for_a_while_costs_no_registration() {
    let manager = manager().set("REQUEST_TIMEOUT", "30s").start();
    let file = manager.settings().data_dir().join("governance.db");
    let holder = LockHolder::start(&file);
    std::thread::scope(|scope| {
        let waiting =
            scope.spawn(|| manager.client().call("POST", "/register", Some(EIR.as_bytes())));
        let mut client = manager.client();
        let is_told = until(PATIENCE, || client.get("/ready").json()["writes"] == "unavailable");
        assert!(is_told, "{}", manager.log_text());
        assert!(!waiting.is_finished(), "it waits for its turn");
        assert_eq!(client.get("/services").json()["count"], 0, "reads go on, of what is stored");
        holder.let_go();
        assert_eq!(waiting.join().unwrap().unwrap().status, 200);
    });
    let key = "SELECT service_key FROM services";
    let rows = shell(&manager.settings().data_dir(), key);
    assert_eq!(rows, [json!({"service_key": "eir:eir-pod-1"})]);
}
