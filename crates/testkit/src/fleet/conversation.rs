//! What a pod says on one connection.

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::{State, Told, lock};

/// What a request may take; nothing that a manager sends comes near.
const REQUEST_MAX: usize = 64 * 1024 * 1024;
/// Bytes of a body without an end: nobody must read so much.
const ENDLESS_BYTES: usize = 1 << 30;

/// Between two looks at what the test says.
const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// How a pod answers a health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// With this status.
    Answer(u16),
    /// With a redirect to there.
    Redirect(String),
    /// With bytes that are no HTTP.
    Garbage,
    /// With the first line and then nothing more.
    HalfAHead,
    /// With 200 and a body of a gigabyte, as fast as it is taken.
    EndlessBody,
    /// Not at all.
    Hang,
    /// Not before the test says how.
    Wait,
    /// By closing the connection.
    Close,
    /// By resetting the connection.
    Reset,
}

/// How a pod answers a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reception {
    /// With this status.
    Answer(u16),
    /// With this status, after so long.
    Slow(Duration, u16),
    /// With this status, and so many seconds in `Retry-After`.
    RetryAfter(u16, u32),
    /// Not at all.
    Hang,
    /// By closing the connection.
    Close,
}

/// A connection whose other side can be surprised.
pub(super) trait Line: AsyncRead + AsyncWrite + Send + Unpin {
    /// Has the close that follows reset the connection.
    fn prepare_reset(&self) -> io::Result<()>;
}

impl Line for TcpStream {
    fn prepare_reset(&self) -> io::Result<()> {
        self.set_zero_linger()
    }
}

impl Line for TlsStream<TcpStream> {
    fn prepare_reset(&self) -> io::Result<()> {
        self.get_ref().0.set_zero_linger()
    }
}

struct Request {
    head: String,
    body: Vec<u8>,
}

/// Answers one request after the other.
pub(super) async fn converse(mut line: impl Line, number: usize, state: &State) -> io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(request) = read(&mut line, &mut buffer).await? {
        let goes_on = if request.head.starts_with("POST ") {
            take(&mut line, number, state, &request).await?
        } else if request.head.starts_with("GET /who ") {
            tell_name(&mut line, &state.name).await?
        } else {
            state.checks.fetch_add(1, Ordering::SeqCst);
            let health = decided(state).await;
            answer_check(&mut line, &health).await?
        };
        if !goes_on || request.head.to_ascii_lowercase().contains("\r\nconnection: close") {
            return Ok(());
        }
    }
    Ok(())
}

async fn take(
    line: &mut impl Line,
    connection: usize,
    state: &State,
    request: &Request,
) -> io::Result<bool> {
    let body: Value = serde_json::from_slice(&request.body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&request.body).into_owned()));
    let told = Told {
        to: state.name.clone(),
        at: Instant::now(),
        received: None,
        connection,
        traceparent: field(&request.head, "traceparent").map(str::to_owned),
        body,
    };
    let index = {
        let mut book = lock(&state.book);
        book.push(told);
        book.len() - 1
    };
    let reception = lock(&state.conduct).reception.clone();
    let (status, field) = match reception {
        Reception::Answer(status) => (status, String::new()),
        Reception::Slow(pause, status) => {
            tokio::time::sleep(pause).await;
            (status, String::new())
        }
        Reception::RetryAfter(status, seconds) => (status, format!("retry-after: {seconds}\r\n")),
        Reception::Hang => {
            wait_for_hang_up(line).await;
            return Ok(false);
        }
        Reception::Close => return Ok(false),
    };
    if (200..300).contains(&status)
        && let Some(told) = lock(&state.book).get_mut(index)
    {
        told.received = Some(Instant::now());
    }
    let text = format!("HTTP/1.1 {status} x\r\n{field}content-length: 0\r\n\r\n");
    line.write_all(text.as_bytes()).await?;
    line.flush().await?;
    Ok(true)
}

/// What a pod is there for, beside being checked: it says who answered.
async fn tell_name(line: &mut impl Line, name: &str) -> io::Result<bool> {
    let text = format!("HTTP/1.1 200 x\r\ncontent-length: {}\r\n\r\n{name}", name.len());
    line.write_all(text.as_bytes()).await?;
    line.flush().await?;
    Ok(true)
}

/// How to answer, once the test said so.
async fn decided(state: &State) -> Health {
    loop {
        let health = lock(&state.conduct).health.clone();
        if health != Health::Wait {
            return health;
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

async fn answer_check(line: &mut impl Line, health: &Health) -> io::Result<bool> {
    let whole = match health {
        Health::Answer(status) => format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n"),
        Health::Redirect(to) => {
            format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
        }
        Health::Garbage => "\u{1}\u{2} 200 OK, as it were\r\n\r\n".to_owned(),
        Health::HalfAHead => "HTTP/1.1 200 OK\r\ncontent-le".to_owned(),
        Health::EndlessBody => {
            format!("HTTP/1.1 200 OK\r\ncontent-length: {ENDLESS_BYTES}\r\n\r\n")
        }
        Health::Hang | Health::Wait => String::new(),
        Health::Close => return Ok(false),
        Health::Reset => {
            line.prepare_reset()?;
            return Ok(false);
        }
    };
    line.write_all(whole.as_bytes()).await?;
    line.flush().await?;
    match health {
        Health::HalfAHead | Health::Hang | Health::Wait => {
            wait_for_hang_up(line).await;
            Ok(false)
        }
        Health::EndlessBody => {
            let piece = vec![b'x'; 64 * 1024];
            for _ in 0..ENDLESS_BYTES / piece.len() {
                line.write_all(&piece).await?;
            }
            Ok(true)
        }
        Health::Answer(_) | Health::Redirect(_) => Ok(true),
        Health::Garbage | Health::Close | Health::Reset => Ok(false),
    }
}

async fn wait_for_hang_up(line: &mut impl Line) {
    let mut scratch = [0; 1024];
    while line.read(&mut scratch).await.is_ok_and(|count| count > 0) {}
}

/// The next request; none when the other side ended the connection before it was whole.
async fn read(line: &mut impl Line, buffer: &mut Vec<u8>) -> io::Result<Option<Request>> {
    let mut wanted = None;
    loop {
        if wanted.is_none()
            && let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n")
        {
            let head = String::from_utf8_lossy(buffer.get(..end + 2).unwrap_or_default());
            wanted = Some((end + 4, length(&head)));
        }
        if let Some((start, length)) = wanted
            && buffer.len() >= start + length
        {
            let mut request: Vec<u8> = buffer.drain(..start + length).collect();
            let body = request.split_off(start);
            let head = String::from_utf8_lossy(&request).into_owned();
            return Ok(Some(Request { head, body }));
        }
        if buffer.len() > REQUEST_MAX || line.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

fn length(head: &str) -> usize {
    field(head, "content-length").and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// The first field of that name.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|field| field.split_once(':'));
    let (_, value) = fields.find(|(other, _)| other.eq_ignore_ascii_case(name))?;
    Some(value.trim())
}
