//! What follows from the end of an attempt, for the pod's place in the schedule.

use std::time::Duration;

use governance_domain::{Finding, RegistrationId, Status, Step, StreakRules, Timestamp};

use super::entry::{Change, Doing, Entry};
use super::limits::Rhythm;
use super::reason::{Attempt, Reason};
use super::schedule::Conclusion;
use super::tick::{Tick, micros};

/// How long a pod that was never healthy is checked more often.
const FIRST_MINUTE: Duration = Duration::from_mins(1);
/// At most one check of a pod in this time is made on request.
const HASTE_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause, in doublings of a second, after an attempt that could not be made.
const OWN_FAULT_DOUBLINGS_MAX: u8 = 5;

/// What is needed to judge the end of an attempt.
pub(super) struct Round {
    /// The pod's next turn.
    pub(super) phase: Tick,
    pub(super) now: Tick,
    pub(super) at: Timestamp,
    pub(super) rules: StreakRules,
    pub(super) rhythm: Rhythm,
}

impl Round {
    /// The conclusion, if the check is over, and how many turns were left out.
    pub(super) fn note(
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
        entry.due = self.phase;
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
pub(super) fn hasten(entry: &mut Entry, now: Tick) {
    let soon = now.max(entry.hasty_from);
    if soon < entry.due {
        (entry.due, entry.wake) = (soon, soon);
        entry.hasty_from = soon.after(HASTE_PAUSE);
    }
}
