//! How others hear of what was published: health to schedule checks, notify to tell subscribers.

use std::borrow::Cow;
use std::sync::Arc;

use governance_domain::{Notice, Pod, PodKey, Revision};

use super::Snapshot;
use crate::telemetry::traces::TraceContext;

/// One published change.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its revision; events come in this order.
    pub revision: Revision,
    /// Whom it concerns.
    pub key: PodKey,
    /// The pod before, if it was there.
    pub before: Option<Arc<Pod>>,
    /// The pod after, if it still is.
    pub after: Option<Arc<Pod>>,
    /// What subscribers are owed, if they see a difference.
    pub notice: Option<Notice>,
    /// Why, in an operator's words.
    pub reason: Cow<'static, str>,
    /// Its place in a trace: what comes of it belongs there.
    pub trace: TraceContext,
}

/// Somebody who follows what is published. Called by the writer, between two batches: it must
/// return at once and never wait.
pub trait Observer: Send + Sync {
    /// The state was read from the store and published whole: at the start, after a take-over.
    fn loaded(&self, snapshot: &Arc<Snapshot>);

    /// These changes were published, in order; `snapshot` contains them all.
    fn published(&self, snapshot: &Arc<Snapshot>, events: &[Event]);

    /// This manager is no longer the one that writes: stop acting for it.
    fn lost(&self);
}

/// Somebody who can check a pod before its turn. Called by request handlers: it must return at
/// once, bound how often one pod is checked, and may forget.
pub trait CheckSoon: Send + Sync {
    /// There is a reason to believe that the pod's status is out of date.
    fn check_soon(&self, key: &PodKey);
}
