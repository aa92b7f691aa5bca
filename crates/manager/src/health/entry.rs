//! What is kept of one pod: under 200 bytes with its place in the queue, because there may be a
//! hundred thousand.

use std::sync::Arc;
use std::time::Duration;

use governance_domain::{Content, PodKey, Status, Streak, Timestamp};

use super::brake::Past;
use super::reason::Reason;
use super::tick::Tick;

/// Changes of status that are remembered.
const CHANGES_MAX: usize = 8;

/// Registrations of one pod that are checked at once.
const RENEWALS_AT_ONCE: u8 = 4;
/// Then one is checked per this time.
const RENEWAL_PAUSE: Duration = Duration::from_secs(1);

/// What is going on with a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// It waits for its next check.
    Resting,
    /// A check is under way, and waits for its next attempt.
    Pausing,
    /// An attempt is under way.
    Probing,
    /// The same, but for an earlier registration: the present one is checked when it ends.
    Outdated,
    /// The same, but the pod left: it is forgotten when the attempt ends.
    Leaving,
}

impl Doing {
    /// Whether an attempt is under way.
    pub(super) fn is_attempt(self) -> bool {
        match self {
            Self::Probing | Self::Outdated | Self::Leaving => true,
            Self::Resting | Self::Pausing => false,
        }
    }

    /// The same, once another registration is there.
    pub(super) fn outdated(self) -> Self {
        if self.is_attempt() { Self::Outdated } else { Self::Resting }
    }
}

/// Which queue a pod waits in: those that may take long must not use up all the places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Its last attempt was answered in good time, or it had none.
    Sound,
    /// Its last attempt failed.
    Suspect,
}

/// One pod.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: PodKey,
    pub(super) content: Arc<Content>,
    pub(super) streak: Streak,
    /// When this registration was first seen here; stored times are never used.
    pub(super) registered: Tick,
    /// When the next check, or the one under way, was due: lateness counts from here.
    pub(super) due: Tick,
    /// Its place in the queue, unless an attempt is under way.
    pub(super) wake: Tick,
    /// When the last attempt began.
    pub(super) asked: Tick,
    /// When it may be checked on request again.
    pub(super) hasty_from: Tick,
    pub(super) history: History,
    pub(super) past: Past,
    pub(super) doing: Doing,
    /// Where it is counted: the queue it waits in, or the places that its attempt uses.
    pub(super) class: Class,
    /// Attempts in a row that could not be made for a reason of our own.
    pub(super) own_faults: u8,
    /// Registrations that were checked at once; one less for every pause without a check.
    pub(super) renewals: u8,
    /// Registered before this process began to look: how long ago, nobody knows.
    pub(super) is_veteran: bool,
    /// Its time has come, and it waits for a place. Written by the roster alone.
    pub(super) is_ready: bool,
    /// Somebody asked for a check while one was under way.
    pub(super) is_wanted: bool,
}

impl Entry {
    pub(super) fn new(key: PodKey, content: Arc<Content>, streak: Streak, now: Tick) -> Self {
        Self {
            key,
            content,
            streak,
            registered: now,
            due: now,
            wake: now,
            asked: Tick::default(),
            hasty_from: Tick::default(),
            history: History::default(),
            past: Past::default(),
            doing: Doing::Resting,
            class: Class::Sound,
            own_faults: 0,
            renewals: 0,
            is_veteran: false,
            is_ready: false,
            is_wanted: false,
        }
    }

    /// When the check of a registration that replaces another is due. A pod that registers anew
    /// all the time, always with other content, has only so many of them checked at once; the
    /// newest is always checked.
    pub(super) fn due_anew(&mut self, now: Tick) -> Tick {
        let is_attempt_awaited = matches!(self.doing, Doing::Resting | Doing::Outdated);
        if is_attempt_awaited && !self.is_veteran && self.asked < self.registered {
            return self.wake; // of the registration before, which was not asked for either
        }
        let pauses = now.since(self.asked).as_micros() / RENEWAL_PAUSE.as_micros();
        let pauses = u8::try_from(pauses).unwrap_or(u8::MAX);
        self.renewals = self.renewals.saturating_sub(pauses);
        if self.renewals == RENEWALS_AT_ONCE {
            return self.asked.after(RENEWAL_PAUSE).max(now);
        }
        self.renewals += 1;
        now
    }

    /// Where it belongs now.
    pub(super) fn class_now(&self) -> Class {
        if self.streak.is_failing() || self.own_faults > 0 { Class::Suspect } else { Class::Sound }
    }
}

/// A change of status.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) at: Timestamp,
    pub(super) from: Status,
    pub(super) to: Status,
    pub(super) reason: Reason,
}

/// What an operator asks first. Boxed slices, because most pods have one entry or two.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Oldest first.
    pub(super) changes: Box<[Change]>,
    pub(super) failure: Option<Box<(Timestamp, Reason)>>,
}

impl History {
    pub(super) fn note_change(&mut self, change: Change) {
        let mut changes = std::mem::take(&mut self.changes).into_vec();
        if changes.len() >= CHANGES_MAX {
            changes.remove(0);
        }
        changes.push(change);
        self.changes = changes.into_boxed_slice();
    }

    pub(super) fn note_failure(&mut self, at: Timestamp, reason: Reason) {
        match &mut self.failure {
            Some(failure) => **failure = (at, reason),
            None => self.failure = Some(Box::new((at, reason))),
        }
    }
}
