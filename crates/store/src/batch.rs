//! What is written: plain values that could as well be sent or kept in a journal.

use std::sync::Arc;

use governance_domain::{Pod, PodKey, RegistrationId, Status, Timestamp};

use crate::audit::AuditEntry;

/// What is stored in one atomic step.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The tenure under which it is written.
    pub epoch: u32,
    /// Its number: one more than that of the batch before it.
    pub sequence: u64,
    /// The last state of every row it touches, each key at most once.
    pub rows: Vec<RowChange>,
    /// One entry per change, in order.
    pub audit: Vec<AuditEntry>,
}

/// The last state of one row.
#[derive(Clone, Debug, PartialEq)]
pub enum RowChange {
    /// The row is there with this content.
    Put {
        /// The whole state.
        pod: Arc<Pod>,
        /// Whether the row's status and last check become those of `pod`, as for every new
        /// registration; if not they are left alone, because health is written on its own path.
        resets_health: bool,
    },
    /// The row is not there.
    Delete {
        /// Whose row.
        key: PodKey,
    },
}

impl RowChange {
    /// Whose row it is.
    pub fn key(&self) -> &PodKey {
        match self {
            Self::Put { pod, .. } => &pod.key,
            Self::Delete { key } => key,
        }
    }
}

/// What checks found of one pod: soft state, written in bulk.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthWrite {
    /// Whose row.
    pub key: PodKey,
    /// Only if this is still its registration.
    pub registration_id: RegistrationId,
    /// The status now.
    pub status: Status,
    /// When the last check ended.
    pub last_health_check: Timestamp,
    /// When the status last changed, if it did since the last write.
    pub status_changed_at: Option<Timestamp>,
}
