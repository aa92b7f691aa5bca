//! `/sd/prometheus` as a Prometheus on loopback takes it, with the configuration that is delivered:
//! only addresses and the pause between two questions differ.
//!
//! Skipped, and said so, where Prometheus is not installed; the gate installs it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod fleet_common;

use std::collections::BTreeSet;

use fleet_common::{await_status, register, registration, unregister};
use governance_testkit::fleet::{FakePod, Fleet};
use governance_testkit::manager::{ManagerProcess, PATIENCE};
use governance_testkit::prometheus::Prometheus;
use governance_testkit::wait::until;

const CONFIG: &str = include_str!("../../../deploy/prometheus/prometheus.yml");
const RULES: &str = include_str!("../../../deploy/prometheus/alerts.yml");
/// The job of the pods.
const JOB: &str = "governance-pods";

/// The first manager is this one, the second is not there.
fn config(manager: &ManagerProcess) -> String {
    let mut text = CONFIG.to_owned();
    for (from, to) in [
        ("manager-1:8080", manager.address().to_string()),
        ("manager-2:8080", "127.0.0.1:9".to_owned()),
        ("/sd/prometheus\n", "/sd/prometheus\n        refresh_interval: 200ms\n".to_owned()),
    ] {
        assert!(text.contains(from), "no {from:?} in the configuration");
        text = text.replace(from, &to);
    }
    text
}

/// Address, service, pod and status of all pods that it knows.
fn discovered(prometheus: &Prometheus) -> BTreeSet<[String; 4]> {
    let of_pods = |target: &serde_json::Value| target["scrapePool"] == JOB;
    let targets = prometheus.targets().unwrap().into_iter().filter(of_pods);
    let labels = [
        "__address__",
        "__meta_governance_service",
        "__meta_governance_pod",
        "__meta_governance_status",
    ];
    targets
        .map(|target| {
            labels.map(|label| target["discoveredLabels"][label].as_str().unwrap().to_owned())
        })
        .collect()
}

#[track_caller]
fn await_discovered(prometheus: &Prometheus, expected: &BTreeSet<[String; 4]>) {
    let mut last = BTreeSet::new();
    let came = until(PATIENCE, || {
        last = discovered(prometheus);
        last == *expected
    });
    assert!(came, "{last:?} in place of {expected:?}");
}

#[test]
fn prometheus_finds_the_pods_and_keeps_them_while_no_manager_answers() {
    if !Prometheus::is_installed() {
        return;
    }
    let fleet = Fleet::new().unwrap();
    let mut manager = fleet_common::manager().start();
    let mut client = manager.client();
    let pods = ["eir-1", "eir-2"].map(|name| fleet.pod(name).unwrap());
    for pod in &pods {
        register(&mut client, &registration("eir", pod, pod.address.port(), &[]));
        await_status(&mut client, "eir", &pod.name, "healthy");
    }
    let prometheus = Prometheus::start_with(&config(&manager), RULES).unwrap();
    let expect = |pods: &[FakePod]| -> BTreeSet<[String; 4]> {
        let found = pods
            .iter()
            .map(|pod| [pod.address.to_string(), "eir".into(), pod.name.clone(), "healthy".into()]);
        found.collect()
    };
    await_discovered(&prometheus, &expect(&pods));
    unregister(&mut client, "eir", "eir-1");
    await_discovered(&prometheus, &expect(&pods[1..]));
    manager.stop();
    // The manager that is not there fails at each round, the other one from now on, too.
    let failures = || prometheus.metric("prometheus_sd_http_failures_total").unwrap();
    let before = failures();
    assert!(until(PATIENCE, || failures() > before + 6.0), "it does not ask any more");
    await_discovered(&prometheus, &expect(&pods[1..]));
}
