//! When each pod is checked. Pure: `now` is an argument, nothing waits, nothing is sent.
//!
//! Each pod has a phase, the hash of its key within the interval, and is checked when that comes
//! round; phases never move, so nothing drifts. A pod that waits stands in an ordered queue under
//! the time of its next attempt; a pod whose attempt is under way stands in none, which is why
//! there are never two. Removed pods are forgotten, at the latest when their attempt ends.
//!
//! Invariant: what changes an entry goes through [`Roster::alter`], which keeps queues and sums.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use governance_domain::{
    Content, Pod, PodKey, RegistrationId, Status, Streak, StreakRules, Timestamp,
};

use super::brake::{Jam, Past};
use super::entry::{Change, Doing, Entry};
use super::lag::Lag;
use super::limits::{Places, Rhythm};
use super::reason::{Attempt, Reason};
use super::roster::{Roster, hash};
use super::round::{Round, hasten};
use super::tick::{Tick, micros};

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
    roster: Roster,
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
            roster: Roster::new(places),
            next_turn: Tick::default().after(rhythm.interval),
            unwanted: Vec::new(),
            lag: Lag::new(),
            sums: Sums::default(),
        }
    }

    /// The state was read whole. Statuses are as stored, and the checks of the first interval come
    /// at each pod's phase. What is known of a registration that is still there is kept.
    pub(super) fn load<'a>(&mut self, pods: impl Iterator<Item = &'a Arc<Pod>>, now: Tick) {
        let mut left: BTreeSet<u32> = self.roster.slots().collect();
        for pod in pods {
            if let Some(slot) = self.roster.find(&pod.key) {
                left.remove(&slot);
                self.reload(slot, pod, now);
            } else {
                let entry = self.loaded(pod, now);
                self.roster.insert(entry);
            }
        }
        for slot in left {
            self.forget(slot);
        }
    }

    fn reload(&mut self, slot: u32, pod: &Arc<Pod>, now: Tick) {
        let is_same = self.roster.entry(slot).is_some_and(|entry| {
            entry.streak.registration_id() == pod.registration_id && entry.doing != Doing::Leaving
        });
        if is_same {
            self.roster.alter(slot, |entry| {
                entry.content = Arc::clone(&pod.content);
                if entry.streak.status() != pod.status {
                    entry.streak = Streak::new(pod.registration_id, pod.status);
                }
            });
            return;
        }
        let loaded = self.loaded(pod, now);
        self.roster.alter(slot, |entry| {
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
        let Some(slot) = self.roster.find(&pod.key) else {
            let streak = Streak::new(pod.registration_id, Status::Unknown);
            let entry = Entry::new(pod.key.clone(), Arc::clone(&pod.content), streak, now);
            self.roster.insert(entry);
            return;
        };
        let is_same = self.roster.entry(slot).is_some_and(|entry| {
            entry.streak.registration_id() == pod.registration_id && entry.doing != Doing::Leaving
        });
        if is_same {
            self.roster.alter(slot, |entry| entry.content = Arc::clone(&pod.content));
        } else {
            self.renew(slot, pod, now);
        }
    }

    /// Another registration of a known pod: nothing is known of its health, it is checked at once,
    /// unless it registers anew all the time.
    fn renew(&mut self, slot: u32, pod: &Arc<Pod>, now: Tick) {
        self.roster.alter(slot, |entry| {
            let from = entry.streak.status();
            if from != Status::Unknown {
                let (to, reason) = (Status::Unknown, Reason::RegisteredAnew);
                entry.history.note_change(Change { at: pod.registered_at, from, to, reason });
            }
            entry.content = Arc::clone(&pod.content);
            entry.streak = Streak::new(pod.registration_id, Status::Unknown);
            let due = entry.due_anew(now);
            entry.registered = now;
            entry.is_veteran = false;
            (entry.due, entry.wake) = (due, due);
            entry.own_faults = 0;
            entry.is_wanted = false;
            entry.doing = entry.doing.outdated();
        });
        self.stop_attempt(slot);
    }

    /// A pod left.
    pub(super) fn remove(&mut self, key: &PodKey) {
        if let Some(slot) = self.roster.find(key) {
            self.forget(slot);
        }
    }

    /// Nobody is checked any more.
    pub(super) fn clear(&mut self) {
        let slots: Vec<u32> = self.roster.slots().collect();
        for slot in slots {
            self.forget(slot);
        }
    }

    fn forget(&mut self, slot: u32) {
        if self.roster.entry(slot).is_some_and(|entry| entry.doing.is_attempt()) {
            self.roster.alter(slot, |entry| entry.doing = Doing::Leaving);
            self.stop_attempt(slot);
        } else {
            self.roster.release(slot);
        }
    }

    fn stop_attempt(&mut self, slot: u32) {
        if self.roster.entry(slot).is_some_and(|entry| entry.doing.is_attempt()) {
            self.unwanted.push(Slot(slot));
        }
    }

    /// Attempts to be stopped. Their end is still to be told by [`Schedule::ended`].
    pub(super) fn take_unwanted(&mut self) -> Vec<Slot> {
        std::mem::take(&mut self.unwanted)
    }

    /// Checks a pod before its turn, at most once a second.
    pub(super) fn check_soon(&mut self, key: &PodKey, now: Tick) {
        let Some(slot) = self.roster.find(key) else { return };
        self.roster.alter(slot, |entry| match entry.doing {
            Doing::Resting => hasten(entry, now),
            // The check under way may have asked before the pod was well.
            Doing::Pausing | Doing::Probing => entry.is_wanted = true,
            Doing::Outdated | Doing::Leaving => {}
        });
    }

    /// The next attempt that is due and has a place.
    pub(super) fn take_due(&mut self, now: Tick) -> Option<Due> {
        let slot = self.roster.next_ready(now)?;
        let mut lag = None;
        self.roster.alter(slot, |entry| {
            // An attempt that is repeated for a fault of ours still belongs to a late beginning.
            if entry.doing == Doing::Resting || entry.own_faults > 0 {
                lag = Some(now.since(entry.due));
            }
            entry.doing = Doing::Probing;
            entry.asked = now;
        });
        if let Some(lag) = lag {
            self.lag.note(now, lag);
        }
        let entry = self.roster.entry(slot)?;
        Some(Due {
            slot: Slot(slot),
            registration_id: entry.streak.registration_id(),
            content: Arc::clone(&entry.content),
            lag,
        })
    }

    /// When [`Schedule::take_due`] will have something; none while nothing waits that has a place.
    pub(super) fn next_wake(&self) -> Option<Tick> {
        self.roster.next_wake()
    }

    /// An attempt ended; what follows from it, if it concludes a check.
    pub(super) fn ended(&mut self, ended: Ended, now: Tick, at: Timestamp) -> Option<Conclusion> {
        let Ended { slot: Slot(slot), registration_id, attempt } = ended;
        let entry = self.roster.entry(slot)?;
        let (phase, doing) = (self.next_phase(&entry.key, now), entry.doing);
        let Some(attempt) = attempt.filter(|_| doing == Doing::Probing) else {
            self.roster.alter(slot, |entry| entry.doing = Doing::Resting);
            if doing == Doing::Leaving {
                self.roster.release(slot);
            }
            return None;
        };
        let (rules, rhythm) = (self.rules, self.rhythm);
        let round = Round { phase, now, at, rules, rhythm };
        let (conclusion, skipped) =
            self.roster.alter(slot, |entry| round.note(entry, registration_id, attempt))?;
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
        self.roster.look_back();
    }

    /// When [`Schedule::turn`] is due.
    pub(super) fn next_turn(&self) -> Tick {
        self.next_turn
    }

    /// Why nothing is removed, if so.
    pub(super) fn jam(&self) -> Option<Jam> {
        self.roster.jam()
    }

    /// Attempts under way.
    pub(super) fn in_flight(&self) -> usize {
        self.roster.in_flight()
    }

    /// How many pods are checked.
    pub(super) fn pod_count(&self) -> usize {
        self.roster.len()
    }

    /// Median, 99th percentile and maximum of the lateness; the maximum also of those who wait.
    pub(super) fn lag(&mut self, now: Tick) -> [Duration; 3] {
        let [p50, p99, max] = self.lag.figures(now);
        let overdue = self.roster.overdue().map(|due| now.since(due));
        [p50, p99, max.max(overdue.unwrap_or_default())]
    }

    /// What is known of a pod.
    pub(super) fn pod(&self, key: &PodKey) -> Option<&Entry> {
        let slot = self.roster.find(key)?;
        self.roster.entry(slot).filter(|entry| entry.doing != Doing::Leaving)
    }

    /// The first moment after `now` that is the pod's turn.
    fn next_phase(&self, key: &PodKey, now: Tick) -> Tick {
        let interval = micros(self.rhythm.interval);
        let phase = hash(key) % interval;
        let behind = (now.0 % interval + interval - phase) % interval;
        Tick(now.0 + interval - behind)
    }
}

#[cfg(test)]
impl Schedule {
    pub(super) fn assert_consistent(&self) {
        self.roster.assert_consistent();
    }
}
