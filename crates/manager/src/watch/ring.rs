//! The last changes, in the order of their revisions: where a watcher that was away, or is slow,
//! reads on.
//!
//! INVARIANT: revisions rise from front to back; everything that was published after `base` is
//! here. What is older was forgotten.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use governance_domain::{Pod, Revision};

use crate::engine::Event;

/// Changes that are kept. Each is half a hundred bytes and the pod as it was then.
pub(super) const CHANGES_MAX: usize = 100_000;

/// What happened to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It registered, or registered again.
    Register,
    /// It left or was removed.
    Unregister,
    /// Its status changed.
    Update,
}

impl Kind {
    /// The word on the wire.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Unregister => "unregister",
            Self::Update => "update",
        }
    }
}

/// A published change.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) revision: Revision,
    pub(super) kind: Kind,
    /// The pod after the change; before it, if it is gone.
    pub(super) pod: Arc<Pod>,
    pub(super) reason: Cow<'static, str>,
}

impl Change {
    /// None if nobody was concerned.
    pub(super) fn of(event: &Event) -> Option<Self> {
        let (kind, pod) = match (&event.before, &event.after) {
            (None, None) => return None,
            (Some(before), None) => (Kind::Unregister, before),
            (Some(before), Some(after))
                if before.registration_id == after.registration_id
                    && before.status != after.status =>
            {
                (Kind::Update, after)
            }
            (_, Some(after)) => (Kind::Register, after),
        };
        let (revision, reason) = (event.revision, event.reason.clone());
        Some(Self { revision, kind, pod: Arc::clone(pod), reason })
    }

    pub(super) fn service(&self) -> &str {
        self.pod.key.service.as_str()
    }
}

/// What is kept.
#[derive(Debug)]
pub(super) struct Ring {
    changes: VecDeque<Change>,
    /// The last revision that is not here.
    base: Revision,
    max: usize,
}

impl Ring {
    pub(super) fn new(base: Revision, max: usize) -> Self {
        Self { changes: VecDeque::new(), base, max }
    }

    /// How many changes are kept.
    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Adds published changes; the oldest go.
    pub(super) fn extend(&mut self, events: &[Event]) {
        for change in events.iter().filter_map(Change::of) {
            if self.changes.len() >= self.max
                && let Some(oldest) = self.changes.pop_front()
            {
                self.base = oldest.revision;
            }
            self.changes.push_back(change);
        }
    }

    /// The revision of the newest change.
    pub(super) fn head(&self) -> Revision {
        self.changes.back().map_or(self.base, |change| change.revision)
    }

    /// Whether everything after `revision` is here. A revision that was never given out, because
    /// it comes from another registry, is refused where that can be seen.
    pub(super) fn reaches(&self, revision: Revision) -> bool {
        revision == self.base
            || self.changes.binary_search_by_key(&revision, |change| change.revision).is_ok()
    }

    /// Whether changes after `revision` were forgotten.
    pub(super) fn has_passed(&self, revision: Revision) -> bool {
        revision < self.base
    }

    /// The changes after `after` and up to `upto`, oldest first.
    pub(super) fn between(&self, after: Revision, upto: Revision) -> impl Iterator<Item = &Change> {
        let first = self.changes.partition_point(|change| change.revision <= after);
        self.changes.range(first..).take_while(move |change| change.revision <= upto)
    }
}
