//! What an operator's tools ask for: service discovery, and what only this machine may do.

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use super::{Answer, Bench, registration, with};
use crate::http::Peer;

#[tokio::test]
async fn prometheus_is_told_where_the_pods_are() {
    let bench = Bench::start().await;
    let providers = json!([
        {"protocol": "http", "ip": "192.168.1.10", "port": 8080, "provider_id": "api"},
        {"protocol": "https", "ip": "fe80::1", "port": 8443},
        {"protocol": "diameter", "ip": "192.168.1.10", "port": 3868},
    ]);
    bench.register(&with(registration("eir", "a"), "providers", providers)).await;
    bench.register(&registration("diam-gw", "b")).await;
    let targets = |text: &Value| -> Vec<String> {
        let groups = text.as_array().unwrap().iter();
        groups.map(|group| group["targets"][0].as_str().unwrap().to_owned()).collect()
    };
    let all = bench.get("/sd/prometheus").await;
    assert_eq!(all.header("content-type"), Some("application/json"));
    let all = all.json();
    assert_eq!(targets(&all), ["192.168.1.10:8080", "192.168.1.10:8080", "[fe80::1]:8443"]);
    assert_eq!(
        all[1],
        json!({"targets": ["192.168.1.10:8080"], "labels": {
            "__meta_governance_service": "eir",
            "__meta_governance_pod": "a",
            "__meta_governance_protocol": "http",
            "__meta_governance_provider_id": "api",
            "__meta_governance_status": "unknown",
        }})
    );
    for (query, count) in [
        ("service_name=eir", 2),
        ("service_name=nobody", 0),
        ("protocol=diameter", 1),
        ("status=healthy", 0),
        ("status=unknown&protocol=https", 1),
    ] {
        let found = bench.get(&format!("/sd/prometheus?{query}")).await.json();
        assert_eq!(targets(&found).len(), count, "{query}");
    }
    bench.get("/sd/prometheus?status=ill").await.problem(400, "invalid_request");
    Bench::loading().get("/sd/prometheus").await.problem(503, "loading");
}

async fn from(bench: &Bench, peer: Option<&str>, header: Option<&str>) -> Answer {
    let mut request = Request::put("/admin/log-level");
    if let Some(name) = header {
        request = request.header(name, "198.51.100.7");
    }
    let mut request = request.body(Body::from(r#"{"level":"loud"}"#)).unwrap();
    if let Some(peer) = peer {
        request.extensions_mut().insert(Peer(peer.parse().unwrap()));
    }
    bench.send(request).await
}

#[tokio::test]
async fn administration_is_for_this_machine_alone_and_through_no_proxy() {
    let bench = Bench::start().await;
    for local in ["127.0.0.1:5", "[::1]:5", "[::ffff:127.0.0.1]:5"] {
        from(&bench, Some(local), None).await.problem(400, "invalid_request");
        for header in ["x-forwarded-for", "forwarded", "via"] {
            from(&bench, Some(local), Some(header)).await.problem(403, "local_only");
        }
    }
    for other in [Some("192.0.2.1:5"), Some("[2001:db8::1]:5"), None] {
        from(&bench, other, None).await.problem(403, "local_only");
    }
}
