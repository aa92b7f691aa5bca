//! A store that keeps nothing beyond the process: `STORAGE=memory`, and tests.
//!
//! It behaves like the others in every respect but durability, so that it can stand in for them:
//! epochs, sequences and refusals are the same.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::{BoxFuture, FutureExt, ready};
use governance_domain::{Pod, PodKey, Status, Timestamp};
use uuid::Uuid;

use crate::audit_query::Count;
use crate::{
    AUDIT_TOTAL_MAX, AcquireError, AuditEntry, AuditPage, AuditPosition, AuditQuery, AuditRecord,
    Batch, CommitError, Description, HealthWrite, Loaded, Owner, Renewal, RowChange, Store,
    StoreFault, Tenure,
};

/// Entries of the audit that are kept; the oldest are forgotten first.
const AUDIT_MAX: usize = 10_000;

/// The store. Its lock is held for a few map operations, never across a wait.
#[derive(Debug)]
pub struct MemoryStore {
    tables: Mutex<Tables>,
}

#[derive(Debug)]
struct Tables {
    registry_id: Uuid,
    epoch: u32,
    sequence: u64,
    pods: BTreeMap<PodKey, Arc<Pod>>,
    /// Oldest first; their ids follow one another.
    audit: VecDeque<AuditEntry>,
    /// Of the next entry.
    next_audit_id: u64,
}

impl Default for MemoryStore {
    fn default() -> Self {
        let tables = Tables {
            registry_id: Uuid::new_v4(),
            epoch: 0,
            sequence: 0,
            pods: BTreeMap::new(),
            audit: VecDeque::new(),
            next_audit_id: 1,
        };
        Self { tables: Mutex::new(tables) }
    }
}

impl MemoryStore {
    /// A store whose first epoch comes after `epoch`. Nothing tells a registry in memory from the
    /// one before it but its id and its revisions, and who follows changes sends back a revision
    /// alone: a beginning that differs with each process keeps it from taking one for the other.
    pub fn beginning_after(epoch: u32) -> Self {
        let store = Self::default();
        store.lock().epoch = epoch;
        store
    }

    /// The audit, oldest first.
    pub fn audit(&self) -> Vec<AuditEntry> {
        self.lock().audit.iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn check_epoch(&self, epoch: u32) -> Result<(), CommitError> {
        if epoch == self.epoch {
            return Ok(());
        }
        let message = format!("epoch {epoch} ended, epoch {} writes", self.epoch);
        Err(CommitError::Lost(StoreFault::new(message)))
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), CommitError> {
        self.check_epoch(batch.epoch)?;
        if batch.sequence != self.sequence + 1 {
            let message = format!("batch {} does not follow {}", batch.sequence, self.sequence);
            return Err(CommitError::Lost(StoreFault::new(message)));
        }
        self.sequence = batch.sequence;
        for row in &batch.rows {
            match row {
                RowChange::Put { pod, resets_health } => self.put(pod, *resets_health),
                RowChange::Delete { key } => {
                    self.pods.remove(key);
                }
            }
        }
        self.note(batch.audit.iter().cloned());
        Ok(())
    }

    fn put(&mut self, pod: &Arc<Pod>, resets_health: bool) {
        let kept = self.pods.get(&pod.key).filter(|_| !resets_health);
        let row = match kept {
            Some(row) => Arc::new(Pod {
                status: row.status,
                last_health_check: row.last_health_check,
                ..Pod::clone(pod)
            }),
            None => Arc::clone(pod),
        };
        self.pods.insert(pod.key.clone(), row);
    }

    fn write_health(&mut self, write: &HealthWrite) {
        let Some(row) = self.pods.get_mut(&write.key) else {
            return;
        };
        if row.registration_id == write.registration_id {
            let row = Arc::make_mut(row);
            row.status = write.status;
            row.last_health_check = Some(write.last_health_check);
            row.updated_at = row.updated_at.max(write.status_changed_at.unwrap_or(row.updated_at));
        }
    }

    fn note(&mut self, entries: impl IntoIterator<Item = AuditEntry>) {
        let before = self.audit.len();
        self.audit.extend(entries);
        self.next_audit_id += (self.audit.len() - before) as u64;
        let surplus = self.audit.len().saturating_sub(AUDIT_MAX);
        self.audit.drain(..surplus);
    }

    fn read_audit(&self, query: &AuditQuery) -> AuditPage {
        let newest_first = (1..self.next_audit_id).rev().zip(self.audit.iter().rev());
        let matching = newest_first.filter(|(_, entry)| is_wanted(query, entry));
        let counted = matching.clone().take(AUDIT_TOTAL_MAX + 1).count();
        let wanted = query.limit.saturating_add(1);
        let record = |(id, entry)| record(id, entry);
        let records: Vec<_> = match query.position {
            AuditPosition::Skipping { count, before } => {
                let behind = matching.filter(|(id, _)| before.is_none_or(|before| *id < before));
                behind.skip(count).take(wanted).map(record).collect()
            }
            AuditPosition::At(at) => matching.filter(|(id, _)| *id == at).map(record).collect(),
        };
        AuditPage::new(query, records, Count { matches: counted, is_whole: true })
    }
}

fn is_wanted(query: &AuditQuery, entry: &AuditEntry) -> bool {
    let service = entry.key.as_ref().map(|key| key.service.as_str());
    let pod = entry.key.as_ref().map(|key| key.pod.as_str());
    query.from.is_none_or(|from| entry.at >= from)
        && query.until.is_none_or(|until| entry.at <= until)
        && (query.actions.is_empty() || query.actions.contains(&entry.action))
        && (query.results.is_empty() || query.results.contains(&entry.result))
        && query.service.as_deref().is_none_or(|wanted| service == Some(wanted))
        && query.pod.as_deref().is_none_or(|wanted| pod == Some(wanted))
}

fn record(id: u64, entry: &AuditEntry) -> AuditRecord {
    let word = |status: Option<Status>| status.map(|status| status.as_str().to_owned());
    AuditRecord {
        id,
        at: entry.at,
        action: entry.action.as_str().to_owned(),
        result: entry.result.as_str().to_owned(),
        service: entry.key.as_ref().map(|key| key.service.as_str().to_owned()),
        pod: entry.key.as_ref().map(|key| key.pod.as_str().to_owned()),
        details: entry.details.clone(),
        previous_status: word(entry.previous_status),
        new_status: word(entry.new_status),
        request_id: entry.request_id.clone(),
        remote: entry.remote.clone(),
    }
}

impl Store for MemoryStore {
    fn describe(&self) -> Description {
        let location = "this process, lost when it ends".to_owned();
        Description { kind: "memory", location, is_durable: false }
    }

    fn acquire<'a>(&'a self, owner: &'a Owner) -> BoxFuture<'a, Result<Tenure, AcquireError>> {
        let mut tables = self.lock();
        if let Some(last) = owner.last
            && last.is_unknown_to(
                tables.registry_id,
                tables.epoch.into(),
                tables.sequence.cast_signed(),
            )
        {
            (tables.registry_id, tables.epoch) = (Uuid::new_v4(), last.epoch);
        }
        tables.epoch += 1;
        let Tables { registry_id, epoch, sequence, .. } = *tables;
        ready(Ok(Tenure { registry_id, epoch, sequence, lease: None })).boxed()
    }

    fn renew<'a>(&'a self, tenure: &'a Tenure) -> BoxFuture<'a, Result<Renewal, CommitError>> {
        let held = self.lock().check_epoch(tenure.epoch);
        ready(held.map(|()| Renewal { standby_is_alive: false })).boxed()
    }

    fn release<'a>(&'a self, tenure: &'a Tenure) -> BoxFuture<'a, Result<(), CommitError>> {
        ready(self.lock().check_epoch(tenure.epoch)).boxed()
    }

    fn load(&self) -> BoxFuture<'_, Result<Loaded, StoreFault>> {
        let pods = self.lock().pods.values().map(|pod| Pod::clone(pod)).collect();
        ready(Ok(Loaded { pods, ..Loaded::default() })).boxed()
    }

    fn commit(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), CommitError>> {
        ready(self.lock().commit(&batch)).boxed()
    }

    fn write_health<'a>(
        &'a self,
        tenure: &'a Tenure,
        writes: Vec<HealthWrite>,
        audit: Vec<AuditEntry>,
    ) -> BoxFuture<'a, Result<(), CommitError>> {
        let mut tables = self.lock();
        let held = tables.check_epoch(tenure.epoch).map(|()| {
            for write in &writes {
                tables.write_health(write);
            }
            tables.note(audit);
        });
        ready(held).boxed()
    }

    fn rewrite<'a>(
        &'a self,
        tenure: &'a Tenure,
        pods: Vec<Arc<Pod>>,
        audit: Vec<AuditEntry>,
    ) -> BoxFuture<'a, Result<Uuid, CommitError>> {
        let mut tables = self.lock();
        let held = tables.check_epoch(tenure.epoch).map(|()| {
            tables.registry_id = Uuid::new_v4();
            tables.sequence = tenure.sequence;
            tables.pods = pods.into_iter().map(|pod| (pod.key.clone(), pod)).collect();
            tables.note(audit);
            tables.registry_id
        });
        ready(held).boxed()
    }

    fn prune_audit<'a>(
        &'a self,
        tenure: &'a Tenure,
        before: Timestamp,
        limit: usize,
    ) -> BoxFuture<'a, Result<usize, CommitError>> {
        let mut tables = self.lock();
        let held = tables.check_epoch(tenure.epoch).map(|()| {
            let old = tables.audit.iter().take(limit).take_while(|entry| entry.at < before).count();
            tables.audit.drain(..old);
            old
        });
        ready(held).boxed()
    }

    /// So few entries need none.
    fn digest_audit<'a>(
        &'a self,
        tenure: &'a Tenure,
        _blocks: usize,
    ) -> BoxFuture<'a, Result<usize, CommitError>> {
        ready(self.lock().check_epoch(tenure.epoch).map(|()| 0)).boxed()
    }

    fn read_audit(&self, query: AuditQuery) -> BoxFuture<'_, Result<AuditPage, StoreFault>> {
        ready(Ok(self.lock().read_audit(&query))).boxed()
    }
}
