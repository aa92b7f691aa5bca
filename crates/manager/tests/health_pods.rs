//! Health checks of the real manager on real sockets: every way in which a pod can be ill ends in
//! the status and the words that an operator needs, and harms nobody else.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod fleet_common;

use std::time::{Duration, Instant};

use fleet_common::{await_status, manager, register, registration, shown};
use governance_testkit::certificates::TestCa;
use governance_testkit::fleet::{FakePod, Fleet, Health};
use governance_testkit::http::Client;
use governance_testkit::manager::PATIENCE;
use governance_testkit::wait::until;
use serde_json::{Value, json};

/// Why the pod's last check failed.
fn reason(pod: &Value) -> String {
    pod["health"]["last_failure"]["reason"].as_str().unwrap_or_default().to_owned()
}

/// Waits until the pod is unhealthy, for that reason.
#[track_caller]
fn await_ill(client: &mut Client, pod: &str, why: &str) {
    let shown = await_status(client, "eir", pod, "unhealthy");
    assert_eq!(reason(&shown), why, "{shown}");
    let changes = shown["health"]["changes"].as_array().unwrap();
    let is_told = changes.iter().any(|change| {
        change["to"] == "unhealthy" && change["reason"] == why && change["at"].is_string()
    });
    assert!(is_told, "{shown}");
}

fn join(client: &mut Client, pod: &FakePod) {
    register(client, &registration("eir", pod, 80, &[]));
}

#[test]
fn every_way_to_be_ill_ends_in_a_status_and_in_words_and_recovery_is_noticed() {
    let manager = manager().start();
    let mut client = manager.client();
    let fleet = Fleet::new().unwrap();
    let elsewhere = fleet.pod("elsewhere").unwrap();
    let ways = [
        ("says-500", Health::Answer(500), "HTTP 500"),
        ("redirects", Health::Redirect(elsewhere.health_url()), "HTTP 302"),
        ("garbage", Health::Garbage, "the answer is not HTTP/1.1"),
        ("half-a-head", Health::HalfAHead, "no answer within 1s"),
        ("hangs", Health::Hang, "no answer within 1s"),
        ("closes", Health::Close, "connection closed before an answer"),
        ("resets", Health::Reset, "connection reset"),
    ];
    let pods: Vec<FakePod> = ways.iter().map(|(name, ..)| fleet.pod(name).unwrap()).collect();
    for (pod, (name, way, why)) in pods.iter().zip(&ways) {
        // Ill from its first check on.
        pod.set_health(way.clone());
        join(&mut client, pod);
        await_ill(&mut client, name, why);
        pod.set_health(Health::Answer(204));
        await_status(&mut client, "eir", name, "healthy");
        // And falling ill when it was well.
        pod.set_health(way.clone());
        await_ill(&mut client, name, why);
    }
    assert_eq!(elsewhere.checks(), 0, "redirects are not followed");

    let dies = fleet.pod("dies").unwrap();
    join(&mut client, &dies);
    await_status(&mut client, "eir", "dies", "healthy");
    dies.die();
    await_ill(&mut client, "dies", "connection refused");
    dies.rise().unwrap();
    let well = await_status(&mut client, "eir", "dies", "healthy");
    let [.., last] = well["health"]["changes"].as_array().unwrap().as_slice() else { panic!() };
    assert_eq!((&last["from"], &last["to"]), (&json!("unhealthy"), &json!("healthy")), "{well}");
    assert!(last["reason"] == "HTTP 200" && well["last_health_check"].is_string(), "{well}");
}

#[test]
fn a_body_without_an_end_is_not_read_and_its_pod_is_well() {
    let manager = manager().start();
    let mut client = manager.client();
    let fleet = Fleet::new().unwrap();
    let pod = fleet.pod("endless").unwrap();
    pod.set_health(Health::EndlessBody);
    join(&mut client, &pod);
    await_status(&mut client, "eir", "endless", "healthy");
    let seen = pod.checks();
    assert!(until(PATIENCE, || pod.checks() > seen + 5));
    assert_eq!(shown(&mut client, "eir", "endless")["status"], "healthy");
    let status = std::fs::read_to_string(format!("/proc/{}/status", manager.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = line.trim().trim_end_matches(" kB").trim().parse().unwrap();
    assert!(peak < 300_000, "{peak} kB for bodies of a gigabyte");
}

#[test]
fn over_tls_it_matters_who_signed_for_whom_and_until_when() {
    let ours = TestCa::new().unwrap();
    let other = TestCa::new().unwrap();
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("ca.pem");
    std::fs::write(&file, &ours.certificate).unwrap();
    let manager = manager().set("TARGET_CA_FILE", file.display().to_string()).start();
    let mut client = manager.client();
    let fleet = Fleet::new().unwrap();
    let here = &["127.0.0.1"][..];
    let good = fleet.secured_pod("good", &ours.server(here).unwrap()).unwrap();
    let expired = fleet.secured_pod("expired", &ours.expired_server(here).unwrap()).unwrap();
    let wrong = ours.server(&["eir.example", "127.0.0.9"]).unwrap();
    let wrong = fleet.secured_pod("wrong-name", &wrong).unwrap();
    let foreign = fleet.secured_pod("foreign", &other.server(here).unwrap()).unwrap();
    let plain = fleet.pod("plain").unwrap();
    for pod in [&good, &expired, &wrong, &foreign] {
        join(&mut client, pod);
    }
    let mut body = registration("eir", &plain, 80, &[]);
    body["health_check_url"] = json!(format!("https://{}/health", plain.address));
    register(&mut client, &body);

    await_status(&mut client, "eir", "good", "healthy");
    let words = [
        ("expired", "certificate expired "),
        ("wrong-name", "certificate is not for 127.0.0.1 but for "),
        (
            "foreign",
            "certificate is not signed by the known CA of that name: name the right one in ",
        ),
        ("plain", "no answer within 1s"),
    ];
    for (pod, beginning) in words {
        let shown = await_status(&mut client, "eir", pod, "unhealthy");
        assert!(reason(&shown).starts_with(beginning), "{pod}: {shown}");
    }
    let since = reason(&shown(&mut client, "eir", "expired"));
    assert!(since.ends_with(" days ago"), "{since}");
    assert_eq!(expired.checks() + wrong.checks() + foreign.checks() + plain.checks(), 0);
}

#[test]
fn a_tcp_target_is_well_while_something_listens() {
    let manager = manager().start();
    let mut client = manager.client();
    let fleet = Fleet::new().unwrap();
    let pod = fleet.pod("raw").unwrap();
    let mut body = registration("eir", &pod, 3868, &[]);
    body["health_check_url"] = json!(format!("tcp://{}", pod.address));
    register(&mut client, &body);
    let well = await_status(&mut client, "eir", "raw", "healthy");
    assert_eq!(well["health"]["changes"][0]["reason"], "connection opened", "{well}");
    pod.die();
    await_ill(&mut client, "raw", "connection refused");
}

#[test]
fn with_three_retries_a_pod_that_refuses_is_unhealthy_after_four_attempts_and_not_before() {
    let manager =
        manager().set("HEALTH_CHECK_INTERVAL", "24h").set("HEALTH_CHECK_RETRY", "3").start();
    let mut client = manager.client();
    let fleet = Fleet::new().unwrap();
    let pod = fleet.pod("ill").unwrap();
    pod.set_health(Health::Answer(500));
    let begun = Instant::now();
    join(&mut client, &pod);
    await_ill(&mut client, "ill", "HTTP 500");
    // Pauses of 1 s, 2 s and 4 s lie between them.
    assert!(begun.elapsed() >= Duration::from_secs(7));
    assert_eq!(pod.checks(), 4);
}

#[test]
fn pods_that_hang_keep_nobody_else_from_being_checked() {
    let manager = manager().set("HEALTH_CHECK_TIMEOUT", "10s").start();
    let mut client = manager.client();
    let fleet = Fleet::new().unwrap();
    let hanging: Vec<FakePod> =
        (0..50).map(|number| fleet.pod(&format!("hangs-{number}")).unwrap()).collect();
    for pod in &hanging {
        pod.set_health(Health::Hang);
        join(&mut client, pod);
    }
    assert!(until(PATIENCE, || hanging.iter().all(|pod| pod.checks() == 1)));
    let well = fleet.pod("well").unwrap();
    join(&mut client, &well);
    await_status(&mut client, "eir", "well", "healthy");
    // All this within the ten seconds of those that hang: never two checks of one at once.
    assert!(until(PATIENCE, || well.checks() >= 10));
    assert!(hanging.iter().all(|pod| pod.checks() == 1));
    well.set_health(Health::Answer(500));
    await_ill(&mut client, "well", "HTTP 500");
}

#[test]
fn a_dead_pod_is_removed_in_the_end_and_its_subscribers_are_told() {
    let manager = manager().set("HEALTH_CHECK_FAILURE_LIMIT", "3").start();
    let mut client = manager.client();
    let fleet = Fleet::new().unwrap();
    let [gw, eir] = ["gw", "eir-1"].map(|name| fleet.pod(name).unwrap());
    register(&mut client, &registration("http-gw", &gw, 1, &["eir"]));
    join(&mut client, &eir);
    await_status(&mut client, "eir", "eir-1", "healthy");
    eir.die();
    assert!(until(PATIENCE, || shown(&mut client, "eir", "eir-1").is_null()));
    let is_told = || {
        let told = fleet.told_to("gw");
        told.last().is_some_and(|told| told.event() == "unregister" && told.pods().is_empty())
    };
    assert!(until(PATIENCE, is_told), "{:?}", fleet.told_to("gw"));
}

#[test]
fn half_a_fleet_that_is_cut_off_is_ill_but_stays_until_the_dead_are_few() {
    let manager = manager().set("HEALTH_CHECK_FAILURE_LIMIT", "5").start();
    let mut client = manager.client();
    let fleet = Fleet::new().unwrap();
    let pods: Vec<FakePod> =
        (0..10).map(|number| fleet.pod(&format!("eir-{number}")).unwrap()).collect();
    for pod in &pods {
        join(&mut client, pod);
    }
    let count = |client: &mut Client, status: &str| {
        client.get(&format!("/services/eir?status={status}")).json()["count"].as_u64().unwrap()
    };
    assert!(until(PATIENCE, || count(&mut client, "healthy") == 10));
    // The brake looks back two intervals.
    let looks = pods[9].checks() + 6;
    assert!(until(PATIENCE, || pods[9].checks() > looks));

    for pod in &pods[..6] {
        pod.set_health(Health::Close);
    }
    assert!(until(PATIENCE, || count(&mut client, "unhealthy") == 6));
    let seen = pods[0].checks();
    assert!(until(PATIENCE, || pods[..6].iter().all(|pod| pod.checks() > seen + 10)));
    assert_eq!(count(&mut client, "unhealthy"), 6, "nobody is removed");
    manager.wait_for_log(|line| {
        line["level"] == "WARN"
            && line["message"].as_str().is_some_and(|m| m.contains("none is removed"))
    });

    for pod in &pods[..4] {
        pod.set_health(Health::Answer(200));
    }
    assert!(until(PATIENCE, || client.get("/services/eir").json()["count"] == 8), "two are gone");
    assert_eq!(count(&mut client, "healthy"), 8);
}
