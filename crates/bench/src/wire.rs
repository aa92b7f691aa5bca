//! The smallest HTTP/1.1 client that is correct: one keep-alive connection, one request at a time.
//!
//! It is hand-written so that the load generator, which shares the processor with what it measures,
//! costs little and costs the same for every contender. It does not follow redirects, pool, retry
//! or speak TLS; requests are given as finished bytes.
//!
//! Invariants: an answer is complete when `exchange` returns it, however the bytes were split; what
//! the peer sends is bounded; bytes beyond the answer are an error, because nothing else was asked.

use std::{borrow::Cow, io, net::SocketAddr, str};

use bytes::{Buf, BytesMut};
use thiserror::Error;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const HEAD_LIMIT: usize = 16 * 1024;
const BODY_LIMIT: usize = 64 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum WireError {
    #[error("the connection broke")]
    Io(#[from] io::Error),
    #[error("the server closed the connection in the middle of an answer")]
    Truncated,
    #[error("not an HTTP/1.1 answer: {0}")]
    Malformed(&'static str),
    #[error("the server sent more than it was asked for")]
    Surplus,
}

/// A complete answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: Cow<'a, [u8]>,
}

/// One open connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
    /// Length of the answer at the front of `buffer` that was handed out last.
    answered: usize,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, WireError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: BytesMut::with_capacity(16 * 1024), answered: 0 })
    }

    /// Sends one finished request and waits for its whole answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<Answer<'_>, WireError> {
        self.buffer.advance(self.answered);
        self.answered = 0;
        if !self.buffer.is_empty() {
            return Err(WireError::Surplus);
        }
        self.stream.write_all(request).await?;
        let shape = self.receive().await?;
        self.answered = shape.length;
        let raw = self.buffer.get(shape.head_length..shape.length).unwrap_or_default();
        let body = match shape.framing {
            Framing::Length(_) => Cow::Borrowed(raw),
            Framing::Chunked => {
                Cow::Owned(joined_chunks(raw)?.map(|(body, _)| body).unwrap_or_default())
            }
        };
        Ok(Answer { status: shape.status, body })
    }

    async fn receive(&mut self) -> Result<Shape, WireError> {
        loop {
            if let Some(shape) = measure(&self.buffer)? {
                return Ok(shape);
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(WireError::Truncated);
            }
        }
    }
}

/// The bytes of a GET without a body.
pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").into_bytes()
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Framing {
    Length(usize),
    Chunked,
}

/// Where a complete answer lies in the buffer: `0..head_length` and `head_length..length`.
#[derive(Debug, PartialEq, Eq)]
struct Shape {
    status: u16,
    framing: Framing,
    head_length: usize,
    length: usize,
}

/// `None` until the answer at the front of `buffer` is complete.
fn measure(buffer: &[u8]) -> Result<Option<Shape>, WireError> {
    let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if buffer.len() > HEAD_LIMIT {
            Err(WireError::Malformed("the head is too long"))
        } else {
            Ok(None)
        };
    };
    let head_length = end + 4;
    let (status, framing) = read_head(buffer.get(..end).unwrap_or_default())?;
    let rest = buffer.get(head_length..).unwrap_or_default();
    let body_length = match framing {
        Framing::Length(length) if length > BODY_LIMIT => {
            return Err(WireError::Malformed("the body is too long"));
        }
        Framing::Length(length) => (rest.len() >= length).then_some(length),
        Framing::Chunked => joined_chunks(rest)?.map(|(_, length)| length),
    };
    Ok(body_length.map(|body| Shape { status, framing, head_length, length: head_length + body }))
}

/// Status and framing; `head` ends before the empty line.
fn read_head(head: &[u8]) -> Result<(u16, Framing), WireError> {
    let head = str::from_utf8(head).map_err(|_| WireError::Malformed("the head is not text"))?;
    let mut lines = head.split("\r\n");
    let status: u16 = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 "))
        .and_then(|rest| rest.get(..3))
        .and_then(|code| code.parse().ok())
        .ok_or(WireError::Malformed("no status line"))?;
    let mut framing = matches!(status, 204 | 304).then_some(Framing::Length(0));
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            let length = value.trim().parse();
            let length = length.map_err(|_| WireError::Malformed("content-length is no number"))?;
            framing = Some(Framing::Length(length));
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            framing = Some(Framing::Chunked);
        }
    }
    let framing = framing.ok_or(WireError::Malformed("neither content-length nor chunks"))?;
    Ok((status, framing))
}

/// The body of a chunked answer and the bytes it took; `None` until the last chunk is there.
/// Starts over on each call: chunked answers occur beside the measured requests only.
fn joined_chunks(mut rest: &[u8]) -> Result<Option<(Vec<u8>, usize)>, WireError> {
    let whole = rest.len();
    let mut body = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|window| window == b"\r\n") else {
            return Ok(None);
        };
        let line = rest.get(..end).and_then(|line| str::from_utf8(line).ok()).unwrap_or_default();
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(digits, 16)
            .map_err(|_| WireError::Malformed("a chunk has no size"))?;
        if body.len().saturating_add(size) > BODY_LIMIT {
            return Err(WireError::Malformed("the body is too long"));
        }
        let Some(chunk) = rest.get(end + 2..end + 2 + size + 2) else {
            return Ok(None);
        };
        if !chunk.ends_with(b"\r\n") {
            return Err(WireError::Malformed("a chunk does not end where it says"));
        }
        body.extend_from_slice(chunk.get(..size).unwrap_or_default());
        rest = rest.get(end + 2 + size + 2..).unwrap_or_default();
        if size == 0 {
            return Ok(Some((body, whole - rest.len())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::{net::TcpListener, time::timeout};

    const PLAIN: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\ncontent-LENGTH: 5\r\n\r\nhello";
    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n";

    #[test]
    fn an_answer_is_complete_only_with_its_last_byte() {
        for answer in [PLAIN, CHUNKED] {
            for cut in 0..answer.len() {
                assert_eq!(measure(&answer[..cut]).unwrap(), None, "cut at {cut}");
            }
            assert_eq!(measure(answer).unwrap().unwrap().length, answer.len());
        }
    }

    #[test]
    fn bytes_of_a_following_answer_are_left_alone() {
        for answer in [PLAIN, CHUNKED] {
            let two = [answer, PLAIN].concat();
            assert_eq!(measure(&two).unwrap().unwrap().length, answer.len());
        }
    }

    #[test]
    fn status_and_bodiless_answers_are_read() {
        let shape = measure(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().unwrap();
        assert_eq!((shape.status, shape.length), (204, 27));
        let shape = measure(b"HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n").unwrap().unwrap();
        assert_eq!(shape.status, 503);
    }

    #[test]
    fn nonsense_is_refused() {
        let long = [b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'y'; HEAD_LIMIT]].concat();
        for bytes in [
            b"SSH-2.0-server\r\n\r\n".as_slice(),
            b"HTTP/1.1 abc\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n",
            &long,
        ] {
            assert!(measure(bytes).is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    /// Answers each request with `pieces`, flushed one by one.
    async fn peer(pieces: Vec<&'static [u8]>, exchanges: usize) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            for _ in 0..exchanges {
                let mut request = BytesMut::new();
                while !request.ends_with(b"\r\n\r\n") {
                    assert!(stream.read_buf(&mut request).await.unwrap() > 0);
                }
                for piece in &pieces {
                    stream.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        });
        tasks.detach_all();
        Connection::open(address).await.unwrap()
    }

    #[tokio::test]
    async fn answers_in_pieces_are_put_together_and_the_connection_is_reused() {
        let pieces = vec![&PLAIN[..9], &PLAIN[9..40], &PLAIN[40..66], &PLAIN[66..]];
        let mut connection = peer(pieces, 3).await;
        for _ in 0..3 {
            let request = get("/");
            let answer = timeout(Duration::from_secs(10), connection.exchange(&request));
            let answer = answer.await.unwrap().unwrap();
            assert_eq!((answer.status, &*answer.body), (200, b"hello".as_slice()));
        }
    }

    #[tokio::test]
    async fn chunked_answers_are_joined() {
        let mut connection = peer(vec![&CHUNKED[..50], &CHUNKED[50..]], 1).await;
        let answer = connection.exchange(&get("/")).await.unwrap();
        assert_eq!(&*answer.body, b"hello");
    }

    #[tokio::test]
    async fn a_second_answer_to_one_request_is_an_error_not_the_next_answer() {
        let mut connection = peer(vec![b"HTTP/1.1 204 x\r\n\r\nHTTP/1.1 204 x\r\n\r\n"], 1).await;
        assert_eq!(connection.exchange(&get("/")).await.unwrap().status, 204);
        assert!(matches!(connection.exchange(&get("/")).await, Err(WireError::Surplus)));
    }

    #[tokio::test]
    async fn an_answer_cut_off_is_an_error() {
        let mut connection = peer(vec![&PLAIN[..PLAIN.len() - 1]], 1).await;
        assert!(matches!(connection.exchange(&get("/")).await, Err(WireError::Truncated)));
    }
}
