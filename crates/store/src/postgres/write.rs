//! Statements that change data, one at a time, each fenced: batches, what checks found, pruning.

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::Duration;

use governance_domain::{PodKey, Timestamp};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row, Statement};

use super::columns::{AuditColumns, GoneColumns, HealthColumns, PodColumns, Stamp};
use super::fault::{Meaning, Place, meaning};
use super::odd_keys::OddKeys;
use super::session::{Purpose, Session};
use super::{PostgresStore, statements};
use crate::{AuditEntry, Batch, CommitError, HealthWrite, RowChange, StoreFault, Tenure};

/// A statement that met another transaction is sent again so often.
const ATTEMPTS_MAX: u32 = 5;

/// Where a session keeps a statement that is used all the time.
type Slot = fn(&Session) -> &OnceLock<Statement>;

impl PostgresStore {
    pub(super) async fn commit_batch(&self, batch: &Batch) -> Result<(), CommitError> {
        let rows = BatchColumns::of(batch, &self.odd_keys());
        let audit = AuditColumns::of(&batch.audit);
        let epoch = i64::from(batch.epoch);
        let sequence = batch.sequence.cast_signed();
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&epoch, &sequence];
        parameters.extend(rows.put.parameters());
        parameters.push(&rows.kept);
        parameters.extend(rows.gone.parameters());
        parameters.extend(audit.parameters());
        let commit: Slot = |session| &session.commit;
        let row = self.change(statements::COMMIT, Some(commit), &parameters).await?;
        if row.is_none() {
            let Batch { epoch, sequence, .. } = batch;
            let message =
                format!("epoch {epoch} ended, or batch {sequence} does not follow the last one");
            return Err(CommitError::Lost(StoreFault::new(message)));
        }
        self.odd_keys().forget(batch.rows.iter().map(RowChange::key));
        Ok(())
    }

    pub(super) async fn write_found(
        &self,
        tenure: &Tenure,
        writes: &[HealthWrite],
        audit: &[AuditEntry],
    ) -> Result<(), CommitError> {
        let _shared = self.gate.read().await;
        let found = self.health_columns(writes);
        let audit = AuditColumns::of(audit);
        let epoch = i64::from(tenure.epoch);
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&epoch];
        parameters.extend(found.parameters());
        parameters.extend(audit.parameters());
        let health: Slot = |session| &session.health;
        let row = self.change(statements::WRITE_HEALTH, Some(health), &parameters).await?;
        row.map(|_| ()).ok_or_else(|| lost(tenure.epoch))
    }

    fn health_columns(&self, writes: &[HealthWrite]) -> HealthColumns {
        let odd_keys = self.odd_keys();
        let mut columns = HealthColumns::default();
        for write in writes {
            columns.push(write.key.to_string(), write);
            for key in odd_keys.of(&write.key) {
                columns.push(key.clone(), write);
            }
        }
        columns
    }

    pub(super) async fn prune(
        &self,
        tenure: &Tenure,
        before: Timestamp,
        limit: usize,
    ) -> Result<usize, CommitError> {
        let _shared = self.gate.read().await;
        let epoch = i64::from(tenure.epoch);
        let before = Stamp(before);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let row = self
            .change(statements::PRUNE_AUDIT, None, &[&epoch, &before, &limit])
            .await?
            .ok_or_else(|| lost(tenure.epoch))?;
        let count = row.try_get::<_, i64>(0).unwrap_or(0);
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// Sends a fenced statement and waits for its end; no row means that the fence held it back.
    pub(super) async fn change(
        &self,
        text: &str,
        slot: Option<Slot>,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, CommitError> {
        let session =
            self.writer().await.map_err(|trouble| CommitError::NotApplied(trouble.fault))?;
        let patience = self.patience(Purpose::Writing);
        let statement = session.statement(text, slot, patience).await?;
        let mut attempt = 1;
        loop {
            let asked = session.client.query_opt(&statement, parameters);
            let error = match tokio::time::timeout(patience, asked).await {
                Ok(Ok(row)) => return Ok(row),
                Ok(Err(error)) => error,
                Err(_) => {
                    session.abandon();
                    return Err(CommitError::Unknown(silence(&session.place)));
                }
            };
            if meaning(&error) != Meaning::Conflict || attempt == ATTEMPTS_MAX {
                return Err(session.failed(error));
            }
            pause(attempt).await;
            attempt += 1;
        }
    }
}

impl Session {
    /// The statement of a slot, or one for this once. Nothing is changed before it is there.
    async fn statement(
        &self,
        text: &str,
        slot: Option<Slot>,
        patience: Duration,
    ) -> Result<Statement, CommitError> {
        let kept = slot.map(|slot| slot(self));
        if let Some(statement) = kept.and_then(OnceLock::get) {
            return Ok(statement.clone());
        }
        let statement = match tokio::time::timeout(patience, self.client.prepare(text)).await {
            Ok(Ok(statement)) => statement,
            Ok(Err(error)) => {
                self.abandon();
                let is_gone = meaning(&error) == Meaning::TablesGone;
                let fault = self.place.explain(error).fault;
                let held_back = if is_gone { CommitError::Lost } else { CommitError::NotApplied };
                return Err(held_back(fault));
            }
            Err(_) => {
                self.abandon();
                return Err(CommitError::NotApplied(silence(&self.place)));
            }
        };
        Ok(match kept {
            Some(kept) => kept.get_or_init(|| statement).clone(),
            None => statement,
        })
    }

    /// The meaning of an error; only after a fault of the data is the connection used again.
    pub(super) fn failed(&self, error: Error) -> CommitError {
        if meaning(&error) != Meaning::Data {
            self.abandon();
        }
        self.place.commit_error(error)
    }
}

/// A little longer each time, and never twice the same: two that met shall not meet again.
pub(super) async fn pause(attempt: u32) {
    let millis = fastrand::u64(1..=u64::from(attempt) * 20);
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

pub(super) fn lost(epoch: u32) -> CommitError {
    CommitError::Lost(StoreFault::new(format!("epoch {epoch} ended")))
}

pub(super) fn silence(place: &Place) -> StoreFault {
    StoreFault::new(format!("PostgreSQL at {} did not answer in time", place.host))
}

/// The rows of a batch.
struct BatchColumns<'a> {
    put: PodColumns<'a>,
    /// Keys among `put` whose health is left alone.
    kept: Vec<String>,
    gone: GoneColumns<'a>,
}

impl<'a> BatchColumns<'a> {
    fn of(batch: &'a Batch, odd_keys: &OddKeys) -> Self {
        let puts = batch.rows.iter().filter_map(|row| match row {
            RowChange::Put { pod, .. } => Some(&**pod),
            RowChange::Delete { .. } => None,
        });
        let put = PodColumns::of(puts);
        let kept = batch.rows.iter().filter_map(|row| match row {
            RowChange::Put { pod, resets_health: false } => Some(pod.key.to_string()),
            RowChange::Put { .. } | RowChange::Delete { .. } => None,
        });
        let kept = kept.collect();
        let gone = gone(batch, &put, odd_keys);
        Self { put, kept, gone }
    }
}

/// Every key under which a row must go: those of deleted pods, and the odd ones of pods that get a
/// regular row. INVARIANT: no key twice, and none that is put, or one statement would change a row
/// twice.
fn gone<'a>(batch: &'a Batch, put: &PodColumns<'a>, odd_keys: &OddKeys) -> GoneColumns<'a> {
    let mut columns = GoneColumns::default();
    let taken: BTreeSet<&str> = put.service_key.iter().map(String::as_str).collect();
    for row in &batch.rows {
        let key: &PodKey = row.key();
        for odd in odd_keys.of(key) {
            if !taken.contains(odd.as_str()) {
                columns.push(odd.clone(), key);
            }
        }
        let regular = key.to_string();
        let is_others = odd_keys.owner(&regular).is_some_and(|owner| owner != key);
        if matches!(row, RowChange::Delete { .. })
            && !taken.contains(regular.as_str())
            && !is_others
        {
            columns.push(regular, key);
        }
    }
    columns
}
