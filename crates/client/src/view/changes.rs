//! What changed in the view, for those who keep something of their own by it.
//!
//! A reader holds the state it has seen; what it gets next is the difference to the newest. So a
//! slow reader costs no queue and misses no outcome: what came and went meanwhile is not told, and
//! several updates of a pod become one.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::{BoxStream, Stream, StreamExt as _, unfold};
use tokio::sync::watch;

use super::feed::{Feed, Snapshot};
use super::group::Group;
use super::pod::Pod;

/// A pod came, changed or left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A pod that was not there.
    Created(Arc<Pod>),
    /// Its status or its endpoints are others.
    Updated {
        /// As this reader last saw it.
        before: Arc<Pod>,
        /// As it is.
        now: Arc<Pod>,
    },
    /// It is gone; this is how it was.
    Removed(Arc<Pod>),
}

impl Change {
    /// The pod: as it is, or if it is gone, as it was.
    pub fn pod(&self) -> &Arc<Pod> {
        match self {
            Self::Created(pod) | Self::Removed(pod) | Self::Updated { now: pod, .. } => pod,
        }
    }
}

/// The changes of a view, beginning with a `Created` for every pod that is there already. Never
/// falls behind: see [`View::changes`](super::View::changes). Ends with the view.
pub struct Changes(BoxStream<'static, Change>);

impl Changes {
    pub(super) fn of(feed: &Arc<Feed>) -> Self {
        let mut versions = feed.versions();
        versions.mark_changed();
        let reader = Reader {
            feed: Arc::downgrade(feed),
            versions,
            seen: Arc::default(),
            pending: VecDeque::new(),
        };
        Self(unfold(reader, Reader::next).boxed())
    }

    /// Waits for the next change; `None` when the view is gone. Also a [`Stream`].
    pub async fn next(&mut self) -> Option<Change> {
        self.0.next().await
    }
}

impl Stream for Changes {
    type Item = Change;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Change>> {
        self.0.poll_next_unpin(context)
    }
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes").finish_non_exhaustive()
    }
}

struct Reader {
    /// Weak, so that a reader that waits sees the end of the view.
    feed: std::sync::Weak<Feed>,
    versions: watch::Receiver<u64>,
    seen: Arc<Snapshot>,
    /// Part of the last difference; at most two for each pod of the view.
    pending: VecDeque<Change>,
}

impl Reader {
    async fn next(mut self) -> Option<(Change, Self)> {
        loop {
            if let Some(change) = self.pending.pop_front() {
                return Some((change, self));
            }
            self.versions.changed().await.ok()?;
            let now = self.feed.upgrade()?.snapshot_owned();
            self.pending = difference(&self.seen, &now);
            self.seen = now;
        }
    }
}

fn difference(before: &Snapshot, now: &Snapshot) -> VecDeque<Change> {
    let mut found = VecDeque::new();
    for (service, group) in &before.groups {
        let newer = now.groups.get(service);
        if !newer.is_some_and(|newer| Arc::ptr_eq(newer, group)) {
            removed(group, newer.map(Arc::as_ref), &mut found);
        }
    }
    for (service, group) in &now.groups {
        let older = before.groups.get(service);
        if !older.is_some_and(|older| Arc::ptr_eq(older, group)) {
            created_and_updated(older.map(Arc::as_ref), group, &mut found);
        }
    }
    found
}

fn removed(before: &Group, now: Option<&Group>, found: &mut VecDeque<Change>) {
    let is_gone = |pod: &&Arc<Pod>| now.is_none_or(|now| now.pod(pod.name()).is_none());
    found.extend(before.pods.iter().filter(is_gone).cloned().map(Change::Removed));
}

fn created_and_updated(before: Option<&Group>, now: &Group, found: &mut VecDeque<Change>) {
    for pod in &now.pods {
        let now = Arc::clone(pod);
        match before.and_then(|before| before.pod(pod.name())) {
            None => found.push_back(Change::Created(now)),
            Some(before) if before == pod => {}
            Some(before) => {
                found.push_back(Change::Updated { before: Arc::clone(before), now });
            }
        }
    }
}
