//! How many were refused why, and which of them the audit hears of: a flood of refusals must fill
//! neither the store nor the page that somebody reads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::denial::Denial;
use crate::flood::Flood;

/// The counters.
#[derive(Debug, Default)]
pub struct Refusals {
    counts: [AtomicU64; Denial::REASONS.len()],
    flood: Flood,
    /// A file changed into one that cannot be used; written by `watching`.
    is_reload_failing: AtomicBool,
}

impl Refusals {
    /// Counts one.
    pub fn count(&self, denial: &Denial) {
        let place = Denial::REASONS.iter().position(|reason| *reason == denial.reason());
        if let Some(count) = place.and_then(|place| self.counts.get(place)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether the audit should hear of one now; with how many it did not hear of before it.
    pub fn tell(&self) -> Option<u64> {
        self.flood.tell()
    }

    /// How many by reason.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        Denial::REASONS.into_iter().zip(counts)
    }

    /// Whether a changed file waits to be mended.
    pub fn is_reload_failing(&self) -> bool {
        self.is_reload_failing.load(Ordering::Relaxed)
    }

    pub(super) fn set_reload_failing(&self, is_failing: bool) {
        self.is_reload_failing.store(is_failing, Ordering::Relaxed);
    }
}
