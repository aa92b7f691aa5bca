//! Traces in a program that was built without them: types without size, calls that do nothing. The
//! same names and shapes as in `recorded`, so that those who use them need not know.

use std::fmt::Display;
use std::future::Ready;
use std::sync::Arc;

use http::{Extensions, HeaderMap, StatusCode};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{RequestLine, TraceFigures};
use crate::clock::Clock;
use crate::config;
use crate::connect::TrustFault;

/// Where traces begin.
#[derive(Clone, Debug, Default)]
pub struct Traces(());

/// A place in a trace, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceContext(());

/// A step of a trace, or nothing.
#[derive(Debug, Default)]
pub struct Span(());

/// Sends what was recorded: there is none.
#[derive(Debug)]
pub enum Sender {}

impl Traces {
    /// No traces, whatever is configured: the configuration said so in a warning.
    ///
    /// # Errors
    /// Never.
    pub fn start(
        _config: Option<&config::Traces>,
        _instance: &str,
        _clock: Arc<dyn Clock>,
    ) -> Result<(Self, Option<Sender>), TrustFault> {
        Ok((Self(()), None))
    }

    /// The step that a request is.
    pub fn request(&self, _line: RequestLine<'_>, _headers: &HeaderMap) -> Span {
        Span(())
    }

    /// A place where a trace may begin, at a time that has passed.
    pub fn beginning(&self, _since: Instant) -> TraceContext {
        TraceContext(())
    }

    /// What became of what was recorded; none without traces.
    pub fn figures(&self) -> Option<TraceFigures> {
        None
    }
}

impl TraceContext {
    /// The one that a request carries.
    pub fn of(_extensions: &Extensions) -> Self {
        Self(())
    }

    /// Whether steps after it may be recorded.
    pub fn is_recorded(&self) -> bool {
        false
    }

    /// A step that begins now.
    pub fn begin(&self, _name: &'static str) -> Span {
        Span(())
    }

    /// A step that began then.
    pub fn begin_at(&self, _name: &'static str, _since: Instant) -> Span {
        Span(())
    }

    /// A request to somebody else, which begins now.
    pub fn begin_call(&self, _name: &'static str) -> Span {
        Span(())
    }

    /// Has a request to somebody else say to which trace it belongs.
    pub fn write(&self, _headers: &mut HeaderMap) {}
}

impl Span {
    /// Whether it is recorded.
    pub fn is_recorded(&self) -> bool {
        false
    }

    /// The place of steps that come of it.
    pub fn context(&self) -> TraceContext {
        TraceContext(())
    }

    /// Says something of it.
    pub fn set(&mut self, _key: &'static str, _value: &dyn Display) {}

    /// Says a number of it.
    pub fn set_number(&mut self, _key: &'static str, _value: u64) {}

    /// It failed.
    pub fn fail(&mut self, _why: &dyn Display) {}

    /// The request was answered.
    pub fn answered(&mut self, _status: StatusCode) {}

    /// Has a request carry its context on to whoever handles it.
    pub fn enter(&self, _extensions: &mut Extensions) {}
}

impl Sender {
    /// Sends until it is told to stop.
    pub fn run(self, _stop: CancellationToken) -> Ready<()> {
        match self {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_takes_no_room() {
        assert_eq!(size_of::<(TraceContext, Span, Traces, Option<Sender>)>(), 0);
    }
}
