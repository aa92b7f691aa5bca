//! The audit: what is written by what, pages and conditions, faults, and a store that is away.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use governance_api::AuditLogs;
use governance_store::MemoryStore;
use governance_testkit::faulty_store::FaultyStore;
use http::Request;
use serde_json::{Value, json};

use super::{Bench, registration, with};
use crate::http::Peer;

const POD: &str = "service_name=eir&pod_name=a";

async fn logs(bench: &Bench, query: &str) -> AuditLogs {
    let answer = bench.get(&format!("/audit/logs?{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    serde_json::from_value(answer.json()).unwrap()
}

/// Waits for entries that are written behind everything else.
async fn until_logs(bench: &Bench, query: &str, count: usize) -> AuditLogs {
    // Looks are counted, not time: the machine may stand still for a while.
    for _ in 0..5_000 {
        let page = logs(bench, query).await;
        if page.total >= count {
            return page;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("{query}: {count} entries do not come to the audit");
}

/// Waits until the start was written.
async fn started() -> Bench {
    let bench = Bench::start().await;
    until_logs(&bench, "actions=takeover", 1).await;
    bench
}

/// Registers, registers again with other wishes, with another address, and leaves.
async fn a_life(bench: &Bench) {
    let first = registration("eir", "a");
    bench.register(&first).await;
    let amended = with(first, "subscriptions", json!(["diam-gw"]));
    bench.register(&amended).await;
    bench.register(&amended).await; // nothing changes, nothing is noted
    bench.register(&with(amended, "health_check_url", json!("http://192.168.1.10:1/"))).await;
    assert_eq!(bench.call("DELETE", &format!("/unregister?{POD}")).await.status, 200);
}

#[tokio::test]
async fn every_change_is_in_the_audit_with_what_was_before_and_after() {
    let bench = started().await;
    a_life(&bench).await;
    let page = logs(&bench, POD).await;
    assert_eq!((page.total, page.total_is_minimum, page.next_before), (4, false, None));
    let id = 1_u64 << 32;
    let told: Vec<_> = page
        .logs
        .iter()
        .map(|log| {
            let statuses = (log.previous_status.as_deref(), log.new_status.as_deref());
            (log.action.as_str(), log.details.clone(), statuses)
        })
        .collect();
    let unknown = Some("unknown");
    assert_eq!(
        told,
        [
            ("unregister", format!("registration_id {}", id + 2), (unknown, None)),
            (
                "register",
                format!(
                    "registration_id {} replaces {}: health_check_url changed from \
                     http://192.168.1.10:8080/health to http://192.168.1.10:1/",
                    id + 2,
                    id + 1
                ),
                (unknown, unknown)
            ),
            (
                "register",
                format!("registration_id {}: subscriptions changed from [] to [diam-gw]", id + 1),
                (unknown, unknown)
            ),
            ("register", format!("registration_id {}", id + 1), (None, unknown)),
        ]
    );
    let takeover = logs(&bench, "actions=takeover").await.logs.remove(0);
    assert_eq!((takeover.service_name, takeover.details.as_str()), (None, "epoch 1"));
}

#[tokio::test]
async fn what_failed_is_in_the_audit_with_its_reason_and_bad_input_is_not() {
    let bench = started().await;
    bench.register(&registration("eir", "a")).await;
    let stranger = bench.call("DELETE", "/unregister?service_name=eir&pod_name=b").await;
    assert_eq!(stranger.status, 404);
    let late = bench.call("DELETE", &format!("/unregister?{POD}&registration_id=1")).await;
    assert_eq!(late.status, 409);
    let collision = registration("EIR", "c");
    assert_eq!(bench.post(collision.to_string()).await.status, 409);
    assert_eq!(bench.post("{}").await.status, 400);
    let page = until_logs(&bench, "results=failure", 3).await;
    let told: Vec<_> = page
        .logs
        .iter()
        .map(|log| (log.action.as_str(), log.pod_name.as_deref(), log.details.as_str()))
        .collect();
    let id = 1_u64 << 32;
    let superseded = format!(
        "pod eir:a is registered with registration_id {}, not 1: it registered again, nothing was \
         removed",
        id + 1
    );
    assert_eq!(
        told,
        [
            (
                "register",
                Some("c"),
                "service EIR differs from the existing service eir only in upper and lower case: \
                 use the existing name or a different one"
            ),
            ("unregister", Some("a"), superseded.as_str()),
            ("unregister", Some("b"), "pod eir:b is not registered"),
        ]
    );
    assert!(page.logs.iter().all(|log| log.request_id.is_some()), "{page:?}");
}

#[tokio::test]
async fn the_audit_names_the_request_and_where_it_came_from() {
    let bench = Bench::start().await;
    let mut request = Request::post("/register")
        .header("x-request-id", "night-shift-7")
        .body(Body::from(registration("eir", "a").to_string()))
        .unwrap();
    request.extensions_mut().insert(Peer("[::1]:4711".parse().unwrap()));
    assert_eq!(bench.send(request).await.status, 200);
    let page = logs(&bench, POD).await;
    let answer = bench.get(&format!("/audit/logs/by-id?id={}", page.logs[0].id)).await;
    let log = answer.json();
    assert_eq!(
        log,
        json!({
            "id": page.logs[0].id,
            "timestamp": "2026-01-02T03:04:05.678Z",
            "action": "register",
            "result": "success",
            "service_name": "eir",
            "pod_name": "a",
            "details": log["details"],
            "new_status": "unknown",
            "request_id": "night-shift-7",
            "remote": "[::1]:4711",
        })
    );
    assert_eq!(answer.json(), serde_json::to_value(&page.logs[0]).unwrap());
}

#[tokio::test]
async fn pages_lead_to_one_another() {
    let bench = started().await;
    a_life(&bench).await;
    let whole: Vec<Value> = ids(&logs(&bench, "").await);
    assert_eq!(whole.len(), 5);
    let (mut seen, mut query) = (Vec::new(), "limit=2".to_owned());
    loop {
        let page = logs(&bench, &query).await;
        assert_eq!(page.total, 5);
        seen.extend(ids(&page));
        let Some(next) = page.next_before else { break };
        query = format!("limit=2&before={next}");
    }
    assert_eq!(seen, whole);
    assert_eq!(ids(&logs(&bench, "limit=2&offset=3").await), whole[3..]);
    let third = whole[2].as_str().unwrap();
    assert_eq!(ids(&logs(&bench, &format!("before={third}&offset=1")).await), whole[4..]);
    let none = logs(&bench, "offset=10000").await;
    assert_eq!((none.total, none.logs.len()), (5, 0));
}

fn ids(page: &AuditLogs) -> Vec<Value> {
    page.logs.iter().map(|log| json!(log.id)).collect()
}

#[tokio::test]
async fn conditions_narrow() {
    let bench = started().await;
    a_life(&bench).await;
    for (query, expected) in [
        ("actions=unregister", 1),
        ("actions=register,unregister", 4),
        ("actions=register,%20takeover", 4),
        ("actions=reconcile", 0),
        ("results=success", 5),
        ("results=failure", 0),
        ("results=success,failure", 5),
        ("service_name=eir", 4),
        ("service_name=Eir", 0),
        ("pod_name=a&limit=1000", 4),
        ("start_time=2026-01-02T03:04:05.678Z", 5),
        ("start_time=2026-01-02T03:04:05.679Z", 0),
        ("start_time=2026-01-02T05:04:05%2b02:00", 5),
        ("start_time=2026-01-02T05:04:05+02:00", 5),
        ("end_time=2026-01-02T03:04:05.677Z", 0),
        ("end_time=2026-01-02T03:04:06Z&service_name=eir&actions=unregister", 1),
        ("start_time=2027-01-01T00:00:00Z&end_time=2026-01-01T00:00:00Z", 5),
        ("start_time=2027-01-01T00:00:00Z&end_time=2028-01-01T00:00:00Z", 0),
        ("unknown=1", 5),
    ] {
        assert_eq!(logs(&bench, query).await.total, expected, "{query}");
    }
}

#[tokio::test]
async fn every_fault_of_a_question_is_named_at_once() {
    let bench = Bench::start().await;
    let query = "start_time=yesterday&end_time=2026-01-02&actions=register,explode&results=maybe\
                 &limit=1001&offset=-1&before=x&service_name=&pod_name=a&pod_name=b";
    let problem = bench.get(&format!("/audit/logs?{query}")).await.problem(400, "invalid_request");
    let pointers: Vec<_> = problem.errors.iter().map(|fault| fault.pointer.as_str()).collect();
    assert_eq!(
        pointers,
        [
            "/start_time",
            "/end_time",
            "/actions",
            "/results",
            "/service_name",
            "/pod_name",
            "/limit",
            "/offset",
            "/before"
        ]
    );
    assert!(problem.detail.contains("\"explode\" is not an action: use register, "), "{problem:?}");
    for (query, pointer) in
        [("offset=10001", "/offset"), ("limit=0", "/limit"), ("before=-1", "/before")]
    {
        let answer = bench.get(&format!("/audit/logs?{query}")).await;
        let problem = answer.problem(400, "invalid_request");
        assert_eq!(problem.errors[0].pointer, pointer, "{query}");
    }
}

#[tokio::test]
async fn an_entry_that_is_not_there_is_404_and_no_id_is_400() {
    let bench = Bench::start().await;
    for id in ["4711", "0", "18446744073709551615"] {
        let answer = bench.get(&format!("/audit/logs/by-id?id={id}")).await;
        assert!(answer.problem(404, "audit_entry_not_found").detail.contains(id));
    }
    for query in ["", "?id=", "?id=x", "?id=1&id=2"] {
        let answer = bench.get(&format!("/audit/logs/by-id{query}")).await;
        answer.problem(400, "invalid_request");
    }
}

#[tokio::test]
async fn without_its_store_the_audit_is_503_and_never_empty() {
    let store = FaultyStore::new(Arc::new(MemoryStore::default()));
    let mut bench = Bench::on(store.clone(), 100);
    bench.wait_until_active().await;
    store.set_away(true);
    for path in ["/audit/logs", "/audit/logs/by-id?id=1"] {
        bench.get(path).await.problem(503, "store_unavailable");
    }
    store.set_away(false);
    assert_eq!(bench.get("/audit/logs").await.status, 200);
    Bench::loading().get("/audit/logs").await.problem(503, "loading");
}
