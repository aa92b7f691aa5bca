//! What `GET /watch` sends: the data of its events.

use serde::{Deserialize, Serialize};

use crate::service::Pod;

/// The data of `snapshot-begin`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SnapshotBegin {
    /// The state that follows.
    pub revision: u64,
    /// Revisions compare only within one registry.
    pub registry_id: String,
    /// How many pods follow.
    pub count: usize,
}

/// The data of `snapshot`: a page of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SnapshotPage {
    /// Some of the pods.
    pub pods: Vec<Pod>,
}

/// The data of `snapshot-end`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SnapshotEnd {
    /// The state that is complete now; the event's id.
    pub revision: u64,
    /// Revisions compare only within one registry.
    pub registry_id: String,
}

/// The data of `change`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Change {
    /// Its revision; the event's id.
    pub revision: u64,
    /// `register`, `update` (the status) or `unregister`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Of which service.
    pub service_name: String,
    /// Which pod.
    pub pod_name: String,
    /// The pod after the change; none if it is gone.
    pub pod: Option<Pod>,
    /// Why, for people.
    pub reason: String,
}

/// The data of `end`, the last event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StreamEnd {
    /// `too_slow`, `shutting_down` or `not_active`.
    pub error: String,
    /// What to do about it, for people.
    pub message: String,
}
