//! Watching over HTTP: the form of the answer, resuming by a header, and the end.

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt as _;

use super::{Bench, registration};

/// The text of a stream up to its end, which comes when the manager closes it.
async fn whole(bench: &Bench, uri: &str, last_event_id: &str) -> String {
    let mut request = Request::get(uri);
    if !last_event_id.is_empty() {
        request = request.header("last-event-id", last_event_id);
    }
    let answer = bench.app.answer(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    bench.closing.cancel();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

/// The names of its events.
fn names(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("event: ")).collect()
}

#[tokio::test]
async fn a_stream_is_answered_and_ended_when_the_manager_closes() {
    let bench = Bench::start().await;
    bench.register(&registration("eir", "a")).await;
    let text = whole(&bench, "/watch?service_name=eir", "").await;
    assert_eq!(names(&text).last(), Some(&"end"), "{text}");
    assert!(text.ends_with("\n\n") && text.contains("shutting_down"), "{text}");
}

#[tokio::test]
async fn an_id_resumes_and_anything_else_is_like_none() {
    for (header, resumes) in
        [("4294967297", true), ("4294967298", true), ("4294967299", false), ("x", false)]
    {
        let bench = Bench::start().await;
        let first = bench.register(&registration("eir", "a")).await;
        assert_eq!(first["revision"], 4_294_967_297_u64);
        bench.register(&registration("eir", "b")).await;
        let request = Request::get("/watch").header("last-event-id", header);
        let answer = bench.app.answer(request.body(Body::empty()).unwrap()).await;
        let mut body = answer.into_body();
        let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let text = std::str::from_utf8(&piece).unwrap();
        assert_eq!(text.starts_with(": resumed"), resumes, "{header}: {text}");
        assert_eq!(text.starts_with("event: snapshot-begin\n"), !resumes, "{header}: {text}");
    }
}

#[tokio::test]
async fn faults_and_a_manager_without_state_are_problems() {
    let bench = Bench::start().await;
    bench.get("/watch?service_name=").await.problem(400, "invalid_request");
    bench.call("POST", "/watch").await.problem(405, "method_not_allowed");
    Bench::loading().get("/watch").await.problem(503, "loading");
}

#[tokio::test]
async fn head_of_a_stream_has_no_body() {
    let bench = Bench::start().await;
    let answer = bench.call("HEAD", "/watch").await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, ""));
}
