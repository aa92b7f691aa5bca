//! One watcher as the hub knows it: whom it watches, and whether there is something for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};

use atomic_waker::AtomicWaker;
use governance_domain::Revision;

/// Stands for "nothing" in a field that holds a revision; no change has it.
const NOTHING: u64 = 0;

/// Written by the hub, read by the watcher's stream.
#[derive(Debug, Default)]
pub(super) struct Seat {
    /// The one service that is watched; all if there is none.
    pub(super) service: Option<Box<str>>,
    /// The first change that is meant for it and that it has not looked at.
    first: AtomicU64,
    waker: AtomicWaker,
}

impl Seat {
    pub(super) fn new(service: Option<Box<str>>) -> Self {
        Self { service, ..Self::default() }
    }

    /// There is a change for it; those before the first that it has not seen do not matter.
    pub(super) fn note(&self, revision: Revision) {
        let new = revision.as_u64();
        // Revisions rise, so one that stands there already is the first.
        let _ = self.first.compare_exchange(NOTHING, new, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Takes the mark: the revision of the first change that was noted since the last time.
    pub(super) fn take(&self) -> Option<Revision> {
        let first = self.first.swap(NOTHING, Ordering::AcqRel);
        (first != NOTHING).then(|| Revision::from_u64(first))
    }

    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    pub(super) fn register(&self, context: &Context<'_>) {
        let waker: &Waker = context.waker();
        self.waker.register(waker);
    }
}
