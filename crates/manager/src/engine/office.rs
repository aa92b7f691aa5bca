//! From the start to the first write: taking the right to write, reading the state, and doing so
//! again when it was lost. Between two tenures nothing is published and nothing is written.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use governance_domain::{Registry, Revision};
use governance_store::{Owner, Store, StoreFault, Tenure};
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use super::archive::Archive;
use super::figures::Figures;
use super::handle::{EngineHandle, SubmitError};
use super::inbox::Inbox;
use super::lease::Term;
use super::notes::Notes;
use super::observation::Lane;
use super::observer::Observer;
use super::snapshot::Published;
use super::standing::{Phase, Post, Writes};
use super::tenure::{Attempt, Backoff, attempt, chain};
use super::writer::Writer;
use crate::clock::{Clock, Stamp};

/// How often a standby looks whether the lease is free.
const STANDBY_PAUSE: Duration = Duration::from_millis(250);

/// What the engine is told at the start.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// Commands that may wait for the writer.
    pub event_queue_size: usize,
    /// Pods that one service may hold.
    pub max_pods_per_service: usize,
    /// How long audit entries are kept.
    pub audit_retention: Duration,
    /// Who this manager is.
    pub owner: Owner,
}

/// The engine before it runs.
pub struct Engine {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) settings: EngineSettings,
    pub(super) owner: Arc<Owner>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) observations: Arc<Lane>,
    pub(super) notes: Arc<Notes>,
    pub(super) published: Arc<Published>,
    pub(super) post: Arc<Post>,
    pub(super) figures: Arc<Figures>,
    pub(super) observers: Vec<Arc<dyn Observer>>,
}

/// Why the writer stopped writing.
pub(super) enum Exit {
    /// The inbox was closed and everything accepted is done.
    Closed,
    /// Another manager is active.
    Deposed { address: String },
    /// The state must be read again.
    Reload,
}

impl Engine {
    /// An engine and the way to it. Nothing happens before [`Engine::run`].
    pub fn new(
        store: Arc<dyn Store>,
        settings: EngineSettings,
        clock: Arc<dyn Clock>,
    ) -> (Self, EngineHandle) {
        let inbox = Arc::new(Inbox::new(settings.event_queue_size));
        let observations = Arc::new(Lane::default());
        let notes = Arc::new(Notes::default());
        let published = Arc::new(Published::empty());
        let post = Arc::new(Post::new(store.describe()));
        let figures = Arc::new(Figures::default());
        let handle = EngineHandle {
            inbox: Arc::clone(&inbox),
            observations: Arc::clone(&observations),
            notes: Arc::clone(&notes),
            published: Arc::clone(&published),
            post: Arc::clone(&post),
            archive: Archive::new(Arc::clone(&store)),
            figures: Arc::clone(&figures),
        };
        let owner = Arc::new(settings.owner.clone());
        let observers = Vec::new();
        let engine = Self {
            store,
            clock,
            settings,
            owner,
            inbox,
            observations,
            notes,
            published,
            post,
            figures,
            observers,
        };
        (engine, handle)
    }

    /// Adds somebody who follows what is published.
    pub fn add_observer(&mut self, observer: Arc<dyn Observer>) {
        self.observers.push(observer);
    }

    /// Runs until the inbox is closed and everything accepted is done.
    ///
    /// # Errors
    /// When the store can never be used as it is; the text says why.
    pub async fn run(self) -> Result<(), StoreFault> {
        loop {
            let Some((tenure, begun)) = self.take_office().await? else { return Ok(()) };
            let Some(registry) = self.load(&tenure).await else { continue };
            let exit = Writer::new(&self, tenure, registry, begun).serve().await;
            match exit {
                Exit::Closed => return Ok(()),
                Exit::Reload => self.lose(&Phase::Loading { reason: "reading again".to_owned() }),
                Exit::Deposed { address } => {
                    warn!(active = address, "another manager is active, this one is standby now");
                    self.lose(&Phase::Standby { active: address });
                }
            }
        }
    }

    /// Stops acting as the active manager; what waits is answered, certainly not applied.
    fn lose(&self, phase: &Phase) {
        self.post.grant(Term::Never);
        self.post.change(|standing| standing.phase = phase.clone());
        for observer in &self.observers {
            observer.lost();
        }
        while let Some(pending) = self.inbox.pop() {
            pending.fail(SubmitError::NotActive(phase.clone()));
        }
    }

    /// Waits until this manager has the right to write; none if it is to end before.
    async fn take_office(&self) -> Result<Option<(Tenure, Stamp)>, StoreFault> {
        let mut backoff = Backoff::default();
        let mut last = String::new();
        loop {
            if self.inbox.is_closed() {
                return Ok(None);
            }
            let pause = match attempt(&self.store, &self.owner).await {
                Attempt::Taken { tenure, begun } => return Ok(Some((tenure, begun))),
                Attempt::Never(fault) => return Err(fault),
                Attempt::Held { address } => {
                    if last != address {
                        info!(active = address, "standby: another manager is active");
                    }
                    last.clone_from(&address);
                    self.post.change(|s| {
                        s.phase = Phase::Standby { active: address.clone() };
                        // It was the store that said so.
                        s.writes = Writes::Available;
                    });
                    STANDBY_PAUSE
                }
                Attempt::Later(why) => {
                    if last != why {
                        error!(%why, "waiting for the store: no pod can be shown or registered yet");
                    }
                    last.clone_from(&why);
                    let now = self.clock.now();
                    self.post.change(|s| {
                        s.phase = Phase::Loading { reason: why.clone() };
                        s.fail_writes(now, &why);
                    });
                    backoff.next_pause()
                }
            };
            self.pause_unless_closed(pause).await;
        }
    }

    async fn pause_unless_closed(&self, pause: Duration) {
        let closed = poll_fn(|context| self.inbox.poll_closed(context));
        tokio::select! {
            () = sleep(pause) => {}
            () = closed => {}
        }
    }

    /// Reads everything; none if that failed, and the right to write must be taken again.
    async fn load(&self, tenure: &Tenure) -> Option<Registry> {
        let begun = Instant::now();
        let closed = poll_fn(|context| self.inbox.poll_closed(context));
        let loaded = tokio::select! {
            loaded = self.store.load() => loaded,
            () = closed => return None,
        };
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(fault) => {
                error!(why = chain(&fault), "cannot read the registry, trying again");
                self.pause_unless_closed(STANDBY_PAUSE).await;
                return None;
            }
        };
        if loaded.odd_count > 0 {
            warn!(
                rows = loaded.odd_count,
                examples = loaded.oddities.join("; "),
                "some stored rows do not follow today's rules: they are shown as well as can be"
            );
        }
        let revision = Revision::start_of(tenure.epoch);
        let mut registry = Registry::seeded(revision, fastrand::u64(..));
        registry.load(loaded.pods.into_iter().map(Arc::new));
        info!(
            pods = registry.pod_count(),
            services = registry.service_count(),
            epoch = tenure.epoch,
            duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            "registry loaded"
        );
        Some(registry)
    }
}
