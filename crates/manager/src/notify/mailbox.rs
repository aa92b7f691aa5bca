//! From the writer to the dispatch: what changed since the last look, coalesced.
//!
//! The writer never waits here. It takes a lock that the other side holds only to swap the whole
//! content out, and what it leaves is bounded by the number of services and subscribers, however
//! long nobody looks: at most one entry for each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use governance_domain::{NoticeKind, Pod, PodKey, ServiceName};
use tokio::sync::Notify;

use crate::engine::{Event, Observer, Snapshot};
use crate::telemetry::traces::TraceContext;

/// Changes of one service that are kept between two looks, to tell which of them a filtered
/// subscription sees. Beyond that the oldest are forgotten, and filtered subscribers get the kind
/// of the newest change.
const RECENT_MAX: usize = 32;

/// One change of a service, newest last.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) kind: NoticeKind,
    pub(super) before: Option<Arc<Pod>>,
    pub(super) after: Option<Arc<Pod>>,
    /// Where the change belongs, if it is traced.
    pub(super) trace: TraceContext,
}

/// What happened to one service since the last look.
#[derive(Debug, Default)]
pub(super) struct News {
    /// The last changes that subscribers may see, oldest first; never empty.
    pub(super) steps: Vec<Step>,
    /// Whether there were more before those.
    pub(super) is_partial: bool,
    /// Where the newest change belongs that is traced, also of those that are forgotten.
    pub(super) trace: TraceContext,
}

impl News {
    /// The kind of the newest change that is seen, and where the newest of them belongs that is
    /// traced; of the newest change of all if that is forgotten.
    pub(super) fn newest_seen(
        &self,
        is_seen: impl Fn(&Step) -> bool,
    ) -> Option<(NoticeKind, TraceContext)> {
        let Some(seen) = self.steps.iter().rev().find(|step| is_seen(step)) else {
            let newest = self.steps.last().filter(|_| self.is_partial)?;
            return Some((newest.kind, self.trace.clone()));
        };
        if !self.trace.is_recorded() {
            return Some((seen.kind, TraceContext::default()));
        }
        let traced = self.steps.iter().rev().find(|step| step.trace.is_recorded() && is_seen(step));
        let trace = traced.map(|step| step.trace.clone()).unwrap_or_default();
        Some((seen.kind, trace))
    }
}

/// What became of the state as a whole.
#[derive(Debug)]
pub(super) enum Turn {
    /// This manager writes no longer.
    Lost,
    /// The state was read anew; all that was known of subscribers is void.
    Loaded,
}

/// Everything since the last look.
#[derive(Debug, Default)]
pub(super) struct Mail {
    /// Happened before everything else in here.
    pub(super) turn: Option<Turn>,
    /// The newest state; none if nothing was published since the last look.
    pub(super) snapshot: Option<Arc<Snapshot>>,
    /// Pods that subscribe, or did, and changed; with the state in the answer to their
    /// registration, if they registered.
    pub(super) subscribers: BTreeMap<PodKey, Option<Arc<Snapshot>>>,
    /// Services that changed visibly.
    pub(super) services: BTreeMap<ServiceName, News>,
}

impl Mail {
    fn note(&mut self, snapshot: &Arc<Snapshot>, event: &Event) {
        let listens = |pod: &Option<Arc<Pod>>| {
            pod.as_ref().is_some_and(|pod| !pod.content.subscriptions.is_empty())
        };
        if listens(&event.before) || listens(&event.after) {
            let answered = self.subscribers.entry(event.key.clone()).or_default();
            if is_registration(event) {
                *answered = Some(Arc::clone(snapshot));
            }
        }
        if let Some(notice) = &event.notice {
            let news = self.services.entry(notice.service.clone()).or_default();
            if news.steps.len() >= RECENT_MAX {
                news.steps.remove(0);
                news.is_partial = true;
            }
            let (before, after) = (event.before.clone(), event.after.clone());
            let trace = event.trace.clone();
            if trace.is_recorded() {
                news.trace = trace.clone();
            }
            news.steps.push(Step { kind: notice.kind, before, after, trace });
        }
    }
}

/// Whether the pod registered, in a way that changed something.
fn is_registration(event: &Event) -> bool {
    match (&event.before, &event.after) {
        (Some(before), Some(after)) => {
            before.registration_id != after.registration_id
                || !Arc::ptr_eq(&before.content, &after.content)
        }
        (None, Some(_)) => true,
        (_, None) => false,
    }
}

/// The hand-over. Written by the writer, emptied by the dispatch.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    mail: Mutex<Mail>,
    bell: Notify,
}

impl Mailbox {
    /// Takes everything out.
    pub(super) fn take(&self) -> Mail {
        std::mem::take(&mut *self.lock())
    }

    /// Returns when something was put in since the last return.
    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Mail> {
        // Nothing in here panics between two writes that belong together.
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Mailbox {
    fn loaded(&self, snapshot: &Arc<Snapshot>) {
        *self.lock() = Mail {
            turn: Some(Turn::Loaded),
            snapshot: Some(Arc::clone(snapshot)),
            ..Mail::default()
        };
        self.bell.notify_one();
    }

    fn published(&self, snapshot: &Arc<Snapshot>, events: &[Event]) {
        let mut mail = self.lock();
        for event in events {
            mail.note(snapshot, event);
        }
        mail.snapshot = Some(Arc::clone(snapshot));
        drop(mail);
        self.bell.notify_one();
    }

    fn lost(&self) {
        *self.lock() = Mail { turn: Some(Turn::Lost), ..Mail::default() };
        self.bell.notify_one();
    }
}
