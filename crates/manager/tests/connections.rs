//! Connections that are slow, idle, many, cut off, or never read: each is kept or closed in its
//! time, and nobody else notices.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use governance_testkit::http::{Client, Wire, request};
use governance_testkit::manager::{ManagerBuilder, ManagerProcess};
use governance_testkit::wait::until;
use serde_json::{Value, json};

/// How long a request may take to arrive, its headers at 10 s and its body at 30 s, and a margin
/// for a slow machine.
const HEADER_MAX: Duration = Duration::from_secs(16);

fn manager() -> ManagerBuilder {
    ManagerProcess::builder(env!("CARGO_BIN_EXE_governance-manager"))
}

fn registration(pod: &str) -> Value {
    json!({
        "service_name": "eir", "pod_name": pod,
        "providers": [{"protocol": "http", "ip": "127.0.0.1", "port": 1}],
        "health_check_url": "http://127.0.0.1:1/health",
        "notification_url": "http://127.0.0.1:1/notify",
    })
}

#[track_caller]
fn assert_serves(manager: &ManagerProcess) {
    let answer = manager.client().get("/services");
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn a_header_of_a_byte_a_second_is_cut_off_and_disturbs_nobody() {
    let manager = manager().start();
    let mut wire = Wire::open(manager.address()).unwrap();
    let mut bytes = "GET /services HTTP/1.1\r\nhost: manager\r\nx-slow: aaaaaaaaaaaaaaaaaa".bytes();
    let begun = Instant::now();
    let mut is_cut_off = false;
    while !is_cut_off && begun.elapsed() < HEADER_MAX {
        let byte = bytes.next().unwrap_or(b'a');
        is_cut_off = wire.send([byte]).is_err() || !wire.is_silent_for(Duration::from_secs(1));
        assert_serves(&manager);
    }
    assert!(is_cut_off, "still open after {HEADER_MAX:?}");
}

#[test]
fn a_connection_that_says_nothing_at_first_is_no_slow_request() {
    let manager = manager().start();
    let mut wire = Wire::open(manager.address()).unwrap();
    // Half of what an idle connection may take, more than the time for headers.
    assert!(wire.is_silent_for(Duration::from_secs(12)));
    wire.send(request("GET", "/services", None)).unwrap();
    assert_eq!(wire.receive().unwrap().status, 200);
}

/// A pod's connection after this time, between its registration and a heartbeat.
#[track_caller]
fn assert_lives_through(idle: Duration) {
    let manager = manager().start();
    let mut wire = Wire::open(manager.address()).unwrap();
    let body = registration("eir-1").to_string();
    wire.send(request("POST", "/register", Some(body.as_bytes()))).unwrap();
    assert_eq!(wire.receive().unwrap().status, 200);
    assert!(wire.is_silent_for(idle), "closed within {idle:?}");
    wire.send(request("POST", "/heartbeat?service_name=eir&pod_name=eir-1", None)).unwrap();
    assert_eq!(wire.receive().unwrap().status, 200);
}

#[test]
fn a_keep_alive_connection_works_again_after_a_moment() {
    assert_lives_through(Duration::from_secs(5));
}

#[test]
fn a_keep_alive_connection_works_again_after_a_hundred_seconds() {
    assert_lives_through(Duration::from_secs(100));
}

#[test]
fn a_request_that_stops_half_way_ends_and_changes_nothing() {
    let manager = manager().start();
    let body = registration("half").to_string();
    let whole = request("POST", "/register", Some(body.as_bytes()));
    let head = whole.len() - body.len();
    for length in [1, 20, head - 1, head, head + 1, whole.len() - 1] {
        let mut wire = Wire::open(manager.address()).unwrap();
        wire.send(&whole[..length]).unwrap();
        wire.finish().unwrap();
        match wire.receive() {
            Ok(answer) => assert!([400, 408].contains(&answer.status), "{length}: {answer:?}"),
            Err(error) => assert_ne!(error.kind(), ErrorKind::TimedOut, "{length}: left open"),
        }
    }
    assert_eq!(manager.client().get("/services").json()["count"], 0);
}

#[test]
fn a_client_that_goes_away_in_the_middle_of_a_body_changes_nothing() {
    let manager = manager().start();
    let body = registration("gone").to_string();
    let whole = request("POST", "/register", Some(body.as_bytes()));
    for _ in 0..50 {
        let mut wire = Wire::open(manager.address()).unwrap();
        wire.send(&whole[..whole.len() - 5]).unwrap();
    }
    assert_eq!(manager.client().get("/services").json()["count"], 0);
}

#[test]
fn five_thousand_idle_connections_do_not_keep_a_client_from_being_served() {
    raise_file_limit();
    let manager = manager().start();
    let mut idle = Vec::new();
    for number in 0..5_000 {
        let mut wire = Wire::open(manager.address())
            .unwrap_or_else(|error| panic!("connection {number}: {error} (see `ulimit -n`)"));
        if number % 2 == 0 {
            // Some have said something, as a pod with its heartbeat has.
            wire.send(request("GET", "/ready", None)).unwrap();
        }
        idle.push(wire);
    }
    let mut client = manager.client();
    for number in 0..20 {
        assert_eq!(client.post("/register", &registration(&format!("eir-{number}"))).status, 200);
        assert_serves(&manager);
    }
    for wire in idle.iter_mut().step_by(2) {
        assert_eq!(wire.receive().unwrap().status, 200);
    }
    // Those that said nothing are still served.
    for wire in idle.iter_mut().skip(1).step_by(500) {
        wire.send(request("GET", "/version", None)).unwrap();
        assert_eq!(wire.receive().unwrap().status, 200);
    }
}

/// This process holds one end of each connection.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).expect("a soft limit may be raised");
}

#[test]
fn readers_that_take_no_answer_do_not_fill_the_process() {
    let manager = manager().start();
    let mut client = manager.client();
    for number in 0..200 {
        assert_eq!(client.post("/register", &registration(&format!("eir-{number}"))).status, 200);
    }
    let mut lazy = Vec::new();
    for _ in 0..50 {
        let mut wire = Wire::open(manager.address()).unwrap();
        for _ in 0..100 {
            // Its answers, 100 lists of 200 pods, are never read; at some point it is not read either.
            if wire.send(request("GET", "/services", None)).is_err() {
                break;
            }
        }
        lazy.push(wire);
    }
    let is_small = until(Duration::from_secs(10), || {
        assert_serves(&manager);
        resident_kib(manager.pid()) < 200 * 1024
    });
    assert!(is_small, "{} KiB are in use", resident_kib(manager.pid()));
    assert_eq!(Client::new(manager.address()).get("/services").json()["count"], 200);
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
