//! How many were refused why, and which of them the audit hears of: a flood of refusals must fill
//! neither the store nor the page that somebody reads.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::denial::Denial;

/// Refusals that the audit hears of in a window.
const TOLD_MAX: u32 = 10;
/// The length of a window.
const WINDOW: Duration = Duration::from_secs(1);

/// The counters.
#[derive(Debug, Default)]
pub struct Refusals {
    counts: [AtomicU64; Denial::REASONS.len()],
    window: Mutex<Option<Window>>,
    /// A file changed into one that cannot be used; written by `watching`.
    is_reload_failing: AtomicBool,
}

#[derive(Debug)]
struct Window {
    since: Instant,
    told: u32,
    /// Since the last one that was told.
    untold: u64,
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
        let now = Instant::now();
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Window { since: now, told: 0, untold: 0 };
        let window = window.get_or_insert(fresh);
        if now.duration_since(window.since) >= WINDOW {
            (window.since, window.told) = (now, 0);
        }
        if window.told >= TOLD_MAX {
            window.untold += 1;
            return None;
        }
        window.told += 1;
        Some(std::mem::take(&mut window.untold))
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
