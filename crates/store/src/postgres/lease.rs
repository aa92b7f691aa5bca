//! Who writes: taking, extending and giving back the lease, a single row whose epoch only grows.
//!
//! All times are the server's: managers need not agree on the time of day.
//!
//! INVARIANT: a standby that knows better does not take over a database that went back to an
//! earlier state while the manager that was active may still write the loss back.

use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::fault::{Meaning, Trouble, meaning};
use super::session::{Purpose, Session};
use super::write::{lost, pause, silence};
use super::{PostgresStore, schema, statements};
use crate::{AcquireError, CommitError, LastTenure, Owner, Renewal, StoreFault, Tenure};

/// The right to write lasts so long after it was last extended.
pub(super) const LEASE: Duration = Duration::from_secs(5);
/// A standby that asked within so long is alive.
const STANDBY_ALIVE: Duration = Duration::from_secs(15);
/// Steps on the way to the lease may meet another manager's so often.
const ATTEMPTS_MAX: u32 = 8;

/// A standby that finds the lease in an earlier state than it saw leaves it alone for so long: the
/// active manager holds what was lost.
const RESTORE_GRACE: Duration = Duration::from_secs(15);

/// The lease as a standby last saw it in another's hands; zeros if it never did.
#[derive(Debug, Default)]
pub(super) struct Sighting {
    epoch: i64,
    sequence: i64,
    /// Since when the lease is in an earlier state than this.
    doubted_since: Option<Instant>,
}

impl PostgresStore {
    pub(super) async fn take_lease(&self, owner: &Owner) -> Result<Tenure, AcquireError> {
        let session = self.writer().await?;
        let patience = self.patience(Purpose::Writing);
        let plan = guarded(&session, patience, schema::inspect(&session)).await?;
        if plan.lacks_lease {
            guarded(&session, patience, schema::found(&session)).await?;
        }
        let tenure = self.try_to_take(&session, owner).await?;
        match self.prepare(&session, &tenure).await {
            Ok(()) => Ok(tenure),
            Err(error) => {
                // Another manager may be able to. Whether it is told now or in five seconds does
                // not matter.
                let _ = self.release_lease(tenure.epoch).await;
                Err(error)
            }
        }
    }

    /// Brings the tables forward, if this program is the first of its version to hold the lease.
    async fn prepare(&self, session: &Session, tenure: &Tenure) -> Result<(), AcquireError> {
        let patience = self.patience(Purpose::Writing);
        // Looked at again: a newer program may have held the lease in between.
        let plan = guarded(session, patience, schema::inspect(session)).await?;
        let is_first = !self.has_adopted.load(Ordering::Relaxed);
        if plan.pending.is_empty() && !is_first {
            return Ok(());
        }
        let bulk = self.bulk().await?;
        let patience = self.patience(Purpose::Bulk);
        guarded(&bulk, patience, schema::migrate(&bulk, &plan)).await?;
        guarded(&bulk, patience, schema::adopt(&bulk, tenure.epoch)).await?;
        self.has_adopted.store(true, Ordering::Relaxed);
        // It may have taken longer than the lease lasts.
        match self.renew_lease(tenure).await {
            Ok(_) => Ok(()),
            Err(
                CommitError::Lost(fault)
                | CommitError::NotApplied(fault)
                | CommitError::Unknown(fault)
                | CommitError::Refused { fault, .. },
            ) => Err(AcquireError::Unavailable(fault)),
        }
    }

    async fn try_to_take(&self, session: &Session, owner: &Owner) -> Result<Tenure, AcquireError> {
        let id = owner.id.to_string();
        let address = &owner.address;
        let last_registry = owner.last.map(|last| last.registry_id.to_string());
        let last_epoch = owner.last.map(|last| i64::from(last.epoch));
        let last_sequence = owner.last.map(|last| last.sequence.cast_signed());
        let fresh = Uuid::new_v4().to_string();
        for attempt in 1..=ATTEMPTS_MAX {
            let lease = LEASE.as_secs_f64();
            let (epoch, sequence) = self.last_seen();
            let parameters: [&(dyn ToSql + Sync); 9] = [
                &id,
                address,
                &lease,
                &epoch,
                &sequence,
                &last_registry,
                &last_epoch,
                &fresh,
                &last_sequence,
            ];
            let taken = self.ask(session, statements::TAKE_LEASE, &parameters).await?;
            if let Asked::Row(row) = taken {
                *self.sighting() = Sighting::default();
                self.forget_ids(session).await;
                let tenure = tenure(&row)
                    .map_err(|message| AcquireError::Unusable(StoreFault::new(message)))?;
                return Ok(tenure);
            }
            let marked = self.ask(session, statements::MARK_STANDBY, &[&id]).await?;
            if let Asked::Row(row) = marked {
                let (epoch, sequence) = state(&row, 1);
                *self.sighting() = Sighting { epoch, sequence, doubted_since: None };
                let address = row.try_get(0).unwrap_or_default();
                let tenure = held_in(&row, epoch);
                return Err(AcquireError::Held { address, tenure });
            }
            self.check_state(session).await?;
            // Neither ours to take nor another's: there is no row yet, or it ended just now.
            let registry_id = Uuid::new_v4().to_string();
            self.ask(session, statements::ADD_LEASE, &[&registry_id]).await?;
            pause(attempt).await;
        }
        let message = "the lease could not be taken: several managers are after it";
        Err(AcquireError::Unavailable(StoreFault::new(message)))
    }

    /// A connection that kept ids of an earlier tenure would write entries among older ones. An
    /// engine that does not know the statement has none to keep.
    pub(super) async fn forget_ids(&self, session: &Session) {
        let forgotten = session.client.batch_execute(statements::FORGET_IDS);
        match tokio::time::timeout(self.patience(Purpose::Writing), forgotten).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the server keeps the ids it gave"),
            Err(_) => session.abandon(),
        }
    }

    fn sighting(&self) -> MutexGuard<'_, Sighting> {
        self.sighting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_seen(&self) -> (i64, i64) {
        let sighting = self.sighting();
        (sighting.epoch, sighting.sequence)
    }

    /// Fails while the lease is in an earlier state than was seen and somebody may mend that.
    async fn check_state(&self, session: &Session) -> Result<(), AcquireError> {
        let seen = self.last_seen();
        let found = match self.ask(session, statements::READ_LEASE, &[]).await? {
            Asked::Row(row) => state(&row, 0),
            Asked::Nothing => (0, 0),
        };
        let mut sighting = self.sighting();
        if found >= seen {
            sighting.doubted_since = None;
            return Ok(());
        }
        if sighting.doubted_since.get_or_insert_with(Instant::now).elapsed() < RESTORE_GRACE {
            let message = "the database went back to an earlier state: waiting for the manager \
                           that was active to write it back";
            return Err(AcquireError::Unavailable(StoreFault::new(message)));
        }
        tracing::warn!("nobody wrote back what the database lost: taking over what is left");
        *sighting = Sighting::default();
        Ok(())
    }

    /// Sends a statement about the lease; one that met another transaction counts as "no row".
    async fn ask(
        &self,
        session: &Session,
        text: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Asked, Trouble> {
        let patience = self.patience(Purpose::Writing);
        let asked = session.client.query_opt(text, parameters);
        match tokio::time::timeout(patience, asked).await {
            Ok(Ok(Some(row))) => Ok(Asked::Row(row)),
            Ok(Ok(None)) => Ok(Asked::Nothing),
            Ok(Err(error)) if meaning(&error) == Meaning::Conflict => Ok(Asked::Nothing),
            Ok(Err(error)) => {
                session.abandon();
                Err(session.place.explain(error))
            }
            Err(_) => {
                session.abandon();
                Err(Trouble::passing(silence(&session.place)))
            }
        }
    }

    pub(super) async fn renew_lease(&self, tenure: &Tenure) -> Result<Renewal, CommitError> {
        let epoch = i64::from(tenure.epoch);
        let sequence = tenure.sequence.cast_signed();
        let (lease, alive) = (LEASE.as_secs_f64(), STANDBY_ALIVE.as_secs_f64());
        let row = self
            .change(statements::RENEW_LEASE, None, &[&epoch, &lease, &alive, &sequence])
            .await?
            .ok_or_else(|| lost(tenure.epoch))?;
        let standby_is_alive = row.try_get(0).unwrap_or(true);
        Ok(Renewal { standby_is_alive })
    }

    pub(super) async fn release_lease(&self, epoch: u32) -> Result<(), CommitError> {
        let row = self.change(statements::RELEASE_LEASE, None, &[&i64::from(epoch)]).await?;
        row.map(|_| ()).ok_or_else(|| lost(epoch))
    }
}

/// The holder's tenure, from what marking ourselves as standby returned.
fn held_in(row: &Row, epoch: i64) -> Option<LastTenure> {
    let registry_id = Uuid::parse_str(row.try_get(3).ok()?).ok()?;
    Some(LastTenure { registry_id, epoch: u32::try_from(epoch).ok()?, sequence: 0 })
}

/// What a statement about the lease found.
enum Asked {
    Row(Row),
    Nothing,
}

/// Gives a step on the way to the lease so long.
async fn guarded<T>(
    session: &Session,
    patience: Duration,
    step: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    let done = tokio::time::timeout(patience, step).await;
    let done = done.unwrap_or_else(|_| Err(Trouble::passing(silence(&session.place))));
    if done.is_err() {
        session.abandon();
    }
    done
}

/// Epoch and sequence, from that column on. What cannot be read counts as the lowest.
fn state(row: &Row, first: usize) -> (i64, i64) {
    (row.try_get(first).unwrap_or_default(), row.try_get(first + 1).unwrap_or_default())
}

fn tenure(row: &Row) -> Result<Tenure, String> {
    let registry_id: String = row.try_get(0).map_err(|error| error.to_string())?;
    let epoch: i64 = row.try_get(1).map_err(|error| error.to_string())?;
    let sequence: i64 = row.try_get(2).map_err(|error| error.to_string())?;
    let unreadable = |what: &str| format!("governance_lease holds an unreadable {what}");
    Ok(Tenure {
        registry_id: registry_id.parse().map_err(|_| unreadable("registry_id"))?,
        epoch: u32::try_from(epoch).map_err(|_| unreadable("epoch"))?,
        sequence: sequence.cast_unsigned(),
        lease: Some(LEASE),
    })
}
