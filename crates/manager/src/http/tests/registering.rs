//! Registering, heartbeats, leaving.

use serde_json::{Value, json};

use super::{Bench, registration, with};

#[tokio::test]
async fn registration_is_answered_with_peers_and_subscribed_services() {
    let bench = Bench::start().await;
    let eir = json!([
        {"protocol": "http", "ip": "192.168.1.30", "port": 8080},
        {"protocol": "tcp", "ip": "192.168.1.30", "port": 3868, "provider_id": "eir-diameter"},
    ]);
    bench.register(&with(registration("eir", "eir-pod-1"), "providers", eir)).await;
    bench.register(&registration("eir", "eir-pod-2")).await;
    let wishes = json!(["diam-gw", {"service_name": "eir", "provider_ids": ["eir-diameter"]}]);
    let gateway = with(registration("http-gw", "http-gw-pod-1"), "subscriptions", wishes);
    let answer = bench.post(gateway.to_string()).await;
    let registry_id = bench.engine.snapshot().registry_id;
    let expected = format!(
        r#"{{"status":"success","message":"the pod is registered","service_name":"http-gw","pod_name":"http-gw-pod-1","registration_id":4294967299,"revision":4294967299,"registry_id":"{registry_id}","pods":[{{"pod_name":"http-gw-pod-1","status":"unknown","providers":[{{"protocol":"http","ip":"192.168.1.10","port":8080}}]}}],"subscribed_services":{{"diam-gw":[],"eir":[{{"pod_name":"eir-pod-1","status":"unknown","providers":[{{"protocol":"tcp","ip":"192.168.1.30","port":3868,"provider_id":"eir-diameter"}}]}}]}}}}"#
    );
    assert_eq!(answer.text, expected);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let typed: governance_api::Registered = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(serde_json::to_value(&typed).unwrap(), answer.json(), "the types lose nothing");
}

#[tokio::test]
async fn identical_registration_changes_nothing_and_hastens_a_check() {
    let bench = Bench::start().await;
    let first = bench.register(&registration("eir", "eir-pod-1")).await;
    assert!(bench.checks.0.lock().unwrap().is_empty());
    let variants = [
        registration("eir", "eir-pod-1"),
        with(registration("eir", "eir-pod-1"), "subscriptions", Value::Null),
        with(registration("eir", "eir-pod-1"), "instance_id", json!("")),
        with(registration("eir", "eir-pod-1"), "zone", json!({"unknown": "fields are ignored"})),
        with(
            registration("eir", "eir-pod-1"),
            "providers",
            json!([{"protocol": "http", "ip": "192.168.1.10", "port": 8080, "provider_id": ""}]),
        ),
    ];
    for variant in variants {
        let again = bench.register(&variant).await;
        assert_eq!(again["registration_id"], first["registration_id"], "{variant}");
        assert_eq!(again["revision"], first["revision"], "{variant}");
    }
    assert_eq!(*bench.checks.0.lock().unwrap(), ["eir:eir-pod-1"; 5]);
}

#[tokio::test]
async fn registrations_of_the_field_are_accepted() {
    let bench = Bench::start().await;
    let base = || registration("eir", "pod");
    let mut without = base();
    without.as_object_mut().unwrap().remove("subscriptions");
    let provider = |ip: &str| json!([{"protocol": "http", "ip": ip, "port": 1}]);
    for accepted in [
        without,
        with(base(), "subscriptions", Value::Null),
        with(
            base(),
            "subscriptions",
            json!(["eir", "eir", {"service_name": "a", "provider_ids": null}]),
        ),
        with(base(), "providers", provider("0.0.0.0")),
        with(base(), "providers", provider("localhost")),
        with(base(), "providers", provider("eir_1.ns.svc")),
        with(base(), "providers", provider("fe80::1")),
        with(base(), "health_check_url", json!("http://::1:8080/health")),
        with(base(), "health_check_url", json!("tcp://10.0.0.1:3868")),
        with(base(), "notification_url", json!("http://localhost:8080/notify")),
        with(base(), "instance_id", json!("x".repeat(64))),
    ] {
        bench.register(&accepted).await;
    }
}

#[tokio::test]
async fn content_type_may_be_absent_or_have_parameters_and_no_other() {
    let bench = Bench::start().await;
    let send = async |kind: Option<&str>| {
        let mut request = http::Request::post("/register");
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let body = registration("eir", "pod").to_string();
        bench.send(request.body(body.into()).unwrap()).await
    };
    for kind in [None, Some("application/json"), Some("Application/JSON ; charset=utf-8")] {
        assert_eq!(send(kind).await.status, 200, "{kind:?}");
    }
    for kind in ["text/plain", "application/problem+json", "application/jsonx", ""] {
        let problem = send(Some(kind)).await.problem(415, "unsupported_media_type");
        assert!(problem.detail.contains("send application/json"), "{}", problem.detail);
    }
}

#[tokio::test]
async fn heartbeat_is_answered_exactly_and_hastens_a_check() {
    let bench = Bench::start().await;
    bench.register(&registration("eir", "pod")).await;
    let answer = bench.call("POST", "/heartbeat?service_name=eir&pod_name=pod").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text, r#"{"status":"ok","timestamp":"2026-01-02T03:04:05.678Z"}"#);
    assert_eq!(*bench.checks.0.lock().unwrap(), ["eir:pod"]);
    let unknown = bench.call("POST", "/heartbeat?service_name=eir&pod_name=other").await;
    let problem = unknown.problem(404, "pod_not_registered");
    assert_eq!(problem.detail, "pod eir:other is not registered");
    let missing = bench.call("POST", "/heartbeat?pod_name=").await.problem(400, "invalid_request");
    let pointers: Vec<_> = missing.errors.iter().map(|fault| &*fault.pointer).collect();
    assert_eq!(pointers, ["/service_name", "/pod_name"]);
}

#[tokio::test]
async fn body_of_a_heartbeat_is_ignored_whatever_its_type() {
    let bench = Bench::start().await;
    bench.register(&registration("eir", "pod")).await;
    let request = |body: &str| {
        http::Request::post("/heartbeat?service_name=eir&pod_name=pod")
            .header("content-type", "text/plain")
            .body(body.to_owned().into())
            .unwrap()
    };
    assert_eq!(bench.send(request("anything")).await.status, 200);
    bench.send(request(&"x".repeat(70_000))).await.problem(413, "body_too_large");
}

#[tokio::test]
async fn unregistering_removes_the_pod_once() {
    let bench = Bench::start().await;
    let registered = bench.register(&registration("eir", "pod")).await;
    let uri = "/unregister?service_name=eir&pod_name=pod";
    let answer = bench.call("DELETE", uri).await;
    let registry_id = bench.engine.snapshot().registry_id;
    let expected = format!(
        r#"{{"status":"success","message":"the pod is unregistered","service_name":"eir","pod_name":"pod","registration_id":{},"revision":4294967298,"registry_id":"{registry_id}"}}"#,
        registered["registration_id"],
    );
    assert_eq!(answer.text, expected);
    let typed: governance_api::Unregistered = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(serde_json::to_value(&typed).unwrap(), answer.json());
    bench.call("DELETE", uri).await.problem(404, "pod_not_registered");
    assert_eq!(bench.get("/services").await.json()["count"], 0);
}

#[tokio::test]
async fn unregistering_with_an_id_that_is_not_current_removes_nothing() {
    let bench = Bench::start().await;
    let pod = with(registration("eir", "pod"), "instance_id", json!("new"));
    let id = bench.register(&pod).await["registration_id"].as_u64().unwrap();
    let uri = "/unregister?service_name=eir&pod_name=pod";
    for (query, code) in [
        (format!("{uri}&registration_id={}", id - 1), "registration_superseded"),
        (format!("{uri}&instance_id=old"), "instance_superseded"),
    ] {
        let problem = bench.call("DELETE", &query).await.problem(409, code);
        assert!(problem.detail.contains("nothing was removed"), "{}", problem.detail);
    }
    assert_eq!(bench.get("/services").await.json()["count"], 1);
    let both = format!("{uri}&registration_id={id}&instance_id=new");
    assert_eq!(bench.call("DELETE", &both).await.status, 200);
}

#[tokio::test]
async fn faults_of_a_removal_are_named_together() {
    let bench = Bench::start().await;
    let long = "x".repeat(256);
    let uri = format!(
        "/unregister?service_name=a&service_name=b&pod_name={long}&registration_id=-1&instance_id="
    );
    let problem = bench.call("DELETE", &uri).await.problem(400, "invalid_request");
    let pointers: Vec<_> = problem.errors.iter().map(|fault| &*fault.pointer).collect();
    assert_eq!(pointers, ["/service_name", "/pod_name", "/registration_id", "/instance_id"]);
    let none = bench.call("DELETE", "/unregister").await.problem(400, "invalid_request");
    assert_eq!(none.errors.len(), 2);
}

#[tokio::test]
async fn names_without_grammar_are_looked_for_when_leaving() {
    let bench = Bench::start().await;
    let uri = "/unregister?service_name=a%20b+c&pod_name=%C3%BC%3A";
    let problem = bench.call("DELETE", uri).await.problem(404, "pod_not_registered");
    assert_eq!(problem.detail, "pod a b c:ü: is not registered");
}

#[tokio::test]
async fn rules_of_the_registry_are_answered_with_their_codes() {
    let bench = Bench::with_pods_per_service(1).await;
    bench.register(&registration("eir", "a")).await;
    let full = bench.post(registration("eir", "b").to_string()).await;
    let full = full.problem(429, "service_full");
    assert!(full.detail.contains("MAX_PODS_PER_SERVICE"), "{}", full.detail);
    let twin = bench.post(registration("EIR", "a").to_string()).await;
    twin.problem(409, "service_name_collision");
    assert_eq!(bench.get("/services").await.json()["count"], 1);
}

#[tokio::test]
async fn hidden_unhealthy_pods_are_left_out_of_summaries_only() {
    use crate::wire::{View, write_summaries};
    use governance_domain::{RegistrationId, Status, registry::Verdict};
    let bench = Bench::start().await;
    let id = bench.register(&registration("eir", "pod")).await["registration_id"].as_u64().unwrap();
    let mut registry = bench.engine.snapshot().registry.clone();
    let key = registry.pod("eir", "pod").unwrap().key.clone();
    let verdict = Verdict { status: Status::Unhealthy, at: super::NOW };
    registry.observe(&key, RegistrationId::from_u64(id), verdict);
    let shown = |hides| {
        let mut out = Vec::new();
        write_summaries(&mut out, registry.pods(), View::whole(hides));
        serde_json::from_slice::<Value>(&out).unwrap()
    };
    assert_eq!(shown(true), json!([]));
    assert_eq!(shown(false)[0]["status"], "unhealthy");
}

#[tokio::test]
async fn a_port_written_as_a_whole_fraction_is_the_same_number() {
    let bench = Bench::start().await;
    let body = registration("eir", "a").to_string().replace(":8080,", ":8080.0,");
    let body = body.replace(":8080}", ":8080.0}");
    assert!(body.contains("8080.0"), "{body}");
    let answer = bench.post(body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(answer.text.contains("\"port\":8080}"), "{}", answer.text);
}
