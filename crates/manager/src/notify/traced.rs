//! An attempt as a step of a trace: that of the newest traced change that it tells of. An attempt
//! without such a change, like one of the reconciliation, is no step.

use super::courier::{Failure, Parcel};
use crate::telemetry::traces::{Span, key};

/// How an attempt ends that is ended before its time.
const GIVEN_UP: &str = "given_up";

/// The step, until it ends.
#[derive(Debug)]
pub(super) struct Step {
    span: Span,
    result: &'static str,
}

impl Step {
    /// The attempt begins; what the parcel's receiver does belongs below it.
    pub(super) fn begin(parcel: &mut Parcel) -> Self {
        let mut span = parcel.trace.begin_call("notify");
        if span.is_recorded() {
            span.set(key::SERVICE, &parcel.service);
            span.set(key::SUBSCRIBER, &parcel.subscriber);
            span.set_number(key::REVISION, parcel.revision.as_u64());
            span.set_number(key::ATTEMPT, parcel.attempt.into());
        }
        parcel.trace = span.context();
        Self { span, result: GIVEN_UP }
    }

    /// The attempt ended.
    pub(super) fn end(&mut self, failure: Option<&Failure>) {
        self.result = failure.map_or("received", |failure| failure.fault.as_str());
        if let Some(failure) = failure {
            self.span.fail(&failure.text);
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.span.set(key::RESULT, &self.result);
    }
}
