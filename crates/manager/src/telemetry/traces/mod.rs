//! OpenTelemetry traces: one trace from a request to its commit to the notifications it brings
//! about. What travels with a command and a notice is a [`TraceContext`], which nobody but this
//! module can look into; a [`Span`] is one step, which ends when it is dropped.
//!
//! Without the feature `traces` both have no size and every call does nothing (`absent`); with it,
//! and without a collector in the configuration, a context is a null pointer. What is recorded
//! waits in a bounded queue for a task of its own (`recorded`): a collector that is slow or away
//! costs spans, which are counted, and nothing else.
//!
//! Not here: which steps there are. Those who make them say so, in the words of [`key`].

#[cfg(not(feature = "traces"))]
mod absent;
#[cfg(feature = "traces")]
mod recorded;

use http::{HeaderValue, Method};

#[cfg(not(feature = "traces"))]
pub use absent::{Sender, Span, TraceContext, Traces};
#[cfg(feature = "traces")]
pub use recorded::{Sender, Span, TraceContext, Traces};

/// What steps say of themselves. Names of ours begin with `governance.`; the others are those of
/// OpenTelemetry's semantic conventions 1.x.
pub mod key {
    /// The request's method.
    pub const METHOD: &str = "http.request.method";
    /// The route in the words of the documentation.
    pub const ROUTE: &str = "http.route";
    /// The answer's status.
    pub const STATUS: &str = "http.response.status_code";
    /// The request's id, as in the log and the audit.
    pub const REQUEST_ID: &str = "governance.request_id";
    /// The service that is concerned.
    pub const SERVICE: &str = "governance.service";
    /// The pod that is concerned.
    pub const POD: &str = "governance.pod";
    /// The revision that a change got, or that a notification shows.
    pub const REVISION: &str = "governance.revision";
    /// The epoch and, in it, the number of the batch: the same for all that were stored together.
    pub const EPOCH: &str = "governance.epoch";
    /// See [`EPOCH`].
    pub const BATCH: &str = "governance.batch.sequence";
    /// How many commands the batch held.
    pub const BATCH_COMMANDS: &str = "governance.batch.commands";
    /// The pod that is told.
    pub const SUBSCRIBER: &str = "governance.subscriber";
    /// Which attempt it is since the subscriber last received something of the service.
    pub const ATTEMPT: &str = "governance.notification.attempt";
    /// How a step ended, in the words of the metrics.
    pub const RESULT: &str = "governance.result";
}

/// A request as its trace shows it.
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its route, one of few.
    pub route: &'static str,
    /// Its id.
    pub id: &'a HeaderValue,
    /// Whether a trace may begin with it; else it only continues its caller's.
    pub may_begin: bool,
}

/// What became of the steps that were recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceFigures {
    /// A collector took them.
    pub sent: u64,
    /// A collector refused them, or was away for too long.
    pub failed: u64,
    /// There was no room for them.
    pub dropped: u64,
    /// They wait.
    pub queued: usize,
}
