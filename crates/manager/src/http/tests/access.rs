//! The door: who is let in, what the others are told, and where that is counted and written down.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use governance_store::MemoryStore;
use http::Request;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Answer, Bench, StoppedClock, registration};
use crate::access::{Access, Presented, hashed_line};
use crate::clock::Clock;
use crate::config::Access as Settings;
use crate::http::Peer;

const READER: &str = "reader-reader-reader-reader";
const WRITER: &str = "writer-writer-writer-writer";
const EIR: &str = "eir-eir-eir-eir-eir-eir-eir";
const ADMIN: &str = "admin-admin-admin-admin-admin";
const EXPIRED: &str = "expired-expired-expired-expired";

/// A manager that asks who calls; its clock stands at 2026-01-02T03:04:05.678Z.
async fn guarded() -> Bench {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("tokens");
    let line = |beginning: &str, token: &str| hashed_line(beginning, token.as_bytes()).unwrap();
    let lines = [
        line("reader read", READER),
        line("writer write", WRITER),
        line("eir-pods write services=eir,eir-*", EIR),
        line("boss admin expires=2026-01-02T03:04:06Z", ADMIN),
        line("late write expires=2026-01-02T03:04:05Z", EXPIRED),
        "eir.example write services=eir certificate".to_owned(),
    ];
    std::fs::write(&path, lines.join("\n")).unwrap();
    let settings = Settings { tls: None, tokens_file: Some(path) };
    let clock: Arc<dyn Clock> = Arc::new(StoppedClock);
    let access = Access::load(&settings, clock).unwrap().map(Arc::new);
    let mut bench = Bench::guarded(Arc::new(MemoryStore::default()), 100, access);
    bench.wait_until_active().await;
    bench
}

/// Who asks.
enum Who {
    Nobody,
    Token(&'static str),
    Certificate(Presented),
}

async fn ask(bench: &Bench, who: &Who, method: &str, uri: &str, body: Option<&Value>) -> Answer {
    let mut request = Request::builder().method(method).uri(uri);
    if let Who::Token(token) = who {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    let mut request = request.body(body).unwrap();
    request.extensions_mut().insert(Peer("192.0.2.1:4711".parse().unwrap()));
    if let Who::Certificate(presented) = who {
        request.extensions_mut().insert(presented.clone());
    }
    bench.send(request).await
}

async fn register(bench: &Bench, who: &Who, service: &str) -> Answer {
    ask(bench, who, "POST", "/register", Some(&registration(service, "a"))).await
}

fn refused_certificate() -> Who {
    Who::Certificate(Presented::Refused("no CA of TLS_CLIENT_CA_FILE has signed it".into()))
}

#[tokio::test]
async fn everybody_may_ask_how_the_manager_is_and_nothing_else() {
    let bench = guarded().await;
    for open in ["/health", "/ready", "/version"] {
        assert_eq!(ask(&bench, &Who::Nobody, "GET", open, None).await.status, 200, "{open}");
        assert_eq!(ask(&bench, &Who::Token("x"), "HEAD", open, None).await.status, 200, "{open}");
    }
    for closed in ["/services", "/services/eir", "/metrics", "/watch", "/audit/logs", "/nothing"] {
        let answer = ask(&bench, &Who::Nobody, "GET", closed, None).await;
        answer.problem(401, "unauthenticated");
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.starts_with("Bearer "), "{challenge}");
    }
    for read in ["/services", "/metrics", "/sd/prometheus"] {
        let answer = ask(&bench, &Who::Token(READER), "GET", read, None).await;
        assert_eq!(answer.status, 200, "{read}: {}", answer.text);
    }
    ask(&bench, &Who::Token(READER), "GET", "/nothing", None).await.problem(404, "not_found");
}

#[tokio::test]
async fn each_reason_has_its_words_is_counted_and_stands_in_the_audit() {
    let bench = guarded().await;
    let cases = [
        (Who::Nobody, 401, "unauthenticated", "say who you are"),
        (Who::Token("a wrong one"), 401, "unauthenticated", "this token is not known"),
        (Who::Token(EXPIRED), 401, "unauthenticated", "the time of late in"),
        (refused_certificate(), 401, "unauthenticated", "no CA of TLS_CLIENT_CA_FILE"),
        (
            Who::Certificate(Presented::Valid("stranger".into())),
            403,
            "forbidden",
            "no line of API_TOKENS_FILE is for stranger",
        ),
        (Who::Token(READER), 403, "forbidden", "reader has the right read, and this needs write"),
        (Who::Token(EIR), 403, "forbidden", "eir-pods may not write service http-gw"),
        (
            Who::Certificate(Presented::Valid("eir.example".into())),
            403,
            "forbidden",
            "eir.example may not write service http-gw",
        ),
    ];
    for (who, status, code, words) in &cases {
        let answer = register(&bench, who, "http-gw").await;
        let problem = answer.problem(*status, code);
        assert!(problem.detail.contains(words), "{words}: {}", problem.detail);
        assert!(!answer.text.contains("a wrong one"), "{}", answer.text);
    }
    assert_eq!(bench.engine.snapshot().registry.pod_count(), 0);
    let metrics = ask(&bench, &Who::Token(READER), "GET", "/metrics", None).await.text;
    for (reason, count) in [
        ("missing", 1),
        ("unknown_token", 1),
        ("expired", 1),
        ("certificate", 1),
        ("unlisted", 1),
        ("right", 1),
        ("service", 2),
        ("malformed", 0),
    ] {
        let line = format!("governance_access_refused_total{{reason=\"{reason}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
    for status in ["401\"} 4", "403\"} 4"] {
        let line = format!("governance_http_requests_total{{route=\"/register\",status=\"{status}");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
    let denied = denied(&bench, cases.len()).await;
    for ((_, _, _, words), log) in cases.iter().zip(denied.iter().rev()) {
        let details = log["details"].as_str().unwrap();
        assert!(details.contains(words), "{words}: {log}");
        assert_eq!(log["action"], "register", "{log}");
        assert_eq!(log["remote"], "192.0.2.1:4711", "{log}");
        assert!(log["request_id"].is_string(), "{log}");
        let is_of_a_service = details.contains("may not write");
        assert_eq!(log["service_name"] == "http-gw", is_of_a_service, "{log}");
        assert_eq!(
            log["identity"].is_string(),
            is_of_a_service || details.contains("has the right")
        );
    }
}

#[tokio::test]
async fn a_refused_removal_stands_in_the_audit_of_its_pod() {
    let bench = guarded().await;
    let path = "/unregister?service_name=eir&pod_name=eir-1";
    let answer = ask(&bench, &Who::Token(READER), "DELETE", path, None).await;
    answer.problem(403, "forbidden");
    ask(&bench, &Who::Nobody, "DELETE", "/unregister?pod_name=eir-1", None).await;
    let denied = denied(&bench, 2).await;
    let named = |log: &Value| (log["service_name"].clone(), log["pod_name"].clone());
    assert_eq!(named(&denied[1]), (json!("eir"), json!("eir-1")));
    assert_eq!(named(&denied[0]), (Value::Null, Value::Null), "half a name is none");
}

/// The audit's entries of refusals, newest first, once there are so many.
async fn denied(bench: &Bench, count: usize) -> Vec<Value> {
    let come = async {
        loop {
            let page = "/audit/logs?results=denied";
            let page = ask(bench, &Who::Token(READER), "GET", page, None).await.json();
            let logs = page["logs"].as_array().unwrap();
            if logs.len() >= count {
                return logs.clone();
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), come).await.expect("the audit hears of it")
}

#[tokio::test]
async fn who_has_the_right_writes_and_the_audit_has_the_name() {
    let bench = guarded().await;
    let eir = Who::Token(EIR);
    let certificate = Who::Certificate(Presented::Valid("eir.example".into()));
    assert_eq!(register(&bench, &eir, "eir").await.status, 200);
    assert_eq!(register(&bench, &eir, "eir-2").await.status, 200);
    assert_eq!(register(&bench, &Who::Token(WRITER), "http-gw").await.status, 200);
    let beat = |service: &str| format!("/heartbeat?service_name={service}&pod_name=a");
    assert_eq!(ask(&bench, &certificate, "POST", &beat("eir"), None).await.status, 200);
    ask(&bench, &certificate, "POST", &beat("http-gw"), None).await.problem(403, "forbidden");
    ask(&bench, &Who::Nobody, "POST", &beat("eir"), None).await.problem(401, "unauthenticated");
    let leave = "/unregister?service_name=http-gw&pod_name=a";
    ask(&bench, &eir, "DELETE", leave, None).await.problem(403, "forbidden");
    assert_eq!(ask(&bench, &Who::Token(ADMIN), "DELETE", leave, None).await.status, 200);
    let log = denied(&bench, 1).await.remove(0);
    assert_eq!((&log["action"], &log["pod_name"]), (&"unregister".into(), &"a".into()), "{log}");
    let page = "/audit/logs?actions=register,unregister&results=success";
    let page = ask(&bench, &Who::Token(READER), "GET", page, None).await.json();
    let logs = page["logs"].as_array().unwrap();
    let names: Vec<_> = logs.iter().map(|log| log["identity"].as_str().unwrap()).collect();
    assert_eq!(names, ["boss", "writer", "eir-pods", "eir-pods"]);
    assert!(logs.iter().all(|log| log["remote"] == "192.0.2.1:4711"), "{page}");
}

#[tokio::test]
async fn administration_is_for_this_machine_or_for_the_right_admin() {
    let bench = guarded().await;
    let level = "/admin/log-level";
    let body = serde_json::json!({"level": "loud"});
    let sent = async |who: Who| ask(&bench, &who, "PUT", level, Some(&body)).await;
    sent(Who::Token(ADMIN)).await.problem(400, "invalid_request");
    sent(Who::Token(WRITER)).await.problem(403, "forbidden");
    sent(Who::Nobody).await.problem(401, "unauthenticated");
    let mut local = Request::put(level).body(Body::from(body.to_string())).unwrap();
    local.extensions_mut().insert(Peer("127.0.0.1:5".parse().unwrap()));
    bench.send(local).await.problem(400, "invalid_request");
}

#[tokio::test]
async fn two_authorizations_are_none() {
    let bench = guarded().await;
    let twice = Request::get("/services")
        .header("authorization", format!("Bearer {WRITER}"))
        .header("authorization", format!("Bearer {READER}"));
    let answer = bench.send(twice.body(Body::empty()).unwrap()).await;
    answer.problem(401, "unauthenticated");
}
