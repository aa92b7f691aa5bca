//! One POST to one subscriber.
//!
//! A connection is used again only after an answer that was read to its end. After anything else
//! it is closed before the attempt ends: receivers take whatever comes last, so an old body must
//! never be left behind on a connection while a newer one is on its way. For the same reason each
//! piece of a body asks whether this manager is still the active one when its turn comes: the
//! process may have been stopped at any place, and a standby have taken over. Not here: whether
//! and when to try again.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use governance_domain::target::{Purpose, Target};
use http::{Request, StatusCode, header};
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::timeout;

use super::Office;
use super::connection::{Connection, Reply};
use super::courier::{Courier, Failure, Fault, Parcel};
use super::pool::Pool;
use crate::clock::Clock;
use crate::connect::Dialer;

/// Characters of a failure's text that are kept.
const TEXT_MAX: usize = 200;
/// Bytes of a body that are handed over at once.
const PIECE_MAX: usize = 256 * 1024;

/// A stream of bytes to a subscriber.
pub trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Stream for T {}

/// Opens connections, with all that policy demands: which addresses, whose certificates.
pub trait Connector: Send + Sync + 'static {
    /// A stream to the target within `limit`, after TLS if its scheme wants that. The error is a
    /// text for operators.
    fn connect<'a>(
        &'a self,
        target: &'a Target,
        limit: Duration,
    ) -> BoxFuture<'a, Result<Box<dyn Stream>, String>>;
}

impl Connector for Dialer {
    fn connect<'a>(
        &'a self,
        target: &'a Target,
        limit: Duration,
    ) -> BoxFuture<'a, Result<Box<dyn Stream>, String>> {
        Box::pin(async move {
            match self.dial(target, limit).await {
                Ok(stream) => Ok(Box::new(stream) as Box<dyn Stream>),
                Err(fault) => Err(fault.to_string()),
            }
        })
    }
}

/// What an attempt may take.
#[derive(Clone, Copy, Debug)]
pub struct Attempts {
    /// From the connection to the answer.
    pub timeout: Duration,
    /// Connections kept for the next attempts.
    pub idle_max: usize,
}

/// Carries parcels by HTTP/1.1.
pub struct HttpCourier {
    connector: Arc<dyn Connector>,
    clock: Arc<dyn Clock>,
    office: Arc<dyn Office>,
    /// The limit of one attempt, from the connection to the answer.
    timeout: Duration,
    pool: Pool,
}

impl HttpCourier {
    /// A courier that carries nothing once `office` says no.
    pub fn new(
        connector: Arc<dyn Connector>,
        clock: Arc<dyn Clock>,
        office: Arc<dyn Office>,
        attempts: Attempts,
    ) -> Self {
        let Attempts { timeout, idle_max } = attempts;
        Self { connector, clock, office, timeout, pool: Pool::new(idle_max) }
    }

    async fn attempt(&self, parcel: Parcel) -> Result<(), Failure> {
        let url = &parcel.content.notification_url;
        let target = Target::parse(url, Purpose::Notification)
            .map_err(|why| failure(Fault::Unreachable, &format!("the notification_url {why}")))?;
        let Ok(result) = timeout(self.timeout, self.exchange(&target, &parcel)).await else {
            let text = format!("no answer within {:?}", self.timeout);
            return Err(failure(Fault::TimedOut, &text));
        };
        let (connection, reply) = result?;
        self.judge(&reply)?;
        // Received. What remains of the answer is read only for the connection's sake.
        if let Some(idle) = connection.finish(reply.body).await {
            self.pool.put(parcel.subscriber, &target, idle);
        }
        Ok(())
    }

    /// Sends on a kept connection, or on a new one if there is none or it turns out to be closed.
    async fn exchange(
        &self,
        target: &Target,
        parcel: &Parcel,
    ) -> Result<(Connection, Reply), Failure> {
        if let Some(mut kept) = self.pool.take(&parcel.subscriber, target)
            && kept.is_open().await
            && let Ok(reply) = kept.send(self.request(target, parcel)?).await
        {
            return Ok((kept, reply));
        }
        let unreachable = |why: String| failure(Fault::Unreachable, &why);
        if !self.office.may_send() {
            return Err(unreachable(Deposed.to_string()));
        }
        let stream = self.connector.connect(target, self.timeout).await.map_err(unreachable)?;
        let mut connection = Connection::open(stream).await.map_err(unreachable)?;
        let reply = connection.send(self.request(target, parcel)?).await.map_err(unreachable)?;
        Ok((connection, reply))
    }

    fn request(&self, target: &Target, parcel: &Parcel) -> Result<Request<Payload>, Failure> {
        let office = Arc::clone(&self.office);
        let mut request = Request::post(&*target.path)
            .header(header::HOST, &*target.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("governance-manager/", env!("CARGO_PKG_VERSION")))
            .body(Payload { head: parcel.head.clone(), list: parcel.list.clone(), office })
            .map_err(|why| failure(Fault::Unreachable, &format!("the notification_url: {why}")))?;
        parcel.trace.write(request.headers_mut());
        Ok(request)
    }

    fn judge(&self, reply: &Reply) -> Result<(), Failure> {
        let status = reply.status;
        if status.is_success() {
            return Ok(());
        }
        let is_overload =
            matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        let fault = if is_overload { Fault::Overloaded } else { Fault::Refused };
        let retry_after = reply.retry_after.as_deref().and_then(|text| self.pause(text));
        Err(Failure { retry_after, ..failure(fault, &format!("it answered {status}")) })
    }

    /// `Retry-After` (RFC 9110 section 10.2.3): seconds, or a date.
    fn pause(&self, text: &str) -> Option<Duration> {
        if let Ok(seconds) = text.trim().parse::<u32>() {
            return Some(Duration::from_secs(seconds.into()));
        }
        let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp();
        let micros = date.as_microsecond().saturating_sub(self.clock.now().as_micros());
        Some(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
    }
}

impl Courier for HttpCourier {
    fn carry(self: Arc<Self>, parcel: Parcel) -> BoxFuture<'static, Result<(), Failure>> {
        Box::pin(async move { self.attempt(parcel).await })
    }

    fn tidy(&self) {
        self.pool.tidy();
    }
}

fn failure(fault: Fault, text: &str) -> Failure {
    let text: String = text.chars().take(TEXT_MAX).collect();
    Failure { fault, text: text.into(), retry_after: None }
}

/// Why a body ends in the middle, which no receiver takes for a whole one.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("not sent: another manager may be the active one now")]
pub(super) struct Deposed;

/// A body in two parts, of which the second is shared with other deliveries.
pub(super) struct Payload {
    head: Bytes,
    list: Bytes,
    office: Arc<dyn Office>,
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.head.len() + self.list.len())
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Deposed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Deposed>>> {
        let Self { head, list, office } = &mut *self;
        let rest = if head.is_empty() { list } else { head };
        if rest.is_empty() {
            return Poll::Ready(None);
        }
        if !office.may_send() {
            return Poll::Ready(Some(Err(Deposed)));
        }
        let piece = rest.split_to(rest.len().min(PIECE_MAX));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.head.is_empty() && self.list.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact((self.head.len() + self.list.len()) as u64)
    }
}
