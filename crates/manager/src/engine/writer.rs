//! The single writer: owns the state, and is the only one to change it.
//!
//! Decide → persist → apply → publish → answer → tell the observers. While a batch is with the
//! store, what arrives waits and forms the next one; that is decided only when the one before it
//! is applied. What checks find is applied at any time, because it commutes with batches.
//!
//! INVARIANT: what is published is stored, except health, which is published first.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use governance_domain::{Applied, Change, Decision, PodKey, RegistrationId, Registry, Revision};
use governance_store::{CommitError, StoreFault, Tenure};
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::background::{Background, BackgroundEvent};
use super::batch::{Decided, Decisions, decide};
use super::entries::{health_entry, takeover};
use super::flight::{Flight, Landing, Question};
use super::handle::SubmitError;
use super::inbox::Pending;
use super::observation::Observation;
use super::observer::Event;
use super::office::{Engine, Exit};
use super::snapshot::Snapshot;
use super::soft::write_of;
use super::standing::{Phase, Writes};
use super::tenure::{Attempt, Backoff, Evidence, chain, evidence};
use super::{answer::answer, traced};
use crate::clock::Stamp;
use crate::telemetry::traces::TraceContext;

/// Commands in one batch. Larger batches gain little and make everyone in them wait longer.
const BATCH_MAX: usize = 1_024;
/// Observations applied before commands get their turn again.
const OBSERVATIONS_MAX: usize = 1_024;

/// The writer while it is active. Every field is written by it alone.
pub(super) struct Writer<'a> {
    engine: &'a Engine,
    /// The state: what is published, and nothing else.
    registry: Registry,
    tenure: Tenure,
    /// The last registration id given.
    last_id: RegistrationId,
    /// Commands of a batch that was not applied, oldest first; before those of the inbox.
    backlog: VecDeque<Pending>,
    /// Commands in the next batch; smaller while a refused command is being singled out.
    batch_limit: usize,
    flight: Flight,
    backoff: Backoff,
    background: Background,
    /// The lease ended while somebody else may have it, and nobody knows yet.
    is_suspended: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        engine: &'a Engine,
        tenure: Tenure,
        registry: Registry,
        begun: Stamp,
    ) -> Self {
        Self {
            engine,
            registry,
            tenure,
            last_id: RegistrationId::start_of(tenure.epoch),
            backlog: VecDeque::new(),
            batch_limit: BATCH_MAX,
            flight: Flight::Idle,
            backoff: Backoff::default(),
            background: Background::new(
                &tenure,
                begun,
                engine.settings.audit_retention,
                Arc::clone(&engine.post),
            ),
            is_suspended: false,
        }
    }

    /// Writes until there is a reason to stop.
    pub(super) async fn serve(mut self) -> Exit {
        self.begin();
        loop {
            let turn = tokio::select! {
                biased;
                landing = self.flight.land() => Turn::Landed(landing),
                event = self.background.next() => Turn::Background(event),
                () = poll_fn(|context| self.engine.observations.poll_ready(context)) => Turn::Observed,
                () = commands(self.engine, &self.backlog), if self.flight.is_idle() => Turn::Commands,
            };
            let exit = match turn {
                Turn::Landed(landing) => self.landed(landing),
                Turn::Background(event) => self.background_event(event),
                Turn::Observed => self.observe(),
                Turn::Commands => self.form_batch(),
            };
            if let Some(exit) = exit {
                return self.end(exit).await;
            }
        }
    }

    /// Publishes the loaded state and opens for commands.
    fn begin(&mut self) {
        let snapshot = self.publish();
        self.engine.post.change(|standing| {
            standing.phase = Phase::Active;
            standing.epoch = self.tenure.epoch;
            standing.writes = Writes::Available;
        });
        for observer in &self.engine.observers {
            observer.loaded(&snapshot);
        }
        self.background.note_takeover(self.engine.clock.now(), self.tenure.epoch);
    }

    async fn end(mut self, exit: Exit) -> Exit {
        let phase = match &exit {
            Exit::Closed => Phase::Stopping,
            Exit::Deposed { address } => Phase::Standby { active: address.clone() },
            Exit::Reload => Phase::Loading { reason: "reading again".to_owned() },
        };
        for pending in self.backlog.drain(..) {
            pending.fail(SubmitError::NotActive(phase.clone()));
        }
        if matches!(exit, Exit::Closed) {
            self.background.farewell(&self.engine.store, &self.tenure).await;
        }
        exit
    }

    /// Takes what waits, decides it and gives it to the store.
    fn form_batch(&mut self) -> Option<Exit> {
        if self.registry.revision().is_exhausted() || self.last_id.is_exhausted() {
            self.ask(Question::Tenure);
            return None;
        }
        let mut commands = Vec::new();
        while commands.len() < self.batch_limit {
            let Some(pending) = self.backlog.pop_front().or_else(|| self.engine.inbox.pop()) else {
                break;
            };
            // Dropped if it is too late: its caller, if there is one, withdraws it then.
            if !pending.is_late() && pending.ticket.take() {
                traced::waited(&pending);
                commands.push(pending);
            }
        }
        if commands.is_empty() {
            return self.engine.inbox.is_drained().then_some(Exit::Closed);
        }
        if let Some(oldest) = commands.first() {
            self.engine.figures.queue_wait.note(oldest.since.elapsed());
        }
        self.engine.figures.batch_commands.note_count(commands.len());
        let decisions = decide(
            commands,
            &self.registry,
            self.engine.settings.max_pods_per_service,
            self.last_id,
            &self.tenure,
            self.engine.clock.now(),
        );
        self.last_id = decisions.last_id;
        match decisions.batch.clone() {
            Some(batch) => {
                debug!(commands = decisions.decided.len(), sequence = batch.sequence, "commit");
                let Engine { store, figures, .. } = self.engine;
                self.flight = Flight::commit(store, figures, decisions, batch);
            }
            None => self.settle(decisions),
        }
        None
    }

    fn landed(&mut self, landing: Landing) -> Option<Exit> {
        match landing {
            Landing::PauseOver => {}
            Landing::Committed(decisions, result) => {
                traced::committed(&decisions, result.as_ref().err());
                match result {
                    Ok(()) => self.committed(decisions),
                    Err(error) => self.not_committed(decisions, error),
                }
            }
            Landing::AskAgain(question) => self.ask(question),
            Landing::Attempted(question, attempt) => return self.attempted(question, attempt),
            Landing::Rewritten(tenure, result) => self.rewritten(tenure, result),
        }
        None
    }

    fn committed(&mut self, decisions: Decisions) {
        if let Some(batch) = &decisions.batch {
            self.tenure.sequence = batch.sequence;
        }
        self.batch_limit = (self.batch_limit * 2).min(BATCH_MAX);
        self.store_answers();
        self.settle(decisions);
    }

    /// Applies, publishes, answers, tells.
    fn settle(&mut self, decisions: Decisions) {
        let mut events = Vec::with_capacity(decisions.decided.len());
        let mut answers = Vec::with_capacity(decisions.decided.len());
        // Ended when all is told.
        let mut steps = Vec::new();
        for Decided { pending, verdict } in decisions.decided {
            let revision = match &verdict {
                Some(Ok(Decision::Changed(change))) => {
                    let applied = self.registry.apply(change);
                    self.background.soft.forget_if_gone(change);
                    let revision = applied.revision;
                    let reason = Cow::Borrowed(reason(change, &applied));
                    let step = traced::published(&pending, revision);
                    events.push(event(change.key(), applied, reason, step.context()));
                    steps.push(step);
                    Some(revision)
                }
                Some(Ok(Decision::Unchanged(_)) | Err(_)) | None => None,
            };
            answers.push((pending, verdict, revision));
        }
        let snapshot =
            if events.is_empty() { self.engine.published.load() } else { self.publish() };
        for (pending, verdict, revision) in answers {
            answer(&self.engine.figures, pending, verdict, revision, &snapshot);
        }
        self.tell(&snapshot, &events);
    }

    fn publish(&self) -> Arc<Snapshot> {
        let snapshot = Arc::new(Snapshot {
            registry_id: self.tenure.registry_id,
            registry: self.registry.clone(),
        });
        self.engine.published.store(Arc::clone(&snapshot));
        snapshot
    }

    fn tell(&self, snapshot: &Arc<Snapshot>, events: &[Event]) {
        if !events.is_empty() {
            for observer in &self.engine.observers {
                observer.published(snapshot, events);
            }
        }
    }

    fn not_committed(&mut self, decisions: Decisions, error: CommitError) {
        match error {
            CommitError::NotApplied(fault) => {
                self.store_fails(&fault);
                self.put_back(decisions);
                self.flight = Flight::Pausing(Instant::now() + self.backoff.next_pause());
            }
            CommitError::Refused { culprit, fault } => {
                self.isolate(decisions, culprit.as_ref(), &fault);
            }
            CommitError::Unknown(fault) => {
                self.store_fails(&fault);
                self.ask(Question::Batch(decisions));
            }
            CommitError::Lost(fault) => {
                warn!(why = chain(&fault), "the right to write is in doubt, looking who holds it");
                self.background.refused();
                self.put_back(decisions);
                self.ask(Question::Tenure);
            }
        }
    }

    /// The data of some command was refused: it fails alone. If the store cannot tell whose, the
    /// batch is halved until it holds one command.
    fn isolate(&mut self, decisions: Decisions, culprit: Option<&PodKey>, fault: &StoreFault) {
        let mut decided = decisions.decided;
        // A culprit that is not in the batch tells nothing.
        let culprit = culprit.filter(|key| decided.iter().any(|d| d.pending.key() == *key));
        let is_culprit = |d: &Decided| culprit.is_none_or(|key| d.pending.key() == key);
        let suspects = decided.iter().filter(|d| is_culprit(d)).count();
        if suspects == 1
            && let Some(position) = decided.iter().position(is_culprit)
        {
            let guilty = decided.remove(position);
            error!(
                pod = %guilty.pending.key(),
                request_id = guilty.pending.origin.request_id,
                why = chain(fault),
                "the store refused the data of a command that the rules allow"
            );
            guilty.pending.fail(SubmitError::Refused);
        } else {
            self.batch_limit = (decided.len() / 2).max(1);
        }
        let since = decisions.since;
        self.put_back(Decisions { decided, batch: None, last_id: self.last_id, since });
    }

    /// Nothing of it was applied: its commands wait again, in their order, ahead of all others.
    fn put_back(&mut self, decisions: Decisions) {
        for Decided { pending, .. } in decisions.decided.into_iter().rev() {
            if !pending.is_abandoned() {
                pending.ticket.put_back();
                self.backlog.push_front(pending);
            }
        }
    }

    /// Takes the right to write anew: what is stored then is certain.
    fn ask(&mut self, question: Question) {
        self.flight = Flight::attempt(&self.engine.store, &self.engine.owner, question);
    }

    fn attempted(&mut self, question: Question, attempt: Attempt) -> Option<Exit> {
        match attempt {
            Attempt::Taken { tenure, begun } => {
                self.background.renewed(&tenure, begun);
                self.resolved(question, tenure)
            }
            // A batch of unknown outcome is in the hands of whoever is active now: its callers
            // get no answer, which tells them that nobody knows.
            Attempt::Held { address } => Some(Exit::Deposed { address }),
            Attempt::Later(why) => self.unasked(question, &StoreFault::new(why)),
            Attempt::Never(fault) => self.unasked(question, &fault),
        }
    }

    /// The store could not be asked: again later, unless the process ends and nothing is open.
    fn unasked(&mut self, question: Question, fault: &StoreFault) -> Option<Exit> {
        self.store_fails(fault);
        let is_open = match &question {
            Question::Tenure => false,
            Question::Batch(decisions) => {
                decisions.decided.iter().any(|decided| !decided.pending.is_abandoned())
            }
            Question::Rewrite => true,
        };
        if !is_open && self.backlog.is_empty() && self.engine.inbox.is_drained() {
            return Some(Exit::Closed);
        }
        self.flight = Flight::Asking(question, Instant::now() + self.backoff.next_pause());
        None
    }

    fn resolved(&mut self, question: Question, tenure: Tenure) -> Option<Exit> {
        if tenure.epoch <= self.tenure.epoch {
            // The store went back to before our epoch: take one that was never used.
            self.ask(question);
            return None;
        }
        let evidence = match &question {
            Question::Rewrite => Evidence::WentBack,
            Question::Batch(_) | Question::Tenure => {
                evidence(&self.tenure, &tenure, question.sequence())
            }
        };
        info!(?evidence, epoch = tenure.epoch, sequence = tenure.sequence, "the store was asked");
        match (evidence, question) {
            (Evidence::Foreign, _) => {
                error!("another manager wrote to the store: reading everything again");
                return Some(Exit::Reload);
            }
            (Evidence::WentBack, question) => self.restore(question, tenure),
            (Evidence::Stored, Question::Batch(decisions)) => {
                self.adopt(tenure);
                self.committed(decisions);
            }
            (Evidence::NotStored, Question::Batch(decisions)) => {
                self.adopt(tenure);
                self.store_answers();
                self.put_back(decisions);
            }
            (Evidence::Stored | Evidence::NotStored, Question::Tenure | Question::Rewrite) => {
                self.adopt(tenure);
                self.store_answers();
            }
        }
        None
    }

    /// Continues under a tenure in a later epoch.
    fn adopt(&mut self, tenure: Tenure) {
        self.tenure = tenure;
        self.registry.advance_to(Revision::start_of(tenure.epoch));
        self.last_id = self.last_id.max(RegistrationId::start_of(tenure.epoch));
        self.engine.post.change(|standing| standing.epoch = tenure.epoch);
        self.resume();
    }

    /// The store holds less than what was acknowledged: everything is written back from memory,
    /// and readers see nothing of the loss.
    fn restore(&mut self, question: Question, tenure: Tenure) {
        error!(
            expected = self.tenure.sequence,
            found = tenure.sequence,
            pods = self.registry.pod_count(),
            "the store went back to an earlier state: writing all pods back from memory"
        );
        if let Question::Batch(decisions) = question {
            self.put_back(decisions);
        }
        let sequence = self.tenure.sequence;
        self.adopt(Tenure { sequence, registry_id: self.tenure.registry_id, ..tenure });
        let pods = self.registry.pods().cloned().collect();
        let details = "written back from memory after the store went back".to_owned();
        let entry = takeover(self.engine.clock.now(), details);
        self.flight = Flight::rewrite(&self.engine.store, self.tenure, pods, vec![entry]);
    }

    fn rewritten(&mut self, tenure: Tenure, result: Result<uuid::Uuid, CommitError>) {
        match result {
            Ok(registry_id) => {
                self.tenure = Tenure { registry_id, ..tenure };
                self.store_answers();
                let snapshot = self.publish();
                info!(%registry_id, "all pods are stored again, under a new registry id");
                for observer in &self.engine.observers {
                    observer.loaded(&snapshot);
                }
            }
            Err(error) => {
                error!(why = chain(&error), "writing all pods back failed, trying again");
                let again = Instant::now() + self.backoff.next_pause();
                self.flight = Flight::Asking(Question::Rewrite, again);
            }
        }
    }

    /// Applies what checks found, and has it written behind the commits.
    fn observe(&mut self) -> Option<Exit> {
        let mut events = Vec::new();
        let mut is_touched = false;
        for _ in 0..OBSERVATIONS_MAX {
            let Some(observation) = self.engine.observations.pop() else { break };
            let Observation { key, registration_id, verdict, reason, trace } = observation;
            let applied = self.registry.observe(&key, registration_id, verdict);
            match (&applied.before, &applied.after) {
                (Some(before), Some(after)) => {
                    let entry = health_entry(&applied, verdict.at, reason.clone());
                    info!(pod = %key, from = %before.status, to = %after.status, why = entry.details,
                        "health changed");
                    self.background.soft.note_transition(write_of(after, verdict.at, true), entry);
                    self.engine.figures.note_transition(after.status);
                    let step = traced::checked(&trace, &applied);
                    events.push(event(&key, applied, Cow::Owned(reason), step.context()));
                }
                _ => {
                    if let Some(pod) = self.registry.pod_by(&key)
                        && pod.registration_id == registration_id
                    {
                        self.background.soft.note_touch(write_of(pod, verdict.at, false));
                        is_touched = true;
                    }
                }
            }
        }
        if is_touched || !events.is_empty() {
            let snapshot = self.publish();
            self.tell(&snapshot, &events);
        }
        None
    }

    fn background_event(&mut self, event: BackgroundEvent) -> Option<Exit> {
        match event {
            BackgroundEvent::Timer => {
                let now = self.engine.clock.now();
                while let Some(entry) = self.engine.notes.pop(now) {
                    self.background.soft.note_entry(entry);
                }
                let mut tenure = self.tenure;
                if self.flight.is_rewriting() {
                    // That it went back is known: the lease must last while it is mended.
                    tenure.sequence = 0;
                }
                self.background.turn(&self.engine.store, &tenure, now);
            }
            // Without commands, only this tells whether the store is there.
            BackgroundEvent::Done if self.flight.is_idle() => self.store_answers(),
            BackgroundEvent::Done => {}
            BackgroundEvent::Failed(error) => {
                debug!(why = chain(&error), "the background could not write, it tries again");
                match error {
                    CommitError::Lost(_) if self.flight.is_idle() => self.ask(Question::Tenure),
                    CommitError::NotApplied(fault) | CommitError::Unknown(fault) => {
                        self.store_fails(&fault);
                    }
                    CommitError::Lost(_) | CommitError::Refused { .. } => {}
                }
            }
            BackgroundEvent::LeaseEnded => self.suspend(),
        }
        None
    }

    /// The lease ended, and a standby may have taken over: the term is over by itself, so that pods
    /// and subscribers hear of us no more. Who reads here is told what is known, as at any time when
    /// the store is away; it will say who is active when it can be asked.
    fn suspend(&mut self) {
        if !self.is_suspended {
            self.is_suspended = true;
            warn!(
                "the lease ended and a standby may take over: no checks and no notifications until \
                 the store says who is active; reads go on"
            );
        }
        if self.flight.is_idle() {
            self.ask(Question::Tenure);
        }
    }

    /// After a time in which nobody was checked or told, all of it begins anew.
    fn resume(&mut self) {
        if self.is_suspended && self.engine.post.may_act() {
            self.is_suspended = false;
            info!("still the active manager: checks and notifications go on");
            let snapshot = self.publish();
            for observer in &self.engine.observers {
                observer.loaded(&snapshot);
            }
        }
    }

    fn store_fails(&mut self, fault: &StoreFault) {
        let why = chain(fault);
        let now = self.engine.clock.now();
        let was_available = self.engine.post.load().writes == Writes::Available;
        if was_available {
            error!(%why, "the store does not take writes: reads go on, writes wait and are refused \
                after REQUEST_TIMEOUT");
        }
        self.engine.post.change(|standing| standing.fail_writes(now, &why));
    }

    fn store_answers(&mut self) {
        self.backoff.reset();
        self.resume();
        if self.engine.post.load().writes != Writes::Available {
            info!("the store takes writes again");
            self.engine.post.change(|standing| standing.writes = Writes::Available);
        }
    }
}

/// What woke the writer.
enum Turn {
    Landed(Landing),
    Background(BackgroundEvent),
    Observed,
    Commands,
}

/// Ready when there is something to decide, or when everything is done.
async fn commands(engine: &Engine, backlog: &VecDeque<Pending>) {
    if backlog.is_empty() {
        poll_fn(|context| -> Poll<()> { engine.inbox.poll_ready(context) }).await;
    }
}

fn event(key: &PodKey, applied: Applied, reason: Cow<'static, str>, trace: TraceContext) -> Event {
    let Applied { revision, before, after, notice } = applied;
    Event { revision, key: key.clone(), before, after, notice, reason, trace }
}

/// What brought a change about, for those who follow all of them.
fn reason(change: &Change, applied: &Applied) -> &'static str {
    match change {
        Change::PodRegistered { .. } if applied.before.is_none() => "registered",
        Change::PodRegistered { .. } => "registered again with other content",
        Change::PodAmended { .. } => "registered again with other wishes",
        Change::PodUnregistered { .. } => "unregistered",
        Change::PodEvicted { .. } => "removed: too many failed checks in a row",
    }
}
