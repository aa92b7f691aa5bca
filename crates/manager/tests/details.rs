//! What the real program tells of one pod, against the types of the API.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]

use governance_api::{PodDetails, Status, Subscribers};
use governance_testkit::manager::{ManagerProcess, PATIENCE};
use governance_testkit::wait::until;
use serde_json::json;

#[test]
fn the_types_of_the_api_hold_what_is_told_of_a_pod() {
    let manager = ManagerProcess::builder(env!("CARGO_BIN_EXE_governance-manager"))
        .set("HEALTH_CHECK_RETRY", "0")
        .start();
    let mut client = manager.client();
    let pod = json!({
        "service_name": "eir", "pod_name": "a",
        "providers": [{"protocol": "http", "ip": "127.0.0.1", "port": 1}],
        "health_check_url": "http://127.0.0.1:1/health",
        "notification_url": "http://127.0.0.1:1/notify",
        "subscriptions": ["eir"],
    });
    assert_eq!(client.post("/register", &pod).status, 200);
    let read = || -> PodDetails {
        let answer = manager.client().get("/services/eir/pods/a");
        serde_json::from_str(answer.text()).unwrap()
    };
    let has_failed = until(PATIENCE, || {
        let details = read();
        let is_told = details.deliveries.iter().any(|told| told.last_error.is_some());
        is_told && details.pod.status == Status::Unhealthy
    });
    assert!(has_failed, "a check and a notification failed: {:?}", read());
    let details = read();
    let health = details.health.unwrap();
    assert!(health.consecutive_failures >= 1 && health.last_failure.is_some());
    assert_eq!(
        (health.changes[0].from, health.changes[0].to),
        (Status::Unknown, Status::Unhealthy)
    );
    let told = &details.deliveries[0];
    assert_eq!(told.service_name, "eir");
    assert!(told.attempts >= 1 && told.failing_since.is_some() && told.behind_since.is_some());
    let answer = client.get("/services/eir/subscribers");
    let subscribers: Subscribers = serde_json::from_str(answer.text()).unwrap();
    assert!(subscribers.subscribers[0].attempts >= Some(1));
}
