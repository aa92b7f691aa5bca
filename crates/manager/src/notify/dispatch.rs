//! Who is owed what, and who may be told now. No waiting, no sockets, no clock: what happens comes
//! in with its time, and what is to be sent goes out as parcels.
//!
//! Level-triggered: a change marks its service as owed to each subscriber that sees it; what is
//! sent is the newest state at the moment of sending. Invariants: at most one delivery per
//! subscriber is in flight, also over a new registration; nothing is sent before a state was
//! loaded, nor after it was lost; a subscriber has one timer and one place in the line at most.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use governance_domain::{NoticeKind, Pod, PodKey, ProviderFilter, ServiceName, Timestamp};
use tokio::time::Instant;

use super::body;
use super::courier::{Failure, Fault, Parcel};
use super::limits::Limits;
use super::list::Lists;
use super::mailbox::{Mail, News, Step, Turn};
use super::reconcile::{self, Pace};
use super::slots::{Share, Slots};
use super::subscriber::{Flight, Next, Repeat, Subscriber};
use crate::engine::{DeliveryFigures, DeliveryState, Snapshot};
use crate::telemetry::traces::TraceContext;

/// How long a pod that registered is told nothing: its answer is written by then. What changes
/// meanwhile is sent afterwards, as one.
const ANSWER_HOLD: Duration = Duration::from_millis(250);

/// How attempts end, in the words of the metrics.
const ENDINGS: [&str; 6] =
    ["received", "refused", "overloaded", "unreachable", "timed_out", "given_up"];

/// A delivery to be made.
#[derive(Debug)]
pub(super) struct Departure {
    pub(super) ticket: u64,
    pub(super) parcel: Parcel,
}

/// All subscribers. Written by the notification task alone, read by request handlers.
#[derive(Debug)]
pub(super) struct Dispatch {
    pace: Pace,
    /// The newest state; none before the first, and after a loss.
    snapshot: Option<Arc<Snapshot>>,
    subscribers: BTreeMap<PodKey, Subscriber>,
    /// When to look at a subscriber again.
    timers: BTreeSet<(Instant, PodKey)>,
    /// Subscribers that may be sent something, in the order in which that came to be.
    ready: VecDeque<PodKey>,
    /// The same, of those that did not answer the last time.
    suspects: VecDeque<PodKey>,
    slots: Slots,
    lists: Lists,
    random: Rng,
    last_ticket: u64,
    /// Deliveries to be ended before their time; taken by the notification task.
    stopped: Vec<u64>,
    /// Requests of the reconciliation since its last entry in the audit.
    repeated: u64,
    /// Attempts by how they ended, in the order of [`ENDINGS`].
    attempts: [u64; ENDINGS.len()],
}

impl Dispatch {
    pub(super) fn new(pace: Pace, limits: Limits, hides_unhealthy: bool, random: Rng) -> Self {
        Self {
            pace,
            snapshot: None,
            subscribers: BTreeMap::new(),
            timers: BTreeSet::new(),
            ready: VecDeque::new(),
            suspects: VecDeque::new(),
            slots: Slots::new(limits),
            lists: Lists::new(hides_unhealthy),
            random,
            last_ticket: 0,
            stopped: Vec::new(),
            repeated: 0,
            attempts: [0; ENDINGS.len()],
        }
    }

    /// The state was lost or read anew: nothing that is in flight counts any more.
    pub(super) fn turn(&mut self, turn: &Turn, mail: &Mail, now: Instant) {
        self.snapshot = None;
        self.subscribers.clear();
        self.timers.clear();
        self.ready.clear();
        self.suspects.clear();
        self.slots.clear();
        self.stopped.clear();
        self.lists.forget();
        if let (Turn::Loaded, Some(snapshot)) = (turn, &mail.snapshot) {
            self.snapshot = Some(Arc::clone(snapshot));
            self.begin(snapshot, now);
        }
    }

    /// Everyone gets the current state, no more than so many requests a second.
    fn begin(&mut self, snapshot: &Snapshot, now: Instant) {
        let mut requests = 0;
        for pod in snapshot.registry.pods() {
            if pod.content.subscriptions.is_empty() {
                continue;
            }
            let mut subscriber = Subscriber::new(Arc::clone(pod));
            subscriber.reconcile = Some((now + reconcile::start_offset(requests), Repeat::Start));
            requests += pod.content.subscriptions.len();
            self.subscribers.insert(pod.key.clone(), subscriber);
            self.reschedule(&pod.key, now);
        }
    }

    /// Takes in what changed. A turn was dealt with before.
    pub(super) fn take(&mut self, mail: &Mail, now: Instant, at: Timestamp) {
        if self.snapshot.is_none() {
            return;
        }
        if let Some(snapshot) = &mail.snapshot {
            self.snapshot = Some(Arc::clone(snapshot));
        }
        let Some(snapshot) = self.snapshot.clone() else { return };
        for (key, answered) in &mail.subscribers {
            let pod = snapshot.registry.pod_by(key);
            let pod = pod.filter(|pod| !pod.content.subscriptions.is_empty());
            match (pod, answered, self.subscribers.get_mut(key)) {
                (Some(pod), None, Some(known)) => {
                    known.take_health(Arc::clone(pod));
                    self.reschedule(key, now);
                }
                (Some(pod), answered, _) => {
                    let answered = answered.as_ref().unwrap_or(&snapshot);
                    self.take_registration(pod, answered, now, at);
                }
                (None, ..) => self.remove(key),
            }
        }
        for (service, news) in &mail.services {
            self.fan_out(&snapshot, service, news, now, at);
        }
    }

    /// A pod registered: it is told nothing for a moment, and holds what its answer said.
    fn take_registration(
        &mut self,
        pod: &Arc<Pod>,
        answered: &Snapshot,
        now: Instant,
        at: Timestamp,
    ) {
        self.remove(&pod.key);
        let mut subscriber = Subscriber::new(Arc::clone(pod));
        subscriber.hold = Some(now + ANSWER_HOLD);
        subscriber.reconcile = Some((now + reconcile::GREETING, Repeat::Greeting));
        for (account, wish) in pod.content.subscriptions.iter().enumerate() {
            let list = self.lists.get(answered, wish);
            subscriber.was_answered(account, list.hash, answered.revision(), at);
        }
        self.subscribers.insert(pod.key.clone(), subscriber);
        self.reschedule(&pod.key, now);
    }

    /// Forgets a subscriber, and ends what is under way to it.
    fn remove(&mut self, key: &PodKey) {
        let Some(gone) = self.subscribers.remove(key) else { return };
        if let Some(flight) = gone.flight {
            self.stopped.push(flight.ticket);
        }
        if let Some(wake) = gone.wake {
            self.timers.remove(&(wake, key.clone()));
        }
        if gone.is_ready {
            self.ready.retain(|other| other != key);
            self.suspects.retain(|other| other != key);
        }
    }

    /// A service changed: its subscribers are owed what they see of it.
    fn fan_out(
        &mut self,
        snapshot: &Snapshot,
        service: &ServiceName,
        news: &News,
        now: Instant,
        at: Timestamp,
    ) {
        let Some(newest) = news.steps.last().map(|step| step.kind) else { return };
        let mut seen: BTreeMap<(bool, ProviderFilter), Option<(NoticeKind, TraceContext)>> =
            BTreeMap::new();
        for key in snapshot.registry.subscribers(service.as_str()) {
            let Some(subscriber) = self.subscribers.get_mut(key) else { continue };
            let Some(account) = subscriber.account_of(service.as_str()) else { continue };
            let Some(wish) = subscriber.subscription(account) else { continue };
            let sight = self.lists.sight(wish);
            let cue = match sight {
                (false, ProviderFilter::All) => Some((newest, news.trace.clone())),
                sight => {
                    let is_seen = |step: &Step| self.lists.sees(wish, step);
                    seen.entry(sight).or_insert_with(|| news.newest_seen(is_seen)).clone()
                }
            };
            if let Some((kind, trace)) = cue {
                subscriber.owe(account, kind, trace, at);
                self.reschedule(key, now);
            }
        }
    }

    /// Looks when a subscriber may be sent something: it takes its place in the line, or a timer
    /// is set.
    fn reschedule(&mut self, key: &PodKey, now: Instant) {
        let Some(subscriber) = self.subscribers.get_mut(key) else { return };
        let mut wake = subscriber.reconcile.map(|(at, _)| at);
        if !subscriber.is_ready && !self.slots.is_busy(key) {
            match subscriber.next(now, self.pace.min_interval) {
                Next::Account(_) => {
                    subscriber.is_ready = true;
                    let line =
                        if subscriber.is_suspect() { &mut self.suspects } else { &mut self.ready };
                    line.push_back(key.clone());
                }
                Next::At(at) => wake = Some(wake.map_or(at, |other| other.min(at))),
                Next::Nothing => {}
            }
        }
        if subscriber.wake != wake {
            if let Some(earlier) = std::mem::replace(&mut subscriber.wake, wake) {
                self.timers.remove(&(earlier, key.clone()));
            }
            self.timers.extend(wake.map(|at| (at, key.clone())));
        }
    }

    /// Does what is due by now.
    pub(super) fn tick(&mut self, now: Instant, at: Timestamp) {
        self.slots.age(now);
        while let Some((due, _)) = self.timers.first()
            && *due <= now
        {
            let Some((_, key)) = self.timers.pop_first() else { return };
            let Some(subscriber) = self.subscribers.get_mut(&key) else { continue };
            subscriber.wake = None;
            if let Some((due, why)) = subscriber.reconcile
                && due <= now
            {
                self.repeated += subscriber.repeat(why, at) as u64;
                subscriber.reconcile = self.pace.next_round(why, due, now, &mut self.random);
            }
            self.reschedule(&key, now);
        }
    }

    /// When [`Dispatch::tick`] has something to do again.
    pub(super) fn next_tick(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let aging = self.slots.next();
        timer.into_iter().chain(aging).min()
    }

    /// Whether there is a state that could be sent.
    pub(super) fn is_loaded(&self) -> bool {
        self.snapshot.is_some()
    }

    /// The next delivery that may begin; none until something happens.
    pub(super) fn next_departure(&mut self, now: Instant, at: Timestamp) -> Option<Departure> {
        let snapshot = self.snapshot.clone()?;
        loop {
            if self.lists.is_crowded() && self.slots.len() > 0 {
                return None;
            }
            let key = self.next_in_line()?;
            if let Some(departure) = self.depart(&key, &snapshot, now, at) {
                return Some(departure);
            }
        }
    }

    fn next_in_line(&mut self) -> Option<PodKey> {
        let healthy = self.slots.has_room(false).then(|| self.ready.pop_front()).flatten();
        healthy.or_else(|| self.slots.has_room(true).then(|| self.suspects.pop_front()).flatten())
    }

    fn depart(
        &mut self,
        key: &PodKey,
        snapshot: &Snapshot,
        now: Instant,
        at: Timestamp,
    ) -> Option<Departure> {
        let subscriber = self.subscribers.get_mut(key)?;
        subscriber.is_ready = false;
        while let Next::Account(account) = subscriber.next(now, self.pace.min_interval)
            && !self.slots.is_busy(key)
        {
            let wish = subscriber.subscription(account)?;
            let list = self.lists.get(snapshot, wish);
            if !subscriber.needs(account, list.hash) {
                continue;
            }
            let owed = subscriber.depart(account, now, self.pace.min_interval)?;
            let service = subscriber.subscription(account)?.service.clone();
            self.last_ticket += 1;
            let (ticket, revision) = (self.last_ticket, snapshot.revision());
            let parcel = Parcel {
                subscriber: key.clone(),
                content: Arc::clone(&subscriber.pod.content),
                head: body::head(&service, owed.cause, at, snapshot),
                service,
                revision,
                list: list.bytes,
                attempt: subscriber.attempt(account),
                trace: owed.trace.clone(),
            };
            subscriber.flight = Some(Flight { ticket, account, owed, hash: list.hash, revision });
            let share = if subscriber.is_suspect() { Share::Suspect } else { Share::Fresh };
            self.slots.begin(ticket, (key, parcel.list.len()), share, now);
            self.reschedule(key, now);
            return Some(Departure { ticket, parcel });
        }
        self.reschedule(key, now);
        None
    }

    /// A delivery ended; none if it was ended before its time.
    pub(super) fn ended(
        &mut self,
        ticket: u64,
        result: Option<Result<(), Failure>>,
        now: Instant,
        at: Timestamp,
    ) {
        let ending = match &result {
            Some(Ok(())) => 0,
            Some(Err(failure)) => match failure.fault {
                Fault::Refused => 1,
                Fault::Overloaded => 2,
                Fault::Unreachable => 3,
                Fault::TimedOut => 4,
            },
            None => 5,
        };
        if let Some(count) = self.attempts.get_mut(ending) {
            *count += 1;
        }
        let Some(key) = self.slots.end(ticket) else { return };
        if let Some(subscriber) = self.subscribers.get_mut(&key)
            && subscriber.flight.as_ref().is_some_and(|flight| flight.ticket == ticket)
        {
            match result {
                Some(Ok(())) => subscriber.received(at),
                Some(Err(failure)) => subscriber.failed(&failure, now, at, &mut self.random),
                None => subscriber.flight = None,
            }
        }
        self.reschedule(&key, now);
    }

    /// Deliveries that are to be ended before their time.
    pub(super) fn take_stopped(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.stopped)
    }

    /// Requests of the reconciliation since this was last asked.
    pub(super) fn take_repeated(&mut self) -> u64 {
        std::mem::take(&mut self.repeated)
    }

    /// The manager ends: nothing is repeated any more.
    pub(super) fn drain(&mut self, now: Instant) {
        let keys: Vec<PodKey> = self.subscribers.keys().cloned().collect();
        for key in keys {
            if let Some(subscriber) = self.subscribers.get_mut(&key) {
                subscriber.keep_news_only();
                self.reschedule(&key, now);
            }
        }
    }

    /// Whether all that can be sent soon was sent: nobody is waited for who failed before.
    pub(super) fn is_drained(&self) -> bool {
        self.slots.len() == 0
            && self.subscribers.values().all(|known| known.is_settled() || !known.is_well())
    }

    pub(super) fn deliveries(&self, key: &PodKey) -> Vec<DeliveryState> {
        self.subscribers.get(key).map(|known| known.report().collect()).unwrap_or_default()
    }

    /// How it goes as a whole. Looks at every subscriber.
    pub(super) fn figures(&self) -> DeliveryFigures {
        let attempts = ENDINGS.into_iter().zip(self.attempts).collect();
        let (subscribers, in_flight) = (self.subscribers.len(), self.slots.len());
        let mut figures =
            DeliveryFigures { subscribers, in_flight, attempts, ..DeliveryFigures::default() };
        for subscriber in self.subscribers.values() {
            let since = subscriber.behind_since();
            figures.behind += usize::from(since.is_some());
            figures.failing += usize::from(subscriber.is_failing());
            // One that is down cannot be told, and shows as unhealthy.
            let since = since.filter(|_| !subscriber.is_ill());
            figures.behind_since = figures.behind_since.into_iter().chain(since).min();
        }
        figures
    }

    pub(super) fn deliveries_of(&self, service: &str) -> Vec<(PodKey, DeliveryState)> {
        let Some(snapshot) = &self.snapshot else { return Vec::new() };
        let keys = snapshot.registry.subscribers(service);
        keys.filter_map(|key| Some((key.clone(), self.subscribers.get(key)?.report_of(service)?)))
            .collect()
    }
}
