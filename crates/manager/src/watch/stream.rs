//! What one watcher is sent: the state as of one revision, then every change after it, in order and
//! once; now and then how far that is. It holds a place in the sequence of changes and at most one
//! piece of text; everything else is shared.
//!
//! A watcher that reads slowly is simply further behind. When what it needs next was forgotten, the
//! stream ends, and its last event says why.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use governance_domain::{Pod, PodKey, Revision};
use tokio::time::{Instant, Sleep, sleep_until};

use super::hub::{CHANGES_AT_ONCE, Hub};
use super::seat::Seat;
use super::text::{self, CHANGE_SIZE, Ending};
use crate::engine::{EngineHandle, Snapshot};

/// How often a watcher is told how far it is. Also keeps the connection from idling.
pub(super) const BOOKMARK_PAUSE: Duration = Duration::from_secs(10);
/// A watcher that took nothing for so long does not read: the next piece would be a bookmark.
const STALLED: Duration = Duration::from_secs(15);
/// Pods in one page of a snapshot.
const PAGE_PODS: usize = 32;
/// Changes that are looked through for one service before others get their turn.
const SEARCHED_AT_ONCE: usize = 4_096;

/// A stream of events for one watcher.
pub struct Stream {
    hub: Arc<Hub>,
    engine: EngineHandle,
    seat: Arc<Seat>,
    phase: Phase,
    /// Everything up to here was sent, or does not concern this watcher.
    seen: Revision,
    /// There may be changes for it in the ring after `seen`. At first there always may: what was
    /// routed before this watcher sat down was not marked for it.
    is_behind: bool,
    generation: u64,
    bookmark: Pin<Box<Sleep>>,
    /// When somebody last asked for more: never later than at a bookmark, if the watcher reads.
    asked: Instant,
}

enum Phase {
    /// Nothing was sent yet; the revision that the watcher says to have seen.
    New(Option<Revision>),
    /// Pages follow, those after this pod.
    Snapshot(Arc<Snapshot>, Option<PodKey>),
    Live,
    Ended,
}

/// What to do next.
enum Step {
    Send(Vec<u8>),
    Share(Bytes),
    Again,
    Wait,
}

impl Stream {
    pub(super) fn new(
        hub: Arc<Hub>,
        engine: EngineHandle,
        seat: Arc<Seat>,
        last_seen: Option<Revision>,
    ) -> Self {
        let generation = hub.generation();
        let bookmark = Box::pin(sleep_until(Instant::now() + BOOKMARK_PAUSE));
        let (phase, seen) = (Phase::New(last_seen), Revision::from_u64(0));
        let asked = Instant::now();
        Self { hub, engine, seat, phase, seen, is_behind: true, generation, bookmark, asked }
    }

    /// The next piece of text; none at the end.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.seat.register(context);
        self.asked = Instant::now();
        loop {
            if matches!(self.phase, Phase::Ended) {
                return Poll::Ready(None);
            }
            match self.step() {
                Step::Send(text) => return Poll::Ready(Some(text.into())),
                Step::Share(text) => return Poll::Ready(Some(text)),
                Step::Again => {}
                Step::Wait => break,
            }
        }
        if self.bookmark.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        let mut out = Vec::with_capacity(64);
        text::write_bookmark(&mut out, self.seen);
        let next = Instant::now() + BOOKMARK_PAUSE;
        self.bookmark.as_mut().reset(next);
        // Registers the timer anew; it is not over yet.
        let _ = self.bookmark.as_mut().poll(context);
        Poll::Ready(Some(out.into()))
    }

    fn step(&mut self) -> Step {
        if self.hub.is_closed() {
            return self.end(Ending::ShuttingDown);
        }
        if !self.hub.is_active() {
            return self.end(Ending::NotActive);
        }
        let generation = self.hub.generation();
        if generation == 0 {
            return Step::Wait; // the state is about to be there, and wakes us
        }
        if generation != self.generation && !matches!(self.phase, Phase::New(_)) {
            // The state was read anew: what happened in between is not known change by change.
            return self.begin_snapshot();
        }
        match &mut self.phase {
            Phase::New(last_seen) => match last_seen.take() {
                Some(revision) if self.hub.ring().reaches(revision) => self.resume(revision),
                _ => self.begin_snapshot(),
            },
            Phase::Snapshot(snapshot, after) => {
                let (snapshot, after) = (Arc::clone(snapshot), after.take());
                self.next_page(snapshot, after.as_ref())
            }
            Phase::Live if self.seat.service.is_none() => self.next_of_all(),
            Phase::Live => self.next_of_one(),
            Phase::Ended => Step::Wait,
        }
    }

    fn end(&mut self, ending: Ending) -> Step {
        self.phase = Phase::Ended;
        if ending == Ending::TooSlow {
            self.hub.cut_off.fetch_add(1, Ordering::Relaxed);
        }
        let mut out = Vec::with_capacity(256);
        text::write_ending(&mut out, ending);
        Step::Send(out)
    }

    fn resume(&mut self, revision: Revision) -> Step {
        self.generation = self.hub.generation();
        (self.seen, self.is_behind, self.phase) = (revision, true, Phase::Live);
        // A comment, so that the watcher sees at once that it is connected.
        Step::Send(b": resumed\n\n".to_vec())
    }

    fn begin_snapshot(&mut self) -> Step {
        self.generation = self.hub.generation();
        let snapshot = self.engine.snapshot();
        let count = match &self.seat.service {
            None => snapshot.registry.pod_count(),
            Some(name) => snapshot.registry.service(name).map_or(0, |found| found.pods.len()),
        };
        let mut out = Vec::with_capacity(256);
        text::write_begin(&mut out, &snapshot, count);
        self.phase = Phase::Snapshot(snapshot, None);
        Step::Send(out)
    }

    fn next_page(&mut self, snapshot: Arc<Snapshot>, after: Option<&PodKey>) -> Step {
        let pods = page(&snapshot, self.seat.service.as_deref(), after);
        let mut out = Vec::with_capacity(pods.len() * crate::wire::POD_SIZE + 256);
        if !pods.is_empty() {
            text::write_page(&mut out, pods.iter().copied());
        }
        let last = pods.last().filter(|_| pods.len() == PAGE_PODS).map(|pod| pod.key.clone());
        if last.is_some() {
            self.phase = Phase::Snapshot(snapshot, last);
        } else {
            text::write_end(&mut out, &snapshot);
            (self.seen, self.is_behind) = (snapshot.revision(), true);
            self.phase = Phase::Live;
        }
        Step::Send(out)
    }

    /// For a watcher of everything: the text that all of them share, or its own up to where that
    /// begins.
    fn next_of_all(&mut self) -> Step {
        if self.is_behind {
            return self.search(None);
        }
        let routed = self.hub.routed();
        if self.seen >= routed {
            return Step::Wait;
        }
        if let Some(piece) = self.hub.piece_after(self.seen) {
            self.seen = piece.upto;
            return Step::Share(piece.text);
        }
        let end = self.hub.piece_end_after(self.seen);
        self.search(Some(end.map_or(routed, |end| end.min(routed))))
    }

    /// For a watcher of one service: looks for its changes only where some were marked.
    fn next_of_one(&mut self) -> Step {
        // In this order: what was routed before the mark is looked at had its marks set.
        let routed = self.hub.routed();
        if let Some(first) = self.seat.take() {
            if !self.is_behind {
                self.seen = self.seen.max(Revision::from_u64(first.as_u64() - 1));
            }
            self.is_behind = true;
        }
        if self.is_behind {
            return self.search(None);
        }
        self.seen = self.seen.max(routed);
        Step::Wait
    }

    /// Looks through the ring from `seen` on, up to `upto` or to its end, and writes what concerns
    /// this watcher.
    fn search(&mut self, upto: Option<Revision>) -> Step {
        let mut out = Vec::new();
        {
            let ring = self.hub.ring();
            if ring.has_passed(self.seen) {
                drop(ring);
                return self.end(Ending::TooSlow);
            }
            let end = upto.unwrap_or_else(|| ring.head());
            let mut seen = end.max(self.seen);
            let mut written = 0;
            for (searched, change) in ring.between(self.seen, end).enumerate() {
                if written == CHANGES_AT_ONCE || searched == SEARCHED_AT_ONCE {
                    break;
                }
                seen = change.revision;
                if self.seat.service.as_deref().is_none_or(|name| name == change.service()) {
                    out.reserve(CHANGE_SIZE);
                    text::write_change(&mut out, change);
                    written += 1;
                }
            }
            self.is_behind = upto.is_none() && seen < end;
            self.seen = seen;
        }
        if out.is_empty() { Step::Again } else { Step::Send(out) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // Its connection took nothing any more and was closed: nobody could be told why.
        let is_stalled = self.asked.elapsed() > STALLED;
        if is_stalled && !matches!(self.phase, Phase::Ended) {
            self.hub.cut_off.fetch_add(1, Ordering::Relaxed);
            tracing::debug!("a watcher that read nothing for long was cut off");
        }
        self.hub.stand_up(&self.seat);
    }
}

/// The next pods of a snapshot.
fn page<'s>(
    snapshot: &'s Snapshot,
    service: Option<&str>,
    after: Option<&'s PodKey>,
) -> Vec<&'s Arc<Pod>> {
    let (from_service, from_pod) =
        after.map_or(("", ""), |key| (key.service.as_str(), key.pod.as_str()));
    let fresh = |pod: &&Arc<Pod>| after != Some(&pod.key);
    match service {
        None => {
            let pods = snapshot.registry.pods_from(from_service, from_pod);
            pods.filter(fresh).take(PAGE_PODS).collect()
        }
        Some(name) => {
            let found = snapshot.registry.service(name);
            let pods = found.into_iter().flat_map(|found| found.pods.range_from(from_pod));
            pods.filter(fresh).take(PAGE_PODS).collect()
        }
    }
}
