//! The audit: entries are noted with what they tell of, and the oldest deleted after a time.

use governance_domain::{Status, Timestamp};
use rusqlite::Transaction;

use super::fault::WriteFault;
use super::lease;
use super::session::Session;
use crate::rows::time_text;
use crate::{AuditEntry, CommitError};

/// Tombstones older than this are deleted with the audit.
const TOMBSTONE_AGE: &str = "-1 hour";

/// Appends entries.
pub(super) fn note(
    transaction: &Transaction<'_>,
    entries: &[AuditEntry],
) -> Result<(), WriteFault> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO governance_audit (at, action, result, service_name, pod_name, details, \
         previous_status, new_status, request_id, remote) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    for entry in entries {
        let key = entry.key.as_ref();
        let row = (
            time_text(entry.at),
            entry.action.as_str(),
            entry.result.as_str(),
            key.map(|key| key.service.as_str()),
            key.map(|key| key.pod.as_str()),
            &entry.details,
            entry.previous_status.map(Status::as_str),
            entry.new_status.map(Status::as_str),
            &entry.request_id,
            &entry.remote,
        );
        statement.execute(row).map_err(|error| WriteFault::AtRow(key.cloned(), error))?;
    }
    Ok(())
}

/// See [`crate::Store::prune_audit`]. Looks only at the oldest `limit` ids, so that it needs no
/// index on the time; tombstones that nobody can ask for any more go with it.
pub(super) fn prune(
    session: &mut Session,
    epoch: u32,
    before: Timestamp,
    limit: usize,
) -> Result<usize, CommitError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    session.transact(|desk| {
        let transaction = desk.transaction;
        lease::check(transaction, epoch)?;
        let pruned = transaction.execute(
            "DELETE FROM governance_audit WHERE at < ?1 AND id <= (SELECT max(id) FROM \
             (SELECT id FROM governance_audit ORDER BY id LIMIT ?2))",
            (time_text(before), limit),
        )?;
        transaction.execute(
            "DELETE FROM governance_pods WHERE id IN (SELECT id FROM governance_pods WHERE deleted IS NOT NULL AND deleted < \
             strftime('%Y-%m-%d %H:%M:%f', 'now', ?1) ORDER BY deleted LIMIT ?2)",
            (TOMBSTONE_AGE, limit),
        )?;
        Ok(pruned)
    })
}
