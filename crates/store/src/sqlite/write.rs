//! Storing: batches, health, and everything anew. Each is one transaction that begins by proving
//! that its epoch still writes.
//!
//! A row of `services` is updated in place and its names are never set again, so that the key's
//! index is left alone; what is ours is appended. So a registration of a pod that was there writes
//! one page of its own, one of a new pod writes a page of the index.

use std::sync::Arc;

use governance_domain::{Pod, PodKey, Timestamp};
use rusqlite::{CachedStatement, Transaction};
use uuid::Uuid;

use super::fault::WriteFault;
use super::ledger::{Current, Ledger, Staged};
use super::session::{Session, Strays};
use super::{audit, lease};
use crate::rows::{NEVER_CHECKED, time_text, write_providers, write_subscriptions, write_time};
use crate::{AuditEntry, Batch, CommitError, HealthWrite, RowChange, Tenure};

/// See [`crate::Store::commit`].
pub(super) fn commit(session: &mut Session, batch: &Batch) -> Result<(), CommitError> {
    let staged = session.transact(|mut desk| {
        lease::advance(desk.transaction, batch.epoch, batch.sequence)?;
        let (transaction, strays) = (desk.transaction, desk.strays);
        let mut rows = RowWriter::new(transaction, desk.ledger()?, batch.sequence)?;
        for change in &batch.rows {
            let key = change.key();
            let written = match change {
                RowChange::Put { pod, resets_health } => rows.put(pod, *resets_health),
                RowChange::Delete { key } => rows.delete(key),
            };
            written.map_err(|error| WriteFault::AtRow(Some(key.clone()), error))?;
            for stray_key in strays.get(key).into_iter().flatten() {
                rows.delete.execute([stray_key])?;
            }
        }
        rows.collect(batch.rows.len() * 2)?;
        audit::note(transaction, &batch.audit)?;
        Ok(rows.staged)
    })?;
    if let Some(ledger) = &mut session.ledger {
        ledger.apply(staged);
    }
    Ok(())
}

/// See [`crate::Store::write_health`].
pub(super) fn write_health(
    session: &mut Session,
    epoch: u32,
    writes: &[HealthWrite],
    entries: &[AuditEntry],
) -> Result<(), CommitError> {
    session.transact(|mut desk| {
        lease::check(desk.transaction, epoch)?;
        let transaction = desk.transaction;
        let ledger = desk.ledger()?;
        let mut statement = transaction.prepare_cached(
            "UPDATE services SET status = ?2, last_health_check = ?3, \
             updated_at = max(coalesce(?4, updated_at), updated_at) WHERE service_key = ?1",
        )?;
        for write in writes {
            let key = write.key.to_string();
            let current = ledger.current(&key).map(|current| current.registration_id);
            if current != Some(write.registration_id.as_u64().cast_signed()) {
                continue;
            }
            let row = (
                key,
                write.status.as_str(),
                time_text(write.last_health_check),
                write.status_changed_at.map(time_text),
            );
            statement
                .execute(row)
                .map_err(|error| WriteFault::AtRow(Some(write.key.clone()), error))?;
        }
        audit::note(transaction, entries)
    })
}

/// See [`crate::Store::rewrite`].
pub(super) fn rewrite(
    session: &mut Session,
    tenure: &Tenure,
    pods: &[Arc<Pod>],
    entries: &[AuditEntry],
) -> Result<Uuid, CommitError> {
    let registry_id = session.transact(|mut desk| {
        lease::check(desk.transaction, tenure.epoch)?;
        let transaction = desk.transaction;
        let ledger = desk.ledger()?;
        let registry_id = Uuid::new_v4();
        transaction.execute(
            "UPDATE governance_lease SET registry_id = ?1, sequence = ?2 WHERE id = 1",
            (registry_id.to_string(), tenure.sequence.cast_signed()),
        )?;
        transaction.execute("DELETE FROM services", ())?;
        transaction.execute(
            "UPDATE governance_pods SET deleted = strftime('%Y-%m-%d %H:%M:%f', 'now') \
             WHERE deleted IS NULL",
            (),
        )?;
        let mut rows = RowWriter::new(transaction, ledger, tenure.sequence)?;
        for pod in pods {
            rows.put(pod, true).map_err(|error| WriteFault::AtRow(Some(pod.key.clone()), error))?;
        }
        audit::note(transaction, entries)?;
        Ok(registry_id)
    })?;
    session.ledger = None;
    session.strays = Strays::new();
    Ok(registry_id)
}

/// The statements of one transaction, looked up once, and memory for the texts of a row.
struct RowWriter<'a> {
    ledger: &'a Ledger,
    staged: Staged,
    sequence: i64,
    put_new: CachedStatement<'a>,
    put_keeping_health: CachedStatement<'a>,
    append: CachedStatement<'a>,
    amend: CachedStatement<'a>,
    delete: CachedStatement<'a>,
    bury: CachedStatement<'a>,
    collect: CachedStatement<'a>,
    texts: Texts,
}

#[derive(Default)]
struct Texts {
    key: String,
    providers: String,
    subscriptions: String,
    last_health_check: String,
    registered_at: String,
    updated_at: String,
}

macro_rules! put_row {
    ($health:literal) => {
        concat!(
            "INSERT INTO services (service_key, service_name, pod_name, providers, ",
            "health_check_url, notification_url, subscriptions, status, last_health_check, ",
            "registered_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ",
            "ON CONFLICT (service_key) DO UPDATE SET providers = ?4, health_check_url = ?5, ",
            "notification_url = ?6, subscriptions = ?7, registered_at = ?10, updated_at = ?11",
            $health
        )
    };
}

/// Appends to the log; what an operator wants of the pod goes over from its earlier row.
const APPEND: &str = "INSERT INTO governance_pods \
    (service_key, registration_id, instance_id, sequence, admin_state, weight, metadata) \
    SELECT ?1, ?2, ?3, ?4, earlier.admin_state, earlier.weight, earlier.metadata \
    FROM (SELECT 1) LEFT JOIN governance_pods AS earlier ON earlier.id = ?5";

impl<'a> RowWriter<'a> {
    fn new(
        transaction: &'a Transaction<'_>,
        ledger: &'a Ledger,
        sequence: u64,
    ) -> rusqlite::Result<Self> {
        let statement = |sql| transaction.prepare_cached(sql);
        Ok(Self {
            ledger,
            staged: Staged::default(),
            sequence: sequence.cast_signed(),
            put_new: statement(put_row!(", status = ?8, last_health_check = ?9"))?,
            put_keeping_health: statement(put_row!(""))?,
            append: statement(APPEND)?,
            amend: statement(
                "UPDATE governance_pods SET instance_id = ?2, sequence = ?3, deleted = NULL \
                 WHERE id = ?1",
            )?,
            delete: statement("DELETE FROM services WHERE service_key = ?1")?,
            bury: statement(
                "UPDATE governance_pods SET sequence = ?2, \
                 deleted = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE id = ?1",
            )?,
            collect: statement("DELETE FROM governance_pods WHERE id = ?1")?,
            texts: Texts::default(),
        })
    }

    fn put(&mut self, pod: &Pod, resets_health: bool) -> rusqlite::Result<()> {
        self.texts.fill(pod);
        let texts = &self.texts;
        let put = if resets_health { &mut self.put_new } else { &mut self.put_keeping_health };
        put.execute((
            &texts.key,
            pod.key.service.as_str(),
            pod.key.pod.as_str(),
            &texts.providers,
            &pod.content.health_check_url,
            &pod.content.notification_url,
            &texts.subscriptions,
            pod.status.as_str(),
            &texts.last_health_check,
            &texts.registered_at,
            &texts.updated_at,
        ))?;
        self.put_ours(pod)
    }

    fn put_ours(&mut self, pod: &Pod) -> rusqlite::Result<()> {
        let key = &self.texts.key;
        let registration_id = pod.registration_id.as_u64().cast_signed();
        let earlier = self.ledger.current(key);
        let earlier_row = earlier.and_then(|earlier| earlier.row);
        if let Some(row) = earlier_row
            && earlier.is_some_and(|earlier| earlier.registration_id == registration_id)
        {
            self.amend.execute((row, &pod.content.instance_id, self.sequence))?;
            return Ok(());
        }
        let instance_id = &pod.content.instance_id;
        let values = (key, registration_id, instance_id, self.sequence, earlier_row);
        let row = Some(self.append.insert(values)?);
        self.staged.put(key, Current { row, registration_id });
        Ok(())
    }

    fn delete(&mut self, key: &PodKey) -> rusqlite::Result<()> {
        let key = key.to_string();
        self.delete.execute([&key])?;
        if let Some(current) = self.ledger.current(&key) {
            if let Some(row) = current.row {
                self.bury.execute((row, self.sequence))?;
            }
            self.staged.remove(&key);
        }
        Ok(())
    }

    /// Deletes some of the rows that were superseded, when it is time.
    fn collect(&mut self, limit: usize) -> rusqlite::Result<()> {
        for row in self.ledger.collectable(limit) {
            self.collect.execute([row])?;
            self.staged.collect(row);
        }
        Ok(())
    }
}

impl Texts {
    fn fill(&mut self, pod: &Pod) {
        self.key.clear();
        self.key.push_str(pod.key.service.as_str());
        self.key.push(':');
        self.key.push_str(pod.key.pod.as_str());
        self.providers.clear();
        write_providers(&mut self.providers, &pod.content.providers);
        self.subscriptions.clear();
        write_subscriptions(&mut self.subscriptions, &pod.content.subscriptions);
        match pod.last_health_check {
            Some(time) => fill_time(&mut self.last_health_check, time),
            None => NEVER_CHECKED.clone_into(&mut self.last_health_check),
        }
        fill_time(&mut self.registered_at, pod.registered_at);
        fill_time(&mut self.updated_at, pod.updated_at);
    }
}

fn fill_time(text: &mut String, time: Timestamp) {
    text.clear();
    write_time(text, time);
}
