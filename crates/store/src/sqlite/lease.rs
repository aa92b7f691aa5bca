//! Who may write: the one row of `governance_lease`. The file has one manager, because the data
//! directory is locked, so the right does not expire; the epoch keeps out what an earlier process
//! or a second opener still tries.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};
use uuid::Uuid;

use super::fault::{self, OpenFault, WriteFault};
use super::schema;
use super::session::Session;
use crate::{AcquireError, CommitError, Owner, Renewal, Tenure};

/// See [`crate::Store::acquire`].
pub(super) fn acquire(session: &mut Session, owner: &Owner) -> Result<Tenure, AcquireError> {
    // Another program may have written while the right to write was its own.
    session.ledger = None;
    let settled = session.settle();
    let taken = settled.and_then(|()| take(session.connection()?, owner));
    if taken.is_ok() {
        session.note_log();
    }
    taken.map_err(|open_fault| {
        // Whether a new epoch was written does not matter, the next one is higher; but what may be
        // in the log must be made safe before it is.
        if open_fault.may_have_written() {
            session.close_unsettled();
        } else {
            session.close();
        }
        fault::unopened(session.path(), open_fault).into()
    })
}

fn take(connection: &mut Connection, owner: &Owner) -> Result<Tenure, OpenFault> {
    schema::migrate(connection)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute(
        "INSERT INTO governance_lease \
         (id, registry_id, owner, address, epoch, sequence, acquired_at) \
         VALUES (1, ?1, '', '', 0, 0, '') ON CONFLICT DO NOTHING",
        [Uuid::new_v4().to_string()],
    )?;
    let (registry_id, epoch, sequence) = transaction.query_row(
        "SELECT registry_id, epoch, sequence FROM governance_lease WHERE id = 1",
        (),
        |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?)),
    )?;
    let registry_id = Uuid::parse_str(&registry_id).map_err(|_| {
        let text = format!("registry_id {registry_id:?} in governance_lease is not a UUID");
        OpenFault::Refused(text)
    })?;
    let (registry_id, epoch) = match owner.last {
        Some(last) if last.is_unknown_to(registry_id, epoch, sequence) => {
            (Uuid::new_v4(), last.epoch.into())
        }
        Some(_) | None => (registry_id, epoch),
    };
    let epoch = next_epoch(epoch)?;
    transaction.execute(
        "UPDATE governance_lease SET registry_id = ?1, owner = ?2, address = ?3, epoch = ?4, \
         expires_at = NULL, acquired_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE id = 1",
        (registry_id.to_string(), owner.id.to_string(), &owner.address, epoch),
    )?;
    transaction.commit()?;
    Ok(Tenure { registry_id, epoch, sequence: i64::cast_unsigned(sequence), lease: None })
}

fn next_epoch(epoch: i64) -> Result<u32, OpenFault> {
    let next = u32::try_from(epoch).ok().and_then(|epoch| epoch.checked_add(1));
    next.ok_or_else(|| {
        let text = format!("no epoch follows {epoch}, which governance_lease holds");
        OpenFault::Refused(text)
    })
}

/// See [`crate::Store::renew`]. Nothing expires, so nothing is written.
pub(super) fn renew(session: &mut Session, epoch: u32) -> Result<Renewal, CommitError> {
    session.read(|connection| check(connection, epoch))?;
    Ok(Renewal { standby_is_alive: false })
}

/// See [`crate::Store::release`].
pub(super) fn release(session: &mut Session, epoch: u32) -> Result<(), CommitError> {
    session.transact(|desk| {
        check(desk.transaction, epoch)?;
        desk.transaction.execute(
            "UPDATE governance_lease SET expires_at = strftime('%Y-%m-%d %H:%M:%f', 'now')",
            (),
        )?;
        Ok(())
    })
}

/// That `epoch` still writes; at the beginning of a transaction, so that it stays true to its end.
pub(super) fn check(connection: &Connection, epoch: u32) -> Result<(), WriteFault> {
    let held = connection
        .prepare_cached("SELECT epoch FROM governance_lease WHERE id = 1")?
        .query_row((), |row| row.get::<_, i64>(0))
        .optional()?;
    if held == Some(epoch.into()) {
        return Ok(());
    }
    Err(WriteFault::Lost(match held {
        Some(held) => format!("epoch {epoch} ended, epoch {held} writes"),
        None => "governance_lease is empty: the file was replaced".to_owned(),
    }))
}

/// That `epoch` still writes and `sequence` is the next number; takes the number.
pub(super) fn advance(
    transaction: &Transaction<'_>,
    epoch: u32,
    sequence: u64,
) -> Result<(), WriteFault> {
    let advanced = transaction
        .prepare_cached(
            "UPDATE governance_lease SET sequence = ?1 WHERE id = 1 AND epoch = ?2 AND sequence = ?3",
        )?
        .execute((
            sequence.cast_signed(),
            epoch,
            sequence.wrapping_sub(1).cast_signed(),
        ))?;
    if advanced == 1 {
        return Ok(());
    }
    check(transaction, epoch)?;
    Err(WriteFault::Lost(format!("batch {sequence} does not follow the one that was stored last")))
}
