//! What a subscriber is told: the body of the POST at its `notification_url`.

use serde::{Deserialize, Serialize};

use crate::registration::PodSummary;

/// What happened to the service, or that nothing did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EventType {
    /// A pod came, or came back with other endpoints.
    Register,
    /// A pod left or was removed.
    Unregister,
    /// The health of a pod changed.
    Update,
    /// Nothing: the list is repeated, in case something was missed. Also what an older client takes
    /// an event for that it does not know: the list counts, not its cause.
    #[serde(other)]
    Reconcile,
}

/// The pods of one service. Replaces what was known of it, unless that has a higher revision of
/// the same registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Notification {
    /// Which service.
    pub service_name: String,
    /// What happened to it; of several changes the newest.
    pub event_type: EventType,
    /// When this text was written (RFC 3339).
    pub timestamp: String,
    /// The state that is shown.
    pub revision: u64,
    /// Revisions compare only within one registry.
    pub registry_id: String,
    /// All its pods, as the subscription shows them; possibly none.
    pub pods: Vec<PodSummary>,
}
