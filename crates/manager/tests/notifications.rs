//! Notifications of the real manager to real sockets: after each step the subscriber holds what is
//! true, over TLS too, and the operator can see who does not.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod fleet_common;

use std::time::Duration;

use fleet_common::{await_status, manager, register, registration, shown, unregister};
use governance_testkit::certificates::TestCa;
use governance_testkit::fleet::{Fleet, Health, Reception, Told};
use governance_testkit::manager::PATIENCE;
use governance_testkit::wait::until;
use serde_json::Value;

/// `name status port` of each pod that a body lists.
fn listed(told: &Told) -> String {
    let pods = told.pods().iter().map(|pod| {
        let text = |field: &str| pod[field].as_str().unwrap().to_owned();
        let port = &pod["providers"][0]["port"];
        format!("{} {} {port}", text("pod_name"), text("status"))
    });
    pods.collect::<Vec<_>>().join(", ")
}

/// Waits until the last thing that a pod was told of a service is this.
#[track_caller]
fn await_told(fleet: &Fleet, to: &str, service: &str, event: &str, pods: &str) {
    let mut last = None;
    let is_told = until(PATIENCE, || {
        let told = fleet.told_to(to).into_iter().rev();
        let now = told.into_iter().find(|told| told.service() == service);
        last = now.map(|told| (told.event().to_owned(), listed(&told)));
        last.as_ref().is_some_and(|(kind, list)| kind == event && list == pods)
    });
    assert!(is_told, "wanted {event} [{pods}], the last was {last:?}");
}

fn is_subsequence(seen: &[String], of: &[&str]) -> bool {
    let mut rest = of.iter();
    seen.iter().all(|event| rest.any(|other| other == event))
}

#[test]
fn the_services_of_the_documentation_hear_of_each_other() {
    let manager =
        manager().set("NOTIFICATION_INTERVAL", "2s").set("HEALTH_CHECK_TIMEOUT", "30s").start();
    let mut client = manager.client();
    let fleet = Fleet::new().unwrap();
    let [gw, diam, eir] = ["http-gw-pod-1", "diam-gw-pod-1", "eir-pod-1"];
    let pods = [gw, diam, eir].map(|name| fleet.pod(name).unwrap());
    register(&mut client, &registration("http-gw", &pods[0], 8080, &["diam-gw", "eir"]));
    await_told(&fleet, gw, "eir", "reconcile", "");
    register(&mut client, &registration("diam-gw", &pods[1], 3868, &["eir"]));
    await_told(&fleet, gw, "diam-gw", "update", "diam-gw-pod-1 healthy 3868");

    pods[2].set_health(Health::Wait);
    register(&mut client, &registration("eir", &pods[2], 8080, &[]));
    await_told(&fleet, gw, "eir", "register", "eir-pod-1 unknown 8080");
    pods[2].set_health(Health::Answer(200));
    await_told(&fleet, gw, "eir", "update", "eir-pod-1 healthy 8080");
    pods[2].set_health(Health::Wait);
    register(&mut client, &registration("eir", &pods[2], 8081, &[]));
    await_told(&fleet, gw, "eir", "register", "eir-pod-1 unknown 8081");
    pods[2].set_health(Health::Answer(200));
    await_told(&fleet, gw, "eir", "update", "eir-pod-1 healthy 8081");
    pods[2].set_health(Health::Answer(503));
    await_told(&fleet, gw, "eir", "update", "eir-pod-1 unhealthy 8081");
    pods[2].set_health(Health::Answer(204));
    await_told(&fleet, gw, "eir", "update", "eir-pod-1 healthy 8081");
    unregister(&mut client, "eir", eir);
    await_told(&fleet, gw, "eir", "unregister", "");
    await_told(&fleet, gw, "eir", "reconcile", "");
    await_told(&fleet, diam, "eir", "reconcile", "");

    let told = fleet.told_to(gw);
    let of_eir = told.iter().filter(|told| told.service() == "eir");
    let events: Vec<String> =
        of_eir.map(|told| told.event().to_owned()).filter(|event| event != "reconcile").collect();
    let all = ["register", "update", "register", "update", "update", "update", "unregister"];
    assert!(is_subsequence(&events, &all), "{events:?}");
    assert!(told.iter().map(Told::revision).is_sorted(), "{told:?}");
    let last = told.iter().rev().find(|told| told.service() == "eir").unwrap();
    assert_eq!(last.body["pods"], Value::Array(Vec::new()), "an empty list, not none");
    assert!(fleet.told_to(eir).is_empty(), "only subscribers are told");
    // Repeated as long as nobody is there.
    let seen = fleet.told_to(gw).len();
    let repeated = || fleet.told_to(gw).iter().skip(seen).any(|told| told.service() == "eir");
    assert!(until(PATIENCE, repeated));
}

#[test]
fn a_subscriber_over_tls_is_told_if_its_ca_is_known_and_else_the_operator_sees_why_not() {
    let ca = TestCa::new().unwrap();
    let fleet = Fleet::new().unwrap();
    let pod = fleet.secured_pod("gw", &ca.server(&["127.0.0.1"]).unwrap()).unwrap();
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("ca.pem");
    std::fs::write(&file, &ca.certificate).unwrap();

    let ignorant = manager().start();
    register(&mut ignorant.client(), &registration("http-gw", &pod, 1, &["eir"]));
    let mut last = Value::Null;
    let is_shown = until(PATIENCE, || {
        last = shown(&mut ignorant.client(), "http-gw", "gw");
        let error = last["deliveries"][0]["last_error"].as_str();
        error.is_some_and(|error| error.contains("unknown CA") && error.contains("TARGET_CA_FILE"))
    });
    assert!(is_shown, "{last}");
    assert!(fleet.told().is_empty());

    let knowing = manager().set("TARGET_CA_FILE", file.display().to_string()).start();
    register(&mut knowing.client(), &registration("http-gw", &pod, 1, &["eir"]));
    await_told(&fleet, "gw", "eir", "reconcile", "");
    await_status(&mut knowing.client(), "http-gw", "gw", "healthy");
}

#[test]
fn a_subscriber_that_asks_for_a_pause_gets_it_and_then_the_newest_state() {
    let manager = manager().set("HEALTH_CHECK_TIMEOUT", "30s").start();
    let mut client = manager.client();
    let fleet = Fleet::new().unwrap();
    let gw = fleet.pod("gw").unwrap();
    register(&mut client, &registration("http-gw", &gw, 1, &["eir"]));
    await_told(&fleet, "gw", "eir", "reconcile", "");
    gw.set_reception(Reception::RetryAfter(503, 2));
    let eir = fleet.pod("eir").unwrap();
    eir.set_health(Health::Wait);
    register(&mut client, &registration("eir", &eir, 80, &[]));
    await_told(&fleet, "gw", "eir", "register", "eir unknown 80");
    gw.set_reception(Reception::Answer(200));
    register(&mut client, &registration("eir", &eir, 81, &[]));
    await_told(&fleet, "gw", "eir", "register", "eir unknown 81");
    let told = fleet.told_to("gw");
    let [refused, received] = &told[told.len() - 2..] else { panic!("{told:?}") };
    assert!(refused.received.is_none());
    assert!(received.at - refused.at >= Duration::from_secs(2), "{told:?}");
}

#[test]
fn an_operator_sees_in_one_call_who_still_routes_to_a_pod_that_is_gone() {
    let manager = manager().set("NOTIFICATION_TIMEOUT", "1s").start();
    let mut client = manager.client();
    let fleet = Fleet::new().unwrap();
    let [eir, quick, stuck] = ["eir-1", "quick", "stuck"].map(|name| fleet.pod(name).unwrap());
    register(&mut client, &registration("eir", &eir, 80, &[]));
    await_status(&mut client, "eir", "eir-1", "healthy");
    for pod in [&quick, &stuck] {
        register(&mut client, &registration("http-gw", pod, 1, &["eir"]));
        await_told(&fleet, &pod.name, "eir", "reconcile", "eir-1 healthy 80");
    }
    stuck.set_reception(Reception::Hang);
    unregister(&mut client, "eir", "eir-1");
    await_told(&fleet, "quick", "eir", "unregister", "");
    let mut last = Value::Null;
    let is_shown = until(PATIENCE, || {
        last = client.get("/services/eir/subscribers").json();
        let subscribers = last["subscribers"].as_array().unwrap();
        let behind: Vec<&str> = subscribers
            .iter()
            .filter(|subscriber| !subscriber["behind_since"].is_null())
            .map(|subscriber| subscriber["pod_name"].as_str().unwrap())
            .collect();
        behind == ["stuck"]
            && subscribers.iter().any(|one| one["last_error"] == "no answer within 1s")
    });
    assert!(is_shown, "{last}");
    stuck.set_reception(Reception::Answer(200));
    await_told(&fleet, "stuck", "eir", "unregister", "");
    let is_settled = until(PATIENCE, || {
        last = client.get("/services/eir/subscribers").json();
        let subscribers = last["subscribers"].as_array().unwrap();
        subscribers.len() == 2 && subscribers.iter().all(|one| one["behind_since"].is_null())
    });
    assert!(is_settled, "{last}");
}

#[test]
fn what_changed_just_before_the_end_is_still_told() {
    let mut manager = manager().start();
    let mut client = manager.client();
    let fleet = Fleet::new().unwrap();
    let [eir, gw] = ["eir-1", "gw"].map(|name| fleet.pod(name).unwrap());
    register(&mut client, &registration("http-gw", &gw, 1, &["eir"]));
    await_told(&fleet, "gw", "eir", "reconcile", "");
    gw.set_reception(Reception::Slow(Duration::from_millis(300), 200));
    for port in 80..90 {
        register(&mut client, &registration("eir", &eir, port, &[]));
    }
    unregister(&mut client, "eir", "eir-1");
    assert_eq!(manager.stop().code(), Some(0), "{}", manager.log_text());
    let told = fleet.told_to("gw");
    let last = told.last().unwrap();
    assert_eq!((last.event(), last.pods().len()), ("unregister", 0), "{told:?}");
    assert!(last.received.is_some());
}
