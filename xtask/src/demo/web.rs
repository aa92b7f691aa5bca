//! GET over a kept connection: as much HTTP as the demonstration's clients need, blocking.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// Bytes of a body that are read.
const BODY_MAX: u64 = 1024 * 1024;

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) served_by: Option<String>,
    pub(crate) body: String,
}

/// One connection, opened when it is needed.
pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    timeout: Duration,
    kept: Option<BufReader<TcpStream>>,
}

impl Web {
    pub(crate) fn new(address: SocketAddr, timeout: Duration) -> Self {
        Self { address, timeout, kept: None }
    }

    /// Asks once; after an error the next call connects anew.
    pub(crate) fn get(&mut self, path: &str) -> Result<Answer> {
        let mut wire = match self.kept.take() {
            Some(wire) => wire,
            None => self.connect()?,
        };
        let request = format!("GET {path} HTTP/1.1\r\nhost: demo\r\n\r\n");
        wire.get_mut().write_all(request.as_bytes())?;
        let (answer, is_kept) = read(&mut wire)?;
        self.kept = is_kept.then_some(wire);
        Ok(answer)
    }

    fn connect(&self) -> Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect_timeout(&self.address, self.timeout)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        stream.set_nodelay(true)?;
        Ok(BufReader::new(stream))
    }
}

fn read(wire: &mut BufReader<TcpStream>) -> Result<(Answer, bool)> {
    let mut line = String::new();
    wire.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.with_context(|| format!("no status in {line:?}"))?;
    let (mut length, mut served_by, mut is_kept) = (0, None, true);
    loop {
        line.clear();
        ensure!(wire.read_line(&mut line)? > 0, "the connection ended within the head");
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse()?,
            "x-served-by" => served_by = Some(value.to_owned()),
            "connection" => is_kept = value != "close",
            _ => {}
        }
    }
    ensure!(length <= BODY_MAX, "a body of {length} bytes");
    let mut body = Vec::new();
    wire.by_ref().take(length).read_to_end(&mut body)?;
    ensure!(body.len() as u64 == length, "the connection ended within the body");
    Ok((Answer { status, served_by, body: String::from_utf8(body)? }, is_kept))
}
