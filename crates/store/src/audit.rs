//! Audit entries: who did what to which pod. Written with the change they tell of.

use governance_domain::{PodKey, Status, Timestamp};

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditAction {
    /// A pod registered, or registered again with other content.
    Register,
    /// A pod was unregistered.
    Unregister,
    /// A pod was removed because it failed too many checks.
    AutoCleanup,
    /// The status of a pod changed.
    HealthStatusChange,
    /// A round of reconcile notifications.
    Reconcile,
    /// A manager became the one that writes.
    Takeover,
}

impl AuditAction {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 6] = [
        Self::Register,
        Self::Unregister,
        Self::AutoCleanup,
        Self::HealthStatusChange,
        Self::Reconcile,
        Self::Takeover,
    ];

    /// The word in the table and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Unregister => "unregister",
            Self::AutoCleanup => "auto_cleanup",
            Self::HealthStatusChange => "health_status_change",
            Self::Reconcile => "reconcile",
            Self::Takeover => "takeover",
        }
    }

    /// The action of a word, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == text)
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditResult {
    /// As asked.
    Success,
    /// Not.
    Failure,
    /// Not, because the caller may not, or did not say who it is.
    Denied,
}

impl AuditResult {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Success, Self::Failure, Self::Denied];

    /// The word in the table and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Denied => "denied",
        }
    }

    /// The result of a word, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|result| result.as_str() == text)
    }
}

/// One entry.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    /// When it was decided.
    pub at: Timestamp,
    /// What was done.
    pub action: AuditAction,
    /// How it ended.
    pub result: AuditResult,
    /// To which pod, if to one.
    pub key: Option<PodKey>,
    /// For people, one sentence; may be empty.
    pub details: String,
    /// Status before, if it is about a status.
    pub previous_status: Option<Status>,
    /// Status after, if it is about a status.
    pub new_status: Option<Status>,
    /// The request that asked for it, if one did.
    pub request_id: Option<String>,
    /// Where that request came from.
    pub remote: Option<String>,
}
