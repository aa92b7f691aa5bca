//! The way to the writer: send a command, wait for its answer until a deadline.

use std::sync::Arc;

use governance_domain::content::Difference;
use governance_domain::{Evict, Register, RegistrationId, Rejection, Revision, Unregister};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::archive::Archive;
use super::figures::{CommandKind, CommandResult, Figures};
use super::inbox::{Inbox, Pending, Request, Ticket};
use super::notes::{Notes, Refusal};
use super::observation::{Lane, Observation};
use super::snapshot::Published;
use super::standing::Post;
use super::under_way::Passage;
use super::{Phase, Snapshot, Standing, Writes};
use crate::telemetry::traces::TraceContext;

/// Where a command comes from; goes into its audit entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The request's id.
    pub request_id: Option<String>,
    /// The caller's address; with a name and an `@` before it, if it said who it is.
    pub remote: Option<String>,
    /// Its place in a trace. Not for the audit: what comes of the command belongs there.
    pub trace: TraceContext,
}

/// A registration is in force, and durable if the store is.
#[derive(Clone, Debug)]
pub struct Registered {
    /// Its id.
    pub registration_id: RegistrationId,
    /// The revision of the change; of the snapshot, if nothing changed.
    pub revision: Revision,
    /// The state that contains it.
    pub snapshot: Arc<Snapshot>,
    /// Whether anything changed.
    pub is_changed: bool,
}

/// A pod is gone, durably if the store is durable.
#[derive(Clone, Copy, Debug)]
pub struct Unregistered {
    /// The registration that ended.
    pub registration_id: RegistrationId,
    /// The revision of the change.
    pub revision: Revision,
}

/// Why a command has no success to report. All but `OutcomeUnknown` mean: certainly not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The rules say no.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The store refused the data of this command.
    #[error("the store refused the data of this registration")]
    Refused,
    /// There was no room in the event queue, or no turn, within the time.
    #[error("the manager is overloaded: the command did not get its turn in time")]
    Busy,
    /// The store did not take it within the time.
    #[error("the store is not available: {why}")]
    StoreUnavailable {
        /// In an operator's words.
        why: String,
    },
    /// This manager does not write now.
    #[error("this manager is not active")]
    NotActive(Phase),
    /// The command was given to the store, and the answer did not come within the time.
    #[error("the store did not answer in time: the change may or may not be stored")]
    OutcomeUnknown,
}

/// What everyone holds who sends commands or reads.
#[derive(Clone, Debug)]
pub struct EngineHandle {
    pub(super) inbox: Arc<Inbox>,
    pub(super) observations: Arc<Lane>,
    pub(super) notes: Arc<Notes>,
    pub(super) published: Arc<Published>,
    pub(super) post: Arc<Post>,
    pub(super) archive: Archive,
    pub(super) figures: Arc<Figures>,
}

impl EngineHandle {
    /// The newest state.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.published.load()
    }

    /// How the manager stands.
    pub fn standing(&self) -> Arc<Standing> {
        self.post.load()
    }

    /// Whether this manager may act for the registry at this very moment: check pods, and tell
    /// subscribers. No longer when its lease ended and a standby may have taken over, also when
    /// the writer had no chance to notice yet. To be asked just before each step to the outside.
    pub fn may_act(&self) -> bool {
        self.post.may_act()
    }

    /// What was done and by whom, as the store has it.
    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// How the engine is doing.
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// How many commands wait for the writer.
    pub fn queue_depth(&self) -> usize {
        self.inbox.len()
    }

    /// Registers a pod. Returns when the change is durable, or at once when nothing changes.
    pub async fn register(
        &self,
        command: Register,
        origin: Origin,
        deadline: Instant,
    ) -> Result<Registered, SubmitError> {
        let registered = self.decide_register(command, origin, deadline).await;
        let result = match &registered {
            Ok(Registered { is_changed: true, .. }) => CommandResult::Applied,
            Ok(Registered { is_changed: false, .. }) => CommandResult::Unchanged,
            Err(error) => error.into(),
        };
        self.figures.note_command(CommandKind::Register, result);
        registered
    }

    async fn decide_register(
        &self,
        command: Register,
        origin: Origin,
        deadline: Instant,
    ) -> Result<Registered, SubmitError> {
        self.check_phase()?;
        if let Some(unchanged) = self.unchanged(&command) {
            return Ok(unchanged);
        }
        let (reply, answer) = oneshot::channel();
        let under_way = self.inbox.under_way.begin(&command.key);
        let request = Request::Register { command, reply };
        self.submit(request, under_way, answer, origin, deadline).await
    }

    /// Removes a pod. Returns when the removal is durable.
    pub async fn unregister(
        &self,
        command: Unregister,
        origin: Origin,
        deadline: Instant,
    ) -> Result<Unregistered, SubmitError> {
        let unregistered = self.decide_unregister(command, origin, deadline).await;
        let result = unregistered.as_ref().map_or_else(Into::into, |_| CommandResult::Applied);
        self.figures.note_command(CommandKind::Unregister, result);
        unregistered
    }

    async fn decide_unregister(
        &self,
        command: Unregister,
        origin: Origin,
        deadline: Instant,
    ) -> Result<Unregistered, SubmitError> {
        self.check_phase()?;
        let (reply, answer) = oneshot::channel();
        let under_way = self.inbox.under_way.begin(&command.key);
        let request = Request::Unregister { command, reply };
        self.submit(request, under_way, answer, origin, deadline).await
    }

    /// Asks for the removal of a dead pod, from a place in a trace; false if there is no room, then
    /// ask again later.
    pub fn evict(&self, command: Evict, trace: TraceContext) -> bool {
        let under_way = self.inbox.under_way.begin(&command.key);
        let request = Request::Evict { command };
        let pending = Pending {
            request,
            ticket: Arc::default(),
            origin: Origin { trace, ..Origin::default() },
            since: Instant::now(),
            deadline: None,
            _under_way: under_way,
        };
        self.inbox.try_push(pending).is_ok()
    }

    /// Reports what a check found; false if there is no room, then report again later. This lane
    /// is apart from that of commands: neither fills the other.
    pub fn observe(&self, observation: Observation) -> bool {
        self.observations.push(observation)
    }

    /// Has an entry about a round of repeated notifications written into the audit, behind all
    /// else. Forgotten if too many wait, or if this manager does not write.
    pub fn note_reconcile(&self, details: String) {
        self.notes.push(details);
    }

    /// Has an entry about a refused command written into the audit, behind all else. Forgotten if
    /// too many wait, or if this manager does not write.
    pub fn note_refusal(&self, refusal: Refusal) {
        self.notes.push_refusal(refusal);
    }

    /// Takes no more commands; what was accepted is finished.
    pub fn close(&self) {
        self.inbox.close();
    }

    fn check_phase(&self) -> Result<(), SubmitError> {
        let standing = self.standing();
        if standing.phase == Phase::Active {
            return Ok(());
        }
        Err(SubmitError::NotActive(standing.phase.clone()))
    }

    /// A registration that says what is published already needs no store, unless an earlier
    /// command of the pod may still change that.
    fn unchanged(&self, command: &Register) -> Option<Registered> {
        if self.inbox.under_way.has(&command.key) {
            return None;
        }
        let snapshot = self.snapshot();
        let pod = snapshot.registry.pod_by(&command.key)?;
        if pod.content.difference(&command.content) != Difference::None {
            return None;
        }
        let registration_id = pod.registration_id;
        let revision = snapshot.revision();
        Some(Registered { registration_id, revision, snapshot, is_changed: false })
    }

    async fn submit<T>(
        &self,
        request: Request,
        under_way: Passage,
        answer: oneshot::Receiver<Result<T, SubmitError>>,
        origin: Origin,
        deadline: Instant,
    ) -> Result<T, SubmitError> {
        let ticket = Arc::new(Ticket::default());
        let pending = Pending {
            request,
            ticket: Arc::clone(&ticket),
            origin,
            since: Instant::now(),
            deadline: Some(deadline),
            _under_way: under_way,
        };
        if !self.inbox.push(pending, deadline).await {
            return Err(self.out_of_time());
        }
        match timeout_at(deadline, answer).await {
            Ok(Ok(result)) => result,
            // The writer ended, and with it the process: what it held is in nobody's hands.
            Ok(Err(_closed)) => Err(self.withdraw(&ticket)),
            Err(_elapsed) => Err(self.withdraw(&ticket)),
        }
    }

    fn withdraw(&self, ticket: &Ticket) -> SubmitError {
        if ticket.withdraw() { self.out_of_time() } else { SubmitError::OutcomeUnknown }
    }

    /// Why a command that is certainly not applied ran out of time.
    fn out_of_time(&self) -> SubmitError {
        let standing = self.standing();
        match (&standing.phase, &standing.writes) {
            (Phase::Active, Writes::Unavailable { why, .. }) => {
                SubmitError::StoreUnavailable { why: why.clone() }
            }
            (Phase::Active, Writes::Available) => SubmitError::Busy,
            (phase, _) => SubmitError::NotActive(phase.clone()),
        }
    }
}
