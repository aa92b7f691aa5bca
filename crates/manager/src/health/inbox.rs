//! What the engine publishes, on its way to the schedule.
//!
//! The writer puts in and never waits longer than for somebody else's push: the lock is held for
//! a few instructions. Bounded by the number of pods: one entry each, the newest counts.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use governance_domain::{Pod, PodKey};
use tokio::sync::Notify;

use crate::engine::{CheckSoon, EngineHandle, Event, Observer, Snapshot};

/// News for the schedule, in the order in which they are to be taken.
#[derive(Default)]
pub(super) struct News {
    /// Everything that was known before is void.
    pub(super) is_lost: bool,
    /// The whole state, read anew.
    pub(super) loaded: Option<Arc<Snapshot>>,
    /// Pods as they are now; none if they left.
    pub(super) changed: HashMap<PodKey, Option<Arc<Pod>>>,
    /// Pods that should be checked before their turn.
    pub(super) wanted: BTreeSet<PodKey>,
}

/// Where news wait.
pub(super) struct Inbox {
    news: Mutex<News>,
    engine: EngineHandle,
    pub(super) arrived: Notify,
}

impl Inbox {
    pub(super) fn new(engine: EngineHandle) -> Self {
        Self { news: Mutex::default(), engine, arrived: Notify::new() }
    }

    /// Takes all that waits.
    pub(super) fn take(&self) -> News {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, News> {
        // Nothing that is done under the lock can leave it half done.
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Inbox {
    fn loaded(&self, snapshot: &Arc<Snapshot>) {
        let mut news = self.lock();
        news.changed.clear();
        news.loaded = Some(Arc::clone(snapshot));
        drop(news);
        self.arrived.notify_one();
    }

    fn published(&self, _snapshot: &Arc<Snapshot>, events: &[Event]) {
        let mut relevant = events.iter().filter(|event| concerns_checks(event)).peekable();
        if relevant.peek().is_none() {
            return;
        }
        let mut news = self.lock();
        for event in relevant {
            news.changed.insert(event.key.clone(), event.after.clone());
        }
        drop(news);
        self.arrived.notify_one();
    }

    fn lost(&self) {
        *self.lock() = News { is_lost: true, ..News::default() };
        self.arrived.notify_one();
    }
}

impl CheckSoon for Inbox {
    fn check_soon(&self, key: &PodKey) {
        // A name that is not registered must not be kept: there are endless many.
        if self.engine.snapshot().registry.pod_by(key).is_none() {
            return;
        }
        if self.lock().wanted.insert(key.clone()) {
            self.arrived.notify_one();
        }
    }
}

/// A change of status alone is our own doing.
fn concerns_checks(event: &Event) -> bool {
    match (&event.before, &event.after) {
        (Some(before), Some(after)) => {
            before.registration_id != after.registration_id
                || !Arc::ptr_eq(&before.content, &after.content)
        }
        _ => true,
    }
}
