//! A log that nobody takes costs its lines and nothing else.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, Stdio};

use governance_testkit::http::Client;
use governance_testkit::manager::PATIENCE;
use governance_testkit::wait::until;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

/// More lines than a pipe and the waiting lines can hold.
const REQUESTS: usize = 3_000;

struct Running {
    child: Child,
    address: SocketAddr,
    /// None: its reading end is closed.
    log: Option<BufReader<ChildStderr>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a manager that logs every step, and reads its log up to the address.
fn start() -> Running {
    let mut child = Command::new(env!("CARGO_BIN_EXE_governance-manager"))
        .env_clear()
        .env("SERVER_HOST", "127.0.0.1")
        .env("SERVER_PORT", "0")
        .env("STORAGE", "memory")
        .env("LOG_LEVEL", "trace")
        .env("LOG_FORMAT", "json")
        .env("HEALTH_CHECK_INTERVAL", "100ms")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let address = loop {
        let mut line = String::new();
        assert!(log.read_line(&mut line).unwrap() > 0, "it ended before it listened");
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        if line["message"] == "listening" {
            break line["address"].as_str().unwrap().parse().unwrap();
        }
    };
    Running { child, address, log: Some(log) }
}

fn assert_serves(running: &mut Running) {
    let mut client = Client::new(running.address);
    assert!(until(PATIENCE, || client.get("/ready").status == 200));
    for number in 0..REQUESTS {
        let body = json!({
            "service_name": "eir", "pod_name": format!("eir-pod-{}", number % 20),
            "providers": [{"protocol": "http", "ip": "127.0.0.1", "port": number % 60_000 + 1}],
            "health_check_url": "http://127.0.0.1:1/health",
            "notification_url": "http://127.0.0.1:1/notify",
        });
        let body = body.to_string();
        assert_eq!(client.call("POST", "/register", Some(body.as_bytes())).unwrap().status, 200);
    }
    assert!(running.child.try_wait().unwrap().is_none(), "it lives");
}

fn assert_ends_when_asked(running: &mut Running) {
    let pid = Pid::from_child(&running.child);
    kill_process(pid, Signal::TERM).unwrap();
    let mut ended = None;
    assert!(until(PATIENCE, || {
        ended = running.child.try_wait().unwrap();
        ended.is_some()
    }));
    assert_eq!(ended.unwrap().code(), Some(0));
}

#[test]
fn a_reader_that_went_away_costs_its_lines_alone() {
    let mut running = start();
    drop(running.log.take());
    assert_serves(&mut running);
    assert_ends_when_asked(&mut running);
}

#[test]
fn a_reader_that_stands_still_costs_its_lines_alone() {
    let mut running = start();
    assert_serves(&mut running);
    assert_ends_when_asked(&mut running);
}
