//! Storing: batches, health, and everything anew. Each is one transaction that begins by proving
//! that its epoch still writes.
//!
//! A row is updated in place and its names are never set again, so that neither the key's index nor
//! another page is touched by a registration that was there before.

use std::sync::Arc;

use governance_domain::{Pod, PodKey, Timestamp};
use rusqlite::{CachedStatement, Transaction};
use uuid::Uuid;

use super::fault::WriteFault;
use super::session::{Session, Strays};
use super::{audit, lease};
use crate::rows::{NEVER_CHECKED, time_text, write_providers, write_subscriptions, write_time};
use crate::{AuditEntry, Batch, CommitError, HealthWrite, RowChange, Tenure};

/// See [`crate::Store::commit`].
pub(super) fn commit(session: &mut Session, batch: &Batch) -> Result<(), CommitError> {
    session.transact(|transaction, strays| {
        lease::advance(transaction, batch.epoch, batch.sequence)?;
        let mut rows = RowWriter::new(transaction, batch.sequence)?;
        for change in &batch.rows {
            let key = change.key();
            let written = match change {
                RowChange::Put { pod, resets_health } => rows.put(pod, *resets_health),
                RowChange::Delete { key } => rows.delete(key),
            };
            written.map_err(|error| WriteFault::AtRow(Some(key.clone()), error))?;
            if let Some(stray_keys) = strays.get(key) {
                rows.delete_rows(stray_keys)?;
            }
        }
        audit::note(transaction, &batch.audit)
    })
}

/// See [`crate::Store::write_health`].
pub(super) fn write_health(
    session: &mut Session,
    epoch: u32,
    writes: &[HealthWrite],
    entries: &[AuditEntry],
) -> Result<(), CommitError> {
    session.transact(|transaction, _| {
        lease::check(transaction, epoch)?;
        // A row that nobody registered here has its row's number for an id; see `load`.
        let mut statement = transaction.prepare_cached(
            "UPDATE services SET status = ?3, last_health_check = ?4, \
             updated_at = coalesce(?5, updated_at) WHERE service_key = ?1 AND ?2 = coalesce(\
             (SELECT registration_id FROM governance_pods WHERE service_key = ?1 \
             AND deleted IS NULL), rowid)",
        )?;
        for write in writes {
            let row = (
                write.key.to_string(),
                write.registration_id.as_u64().cast_signed(),
                write.status.as_str(),
                time_text(write.last_health_check),
                write.status_changed_at.map(time_text),
            );
            statement
                .execute(row)
                .map_err(|error| WriteFault::AtRow(Some(write.key.clone()), error))?;
        }
        drop(statement);
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
    let registry_id = session.transact(|transaction, _| {
        lease::check(transaction, tenure.epoch)?;
        let registry_id = Uuid::new_v4();
        transaction.execute(
            "UPDATE governance_lease SET registry_id = ?1, sequence = ?2 WHERE id = 1",
            (registry_id.to_string(), tenure.sequence.cast_signed()),
        )?;
        transaction.execute("DELETE FROM services", ())?;
        // Kept as tombstones, because what an operator wants of a pod stands there.
        transaction.execute(
            "UPDATE governance_pods SET deleted = strftime('%Y-%m-%d %H:%M:%f', 'now') \
             WHERE deleted IS NULL",
            (),
        )?;
        let mut rows = RowWriter::new(transaction, tenure.sequence)?;
        for pod in pods {
            rows.put(pod, true).map_err(|error| WriteFault::AtRow(Some(pod.key.clone()), error))?;
        }
        audit::note(transaction, entries)?;
        Ok(registry_id)
    })?;
    session.strays = Strays::new();
    Ok(registry_id)
}

/// The statements of one transaction, looked up once, and memory for the texts of a row.
struct RowWriter<'a> {
    sequence: i64,
    put_new: CachedStatement<'a>,
    put_keeping_health: CachedStatement<'a>,
    put_ours: CachedStatement<'a>,
    delete: CachedStatement<'a>,
    bury: CachedStatement<'a>,
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

impl<'a> RowWriter<'a> {
    fn new(transaction: &'a Transaction<'_>, sequence: u64) -> rusqlite::Result<Self> {
        Ok(Self {
            sequence: sequence.cast_signed(),
            put_new: transaction
                .prepare_cached(put_row!(", status = ?8, last_health_check = ?9"))?,
            put_keeping_health: transaction.prepare_cached(put_row!(""))?,
            put_ours: transaction.prepare_cached(
                "INSERT INTO governance_pods (service_key, registration_id, instance_id, sequence) \
                 VALUES (?1, ?2, ?3, ?4) ON CONFLICT (service_key) DO UPDATE SET \
                 registration_id = ?2, instance_id = ?3, sequence = ?4, deleted = NULL",
            )?,
            delete: transaction.prepare_cached("DELETE FROM services WHERE service_key = ?1")?,
            bury: transaction.prepare_cached(
                "UPDATE governance_pods SET sequence = ?2, \
                 deleted = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE service_key = ?1",
            )?,
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
        self.put_ours.execute((
            &texts.key,
            pod.registration_id.as_u64().cast_signed(),
            &pod.content.instance_id,
            self.sequence,
        ))?;
        Ok(())
    }

    fn delete(&mut self, key: &PodKey) -> rusqlite::Result<()> {
        let key = key.to_string();
        self.delete.execute([&key])?;
        self.bury.execute((&key, self.sequence))?;
        Ok(())
    }

    fn delete_rows(&mut self, service_keys: &[String]) -> rusqlite::Result<()> {
        for key in service_keys {
            self.delete.execute([key])?;
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
