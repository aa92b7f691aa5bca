//! An answer that goes on: the same connection as `wire`'s, read piece by piece.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::obstacle::Obstacle;
use super::url::ManagerUrl;
use super::wire::{Connection, Failure, Question, Wire, driven};

/// The largest body of an answer that is none of success: a problem.
const PROBLEM_MAX: usize = 1024 * 1024;

/// An answer whose head came.
#[derive(Debug)]
pub(crate) struct Stream {
    connection: Connection,
    head: http::response::Parts,
    body: Incoming,
}

impl Stream {
    /// Asks for events, on a connection of its own, as whom the wire asks.
    pub(crate) async fn open(
        wire: &Wire,
        url: &ManagerUrl,
        target: &str,
        last_event_id: Option<&str>,
    ) -> Result<(StatusCode, Self), Failure> {
        let patience = wire.patience();
        let mut connection = Connection::open_within(patience, url, wire.credentials()).await?;
        let lost = |fault: Obstacle| Failure::unanswered(url, fault);
        let question = Question { method: Method::GET, target: target.to_owned(), body: None };
        let request = connection.request(&question);
        let mut request = request.map_err(|fault| lost(Obstacle::other(fault.to_string())))?;
        let headers = request.headers_mut();
        // A problem is JSON in any case.
        headers.insert(header::ACCEPT, header::HeaderValue::from_static("text/event-stream"));
        if let Some(id) = last_event_id.and_then(|id| header::HeaderValue::from_str(id).ok()) {
            headers.insert("last-event-id", id);
        }
        let answered = timeout(patience, connection.send(request)).await;
        let answered = answered.unwrap_or_else(|_| Err(Obstacle::other("it does not answer")));
        let (head, body) = answered.map_err(lost)?.into_parts();
        Ok((head.status, Self { connection, head, body }))
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.head.status
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let text = self.head.headers.get(header::RETRY_AFTER)?.to_str().ok()?;
        text.trim().parse().ok().map(Duration::from_secs)
    }

    /// The next piece; none at the end.
    pub(crate) async fn next(&mut self, silence: Duration) -> Result<Option<Bytes>, Failure> {
        let lost = |url: &ManagerUrl, fault: &str| {
            let text = format!("the stream from the manager at {url} broke: {fault}");
            Failure::NoAnswer(Obstacle::other(text))
        };
        loop {
            let Self { connection, body, .. } = self;
            let frame = timeout(silence, driven(body.frame(), connection.driver_mut())).await;
            match frame {
                Err(_) => return Err(lost(connection.url(), "nothing comes any more")),
                Ok(None) => return Ok(None),
                Ok(Some(Err(fault))) => return Err(lost(connection.url(), &fault.to_string())),
                // Trailers say nothing here.
                Ok(Some(Ok(frame))) => {
                    if let Ok(piece) = frame.into_data() {
                        return Ok(Some(piece));
                    }
                }
            }
        }
    }

    /// All that is left of a short answer.
    pub(crate) async fn rest(self, patience: Duration) -> Result<Bytes, Failure> {
        let Self { mut connection, body, .. } = self;
        let whole = Limited::new(body, PROBLEM_MAX).collect();
        let whole = timeout(patience, driven(whole, connection.driver_mut())).await;
        match whole {
            Ok(Ok(whole)) => Ok(whole.to_bytes()),
            Ok(Err(fault)) => Err(Failure::NoAnswer(Obstacle::other(fault.to_string()))),
            Err(_) => Err(Failure::NoAnswer(Obstacle::other("the answer does not end"))),
        }
    }
}
