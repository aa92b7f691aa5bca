//! A small HTTP/1.1 client that sends exactly the bytes it is told, whole or in pieces, and reads
//! what comes back. For tests of a server from the outside: a real client library would refuse to
//! send most of what they send.
//!
//! Blocking, with a deadline on every wait. Not here: TLS, redirects, HTTP/2, any retry.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long an answer may take unless a test says otherwise.
pub const ANSWER_MAX: Duration = Duration::from_secs(20);

/// Characters of a body in a message.
const SHOWN_MAX: usize = 1_000;

/// One answer of the server.
#[derive(Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The fields in their order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, with any chunking taken off.
    pub body: Vec<u8>,
}

impl fmt::Debug for Answer {
    /// For messages of tests: the body as text, not all of a long one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body: String = String::from_utf8_lossy(&self.body).chars().take(SHOWN_MAX).collect();
        write!(f, "{} {:?} {body}", self.status, self.headers)
    }
}

impl Answer {
    /// The first field of that name; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    ///
    /// # Panics
    /// When it is not UTF-8.
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body in UTF-8")
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in a body of JSON: {self:?}"))
    }
}

/// One connection.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    /// Received and not yet part of an answer.
    buffer: Vec<u8>,
    deadline: Instant,
}

impl Wire {
    /// Connects.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new(), deadline: Instant::now() + ANSWER_MAX })
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.set_write_timeout(Some(ANSWER_MAX))?;
        self.stream.write_all(bytes.as_ref())
    }

    /// Says that no more bytes will come, and goes on listening.
    pub fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)
    }

    /// Reads one answer to a request that was not HEAD.
    pub fn receive(&mut self) -> io::Result<Answer> {
        self.receive_to("GET")
    }

    /// Reads one answer to a request with that method; interim answers (1xx) are skipped.
    pub fn receive_to(&mut self, method: &str) -> io::Result<Answer> {
        self.deadline = Instant::now() + ANSWER_MAX;
        loop {
            let (status, headers) = self.receive_head()?;
            let mut answer = Answer { status, headers, body: Vec::new() };
            if (100..200).contains(&status) {
                continue;
            }
            if method != "HEAD" && status != 204 && status != 304 {
                answer.body = self.receive_body(&answer)?;
            }
            return Ok(answer);
        }
    }

    /// Whether the server ends the connection, without another byte, before the time is over.
    pub fn is_closed_within(&mut self, time: Duration) -> bool {
        self.deadline = Instant::now() + time;
        match self.fill() {
            Ok(count) => count == 0,
            Err(error) => is_hang_up(&error),
        }
    }

    /// Whether nothing comes and the connection stays open for that time.
    pub fn is_silent_for(&mut self, time: Duration) -> bool {
        self.deadline = Instant::now() + time;
        matches!(self.fill(), Err(error) if error.kind() == io::ErrorKind::TimedOut)
    }

    fn receive_head(&mut self) -> io::Result<(u16, Vec<(String, String)>)> {
        let end = self.fill_until(b"\r\n\r\n")?;
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let head = String::from_utf8(head).map_err(malformed)?;
        let mut lines = head.split("\r\n").filter(|line| !line.is_empty());
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let status = status.ok_or_else(|| malformed("no status"))?;
        let fields = lines.map(|line| {
            let (name, value) = line.split_once(':').ok_or_else(|| malformed("no colon"))?;
            Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
        });
        Ok((status, fields.collect::<io::Result<_>>()?))
    }

    fn receive_body(&mut self, head: &Answer) -> io::Result<Vec<u8>> {
        if let Some(length) = head.header("content-length") {
            return self.take(length.parse().map_err(malformed)?);
        }
        if head.header("transfer-encoding").is_some_and(|coding| coding == "chunked") {
            return self.receive_chunks();
        }
        while self.fill()? > 0 {}
        Ok(std::mem::take(&mut self.buffer))
    }

    fn receive_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = self.fill_until(b"\r\n")?;
            let line: Vec<u8> = self.buffer.drain(..end).collect();
            let line = String::from_utf8(line).map_err(malformed)?;
            let length = usize::from_str_radix(line.trim_end(), 16).map_err(malformed)?;
            body.extend(self.take(length)?);
            self.take(2)?;
            if length == 0 {
                return Ok(body);
            }
        }
    }

    /// Reads on until the buffer holds `mark`; the position after it.
    fn fill_until(&mut self, mark: &[u8]) -> io::Result<usize> {
        loop {
            let found = self.buffer.windows(mark.len()).position(|window| window == mark);
            if let Some(position) = found {
                return Ok(position + mark.len());
            }
            self.fill_some()?;
        }
    }

    fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            self.fill_some()?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    fn fill_some(&mut self) -> io::Result<()> {
        match self.fill()? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut chunk = vec![0; 64 * 1024];
        let read = loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut chunk) {
                // A machine or process that was stopped and goes on: the read ends without a result.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        match read {
            Ok(count) => {
                chunk.truncate(count);
                self.buffer.append(&mut chunk);
                Ok(count)
            }
            // What a timeout of a socket looks like.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(io::ErrorKind::TimedOut.into())
            }
            Err(error) => Err(error),
        }
    }
}

/// A request with the fields every client sends. A body brings its type and length along.
pub fn request(method: &str, target: &str, body: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = format!("{method} {target} HTTP/1.1\r\nhost: manager\r\n").into_bytes();
    if let Some(body) = body {
        let fields =
            format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
        bytes.extend(fields.into_bytes());
    }
    bytes.extend(b"\r\n");
    bytes.extend(body.unwrap_or_default());
    bytes
}

/// A client with one keep-alive connection, which it opens again when the server ended it while
/// nothing was under way. A request is never sent twice.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    wire: Option<Wire>,
}

impl Client {
    /// A client that has not connected.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, wire: None }
    }

    /// Sends a request and reads its answer. After an error the next call connects anew.
    pub fn call(&mut self, method: &str, target: &str, body: Option<&[u8]>) -> io::Result<Answer> {
        let mut wire = match self.wire.take() {
            Some(wire) => wire,
            None => Wire::open(self.address)?,
        };
        wire.send(request(method, target, body))?;
        let answer = wire.receive_to(method)?;
        if answer.header("connection") != Some("close") {
            self.wire = Some(wire);
        }
        Ok(answer)
    }

    /// GET that must get an answer.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn get(&mut self, target: &str) -> Answer {
        answered("GET", target, self.call("GET", target, None))
    }

    /// POST of JSON that must get an answer.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn post(&mut self, target: &str, body: &Value) -> Answer {
        let body = body.to_string();
        answered("POST", target, self.call("POST", target, Some(body.as_bytes())))
    }

    /// A request without a body that must get an answer.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn send(&mut self, method: &str, target: &str) -> Answer {
        answered(method, target, self.call(method, target, None))
    }
}

#[track_caller]
fn answered(method: &str, target: &str, answer: io::Result<Answer>) -> Answer {
    answer.unwrap_or_else(|error| panic!("no answer to {method} {target}: {error}"))
}

fn malformed(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn is_hang_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
    )
}
