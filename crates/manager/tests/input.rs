//! What strangers send: huge, malformed, of the wrong kind. Each gets its answer or loses its
//! connection, and nobody else notices.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]

use std::io::ErrorKind;

use governance_testkit::http::{Answer, Wire, request};
use governance_testkit::manager::{ManagerBuilder, ManagerProcess};
use serde_json::{Value, json};

/// The largest body.
const BODY_MAX: usize = 64 * 1024;

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

/// An error answer in the form that all have.
#[track_caller]
fn assert_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    let problem = answer.json();
    assert_eq!(problem["status"], status);
    assert_eq!(problem["error"], code, "{problem}");
    assert_eq!(problem["detail"], problem["message"]);
    for field in ["type", "title", "detail", "request_id"] {
        assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {problem}");
    }
}

#[track_caller]
fn assert_serves(manager: &ManagerProcess) {
    let answer = manager.client().get("/services");
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn headers_have_a_bound() {
    let manager = manager().start();
    let with_headers = |size: usize| {
        let head = "GET /services HTTP/1.1\r\nhost: manager\r\nx-large: ";
        let mut wire = Wire::open(manager.address()).unwrap();
        wire.send(format!("{head}{}\r\n\r\n", "a".repeat(size))).unwrap();
        wire.receive().unwrap()
    };
    assert_eq!(with_headers(10_000).status, 200);
    let answer = with_headers(20_000);
    assert_eq!(answer.status, 431, "{answer:?}");
    assert_problem(&answer, 431, answer.json()["error"].as_str().unwrap());
    let many = "x-same: 1\r\n".repeat(500);
    let mut wire = Wire::open(manager.address()).unwrap();
    wire.send(format!("GET /services HTTP/1.1\r\nhost: manager\r\n{many}\r\n")).unwrap();
    let answer = wire.receive().unwrap();
    assert!([200, 431].contains(&answer.status), "{answer:?}");
    assert_serves(&manager);
}

#[test]
fn a_body_at_its_bound_is_read_and_one_beyond_is_not() {
    let manager = manager().start();
    let padded = |size: usize| {
        let mut body = registration("eir-1");
        body["metadata"] = json!("");
        let length = body.to_string().len();
        body["metadata"] = json!("x".repeat(size - length));
        let body = body.to_string();
        assert_eq!(body.len(), size);
        body
    };
    let mut client = manager.client();
    let at = client.call("POST", "/register", Some(padded(BODY_MAX).as_bytes())).unwrap();
    assert_eq!(at.status, 200, "{at:?}");
    let beyond = client.call("POST", "/register", Some(padded(BODY_MAX + 1).as_bytes())).unwrap();
    assert_problem(&beyond, 413, "body_too_large");
    // The same without an announced length.
    let body = padded(BODY_MAX + 1);
    let chunk = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let mut wire = Wire::open(manager.address()).unwrap();
    let head = "POST /register HTTP/1.1\r\nhost: manager\r\ntransfer-encoding: chunked\r\n\r\n";
    wire.send(format!("{head}{chunk}")).unwrap();
    assert_problem(&wire.receive().unwrap(), 413, "body_too_large");
    // A length that no machine can hold is believed by nobody.
    let mut wire = Wire::open(manager.address()).unwrap();
    wire.send("POST /register HTTP/1.1\r\nhost: m\r\ncontent-length: 99999999999999\r\n\r\n{")
        .unwrap();
    assert_problem(&wire.receive().unwrap(), 413, "body_too_large");
}

#[test]
fn bodies_that_are_no_registration_are_refused_one_by_one() {
    let manager = manager().start();
    let mut client = manager.client();
    let brackets = "[".repeat(60_000);
    let objects = "{\"a\":".repeat(12_000);
    let invalid_utf8 = {
        let mut body = registration("eir-1").to_string().into_bytes();
        let at = body.windows(5).position(|window| window == b"eir-1").unwrap();
        body[at] = 0xff;
        body
    };
    let bodies: [&[u8]; 12] = [
        b"",
        b" ",
        b"{",
        b"nonsense",
        b"\0\0\0\0",
        brackets.as_bytes(),
        objects.as_bytes(),
        &invalid_utf8,
        b"{\"service_name\":\"\xed\xa0\x80\"}",
        b"{\"service_name\":\"eir\"} trailing",
        b"\"\\ud800\"",
        b"{\"service_name\":1e999}",
    ];
    for body in bodies {
        let answer = client.call("POST", "/register", Some(body)).unwrap();
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        assert_eq!(answer.status, 400, "{shown}: {answer:?}");
        assert_problem(&answer, 400, "malformed_json");
    }
    for body in ["null", "[]", "3", "\"text\"", "{}", "true"] {
        let answer = client.call("POST", "/register", Some(body.as_bytes())).unwrap();
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
    }
    assert_eq!(client.get("/services").json()["count"], 0);
}

#[test]
fn every_fault_of_a_registration_is_named_at_once() {
    let manager = manager().start();
    let wrong = json!({
        "service_name": "-bad", "pod_name": "",
        "providers": [{"protocol": "HTTP", "ip": "", "port": 70000}],
        "health_check_url": "ftp://h/", "notification_url": "nowhere",
        "subscriptions": ["ok", {"provider_ids": []}, 3],
    });
    let answer = manager.client().post("/register", &wrong);
    assert_problem(&answer, 400, "invalid_request");
    let problem = answer.json();
    let faults = problem["errors"].as_array().unwrap();
    let pointers: Vec<&str> =
        faults.iter().map(|fault| fault["pointer"].as_str().unwrap()).collect();
    for pointer in [
        "/service_name",
        "/pod_name",
        "/providers/0/protocol",
        "/providers/0/ip",
        "/providers/0/port",
        "/health_check_url",
        "/notification_url",
    ] {
        assert!(pointers.contains(&pointer), "{pointer} is not in {pointers:?}");
    }
    for prefix in ["/subscriptions/1", "/subscriptions/2"] {
        assert!(
            pointers.iter().any(|pointer| pointer.starts_with(prefix)),
            "{prefix}: {pointers:?}"
        );
    }
    assert!(!pointers.iter().any(|pointer| pointer.starts_with("/subscriptions/0")));
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let manager = manager().start();
    let mut wire = Wire::open(manager.address()).unwrap();
    let mut bytes = Vec::new();
    for number in 0..20 {
        let body = registration(&format!("eir-{number:02}")).to_string();
        bytes.extend(request("POST", "/register", Some(body.as_bytes())));
        bytes.extend(request("GET", &format!("/services/eir/pods/eir-{number:02}"), None));
    }
    wire.send(bytes).unwrap();
    for number in 0..20 {
        let registered = wire.receive().unwrap();
        assert_eq!(registered.status, 200, "{registered:?}");
        assert_eq!(registered.json()["pod_name"], format!("eir-{number:02}"));
        let pod = wire.receive().unwrap();
        assert_eq!(pod.status, 200, "what was acknowledged is there: {pod:?}");
    }
}

#[test]
fn head_works_where_get_does() {
    let manager = manager().start();
    manager.client().post("/register", &registration("eir-1"));
    let mut client = manager.client();
    for target in
        ["/services", "/services/eir", "/services/eir/pods/eir-1", "/health", "/ready", "/version"]
    {
        let head = client.send("HEAD", target);
        assert_eq!(head.status, 200, "{target}");
        let get = client.get(target);
        assert_eq!(get.status, 200, "{target}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{target}");
        assert!(head.body.is_empty() && !get.body.is_empty(), "{target}");
    }
    let absent = client.send("HEAD", "/nowhere");
    assert_eq!(absent.status, 404);
    assert_eq!(client.get("/ready").status, 200, "no body of an error is left on the connection");
}

#[test]
fn unknown_paths_and_methods_are_problems() {
    let manager = manager().start();
    let mut client = manager.client();
    for target in ["/", "/nowhere", "/register/", "/services/a/b/c", "/services/eir/pods/none"] {
        let answer = client.get(target);
        assert_eq!(answer.status, 404, "{target}");
        assert_problem(&answer, 404, answer.json()["error"].as_str().unwrap());
    }
    for (method, target, allowed) in [
        ("GET", "/register", "POST"),
        ("POST", "/unregister", "DELETE"),
        ("GET", "/heartbeat", "POST"),
        ("DELETE", "/services", "GET"),
        ("PUT", "/health", "GET"),
    ] {
        let answer = client.send(method, target);
        assert_problem(&answer, 405, "method_not_allowed");
        let allow = answer.header("allow").unwrap_or_default();
        assert!(allow.split(',').any(|word| word.trim() == allowed), "{target}: {allow:?}");
    }
}

#[test]
fn a_body_of_another_type_is_refused_and_one_without_a_type_is_json() {
    let manager = manager().start();
    let send = |kind: &str| {
        let body = registration("eir-1").to_string();
        let mut wire = Wire::open(manager.address()).unwrap();
        wire.send(format!(
            "POST /register HTTP/1.1\r\nhost: m\r\n{kind}content-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .unwrap();
        wire.receive().unwrap()
    };
    for kind in [
        "",
        "content-type: application/json\r\n",
        "content-type: Application/JSON; charset=utf-8\r\n",
    ] {
        assert_eq!(send(kind).status, 200, "{kind:?}");
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "json"] {
        let answer = send(&format!("content-type: {kind}\r\n"));
        assert_problem(&answer, 415, "unsupported_media_type");
    }
}

#[test]
fn what_is_no_http_is_cut_off() {
    let manager = manager().start();
    let tls_hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
    let lines: [&[u8]; 7] = [
        &tls_hello,
        b"\r\n\r\n\r\n\r\nnonsense\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /services HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST /register HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        b"GET /services HTTP/1.1\r\nbad header\r\n\r\n",
    ];
    for bytes in lines {
        let mut wire = Wire::open(manager.address()).unwrap();
        wire.send(bytes).unwrap();
        wire.finish().unwrap();
        match wire.receive() {
            Ok(answer) => assert!((400..500).contains(&answer.status), "{bytes:?}: {answer:?}"),
            Err(error) => assert_ne!(error.kind(), ErrorKind::TimedOut, "{bytes:?}: left open"),
        }
    }
    assert_serves(&manager);
}

#[test]
fn parameters_that_are_missing_wrong_or_odd_are_refused() {
    let manager = manager().start();
    let mut client = manager.client();
    for target in [
        "/unregister",
        "/unregister?service_name=eir",
        "/unregister?pod_name=eir-1",
        "/unregister?service_name=&pod_name=eir-1",
        "/unregister?service_name=eir&pod_name=eir-1&registration_id=x",
        "/unregister?service_name=eir&pod_name=%ff%fe",
    ] {
        let answer = client.send("DELETE", target);
        assert_eq!(answer.status, 400, "{target}: {answer:?}");
        assert_problem(&answer, 400, answer.json()["error"].as_str().unwrap());
    }
    for target in ["/services?status=well", "/services?limit=0", "/services?limit=10001"] {
        assert_eq!(client.get(target).status, 400, "{target}");
    }
    assert_eq!(client.get("/services?service_name=nobody").json()["count"], 0);
    let heartbeat = client.send("POST", "/heartbeat?service_name=eir&pod_name=nobody");
    assert_problem(&heartbeat, 404, "pod_not_registered");
}
