//! A store that goes back: its data is exchanged under the engine, as a restore from a backup or a
//! lossy fail-over does.

use futures_util::future::BoxFuture;
use governance_store::{
    AcquireError, AuditEntry, AuditPage, AuditQuery, Batch, CommitError, Description, HealthWrite,
    Loaded, Renewal, Tenure,
};

use super::*;

/// A store whose data can be exchanged under the engine, as a restore from a backup does.
pub(super) struct Restorable(Mutex<Arc<dyn Store>>);

impl Restorable {
    pub(super) fn new(store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(store)))
    }

    pub(super) fn replace(&self, store: Arc<dyn Store>) {
        *self.0.lock().unwrap() = store;
    }

    fn now(&self) -> Arc<dyn Store> {
        Arc::clone(&self.0.lock().unwrap())
    }
}

impl Store for Restorable {
    fn describe(&self) -> Description {
        self.now().describe()
    }

    fn acquire<'a>(&'a self, owner: &'a Owner) -> BoxFuture<'a, Result<Tenure, AcquireError>> {
        let store = self.now();
        async move { store.acquire(owner).await }.boxed()
    }

    fn renew<'a>(&'a self, tenure: &'a Tenure) -> BoxFuture<'a, Result<Renewal, CommitError>> {
        let store = self.now();
        async move { store.renew(tenure).await }.boxed()
    }

    fn release<'a>(&'a self, tenure: &'a Tenure) -> BoxFuture<'a, Result<(), CommitError>> {
        let store = self.now();
        async move { store.release(tenure).await }.boxed()
    }

    fn load(&self) -> BoxFuture<'_, Result<Loaded, StoreFault>> {
        let store = self.now();
        async move { store.load().await }.boxed()
    }

    fn commit(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), CommitError>> {
        let store = self.now();
        async move { store.commit(batch).await }.boxed()
    }

    fn write_health<'a>(
        &'a self,
        tenure: &'a Tenure,
        writes: Vec<HealthWrite>,
        audit: Vec<AuditEntry>,
    ) -> BoxFuture<'a, Result<(), CommitError>> {
        let store = self.now();
        async move { store.write_health(tenure, writes, audit).await }.boxed()
    }

    fn rewrite<'a>(
        &'a self,
        tenure: &'a Tenure,
        pods: Vec<Arc<Pod>>,
        audit: Vec<AuditEntry>,
    ) -> BoxFuture<'a, Result<Uuid, CommitError>> {
        let store = self.now();
        async move { store.rewrite(tenure, pods, audit).await }.boxed()
    }

    fn prune_audit<'a>(
        &'a self,
        tenure: &'a Tenure,
        before: Timestamp,
        limit: usize,
    ) -> BoxFuture<'a, Result<usize, CommitError>> {
        let store = self.now();
        async move { store.prune_audit(tenure, before, limit).await }.boxed()
    }

    fn digest_audit<'a>(
        &'a self,
        tenure: &'a Tenure,
        blocks: usize,
    ) -> BoxFuture<'a, Result<usize, CommitError>> {
        let store = self.now();
        async move { store.digest_audit(tenure, blocks).await }.boxed()
    }

    fn read_audit(&self, query: AuditQuery) -> BoxFuture<'_, Result<AuditPage, StoreFault>> {
        let store = self.now();
        async move { store.read_audit(query).await }.boxed()
    }
}
