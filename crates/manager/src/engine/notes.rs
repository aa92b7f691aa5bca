//! Sentences for the audit that no command and no check brings about. They wait here, few and
//! bounded, until the writer takes them along with its soft writes.

use crossbeam_queue::ArrayQueue;
use governance_domain::Timestamp;
use governance_store::{AuditAction, AuditEntry, AuditResult};

/// Sentences that wait. One comes per interval, and the writer looks ten times a second.
const NOTES_MAX: usize = 16;

/// What waits.
#[derive(Debug)]
pub(super) struct Notes {
    reconciled: ArrayQueue<String>,
}

impl Default for Notes {
    fn default() -> Self {
        Self { reconciled: ArrayQueue::new(NOTES_MAX) }
    }
}

impl Notes {
    /// Notes that a round of notifications was repeated; the oldest goes if there is no room.
    pub(super) fn push(&self, details: String) {
        self.reconciled.force_push(details);
    }

    /// The oldest note, as an entry.
    pub(super) fn pop(&self, at: Timestamp) -> Option<AuditEntry> {
        let details = self.reconciled.pop()?;
        Some(AuditEntry {
            at,
            action: AuditAction::Reconcile,
            result: AuditResult::Success,
            key: None,
            details,
            previous_status: None,
            new_status: None,
            request_id: None,
            remote: None,
        })
    }
}
