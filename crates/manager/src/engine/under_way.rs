//! Which pods have a command under way: accepted, and neither answered nor withdrawn.
//!
//! A registration that changes nothing is answered from memory, but not past a command of the same
//! pod that waits or whose outcome is being found out: a removal that was sent before it would
//! otherwise undo what was acknowledged after it.
//!
//! Pods are known by a hash of 64 bits, in many small lists, each behind a lock of its own that is
//! held for a look at a handful of numbers. Exact, because while the store is away many commands
//! wait, and a pod that shares a place with one of them must get its answer all the same.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use governance_domain::PodKey;

/// Lists; about as many as commands can be under way by default, so that most hold none or one.
const LISTS: usize = 1_024;

/// The lists.
#[derive(Debug)]
pub(super) struct UnderWay {
    lists: Box<[Mutex<Vec<u64>>]>,
    hasher: RandomState,
}

/// One command under way; ends when dropped.
#[derive(Debug)]
pub(super) struct Passage {
    under_way: Arc<UnderWay>,
    pod: u64,
}

impl Default for UnderWay {
    fn default() -> Self {
        let lists = (0..LISTS).map(|_| Mutex::default()).collect();
        Self { lists, hasher: RandomState::new() }
    }
}

impl UnderWay {
    /// A command of this pod is under way from now on.
    pub(super) fn begin(self: &Arc<Self>, key: &PodKey) -> Passage {
        let pod = self.hasher.hash_one(key);
        if let Some(mut list) = self.list(pod) {
            list.push(pod);
        }
        Passage { under_way: Arc::clone(self), pod }
    }

    /// Whether a command of this pod is under way. If not, what is published from now on contains
    /// all that ended before.
    pub(super) fn has(&self, key: &PodKey) -> bool {
        let pod = self.hasher.hash_one(key);
        self.list(pod).is_some_and(|list| list.contains(&pod))
    }

    #[expect(clippy::cast_possible_truncation, reason = "any of the bits will do")]
    fn list(&self, pod: u64) -> Option<MutexGuard<'_, Vec<u64>>> {
        let list = self.lists.get(pod as usize % LISTS)?;
        Some(list.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if let Some(mut list) = self.under_way.list(self.pod)
            && let Some(position) = list.iter().position(|pod| *pod == self.pod)
        {
            list.swap_remove(position);
        }
    }
}

#[cfg(test)]
mod tests {
    use governance_domain::{PodName, ServiceName};

    use super::*;

    fn key(number: usize) -> PodKey {
        let pod = PodName::stored(&format!("pod-{number}"));
        PodKey::new(ServiceName::stored("eir"), pod)
    }

    #[test]
    fn only_pods_with_a_command_are_under_way_however_many_there_are() {
        let under_way = Arc::new(UnderWay::default());
        let mut traces: Vec<Passage> =
            (0..LISTS * 4).map(|number| under_way.begin(&key(number))).collect();
        assert!((0..LISTS * 4).all(|number| under_way.has(&key(number))));
        assert!(!(LISTS * 4..LISTS * 8).any(|number| under_way.has(&key(number))));
        let second = under_way.begin(&key(0));
        traces.clear();
        assert!(under_way.has(&key(0)), "one of two ended");
        drop(second);
        assert!(!(0..LISTS * 4).any(|number| under_way.has(&key(number))));
    }
}
