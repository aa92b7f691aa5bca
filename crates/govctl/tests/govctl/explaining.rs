//! `govctl explain`: right and readable in every state that a pod may be in.

use governance_testkit::fleet::{Health, Reception};
use governance_testkit::wait::until;
use serde_json::{Value, json};

use crate::scene::{CLOSED, PATIENCE, Scene, document, kill};

#[test]
fn a_pod_that_was_never_checked() {
    let mut scene = Scene::new(|builder| builder.set("HEALTH_CHECK_TIMEOUT", "30s"));
    let pod = scene.fleet.pod("p1").unwrap();
    pod.set_health(Health::Hang);
    scene.register(&pod, "eir", &json!([]));
    let begun = until(PATIENCE, || pod.checks() > 0);
    assert!(begun, "the first check begins at once");
    let ran = scene.run(&["explain", "eir", "p1"]);
    assert!(ran.stdout.contains("attempts: an attempt is under way"), "{ran:?}");
    scene.compare("explain-never-checked");
}

#[test]
fn a_healthy_pod() {
    let mut scene = Scene::new(|builder| builder);
    let pod = scene.fleet.pod("p1").unwrap();
    let subscriber = scene.fleet.pod("gw-1").unwrap();
    scene.register(&subscriber, "http-gw", &json!(["eir"]));
    scene.register(&pod, "eir", &json!([]));
    wait_until_all_told(&scene);
    scene.wait_for_status("eir", "p1", "healthy");
    wait_for_audit(&scene, "p1", "health_status_change", 1);
    wait_until_all_told(&scene);
    scene.run(&["explain", "eir", "p1"]);
    scene.run(&["explain", "eir", "p1", "-o", "name"]);
    scene.run(&["explain", "eir", "p1", "-o", "json", "--no-connect"]);
    scene.compare("explain-healthy");
}

#[test]
fn a_pod_that_fails_while_it_is_retried() {
    let mut scene = Scene::new(|builder| {
        builder.set("HEALTH_CHECK_RETRY", "9").set("HEALTH_CHECK_INTERVAL", "1s")
    });
    let pod = scene.fleet.pod("p1").unwrap();
    scene.register(&pod, "eir", &json!([]));
    scene.wait_for_status("eir", "p1", "healthy");
    wait_for_audit(&scene, "p1", "health_status_change", 1);
    let fresh = scene.fleet.pod("p2").unwrap();
    fresh.set_health(Health::Answer(503));
    scene.register(&fresh, "eir", &json!([]));
    pod.set_health(Health::Answer(500));
    let has_failed = |found: &Value| found["health"]["last_failure"].is_object();
    scene.wait_for("eir", "p1", has_failed);
    scene.wait_for("eir", "p2", has_failed);
    scene.run(&["explain", "eir", "p1"]);
    scene.run(&["explain", "eir", "p2"]);
    scene.compare("explain-retrying");
}

#[test]
fn a_dead_pod() {
    let mut scene = Scene::new(|builder| builder);
    let pod = scene.fleet.pod("p1").unwrap();
    let _grave = kill(&pod);
    scene.register(&pod, "eir", &json!([]));
    scene.wait_for_status("eir", "p1", "unhealthy");
    wait_for_audit(&scene, "p1", "health_status_change", 1);
    scene.run(&["explain", "eir", "p1"]);
    scene.compare("explain-dead");
}

#[test]
fn a_flapping_pod() {
    let mut scene = Scene::new(|builder| builder.set("HEALTH_CHECK_INTERVAL", "100ms"));
    let pod = scene.fleet.pod("p1").unwrap();
    scene.register(&pod, "eir", &json!([]));
    scene.wait_for_status("eir", "p1", "healthy");
    for _ in 0..2 {
        pod.set_health(Health::Answer(500));
        scene.wait_for_status("eir", "p1", "unhealthy");
        pod.set_health(Health::Answer(200));
        scene.wait_for_status("eir", "p1", "healthy");
    }
    wait_for_audit(&scene, "p1", "health_status_change", 5);
    scene.run(&["explain", "eir", "p1"]);
    scene.compare("explain-flapping");
}

#[test]
fn a_pod_that_was_removed_by_the_limit_and_one_that_left() {
    let mut scene = Scene::new(|builder| {
        builder.set("HEALTH_CHECK_INTERVAL", "100ms").set("HEALTH_CHECK_FAILURE_LIMIT", "3")
    });
    let pod = scene.fleet.pod("p1").unwrap();
    let _grave = kill(&pod);
    scene.register(&pod, "eir", &json!([]));
    wait_for_audit(&scene, "p1", "auto_cleanup", 1);
    let left = scene.fleet.pod("p2").unwrap();
    scene.register(&left, "eir", &json!([]));
    scene.wait_for_status("eir", "p2", "healthy");
    wait_for_audit(&scene, "p2", "health_status_change", 1);
    scene.run(&["unregister", "eir", "p2"]);
    let ran = scene.run(&["explain", "eir", "p1"]);
    assert_eq!(ran.code, Some(3), "it is explained, and not there");
    scene.run(&["explain", "eir", "p2"]);
    scene.run(&["explain", "eir", "p3"]);
    scene.run(&["explain", "eir"]);
    scene.compare("explain-gone");
}

#[test]
fn a_pod_whose_registration_failed() {
    let mut scene = Scene::new(|builder| builder.set("MAX_PODS_PER_SERVICE", "1"));
    let pods = ["p1", "p2"].map(|name| scene.fleet.pod(name).unwrap());
    scene.register(&pods[0], "eir", &json!([]));
    let answer = scene.manager.client().post("/register", &document(&pods[1], "eir", &json!([])));
    assert_eq!(answer.status, 429, "{answer:?}");
    wait_for_audit(&scene, "p2", "register", 1);
    scene.run(&["explain", "eir", "p2"]);
    scene.run(&["explain", "eir", "p2", "-o", "name"]);
    scene.compare("explain-refused");
}

#[test]
fn a_subscriber_that_is_behind() {
    let mut scene = Scene::new(|builder| builder);
    let deaf = scene.fleet.pod("gw-1").unwrap();
    deaf.set_reception(Reception::Answer(503));
    scene.register(&deaf, "http-gw", &json!(["eir"]));
    scene.wait_for_status("http-gw", "gw-1", "healthy");
    wait_for_audit(&scene, "gw-1", "health_status_change", 1);
    let pod = scene.fleet.pod("p1").unwrap();
    scene.register(&pod, "eir", &json!([]));
    scene.wait_for_status("eir", "p1", "healthy");
    wait_for_audit(&scene, "p1", "health_status_change", 1);
    let is_behind = |found: &Value| found["deliveries"][0]["attempts"].as_u64() >= Some(2);
    scene.wait_for("http-gw", "gw-1", is_behind);
    scene.run(&["explain", "http-gw", "gw-1"]);
    scene.run(&["explain", "eir", "p1"]);
    scene.compare("explain-behind");
}

#[test]
fn a_pod_that_cannot_be_reached_from_here() {
    let mut scene = Scene::new(|builder| builder);
    let pod = scene.fleet.pod("p1").unwrap();
    scene.register(&pod, "eir", &json!([]));
    scene.wait_for_status("eir", "p1", "healthy");
    let half = scene.fleet.pod("p2").unwrap();
    let port: u16 = CLOSED.rsplit(':').next().unwrap().parse().unwrap();
    let document = json!({"service_name": "eir", "pod_name": "p2",
        "providers": [{"protocol": "diameter", "ip": "127.0.0.1", "port": port}],
        "health_check_url": half.health_url(), "notification_url": half.notification_url()});
    assert_eq!(scene.manager.client().post("/register", &document).status, 200);
    scene.wait_for_status("eir", "p2", "healthy");
    wait_for_audit(&scene, "p1", "health_status_change", 1);
    wait_for_audit(&scene, "p2", "health_status_change", 1);
    // The manager looks again in an hour only, as if something lay between here and the pod.
    let _grave = kill(&pod);
    scene.run(&["explain", "eir", "p1"]);
    scene.run(&["explain", "eir", "p2"]);
    scene.compare("explain-unreachable");
}

/// The audit of checks is written behind what is published.
#[track_caller]
fn wait_for_audit(scene: &Scene, pod: &str, action: &str, count: usize) {
    let target = format!("/audit/logs?pod_name={pod}&actions={action}");
    let mut last = Value::Null;
    let came = until(PATIENCE, || {
        last = scene.manager.client().get(&target).json();
        last["logs"].as_array().is_some_and(|logs| logs.len() >= count)
    });
    assert!(came, "{last:#}");
}

fn wait_until_all_told(scene: &Scene) {
    let told = until(PATIENCE, || {
        let found = scene.manager.client().get("/services/eir/subscribers").json();
        found["subscribers"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["behind_since"].is_null() && one["delivered_revision"].is_u64())
    });
    assert!(told, "the subscriber takes everything");
}
