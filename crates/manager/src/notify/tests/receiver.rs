//! A subscriber made of a socket: records every byte of meaning, answers as it is told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use governance_api::Notification;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// What it does with a request.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// These bytes, and then it waits for the next request.
    Bytes(String),
    /// The same, and the connection is closed.
    Last(String),
    /// Nothing.
    Silence,
}

/// A plain answer with this status.
pub(super) fn status(code: u16) -> Answer {
    Answer::Bytes(format!("HTTP/1.1 {code} x\r\nContent-Length: 2\r\n\r\nok"))
}

/// What happened on its side.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Happening {
    Opened(usize),
    /// On which connection, and the whole head.
    Request(usize, String, Vec<u8>),
    Closed(usize),
}

#[derive(Debug, Default)]
struct State {
    answers: VecDeque<Answer>,
    log: Vec<Happening>,
    connections: usize,
}

/// The socket; gone when dropped.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    state: Arc<Mutex<State>>,
    _tasks: JoinSet<()>,
}

impl Receiver {
    pub(super) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state: Arc<Mutex<State>> = Arc::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&state)));
        Self { address, state, _tasks: tasks }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/notify?x=1", self.address)
    }

    /// What it answers next; afterwards 200.
    pub(super) fn answer(&self, answers: &[Answer]) {
        self.state.lock().unwrap().answers.extend(answers.iter().cloned());
    }

    pub(super) fn log(&self) -> Vec<Happening> {
        self.state.lock().unwrap().log.clone()
    }

    /// What it was told.
    pub(super) fn told(&self) -> Vec<Notification> {
        let body = |happening: Happening| match happening {
            Happening::Request(_, _, body) => Some(serde_json::from_slice(&body).unwrap()),
            Happening::Opened(_) | Happening::Closed(_) => None,
        };
        self.log().into_iter().filter_map(body).collect()
    }

    /// Waits until the log is as wanted.
    pub(super) async fn wait(&self, what: &str, is_there: impl Fn(&[Happening]) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !is_there(&self.log()) {
            assert!(Instant::now() < deadline, "{what} did not happen: {:?}", self.log());
            sleep(Duration::from_millis(2)).await;
        }
    }
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let number = {
            let mut state = state.lock().unwrap();
            state.connections += 1;
            let number = state.connections;
            state.log.push(Happening::Opened(number));
            number
        };
        let state = Arc::clone(&state);
        connections.spawn(async move {
            converse(stream, number, &state).await;
            state.lock().unwrap().log.push(Happening::Closed(number));
        });
    }
}

async fn converse(mut stream: TcpStream, number: usize, state: &Mutex<State>) {
    let mut buffer = Vec::new();
    while let Some((head, body)) = read_request(&mut stream, &mut buffer).await {
        let answer = {
            let mut state = state.lock().unwrap();
            state.log.push(Happening::Request(number, head, body));
            state.answers.pop_front()
        };
        match answer.unwrap_or_else(|| status(200)) {
            Answer::Bytes(bytes) => drop(stream.write_all(bytes.as_bytes()).await),
            Answer::Last(bytes) => {
                drop(stream.write_all(bytes.as_bytes()).await);
                return;
            }
            Answer::Silence => {}
        }
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.expect("a body has a length").parse().unwrap();
            if buffer.len() >= end + 4 + length {
                let body = buffer[end + 4..end + 4 + length].to_vec();
                buffer.drain(..end + 4 + length);
                return Some((head, body));
            }
        }
        match stream.read_buf(buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}
