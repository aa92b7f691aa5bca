//! Asking a manager without being a pod: one request after the other, and streams of events. What
//! tools are built on.
//!
//! Here: whom, as whom, what, and the bytes of the answer. Not here: what an answer means, repeating,
//! and which of several managers to ask; a tool decides that, because it has a person to tell.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use governance_client::Method;
//! use governance_client::direct::{Address, Credentials, Line, Request, Unanswered};
//!
//! let manager = Address::parse("http://127.0.0.1:9")?;
//! let credentials = Credentials::default().with_token("0123456789abcdef0123456789abcdef")?;
//! let mut line = Line::new(Duration::from_secs(10), credentials);
//! let answer = line.ask(&manager, &Request::new(Method::GET, "/services")).await;
//! // Nobody listens there.
//! assert!(matches!(answer, Err(Unanswered::NotSent(_))));
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};

pub use crate::session::{CredentialFault, Credentials, Obstacle, ObstacleKind};
use crate::session::{Failure, ManagerUrl, Question, Stream, Wire};

/// Where a manager is: `http://host:port`, with the feature `tls` also `https`, perhaps with a path.
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

    /// From the `active` (`host:port`) of the problem with which this standby answered; none if
    /// that leads nowhere, such as an unspecified address. Spoken to as this standby is: over TLS
    /// or not.
    #[must_use]
    pub fn of_active(&self, active: &str) -> Option<Self> {
        ManagerUrl::of_active(active, &self.0).map(Self)
    }

    /// Whether it is spoken to over TLS.
    pub fn is_tls(&self) -> bool {
        self.0.is_tls()
    }

    /// The host: a name or an address, IPv6 without brackets.
    pub fn host(&self) -> &str {
        self.0.host()
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
    NotSent(Obstacle),
    /// It may have arrived, and may have been carried out.
    #[error("{0}")]
    NoAnswer(Obstacle),
}

impl Unanswered {
    /// What was in the way.
    pub fn obstacle(&self) -> &Obstacle {
        match self {
            Self::NotSent(obstacle) | Self::NoAnswer(obstacle) => obstacle,
        }
    }
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
    /// `patience` is how long a request may take, connecting included; `credentials` go to every
    /// manager that is asked.
    pub fn new(patience: Duration, credentials: Credentials) -> Self {
        Self(Wire::new(patience, credentials))
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

    /// Asks for a stream of events, on a connection of its own, with the id of the last event that
    /// was seen.
    pub async fn follow(
        &self,
        manager: &Address,
        target: &str,
        last_event_id: Option<&str>,
    ) -> Result<Followed, Unanswered> {
        let opened = Stream::open(&self.0, &manager.0, target, last_event_id).await?;
        let stream = match opened {
            (StatusCode::OK, stream) => return Ok(Followed::Events(Events(Box::new(stream)))),
            (_, stream) => stream,
        };
        let (status, retry_after) = (stream.status(), stream.retry_after());
        let body = stream.rest(self.0.patience()).await?;
        Ok(Followed::Refused(Answer { status, retry_after, body }))
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
    /// The next bytes, cut anywhere; none at the end. Safe to give up and call again.
    ///
    /// # Errors
    /// When the connection breaks, or stays silent for longer than `silence`.
    pub async fn next(&mut self, silence: Duration) -> Result<Option<Bytes>, Unanswered> {
        Ok(self.0.next(silence).await?)
    }
}
