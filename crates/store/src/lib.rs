//! Durable storage of the registry.
//!
//! Here: the trait [`Store`], what is written through it, and its implementations. Not here: any
//! rule of the registry (that is `governance-domain`), any retry, any decision what to do when a
//! store fails (that is the manager's engine). A store does one thing when asked and says exactly
//! what happened.
//!
//! What is kept: the pods in the table `services`, exactly as documented for users; what is ours
//! beside it (`governance_pods`); who may write (`governance_lease`); what was done
//! (`governance_audit`), and what each block of that is about (`governance_audit_blocks`). What is not kept: revisions (they are given when a change is published),
//! what subscribers were told, timers.
//!
//! All implementations pass the same suite, [`contract`].

pub mod audit;
mod audit_digest;
pub mod audit_query;
mod audit_undigested;
mod audit_walk;
pub mod batch;
pub mod contract;
pub mod error;
pub mod memory;
pub mod postgres;
pub mod rows;
pub mod sqlite;

use futures_util::future::BoxFuture;
use governance_domain::{Pod, Timestamp};
use std::sync::Arc;
use std::time::Duration;

pub use audit::{AuditAction, AuditEntry, AuditResult};
pub use audit_query::{AUDIT_TOTAL_MAX, AuditPage, AuditPosition, AuditQuery, AuditRecord};
pub use batch::{Batch, HealthWrite, RowChange};
pub use error::{AcquireError, CommitError, StoreFault};
pub use memory::MemoryStore;
pub use postgres::PostgresStore;
pub use sqlite::SqliteStore;
pub use uuid::Uuid;

/// The right to write, as the store knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenure {
    /// Names the registry; kept in the store. Revisions compare only within one.
    pub registry_id: Uuid,
    /// Higher than that of every tenure before; from 1.
    pub epoch: u32,
    /// Number of the last batch committed, by anyone; from 0.
    pub sequence: u64,
    /// How long the right lasts without [`Store::renew`]; none if nobody else can take it.
    pub lease: Option<Duration>,
}

/// Who asks for the right to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Kept in the data directory: the same after a restart, so that a manager can take its own
    /// lease back at once.
    pub id: Uuid,
    /// Where it answers, for people and for clients of a standby: `host:port`.
    pub address: String,
    /// The last tenure that this manager remembers outside the store, if it does.
    pub last: Option<LastTenure>,
}

/// A tenure that was certainly given once, so that a store that knows less went back meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastTenure {
    /// Of this registry.
    pub registry_id: Uuid,
    /// In this epoch.
    pub epoch: u32,
    /// Number of a batch that was certainly committed; 0 if none is known.
    pub sequence: u64,
}

impl LastTenure {
    /// Whether a store of `registry_id`, whose last epoch and batch are these, was put back to a
    /// state from before this tenure.
    pub(crate) fn is_unknown_to(self, registry_id: Uuid, epoch: i64, sequence: i64) -> bool {
        let known = (i64::from(self.epoch), self.sequence.cast_signed());
        self.registry_id == registry_id && (epoch, sequence) < known
    }
}

/// What the holder learns when it extends its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// Whether another manager asked for the lease lately and would take over.
    pub standby_is_alive: bool,
}

/// What a store holds.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Every pod, each key once, in no particular order.
    pub pods: Vec<Pod>,
    /// Rows that today's rules would refuse, one sentence each, the first few only.
    pub oddities: Vec<String>,
    /// How many rows were odd in all.
    pub odd_count: usize,
}

/// What kind of store this is, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// `postgres`, `sqlite` or `memory`.
    pub kind: &'static str,
    /// Where the data is, without secrets.
    pub location: String,
    /// Whether the data outlives the process.
    pub is_durable: bool,
}

/// Durable storage of the registry.
///
/// One caller writes: the engine. It never has two of `acquire`, `commit` and `rewrite` under way
/// at once; `write_health`, `renew`, `prune_audit` and `digest_audit` may run beside a `commit`. A
/// future that is dropped may still take effect, as a statement that was sent does.
pub trait Store: Send + Sync + 'static {
    /// What and where it is; answers without touching the data.
    fn describe(&self) -> Description;

    /// Makes the tables if they are missing, and takes the right to write in a new epoch, which is
    /// higher than all before. Also taken by the holder: it then learns, by `sequence`, whether a
    /// batch of unknown outcome is stored. When it returns, no earlier batch can take effect any
    /// more. A store that was put back to before [`Owner::last`] while nobody wrote goes on under a
    /// new registry id, in an epoch after that one: its revisions would otherwise be given twice.
    fn acquire<'a>(&'a self, owner: &'a Owner) -> BoxFuture<'a, Result<Tenure, AcquireError>>;

    /// Extends the lease. [`CommitError::Lost`] if somebody else holds it.
    fn renew<'a>(&'a self, tenure: &'a Tenure) -> BoxFuture<'a, Result<Renewal, CommitError>>;

    /// Gives the right to write back; another manager may take it at once.
    fn release<'a>(&'a self, tenure: &'a Tenure) -> BoxFuture<'a, Result<(), CommitError>>;

    /// Reads everything.
    fn load(&self) -> BoxFuture<'_, Result<Loaded, StoreFault>>;

    /// Stores a batch wholly or not at all, durably, if `batch.epoch` still holds the right to
    /// write and `batch.sequence` is the next one.
    fn commit(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), CommitError>>;

    /// Writes what checks found, for registrations that are still there; others are skipped.
    fn write_health<'a>(
        &'a self,
        tenure: &'a Tenure,
        writes: Vec<HealthWrite>,
        audit: Vec<AuditEntry>,
    ) -> BoxFuture<'a, Result<(), CommitError>>;

    /// Makes the store hold exactly these pods, under a new registry id and with the sequence
    /// `tenure.sequence`: after the store was found to have gone back to an earlier state.
    fn rewrite<'a>(
        &'a self,
        tenure: &'a Tenure,
        pods: Vec<Arc<Pod>>,
        audit: Vec<AuditEntry>,
    ) -> BoxFuture<'a, Result<Uuid, CommitError>>;

    /// Deletes at most `limit` audit entries older than `before`; returns how many.
    fn prune_audit<'a>(
        &'a self,
        tenure: &'a Tenure,
        before: Timestamp,
        limit: usize,
    ) -> BoxFuture<'a, Result<usize, CommitError>>;

    /// Makes digests of at most `blocks` blocks of the audit, newest first, that are complete and
    /// have none, so that [`Store::read_audit`] can pass over what cannot match; returns how many
    /// it made. Reads like `read_audit` and then writes like `prune_audit`, but not while one of
    /// these runs. A block without a digest is read entry by entry: to be late, or to fail, costs
    /// time alone.
    fn digest_audit<'a>(
        &'a self,
        tenure: &'a Tenure,
        blocks: usize,
    ) -> BoxFuture<'a, Result<usize, CommitError>>;

    /// Reads a page of the audit. May run beside everything else, several at once; neither waits
    /// for a write nor makes one wait. A future that is dropped stops the work, at once or when
    /// the store's own limit for a statement is reached.
    fn read_audit(&self, query: AuditQuery) -> BoxFuture<'_, Result<AuditPage, StoreFault>>;
}
