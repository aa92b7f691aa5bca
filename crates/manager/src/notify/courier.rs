//! One attempt to tell one subscriber: what is carried, and how it can end.
//!
//! How it is done over HTTP stands in `delivery`; tests put a scripted peer in its place.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use governance_domain::{Content, PodKey, Revision, ServiceName};

use crate::telemetry::traces::TraceContext;

/// A notification on its way.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// To whom.
    pub subscriber: PodKey,
    /// The registration that says where, in its `notification_url`.
    pub content: Arc<Content>,
    /// Of which service.
    pub service: ServiceName,
    /// The state it shows.
    pub revision: Revision,
    /// The beginning of the body, its own.
    pub head: Bytes,
    /// The rest of the body, shared by all that carry the same list.
    pub list: Bytes,
    /// Which attempt it is since the subscriber last received something of the service.
    pub attempt: u32,
    /// Where it belongs, if the newest change that it tells of is traced.
    pub trace: TraceContext,
}

/// What kind of failure it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It answered, and does not want this.
    Refused,
    /// It answered that it can take nothing now.
    Overloaded,
    /// No connection, or one that broke before the answer.
    Unreachable,
    /// No answer in time.
    TimedOut,
}

impl Fault {
    /// In the words of the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Overloaded => "overloaded",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
        }
    }
}

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind.
    pub fault: Fault,
    /// In an operator's words.
    pub text: Arc<str>,
    /// How long the subscriber asked to be left alone.
    pub retry_after: Option<Duration>,
}

/// Carries parcels. Dropping the future of an attempt ends it, and closes its connection.
pub trait Courier: Send + Sync + 'static {
    /// Makes one attempt, bounded in time. Success means that the subscriber received it; by then
    /// every other connection of the attempt is closed.
    fn carry(self: Arc<Self>, parcel: Parcel) -> BoxFuture<'static, Result<(), Failure>>;

    /// Called now and then: gives back what is no longer needed.
    fn tidy(&self) {}
}
