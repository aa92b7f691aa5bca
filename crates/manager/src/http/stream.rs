//! The bytes of one connection: watched for `link`, and errors of the HTTP library put in form.
//!
//! hyper answers what is not HTTP, or has too large headers, by itself and without a body, and has
//! no hook for it. Such an answer is recognised here (it has no request id, which every answer of
//! ours has) and replaced by a problem.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::link::Link;
use super::problem::Problem;
use super::request_id;

/// The most that is taken in after an error answer.
const LEFTOVER_MAX: usize = 256 * 1024;

/// A connection's socket, or TLS on it.
#[derive(Debug)]
pub(super) struct Stream<S> {
    socket: S,
    link: Arc<Link>,
    /// What is sent in place of the library's bare answer, and how much of it is.
    replacement: Option<(Vec<u8>, usize)>,
    /// How many bytes are still taken in and dropped at the end: a peer that is still sending when
    /// we close would be reset, and lose our answer.
    leftover: usize,
    is_shut: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream<S> {
    pub(super) fn new(socket: S, link: Arc<Link>) -> Self {
        Self { socket, link, replacement: None, leftover: 0, is_shut: false }
    }

    /// Sends the replacement of `original`, which counts as written when all of it is.
    fn poll_replacement(
        &mut self,
        ctx: &mut Context<'_>,
        original: usize,
    ) -> Poll<io::Result<usize>> {
        while let Some((bytes, sent)) = &mut self.replacement {
            let rest = bytes.get(*sent..).unwrap_or_default();
            if rest.is_empty() {
                self.replacement = None;
                self.leftover = LEFTOVER_MAX;
                break;
            }
            let written = Pin::new(&mut self.socket).poll_write(ctx, rest);
            self.link.note_write(written.is_ready());
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => *sent += count,
            }
        }
        Poll::Ready(Ok(original))
    }

    /// Whether `bytes` go out through [`Self::poll_replacement`].
    fn replaces(&mut self, bytes: &[u8]) -> bool {
        if self.replacement.is_none() && !self.link.is_busy() {
            self.replacement = replacement(bytes).map(|bytes| (bytes, 0));
        }
        self.replacement.is_some()
    }

    /// Drops what the peer still sends, until it closes or it is too much. `link` bounds the time.
    fn poll_leftover(&mut self, ctx: &mut Context<'_>) -> Poll<()> {
        let mut space = [0; 2_048];
        while self.leftover > 0 {
            let mut buffer = ReadBuf::new(&mut space);
            let read = ready!(Pin::new(&mut self.socket).poll_read(ctx, &mut buffer));
            let count = buffer.filled().len();
            self.link.note_read();
            if read.is_err() || count == 0 {
                break;
            }
            self.leftover = self.leftover.saturating_sub(count);
        }
        Poll::Ready(())
    }
}

/// The problem in place of a bare error answer; none if it is something else.
fn replacement(bytes: &[u8]) -> Option<Vec<u8>> {
    let code = bytes.strip_prefix(b"HTTP/1.1 4")?.get(..2)?;
    let head = std::str::from_utf8(bytes).ok()?;
    if !head.ends_with("\r\n\r\n") || head.contains("x-request-id") {
        return None;
    }
    let status = match code {
        b"00" => StatusCode::BAD_REQUEST,
        b"14" => StatusCode::URI_TOO_LONG,
        b"31" => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        _ => return None,
    };
    Some(whole(status, &Problem::of_status(status)))
}

/// An answer in plain text to a client that speaks HTTP where TLS is spoken.
pub(super) fn tls_required() -> Vec<u8> {
    let status = StatusCode::BAD_REQUEST;
    let detail = "this port speaks TLS alone: use https in place of http";
    whole(status, &Problem::new(status, "tls_required", detail))
}

/// A problem with its head, after which the connection ends.
fn whole(status: StatusCode, problem: &Problem) -> Vec<u8> {
    let id = request_id::fresh();
    let id = id.to_str().unwrap_or_default();
    let body = problem.body(id);
    let mut answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {}\r\ncontent-length: {}\r\nx-request-id: {id}\r\n\
         connection: close\r\n\r\n",
        governance_api::problem::MEDIA_TYPE,
        body.len(),
    )
    .into_bytes();
    answer.extend_from_slice(&body);
    answer
}

impl<S: AsyncRead + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.socket).poll_read(ctx, buffer);
        if buffer.filled().len() > before {
            self.link.note_read();
        }
        result
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.replaces(bytes) {
            return self.poll_replacement(ctx, bytes.len());
        }
        let result = Pin::new(&mut self.socket).poll_write(ctx, bytes);
        self.link.note_write(result.is_ready());
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.iter().find(|slice| !slice.is_empty());
        if let Some(first) = first
            && self.replaces(first)
        {
            return self.poll_replacement(ctx, first.len());
        }
        let result = Pin::new(&mut self.socket).poll_write_vectored(ctx, slices);
        self.link.note_write(result.is_ready());
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(ctx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            ready!(Pin::new(&mut self.socket).poll_shutdown(ctx))?;
            self.is_shut = true;
            self.link.note_read(); // from here the peer has as long as for a request's headers
        }
        self.poll_leftover(ctx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bare_errors_are_replaced() {
        let bare = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n";
        let answer = String::from_utf8(replacement(bare).unwrap()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{answer}");
        assert!(answer.contains("headers_too_large"), "{answer}");
        for other in [
            &b"HTTP/1.1 404 Not Found\r\nx-request-id: a\r\n\r\n"[..],
            b"HTTP/1.1 400 Bad Request\r\nx-request-id: a\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 4",
            b"{\"a\":1}",
        ] {
            assert_eq!(replacement(other), None);
        }
    }
}
