//! The streak: what the results of one pod's checks mean, one after the other.
//!
//! A check is one attempt, and for a pod that is not unhealthy yet up to `retry` more; only when
//! the last one fails is it a failed check. Not here: when a check begins (the schedule's), how an
//! attempt is made (the probe's), whether a removal is held back because too many fail at once
//! (the brake's).
//!
//! Invariants: one success makes a pod healthy; a status never changes on a failed attempt that
//! has a retry left, on a result for an earlier registration, or on a fault of our own; one failed
//! check alone never removes a pod.

use std::time::Duration;

use crate::pod::Status;
use crate::revision::RegistrationId;

/// The pause before the first retry; each further one is twice as long.
const FIRST_RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Doublings of the pause; a setting that allows more retries waits no longer than that.
const DOUBLINGS_MAX: u32 = 10;
/// Failed checks before a pod may be removed, whatever the limit: a pod that failed once must not
/// go before the others had their turn and could show that the fault is not the pod's.
const FAILED_CHECKS_MIN: u32 = 2;

/// What the operator decided about verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreakRules {
    /// Repetitions of a failed attempt before a pod is unhealthy.
    pub retry: u32,
    /// Failed checks in a row after which a pod is to be removed; 0 stands for never.
    pub failure_limit: u32,
}

/// What one attempt found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The pod answered as it should.
    Passed,
    /// It did not.
    Failed,
    /// It could not be asked, for a reason of our own: no verdict.
    Inconclusive,
}

/// What is to be done after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The check goes on with another attempt after this pause.
    Retry {
        /// Measured from the end of the attempt that failed.
        after: Duration,
    },
    /// The check is over.
    Concluded {
        /// The status that it found.
        status: Status,
        /// Whether the pod failed so many checks in a row that it is to be removed.
        is_removal_due: bool,
    },
    /// Nothing was learnt; the same attempt is to be made again.
    Inconclusive,
    /// The attempt was made for an earlier registration: it means nothing.
    Stale,
}

/// The results of one registration so far. Sixteen bytes, because there is one per pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streak {
    registration_id: RegistrationId,
    /// Failed checks since the last success.
    failed_checks: u32,
    /// Failed attempts of the check under way.
    failed_attempts: u16,
    status: Status,
    was_healthy: bool,
}

impl Streak {
    /// A registration of which nothing but its status is known.
    pub fn new(registration_id: RegistrationId, status: Status) -> Self {
        Self {
            registration_id,
            failed_checks: 0,
            failed_attempts: 0,
            status,
            was_healthy: status == Status::Healthy,
        }
    }

    /// Which registration this is the streak of.
    pub fn registration_id(&self) -> RegistrationId {
        self.registration_id
    }

    /// What the last check found.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Failed checks since the last success.
    pub fn failed_checks(&self) -> u32 {
        self.failed_checks
    }

    /// Whether it is unhealthy, or on the way there.
    pub fn is_failing(&self) -> bool {
        self.status == Status::Unhealthy || self.failed_attempts > 0
    }

    /// Whether it was ever healthy since it registered.
    pub fn was_healthy(&self) -> bool {
        self.was_healthy
    }

    /// Notes the result of an attempt that was made for `registration_id`.
    pub fn note(
        &mut self,
        registration_id: RegistrationId,
        finding: Finding,
        rules: StreakRules,
    ) -> Step {
        if registration_id != self.registration_id {
            return Step::Stale;
        }
        match finding {
            Finding::Inconclusive => Step::Inconclusive,
            Finding::Passed => self.passed(),
            Finding::Failed => self.failed(rules),
        }
    }

    fn passed(&mut self) -> Step {
        *self = Self::new(self.registration_id, Status::Healthy);
        Step::Concluded { status: Status::Healthy, is_removal_due: false }
    }

    fn failed(&mut self, rules: StreakRules) -> Step {
        if self.status != Status::Unhealthy && u32::from(self.failed_attempts) < rules.retry {
            let after = retry_pause(self.failed_attempts);
            self.failed_attempts = self.failed_attempts.saturating_add(1);
            return Step::Retry { after };
        }
        self.failed_attempts = 0;
        self.failed_checks = self.failed_checks.saturating_add(1);
        self.status = Status::Unhealthy;
        let limit = rules.failure_limit;
        let is_removal_due = limit > 0 && self.failed_checks >= limit.max(FAILED_CHECKS_MIN);
        Step::Concluded { status: Status::Unhealthy, is_removal_due }
    }
}

/// 1 s, 2 s, 4 s …
fn retry_pause(failed_attempts: u16) -> Duration {
    FIRST_RETRY_PAUSE * (1 << u32::from(failed_attempts).min(DOUBLINGS_MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: StreakRules = StreakRules { retry: 3, failure_limit: 4 };

    fn id(number: u64) -> RegistrationId {
        RegistrationId::from_u64(number)
    }

    fn concluded(status: Status, is_removal_due: bool) -> Step {
        Step::Concluded { status, is_removal_due }
    }

    #[test]
    fn the_last_of_four_failed_attempts_makes_a_pod_unhealthy_after_1_2_and_4_seconds() {
        for begun_as in [Status::Unknown, Status::Healthy] {
            let mut streak = Streak::new(id(1), begun_as);
            for pause in [1, 2, 4] {
                let step = streak.note(id(1), Finding::Failed, RULES);
                assert_eq!(step, Step::Retry { after: Duration::from_secs(pause) });
                assert_eq!(streak.status(), begun_as);
                assert!(streak.is_failing());
            }
            let step = streak.note(id(1), Finding::Failed, RULES);
            assert_eq!(step, concluded(Status::Unhealthy, false));
        }
    }

    #[test]
    fn an_unhealthy_pod_gets_one_attempt_and_one_success_makes_it_healthy() {
        let mut streak = Streak::new(id(1), Status::Unhealthy);
        let step = streak.note(id(1), Finding::Failed, RULES);
        assert_eq!(step, concluded(Status::Unhealthy, false));
        let step = streak.note(id(1), Finding::Passed, RULES);
        assert_eq!(step, concluded(Status::Healthy, false));
        assert_eq!(streak.failed_checks(), 0);
        let step = streak.note(id(1), Finding::Failed, RULES);
        assert_eq!(step, Step::Retry { after: Duration::from_secs(1) }, "retries are back");
    }

    #[test]
    fn the_failed_check_that_reaches_the_limit_and_each_after_it_ask_for_removal() {
        let mut streak = Streak::new(id(1), Status::Unhealthy);
        let asked: Vec<bool> = (0..5)
            .map(|_| {
                let step = streak.note(id(1), Finding::Failed, RULES);
                matches!(step, Step::Concluded { is_removal_due: true, .. })
            })
            .collect();
        assert_eq!(asked, [false, false, false, true, true]);
    }

    #[test]
    fn a_limit_of_one_still_waits_for_a_second_failed_check_and_zero_never_asks() {
        let rules = |failure_limit| StreakRules { retry: 0, failure_limit };
        let mut streak = Streak::new(id(1), Status::Healthy);
        let step = streak.note(id(1), Finding::Failed, rules(1));
        assert_eq!(step, concluded(Status::Unhealthy, false));
        let step = streak.note(id(1), Finding::Failed, rules(1));
        assert_eq!(step, concluded(Status::Unhealthy, true));
        for _ in 0..1_000 {
            let step = streak.note(id(1), Finding::Failed, rules(0));
            assert_eq!(step, concluded(Status::Unhealthy, false));
        }
    }

    #[test]
    fn a_streak_stays_sixteen_bytes() {
        assert_eq!(size_of::<Streak>(), 16);
    }

    /// What happens to a pod, as far as its streak is concerned.
    #[derive(Clone, Copy, Debug)]
    enum Happening {
        Attempt(Finding),
        LateAttempt(Finding),
        RegisteredAnew,
    }

    fn finding() -> impl Strategy<Value = Finding> {
        prop_oneof![Just(Finding::Passed), Just(Finding::Failed), Just(Finding::Inconclusive)]
    }

    fn happening() -> impl Strategy<Value = Happening> {
        prop_oneof![
            12 => finding().prop_map(Happening::Attempt),
            2 => finding().prop_map(Happening::LateAttempt),
            1 => Just(Happening::RegisteredAnew),
        ]
    }

    /// The rules told once more, over the whole list of verdicts since the registration.
    fn expected(verdicts: &[bool], rules: StreakRules) -> (Status, u32, u32) {
        let (mut status, mut attempts, mut checks) = (Status::Unknown, 0, 0);
        for &passed in verdicts {
            if passed {
                (status, attempts, checks) = (Status::Healthy, 0, 0);
            } else if status == Status::Unhealthy || attempts == rules.retry {
                (status, attempts, checks) = (Status::Unhealthy, 0, checks + 1);
            } else {
                attempts += 1;
            }
        }
        (status, attempts, checks)
    }

    proptest! {
        #[test]
        fn random_results_retries_and_registrations_follow_the_rules(
            retry in 0_u32..5,
            failure_limit in 0_u32..5,
            happenings in prop::collection::vec(happening(), 0..200),
        ) {
            let rules = StreakRules { retry, failure_limit };
            let mut current = 7;
            let mut streak = Streak::new(id(current), Status::Unknown);
            let mut verdicts: Vec<bool> = Vec::new();
            for happening in happenings {
                let before = streak;
                match happening {
                    Happening::RegisteredAnew => {
                        current += 1;
                        streak = Streak::new(id(current), Status::Unknown);
                        verdicts.clear();
                    }
                    Happening::LateAttempt(finding) => {
                        prop_assert_eq!(streak.note(id(current - 1), finding, rules), Step::Stale);
                        prop_assert_eq!(streak, before);
                    }
                    Happening::Attempt(Finding::Inconclusive) => {
                        let step = streak.note(id(current), Finding::Inconclusive, rules);
                        prop_assert_eq!(step, Step::Inconclusive);
                        prop_assert_eq!(streak, before);
                    }
                    Happening::Attempt(finding) => {
                        verdicts.push(finding == Finding::Passed);
                        let step = streak.note(id(current), finding, rules);
                        let (status, attempts, checks) = expected(&verdicts, rules);
                        prop_assert_eq!(streak.status(), status);
                        prop_assert_eq!(streak.failed_checks(), checks);
                        prop_assert_eq!(streak.was_healthy(), verdicts.contains(&true));
                        let is_removal_due = failure_limit > 0 && checks >= failure_limit.max(2);
                        prop_assert_eq!(step, if attempts > 0 {
                            Step::Retry { after: Duration::from_secs(1 << (attempts - 1)) }
                        } else {
                            Step::Concluded { status, is_removal_due }
                        });
                    }
                }
            }
        }
    }
}
