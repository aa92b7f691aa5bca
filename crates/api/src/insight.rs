//! What a manager knows of a pod beside its registration: how its checks went, and what it was told.

use serde::{Deserialize, Serialize};

use crate::service::{Delivery, Pod, Status};

/// The answer of `GET /services/{service}/pods/{pod}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PodDetails {
    /// Its registration.
    #[serde(flatten)]
    pub pod: Pod,
    /// How its checks went; absent if it is not checked by this manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<PodHealth>,
    /// What it was told, per subscription.
    #[serde(default)]
    pub deliveries: Vec<Delivery>,
}

/// A pod's health in brief.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PodHealth {
    /// Failed checks since the last success.
    pub consecutive_failures: u32,
    /// When the next attempt is due (RFC 3339); none while one is under way.
    pub next_attempt: Option<String>,
    /// The last attempt that failed, also after the pod recovered.
    pub last_failure: Option<CheckFailure>,
    /// The last few changes of its status, oldest first.
    pub changes: Vec<HealthChange>,
}

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CheckFailure {
    /// When (RFC 3339).
    pub at: String,
    /// What went wrong, for people.
    pub reason: String,
}

/// A change of a pod's status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HealthChange {
    /// When (RFC 3339).
    pub at: String,
    /// What it was.
    pub from: Status,
    /// What it became.
    pub to: Status,
    /// Why, for people.
    pub reason: String,
}
