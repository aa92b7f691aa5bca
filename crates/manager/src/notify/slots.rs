//! How many deliveries may be in flight, so that neither memory nor descriptors run out and those
//! that hang hold no place that a healthy subscriber waits for.
//!
//! A delivery begins in one of two shares: that of subscribers whose last attempt got an answer
//! (or who never were tried), or that of suspects. One of the former that takes longer than
//! [`PATIENCE`] moves to a third share, so that many that hang for the first time at the same
//! moment block the first share for no longer than that, up to [`SLOW_MAX`] of them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use governance_domain::PodKey;
use tokio::time::Instant;

/// Deliveries that have just begun, to subscribers that answer. Few, because hundreds that connect
/// at once overflow the queues of those who listen, and a lost packet costs a second.
const FRESH_MAX: usize = 128;
/// Deliveries that take long.
const SLOW_MAX: usize = 2_048;
/// Deliveries to subscribers that did not answer the last time.
const SUSPECT_MAX: usize = 512;
/// What is normal for a delivery nearby.
const PATIENCE: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Share {
    Fresh,
    Slow,
    Suspect,
}

/// What is in flight.
#[derive(Debug, Default)]
pub(super) struct Slots {
    flights: BTreeMap<u64, (PodKey, Share)>,
    /// One ticket per subscriber: never two deliveries to one.
    busy: BTreeMap<PodKey, u64>,
    /// Fresh ones, oldest first; some may have ended.
    fresh: VecDeque<(Instant, u64)>,
    fresh_count: usize,
    slow_count: usize,
    suspect_count: usize,
}

impl Slots {
    pub(super) fn len(&self) -> usize {
        self.flights.len()
    }

    /// Whether another delivery may begin.
    pub(super) fn has_room(&self, is_suspect: bool) -> bool {
        if is_suspect { self.suspect_count < SUSPECT_MAX } else { self.fresh_count < FRESH_MAX }
    }

    /// Whether a delivery to this subscriber is in flight.
    pub(super) fn is_busy(&self, key: &PodKey) -> bool {
        self.busy.contains_key(key)
    }

    pub(super) fn begin(&mut self, ticket: u64, key: &PodKey, is_suspect: bool, now: Instant) {
        let share = if is_suspect { Share::Suspect } else { Share::Fresh };
        *self.count(share) += 1;
        self.flights.insert(ticket, (key.clone(), share));
        self.busy.insert(key.clone(), ticket);
        if share == Share::Fresh {
            self.fresh.push_back((now + PATIENCE, ticket));
            if self.fresh.len() > 4 * FRESH_MAX {
                // While no more can move, those that ended collect behind one that hangs.
                self.fresh.retain(|(_, ticket)| self.flights.contains_key(ticket));
            }
        }
    }

    /// The delivery ended, however; returns to whom it was.
    pub(super) fn end(&mut self, ticket: u64) -> Option<PodKey> {
        let (key, share) = self.flights.remove(&ticket)?;
        *self.count(share) -= 1;
        self.busy.remove(&key);
        Some(key)
    }

    /// Moves those that take long out of the share of the fresh ones, as far as there is room.
    pub(super) fn age(&mut self, now: Instant) {
        while let Some(&(until, ticket)) = self.fresh.front() {
            let has_ended = !self.flights.contains_key(&ticket);
            if !has_ended && (until > now || self.slow_count >= SLOW_MAX) {
                return;
            }
            self.fresh.pop_front();
            if let Some((_, share)) = self.flights.get_mut(&ticket) {
                *share = Share::Slow;
                self.fresh_count -= 1;
                self.slow_count += 1;
            }
        }
    }

    /// When [`Slots::age`] has something to do again.
    pub(super) fn next(&self) -> Option<Instant> {
        if self.slow_count >= SLOW_MAX {
            return None;
        }
        self.fresh.front().map(|(until, _)| *until)
    }

    fn count(&mut self, share: Share) -> &mut usize {
        match share {
            Share::Fresh => &mut self.fresh_count,
            Share::Slow => &mut self.slow_count,
            Share::Suspect => &mut self.suspect_count,
        }
    }
}
