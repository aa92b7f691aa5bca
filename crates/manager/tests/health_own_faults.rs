//! What this machine lacks is no verdict about a pod: no descriptor is left, the route is lost, no
//! name server answers. Statuses stay, the log says why, and all goes on when it is over.
//!
//! The route and the name server are taken away in a network of its own, in which the test runs
//! itself once more; where the system allows no such thing, that test says so and does nothing.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod fleet_common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fleet_common::own_network;
use governance_testkit::http::Client;
use governance_testkit::manager::{ManagerBuilder, ManagerProcess, PATIENCE};
use governance_testkit::wait::until;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};

/// An address that only the network of the test has.
const LOST_ADDRESS: &str = "10.77.0.1";

/// A pod that answers 200 and counts.
struct Pod {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Pod {
    fn start(address: &str) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<AtomicUsize> = Arc::default();
        let count = Arc::clone(&asked);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { address, asked }
    }

    fn count(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn manager() -> ManagerBuilder {
    ManagerProcess::builder(env!("CARGO_BIN_EXE_governance-manager"))
        .set("STORAGE", "memory")
        .set("HEALTH_CHECK_INTERVAL", "200ms")
        .set("HEALTH_CHECK_TIMEOUT", "1s")
        .set("HEALTH_CHECK_RETRY", "0")
        .set("HEALTH_CHECK_FAILURE_LIMIT", "2")
        .set("NOTIFICATION_INTERVAL", "0")
}

fn register(client: &mut Client, pod: &str, url: &str) {
    let body = json!({
        "service_name": "eir", "pod_name": pod,
        "providers": [{"protocol": "http", "ip": "127.0.0.1", "port": 1}],
        "health_check_url": url, "notification_url": "http://127.0.0.1:1/notify",
    });
    assert_eq!(client.post("/register", &body).status, 200);
}

fn status(client: &mut Client, pod: &str) -> Value {
    let answer = client.get("/services/eir").json();
    let pods = answer["pods"].as_array().unwrap().clone();
    let found = pods.into_iter().find(|found| found["pod_name"] == pod);
    found.map_or(Value::Null, |found| found["status"].clone())
}

#[track_caller]
fn await_status(client: &mut Client, pod: &str, wanted: &str) {
    assert!(until(PATIENCE, || status(client, pod) == wanted), "{pod} is not {wanted}");
}

/// Waits until the log has a line of that kind of own fault.
fn await_fault(manager: &ManagerProcess, kind: &str) {
    manager.wait_for_log(|line| line["kind"] == kind && line["level"] == "ERROR");
}

#[test]
fn nobody_becomes_unhealthy_when_no_descriptor_is_left() {
    let manager = manager().start();
    // This connection is open before, and stays.
    let mut client = manager.client();
    let pod = Pod::start("127.0.0.1");
    register(&mut client, "a", &format!("http://{}/health", pod.address));
    await_status(&mut client, "a", "healthy");

    let pid = i32::try_from(manager.pid()).ok().and_then(Pid::from_raw);
    let limit = |current| {
        let limits = Rlimit { current: Some(current), maximum: Some(20_000) };
        prlimit(pid, Resource::Nofile, limits).unwrap()
    };
    let before = limit(3);
    await_fault(&manager, "descriptors");
    let asked = pod.count();
    // Long enough for a removal, if this counted.
    let pause = std::time::Instant::now();
    let stays = until(Duration::from_secs(3), || status(&mut client, "a") != "healthy");
    assert!(!stays, "healthy for {:?}", pause.elapsed());
    assert!(pod.count() <= asked + 1, "no check could be made");

    limit(before.current.unwrap_or(20_000).min(20_000));
    assert!(until(PATIENCE, || pod.count() > asked + 2), "checks go on");
    assert_eq!(status(&mut client, "a"), "healthy");
}

#[test]
fn nobody_becomes_unhealthy_when_the_route_or_the_name_server_is_lost() {
    let script = "ip addr add 10.77.0.1/32 dev lo && echo 'nameserver 10.78.0.1' > \"$1\"";
    own_network(script, "within_a_network_of_its_own");
}

#[test]
#[ignore = "run by the test above, in a network of its own"]
fn within_a_network_of_its_own() {
    let manager = manager().start();
    let mut client = manager.client();
    let pod = Pod::start(LOST_ADDRESS);
    register(&mut client, "far", &format!("http://{}/health", pod.address));
    register(&mut client, "named", "http://eir.example:8080/health");
    await_status(&mut client, "far", "healthy");
    await_fault(&manager, "resolver");

    let address = |word: &str| {
        let words = ["addr", word, &format!("{LOST_ADDRESS}/32"), "dev", "lo"];
        assert!(Command::new("ip").args(words).status().unwrap().success());
    };
    address("del");
    await_fault(&manager, "route");
    let asked = pod.count();
    let stays = until(Duration::from_secs(3), || status(&mut client, "far") != "healthy");
    assert!(!stays, "{}", manager.log_text());
    assert_eq!(status(&mut client, "named"), "unknown");

    address("add");
    assert!(until(PATIENCE, || pod.count() > asked + 2), "checks go on");
    assert_eq!(status(&mut client, "far"), "healthy");
}
