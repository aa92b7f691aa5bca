//! Connections: what only a socket can show.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Bench, registration};
use crate::http::{ServerSettings, bind, serve};

struct Served {
    port: u16,
    stop: CancellationToken,
    cut_off: JoinHandle<usize>,
    bench: Bench,
}

async fn served(settings: ServerSettings) -> Served {
    let bench = Bench::start().await;
    let listeners = bind(Some("127.0.0.1"), 0).unwrap();
    let port = listeners[0].local_addr().unwrap().port();
    let stop = CancellationToken::new();
    let serving = serve(listeners, bench.app.clone(), stop.clone(), settings);
    #[expect(clippy::disallowed_methods, reason = "the test owns the task and waits for it")]
    let cut_off = tokio::spawn(serving);
    Served { port, stop, cut_off, bench }
}

impl Served {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }

    /// Sends, and reads until the server closes.
    async fn exchange(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request).await.unwrap();
        rest(&mut stream).await
    }
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _size =
        tokio::time::timeout(Duration::from_secs(20), read).await.expect("it closes").unwrap();
    String::from_utf8(answer).unwrap()
}

/// Reads one answer and leaves the connection open.
async fn one_answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() == length.unwrap().parse::<usize>().unwrap() {
                return text.into_owned();
            }
        }
        let byte = tokio::time::timeout(Duration::from_secs(20), stream.read_u8()).await;
        answer.push(byte.expect("an answer comes").expect("the connection stays open"));
    }
}

fn get_with_headers(headers: &str) -> Vec<u8> {
    format!("GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n").into_bytes()
}

#[tokio::test]
async fn heads_of_ten_thousand_bytes_work_and_larger_ones_are_a_problem() {
    let served = served(ServerSettings::default()).await;
    let large = |size: usize| get_with_headers(&format!("x-large: {}\r\n", "x".repeat(size)));
    assert!(served.exchange(&large(10_000)).await.starts_with("HTTP/1.1 200"));
    let refused = served.exchange(&large(17_000)).await;
    assert!(refused.starts_with("HTTP/1.1 431 "), "{refused}");
    assert!(refused.contains("application/problem+json") && refused.contains("headers_too_large"));
    assert!(refused.contains("x-request-id: "), "{refused}");
}

#[tokio::test]
async fn more_than_a_hundred_headers_are_a_problem() {
    let served = served(ServerSettings::default()).await;
    let many = |count: usize| get_with_headers(&"a: b\r\n".repeat(count - 2));
    assert!(served.exchange(&many(100)).await.starts_with("HTTP/1.1 200"));
    let refused = served.exchange(&many(101)).await;
    assert!(refused.starts_with("HTTP/1.1 431 ") && refused.contains("headers_too_large"));
}

#[tokio::test]
async fn what_is_not_http_is_a_problem() {
    let served = served(ServerSettings::default()).await;
    for nonsense in [&b"nonsense\r\n\r\n"[..], b"GET / HTTP/1.1\r\nbad header\r\n\r\n"] {
        let refused = served.exchange(nonsense).await;
        assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
        assert!(refused.contains("\"error\":\"malformed_request\""), "{refused}");
    }
}

#[tokio::test]
async fn connection_is_reused_after_success_refusal_and_heartbeat() {
    let served = served(ServerSettings::default()).await;
    let mut stream = served.connect().await;
    let body = registration("eir", "pod").to_string();
    let post = |path: &str, body: &str| {
        format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    for (request, status) in [
        (post("/register", &body), "200"),
        (post("/register", "{"), "400"),
        (post("/heartbeat?service_name=eir&pod_name=pod", ""), "200"),
        (post("/heartbeat?service_name=eir&pod_name=pod", "ignored"), "200"),
        (post("/register", &" ".repeat(100_000)), "413"),
        ("GET /services/eir HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), "200"),
    ] {
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = one_answer(&mut stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
}

#[tokio::test]
async fn idle_connection_is_closed_and_unfinished_headers_are_cut_off() {
    let second = Duration::from_secs(1);
    let settings =
        ServerSettings { idle_timeout: second, header_timeout: second, ..Default::default() };
    let served = served(settings).await;
    let mut idle = served.connect().await;
    idle.write_all(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert!(rest(&mut idle).await.starts_with("HTTP/1.1 200"));
    assert_eq!(rest(&mut served.connect().await).await, "", "nothing was sent");
    let slow = served.exchange(b"GET /health HTTP/1.1\r\nhos").await;
    assert_eq!(slow, "");
}

#[tokio::test]
async fn idle_connections_make_room_at_the_limit() {
    let settings = ServerSettings { connections_max: 2, ..Default::default() };
    let served = served(settings).await;
    // One after the other: at the limit the server may close the one that idles for longest at any
    // moment, and that must never be one that is about to ask.
    let mut idle = Vec::new();
    for _ in 0..2 {
        let mut stream = served.connect().await;
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        one_answer(&mut stream).await;
        idle.push(stream);
    }
    let third = served.exchange(&get_with_headers("")).await;
    assert!(third.starts_with("HTTP/1.1 200"), "{third}");
}

#[tokio::test]
async fn shutdown_finishes_what_is_under_way_and_closes_the_rest() {
    let served = served(ServerSettings::default()).await;
    let (mut idle, mut under_way) = (served.connect().await, served.connect().await);
    idle.write_all(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    one_answer(&mut idle).await;
    let body = registration("eir", "pod").to_string();
    let head = format!(
        "POST /register HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    under_way.write_all(head.as_bytes()).await.unwrap();
    let mut leave = [0; 25];
    under_way.read_exact(&mut leave).await.unwrap();
    assert_eq!(&leave, b"HTTP/1.1 100 Continue\r\n\r\n", "the request is under way");
    served.stop.cancel();
    assert_eq!(rest(&mut idle).await, "");
    under_way.write_all(body.as_bytes()).await.unwrap();
    let answer = rest(&mut under_way).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(served.cut_off.await.unwrap(), 0);
    assert!(TcpStream::connect(("127.0.0.1", served.port)).await.is_err());
    drop(served.bench);
}

#[tokio::test]
async fn shutdown_cuts_off_what_does_not_end() {
    let settings =
        ServerSettings { drain_timeout: Duration::from_millis(50), ..Default::default() };
    let served = served(settings).await;
    let mut stuck = served.connect().await;
    let head =
        b"POST /register HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n";
    stuck.write_all(head).await.unwrap();
    let mut leave = [0; 25];
    stuck.read_exact(&mut leave).await.unwrap();
    served.stop.cancel();
    assert_eq!(served.cut_off.await.unwrap(), 1);
}

#[tokio::test]
async fn http2_without_tls_is_served() {
    let served = served(ServerSettings::default()).await;
    let io = hyper_util::rt::TokioIo::new(served.connect().await);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, axum::body::Body>(executor, io)
            .await
            .unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(connection);
    let request = http::Request::get("http://a/version").body(axum::body::Body::empty()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, http::Version::HTTP_2));
}
