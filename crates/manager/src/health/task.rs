//! The loop that drives the checks: takes news, starts what is due, takes what ended.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governance_domain::{PodKey, RegistrationId, StreakRules, Timestamp};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::faults::Faults;
use super::inbox::{Inbox, News};
use super::limits::{Places, Rhythm};
use super::probe::{NetworkProber, Prober};
use super::reason::{Attempt, Reason};
use super::report::Report;
use super::schedule::{Due, Ended, Schedule, Slot};
use super::tick::Tick;
use crate::clock::Clock;
use crate::config;
use crate::connect::{Dialer, OwnFault, OwnFaultKind};
use crate::engine::{
    CheckSoon, EngineHandle, HealthFigures, HealthHistory, HealthReader, LastFailure, Observer,
    StatusChange,
};
use crate::telemetry::traces::Traces;

/// Attempts that become due within this time are started together: fewer wake-ups, and a lateness
/// that nobody notices.
const START_STEP: Duration = Duration::from_millis(4);
/// Attempts started or ended before the loop looks at everything else again.
const BATCH_MAX: usize = 256;
/// The loop looks at least so often whether it still runs in time, while attempts are under way.
const WATCH_STEP: Duration = Duration::from_millis(250);
/// The loop woke so much too late: the process did not run, and so did its attempts not.
const STALL_MIN: Duration = Duration::from_secs(1);
/// How soon a manager that may not ask pods looks whether it may again.
const LEAVE_PAUSE: Duration = Duration::from_millis(100);
/// Pause before results that found no room are reported again.
const FLUSH_PAUSE: Duration = Duration::from_millis(50);

/// The ways into health: what the engine tells it, and what others ask.
pub struct Health {
    inbox: Arc<Inbox>,
    board: Arc<Board>,
}

impl Health {
    /// Makes the checks of an engine. Nothing happens before [`HealthTask::run`].
    pub fn new(
        config: &config::Health,
        engine: EngineHandle,
        clock: Arc<dyn Clock>,
        dialer: Arc<Dialer>,
    ) -> (Self, HealthTask) {
        let asked = engine.clone();
        let prober = NetworkProber::new(dialer, config.timeout, Arc::new(move || asked.may_act()));
        Self::with(config, engine, clock, Arc::new(prober), Places::of_this_process())
    }

    pub(super) fn with(
        config: &config::Health,
        engine: EngineHandle,
        clock: Arc<dyn Clock>,
        prober: Arc<dyn Prober>,
        places: Places,
    ) -> (Self, HealthTask) {
        let rhythm = Rhythm::new(config);
        let rules = StreakRules { retry: config.retry, failure_limit: config.failure_limit };
        let inbox = Arc::new(Inbox::new(engine.clone()));
        let board = Arc::new(Board {
            started: Instant::now(),
            clock: Arc::clone(&clock),
            state: Mutex::new(State {
                schedule: Schedule::new(rhythm, rules, places),
                faults: Faults::new(config.interval),
            }),
        });
        let task = HealthTask {
            inbox: Arc::clone(&inbox),
            board: Arc::clone(&board),
            report: Report::new(engine, clock),
            traces: Traces::default(),
            prober,
            rhythm,
            removes: config.failure_limit > 0,
            attempts: JoinSet::new(),
            flights: HashMap::new(),
            handles: HashMap::new(),
            stalled_until: None,
        };
        (Self { inbox, board }, task)
    }

    /// Hears what the engine publishes.
    pub fn observer(&self) -> Arc<dyn Observer> {
        Arc::clone(&self.inbox) as Arc<dyn Observer>
    }

    /// Checks pods before their turn.
    pub fn check_soon(&self) -> Arc<dyn CheckSoon> {
        Arc::clone(&self.inbox) as Arc<dyn CheckSoon>
    }

    /// Shows what is known.
    pub fn reader(&self) -> Arc<dyn HealthReader> {
        Arc::clone(&self.board) as Arc<dyn HealthReader>
    }
}

/// What the loop works on, where readers can look. The lock is held for a batch, never while
/// anything is waited for.
struct Board {
    started: Instant,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    schedule: Schedule,
    faults: Faults,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The loop's panic ends the process; until then readers may look.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Tick {
        Tick::default().after(self.started.elapsed())
    }

    fn instant(&self, tick: Tick) -> Instant {
        self.started + tick.since(Tick::default())
    }
}

/// An attempt under way.
struct Flight {
    slot: Slot,
    registration_id: RegistrationId,
    started: Instant,
}

/// The loop, before it runs.
pub struct HealthTask {
    inbox: Arc<Inbox>,
    board: Arc<Board>,
    report: Report,
    traces: Traces,
    prober: Arc<dyn Prober>,
    rhythm: Rhythm,
    removes: bool,
    attempts: JoinSet<Attempt>,
    flights: HashMap<Id, Flight>,
    handles: HashMap<Slot, AbortHandle>,
    /// What ran out of time before this moment means nothing.
    stalled_until: Option<Instant>,
}

impl HealthTask {
    /// Has checks that something comes of begin a trace.
    #[must_use]
    pub fn with_traces(self, traces: Traces) -> Self {
        Self { traces, ..self }
    }

    /// Checks until `shutdown`; attempts under way are dropped then.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut timer = pin!(sleep_until(Instant::now()));
        loop {
            self.absorb();
            let wake = self.start_due();
            timer.as_mut().reset(wake);
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(joined) = self.attempts.join_next_with_id(), if !self.attempts.is_empty() => {
                    self.notice_stall(wake);
                    self.take_ended(joined);
                }
                () = self.inbox.arrived.notified() => self.notice_stall(wake),
                () = timer.as_mut() => self.notice_stall(wake),
            }
        }
    }

    /// Takes what the engine published.
    fn absorb(&mut self) {
        let News { is_lost, loaded, changed, wanted } = self.inbox.take();
        let now = self.board.now();
        let mut state = self.board.lock();
        let schedule = &mut state.schedule;
        if is_lost {
            schedule.clear();
            self.report.clear();
        }
        if let Some(snapshot) = loaded {
            schedule.load(snapshot.registry.pods(), now);
        }
        for (key, pod) in changed {
            match pod {
                Some(pod) => schedule.put(&pod, now),
                None => schedule.remove(&key),
            }
        }
        for key in wanted {
            schedule.check_soon(&key, now);
        }
        for slot in schedule.take_unwanted() {
            if let Some(handle) = self.handles.get(&slot) {
                handle.abort();
            }
        }
    }

    /// Starts what is due; returns when to look again.
    fn start_due(&mut self) -> Instant {
        let now = self.board.now();
        let board = Arc::clone(&self.board);
        let mut state = board.lock();
        let State { schedule, faults } = &mut *state;
        schedule.turn(now);
        if self.removes {
            faults.note_jam(schedule.jam());
        }
        faults.tidy(now);
        self.report.flush();
        if schedule.pod_count() > 0 && !self.report.may_ask() {
            return self.board.instant(now.after(LEAVE_PAUSE));
        }
        let mut count = 0;
        while count < BATCH_MAX
            && let Some(due) = schedule.take_due(now)
        {
            if let Some(lag) = due.lag.filter(|lag| *lag >= self.rhythm.late) {
                faults.note_late(lag, schedule.in_flight(), schedule.pod_count(), now);
            }
            self.start(due);
            count += 1;
        }
        self.next_look(schedule, now, count)
    }

    fn next_look(&self, schedule: &Schedule, now: Tick, started: usize) -> Instant {
        if started == BATCH_MAX {
            return self.board.instant(now);
        }
        let mut next = schedule.next_turn();
        if let Some(wake) = schedule.next_wake() {
            next = next.min(wake.max(now.after(START_STEP)));
        }
        if schedule.in_flight() > 0 {
            next = next.min(now.after(WATCH_STEP));
        }
        if self.report.is_behind() {
            next = next.min(now.after(FLUSH_PAUSE));
        }
        self.board.instant(next)
    }

    fn start(&mut self, due: Due) {
        let Due { slot, registration_id, content, .. } = due;
        let handle = self.attempts.spawn(self.prober.probe(&content));
        let flight = Flight { slot, registration_id, started: Instant::now() };
        self.flights.insert(handle.id(), flight);
        self.handles.insert(slot, handle);
    }

    /// Takes an attempt that ended, and those that ended meanwhile.
    fn take_ended(&mut self, first: Result<(Id, Attempt), JoinError>) {
        let board = Arc::clone(&self.board);
        let now = board.now();
        let at = board.clock.now();
        let mut state = board.lock();
        self.note_ended(&mut state, first, now, at);
        for _ in 1..BATCH_MAX {
            let Some(next) = self.attempts.try_join_next_with_id() else { break };
            self.note_ended(&mut state, next, now, at);
        }
    }

    fn note_ended(
        &mut self,
        state: &mut State,
        joined: Result<(Id, Attempt), JoinError>,
        now: Tick,
        at: Timestamp,
    ) {
        let (id, attempt) = match joined {
            Ok((id, attempt)) => (id, Some(attempt)),
            Err(error) => {
                let is_panic = error.is_panic();
                let id = error.id();
                let detail = || format!("an attempt panicked: {error}");
                let defect =
                    || Attempt::Ours(OwnFault { kind: OwnFaultKind::Defect, detail: detail() });
                (id, is_panic.then(defect))
            }
        };
        let Some(flight) = self.flights.remove(&id) else { return };
        let Flight { slot, registration_id, started } = flight;
        self.handles.remove(&slot);
        let attempt = attempt.map(|attempt| self.doubt(attempt, started));
        if let Some(Attempt::Ours(fault)) = &attempt {
            state.faults.note(fault, now);
        }
        let ended = Ended { slot, registration_id, attempt };
        let Some(conclusion) = state.schedule.ended(ended, now, at) else { return };
        debug!(pod = %conclusion.key, status = %conclusion.status, why = %conclusion.reason,
            "checked");
        let is_held = state.schedule.jam().is_some();
        self.report.conclude(conclusion, self.traces.beginning(started), is_held);
    }

    /// What ran out of time while this process did not run is no verdict.
    fn doubt(&self, attempt: Attempt, started: Instant) -> Attempt {
        let is_doubtful = matches!(attempt, Attempt::Failed(Reason::NoAnswer(_)))
            && self.stalled_until.is_some_and(|until| started < until);
        if !is_doubtful {
            return attempt;
        }
        let detail = "this process did not run for a while".to_owned();
        Attempt::Ours(OwnFault { kind: OwnFaultKind::Stall, detail })
    }

    fn notice_stall(&mut self, expected: Instant) {
        let now = Instant::now();
        if now.saturating_duration_since(expected) >= STALL_MIN {
            self.stalled_until = Some(now);
        }
    }
}

impl HealthReader for Board {
    fn history(&self, key: &PodKey) -> Option<HealthHistory> {
        let now = self.now();
        let state = self.lock();
        let entry = state.schedule.pod(key)?;
        let changes = entry.history.changes.iter().map(|change| StatusChange {
            at: change.at,
            from: change.from,
            to: change.to,
            reason: change.reason.to_string(),
        });
        let last_failure = entry
            .history
            .failure
            .as_deref()
            .map(|(at, reason)| LastFailure { at: *at, reason: reason.to_string() });
        let wait = i64::try_from(entry.wake.since(now).as_micros()).unwrap_or(i64::MAX);
        let next = Timestamp::from_micros(self.clock.now().as_micros().saturating_add(wait));
        Some(HealthHistory {
            changes: changes.collect(),
            last_failure,
            consecutive_failures: entry.streak.failed_checks(),
            next_attempt: (!entry.doing.is_attempt()).then_some(next),
        })
    }

    fn figures(&self) -> HealthFigures {
        let now = self.now();
        let mut state = self.lock();
        let State { schedule, faults } = &mut *state;
        let [lag_p50, lag_p99, lag_max] = schedule.lag(now);
        HealthFigures {
            pods: schedule.pod_count(),
            in_flight: schedule.in_flight(),
            passed: schedule.sums.passed,
            failed: schedule.sums.failed,
            skipped: schedule.sums.skipped,
            own_faults: faults.counts(),
            lag_p50,
            lag_p99,
            lag_max,
            is_removal_held: schedule.jam().is_some(),
        }
    }
}
