//! Lists, pods, subscribers, and how the manager stands.

use serde_json::{Value, json};

use super::{Bench, registration, with};

async fn three_services() -> Bench {
    let bench = Bench::start().await;
    let diameter = json!([
        {"protocol": "diameter", "ip": "::1", "port": 3868, "provider_id": "s13"},
        {"protocol": "http", "ip": "a", "port": 80},
    ]);
    bench.register(&registration("http-gw", "a")).await;
    bench.register(&registration("diam-gw", "b")).await;
    bench.register(&with(registration("diam-gw", "a"), "providers", diameter)).await;
    let wishes = json!(["http-gw", {"service_name": "diam-gw", "provider_ids": ["s13"]}]);
    bench.register(&with(registration("eir", "z"), "subscriptions", wishes)).await;
    bench
}

fn keys(list: &Value) -> Vec<&str> {
    let pods = list["services"].as_array().or(list["pods"].as_array()).unwrap();
    pods.iter().map(|pod| pod["service_key"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn list_shows_every_field_in_its_order() {
    let bench = Bench::start().await;
    let wishes =
        json!(["a", {"service_name": "b", "provider_ids": ["y", "x"], "healthy_only": true}]);
    bench.register(&with(registration("eir", "pod"), "subscriptions", wishes)).await;
    let answer = bench.get("/services").await;
    let registry_id = bench.engine.snapshot().registry_id;
    let pod = r#"{"service_key":"eir:pod","service_name":"eir","pod_name":"pod","providers":[{"protocol":"http","ip":"192.168.1.10","port":8080}],"health_check_url":"http://192.168.1.10:8080/health","notification_url":"http://192.168.1.10:8080/notify","subscriptions":["a",{"service_name":"b","provider_ids":["x","y"],"healthy_only":true}],"status":"unknown","last_health_check":null,"registered_at":"2026-01-02T03:04:05.678Z","updated_at":"2026-01-02T03:04:05.678Z","registration_id":4294967297}"#;
    assert_eq!(
        answer.text,
        format!(
            r#"{{"count":1,"revision":4294967297,"registry_id":"{registry_id}","services":[{pod}]}}"#
        )
    );
    assert_eq!(
        bench.get("/services/eir").await.text,
        format!(
            r#"{{"service_name":"eir","revision":4294967297,"registry_id":"{registry_id}","count":1,"pods":[{pod}]}}"#
        )
    );
    assert_eq!(bench.get("/services/eir/pods/pod").await.text, pod);
    let typed: governance_api::ServiceList = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(serde_json::to_string(&typed).unwrap(), answer.text, "the types say the same");
}

#[tokio::test]
async fn lists_are_sorted_and_filtered() {
    let bench = three_services().await;
    for (query, expected) in [
        ("/services", &["diam-gw:a", "diam-gw:b", "eir:z", "http-gw:a"][..]),
        ("/services?service_name=diam-gw", &["diam-gw:a", "diam-gw:b"]),
        ("/services?service_name=nobody", &[]),
        ("/services?status=unknown&protocol=diameter", &["diam-gw:a"]),
        ("/services?status=healthy", &[]),
        ("/services?protocol=pfcp", &[]),
        ("/services?provider_id=s13&unknown=ignored", &["diam-gw:a"]),
        ("/services/diam-gw", &["diam-gw:a", "diam-gw:b"]),
        ("/services/diam%2Dgw?protocol=http", &["diam-gw:a", "diam-gw:b"]),
        ("/services/diam-gw?provider_id=s13", &["diam-gw:a"]),
        ("/services/nobody", &[]),
        ("/services/a%2Fb", &[]),
    ] {
        let answer = bench.get(query).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text);
        let list = answer.json();
        assert_eq!(keys(&list), expected, "{query}");
        assert_eq!(list["count"], expected.len(), "{query}");
    }
}

#[tokio::test]
async fn faults_of_a_query_are_named_together() {
    let bench = Bench::start().await;
    let uri = "/services?status=well&protocol=HTTP&limit=0&cursor=x&provider_id=&service_name=";
    let problem = bench.get(uri).await.problem(400, "invalid_request");
    let pointers: Vec<_> = problem.errors.iter().map(|fault| &*fault.pointer).collect();
    assert_eq!(
        pointers,
        ["/service_name", "/status", "/protocol", "/provider_id", "/limit", "/cursor"]
    );
    let texts: String = problem.errors.iter().map(|fault| &*fault.message).collect();
    assert!(
        texts.contains("healthy, unhealthy, unknown") && texts.contains("1 to 10000"),
        "{texts}"
    );
    for wrong in ["status=healthy&status=healthy", "limit=10001", "limit=-1", "limit=1.5"] {
        bench.get(&format!("/services?{wrong}")).await.problem(400, "invalid_request");
    }
    assert_eq!(bench.get("/services?limit=10000").await.status, 200);
}

#[tokio::test]
async fn pages_cover_the_list_without_gap_or_overlap() {
    let bench = three_services().await;
    for (base, limit) in [("/services?", 1), ("/services?", 3), ("/services/diam-gw?", 1)] {
        let all = bench.get(base).await.json();
        let mut seen: Vec<String> = Vec::new();
        let mut next = format!("{base}limit={limit}");
        loop {
            let page = bench.get(&next).await.json();
            assert_eq!(page["count"], all["count"], "count is that of the whole list");
            seen.extend(keys(&page).into_iter().map(str::to_owned));
            let Some(cursor) = page.get("next_cursor") else { break };
            next = format!("{base}limit={limit}&cursor={}", cursor.as_str().unwrap());
        }
        assert_eq!(seen, keys(&all), "{base} {limit}");
    }
    let full = bench.get("/services?limit=4").await.json();
    assert!(full.get("next_cursor").is_none(), "a page that ends the list has no next");
}

#[tokio::test]
async fn long_lists_are_the_same_as_their_pages() {
    let bench = Bench::start().await;
    for number in 0..1_200 {
        let service = format!("service-{}", number % 100);
        bench.register(&registration(&service, &format!("pod-{number}"))).await;
    }
    let whole = bench.get("/services").await;
    assert_eq!(whole.header("content-length"), None, "it is written piece by piece");
    let whole = whole.json();
    assert_eq!((keys(&whole).len(), &whole["count"]), (1_200, &json!(1_200)));
    let first = bench.get("/services?limit=700").await.json();
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = bench.get(&format!("/services?limit=700&cursor={cursor}")).await.json();
    let both: Vec<_> = keys(&first).into_iter().chain(keys(&second)).collect();
    assert_eq!(both, keys(&whole));
}

#[tokio::test]
async fn head_has_the_length_and_no_body() {
    let bench = three_services().await;
    for path in ["/services", "/services/eir", "/services/eir/pods/z", "/health", "/version"] {
        let (get, head) = (bench.get(path).await, bench.call("HEAD", path).await);
        assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""), "{path}");
        let length = get.text.len().to_string();
        assert_eq!(head.header("content-length"), Some(length.as_str()), "{path}");
    }
}

#[tokio::test]
async fn one_pod_is_shown_or_unknown() {
    let bench = three_services().await;
    let pod = bench.get("/services/eir/pods/z").await.json();
    assert_eq!(pod["subscriptions"][0], "http-gw");
    bench.get("/services/eir/pods/a").await.problem(404, "pod_not_registered");
}

#[tokio::test]
async fn subscribers_are_shown_with_their_filters() {
    let bench = three_services().await;
    let answer = bench.get("/services/diam-gw/subscribers").await;
    let registry_id = bench.engine.snapshot().registry_id;
    assert_eq!(
        answer.text,
        format!(
            r#"{{"service_name":"diam-gw","revision":4294967300,"registry_id":"{registry_id}","count":1,"subscribers":[{{"service_name":"eir","pod_name":"z","notification_url":"http://192.168.1.10:8080/notify","provider_ids":["s13"],"healthy_only":false}}]}}"#
        )
    );
    let typed: governance_api::Subscribers = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(serde_json::to_string(&typed).unwrap(), answer.text);
    assert_eq!(bench.get("/services/nobody/subscribers").await.json()["subscribers"], json!([]));
}

#[tokio::test]
async fn health_and_readiness_are_told() {
    let bench = Bench::start().await;
    let health = bench.get("/health").await.json();
    assert_eq!(
        health,
        json!({
            "status": "healthy",
            "role": "active",
            "epoch": 1,
            "storage": {"kind": "memory", "reachable": true, "durable": false},
            "version": "0.0.0-test",
            "uptime_seconds": health["uptime_seconds"],
        })
    );
    let ready = bench.get("/ready").await;
    assert_eq!(ready.text, r#"{"status":"ready","writes":"available"}"#);
    let version = bench.get("/version").await;
    assert_eq!(version.text, r#"{"name":"governance-manager","version":"0.0.0-test"}"#);
    bench.draining.cancel();
    bench.get("/ready").await.problem(503, "shutting_down");
    assert_eq!(bench.get("/services").await.status, 200, "all else goes on");
}
