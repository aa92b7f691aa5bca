//! What a pod does next to be registered and stay so: the rules, without clock and without I/O.
//!
//! The driver asks [`next`](Course::next), does it, and says how it [`ended`](Course::ended).
//! INVARIANT: between the two nothing else is asked for, so that there are never two registrations
//! at once. What happens meanwhile ([`renew`](Course::renew)) is remembered until then.
//!
//! A heartbeat only tells that the manager knows the name. So whenever a manager could not be
//! reached, the next thing is a registration: it is idempotent, costs the manager nothing if all
//! is as it was, and its answer shows what was missed.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use super::backoff::{Backoff, Pauses};
use super::managers::{Managers, Round};
use super::outcome::{Outcome, Trouble};
use super::url::ManagerUrl;

/// The least time between two registrations that a notification of another registry caused: the
/// sender of such may be anybody.
const FOREIGN_GAP: Duration = Duration::from_secs(1);

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Register,
    Heartbeat,
    /// What the manager says of its notifications to this pod.
    Inspect,
    /// With the id of the registration to end, if it is known.
    Unregister(Option<u64>),
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Call(Call),
    Wait(Instant),
    End,
}

/// Why the pod should register although it is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// It has something else to say.
    ContentChanged,
    /// A notification came from another registry.
    RegistryChanged,
}

/// How often what is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rhythm {
    pub(crate) heartbeat: Duration,
    /// How long heartbeats alone are trusted.
    pub(crate) refresh: Duration,
    pub(crate) pauses: Pauses,
}

/// The registration that is in force, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Registration {
    pub(crate) id: u64,
    pub(crate) registry_id: String,
}

/// Whether notifications reach this pod, as far as it can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hearing {
    /// One came since it registered, or none is due.
    Sound,
    /// None came, although it subscribes to something.
    Nothing,
}

/// How things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Not registered; with what went wrong, if something did.
    Joining(Option<String>),
    Registered,
    /// It was registered, and may still be; nobody can be asked.
    Away(String),
    /// What was said is not accepted, or not understood.
    Stuck(Trouble),
    Leaving,
    /// With what went wrong, if something did.
    Left(Option<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Register,
    Heartbeat,
    Inspect,
}

/// The state of one pod's membership.
#[derive(Debug)]
pub(crate) struct Course {
    rhythm: Rhythm,
    managers: Managers,
    backoff: Backoff,
    stage: Stage,
    need: Need,
    due: Instant,
    registration: Option<Registration>,
    /// When the last registration succeeded.
    registered_at: Option<Instant>,
    /// Whether a registration was sent of which nobody knows whether it was taken.
    is_uncertain: bool,
    /// The same before the registration under way, in case that was certainly not taken.
    was_uncertain: bool,
    /// The last request.
    call: Call,
    /// What to do again once the request under way has ended.
    renewal: Option<Renewal>,
    /// Until when to try to unregister.
    leave_until: Option<Instant>,
    /// The last fault, to say at the end.
    last_fault: Option<String>,
}

impl Course {
    pub(crate) fn new(
        managers: Vec<ManagerUrl>,
        rhythm: Rhythm,
        now: Instant,
        random: Rng,
    ) -> Self {
        Self {
            managers: Managers::new(managers),
            backoff: Backoff::new(rhythm.pauses, random),
            rhythm,
            stage: Stage::Joining(None),
            need: Need::Register,
            due: now,
            registration: None,
            registered_at: None,
            is_uncertain: false,
            was_uncertain: false,
            call: Call::Register,
            renewal: None,
            leave_until: None,
            last_fault: None,
        }
    }

    pub(crate) fn stage(&self) -> &Stage {
        &self.stage
    }

    pub(crate) fn registration(&self) -> Option<&Registration> {
        self.registration.as_ref()
    }

    /// Whom the next request goes to.
    pub(crate) fn manager(&self) -> &ManagerUrl {
        self.managers.current()
    }

    /// What to do now.
    pub(crate) fn next(&mut self, now: Instant) -> Step {
        if let Stage::Left(_) = self.stage {
            return Step::End;
        }
        if let Some(renewal) = self.renewal.take() {
            self.heed(renewal, now);
        }
        if let Some(until) = self.leave_until {
            if self.registration.is_none() && !self.is_uncertain {
                return self.leave(None);
            }
            if now >= until {
                let fault = self.last_fault.take();
                let fault = fault.unwrap_or_else(|| "there was no time".to_owned());
                return self.leave(Some(fault));
            }
        }
        if now < self.due {
            return Step::Wait(self.leave_until.map_or(self.due, |until| until.min(self.due)));
        }
        self.call = match self.need {
            _ if self.leave_until.is_some() => {
                let id = self.registration.as_ref().map(|registration| registration.id);
                // An uncertain one may have replaced the one whose id is known: the id of this
                // process, which is always sent along, is enough.
                Call::Unregister(id.filter(|_| !self.is_uncertain))
            }
            Need::Register => {
                (self.was_uncertain, self.is_uncertain) = (self.is_uncertain, true);
                Call::Register
            }
            Need::Heartbeat => Call::Heartbeat,
            Need::Inspect => Call::Inspect,
        };
        Step::Call(self.call)
    }

    /// The pod should register again, soon.
    pub(crate) fn renew(&mut self, why: Renewal) {
        if self.renewal != Some(Renewal::ContentChanged) {
            self.renewal = Some(why);
        }
    }

    fn heed(&mut self, why: Renewal, now: Instant) {
        let earliest = match why {
            Renewal::ContentChanged => now,
            Renewal::RegistryChanged => {
                self.registered_at.map_or(now, |at| (at + FOREIGN_GAP).max(now))
            }
        };
        // A pause after a failure is kept: what comes then is a registration anyhow. What was
        // refused may be accepted now that it is another one.
        let is_pausing = !matches!(self.stage, Stage::Registered | Stage::Stuck(_));
        let is_refused = matches!(self.stage, Stage::Stuck(_));
        if self.leave_until.is_some() || is_pausing {
            return;
        }
        if is_refused && why == Renewal::RegistryChanged {
            return;
        }
        if self.need == Need::Register && !is_refused {
            self.due = self.due.min(earliest);
        } else {
            (self.need, self.due) = (Need::Register, earliest);
        }
    }

    /// The pod should leave; tries until then. Later calls change nothing.
    pub(crate) fn stop(&mut self, now: Instant, until: Instant) {
        if self.leave_until.is_none() {
            (self.leave_until, self.due) = (Some(until), now);
            self.stage = Stage::Leaving;
            self.backoff.succeed();
        }
    }

    fn leave(&mut self, fault: Option<String>) -> Step {
        self.stage = Stage::Left(fault);
        Step::End
    }

    /// How the last [`Step::Call`] ended.
    pub(crate) fn ended(&mut self, now: Instant, outcome: Outcome, hearing: Hearing) {
        match outcome {
            Outcome::Registered(answer) => {
                let registry_id = answer.registry_id;
                self.registered(now, Registration { id: answer.registration_id, registry_id });
            }
            Outcome::Alive => {
                self.reached();
                self.rest(now);
                if hearing == Hearing::Nothing && self.need == Need::Heartbeat {
                    (self.need, self.due) = (Need::Inspect, now);
                }
            }
            Outcome::Inspected(_) => {
                self.reached();
                self.rest(now);
            }
            Outcome::PodUnknown => {
                self.reached();
                self.stage = Stage::Joining(None);
                (self.need, self.due, self.registration) = (Need::Register, now, None);
            }
            Outcome::Unregistered => (self.registration, self.is_uncertain) = (None, false),
            Outcome::NotActive { active, fault } => {
                self.not_applied();
                self.failed(now, active, None, fault);
            }
            Outcome::Unavailable { retry_after, fault } => {
                self.not_applied();
                self.failed(now, None, retry_after, fault);
            }
            Outcome::Unknown(fault) => self.failed(now, None, None, fault),
            Outcome::Stuck(trouble) => {
                self.not_applied();
                self.stuck(now, trouble);
            }
        }
    }

    /// The last request certainly changed nothing.
    fn not_applied(&mut self) {
        if self.call == Call::Register {
            self.is_uncertain = self.was_uncertain;
        }
    }

    fn reached(&mut self) {
        self.managers.succeed();
        self.backoff.succeed();
    }

    fn registered(&mut self, now: Instant, registration: Registration) {
        self.reached();
        self.registration = Some(registration);
        (self.registered_at, self.is_uncertain) = (Some(now), false);
        if self.leave_until.is_some() {
            self.due = now;
            return;
        }
        self.stage = Stage::Registered;
        self.rest(now);
    }

    /// Until the next heartbeat, or the registration that is due by now.
    fn rest(&mut self, now: Instant) {
        let is_fresh = self.registered_at.is_some_and(|at| now - at < self.rhythm.refresh);
        self.need = if is_fresh { Need::Heartbeat } else { Need::Register };
        self.due = now + self.backoff.spread(self.rhythm.heartbeat);
    }

    fn failed(
        &mut self,
        now: Instant,
        active: Option<ManagerUrl>,
        retry_after: Option<Duration>,
        fault: String,
    ) {
        self.need = Need::Register;
        self.due = match self.managers.fail(active) {
            Round::HasMore => now,
            Round::IsOver => {
                if self.leave_until.is_none() {
                    let fault = fault.clone();
                    self.stage = match self.registered_at {
                        Some(_) => Stage::Away(fault),
                        None => Stage::Joining(Some(fault)),
                    };
                }
                now + self.backoff.fail(retry_after)
            }
        };
        self.last_fault = Some(fault);
    }

    /// Asking again at once would be answered the same; another manager may know better.
    fn stuck(&mut self, now: Instant, trouble: Trouble) {
        self.need = Need::Register;
        let has_more = self.managers.fail(None) == Round::HasMore;
        self.due = if has_more { now } else { now + self.backoff.longest() };
        self.last_fault = Some(trouble.to_string());
        if self.leave_until.is_some() {
            // Unregistering was refused: that will not change.
            self.leave(Some(trouble.to_string()));
        } else {
            self.stage = Stage::Stuck(trouble);
        }
    }
}
