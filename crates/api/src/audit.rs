//! The audit: who did what to which pod.

use serde::{Deserialize, Serialize};

/// An entry, as `GET /audit/logs/by-id` answers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditLog {
    /// Grows with each entry; a text, because it may exceed what a number in JSON can hold.
    pub id: String,
    /// When it was decided (RFC 3339).
    pub timestamp: String,
    /// `register`, `unregister`, `auto_cleanup`, `health_status_change`, `reconcile`, `takeover`.
    pub action: String,
    /// `success`, `failure`, or `denied` if the caller may not.
    pub result: String,
    /// Of which service; none if it is about none.
    pub service_name: Option<String>,
    /// Of which pod; none if it is about none.
    pub pod_name: Option<String>,
    /// For people, one sentence; may be empty.
    pub details: String,
    /// Status before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_status: Option<String>,
    /// Status after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_status: Option<String>,
    /// The request that asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Where that request came from, `address:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// Who sent it, if it said who it is: the name of its token or of its certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
}

/// The answer of `GET /audit/logs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditLogs {
    /// How many entries match, on all pages; at least so many if `total_is_minimum`.
    pub total: usize,
    /// Whether there are more than `total`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub total_is_minimum: bool,
    /// Newest first.
    pub logs: Vec<AuditLog>,
    /// Give it as `before` to read on; none on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_before: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}
