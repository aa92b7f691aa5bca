//! What the tests share in which the real manager meets pods of a fleet: how it is started, how
//! pods register, and what it shows of them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]
#![allow(dead_code, reason = "each test crate uses a part")]

use std::process::Command;

use governance_testkit::fleet::FakePod;
use governance_testkit::http::Client;
use governance_testkit::manager::{ManagerBuilder, ManagerProcess, PATIENCE};
use governance_testkit::wait::until;
use serde_json::{Value, json};

/// A manager that checks often and repeats nothing.
pub(crate) fn manager() -> ManagerBuilder {
    ManagerProcess::builder(env!("CARGO_BIN_EXE_governance-manager"))
        .set("HEALTH_CHECK_INTERVAL", "200ms")
        .set("HEALTH_CHECK_TIMEOUT", "1s")
        .set("HEALTH_CHECK_RETRY", "0")
        .set("HEALTH_CHECK_FAILURE_LIMIT", "0")
        .set("NOTIFICATION_INTERVAL", "0")
}

/// A registration of a pod of the fleet, with one provider on this port.
pub(crate) fn registration(
    service: &str,
    pod: &FakePod,
    port: u16,
    subscriptions: &[&str],
) -> Value {
    json!({
        "service_name": service, "pod_name": pod.name,
        "providers": [{"protocol": "http", "ip": "127.0.0.1", "port": port}],
        "health_check_url": pod.health_url(), "notification_url": pod.notification_url(),
        "subscriptions": subscriptions,
    })
}

/// Registers a pod, which must succeed.
#[track_caller]
pub(crate) fn register(client: &mut Client, body: &Value) -> Value {
    let answer = client.post("/register", body);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// Removes a pod, which must succeed.
#[track_caller]
pub(crate) fn unregister(client: &mut Client, service: &str, pod: &str) {
    let target = format!("/unregister?service_name={service}&pod_name={pod}");
    let answer = client.send("DELETE", &target);
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// What the manager shows of a pod; `null` if it is not registered.
pub(crate) fn shown(client: &mut Client, service: &str, pod: &str) -> Value {
    let answer = client.get(&format!("/services/{service}/pods/{pod}"));
    if answer.status == 404 { Value::Null } else { answer.json() }
}

/// Waits for a pod's status.
#[track_caller]
pub(crate) fn await_status(client: &mut Client, service: &str, pod: &str, wanted: &str) -> Value {
    let mut last = Value::Null;
    let is_so = until(PATIENCE, || {
        last = shown(client, service, pod);
        last["status"] == wanted
    });
    assert!(is_so, "not {wanted}: {last}");
    last
}

/// Runs an ignored test of this test crate in a network and a mount namespace of their own, after
/// a script that prepares them; `$1` there becomes `/etc/resolv.conf`. Where the system allows no
/// such thing, it says so and does nothing; CI must allow it.
#[track_caller]
pub(crate) fn own_network(script: &str, test: &str) {
    let words = ["--user", "--map-root-user", "--net", "--mount"];
    if !Command::new("unshare").args(words).arg("true").status().is_ok_and(|s| s.success()) {
        assert!(std::env::var_os("CI").is_none(), "CI allows no network of its own");
        eprintln!("SKIPPED: this system allows no network of its own");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let script = format!(
        "ip link set lo up && {script} && mount --bind \"$1\" /etc/resolv.conf \
         && exec \"$0\" --exact --ignored --nocapture {test}"
    );
    let output = Command::new("unshare")
        .args(words)
        .args(["sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .arg(directory.path().join("resolv.conf"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
