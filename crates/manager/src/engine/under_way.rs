//! Which pods have a command under way: accepted, and neither answered nor withdrawn.
//!
//! A registration that changes nothing is answered from memory, but not past a command of the same
//! pod that waits or whose outcome is being found out: a removal that was sent before it would
//! otherwise undo what was acknowledged after it.
//!
//! Counted per hash of the key, without a lock: two pods that share a place only make one of them
//! take the way through the queue.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use governance_domain::PodKey;

/// Places; more than commands can be under way by default, so that sharing one is rare.
const PLACES: usize = 4_096;

/// The counters.
#[derive(Debug)]
pub(super) struct UnderWay {
    places: Box<[AtomicU32]>,
    hasher: RandomState,
}

/// One command under way; ends when dropped.
#[derive(Debug)]
pub(super) struct Trace {
    under_way: Arc<UnderWay>,
    place: usize,
}

impl Default for UnderWay {
    fn default() -> Self {
        let places = (0..PLACES).map(|_| AtomicU32::new(0)).collect();
        Self { places, hasher: RandomState::new() }
    }
}

impl UnderWay {
    /// A command of this pod is under way from now on.
    pub(super) fn begin(self: &Arc<Self>, key: &PodKey) -> Trace {
        let place = self.place(key);
        if let Some(count) = self.places.get(place) {
            count.fetch_add(1, Ordering::AcqRel);
        }
        Trace { under_way: Arc::clone(self), place }
    }

    /// Whether a command of this pod may be under way. If not, what is published from now on
    /// contains all that ended before.
    pub(super) fn has(&self, key: &PodKey) -> bool {
        self.places.get(self.place(key)).is_some_and(|count| count.load(Ordering::Acquire) > 0)
    }

    #[expect(clippy::cast_possible_truncation, reason = "any of the bits will do")]
    fn place(&self, key: &PodKey) -> usize {
        self.hasher.hash_one(key) as usize % PLACES
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if let Some(count) = self.under_way.places.get(self.place) {
            count.fetch_sub(1, Ordering::AcqRel);
        }
    }
}
