//! When each pod is checked. Pure: `now` is an argument, nothing waits, nothing is sent.
//!
//! Each pod has a phase, the hash of its key within the interval, and is checked when that comes
//! round; phases never move, so nothing drifts. A pod that waits stands in an ordered queue under
//! the time of its next attempt; a pod whose attempt is under way stands in none, which is why
//! there are never two. Removed pods are forgotten, at the latest when their attempt ends.
//!
//! Invariants: a pod is in the queue of its class, under `wake`, exactly while it is not being
//! probed; `probing` counts those that are; the brake's sums are those of all entries. All three
//! are kept by [`Schedule::alter`], the only way to change an entry.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use governance_domain::{
    Content, Finding, Pod, PodKey, RegistrationId, Status, Step, Streak, StreakRules, Timestamp,
};
use hashbrown::HashTable;

use super::brake::{Brake, Jam, Past, Weight};
use super::entry::{Change, Class, Doing, Entry};
use super::lag::Lag;
use super::limits::{Places, Rhythm};
use super::reason::{Attempt, Reason};

/// How long a pod that was never healthy is checked more often.
const FIRST_MINUTE: Duration = Duration::from_mins(1);
/// At most one check of a pod in this time is made on request.
const HASTE_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause, in doublings of a second, after an attempt that could not be made.
const OWN_FAULT_DOUBLINGS_MAX: u8 = 5;

/// A moment on the clock of this schedule: microseconds since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tick(u64);

impl Tick {
    pub(super) fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }

    pub(super) fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Names a pod while an attempt is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Slot(u32);

/// An attempt to be made now.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) slot: Slot,
    pub(super) registration_id: RegistrationId,
    pub(super) content: Arc<Content>,
    /// How late the check begins; none when an attempt within a check is repeated.
    pub(super) lag: Option<Duration>,
}

/// An attempt that ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) slot: Slot,
    pub(super) registration_id: RegistrationId,
    /// None: it was stopped, because nobody waits for it any more.
    pub(super) attempt: Option<Attempt>,
}

/// A check that ended, for the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conclusion {
    pub(super) key: PodKey,
    pub(super) registration_id: RegistrationId,
    pub(super) status: Status,
    pub(super) reason: Reason,
    /// It failed so often that it is to be removed, unless the brake holds.
    pub(super) is_removal_due: bool,
}

/// Sums since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
}

/// All pods that are checked.
pub(super) struct Schedule {
    rhythm: Rhythm,
    rules: StreakRules,
    places: Places,
    /// By slot; none where a pod was forgotten.
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    /// Slots by the hash of the pod's key.
    index: HashTable<u32>,
    sound: BTreeSet<(Tick, u32)>,
    suspect: BTreeSet<(Tick, u32)>,
    probing_sound: usize,
    probing_suspect: usize,
    brake: Brake,
    next_turn: Tick,
    /// Attempts that nobody waits for any more.
    unwanted: Vec<Slot>,
    lag: Lag,
    pub(super) sums: Sums,
}

impl Schedule {
    pub(super) fn new(rhythm: Rhythm, rules: StreakRules, places: Places) -> Self {
        Self {
            rhythm,
            rules,
            places,
            entries: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            sound: BTreeSet::new(),
            suspect: BTreeSet::new(),
            probing_sound: 0,
            probing_suspect: 0,
            brake: Brake::default(),
            next_turn: Tick::default().after(rhythm.interval),
            unwanted: Vec::new(),
            lag: Lag::new(),
            sums: Sums::default(),
        }
    }

    /// The state was read whole. Statuses are as stored, and the checks of the first interval come
    /// at each pod's phase. What is known of a registration that is still there is kept.
    pub(super) fn load<'a>(&mut self, pods: impl Iterator<Item = &'a Arc<Pod>>, now: Tick) {
        let mut left: BTreeSet<u32> = self.index.iter().copied().collect();
        for pod in pods {
            if let Some(slot) = self.find(&pod.key) {
                left.remove(&slot);
                self.reload(slot, pod, now);
            } else {
                let entry = self.loaded(pod, now);
                self.insert(entry);
            }
        }
        for slot in left {
            self.forget(slot);
        }
    }

    fn reload(&mut self, slot: u32, pod: &Arc<Pod>, now: Tick) {
        let is_same = self.entry(slot).is_some_and(|entry| {
            entry.streak.registration_id() == pod.registration_id && entry.doing != Doing::Leaving
        });
        if is_same {
            self.alter(slot, |entry| {
                entry.content = Arc::clone(&pod.content);
                if entry.streak.status() != pod.status {
                    entry.streak = Streak::new(pod.registration_id, pod.status);
                }
            });
            return;
        }
        let loaded = self.loaded(pod, now);
        self.alter(slot, |entry| {
            let (doing, class) = (entry.doing.outdated(), entry.class);
            *entry = Entry { doing, class, ..loaded };
        });
        self.stop_attempt(slot);
    }

    /// A pod that was registered before this process began to look.
    fn loaded(&self, pod: &Arc<Pod>, now: Tick) -> Entry {
        let streak = Streak::new(pod.registration_id, pod.status);
        let mut entry = Entry::new(pod.key.clone(), Arc::clone(&pod.content), streak, now);
        entry.past = Past::known(pod.status == Status::Healthy);
        entry.is_veteran = true;
        entry.due = self.next_phase(&pod.key, now);
        entry.wake = entry.due;
        entry
    }

    /// A pod was registered, or what it says of itself changed.
    pub(super) fn put(&mut self, pod: &Arc<Pod>, now: Tick) {
        let Some(slot) = self.find(&pod.key) else {
            let streak = Streak::new(pod.registration_id, Status::Unknown);
            let entry = Entry::new(pod.key.clone(), Arc::clone(&pod.content), streak, now);
            self.insert(entry);
            return;
        };
        let is_same = self.entry(slot).is_some_and(|entry| {
            entry.streak.registration_id() == pod.registration_id && entry.doing != Doing::Leaving
        });
        if is_same {
            self.alter(slot, |entry| entry.content = Arc::clone(&pod.content));
        } else {
            self.renew(slot, pod, now);
        }
    }

    /// Another registration of a known pod: nothing is known of its health, it is checked at once.
    fn renew(&mut self, slot: u32, pod: &Arc<Pod>, now: Tick) {
        self.alter(slot, |entry| {
            let from = entry.streak.status();
            if from != Status::Unknown {
                let (to, reason) = (Status::Unknown, Reason::RegisteredAnew);
                entry.history.note_change(Change { at: pod.registered_at, from, to, reason });
            }
            entry.content = Arc::clone(&pod.content);
            entry.streak = Streak::new(pod.registration_id, Status::Unknown);
            entry.registered = now;
            entry.is_veteran = false;
            (entry.due, entry.wake) = (now, now);
            entry.own_faults = 0;
            entry.is_wanted = false;
            entry.doing = entry.doing.outdated();
        });
        self.stop_attempt(slot);
    }

    /// A pod left.
    pub(super) fn remove(&mut self, key: &PodKey) {
        if let Some(slot) = self.find(key) {
            self.forget(slot);
        }
    }

    /// Nobody is checked any more.
    pub(super) fn clear(&mut self) {
        let slots: Vec<u32> = self.index.iter().copied().collect();
        for slot in slots {
            self.forget(slot);
        }
    }

    fn forget(&mut self, slot: u32) {
        if self.entry(slot).is_some_and(|entry| entry.doing.is_attempt()) {
            self.alter(slot, |entry| entry.doing = Doing::Leaving);
            self.stop_attempt(slot);
        } else {
            self.release(slot);
        }
    }

    fn stop_attempt(&mut self, slot: u32) {
        if self.entry(slot).is_some_and(|entry| entry.doing.is_attempt()) {
            self.unwanted.push(Slot(slot));
        }
    }

    /// Attempts to be stopped. Their end is still to be told by [`Schedule::ended`].
    pub(super) fn take_unwanted(&mut self) -> Vec<Slot> {
        std::mem::take(&mut self.unwanted)
    }

    /// Checks a pod before its turn, at most once a second.
    pub(super) fn check_soon(&mut self, key: &PodKey, now: Tick) {
        let Some(slot) = self.find(key) else { return };
        self.alter(slot, |entry| match entry.doing {
            Doing::Resting => hasten(entry, now),
            // The check under way may have asked before the pod was well.
            Doing::Pausing | Doing::Probing => entry.is_wanted = true,
            Doing::Outdated | Doing::Leaving => {}
        });
    }

    /// The next attempt that is due and has a place, the one that waits for longest first.
    pub(super) fn take_due(&mut self, now: Tick) -> Option<Due> {
        let (wake, slot) = self.head()?;
        if wake > now {
            return None;
        }
        let (mut lag, stretched) = (None, self.rhythm.stretched);
        self.alter(slot, |entry| {
            // An attempt that is repeated for a fault of ours still belongs to a late beginning.
            if entry.doing == Doing::Resting || entry.own_faults > 0 {
                let behind = now.since(entry.due);
                entry.is_late = behind >= stretched;
                lag = Some(behind);
            }
            entry.doing = Doing::Probing;
        });
        if let Some(lag) = lag {
            self.lag.note(now, lag);
        }
        let entry = self.entry(slot)?;
        Some(Due {
            slot: Slot(slot),
            registration_id: entry.streak.registration_id(),
            content: Arc::clone(&entry.content),
            lag,
        })
    }

    /// When [`Schedule::take_due`] will have something; none while nothing waits that has a place.
    pub(super) fn next_wake(&self) -> Option<Tick> {
        self.head().map(|(wake, _)| wake)
    }

    /// The head of the queues that have places.
    fn head(&self) -> Option<(Tick, u32)> {
        if self.in_flight() >= self.places.all {
            return None;
        }
        let sound = self.sound.first();
        let suspect = self.suspect.first().filter(|_| self.probing_suspect < self.places.suspects);
        sound.into_iter().chain(suspect).min().copied()
    }

    /// Attempts under way.
    pub(super) fn in_flight(&self) -> usize {
        self.probing_sound + self.probing_suspect
    }

    /// An attempt ended; what follows from it, if it concludes a check.
    pub(super) fn ended(&mut self, ended: Ended, now: Tick, at: Timestamp) -> Option<Conclusion> {
        let Ended { slot: Slot(slot), registration_id, attempt } = ended;
        let entry = self.entry(slot)?;
        let (phase, doing) = (self.next_phase(&entry.key, now), entry.doing);
        let Some(attempt) = attempt.filter(|_| doing == Doing::Probing) else {
            self.alter(slot, |entry| entry.doing = Doing::Resting);
            if doing == Doing::Leaving {
                self.release(slot);
            }
            return None;
        };
        let (rules, rhythm) = (self.rules, self.rhythm);
        let round = Round { phase, now, at, rules, rhythm };
        let (conclusion, skipped) =
            self.alter(slot, |entry| round.note(entry, registration_id, attempt))?;
        if let Some(conclusion) = &conclusion {
            match conclusion.status {
                Status::Healthy => self.sums.passed += 1,
                Status::Unhealthy | Status::Unknown => self.sums.failed += 1,
            }
        }
        self.sums.skipped += skipped;
        conclusion
    }

    /// Lets the brake look back, once an interval.
    pub(super) fn turn(&mut self, now: Tick) {
        if now < self.next_turn {
            return;
        }
        self.next_turn = now.after(self.rhythm.interval);
        let is_engaged = self.jam().is_some();
        for entry in self.entries.iter_mut().flatten() {
            let is_healthy = entry.streak.status() == Status::Healthy;
            entry.past.turn(is_healthy, is_engaged);
        }
        let Self { brake, entries, .. } = self;
        brake.recount(entries.iter().flatten().map(Weight::of));
    }

    /// When [`Schedule::turn`] is due.
    pub(super) fn next_turn(&self) -> Tick {
        self.next_turn
    }

    /// Why nothing is removed, if so.
    pub(super) fn jam(&self) -> Option<Jam> {
        self.brake.jam()
    }

    /// How many pods are checked.
    pub(super) fn pod_count(&self) -> usize {
        self.index.len()
    }

    /// Median, 99th percentile and maximum of the lateness; the maximum also of those who wait.
    pub(super) fn lag(&mut self, now: Tick) -> [Duration; 3] {
        let [p50, p99, max] = self.lag.figures(now);
        let overdue = [self.sound.first(), self.suspect.first()]
            .into_iter()
            .flatten()
            .map(|(wake, _)| now.since(*wake))
            .max();
        [p50, p99, max.max(overdue.unwrap_or_default())]
    }

    /// What is known of a pod.
    pub(super) fn pod(&self, key: &PodKey) -> Option<&Entry> {
        let slot = self.find(key)?;
        self.entry(slot).filter(|entry| entry.doing != Doing::Leaving)
    }

    /// Changes an entry and keeps all that depends on it.
    fn alter<R>(&mut self, slot: u32, change: impl FnOnce(&mut Entry) -> R) -> Option<R> {
        let entry = self.entries.get_mut(slot as usize)?.as_mut()?;
        let before = (entry.doing.is_attempt(), entry.class, entry.wake, Weight::of(entry));
        let result = change(entry);
        let is_probing = entry.doing.is_attempt();
        let (was_probing, was_class, was_wake, was_weight) = before;
        // While an attempt is under way it counts as what it was begun as.
        if !is_probing {
            entry.class = entry.class_now();
        }
        let (class, wake) = (entry.class, entry.wake);
        self.brake.change(was_weight, Weight::of(entry));
        if (was_probing, was_class, was_wake) != (is_probing, class, wake) {
            self.leave(slot, was_probing, was_class, was_wake);
            self.enter(slot, is_probing, class, wake);
        }
        Some(result)
    }

    fn enter(&mut self, slot: u32, is_probing: bool, class: Class, wake: Tick) {
        let (probing, queue) = self.place(class);
        if is_probing {
            *probing += 1;
        } else {
            queue.insert((wake, slot));
        }
    }

    fn leave(&mut self, slot: u32, was_probing: bool, class: Class, wake: Tick) {
        let (probing, queue) = self.place(class);
        if was_probing {
            *probing -= 1;
        } else {
            queue.remove(&(wake, slot));
        }
    }

    fn place(&mut self, class: Class) -> (&mut usize, &mut BTreeSet<(Tick, u32)>) {
        match class {
            Class::Sound => (&mut self.probing_sound, &mut self.sound),
            Class::Suspect => (&mut self.probing_suspect, &mut self.suspect),
        }
    }

    fn insert(&mut self, mut entry: Entry) {
        entry.wake = entry.due;
        entry.class = entry.class_now();
        let (class, wake, hash) = (entry.class, entry.wake, hash(&entry.key));
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
        self.enter(slot, false, class, wake);
        let entries = &self.entries;
        self.index.insert_unique(hash, slot, |slot| hash_of(entries, *slot));
    }

    /// Frees the slot of a pod that is gone and not being probed.
    fn release(&mut self, slot: u32) {
        let Some(entry) = self.entries.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        self.brake.change(Weight::of(&entry), Weight::default());
        self.leave(slot, false, entry.class, entry.wake);
        if let Ok(found) = self.index.find_entry(hash(&entry.key), |other| *other == slot) {
            found.remove();
        }
        self.free.push(slot);
    }

    fn entry(&self, slot: u32) -> Option<&Entry> {
        self.entries.get(slot as usize)?.as_ref()
    }

    fn find(&self, key: &PodKey) -> Option<u32> {
        let is_it = |slot: &u32| self.entry(*slot).is_some_and(|entry| entry.key == *key);
        self.index.find(hash(key), is_it).copied()
    }

    /// The first moment after `now` that is the pod's turn.
    fn next_phase(&self, key: &PodKey, now: Tick) -> Tick {
        let interval = micros(self.rhythm.interval);
        let phase = hash(key) % interval;
        let behind = (now.0 % interval + interval - phase) % interval;
        Tick(now.0 + interval - behind)
    }
}

/// What is needed to judge the end of an attempt.
struct Round {
    phase: Tick,
    now: Tick,
    at: Timestamp,
    rules: StreakRules,
    rhythm: Rhythm,
}

impl Round {
    /// The conclusion, if the check is over, and how many turns were left out.
    fn note(
        &self,
        entry: &mut Entry,
        registration_id: RegistrationId,
        attempt: Attempt,
    ) -> (Option<Conclusion>, u64) {
        let (finding, reason) = match attempt {
            Attempt::Passed(reason) => (Finding::Passed, reason),
            Attempt::Failed(reason) => (Finding::Failed, reason),
            Attempt::Ours(fault) => {
                (Finding::Inconclusive, Reason::Words(fault.to_string().into()))
            }
        };
        if finding != Finding::Passed {
            entry.history.note_failure(self.at, reason.clone());
        }
        let from = entry.streak.status();
        match entry.streak.note(registration_id, finding, self.rules) {
            Step::Retry { after } => {
                entry.own_faults = 0;
                self.pause(entry, after);
            }
            Step::Inconclusive => {
                let doublings = entry.own_faults.min(OWN_FAULT_DOUBLINGS_MAX);
                entry.own_faults = entry.own_faults.saturating_add(1);
                let pause = Duration::from_secs(1 << doublings);
                self.pause(entry, pause.min(self.rhythm.interval));
            }
            Step::Stale => {
                entry.doing = Doing::Resting;
                (entry.due, entry.wake) = (self.now, self.now);
            }
            Step::Concluded { status, is_removal_due } => {
                entry.own_faults = 0;
                if status != from {
                    let (at, reason) = (self.at, reason.clone());
                    entry.history.note_change(Change { at, from, to: status, reason });
                }
                let skipped = self.rest(entry);
                let key = entry.key.clone();
                let conclusion =
                    Conclusion { key, registration_id, status, reason, is_removal_due };
                return (Some(conclusion), skipped);
            }
        }
        (None, 0)
    }

    fn pause(&self, entry: &mut Entry, pause: Duration) {
        entry.doing = Doing::Pausing;
        entry.wake = self.now.after(pause);
    }

    /// Waits for the next check: the pod's phase, or sooner while it is new and not healthy yet.
    fn rest(&self, entry: &mut Entry) -> u64 {
        let last = entry.due;
        entry.doing = Doing::Resting;
        // Who waited for a place waits a whole interval again: then all are asked equally often,
        // wherever their phases happen to lie. Who did not is back at its phase.
        entry.due = if entry.is_late { self.now.after(self.rhythm.interval) } else { self.phase };
        let age = self.now.since(entry.registered);
        let is_new = !entry.is_veteran && !entry.streak.was_healthy() && age < FIRST_MINUTE;
        if let Some(step) = self.rhythm.first_minute.map(micros).filter(|_| is_new) {
            let sooner = Tick(entry.registered.0 + (micros(age) / step + 1) * step);
            entry.due = sooner;
        }
        entry.wake = entry.due;
        let skipped = self.phase.since(last).as_micros() / self.rhythm.interval.as_micros();
        if std::mem::take(&mut entry.is_wanted) && entry.streak.status() != Status::Healthy {
            hasten(entry, self.now);
        }
        u64::try_from(skipped).unwrap_or(u64::MAX).saturating_sub(1)
    }
}

/// Makes a check due now, or as soon as a second passed since the last time.
fn hasten(entry: &mut Entry, now: Tick) {
    let soon = entry.hastened.map_or(now, |last| now.max(last.after(HASTE_PAUSE)));
    if soon < entry.due {
        (entry.due, entry.wake) = (soon, soon);
        entry.hastened = Some(soon);
    }
}

/// The same in every process, so that a pod keeps its phase over restarts.
fn hash(key: &PodKey) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

fn hash_of(entries: &[Option<Entry>], slot: u32) -> u64 {
    entries.get(slot as usize).and_then(Option::as_ref).map_or(0, |entry| hash(&entry.key))
}
