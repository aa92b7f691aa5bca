//! All pods that are checked, and the two queues they wait in.
//!
//! A pod waits under the time of its next attempt; when that has come it is ready, under the time
//! of its last one. So, when there are more pods than places, who was not asked for longest is
//! next, and all are asked equally often, wherever their phases lie.
//!
//! Invariants: each pod sits in exactly the seat that its entry says; the brake's sums are those of
//! all entries. Both are kept by [`Roster::alter`], the only way to change an entry.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use governance_domain::{PodKey, Status};
use hashbrown::HashTable;

use super::brake::{Brake, Jam, Weight};
use super::entry::{Class, Entry};
use super::limits::Places;
use super::tick::Tick;

/// The pods by slot, by key and by the time of their next attempt.
pub(super) struct Roster {
    places: Places,
    /// By slot; none where a pod was forgotten.
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    /// Slots by the hash of the pod's key.
    index: HashTable<u32>,
    sound: Queue,
    suspect: Queue,
    brake: Brake,
}

/// The pods of one class.
#[derive(Debug, Default, PartialEq, Eq)]
struct Queue {
    /// By the time of the next attempt.
    waiting: BTreeSet<(Tick, u32)>,
    /// By the time of the last attempt.
    ready: BTreeSet<(Tick, u32)>,
    /// How many are being asked.
    probing: usize,
}

/// Where a pod sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seat {
    Waiting(Tick),
    Ready(Tick),
    Probing,
}

impl Seat {
    fn of(entry: &Entry) -> Self {
        if entry.doing.is_attempt() {
            Self::Probing
        } else if entry.is_ready {
            Self::Ready(entry.asked)
        } else {
            Self::Waiting(entry.wake)
        }
    }
}

impl Queue {
    fn enter(&mut self, slot: u32, seat: Seat) {
        match seat {
            Seat::Probing => self.probing += 1,
            Seat::Ready(asked) => drop(self.ready.insert((asked, slot))),
            Seat::Waiting(wake) => drop(self.waiting.insert((wake, slot))),
        }
    }

    fn leave(&mut self, slot: u32, seat: Seat) {
        match seat {
            Seat::Probing => self.probing -= 1,
            Seat::Ready(asked) => drop(self.ready.remove(&(asked, slot))),
            Seat::Waiting(wake) => drop(self.waiting.remove(&(wake, slot))),
        }
    }

    /// Who waited until now.
    fn awake(&self, now: Tick) -> Option<u32> {
        self.waiting.first().filter(|(wake, _)| *wake <= now).map(|(_, slot)| *slot)
    }
}

impl Roster {
    pub(super) fn new(places: Places) -> Self {
        Self {
            places,
            entries: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            sound: Queue::default(),
            suspect: Queue::default(),
            brake: Brake::default(),
        }
    }

    /// Who is to be asked next, of those that are ready and have a place.
    pub(super) fn next_ready(&mut self, now: Tick) -> Option<u32> {
        while let Some(slot) = self.sound.awake(now).or_else(|| self.suspect.awake(now)) {
            self.alter(slot, |entry| entry.is_ready = true);
        }
        let heads = self.queues_with_places().filter_map(|queue| queue.ready.first());
        heads.min().map(|(_, slot)| *slot)
    }

    /// When somebody will be ready who has a place; the past, if somebody is.
    pub(super) fn next_wake(&self) -> Option<Tick> {
        let wake = |queue: &Queue| match queue.ready.first() {
            Some(_) => Some(Tick::default()),
            None => queue.waiting.first().map(|(wake, _)| *wake),
        };
        self.queues_with_places().filter_map(wake).min()
    }

    fn queues_with_places(&self) -> impl Iterator<Item = &Queue> {
        let has_place = self.in_flight() < self.places.all;
        let has_suspect_place = self.suspect.probing < self.places.suspects;
        let sound = has_place.then_some(&self.sound);
        let suspect = (has_place && has_suspect_place).then_some(&self.suspect);
        sound.into_iter().chain(suspect)
    }

    /// Attempts under way.
    pub(super) fn in_flight(&self) -> usize {
        self.sound.probing + self.suspect.probing
    }

    /// When somebody was due who is still not asked.
    pub(super) fn overdue(&self) -> Option<Tick> {
        let ready =
            [&self.sound, &self.suspect].into_iter().filter_map(|queue| queue.ready.first());
        ready.filter_map(|(_, slot)| self.entry(*slot)).map(|entry| entry.due).min()
    }

    /// Lets the brake look back, once an interval.
    pub(super) fn look_back(&mut self) {
        let is_engaged = self.jam().is_some();
        for entry in self.entries.iter_mut().flatten() {
            let is_healthy = entry.streak.status() == Status::Healthy;
            entry.past.turn(is_healthy, is_engaged);
        }
        let Self { brake, entries, .. } = self;
        brake.recount(entries.iter().flatten().map(Weight::of));
    }

    /// Why nothing is removed, if so.
    pub(super) fn jam(&self) -> Option<Jam> {
        self.brake.jam()
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = u32> {
        self.index.iter().copied()
    }

    /// Changes an entry and keeps all that depends on it.
    pub(super) fn alter<R>(
        &mut self,
        slot: u32,
        change: impl FnOnce(&mut Entry) -> R,
    ) -> Option<R> {
        let entry = self.entries.get_mut(slot as usize)?.as_mut()?;
        let (class, seat, weight) = (entry.class, Seat::of(entry), Weight::of(entry));
        let (doing, wake) = (entry.doing, entry.wake);
        let result = change(entry);
        if (doing, wake) != (entry.doing, entry.wake) {
            entry.is_ready = false;
        }
        // While an attempt is under way it counts as what it was begun as.
        if !entry.doing.is_attempt() {
            entry.class = entry.class_now();
        }
        let (new_class, new_seat) = (entry.class, Seat::of(entry));
        self.brake.change(weight, Weight::of(entry));
        if (class, seat) != (new_class, new_seat) {
            self.queue(class).leave(slot, seat);
            self.queue(new_class).enter(slot, new_seat);
        }
        Some(result)
    }

    fn queue(&mut self, class: Class) -> &mut Queue {
        match class {
            Class::Sound => &mut self.sound,
            Class::Suspect => &mut self.suspect,
        }
    }

    pub(super) fn insert(&mut self, mut entry: Entry) {
        entry.wake = entry.due;
        entry.class = entry.class_now();
        let (class, seat, hash) = (entry.class, Seat::of(&entry), hash(&entry.key));
        self.brake.change(Weight::default(), Weight::of(&entry));
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.entries.push(None);
                u32::try_from(self.entries.len() - 1).expect("far fewer pods than 2^32")
            }
        };
        if let Some(place) = self.entries.get_mut(slot as usize) {
            *place = Some(entry);
        }
        self.queue(class).enter(slot, seat);
        let entries = &self.entries;
        self.index.insert_unique(hash, slot, |slot| hash_of(entries, *slot));
    }

    /// Frees the slot of a pod that is gone and not being probed.
    pub(super) fn release(&mut self, slot: u32) {
        let Some(entry) = self.entries.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        self.brake.change(Weight::of(&entry), Weight::default());
        self.queue(entry.class).leave(slot, Seat::of(&entry));
        if let Ok(found) = self.index.find_entry(hash(&entry.key), |other| *other == slot) {
            found.remove();
        }
        self.free.push(slot);
    }

    pub(super) fn entry(&self, slot: u32) -> Option<&Entry> {
        self.entries.get(slot as usize)?.as_ref()
    }

    pub(super) fn find(&self, key: &PodKey) -> Option<u32> {
        let is_it = |slot: &u32| self.entry(*slot).is_some_and(|entry| entry.key == *key);
        self.index.find(hash(key), is_it).copied()
    }
}

#[cfg(test)]
impl Roster {
    /// Recounts everything and compares.
    pub(super) fn assert_consistent(&self) {
        let entries = || {
            (0_u32..).zip(&self.entries).filter_map(|(slot, entry)| Some((slot, entry.as_ref()?)))
        };
        let (mut sound, mut suspect) = (Queue::default(), Queue::default());
        for (slot, entry) in entries() {
            let queue = if entry.class == Class::Sound { &mut sound } else { &mut suspect };
            queue.enter(slot, Seat::of(entry));
        }
        assert_eq!((&self.sound, &self.suspect), (&sound, &suspect));
        assert_eq!(self.index.len(), entries().count());
        assert!(entries().all(|(slot, entry)| self.find(&entry.key) == Some(slot)));
        let mut recounted = Brake::default();
        recounted.recount(entries().map(|(_, entry)| Weight::of(entry)));
        assert_eq!(self.brake, recounted);
    }
}

/// The same in every process, so that a pod keeps its phase over restarts.
pub(super) fn hash(key: &PodKey) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

fn hash_of(entries: &[Option<Entry>], slot: u32) -> u64 {
    entries.get(slot as usize).and_then(Option::as_ref).map_or(0, |entry| hash(&entry.key))
}
