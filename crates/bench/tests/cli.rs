//! The program as a person runs it, against a small registry in this process.
//!
//! The registry keeps pods in memory and answers as the contract says, so that what is tested is
//! the whole way from the command line to the document; figures are not judged.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

#[derive(Default)]
struct Registry {
    services: Mutex<HashMap<String, BTreeMap<String, Value>>>,
    forgets_pod: Option<&'static str>,
}

async fn register(State(registry): State<Arc<Registry>>, Json(body): Json<Value>) -> Json<Value> {
    let name = |field: &str| body[field].as_str().unwrap().to_owned();
    let (service, pod) = (name("service_name"), name("pod_name"));
    if registry.forgets_pod != Some(pod.as_str()) {
        let mut services = registry.services.lock().unwrap();
        services.entry(service).or_default().insert(pod, body);
    }
    Json(json!({"status": "success"}))
}

async fn pods(State(registry): State<Arc<Registry>>, Path(service): Path<String>) -> Json<Value> {
    let services = registry.services.lock().unwrap();
    let pods: Vec<Value> = services.get(&service).unwrap().values().cloned().collect();
    Json(json!({"service_name": service, "pods": pods}))
}

async fn count(State(registry): State<Arc<Registry>>) -> Json<Value> {
    let services = registry.services.lock().unwrap();
    Json(json!({"count": services.values().map(BTreeMap::len).sum::<usize>()}))
}

async fn serve(registry: Registry) -> (SocketAddr, JoinSet<()>) {
    let router = Router::new()
        .route("/register", post(register))
        .route("/services/{service}", get(pods))
        .route("/services", get(count))
        .route("/ready", get(|| async {}))
        .with_state(Arc::new(registry));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, server)
}

async fn bench(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_governance-bench"));
    command.args(arguments).stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
}

const SHORT: [&str; 8] = [
    "--pods=45",
    "--connections=8",
    "--seconds=0.2",
    "--warm-up=0.05",
    "--rounds=2",
    "--json",
    "--pid",
    "PID",
];

fn short<'a>(scenario: &'a str, url: &'a str, pid: &'a str) -> Vec<&'a str> {
    let mut arguments = vec![scenario, "--url", url];
    arguments.extend(SHORT.map(|argument| if argument == "PID" { pid } else { argument }));
    arguments
}

#[tokio::test(flavor = "multi_thread")]
async fn register_and_read_measure_both_contenders_and_find_every_row() {
    let (address, _server) = serve(Registry::default()).await;
    let (url, pid) = (format!("http://{address}"), std::process::id().to_string());
    for scenario in ["register", "read"] {
        let output = bench(&short(scenario, &url, &pid)).await;
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{scenario}: {log}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["scenario"], scenario);
        let loads = report["loads"].as_array().unwrap();
        assert_eq!(loads.len(), 2);
        for load in loads {
            assert!(load["median"]["requests_per_second"].as_f64().unwrap() > 0.0);
            assert!(load["peak_bytes"].as_u64().unwrap() > 0);
            assert_eq!(load["rounds"].as_array().unwrap().len(), 2);
            assert_eq!(load["rounds"][0]["counts"]["other_statuses"], json!({}));
        }
        assert_eq!(report["rows"][0]["api"], 45);
        assert_eq!(report["faults"], json!([]));
        if scenario == "read" {
            let bytes =
                |load: usize| loads[load]["rounds"][0]["counts"]["mean_body_bytes"].as_u64();
            let (bare, manager) = (bytes(0).unwrap(), bytes(1).unwrap());
            assert!(bare.abs_diff(manager) < 100, "the ceiling answers the same bytes");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_pod_fails_the_run() {
    let registry = Registry { forgets_pod: Some("svc-000003-pod-4"), ..Registry::default() };
    let (address, _server) = serve(registry).await;
    let (url, pid) = (format!("http://{address}"), std::process::id().to_string());
    let output = bench(&short("register", &url, &pid)).await;
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let fault = report["faults"][0].as_str().unwrap();
    assert!(fault.contains("45 pods registered, 44 found"), "{fault}");
}

#[tokio::test]
async fn other_machines_and_missing_programs_are_refused_before_anything_is_sent() {
    let output = bench(&["register", "--url", "http://192.0.2.1:8080"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("loopback"));

    let output = bench(&["read", "--manager-bin", "/nowhere/governance-manager"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("hint: build it with"));
}
