//! How many deliveries may be in flight, so that neither memory nor descriptors run out and those
//! that hang hold no place that a healthy subscriber waits for.
//!
//! A delivery begins in one of two shares: that of subscribers whose last attempt got an answer
//! (or who never were tried), or that of suspects. One of the former that takes longer than
//! [`PATIENCE`] moves to a third share, so that many that hang for the first time at the same
//! moment block the first share for no longer than that, up to [`Limits::slow`] of them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use governance_domain::PodKey;
use tokio::time::Instant;

use super::limits::Limits;

/// Bytes of the lists of fresh deliveries. More would not arrive sooner: everything that is ready to be written
/// stands in the way of what else the same threads do, registrations above all.
const FRESH_BYTES_MAX: usize = 2 * 1024 * 1024;
/// What is normal for a delivery nearby.
const PATIENCE: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Share {
    Fresh,
    Slow,
    Suspect,
}

/// One delivery.
#[derive(Debug)]
struct Place {
    key: PodKey,
    share: Share,
    bytes: usize,
}

/// What is in flight.
#[derive(Debug)]
pub(super) struct Slots {
    limits: Limits,
    flights: BTreeMap<u64, Place>,
    /// One ticket per subscriber: never two deliveries to one.
    busy: BTreeMap<PodKey, u64>,
    /// Fresh ones, oldest first; some may have ended.
    fresh: VecDeque<(Instant, u64)>,
    fresh_count: usize,
    fresh_bytes: usize,
    slow_count: usize,
    suspect_count: usize,
}

impl Slots {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            flights: BTreeMap::new(),
            busy: BTreeMap::new(),
            fresh: VecDeque::new(),
            fresh_count: 0,
            fresh_bytes: 0,
            slow_count: 0,
            suspect_count: 0,
        }
    }

    /// Nothing is in flight any more.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.limits);
    }

    pub(super) fn len(&self) -> usize {
        self.flights.len()
    }

    /// Whether another delivery may begin.
    pub(super) fn has_room(&self, is_suspect: bool) -> bool {
        if is_suspect {
            self.suspect_count < self.limits.suspects
        } else {
            self.fresh_count < self.limits.fresh && self.fresh_bytes < FRESH_BYTES_MAX
        }
    }

    /// Whether a delivery to this subscriber is in flight.
    pub(super) fn is_busy(&self, key: &PodKey) -> bool {
        self.busy.contains_key(key)
    }

    pub(super) fn begin(&mut self, ticket: u64, of: (&PodKey, usize), share: Share, now: Instant) {
        let (key, bytes) = of;
        self.enter(share, bytes);
        self.flights.insert(ticket, Place { key: key.clone(), share, bytes });
        self.busy.insert(key.clone(), ticket);
        if share == Share::Fresh {
            self.fresh.push_back((now + PATIENCE, ticket));
            if self.fresh.len() > 4 * self.limits.fresh {
                // While no more can move, those that ended collect behind one that hangs.
                self.fresh.retain(|(_, ticket)| self.flights.contains_key(ticket));
            }
        }
    }

    /// The delivery ended, however; returns to whom it was.
    pub(super) fn end(&mut self, ticket: u64) -> Option<PodKey> {
        let place = self.flights.remove(&ticket)?;
        self.leave(place.share, place.bytes);
        self.busy.remove(&place.key);
        Some(place.key)
    }

    /// Moves those that take long out of the share of the fresh ones, as far as there is room.
    pub(super) fn age(&mut self, now: Instant) {
        while let Some(&(until, ticket)) = self.fresh.front() {
            let has_ended = !self.flights.contains_key(&ticket);
            if !has_ended && (until > now || self.slow_count >= self.limits.slow) {
                return;
            }
            self.fresh.pop_front();
            if let Some(place) = self.flights.get_mut(&ticket) {
                place.share = Share::Slow;
                let bytes = place.bytes;
                self.leave(Share::Fresh, bytes);
                self.enter(Share::Slow, bytes);
            }
        }
    }

    /// When [`Slots::age`] has something to do again.
    pub(super) fn next(&self) -> Option<Instant> {
        if self.slow_count >= self.limits.slow {
            return None;
        }
        self.fresh.front().map(|(until, _)| *until)
    }

    fn enter(&mut self, share: Share, bytes: usize) {
        match share {
            Share::Fresh => {
                self.fresh_count += 1;
                self.fresh_bytes += bytes;
            }
            Share::Slow => self.slow_count += 1,
            Share::Suspect => self.suspect_count += 1,
        }
    }

    fn leave(&mut self, share: Share, bytes: usize) {
        match share {
            Share::Fresh => {
                self.fresh_count -= 1;
                self.fresh_bytes -= bytes;
            }
            Share::Slow => self.slow_count -= 1,
            Share::Suspect => self.suspect_count -= 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use governance_domain::{PodName, ServiceName};

    use super::*;

    const FRESH: usize = 128;

    fn key(number: u64) -> PodKey {
        PodKey::new(ServiceName::stored("s"), PodName::stored(&number.to_string()))
    }

    #[tokio::test(start_paused = true)]
    async fn places_come_back_when_deliveries_end_or_take_long() {
        let begun = Instant::now();
        let mut slots = Slots::new(Limits::default());
        for ticket in 0..FRESH as u64 {
            assert!(slots.has_room(false));
            slots.begin(ticket, (&key(ticket), 10), Share::Fresh, begun);
        }
        assert!(!slots.has_room(false) && slots.has_room(true) && slots.is_busy(&key(0)));
        assert_eq!(slots.end(0), Some(key(0)));
        assert!(slots.has_room(false) && !slots.is_busy(&key(0)));
        slots.begin(1_000, (&key(0), FRESH_BYTES_MAX), Share::Fresh, begun);
        assert_eq!(slots.next(), Some(begun + PATIENCE));
        slots.age(begun + PATIENCE);
        assert_eq!((slots.fresh_count, slots.fresh_bytes, slots.slow_count), (0, 0, FRESH));
        assert_eq!((slots.next(), slots.len()), (None, FRESH));
        slots.begin(2_000, (&key(5_000), FRESH_BYTES_MAX), Share::Fresh, begun);
        assert!(!slots.has_room(false), "one large body is enough");
        for ticket in (1..FRESH as u64).chain([1_000, 2_000]) {
            slots.end(ticket);
        }
        assert_eq!((slots.slow_count, slots.fresh_bytes, slots.len()), (0, 0, 0));
    }
}
