//! Attempts against real sockets: pods that answer, and pods that do everything else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::world::content;
use crate::config::Config;
use crate::connect::{Dialer, Policy, SystemResolver, Trust};
use crate::health::probe::{NetworkProber, Prober};
use crate::health::reason::Attempt;

/// `HEALTH_CHECK_TIMEOUT` where a pod is to run into it …
const SHORT: Duration = Duration::from_millis(400);
/// … and where it is not.
const LONG: Duration = Duration::from_secs(20);

pub(super) fn dialer(trust: Trust) -> Arc<Dialer> {
    let targets = Config::default().targets;
    Arc::new(Dialer::new(Policy::new(&targets), Arc::new(SystemResolver::new()), trust))
}

/// What an attempt says: passed or not, and why.
pub(super) async fn ask_with(dialer: Arc<Dialer>, url: &str, limit: Duration) -> (bool, String) {
    let attempt = NetworkProber::new(dialer, limit, Arc::new(|| true)).probe(&content(url));
    let attempt = timeout(LONG * 2, attempt).await.expect("an attempt ends within its time");
    match attempt {
        Attempt::Passed(reason) => (true, reason.to_string()),
        Attempt::Failed(reason) => (false, reason.to_string()),
        Attempt::Ours(fault) => panic!("not ours: {fault:?}"),
    }
}

async fn ask(url: &str, limit: Duration) -> (bool, String) {
    ask_with(dialer(Trust::load("TARGET_CA_FILE", None).unwrap()), url, limit).await
}

/// A server that treats each connection as `script` says.
struct Server {
    address: SocketAddr,
    served: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Server {
    async fn start<F>(script: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let served: Arc<AtomicUsize> = Arc::default();
        let count = Arc::clone(&served);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                connections.spawn(script(stream));
            }
        });
        Self { address, served, _task: task }
    }

    /// Reads the request, sends these bytes, and closes.
    async fn answering(answer: &'static str) -> Self {
        Self::start(move |mut stream| async move {
            read_request(&mut stream).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        })
        .await
    }

    /// The same, but it leaves the connection open.
    async fn lingering(answer: &'static str) -> Self {
        Self::start(move |mut stream| async move {
            read_request(&mut stream).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.read(&mut [0; 16]).await;
            std::future::pending::<()>().await;
        })
        .await
    }

    fn url(&self) -> String {
        format!("http://{}/health", self.address)
    }
}

async fn read_request(stream: &mut TcpStream) -> String {
    let (mut request, mut buffer) = (Vec::new(), [0; 1024]);
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(count) => request.extend_from_slice(&buffer[..count]),
        }
    }
    String::from_utf8(request).unwrap()
}

#[tokio::test]
async fn any_2xx_is_healthy_and_every_other_answer_a_failed_attempt() {
    for (answer, is_healthy, reason) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true, "HTTP 200"),
        ("HTTP/1.1 204 No Content\r\n\r\n", true, "HTTP 204"),
        (
            "HTTP/1.1 299 Odd\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            true,
            "HTTP 299",
        ),
        ("HTTP/1.0 200 OK\r\n\r\nuntil the end", true, "HTTP 200"),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            true,
            "HTTP 200",
        ),
        ("HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", false, "HTTP 302"),
        ("HTTP/1.1 304 Not Modified\r\n\r\n", false, "HTTP 304"),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", false, "HTTP 404"),
        ("HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n", false, "HTTP 500"),
        ("HTTP/1.1 503 Away\r\nContent-Length: 0\r\n\r\n", false, "HTTP 503"),
        ("SSH-2.0-OpenSSH_9.2\r\n", false, "the answer is not HTTP/1.1"),
        ("\0\u{1}\u{2}garbage\r\n\r\n", false, "the answer is not HTTP/1.1"),
        ("HTTP/1.1 2xx OK\r\n\r\n", false, "the answer is not HTTP/1.1"),
        ("HTTP/1.1 200 OK\r\nContent-Le", false, "connection closed before an answer"),
        ("", false, "connection closed before an answer"),
    ] {
        let server = Server::answering(answer).await;
        let found = ask(&server.url(), LONG).await;
        assert_eq!(found, (is_healthy, reason.to_owned()), "{answer:?}");
        assert_eq!(server.served.load(Ordering::SeqCst), 1, "{answer:?}");
    }
}

#[tokio::test]
async fn a_server_that_keeps_the_connection_open_is_healthy_all_the_same() {
    let server = Server::lingering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    assert_eq!(ask(&server.url(), LONG).await, (true, "HTTP 200".to_owned()));
    let server = Server::lingering("HTTP/1.1 503 Away\r\nContent-Length: 9\r\n\r\n").await;
    assert_eq!(ask(&server.url(), LONG).await, (false, "HTTP 503".to_owned()));
}

#[tokio::test]
async fn a_server_that_hangs_before_or_within_the_head_gave_no_answer_in_time() {
    for part in ["", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"] {
        let server = Server::lingering(part).await;
        let found = ask(&server.url(), SHORT).await;
        assert_eq!(found, (false, "no answer within 400ms".to_owned()), "{part:?}");
    }
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_does_not_stretch_the_time() {
    let server = Server::start(|mut stream| async move {
        read_request(&mut stream).await;
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if stream.write_all(b"H").await.is_err() {
                return;
            }
        }
    })
    .await;
    let (is_healthy, _) = ask(&server.url(), SHORT).await;
    assert!(!is_healthy);
}

#[tokio::test]
async fn an_endless_head_is_refused_before_it_fills_the_memory() {
    let server = Server::start(|mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream.write_all(b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n").await.is_ok()
        {
        }
    })
    .await;
    let (is_healthy, reason) = ask(&server.url(), LONG).await;
    assert!(!is_healthy && reason.contains("head of the answer is too large"), "{reason}");
}

#[tokio::test]
async fn an_endless_body_is_not_read() {
    let sent: Arc<AtomicUsize> = Arc::default();
    let ended: Arc<tokio::sync::Notify> = Arc::default();
    let (count, end) = (Arc::clone(&sent), Arc::clone(&ended));
    let server = Server::start(move |mut stream| {
        let (count, end) = (Arc::clone(&count), Arc::clone(&end));
        async move {
            read_request(&mut stream).await;
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n";
            let _ = stream.write_all(head).await;
            let block = vec![b'x'; 65_536];
            while stream.write_all(&block).await.is_ok() {
                count.fetch_add(block.len(), Ordering::SeqCst);
            }
            end.notify_one();
        }
    })
    .await;
    assert_eq!(ask(&server.url(), LONG).await, (true, "HTTP 200".to_owned()));
    timeout(LONG, ended.notified()).await.expect("the connection is closed");
    // What the kernel's buffers took.
    assert!(sent.load(Ordering::SeqCst) < 64 << 20, "{sent:?}");
}

#[tokio::test]
async fn a_server_that_resets_closes_or_refuses_is_told_apart() {
    let resetting = Server::start(|mut stream| async move {
        read_request(&mut stream).await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    assert_eq!(ask(&resetting.url(), LONG).await, (false, "connection reset".to_owned()));

    let address = {
        let gone = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        gone.local_addr().unwrap()
    };
    let found = ask(&format!("http://{address}/"), LONG).await;
    assert_eq!(found, (false, "connection refused".to_owned()));
    let found = ask(&format!("tcp://{address}"), LONG).await;
    assert_eq!(found, (false, "connection refused".to_owned()));
}

#[tokio::test]
async fn a_black_hole_gave_no_answer_in_time() {
    // A listener whose queue is full drops what else comes.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut fill = Vec::new();
    while let Ok(Ok(stream)) = timeout(SHORT, TcpStream::connect(address)).await {
        fill.push(stream);
        assert!(fill.len() < 100, "the queue never fills");
    }
    for url in [format!("http://{address}/"), format!("tcp://{address}")] {
        assert_eq!(ask(&url, SHORT).await, (false, "no answer within 400ms".to_owned()));
    }
}

#[tokio::test]
async fn a_tcp_target_is_healthy_when_the_connection_opens() {
    let server = Server::start(|_stream| async {}).await;
    let url = format!("tcp://{}", server.address);
    assert_eq!(ask(&url, LONG).await, (true, "connection opened".to_owned()));
}

#[tokio::test]
async fn the_request_is_as_the_contract_says_and_localhost_is_found() {
    let (tell, told) = tokio::sync::oneshot::channel();
    let tell = std::sync::Mutex::new(Some(tell));
    let server = Server::start(move |mut stream| {
        let tell = tell.lock().unwrap().take();
        async move {
            let request = read_request(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            tell.map(|tell| tell.send(request));
        }
    })
    .await;
    let port = server.address.port();
    let found = ask(&format!("http://localhost:{port}/health?deep=1#x"), LONG).await;
    assert_eq!(found, (true, "HTTP 200".to_owned()));
    let request = told.await.unwrap();
    let (line, fields) = request.split_once("\r\n").unwrap();
    assert_eq!(line, "GET /health?deep=1 HTTP/1.1");
    let fields = fields.to_ascii_lowercase();
    for field in [
        format!("host: localhost:{port}\r\n"),
        format!("user-agent: governance-manager/{}\r\n", env!("CARGO_PKG_VERSION")),
        "connection: close\r\n".to_owned(),
    ] {
        assert!(fields.contains(&field), "{fields}");
    }
}

#[tokio::test]
async fn a_redirect_to_a_denied_address_is_a_failed_attempt_and_followed_by_nobody() {
    let elsewhere = Server::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let location = elsewhere.url();
    let server = Server::start(move |mut stream| {
        let location = location.clone();
        async move {
            read_request(&mut stream).await;
            let answer =
                format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    })
    .await;
    assert_eq!(ask(&server.url(), LONG).await, (false, "HTTP 302".to_owned()));
    assert_eq!(elsewhere.served.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_denied_or_unusable_url_of_an_old_row_is_a_failed_attempt_with_its_reason() {
    for (url, reason) in [
        (
            "http://169.254.169.254/latest/meta-data",
            "address 169.254.169.254 is denied by TARGET_DENY",
        ),
        ("http://[::ffff:169.254.169.254]/", "denied by TARGET_DENY"),
        ("http://[64:ff9b::a9fe:a9fe]/", "denied by TARGET_DENY"),
        ("http://2852039166/", "health_check_url cannot be used"),
        ("http://0251.0376.0251.0376/", "health_check_url cannot be used"),
        ("not a url", "health_check_url cannot be used"),
    ] {
        let (is_healthy, found) = ask(url, LONG).await;
        assert!(!is_healthy && found.contains(reason), "{url}: {found}");
    }
}
