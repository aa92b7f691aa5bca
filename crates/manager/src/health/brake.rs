//! The brake: when very many pods fail at once, the fault is more likely on the way to them than
//! in each of them, and nothing is removed.
//!
//! It looks at the pods that were healthy two intervals ago. When more than half of them, and at
//! least three, are failing, it engages, and remembers which pods those were: it releases only when
//! at most half of these very pods are failing. Without that memory it would release by itself two
//! intervals later, when a dead half of the fleet is no longer among the recently healthy.

use super::entry::{Doing, Entry};

/// Fewer failing pods never engage the brake: in a small fleet they are simply dead.
const FAILING_MIN: usize = 3;
/// A pod's part in the brake: was it healthy at the last three rounds of looking, newest first.
const REMEMBERED: u8 = 0b111;
/// The oldest of them: two whole intervals ago, or a little longer.
const TWO_INTERVALS_AGO: u8 = 0b100;

/// What one pod counts for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weight {
    reference: bool,
    failing: bool,
}

/// A pod's memory for the brake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Past {
    rounds: u8,
    is_reference: bool,
}

impl Past {
    /// Of a pod that was there, in this condition, before this process looked.
    pub(super) fn known(is_healthy: bool) -> Self {
        Self { rounds: if is_healthy { REMEMBERED } else { 0 }, is_reference: is_healthy }
    }

    /// An interval passed.
    pub(super) fn turn(&mut self, is_healthy: bool, is_engaged: bool) {
        self.rounds = (self.rounds << 1 | u8::from(is_healthy)) & REMEMBERED;
        if !is_engaged {
            self.is_reference = self.rounds & TWO_INTERVALS_AGO != 0;
        }
    }
}

impl Weight {
    pub(super) fn of(entry: &Entry) -> Self {
        let reference = entry.past.is_reference && entry.doing != Doing::Leaving;
        Self { reference, failing: reference && entry.streak.is_failing() }
    }
}

/// The sums over all pods. Kept up to date with each change of one of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Brake {
    reference: usize,
    failing: usize,
    is_engaged: bool,
}

/// Why the brake is engaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Jam {
    /// Pods that were healthy two intervals before it engaged.
    pub(super) reference: usize,
    /// How many of them are failing.
    pub(super) failing: usize,
}

impl Brake {
    pub(super) fn change(&mut self, before: Weight, after: Weight) {
        if before == after {
            return;
        }
        self.reference =
            self.reference + usize::from(after.reference) - usize::from(before.reference);
        self.failing = self.failing + usize::from(after.failing) - usize::from(before.failing);
        self.judge();
    }

    /// Counts anew, after an interval passed.
    pub(super) fn recount(&mut self, weights: impl Iterator<Item = Weight>) {
        (self.reference, self.failing) = weights.fold((0, 0), |(reference, failing), weight| {
            (reference + usize::from(weight.reference), failing + usize::from(weight.failing))
        });
        self.judge();
    }

    /// What holds removals back, if anything does.
    pub(super) fn jam(&self) -> Option<Jam> {
        let Self { reference, failing, .. } = *self;
        self.is_engaged.then_some(Jam { reference, failing })
    }

    fn judge(&mut self) {
        self.is_engaged = self.failing >= FAILING_MIN && self.failing * 2 > self.reference;
    }
}
