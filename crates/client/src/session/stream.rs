//! An answer that goes on: the same connection as `wire`'s, read piece by piece.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::line::Credentials;
use super::url::ManagerUrl;
use super::wire::{Connection, Failure, Question, driven};

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
    /// Asks for events; the status is also `status()`.
    pub(crate) async fn open(
        url: &ManagerUrl,
        target: &str,
        last_event_id: Option<&str>,
        patience: Duration,
    ) -> Result<(StatusCode, Self), Failure> {
        let opened = timeout(patience, Connection::open(url, &Credentials::default())).await;
        let opened = opened.unwrap_or_else(|_| Err("it does not accept the connection".to_owned()));
        let mut connection = opened.map_err(|fault| {
            Failure::NotSent(format!("no connection to the manager at {url}: {fault}"))
        })?;
        let lost = |fault: String| Failure::NoAnswer(format!("the manager at {url}: {fault}"));
        let question = Question { method: Method::GET, target: target.to_owned(), body: None };
        let mut request = connection.request(&question).map_err(|fault| lost(fault.to_string()))?;
        let headers = request.headers_mut();
        // A problem is JSON in any case.
        headers.insert(header::ACCEPT, header::HeaderValue::from_static("text/event-stream"));
        if let Some(id) = last_event_id.and_then(|id| header::HeaderValue::from_str(id).ok()) {
            headers.insert("last-event-id", id);
        }
        let answered = timeout(patience, connection.send(request)).await;
        let answered = answered.unwrap_or_else(|_| Err("it does not answer".to_owned()));
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
            Failure::NoAnswer(format!("the stream from the manager at {url} broke: {fault}"))
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
            Ok(Err(fault)) => Err(Failure::NoAnswer(fault.to_string())),
            Err(_) => Err(Failure::NoAnswer("the answer does not end".to_owned())),
        }
    }
}
