//! The embedded store: one SQLite file in the data directory.
//!
//! Here: [`SqliteStore`], which turns calls into jobs for its own thread. Beside it, by noun:
//! `thread` runs the jobs, `session` owns the connection and opens it again after a fault, `schema`
//! makes the tables, `lease` says who may write, `ledger` finds what is ours of a pod, `write`
//! stores, `load` reads, `audit` notes, `reading` reads the audit for people, `digests` makes and
//! stores digests of it, `fault` turns the driver's errors into what the caller must know.
//!
//! Not here: the lock that keeps a second manager out of the data directory. A second opener is
//! harmless all the same: it takes the next epoch, and whoever holds an earlier one is refused.
//!
//! Invariants: one connection writes, on one thread; another only reads, on a second thread, so that
//! whoever leafs through the audit delays nothing (WAL: readers and the writer never wait for each
//! other); no transaction is open between two jobs; a batch that
//! was acknowledged is on disk (WAL, `synchronous=FULL`); after an outcome that nobody knows,
//! nothing is written until [`Store::acquire`] has settled it.

mod audit;
mod digests;
mod fault;
mod lease;
mod ledger;
mod load;
mod reading;
mod schema;
mod session;
mod thread;
mod write;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};
use governance_domain::{Pod, Timestamp};
use uuid::Uuid;

use crate::{
    AcquireError, AuditEntry, AuditPage, AuditQuery, Batch, CommitError, Description, HealthWrite,
    Loaded, Owner, Renewal, Store, StoreFault, Tenure,
};
use reading::Reading;
use session::Session;
use thread::{NoAnswer, StoreThread};

/// The file in the data directory.
pub const FILE_NAME: &str = "governance.db";

/// A registry in a SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    thread: StoreThread<Session>,
    readers: StoreThread<Reading>,
}

impl SqliteStore {
    /// A store in `data_dir`, which must exist by the time it is used. The file is opened, and made
    /// if it is missing, by the first call; whatever is wrong with it is told by
    /// [`Store::acquire`], again and again until it is well.
    ///
    /// # Errors
    /// When its thread cannot be started.
    pub fn open(data_dir: &Path) -> Result<Self, StoreFault> {
        let path = data_dir.join(FILE_NAME);
        let thread = StoreThread::start("store-sqlite", Session::new(path.clone()))?;
        let readers = StoreThread::start("store-reader", Reading::new(path.clone()))?;
        Ok(Self { path, thread, readers })
    }
}

impl From<NoAnswer> for CommitError {
    fn from(no_answer: NoAnswer) -> Self {
        match no_answer {
            NoAnswer::NotStarted(fault) => Self::NotApplied(fault),
            NoAnswer::Interrupted(fault) => Self::Unknown(fault),
        }
    }
}

impl From<NoAnswer> for StoreFault {
    fn from(no_answer: NoAnswer) -> Self {
        match no_answer {
            NoAnswer::NotStarted(fault) | NoAnswer::Interrupted(fault) => fault,
        }
    }
}

impl From<NoAnswer> for AcquireError {
    fn from(no_answer: NoAnswer) -> Self {
        Self::Unavailable(no_answer.into())
    }
}

impl Store for SqliteStore {
    fn describe(&self) -> Description {
        Description { kind: "sqlite", location: self.path.display().to_string(), is_durable: true }
    }

    fn acquire<'a>(&'a self, owner: &'a Owner) -> BoxFuture<'a, Result<Tenure, AcquireError>> {
        let owner = owner.clone();
        self.thread.ask(move |session| lease::acquire(session, &owner))
    }

    fn renew<'a>(&'a self, tenure: &'a Tenure) -> BoxFuture<'a, Result<Renewal, CommitError>> {
        let epoch = tenure.epoch;
        self.thread.ask(move |session| lease::renew(session, epoch))
    }

    fn release<'a>(&'a self, tenure: &'a Tenure) -> BoxFuture<'a, Result<(), CommitError>> {
        let epoch = tenure.epoch;
        self.thread.ask(move |session| lease::release(session, epoch))
    }

    fn load(&self) -> BoxFuture<'_, Result<Loaded, StoreFault>> {
        self.thread.ask(load::load)
    }

    fn commit(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), CommitError>> {
        self.thread.ask(move |session| write::commit(session, &batch))
    }

    fn write_health<'a>(
        &'a self,
        tenure: &'a Tenure,
        writes: Vec<HealthWrite>,
        audit: Vec<AuditEntry>,
    ) -> BoxFuture<'a, Result<(), CommitError>> {
        let epoch = tenure.epoch;
        self.thread.ask(move |session| write::write_health(session, epoch, &writes, &audit))
    }

    fn rewrite<'a>(
        &'a self,
        tenure: &'a Tenure,
        pods: Vec<Arc<Pod>>,
        audit: Vec<AuditEntry>,
    ) -> BoxFuture<'a, Result<Uuid, CommitError>> {
        let tenure = *tenure;
        self.thread.ask(move |session| write::rewrite(session, &tenure, &pods, &audit))
    }

    fn prune_audit<'a>(
        &'a self,
        tenure: &'a Tenure,
        before: Timestamp,
        limit: usize,
    ) -> BoxFuture<'a, Result<usize, CommitError>> {
        let epoch = tenure.epoch;
        self.thread.ask(move |session| audit::prune(session, epoch, before, limit))
    }

    fn digest_audit<'a>(
        &'a self,
        tenure: &'a Tenure,
        blocks: usize,
    ) -> BoxFuture<'a, Result<usize, CommitError>> {
        let epoch = tenure.epoch;
        async move {
            let made = self.readers.ask(move |reading| reading.digests(blocks)).await;
            let made = made.map_err(CommitError::NotApplied)?;
            if made.is_empty() {
                return Ok(0);
            }
            self.thread.ask(move |session| digests::store(session, epoch, &made)).await
        }
        .boxed()
    }

    fn read_audit(&self, query: AuditQuery) -> BoxFuture<'_, Result<AuditPage, StoreFault>> {
        reading::ask(&self.readers, query)
    }
}
