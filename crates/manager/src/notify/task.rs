//! The notification task: brings together what happened, the time, and the deliveries.
//!
//! Its lock on the dispatch is held for one step at a time, never across a wait; the writer never
//! takes it. What is in flight runs beside this task and ends with it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governance_domain::PodKey;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::Office;
use super::courier::{Courier, Failure, Parcel};
use super::dispatch::Dispatch;
use super::mailbox::Mailbox;
use super::traced::Step;
use crate::clock::Clock;
use crate::engine::{DeliveryFigures, DeliveryReader, DeliveryState};

/// How long what is owed may still be sent once the manager ends.
const FAREWELL_MAX: Duration = Duration::from_secs(10);
/// How often idle connections are looked at.
const TIDY_PAUSE: Duration = Duration::from_secs(2);
/// After taking in changes, this many times what it took goes to everything else; what changes
/// meanwhile is then taken in as one.
const REST_FACTOR: u32 = 2;
/// That rest is no longer than this.
const REST_MAX: Duration = Duration::from_millis(20);
/// How soon a manager that may not send looks whether it may again.
const LEAVE_PAUSE: Duration = Duration::from_millis(100);
/// Departures begun before other things get their turn.
const DEPARTURES_MAX: usize = 256;

/// How an attempt ended.
type Ended = Result<(Id, Result<(), Failure>), JoinError>;

/// The dispatch as its two users see it.
pub(super) type Shared = Arc<Mutex<Dispatch>>;

/// Sends notifications until it is told to stop.
pub struct NotifyTask {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) dispatch: Shared,
    pub(super) courier: Arc<dyn Courier>,
    pub(super) office: Arc<dyn Office>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) interval: Option<Duration>,
    pub(super) attempts: JoinSet<Result<(), Failure>>,
    pub(super) tickets: HashMap<Id, u64>,
    pub(super) handles: HashMap<u64, AbortHandle>,
    /// When changes may be taken in again.
    pub(super) rested: Instant,
    /// When to begin more deliveries, if nothing else happens before.
    pub(super) resume: Option<Instant>,
}

/// What woke the task.
enum Woken {
    Mail,
    Ended(Ended),
    Time,
    Shutdown,
}

impl NotifyTask {
    /// Shows what subscribers were told.
    pub fn reader(&self) -> Arc<dyn DeliveryReader> {
        Arc::new(Reader(Arc::clone(&self.dispatch)))
    }

    /// Runs until `shutdown`, and then until what can be sent is sent.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut next_tidy = Instant::now() + TIDY_PAUSE;
        let mut next_round = self.interval.map(|every| Instant::now() + every);
        loop {
            let chore = next_round.map_or(next_tidy, |round| round.min(next_tidy));
            match self.wait(&shutdown, chore).await {
                Woken::Mail => self.take_mail().await,
                Woken::Ended(ended) => self.take_ended(ended),
                Woken::Time => {}
                Woken::Shutdown => break,
            }
            self.proceed();
            let now = Instant::now();
            if next_tidy <= now {
                self.courier.tidy();
                next_tidy = now + TIDY_PAUSE;
            }
            if next_round.is_some_and(|round| round <= now) {
                self.note_round();
                next_round = self.interval.map(|every| now + every);
            }
        }
        self.farewell().await;
    }

    async fn wait(&mut self, shutdown: &CancellationToken, chore: Instant) -> Woken {
        let timer = lock(&self.dispatch).next_tick();
        let time = [timer, self.resume].into_iter().flatten().fold(chore, Instant::min);
        let (mailbox, rested) = (Arc::clone(&self.mailbox), self.rested);
        let mail = async {
            sleep_until(rested).await;
            mailbox.rung().await;
        };
        // News first: it rests between two times, so that it keeps nothing else from its turn.
        tokio::select! {
            biased;
            () = shutdown.cancelled() => Woken::Shutdown,
            () = mail => Woken::Mail,
            Some(ended) = self.attempts.join_next_with_id() => Woken::Ended(ended),
            () = sleep_until(time) => Woken::Time,
        }
    }

    /// Takes in what was published.
    async fn take_mail(&mut self) {
        let begun = Instant::now();
        let mail = self.mailbox.take();
        if let Some(turn) = &mail.turn {
            // All that is in flight ends here, before anything else is done.
            self.attempts.shutdown().await;
            self.tickets.clear();
            self.handles.clear();
            lock(&self.dispatch).turn(turn, &mail, Instant::now());
        }
        lock(&self.dispatch).take(&mail, Instant::now(), self.clock.now());
        let took = begun.elapsed();
        self.rested = begun + took + (took * REST_FACTOR).min(REST_MAX);
    }

    fn take_ended(&mut self, ended: Ended) {
        let mut next = Some(ended);
        while let Some(ended) = next {
            let (id, result) = match ended {
                Ok((id, result)) => (id, Some(result)),
                Err(fault) if fault.is_cancelled() => (fault.id(), None),
                Err(fault) => std::panic::resume_unwind(fault.into_panic()),
            };
            if let Some(ticket) = self.tickets.remove(&id) {
                self.handles.remove(&ticket);
                lock(&self.dispatch).ended(ticket, result, Instant::now(), self.clock.now());
            }
            next = self.attempts.try_join_next_with_id();
        }
    }

    /// Does what is due, ends what is void, and begins what may begin.
    fn proceed(&mut self) {
        let dispatch = Arc::clone(&self.dispatch);
        let (now, at) = (Instant::now(), self.clock.now());
        let mut dispatch = lock(&dispatch);
        dispatch.tick(now, at);
        for ticket in dispatch.take_stopped() {
            if let Some(handle) = self.handles.get(&ticket) {
                handle.abort();
            }
        }
        self.resume = None;
        for _ in 0..DEPARTURES_MAX {
            if !self.office.may_send() {
                self.resume = dispatch.is_loaded().then(|| now + LEAVE_PAUSE);
                return;
            }
            let Some(departure) = dispatch.next_departure(now, at) else { return };
            self.begin(departure.ticket, departure.parcel);
        }
        self.resume = Some(now);
    }

    fn begin(&mut self, ticket: u64, mut parcel: Parcel) {
        let (subscriber, service) = (parcel.subscriber.clone(), parcel.service.clone());
        let revision = parcel.revision.as_u64();
        let begun = Instant::now();
        let mut step = Step::begin(&mut parcel);
        let attempt = Arc::clone(&self.courier).carry(parcel);
        let handle = self.attempts.spawn(async move {
            let result = attempt.await;
            step.end(result.as_ref().err());
            log(&subscriber, service.as_str(), revision, begun, result.as_ref().err());
            result
        });
        self.tickets.insert(handle.id(), ticket);
        self.handles.insert(ticket, handle);
    }

    fn note_round(&self) {
        let requests = lock(&self.dispatch).take_repeated();
        if requests > 0 && self.office.may_send() {
            self.office.note_reconcile(format!("{requests} notifications repeated"));
        }
    }

    /// Sends what can be sent, and ends.
    async fn farewell(&mut self) {
        let deadline = Instant::now() + FAREWELL_MAX;
        self.take_mail().await;
        lock(&self.dispatch).drain(Instant::now());
        let never = CancellationToken::new();
        loop {
            self.proceed();
            if lock(&self.dispatch).is_drained() {
                break;
            }
            if Instant::now() >= deadline {
                break;
            }
            match self.wait(&never, deadline).await {
                Woken::Mail => self.take_mail().await,
                Woken::Ended(ended) => self.take_ended(ended),
                Woken::Time | Woken::Shutdown => {}
            }
        }
        let unsent = self.attempts.len();
        self.attempts.shutdown().await;
        if unsent > 0 {
            info!(unsent, "notifications under way were given up at the end");
        }
    }
}

fn log(
    subscriber: &PodKey,
    service: &str,
    revision: u64,
    begun: Instant,
    failure: Option<&Failure>,
) {
    let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    match failure {
        None => debug!(%subscriber, service, revision, duration_ms, "notified"),
        Some(failure) => {
            debug!(%subscriber, service, revision, duration_ms, why = %failure.text,
                "a notification was not received");
        }
    }
}

fn lock(dispatch: &Mutex<Dispatch>) -> MutexGuard<'_, Dispatch> {
    // A panic in a step ends the process; until then a reader may see a state between two steps.
    dispatch.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads for request handlers.
struct Reader(Shared);

impl DeliveryReader for Reader {
    fn deliveries(&self, key: &PodKey) -> Vec<DeliveryState> {
        lock(&self.0).deliveries(key)
    }

    fn deliveries_of(&self, service: &str) -> Vec<(PodKey, DeliveryState)> {
        lock(&self.0).deliveries_of(service)
    }

    fn figures(&self) -> DeliveryFigures {
        lock(&self.0).figures()
    }
}
