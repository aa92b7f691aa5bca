//! Asking a manager without being a pod: one request after the other, and streams of events. What
//! tools are built on.
//!
//! Here: whom, what, and the bytes of the answer. Not here: what an answer means, repeating, and
//! which of several managers to ask, TLS and tokens (a member has them); a tool decides that, because it has a person to tell.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};

use crate::session::{Credentials, Failure, ManagerUrl, Question, Stream, Wire};

/// Where a manager is: `http://host:port`, perhaps with a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(ManagerUrl);

impl Address {
    /// Reads a URL; the fault names what would be right.
    ///
    /// ```
    /// # use governance_client::direct::Address;
    /// assert_eq!(Address::parse("http://localhost:8080/").unwrap().to_string(), "http://localhost:8080");
    /// assert!(Address::parse("localhost").unwrap_err().contains("http://host:port"));
    /// ```
    pub fn parse(text: &str) -> Result<Self, String> {
        ManagerUrl::parse(text).map(Self)
    }

    /// From the `active` (`host:port`) of the problem with which this standby answered; none if that leads nowhere, such as
    /// an unspecified address.
    #[must_use]
    pub fn of_active(&self, active: &str) -> Option<Self> {
        ManagerUrl::of_active(active, &self.0).map(Self)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// How.
    pub method: Method,
    /// Path and query below the manager's address, percent-encoded.
    pub target: String,
    /// JSON.
    pub body: Option<Bytes>,
}

impl Request {
    /// A question without a body.
    pub fn new(method: Method, target: impl Into<String>) -> Self {
        Self { method, target: target.into(), body: None }
    }
}

/// An answer, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Of success or not.
    pub status: StatusCode,
    /// When to come again, if it says so.
    pub retry_after: Option<Duration>,
    /// At most 64 MiB.
    pub body: Bytes,
}

/// Why there is no answer. The texts name the manager.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// The request did not leave: nothing happened.
    #[error("{0}")]
    NotSent(String),
    /// It may have arrived, and may have been carried out.
    #[error("{0}")]
    NoAnswer(String),
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotSent(fault) => Self::NotSent(fault),
            Failure::NoAnswer(fault) => Self::NoAnswer(fault),
        }
    }
}

/// A line to managers, kept open between two requests to the same one.
#[derive(Debug)]
pub struct Line(Wire);

impl Line {
    /// `patience` is how long a request may take, connecting included.
    pub fn new(patience: Duration) -> Self {
        Self(Wire::new(patience, Credentials::default()))
    }

    /// Asks. A connection that was kept and turns out to be closed is replaced once, so that a
    /// request may arrive twice.
    pub async fn ask(
        &mut self,
        manager: &Address,
        request: &Request,
    ) -> Result<Answer, Unanswered> {
        let Request { method, target, body } = request.clone();
        let answer = self.0.ask(&manager.0, &Question { method, target, body }).await?;
        let crate::session::Answer { status, retry_after, body } = answer;
        Ok(Answer { status, retry_after, body })
    }

    /// The own address towards a manager: connects if need be.
    pub async fn own_address(&mut self, manager: &Address) -> Result<IpAddr, Unanswered> {
        Ok(self.0.reach(&manager.0).await?)
    }
}

/// What a request for events leads to.
#[derive(Debug)]
pub enum Followed {
    /// Events come.
    Events(Events),
    /// Another answer than success.
    Refused(Answer),
}

/// A stream of events (`text/event-stream`) as it arrives; dropped, it is closed.
#[derive(Debug)]
pub struct Events(Box<Stream>);

impl Events {
    /// Asks for one, on a connection of its own, with the id of the last event that was seen.
    /// `patience` is for the answer's head.
    pub async fn open(
        manager: &Address,
        target: &str,
        last_event_id: Option<&str>,
        patience: Duration,
    ) -> Result<Followed, Unanswered> {
        let opened = Stream::open(&manager.0, target, last_event_id, patience).await?;
        let stream = match opened {
            (StatusCode::OK, stream) => return Ok(Followed::Events(Self(Box::new(stream)))),
            (_, stream) => stream,
        };
        let (status, retry_after) = (stream.status(), stream.retry_after());
        let body = stream.rest(patience).await?;
        Ok(Followed::Refused(Answer { status, retry_after, body }))
    }

    /// The next bytes, cut anywhere; none at the end. Safe to give up and call again.
    ///
    /// # Errors
    /// When the connection breaks, or stays silent for longer than `silence`.
    pub async fn next(&mut self, silence: Duration) -> Result<Option<Bytes>, Unanswered> {
        Ok(self.0.next(silence).await?)
    }
}
