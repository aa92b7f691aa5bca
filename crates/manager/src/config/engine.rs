//! The bounds of the engine that come from outside.

use super::rule::Whole;
use super::setting::{Described, Setting};
use super::source::Reader;

/// The single writer's bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    /// How many commands may wait for the writer.
    pub event_queue_size: usize,
    /// How many pods one service may hold.
    pub max_pods_per_service: usize,
}

static EVENT_QUEUE_SIZE: Setting<Whole<usize>> = Setting::new(
    "EVENT_QUEUE_SIZE",
    "1000",
    "How many commands may wait for the engine; when it is full, requests wait and then get 503",
    Whole::between("a number of commands", 1, 1_000_000),
)
.earlier_keys(&["manager.event_queue_size"]);

static MAX_PODS_PER_SERVICE: Setting<Whole<usize>> = Setting::new(
    "MAX_PODS_PER_SERVICE",
    "10000",
    "How many pods one service may hold; further ones are refused with 429 `service_full`",
    Whole::between("a number of pods", 1, 1_000_000),
);

pub(super) static SETTINGS: &[&dyn Described] = &[&EVENT_QUEUE_SIZE, &MAX_PODS_PER_SERVICE];

impl Engine {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            event_queue_size: reader.read(&EVENT_QUEUE_SIZE),
            max_pods_per_service: reader.read(&MAX_PODS_PER_SERVICE),
        }
    }
}
