//! What request handlers may read of parts of the manager that they do not know: small traits,
//! implemented by those parts and passed on by the wiring.

use std::sync::Arc;

use governance_domain::{PodKey, Revision, ServiceName, Timestamp};

/// What a subscriber was told of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryState {
    /// Of which service.
    pub service: ServiceName,
    /// The last revision it holds, as far as is known: received as a notification, or in the
    /// answer to its registration. None before the first of this manager.
    pub delivered: Option<Revision>,
    /// When that was.
    pub delivered_at: Option<Timestamp>,
    /// Since when there is something it should know and does not.
    pub behind_since: Option<Timestamp>,
    /// Since when deliveries fail; none if the last one was received.
    pub failing_since: Option<Timestamp>,
    /// Failed attempts since then.
    pub attempts: u32,
    /// Why the last one failed, in an operator's words.
    pub last_error: Option<Arc<str>>,
}

/// How notifications as a whole are doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryFigures {
    /// Pods that subscribe to something.
    pub subscribers: usize,
    /// Of these, how many should know something and do not.
    pub behind: usize,
    /// Of these, how many did not receive the last attempt.
    pub failing: usize,
    /// Since when the one that is behind for longest is; unhealthy pods do not count.
    pub behind_since: Option<Timestamp>,
    /// Attempts under way.
    pub in_flight: usize,
    /// Attempts by how they ended, since the start.
    pub attempts: Vec<(&'static str, u64)>,
}

/// Somebody who knows what subscribers were told. Called by request handlers: it must return at
/// once.
pub trait DeliveryReader: Send + Sync {
    /// What this pod was told, per subscription, in the order of its subscriptions.
    fn deliveries(&self, key: &PodKey) -> Vec<DeliveryState>;

    /// What each subscriber of this service was told of it.
    fn deliveries_of(&self, service: &str) -> Vec<(PodKey, DeliveryState)>;

    /// How notifications as a whole are doing.
    fn figures(&self) -> DeliveryFigures;
}
