//! One attempt: how a pod is asked.
//!
//! GET with `Connection: close` on a connection of its own, or just a connection for `tcp://`.
//! No redirect is followed, no proxy of the environment is used, and of the answer only the head
//! is read, but for what lets the pod close first. Not here: when, how often, and what it means.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use governance_domain::Content;
use governance_domain::target::{Purpose, Scheme, Target};
use http::header::{ACCEPT, CONNECTION, HOST, HeaderValue, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::reason::{Attempt, Reason};
use crate::connect::{Dialer, Fault, OwnFault, OwnFaultKind, Stream};

/// How long and how much is read after the head, so that the pod closes the connection and the
/// waiting time of the closed socket (TIME-WAIT) is not ours: there are thousands a second.
const CLOSE_MAX: Duration = Duration::from_millis(50);
const CLOSE_BYTES_MAX: usize = 16 * 1024;
/// The head of an answer must fit.
const HEAD_BYTES_MAX: usize = 16 * 1024;

const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("governance-manager/", env!("CARGO_PKG_VERSION")));
const CLOSE: HeaderValue = HeaderValue::from_static("close");
const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");

/// Somebody who can ask a pod how it is.
pub(super) trait Prober: Send + Sync {
    /// Makes one attempt; ends within the configured time, and leaves nothing behind when dropped.
    fn probe(&self, content: &Arc<Content>) -> BoxFuture<'static, Attempt>;
}

/// The prober of the running manager.
pub(super) struct NetworkProber {
    dialer: Arc<Dialer>,
    limit: Duration,
    may_ask: MayAsk,
}

/// Whether this manager is still the one that checks. Asked again when the connection is there:
/// the process may have been stopped meanwhile, and a standby have taken over.
pub(super) type MayAsk = Arc<dyn Fn() -> bool + Send + Sync>;

impl NetworkProber {
    /// Each attempt ends within `limit`.
    pub(super) fn new(dialer: Arc<Dialer>, limit: Duration, may_ask: MayAsk) -> Self {
        Self { dialer, limit, may_ask }
    }
}

impl Prober for NetworkProber {
    fn probe(&self, content: &Arc<Content>) -> BoxFuture<'static, Attempt> {
        let (dialer, limit) = (Arc::clone(&self.dialer), self.limit);
        let (content, may_ask) = (Arc::clone(content), Arc::clone(&self.may_ask));
        async move { attempt(&dialer, &content.health_check_url, limit, &may_ask).await }.boxed()
    }
}

async fn attempt(dialer: &Dialer, url: &str, limit: Duration, may_ask: &MayAsk) -> Attempt {
    let deadline = Instant::now() + limit;
    // A row that an earlier manager wrote may hold a URL that today's rules refuse.
    let target = match Target::parse(url, Purpose::HealthCheck) {
        Ok(target) => target,
        Err(fault) => return unusable(&fault),
    };
    let stream = match dialer.dial(&target, limit).await {
        Ok(stream) => stream,
        Err(fault) => return fault.into(),
    };
    if !may_ask() {
        let detail = "another manager may be the active one now".to_owned();
        return Attempt::Ours(OwnFault { kind: OwnFaultKind::Stall, detail });
    }
    if target.scheme == Scheme::Tcp {
        return Attempt::Passed(Reason::Connected);
    }
    let Some(request) = request(&target) else { return unusable("it cannot be requested") };
    match timeout_at(deadline, get(stream, request)).await {
        Err(_elapsed) => Attempt::Failed(Reason::NoAnswer(limit)),
        Ok(Err(fault)) => fault.into(),
        Ok(Ok(status)) if status.is_success() => Attempt::Passed(Reason::Answered(status.as_u16())),
        Ok(Ok(status)) => Attempt::Failed(Reason::Answered(status.as_u16())),
    }
}

fn unusable(fault: &str) -> Attempt {
    Attempt::Failed(Reason::Words(format!("health_check_url cannot be used: {fault}").into()))
}

fn request(target: &Target) -> Option<Request<Empty<Bytes>>> {
    let host = HeaderValue::from_str(&target.authority).ok()?;
    Request::get(&*target.path)
        .header(HOST, host)
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, ANYTHING)
        .header(CONNECTION, CLOSE)
        .body(Empty::new())
        .ok()
}

/// Sends the request and returns the status of the answer.
async fn get(stream: Stream, request: Request<Empty<Bytes>>) -> Result<StatusCode, Fault> {
    let (mut sender, mut connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| judge(&error))?;
    let status = {
        let mut answer = pin!(sender.send_request(request));
        let mut is_driven = true;
        let answered = poll_fn(|context: &mut Context<'_>| {
            if is_driven && connection.poll_without_shutdown(context).is_ready() {
                // What ended it, if it was an error, is told to the waiting request.
                is_driven = false;
            }
            answer.as_mut().poll(context)
        });
        answered.await.map_err(|error| judge(&error))?.status()
    };
    drop(sender);
    let mut stream = connection.into_parts().io.into_inner();
    // What comes meanwhile says nothing about the pod's health.
    let _ = timeout(CLOSE_MAX, await_close(&mut stream)).await;
    Ok(status)
}

/// Reads until the other side closes, or too much comes.
async fn await_close(stream: &mut Stream) {
    let mut scratch = [0_u8; 1024];
    let mut left = CLOSE_BYTES_MAX;
    while let Ok(count) = stream.read(&mut scratch).await {
        if count == 0 || count >= left {
            return;
        }
        left -= count;
    }
}

fn judge(error: &hyper::Error) -> Fault {
    let words = |text: &str| Fault::Other(text.to_owned());
    if error.is_parse_too_large() {
        return words("the head of the answer is too large");
    }
    if error.is_parse() {
        return words("the answer is not HTTP/1.1");
    }
    if error.is_incomplete_message() {
        return words("connection closed before an answer");
    }
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref());
    match source {
        Some(io) => Fault::of_io(io),
        None => Fault::Other(error.to_string()),
    }
}
