//! Entries for the audit of what no command brings about: a status that changed, a manager that became
//! active, a round of notifications. Those of commands are `batch`'s, of refused ones `notes`'.

use governance_domain::{Applied, Timestamp};
use governance_store::{AuditAction, AuditEntry, AuditResult};

/// A check changed a status.
pub(super) fn health_entry(applied: &Applied, at: Timestamp, details: String) -> AuditEntry {
    AuditEntry {
        at,
        action: AuditAction::HealthStatusChange,
        result: AuditResult::Success,
        key: applied.after.as_ref().map(|pod| pod.key.clone()),
        details,
        previous_status: applied.before.as_ref().map(|pod| pod.status),
        new_status: applied.after.as_ref().map(|pod| pod.status),
        request_id: None,
        remote: None,
    }
}

/// This manager writes now.
pub(super) fn takeover(at: Timestamp, details: String) -> AuditEntry {
    of_no_pod(AuditAction::Takeover, at, details)
}

/// A round of notifications was repeated.
pub(super) fn reconciled(at: Timestamp, details: String) -> AuditEntry {
    of_no_pod(AuditAction::Reconcile, at, details)
}

fn of_no_pod(action: AuditAction, at: Timestamp, details: String) -> AuditEntry {
    AuditEntry {
        at,
        action,
        result: AuditResult::Success,
        key: None,
        details,
        previous_status: None,
        new_status: None,
        request_id: None,
        remote: None,
    }
}
