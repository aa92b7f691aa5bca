//! An HTTP/1.1 connection to a subscriber, driven by whoever uses it: no task stands behind it, so
//! dropping it closes it.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{Either, select};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::delivery::{Payload, Stream};

/// Bytes of an answer's head, and of what is read ahead. The least that hyper takes.
const BUFFER_MAX: usize = 8_192;
/// Lines of an answer's head.
const HEADERS_MAX: usize = 64;
/// Bytes of an answer's body that are read to be able to use the connection again; with more, a
/// new connection is cheaper.
const REST_MAX: usize = 4_096;
/// How long they may take.
const REST_PATIENCE: Duration = Duration::from_millis(100);

/// An open connection without a request under way.
pub(super) struct Connection {
    sender: http1::SendRequest<Payload>,
    driver: http1::Connection<TokioIo<Box<dyn Stream>>, Payload>,
}

/// The head of an answer, and its body, of which nothing was read on purpose.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<String>,
    pub(super) body: Incoming,
}

impl Connection {
    /// HTTP/1.1 over a stream.
    pub(super) async fn open(stream: Box<dyn Stream>) -> Result<Self, String> {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(BUFFER_MAX).max_headers(HEADERS_MAX);
        let (sender, driver) =
            builder.handshake(TokioIo::new(stream)).await.map_err(|fault| describe(&fault))?;
        Ok(Self { sender, driver })
    }

    /// Whether the other side left it open, as far as can be known without asking.
    pub(super) async fn is_open(&mut self) -> bool {
        let closed = poll_fn(|context| match self.driver.poll_unpin(context) {
            std::task::Poll::Ready(_) => std::task::Poll::Ready(true),
            std::task::Poll::Pending => std::task::Poll::Ready(false),
        });
        !closed.await && self.sender.is_ready()
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(&mut self, request: Request<Payload>) -> Result<Reply, String> {
        let answer = pin!(self.sender.send_request(request));
        let answer = match select(answer, &mut self.driver).await {
            Either::Left((answer, _)) => answer,
            // The connection ended; the answer may have come before that.
            Either::Right((_, answer)) => answer.await,
        };
        let answer = answer.map_err(|fault| describe(&fault))?;
        let retry_after = answer.headers().get(header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|text| text.to_str().ok()).map(str::to_owned);
        Ok(Reply { status: answer.status(), retry_after, body: answer.into_body() })
    }

    /// Reads what is left of an answer; the connection, if it can be used again.
    pub(super) async fn finish(mut self, body: Incoming) -> Option<Self> {
        let rest = async {
            if !body.is_end_stream() {
                if body.size_hint().lower() > REST_MAX as u64 {
                    return None;
                }
                let rest = pin!(Limited::new(body, REST_MAX).collect());
                match select(rest, &mut self.driver).await {
                    Either::Left((Ok(_), _)) => {}
                    Either::Left((Err(_), _)) | Either::Right(_) => return None,
                }
            }
            let ready = pin!(self.sender.ready());
            match select(ready, &mut self.driver).await {
                Either::Left((Ok(()), _)) => Some(()),
                Either::Left((Err(_), _)) | Either::Right(_) => None,
            }
        };
        timeout(REST_PATIENCE, rest).await.ok().flatten()?;
        Some(self)
    }
}

/// The whole chain of causes in one line: the outermost says little.
fn describe(fault: &hyper::Error) -> String {
    let mut text = fault.to_string();
    let mut cause = std::error::Error::source(fault);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
