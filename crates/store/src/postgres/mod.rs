//! The registry in PostgreSQL, or an engine that speaks its protocol.
//!
//! One connection writes: statements follow each other on it in the order in which they were
//! sent. What may touch everything (changing tables, loading, rewriting) goes over a connection of
//! its own to the same server, opened when needed. Questions about the audit have a connection that
//! can only read. A connection that failed is not used again; the
//! next call opens a new one, to whichever server of the list takes writes then. Nothing is
//! retried here but what met another transaction (SQLSTATE 40001, 40P01).
//!
//! Read [`statements`] first: what a batch does is one statement there.

mod columns;
mod digests;
mod fault;
mod lease;
mod load;
mod migrations;
mod odd_keys;
mod reading;
mod rewrite;
mod schema;
mod session;
mod settings;
mod statements;
mod tls;
mod write;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use governance_domain::{Pod, Timestamp};
use uuid::Uuid;

pub use settings::{PostgresSettings, SslMode};

use crate::{
    AcquireError, AuditEntry, AuditPage, AuditQuery, Batch, CommitError, Description, HealthWrite,
    Loaded, Owner, Renewal, Store, StoreFault, Tenure,
};
use digests::Sightings;
use fault::Trouble;
use lease::Sighting;
use odd_keys::OddKeys;
use session::{Purpose, Session};

/// After the server should have given a statement up, we wait so much longer for it to say so.
const GRACE: Duration = Duration::from_millis(500);

/// The store. Connects when it is first asked for something.
#[derive(Debug)]
pub struct PostgresStore {
    settings: PostgresSettings,
    /// The connection that writes. Its lock is held while one is opened, never during a statement.
    writer: tokio::sync::Mutex<Option<Arc<Session>>>,
    /// The connection that reads the audit for people, opened when somebody asks.
    reader: tokio::sync::Mutex<Option<Arc<Session>>>,
    /// Which of the hosts took writes last: the first one to be asked.
    last_host: AtomicUsize,
    /// A rewrite holds it alone: bulk and health writes would wait for each other's rows in the
    /// opposite order.
    gate: tokio::sync::RwLock<()>,
    odd_keys: Mutex<OddKeys>,
    /// The lease as it was last seen in another's hands.
    sighting: Mutex<Sighting>,
    /// Which audit entries were seen when.
    sightings: Mutex<Sightings>,
    /// Whether rows of earlier managers were put right since the process started.
    has_adopted: AtomicBool,
}

impl PostgresStore {
    /// A store that is not connected yet.
    pub fn new(settings: PostgresSettings) -> Self {
        Self {
            settings,
            writer: tokio::sync::Mutex::new(None),
            reader: tokio::sync::Mutex::new(None),
            last_host: AtomicUsize::new(0),
            gate: tokio::sync::RwLock::new(()),
            odd_keys: Mutex::default(),
            sighting: Mutex::default(),
            sightings: Mutex::default(),
            has_adopted: AtomicBool::new(false),
        }
    }

    /// The connection that writes, opened if there is none to be trusted.
    async fn writer(&self) -> Result<Arc<Session>, Trouble> {
        let mut slot = self.writer.lock().await;
        if let Some(session) = slot.as_ref().filter(|session| session.is_usable()) {
            return Ok(Arc::clone(session));
        }
        *slot = None;
        let first = self.last_host.load(Ordering::Relaxed);
        // A caller may give up while a server is silent: the next one begins with another server,
        // or nobody would ever get past the silent one.
        self.last_host.store((first + 1) % self.settings.hosts.len().max(1), Ordering::Relaxed);
        let session = session::open(&self.settings, Purpose::Writing, first).await?;
        self.last_host.store(session.host_index, Ordering::Relaxed);
        let session = Arc::new(session);
        *slot = Some(Arc::clone(&session));
        Ok(session)
    }

    /// A connection for what may touch everything, to the server that we write to: another one
    /// may take writes too, and hold something else.
    async fn bulk(&self) -> Result<Session, Trouble> {
        let host = self.writer().await?.host_index;
        session::open_only(&self.settings, Purpose::Bulk, host).await
    }

    /// So long we wait for the answer to one statement.
    fn patience(&self, purpose: Purpose) -> Duration {
        purpose.timeout(&self.settings) + GRACE
    }

    fn odd_keys(&self) -> MutexGuard<'_, OddKeys> {
        self.odd_keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a PostgreSQL answers that this manager could work with: it lets us in, or would if its
/// database were there. Changes nothing.
///
/// # Errors
/// Why not, in an operator's words.
pub async fn probe(settings: &PostgresSettings, timeout: Duration) -> Result<(), StoreFault> {
    match tokio::time::timeout(timeout, session::probe(settings)).await {
        Ok(answer) => answer.map_err(|trouble| trouble.fault),
        Err(_) => {
            let message = format!("nothing answers at {} in time", settings.location());
            Err(StoreFault::new(message))
        }
    }
}

impl Store for PostgresStore {
    fn describe(&self) -> Description {
        Description { kind: "postgres", location: self.settings.location(), is_durable: true }
    }

    fn acquire<'a>(&'a self, owner: &'a Owner) -> BoxFuture<'a, Result<Tenure, AcquireError>> {
        self.take_lease(owner).boxed()
    }

    fn renew<'a>(&'a self, tenure: &'a Tenure) -> BoxFuture<'a, Result<Renewal, CommitError>> {
        self.renew_lease(tenure).boxed()
    }

    fn release<'a>(&'a self, tenure: &'a Tenure) -> BoxFuture<'a, Result<(), CommitError>> {
        self.release_lease(tenure.epoch).boxed()
    }

    fn load(&self) -> BoxFuture<'_, Result<Loaded, StoreFault>> {
        self.load_all().boxed()
    }

    fn commit(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), CommitError>> {
        async move { self.commit_batch(&batch).await }.boxed()
    }

    fn write_health<'a>(
        &'a self,
        tenure: &'a Tenure,
        writes: Vec<HealthWrite>,
        audit: Vec<AuditEntry>,
    ) -> BoxFuture<'a, Result<(), CommitError>> {
        async move { self.write_found(tenure, &writes, &audit).await }.boxed()
    }

    fn rewrite<'a>(
        &'a self,
        tenure: &'a Tenure,
        pods: Vec<Arc<Pod>>,
        audit: Vec<AuditEntry>,
    ) -> BoxFuture<'a, Result<Uuid, CommitError>> {
        async move { self.rewrite_all(tenure, &pods, &audit).await }.boxed()
    }

    fn prune_audit<'a>(
        &'a self,
        tenure: &'a Tenure,
        before: Timestamp,
        limit: usize,
    ) -> BoxFuture<'a, Result<usize, CommitError>> {
        self.prune(tenure, before, limit).boxed()
    }

    fn digest_audit<'a>(
        &'a self,
        tenure: &'a Tenure,
        blocks: usize,
    ) -> BoxFuture<'a, Result<usize, CommitError>> {
        self.make_digests(tenure, blocks).boxed()
    }

    fn read_audit(&self, query: AuditQuery) -> BoxFuture<'_, Result<AuditPage, StoreFault>> {
        async move { self.read_page(&query).await }.boxed()
    }
}
