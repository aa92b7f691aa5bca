//! The services that are out there: what they send is accepted, and what they read is there. They
//! were written against an earlier manager and are not going to change.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]

use std::io::ErrorKind;

use governance_testkit::http::{Wire, request};
use governance_testkit::manager::{ManagerBuilder, ManagerProcess};
use serde_json::{Value, json};

fn manager() -> ManagerBuilder {
    ManagerProcess::builder(env!("CARGO_BIN_EXE_governance-manager"))
}

fn registration() -> Value {
    json!({
        "service_name": "eir", "pod_name": "eir-1",
        "providers": [{"protocol": "http", "ip": "10.0.0.1", "port": 8080}],
        "health_check_url": "http://10.0.0.1:8080/health",
        "notification_url": "http://10.0.0.1:8080/notify",
        "subscriptions": ["http-gw"],
    })
}

/// The registration with other values at some JSON pointers; a missing one is removed.
fn with(changes: &[(&str, Option<Value>)]) -> Value {
    let mut registration = registration();
    for (name, value) in changes {
        let fields = registration.as_object_mut().unwrap();
        match value {
            Some(value) => fields.insert((*name).to_owned(), value.clone()),
            None => fields.remove(*name),
        };
    }
    registration
}

fn provider(ip: &str, id: Option<&str>) -> Value {
    let mut provider = json!({"protocol": "diameter", "ip": ip, "port": 3868});
    if let Some(id) = id {
        provider["provider_id"] = json!(id);
    }
    json!([provider])
}

type Changes = Vec<(&'static str, Option<Value>)>;

/// What is out there, and what stands in it besides the documented example.
fn field_cases() -> Vec<(&'static str, Changes)> {
    vec![
        ("as documented", vec![]),
        ("subscriptions null", vec![("subscriptions", Some(Value::Null))]),
        ("subscriptions absent", vec![("subscriptions", None)]),
        ("subscriptions empty", vec![("subscriptions", Some(json!([])))]),
        (
            "subscriptions mixed",
            vec![(
                "subscriptions",
                Some(json!(["a", {"service_name": "b", "provider_ids": null}])),
            )],
        ),
        (
            "subscriptions with a filter",
            vec![("subscriptions", Some(json!([{"service_name": "b", "provider_ids": ["x:1"]}])))],
        ),
        (
            "subscriptions without a filter",
            vec![("subscriptions", Some(json!([{"service_name": "b", "provider_ids": []}])))],
        ),
        (
            "one service twice",
            vec![(
                "subscriptions",
                Some(json!(["b", {"service_name": "b", "provider_ids": ["x"]}])),
            )],
        ),
        ("provider_id empty", vec![("providers", Some(provider("10.0.0.1", Some(""))))]),
        (
            "provider_id given",
            vec![("providers", Some(provider("10.0.0.1", Some("eir-diameter"))))],
        ),
        ("the unspecified address", vec![("providers", Some(provider("0.0.0.0", None)))]),
        ("a name", vec![("providers", Some(provider("localhost", None)))]),
        ("a name of a container", vec![("providers", Some(provider("eir_pod_1", None)))]),
        ("an IPv6 address", vec![("providers", Some(provider("fd00::1", None)))]),
        ("localhost", vec![("health_check_url", Some(json!("http://localhost:8080/health")))]),
        (
            "a bare IPv6 address in a URL",
            vec![("notification_url", Some(json!("http://fd00::1:8080/notify")))],
        ),
        ("a connection as check", vec![("health_check_url", Some(json!("tcp://10.0.0.1:3868")))]),
        (
            "fields of later times",
            vec![
                ("metadata", Some(json!({"a": 1}))),
                ("weight", Some(json!(3))),
                ("zone", Some(json!("z1"))),
                ("admin_state", Some(json!("up"))),
                ("anything", Some(json!([[]]))),
            ],
        ),
    ]
}

#[test]
fn what_the_field_sends_is_accepted() {
    let manager = manager().start();
    let mut client = manager.client();
    for (name, changes) in field_cases() {
        let answer = client.post("/register", &with(&changes));
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        let answer = answer.json();
        assert_eq!(answer["status"], "success", "{name}");
        // What those programs read: the pods of their service and of those they subscribe to.
        for pods in std::iter::once(&answer["pods"])
            .chain(answer["subscribed_services"].as_object().expect("an object").values())
        {
            for pod in pods.as_array().unwrap_or_else(|| panic!("{name}: a list, not {pods}")) {
                assert!(pod["pod_name"].is_string(), "{name}: {pod}");
                for provider in pod["providers"].as_array().expect("a list") {
                    assert!(provider["port"].is_u64(), "{name}: {provider}");
                    assert!(provider["ip"].is_string(), "{name}: {provider}");
                    assert!(provider["protocol"].is_string(), "{name}: {provider}");
                }
            }
        }
        assert_eq!(answer["pods"].as_array().map(Vec::len), Some(1), "{name}: {answer}");
    }
}

#[test]
fn what_means_the_same_changes_nothing() {
    let manager = manager().start();
    let mut client = manager.client();
    let plain = with(&[("subscriptions", Some(json!(["b", "a"])))]);
    let first = client.post("/register", &plain).json();
    let same = [
        with(&[("subscriptions", Some(json!(["a", "b"])))]),
        with(&[("subscriptions", Some(json!(["a", {"service_name": "b"}, "b"])))]),
        with(&[(
            "subscriptions",
            Some(
                json!([{"service_name": "b", "provider_ids": []}, {"service_name": "a", "provider_ids": null}]),
            ),
        )]),
        with(&[
            ("subscriptions", Some(json!(["b", "a"]))),
            ("metadata", Some(json!({"of": "later times"}))),
        ]),
    ];
    for registration in same {
        let again = client.post("/register", &registration).json();
        for field in ["registration_id", "revision", "registry_id"] {
            assert_eq!(again[field], first[field], "{field} after {registration}");
        }
    }
    let none = client.post("/register", &with(&[("subscriptions", None)])).json();
    assert_eq!(none["registration_id"], first["registration_id"], "wishes are no new registration");
    assert!(none["revision"].as_u64() > first["revision"].as_u64(), "but they are a change");
    for value in [Value::Null, json!([])] {
        let again = client.post("/register", &with(&[("subscriptions", Some(value))])).json();
        assert_eq!(again["revision"], none["revision"]);
    }
    let moved = client.post("/register", &with(&[("providers", Some(provider("10.9.9.9", None)))]));
    let moved = moved.json();
    assert!(moved["registration_id"].as_u64() > first["registration_id"].as_u64(), "{moved}");
}

#[test]
fn the_field_s_client_registers_beats_looks_up_and_leaves_on_one_connection() {
    let manager = manager().start();
    let mut wire = Wire::open(manager.address()).unwrap();
    let mut call = |method: &str, target: &str, body: Option<&Value>| {
        let body = body.map(Value::to_string);
        wire.send(request(method, target, body.as_ref().map(String::as_bytes))).unwrap();
        wire.receive().unwrap_or_else(|error| panic!("{method} {target}: {error}"))
    };
    assert_eq!(call("POST", "/register", Some(&registration())).status, 200);
    for _ in 0..3 {
        let beat = call("POST", "/heartbeat?service_name=eir&pod_name=eir-1", None);
        assert_eq!(beat.status, 200, "{beat:?}");
        let beat = beat.json();
        assert_eq!(beat["status"], "ok");
        assert!(beat["timestamp"].as_str().is_some_and(|time| time.contains('T')), "{beat}");
        assert_eq!(beat.as_object().unwrap().len(), 2, "exactly these two: {beat}");
    }
    let list = call("GET", "/services", None).json();
    let pod = &list["services"][0];
    assert_eq!(list["count"], 1);
    for field in [
        "service_key",
        "service_name",
        "pod_name",
        "providers",
        "health_check_url",
        "notification_url",
        "subscriptions",
        "status",
        "registered_at",
        "updated_at",
    ] {
        assert!(!pod[field].is_null(), "{field}: {pod}");
    }
    assert_eq!(pod["subscriptions"], json!(["http-gw"]), "strings where there is no filter");
    let target = "/unregister?service_name=eir&pod_name=eir-1";
    assert_eq!(call("DELETE", target, None).json()["status"], "success");
    let beat = call("POST", "/heartbeat?service_name=eir&pod_name=eir-1", None);
    assert_eq!(beat.status, 404, "only this makes it register again");
}

#[test]
fn a_registration_shows_what_its_subscriptions_show() {
    let manager = manager().start();
    let mut client = manager.client();
    let mut diameter = provider("10.0.0.1", Some("eir-diameter"));
    diameter
        .as_array_mut()
        .unwrap()
        .push(json!({"protocol": "http", "ip": "10.0.0.1", "port": 80}));
    client.post("/register", &with(&[("providers", Some(diameter))]));
    let http_only = with(&[("pod_name", Some(json!("eir-2")))]);
    client.post("/register", &http_only);
    let gateway = with(&[
        ("service_name", Some(json!("http-gw"))),
        ("pod_name", Some(json!("gw-1"))),
        (
            "subscriptions",
            Some(json!([{"service_name": "eir", "provider_ids": ["eir-diameter"]}, "nobody"])),
        ),
    ]);
    let answer = client.post("/register", &gateway).json();
    let eir = answer["subscribed_services"]["eir"].as_array().unwrap();
    assert_eq!(eir.len(), 1, "a pod without such a provider is left out: {answer}");
    assert_eq!(eir[0]["pod_name"], "eir-1");
    assert_eq!(eir[0]["providers"], provider("10.0.0.1", Some("eir-diameter")));
    assert_eq!(answer["subscribed_services"]["nobody"], json!([]));
    assert_eq!(answer["subscribed_services"].as_object().unwrap().len(), 2);
    assert_eq!(answer["pods"].as_array().unwrap().len(), 1);
}

#[test]
fn the_right_removal_removes_and_a_late_one_does_not() {
    let manager = manager().start();
    let mut client = manager.client();
    let old = client.post("/register", &with(&[("instance_id", Some(json!("one")))])).json();
    let new = client.post("/register", &with(&[("instance_id", Some(json!("two")))])).json();
    let target = |more: &str| format!("/unregister?service_name=eir&pod_name=eir-1{more}");
    let late =
        client.send("DELETE", &target(&format!("&registration_id={}", old["registration_id"])));
    assert_eq!((late.status, &late.json()["error"]), (409, &json!("registration_superseded")));
    let late = client.send("DELETE", &target("&instance_id=one"));
    assert_eq!((late.status, &late.json()["error"]), (409, &json!("instance_superseded")));
    assert_eq!(client.get("/services").json()["count"], 1, "a late removal removes nothing");
    let right = format!("&registration_id={}&instance_id=two", new["registration_id"]);
    assert_eq!(client.send("DELETE", &target(&right)).status, 200);
    assert_eq!(client.send("DELETE", &target("")).status, 404);
}

#[test]
fn a_service_name_in_another_case_is_refused_while_the_first_is_there() {
    let manager = manager().start();
    let mut client = manager.client();
    client.post("/register", &registration());
    let shouting = with(&[("service_name", Some(json!("EIR")))]);
    let answer = client.post("/register", &shouting);
    assert_eq!((answer.status, &answer.json()["error"]), (409, &json!("service_name_collision")));
    client.send("DELETE", "/unregister?service_name=eir&pod_name=eir-1");
    assert_eq!(client.post("/register", &shouting).status, 200);
}

#[test]
fn a_service_holds_as_many_pods_as_it_may() {
    let manager = manager().set("MAX_PODS_PER_SERVICE", "3").start();
    let mut client = manager.client();
    let pod = |number: usize| with(&[("pod_name", Some(json!(format!("eir-{number}"))))]);
    for number in 0..3 {
        assert_eq!(client.post("/register", &pod(number)).status, 200);
    }
    let full = client.post("/register", &pod(3));
    assert_eq!((full.status, &full.json()["error"]), (429, &json!("service_full")));
    assert!(full.header("retry-after").is_some_and(|time| time.parse::<u32>().is_ok()));
    assert_eq!(client.post("/register", &pod(2)).status, 200, "who is in may register again");
    client.send("DELETE", "/unregister?service_name=eir&pod_name=eir-0");
    assert_eq!(client.post("/register", &pod(3)).status, 200);
}

#[test]
fn a_literal_address_that_may_not_be_connected_to_is_refused() {
    let manager = manager().start();
    let mut client = manager.client();
    for url in [
        "http://169.254.169.254/latest",
        "http://[fe80::1]:80/",
        "http://[::ffff:169.254.169.254]/",
        "http://224.0.0.1/",
    ] {
        for field in ["health_check_url", "notification_url"] {
            let answer = client.post("/register", &with(&[(field, Some(json!(url)))]));
            assert_eq!(answer.status, 400, "{field} {url}: {answer:?}");
            let pointer = &answer.json()["errors"][0]["pointer"];
            assert_eq!(pointer, &json!(format!("/{field}")));
        }
    }
    for scheme in ["sctp", "diameter", "pfcp", "gtp", "grpc"] {
        let url = format!("{scheme}://10.0.0.1:3868");
        let answer = client.post("/register", &with(&[("health_check_url", Some(json!(url)))]));
        assert_eq!(answer.status, 400, "{url}: {answer:?}");
        assert!(answer.text().contains(scheme), "{answer:?}");
    }
    assert_eq!(client.get("/services").json()["count"], 0);
}

#[test]
fn a_connection_that_the_server_closes_is_closed_cleanly() {
    let manager = manager().start();
    let mut wire = Wire::open(manager.address()).unwrap();
    wire.send("GET /ready HTTP/1.1\r\nhost: m\r\nconnection: close\r\n\r\n").unwrap();
    assert_eq!(wire.receive().unwrap().status, 200);
    let after = wire.receive().unwrap_err();
    assert_eq!(after.kind(), ErrorKind::UnexpectedEof);
    let mut old = Wire::open(manager.address()).unwrap();
    old.send("GET /ready HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(old.receive().unwrap().status, 200, "HTTP/1.0 is spoken, too");
}
