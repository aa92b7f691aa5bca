//! One subscriber: what it holds, what it is owed, and when it may be sent something.
//!
//! Invariants: at most one entry is owed per subscription, so memory does not follow the number of
//! changes; `queue` holds exactly the accounts that are owed something, in the order in which they
//! came to be. At most one delivery is in flight; the dispatch sees to that.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use governance_domain::{NoticeKind, Pod, Revision, Status, Subscription, Timestamp};
use tokio::time::Instant;

use super::bucket::{Backoff, Bucket};
use super::courier::{Failure, Fault};
use crate::engine::DeliveryState;
use crate::telemetry::traces::TraceContext;

/// Failed attempts in a row after which a notification is not traced any more: a trace ends.
const TRACED_ATTEMPTS_MAX: u32 = 8;

/// Why a notification is sent; the `event_type` on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Something changed.
    Change(NoticeKind),
    /// Nothing did, as far as is known; the list is repeated.
    Reconcile,
}

impl Cause {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Change(NoticeKind::Register) => "register",
            Self::Change(NoticeKind::Unregister) => "unregister",
            Self::Change(NoticeKind::Update) => "update",
            Self::Reconcile => "reconcile",
        }
    }
}

/// What is to be sent.
#[derive(Clone, Debug)]
pub(super) struct Owed {
    pub(super) cause: Cause,
    /// Sent even if the subscriber holds the same list already; for one that is unhealthy, also
    /// that its turn of the reconciliation has come.
    pub(super) is_due: bool,
    /// Where the newest change belongs that it tells of and that is traced. One for each that is
    /// owed, however many changes it stands for.
    pub(super) trace: TraceContext,
}

/// One subscription of a subscriber.
#[derive(Debug)]
struct Account {
    owed: Option<Owed>,
    /// The list it holds, as far as is known; none after a failure that may have been none.
    seen: Option<u64>,
    delivered: Option<Revision>,
    delivered_at: Option<Timestamp>,
    behind_since: Option<Timestamp>,
    failing_since: Option<Timestamp>,
    last_error: Option<Arc<str>>,
    bucket: Bucket,
    /// After answers that concern this service alone.
    backoff: Backoff,
    /// Failed attempts since `failing_since`.
    attempts: u32,
}

/// What is under way to a subscriber.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) ticket: u64,
    pub(super) account: usize,
    pub(super) owed: Owed,
    pub(super) hash: u64,
    pub(super) revision: Revision,
}

/// Why the state is repeated to a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// The manager started: what it has not told yet since then.
    Start,
    /// The pod registered: everything, in case its answer and a notification crossed.
    Greeting,
    /// Its turn in the interval has come: everything.
    Round,
}

/// What a subscriber may be sent next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// This account, now.
    Account(usize),
    /// Something, at that time.
    At(Instant),
    /// Nothing until something happens.
    Nothing,
}

/// A pod that subscribes to something.
#[derive(Debug)]
pub(super) struct Subscriber {
    pub(super) pod: Arc<Pod>,
    /// One for each of the pod's subscriptions, in their order.
    accounts: Box<[Account]>,
    queue: VecDeque<usize>,
    pub(super) flight: Option<Flight>,
    /// Nothing is sent before.
    pub(super) hold: Option<Instant>,
    /// After failures that concern everything that is sent there.
    pause: Backoff,
    pub(super) reconcile: Option<(Instant, Repeat)>,
    /// Its entry in the dispatch's timers; written by the dispatch.
    pub(super) wake: Option<Instant>,
    /// Whether it waits for a place in flight; written by the dispatch.
    pub(super) is_ready: bool,
}

impl Subscriber {
    pub(super) fn new(pod: Arc<Pod>) -> Self {
        let accounts = pod.content.subscriptions.iter().map(|_| Account::new()).collect();
        Self {
            pod,
            accounts,
            queue: VecDeque::new(),
            flight: None,
            hold: None,
            pause: Backoff::default(),
            reconcile: None,
            wake: None,
            is_ready: false,
        }
    }

    /// The subscription behind an account.
    pub(super) fn subscription(&self, account: usize) -> Option<&Subscription> {
        self.pod.content.subscriptions.get(account)
    }

    /// The account for a service.
    pub(super) fn account_of(&self, service: &str) -> Option<usize> {
        self.pod.content.subscriptions.iter().position(|wish| wish.service.as_str() == service)
    }

    /// Whether its last attempts failed without an answer.
    pub(super) fn is_suspect(&self) -> bool {
        self.pause.failures() > 0
    }

    /// Whether nothing is owed to it, and nothing is under way.
    pub(super) fn is_settled(&self) -> bool {
        self.flight.is_none() && self.queue.is_empty()
    }

    /// Takes the pod's new health. One that recovers is tried at once, one that falls ill only at
    /// the pace of the reconciliation.
    pub(super) fn take_health(&mut self, pod: Arc<Pod>) {
        if self.is_ill() && pod.status != Status::Unhealthy {
            self.pause.reset();
            self.accounts.iter_mut().for_each(|account| account.backoff.reset());
        }
        self.pod = pod;
    }

    pub(super) fn is_ill(&self) -> bool {
        self.pod.status == Status::Unhealthy
    }

    /// The pod got this list in the answer to its registration.
    pub(super) fn was_answered(
        &mut self,
        account: usize,
        hash: u64,
        revision: Revision,
        at: Timestamp,
    ) {
        if let Some(account) = self.accounts.get_mut(account) {
            account.seen = Some(hash);
            account.delivered = Some(revision);
            account.delivered_at = Some(at);
        }
    }

    /// The service changed, in a way that this subscriber sees.
    pub(super) fn owe(
        &mut self,
        account: usize,
        kind: NoticeKind,
        trace: TraceContext,
        at: Timestamp,
    ) {
        let Some(entry) = self.accounts.get_mut(account) else { return };
        entry.behind_since.get_or_insert(at);
        let cause = Cause::Change(kind);
        match &mut entry.owed {
            Some(owed) => {
                owed.cause = cause;
                if trace.is_recorded() {
                    owed.trace = trace;
                }
            }
            None => {
                entry.owed = Some(Owed { cause, is_due: false, trace });
                self.queue.push_back(account);
            }
        }
    }

    /// Which attempt the next one is since the subscriber last received something of the service.
    pub(super) fn attempt(&self, account: usize) -> u32 {
        self.accounts.get(account).map_or(0, |account| account.attempts).saturating_add(1)
    }

    /// Forgets all that waits and is no news: the manager ends.
    pub(super) fn keep_news_only(&mut self) {
        self.reconcile = None;
        for account in &mut self.accounts {
            account.owed = account.owed.take().filter(|owed| owed.cause != Cause::Reconcile);
        }
        let accounts = &self.accounts;
        self.queue.retain(|index| accounts.get(*index).is_some_and(|a| a.owed.is_some()));
    }

    /// Whether nothing stands against sending, as far as is known: neither failures nor illness.
    pub(super) fn is_well(&self) -> bool {
        let failures = self.accounts.iter().map(|account| account.backoff.failures());
        !self.is_ill() && !self.is_suspect() && failures.max().unwrap_or(0) == 0
    }

    /// Since when there is something that it should know and does not.
    pub(super) fn behind_since(&self) -> Option<Timestamp> {
        self.accounts.iter().filter_map(|account| account.behind_since).min()
    }

    /// Whether an attempt failed that none after it made good.
    pub(super) fn is_failing(&self) -> bool {
        self.accounts.iter().any(|account| account.failing_since.is_some())
    }

    /// The state is sent again, unless that is on its way; returns how many services.
    pub(super) fn repeat(&mut self, what: Repeat, at: Timestamp) -> usize {
        let in_flight = self.flight.as_ref().map(|flight| flight.account);
        let mut count = 0;
        for (index, account) in self.accounts.iter_mut().enumerate() {
            let is_told = account.delivered.is_some();
            if in_flight == Some(index) || (what == Repeat::Start && is_told) {
                continue;
            }
            count += 1;
            if account.delivered.is_none() {
                account.behind_since.get_or_insert(at);
            }
            match &mut account.owed {
                Some(owed) => owed.is_due = true,
                None => {
                    let trace = TraceContext::default();
                    account.owed = Some(Owed { cause: Cause::Reconcile, is_due: true, trace });
                    self.queue.push_back(index);
                }
            }
        }
        count
    }

    /// What may be sent next, if nothing is in flight.
    pub(super) fn next(&self, now: Instant, interval: Duration) -> Next {
        let held = self.hold.filter(|hold| *hold > now).max(self.pause.next(now));
        let mut earliest: Option<Instant> = None;
        for &index in &self.queue {
            let Some(account) = self.accounts.get(index) else { continue };
            if self.is_ill() && !account.owed.as_ref().is_some_and(|owed| owed.is_due) {
                continue;
            }
            let paced = account.bucket.next(now, interval);
            match held.max(paced).max(account.backoff.next(now)) {
                None => return Next::Account(index),
                Some(at) => earliest = Some(earliest.map_or(at, |other| other.min(at))),
            }
        }
        earliest.map_or(Next::Nothing, Next::At)
    }

    /// Whether the account still needs a list; settles it if the subscriber holds that list.
    pub(super) fn needs(&mut self, account: usize, hash: u64) -> bool {
        let Some(entry) = self.accounts.get_mut(account) else { return false };
        let is_needed = match &entry.owed {
            Some(owed) => owed.is_due || entry.seen != Some(hash),
            None => false,
        };
        if !is_needed {
            entry.owed = None;
            entry.behind_since = None;
            self.queue.retain(|other| *other != account);
        }
        is_needed
    }

    /// Takes what is owed out of an account, to be sent.
    pub(super) fn depart(
        &mut self,
        account: usize,
        now: Instant,
        interval: Duration,
    ) -> Option<Owed> {
        let entry = self.accounts.get_mut(account)?;
        let owed = entry.owed.take()?;
        entry.bucket.take(now, interval);
        self.queue.retain(|other| *other != account);
        Some(owed)
    }

    /// The delivery in flight was received.
    pub(super) fn received(&mut self, at: Timestamp) {
        let Some(flight) = self.flight.take() else { return };
        self.pause.reset();
        let Some(account) = self.accounts.get_mut(flight.account) else { return };
        account.seen = Some(flight.hash);
        account.delivered = Some(flight.revision);
        account.delivered_at = Some(at);
        // What is owed again may turn out to be nothing new; until then nobody knows better.
        account.behind_since = account.owed.is_some().then_some(at);
        account.failing_since = None;
        account.last_error = None;
        account.attempts = 0;
        account.backoff.reset();
    }

    /// The delivery in flight failed; it stays owed unless something newer already is.
    pub(super) fn failed(
        &mut self,
        failure: &Failure,
        now: Instant,
        at: Timestamp,
        random: &mut Rng,
    ) {
        let Some(flight) = self.flight.take() else { return };
        let is_ill = self.is_ill();
        let Some(account) = self.accounts.get_mut(flight.account) else { return };
        account.seen = None;
        account.behind_since.get_or_insert(at);
        account.failing_since.get_or_insert(at);
        account.last_error = Some(Arc::clone(&failure.text));
        account.attempts = account.attempts.saturating_add(1);
        match failure.fault {
            Fault::Refused => account.backoff.fail(now, failure.retry_after, random),
            Fault::Overloaded | Fault::Unreachable | Fault::TimedOut => {
                self.pause.fail(now, failure.retry_after, random);
            }
        }
        let mut owed = flight.owed;
        if account.attempts >= TRACED_ATTEMPTS_MAX {
            owed.trace = TraceContext::default();
        }
        match &mut account.owed {
            Some(newer) => {
                newer.is_due |= owed.is_due;
                if !newer.trace.is_recorded() {
                    newer.trace = owed.trace;
                }
            }
            None => {
                account.owed = Some(owed);
                // Nothing that hangs or is refused keeps the other services waiting behind it.
                match failure.fault {
                    Fault::Unreachable | Fault::Overloaded => self.queue.push_front(flight.account),
                    Fault::Refused | Fault::TimedOut => self.queue.push_back(flight.account),
                }
            }
        }
        if is_ill {
            self.stand_down(failure.fault, flight.account);
        }
    }

    /// One attempt per turn of the reconciliation is enough for a pod that is unhealthy.
    fn stand_down(&mut self, fault: Fault, account: usize) {
        for (index, entry) in self.accounts.iter_mut().enumerate() {
            if (fault != Fault::Refused || index == account)
                && let Some(owed) = &mut entry.owed
            {
                owed.is_due = false;
            }
        }
    }

    /// What it was told, per subscription.
    pub(super) fn report(&self) -> impl Iterator<Item = DeliveryState> {
        let pairs = self.pod.content.subscriptions.iter().zip(&self.accounts);
        pairs.map(|(wish, account)| account.state(wish))
    }

    /// What it was told of one service.
    pub(super) fn report_of(&self, service: &str) -> Option<DeliveryState> {
        let account = self.account_of(service)?;
        Some(self.accounts.get(account)?.state(self.subscription(account)?))
    }
}

impl Account {
    fn new() -> Self {
        Self {
            owed: None,
            seen: None,
            delivered: None,
            delivered_at: None,
            behind_since: None,
            failing_since: None,
            last_error: None,
            bucket: Bucket::default(),
            backoff: Backoff::default(),
            attempts: 0,
        }
    }

    fn state(&self, wish: &Subscription) -> DeliveryState {
        DeliveryState {
            service: wish.service.clone(),
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            behind_since: self.behind_since,
            failing_since: self.failing_since,
            attempts: self.attempts,
            last_error: self.last_error.clone(),
        }
    }
}
