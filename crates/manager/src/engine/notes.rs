//! Entries for the audit that no command and no check brings about. They wait here, few and
//! bounded, until the writer takes them along with its soft writes.

use crossbeam_queue::ArrayQueue;
use governance_domain::{PodKey, Timestamp};
use governance_store::{AuditAction, AuditEntry, AuditResult};

use super::entries::reconciled;
use super::handle::Origin;

/// Sentences that wait. One comes per interval, and the writer looks ten times a second.
const NOTES_MAX: usize = 16;
/// Refusals that wait; as many as come in some seconds, because whoever tells of them bounds them.
const REFUSALS_MAX: usize = 64;

/// A command of which nothing was applied, or nobody knows.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// When.
    pub at: Timestamp,
    /// What was asked for: [`AuditAction::Register`] or [`AuditAction::Unregister`].
    pub action: AuditAction,
    /// [`AuditResult::Denied`] or [`AuditResult::Failure`].
    pub result: AuditResult,
    /// Of which pod, where that was read.
    pub key: Option<PodKey>,
    /// Why, in one sentence.
    pub details: String,
    /// Who asked.
    pub origin: Origin,
}

/// What waits.
#[derive(Debug)]
pub(super) struct Notes {
    reconciled: ArrayQueue<String>,
    refusals: ArrayQueue<Refusal>,
}

impl Default for Notes {
    fn default() -> Self {
        let refusals = ArrayQueue::new(REFUSALS_MAX);
        Self { reconciled: ArrayQueue::new(NOTES_MAX), refusals }
    }
}

impl Notes {
    /// Notes that a round of notifications was repeated; the oldest goes if there is no room.
    pub(super) fn push(&self, details: String) {
        self.reconciled.force_push(details);
    }

    /// Notes a refusal; the oldest goes if there is no room.
    pub(super) fn push_refusal(&self, refusal: Refusal) {
        self.refusals.force_push(refusal);
    }

    /// The oldest note, as an entry.
    pub(super) fn pop(&self, at: Timestamp) -> Option<AuditEntry> {
        if let Some(refusal) = self.refusals.pop() {
            return Some(refused(refusal));
        }
        self.reconciled.pop().map(|details| reconciled(at, details))
    }
}

fn refused(refusal: Refusal) -> AuditEntry {
    let Refusal { at, action, result, key, details, origin } = refusal;
    AuditEntry {
        at,
        action,
        result,
        key,
        details,
        previous_status: None,
        new_status: None,
        request_id: origin.request_id,
        remote: origin.remote,
    }
}
