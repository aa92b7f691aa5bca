//! The engine's steps of a trace: waiting in the queue, the commit, the publication; and the check
//! that a change of health comes of. A batch serves many commands: each that is traced gets a step
//! of its own, and the batch's number in it tells which were stored together.
//!
//! What a trace is made of is not known here.

use governance_domain::{Applied, Decision, Revision};
use governance_store::CommitError;

use super::batch::Decisions;
use super::inbox::Pending;
use crate::telemetry::traces::{Span, TraceContext, key};

/// The command was taken into a batch. One whose batch was not applied waits again: that is
/// another such step, from the same beginning.
pub(super) fn waited(pending: &Pending) {
    let trace = &pending.origin.trace;
    if trace.is_recorded() {
        let mut step = trace.begin_at("queue", pending.since);
        describe(&mut step, pending);
    }
}

/// The store has, or has not, what commands were decided into.
pub(super) fn committed(decisions: &Decisions, error: Option<&CommitError>) {
    let Some(batch) = &decisions.batch else { return };
    for decided in &decisions.decided {
        let trace = &decided.pending.origin.trace;
        // Of the others the batch holds nothing.
        let is_stored = matches!(decided.verdict, Some(Ok(Decision::Changed(_))));
        if !trace.is_recorded() || !is_stored {
            continue;
        }
        let mut step = trace.begin_at("commit", decisions.since);
        describe(&mut step, &decided.pending);
        step.set_number(key::EPOCH, batch.epoch.into());
        step.set_number(key::BATCH, batch.sequence);
        step.set_number(key::BATCH_COMMANDS, decisions.decided.len() as u64);
        let result = match error {
            None => "stored",
            Some(CommitError::NotApplied(_)) => "not_applied",
            Some(CommitError::Refused { .. }) => "refused",
            Some(CommitError::Unknown(_)) => "unknown",
            Some(CommitError::Lost(_)) => "lost",
        };
        step.set(key::RESULT, &result);
        if let Some(error) = error {
            step.fail(error);
        }
    }
}

/// The change is applied; the step ends when it is published, answered and told.
pub(super) fn published(pending: &Pending, revision: Revision) -> Span {
    let mut step = pending.origin.trace.begin("publish");
    if step.is_recorded() {
        describe(&mut step, pending);
        step.set_number(key::REVISION, revision.as_u64());
    }
    step
}

/// A check changed a pod's health: a trace of its own, from the beginning of the check.
pub(super) fn checked(trace: &TraceContext, applied: &Applied) -> Span {
    let mut step = trace.begin("health check");
    if step.is_recorded()
        && let Some(pod) = &applied.after
    {
        step.set(key::SERVICE, &pod.key.service);
        step.set(key::POD, &pod.key.pod);
        step.set(key::RESULT, &pod.status);
        step.set_number(key::REVISION, applied.revision.as_u64());
    }
    step
}

fn describe(step: &mut Span, pending: &Pending) {
    step.set(key::SERVICE, &pending.key().service);
    step.set(key::POD, &pending.key().pod);
}
