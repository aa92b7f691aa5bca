//! A store that remembers in the data directory which tenures it gave last, so that one which was
//! put back to an earlier state while no manager ran is recognised at the next start: see
//! [`governance_store::Owner::last`]. While a manager runs, its memory tells the same and more.
//!
//! INVARIANT: a tenure is remembered before anything is published in its epoch, unless the data
//! directory cannot be written to, which the log says.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use governance_domain::{Pod, Timestamp};
use governance_store::{
    AcquireError, AuditEntry, AuditPage, AuditQuery, Batch, CommitError, Description, HealthWrite,
    LastTenure, Loaded, Owner, Renewal, Store, StoreFault, Tenure, Uuid,
};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::datadir::DataDir;

/// The file in the data directory: registry id, epoch and, after an orderly end, the number of the
/// last batch; of the newest registry first.
const FILE: &str = "last-tenure";
/// Registries that are remembered: an old one may come back from a backup.
const REGISTRIES_MAX: usize = 8;
/// How long writing the file may hold up a take-over. A disk that hangs must not cost more.
const WRITING_MAX: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct RememberingStore {
    store: Arc<dyn Store>,
    data_dir: Arc<DataDir>,
    /// What the file says; read once, because a standby asks four times a second. The newest first,
    /// each registry once.
    known: Mutex<Vec<LastTenure>>,
}

impl RememberingStore {
    /// Remembers the tenures that `store` gives.
    pub(crate) fn new(store: Arc<dyn Store>, data_dir: Arc<DataDir>) -> Self {
        let line = data_dir.read(FILE).unwrap_or_default();
        let known = line.split(';').filter_map(parse).take(REGISTRIES_MAX).collect();
        Self { store, data_dir, known: Mutex::new(known) }
    }

    fn known(&self) -> MutexGuard<'_, Vec<LastTenure>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn take(&self, owner: &Owner) -> Result<Tenure, AcquireError> {
        let known = self.known().clone();
        let last = known.first().copied();
        let taken = match self.acquire_after(last, owner).await {
            Ok(tenure) => match known.iter().find(|older| is_given_again(older, &tenure)) {
                Some(older) => {
                    // A registry from before the last one came back, in an epoch that was used.
                    let epoch = older.epoch.max(tenure.epoch).saturating_add(1);
                    self.acquire_after(Some(LastTenure { epoch, ..*older }), owner).await
                }
                None => Ok(tenure),
            },
            Err(error) => Err(error),
        };
        match &taken {
            Ok(tenure) => {
                let Tenure { registry_id, epoch, .. } = *tenure;
                if let Some(last) = last
                    && last.registry_id != registry_id
                {
                    warn!(
                        %registry_id,
                        earlier = %last.registry_id,
                        "the store holds another registry than this manager knew last: a backup \
                         that was restored, a file that was removed, or another database. Pods and \
                         watchers are told everything anew"
                    );
                }
                self.remember(LastTenure { registry_id, epoch, sequence: 0 }).await;
            }
            // A standby remembers what the active manager was given.
            Err(AcquireError::Held { tenure: Some(tenure), .. }) => self.remember(*tenure).await,
            Err(_) => {}
        }
        taken
    }

    async fn acquire_after(
        &self,
        last: Option<LastTenure>,
        owner: &Owner,
    ) -> Result<Tenure, AcquireError> {
        self.store.acquire(&Owner { last, ..owner.clone() }).await
    }

    async fn remember(&self, tenure: LastTenure) {
        let line = {
            let mut known = self.known();
            if known.first() == Some(&tenure) {
                return;
            }
            known.retain(|older| older.registry_id != tenure.registry_id);
            known.insert(0, tenure);
            known.truncate(REGISTRIES_MAX);
            known.iter().map(shown).collect::<Vec<_>>().join(";")
        };
        let data_dir = Arc::clone(&self.data_dir);
        let writing = tokio::task::spawn_blocking(move || data_dir.write(FILE, &line));
        let fault = match timeout(WRITING_MAX, writing).await {
            Ok(Ok(Ok(()))) => return debug!(epoch = tenure.epoch, "tenure remembered"),
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "it takes too long".to_owned(),
        };
        warn!(
            file = FILE,
            fault,
            "a file in DATA_DIR cannot be written: a backup that is restored while no manager runs \
             would not be recognised"
        );
    }
}

/// Whether a tenure has an epoch that was given before, under the same registry id.
fn is_given_again(older: &LastTenure, tenure: &Tenure) -> bool {
    older.registry_id == tenure.registry_id && older.epoch >= tenure.epoch
}

fn shown(tenure: &LastTenure) -> String {
    let LastTenure { registry_id, epoch, sequence } = tenure;
    format!("{registry_id} {epoch} {sequence}")
}

fn parse(text: &str) -> Option<LastTenure> {
    let mut words = text.split(' ');
    let registry_id = Uuid::parse_str(words.next()?).ok()?;
    let epoch = words.next()?.parse().ok()?;
    let sequence = words.next().map_or(Some(0), |word| word.parse().ok())?;
    Some(LastTenure { registry_id, epoch, sequence })
}

impl Store for RememberingStore {
    fn describe(&self) -> Description {
        self.store.describe()
    }

    fn acquire<'a>(&'a self, owner: &'a Owner) -> BoxFuture<'a, Result<Tenure, AcquireError>> {
        self.take(owner).boxed()
    }

    fn renew<'a>(&'a self, tenure: &'a Tenure) -> BoxFuture<'a, Result<Renewal, CommitError>> {
        self.store.renew(tenure)
    }

    fn release<'a>(&'a self, tenure: &'a Tenure) -> BoxFuture<'a, Result<(), CommitError>> {
        async move {
            self.store.release(tenure).await?;
            let Tenure { registry_id, epoch, sequence, .. } = *tenure;
            self.remember(LastTenure { registry_id, epoch, sequence }).await;
            Ok(())
        }
        .boxed()
    }

    fn load(&self) -> BoxFuture<'_, Result<Loaded, StoreFault>> {
        self.store.load()
    }

    fn commit(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), CommitError>> {
        self.store.commit(batch)
    }

    fn write_health<'a>(
        &'a self,
        tenure: &'a Tenure,
        writes: Vec<HealthWrite>,
        audit: Vec<AuditEntry>,
    ) -> BoxFuture<'a, Result<(), CommitError>> {
        self.store.write_health(tenure, writes, audit)
    }

    fn rewrite<'a>(
        &'a self,
        tenure: &'a Tenure,
        pods: Vec<Arc<Pod>>,
        audit: Vec<AuditEntry>,
    ) -> BoxFuture<'a, Result<Uuid, CommitError>> {
        async move {
            let registry_id = self.store.rewrite(tenure, pods, audit).await?;
            self.remember(LastTenure { registry_id, epoch: tenure.epoch, sequence: 0 }).await;
            Ok(registry_id)
        }
        .boxed()
    }

    fn prune_audit<'a>(
        &'a self,
        tenure: &'a Tenure,
        before: Timestamp,
        limit: usize,
    ) -> BoxFuture<'a, Result<usize, CommitError>> {
        self.store.prune_audit(tenure, before, limit)
    }

    fn digest_audit<'a>(
        &'a self,
        tenure: &'a Tenure,
        blocks: usize,
    ) -> BoxFuture<'a, Result<usize, CommitError>> {
        self.store.digest_audit(tenure, blocks)
    }

    fn read_audit(&self, query: AuditQuery) -> BoxFuture<'_, Result<AuditPage, StoreFault>> {
        self.store.read_audit(query)
    }
}

#[cfg(test)]
mod tests {
    use governance_store::MemoryStore;

    use super::*;

    fn owner() -> Owner {
        Owner { id: Uuid::from_u128(1), address: "127.0.0.1:8080".to_owned(), last: None }
    }

    #[tokio::test]
    async fn an_earlier_state_of_the_same_registry_begins_a_new_one_behind_it() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = Arc::new(DataDir::open(directory.path()).unwrap());
        let inner: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let store = RememberingStore::new(Arc::clone(&inner), Arc::clone(&data_dir));
        let first = store.acquire(&owner()).await.unwrap();
        let second = store.acquire(&owner()).await.unwrap();
        assert_eq!(second, Tenure { epoch: first.epoch + 1, ..first });
        // As if the store had known of seventy tenures, and were put back by sixty-eight.
        data_dir.write(FILE, &format!("{} 70", first.registry_id)).unwrap();
        let store = RememberingStore::new(Arc::clone(&inner), Arc::clone(&data_dir));
        let restored = store.acquire(&owner()).await.unwrap();
        assert_ne!(restored.registry_id, first.registry_id);
        assert_eq!(restored.epoch, 71);
        let line = data_dir.read(FILE).unwrap();
        let newest = format!("{} 71 0", restored.registry_id);
        assert_eq!(line, format!("{newest};{} 70 0", first.registry_id));
        // After an orderly end it is known how far that epoch came.
        store.release(&Tenure { sequence: 9, ..restored }).await.unwrap();
        let store = RememberingStore::new(inner, Arc::clone(&data_dir));
        let lacking = store.acquire(&owner()).await.unwrap();
        assert_ne!(lacking.registry_id, restored.registry_id, "nine batches are not there");
        assert_eq!(lacking.epoch, 72);
    }

    #[tokio::test]
    async fn a_registry_from_before_the_last_one_is_recognised_too() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = Arc::new(DataDir::open(directory.path()).unwrap());
        let inner: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let first = inner.acquire(&owner()).await.unwrap();
        let other = Uuid::from_u128(9);
        data_dir.write(FILE, &format!("{other} 3 0;{} 5 0", first.registry_id)).unwrap();
        let store = RememberingStore::new(Arc::clone(&inner), Arc::clone(&data_dir));
        let restored = store.acquire(&owner()).await.unwrap();
        assert_ne!(restored.registry_id, first.registry_id);
        assert_eq!(restored.epoch, 7);
        let next = store.acquire(&owner()).await.unwrap();
        assert_eq!(next, Tenure { epoch: 8, ..restored });
    }

    #[tokio::test]
    async fn a_file_that_says_nothing_or_cannot_be_written_stops_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = Arc::new(DataDir::open(directory.path()).unwrap());
        for line in ["", "x", "x 1", "00000000-0000-0000-0000-000000000001 x", " 4294967296"] {
            data_dir.write(FILE, line).unwrap();
            let store = RememberingStore::new(Arc::new(MemoryStore::default()), data_dir.clone());
            assert_eq!(store.acquire(&owner()).await.unwrap().epoch, 1, "{line:?}");
        }
        let in_the_way = directory.path().join(FILE);
        std::fs::remove_file(&in_the_way).unwrap();
        std::fs::create_dir(&in_the_way).unwrap();
        let store = RememberingStore::new(Arc::new(MemoryStore::default()), data_dir);
        assert_eq!(store.acquire(&owner()).await.unwrap().epoch, 1);
    }
}
