//! Between the writer and the watchers. The writer leaves its changes in the ring and rings a bell,
//! no more; the hub's own task then looks whom they concern, writes each change once for all who
//! watch everything, and wakes those who have something to read and nobody else.
//!
//! Not here: what a watcher is sent, and how far it is (`stream`).

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use governance_domain::Revision;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::ring::{CHANGES_MAX, Change, Ring};
use super::seat::Seat;
use super::text::{self, CHANGE_SIZE};
use crate::engine::{Event, Observer, Snapshot};

/// Watchers at once; more are turned away.
pub(super) const WATCHERS_MAX: usize = 5_000;
/// Between two rounds: what comes in the meantime is sent together.
const ROUND_PAUSE: Duration = Duration::from_millis(5);
/// Changes that are taken out of the ring, or looked through, at a time.
pub(super) const CHANGES_AT_ONCE: usize = 64;
/// Bytes of shared text that are kept for those who watch everything; who is further behind has
/// its text written for it alone.
const TEXT_MAX: usize = 2 * 1024 * 1024;

/// What the writer and the watchers share.
#[derive(Debug)]
pub(super) struct Hub {
    ring: Mutex<Ring>,
    bell: Notify,
    seats: Mutex<Seats>,
    texts: Mutex<Texts>,
    /// Up to here every change was looked at and everybody concerned has a mark.
    routed: AtomicU64,
    /// Counts the times that the state was read anew, each of which makes all that was sent void.
    generation: AtomicU64,
    /// False from when this manager lost the right to write until it read its state again.
    is_active: AtomicBool,
    is_closed: AtomicBool,
    /// Of these, how many watch everything.
    unfiltered: AtomicUsize,
    /// Watchers that were cut off because they were too slow.
    pub(super) cut_off: AtomicU64,
}

#[derive(Debug, Default)]
struct Seats {
    all: Vec<Arc<Seat>>,
    by_service: HashMap<Box<str>, Vec<Arc<Seat>>>,
    count: usize,
}

/// The newest changes as text, in pieces that follow one another.
#[derive(Debug, Default)]
struct Texts {
    pieces: VecDeque<Piece>,
    size: usize,
}

/// The changes after `from` and up to `upto`.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    from: Revision,
    pub(super) upto: Revision,
    pub(super) text: Bytes,
}

/// There is no room for one more.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMany;

impl Hub {
    pub(super) fn new(changes_max: usize) -> Self {
        Self {
            ring: Mutex::new(Ring::new(Revision::from_u64(0), changes_max)),
            bell: Notify::new(),
            seats: Mutex::default(),
            texts: Mutex::default(),
            routed: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            is_active: AtomicBool::new(true),
            is_closed: AtomicBool::new(false),
            unfiltered: AtomicUsize::new(0),
            cut_off: AtomicU64::new(0),
        }
    }

    pub(super) fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn texts(&self) -> MutexGuard<'_, Texts> {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn routed(&self) -> Revision {
        Revision::from_u64(self.routed.load(Ordering::Acquire))
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn is_active(&self) -> bool {
        self.is_active.load(Ordering::Acquire)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// How many watch now.
    pub(super) fn count(&self) -> usize {
        self.seats().count
    }

    pub(super) fn sit_down(&self, service: Option<Box<str>>) -> Result<Arc<Seat>, TooMany> {
        let mut seats = self.seats();
        if seats.count >= WATCHERS_MAX {
            return Err(TooMany);
        }
        seats.count += 1;
        let seat = Arc::new(Seat::new(service));
        seats.row(&seat).push(Arc::clone(&seat));
        self.unfiltered.store(seats.all.len(), Ordering::Release);
        Ok(seat)
    }

    pub(super) fn stand_up(&self, seat: &Arc<Seat>) {
        let mut seats = self.seats();
        let row = seats.row(seat);
        let before = row.len();
        row.retain(|other| !Arc::ptr_eq(other, seat));
        let (gone, is_empty) = (before - row.len(), row.is_empty());
        seats.count -= gone;
        if let (Some(service), true) = (&seat.service, is_empty) {
            seats.by_service.remove(service);
        }
        self.unfiltered.store(seats.all.len(), Ordering::Release);
    }

    /// The shared text of what comes after `seen`, if it is still there and begins just there.
    pub(super) fn piece_after(&self, seen: Revision) -> Option<Piece> {
        let texts = self.texts();
        let position = texts.pieces.binary_search_by_key(&seen, |piece| piece.from).ok()?;
        texts.pieces.get(position).cloned()
    }

    /// Where the piece of text ends that contains what comes after `seen`, if there is one.
    pub(super) fn piece_end_after(&self, seen: Revision) -> Option<Revision> {
        let texts = self.texts();
        let position = texts.pieces.partition_point(|piece| piece.upto <= seen);
        texts.pieces.get(position).map(|piece| piece.upto)
    }

    /// Tells watchers of what was published, until it is told to stop; then ends all streams.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.bell.notified() => {}
            }
            while self.route_some() {
                tokio::task::yield_now().await;
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(ROUND_PAUSE) => {}
            }
        }
        self.is_closed.store(true, Ordering::Release);
        self.wake_all();
    }

    /// Routes the next few changes; false if there was none.
    fn route_some(&self) -> bool {
        let generation = self.generation();
        let from = self.routed();
        let changes: Vec<Change> = {
            let ring = self.ring();
            ring.between(from, ring.head()).take(CHANGES_AT_ONCE).cloned().collect()
        };
        let Some(upto) = changes.last().map(|change| change.revision) else { return false };
        if self.unfiltered.load(Ordering::Acquire) > 0 {
            self.keep_text(from, upto, &changes);
        }
        let concerned = self.mark(&changes);
        if generation == self.generation() {
            let _ = self.routed.compare_exchange(
                from.as_u64(),
                upto.as_u64(),
                Ordering::AcqRel,
                Ordering::Acquire,
            );
        }
        for seat in concerned {
            seat.wake();
        }
        true
    }

    fn keep_text(&self, from: Revision, upto: Revision, changes: &[Change]) {
        let mut text = Vec::with_capacity(changes.len() * CHANGE_SIZE);
        for change in changes {
            text::write_change(&mut text, change);
        }
        self.texts().push(Piece { from, upto, text: text.into() });
    }

    /// Marks whom these changes concern, and says who that is.
    fn mark(&self, changes: &[Change]) -> Vec<Arc<Seat>> {
        let seats = self.seats();
        let mut concerned = Vec::new();
        if let Some(first) = changes.first() {
            for seat in &seats.all {
                seat.note(first.revision);
                concerned.push(Arc::clone(seat));
            }
        }
        if seats.by_service.is_empty() {
            return concerned;
        }
        let mut last = "";
        for change in changes {
            let Some(row) = seats.by_service.get(change.service()) else { continue };
            for seat in row {
                seat.note(change.revision);
            }
            if last != change.service() {
                concerned.extend(row.iter().cloned());
            }
            last = change.service();
        }
        concerned
    }

    fn wake_all(&self) {
        let seats = self.seats();
        for seat in seats.all.iter().chain(seats.by_service.values().flatten()) {
            seat.wake();
        }
    }
}

impl Seats {
    fn row(&mut self, seat: &Seat) -> &mut Vec<Arc<Seat>> {
        match &seat.service {
            None => &mut self.all,
            Some(service) => self.by_service.entry(service.clone()).or_default(),
        }
    }
}

impl Texts {
    fn push(&mut self, piece: Piece) {
        if self.pieces.back().is_some_and(|last| last.upto != piece.from) {
            self.clear(); // nobody watched everything in between
        }
        self.size += piece.text.len();
        self.pieces.push_back(piece);
        while self.size > TEXT_MAX
            && let Some(oldest) = self.pieces.pop_front()
        {
            self.size -= oldest.text.len();
        }
    }

    fn clear(&mut self) {
        self.pieces.clear();
        self.size = 0;
    }
}

impl Observer for Hub {
    fn loaded(&self, snapshot: &Arc<Snapshot>) {
        let base = snapshot.revision();
        {
            let mut ring = self.ring();
            *ring = Ring::new(base, ring.max());
            self.generation.fetch_add(1, Ordering::AcqRel);
            self.routed.store(base.as_u64(), Ordering::Release);
        }
        self.texts().clear();
        self.is_active.store(true, Ordering::Release);
        self.wake_all();
    }

    fn published(&self, _snapshot: &Arc<Snapshot>, events: &[Event]) {
        self.ring().extend(events);
        self.bell.notify_one();
    }

    fn lost(&self) {
        self.is_active.store(false, Ordering::Release);
        self.wake_all();
    }
}

/// The hub with as much memory as it has in production.
impl Default for Hub {
    fn default() -> Self {
        Self::new(CHANGES_MAX)
    }
}
