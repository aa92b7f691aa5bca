//! Commands of which nothing was applied, or nobody knows: a problem for the caller, and for the
//! audit an entry, so that it says why a pod is not there. A flood of them fills it slowly.
//!
//! Not here: input that never became a command, which is the caller's to read; what a caller may not
//! do, see `access`. And a store that is away or a queue that is full: metrics and log tell of them.

use std::fmt::Write as _;

use governance_domain::PodKey;

use super::HttpState;
use super::problem::Problem;
use crate::engine::{AuditAction, AuditResult, Origin, Refusal, SubmitError};

/// Tells the audit, and answers with the problem.
pub(super) fn unapplied(
    state: &HttpState,
    action: AuditAction,
    key: PodKey,
    origin: Origin,
    error: &SubmitError,
) -> Problem {
    let is_told = match error {
        SubmitError::Rejected(_) | SubmitError::Refused | SubmitError::OutcomeUnknown => true,
        // They would fill what waits for the store to come back.
        SubmitError::Busy | SubmitError::StoreUnavailable { .. } | SubmitError::NotActive(_) => {
            false
        }
    };
    if is_told && let Some(untold) = state.failures.tell() {
        let details = with_untold(error.to_string(), untold);
        let (at, result, key) = (state.clock.now(), AuditResult::Failure, Some(key));
        state.engine.note_refusal(Refusal { at, action, result, key, details, origin });
    }
    Problem::of(error)
}

/// The sentence of an entry that stands for more than itself.
pub(super) fn with_untold(mut details: String, untold: u64) -> String {
    if untold > 0 {
        let _always_works = write!(details, " ({untold} more were refused before)");
    }
    details
}
