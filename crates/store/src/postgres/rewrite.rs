//! Writing everything anew, after the database was found to have gone back to an earlier state.
//!
//! One transaction of bounded statements: readers see the old rows until its end, and the new ones
//! after it. The fence comes behind all pods, so that the lease can be extended meanwhile, and taken by
//! a standby if that fails: then nothing of it becomes true. Only the few entries of the audit come
//! behind the fence, because their ids are taken there.

use std::sync::Arc;
use std::time::Duration;

use governance_domain::Pod;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Transaction};
use uuid::Uuid;

use super::columns::{AuditColumns, PodColumns};
use super::fault::{Meaning, meaning};
use super::lease::LEASE;
use super::odd_keys::OddKeys;
use super::session::{Purpose, Session};
use super::write::{lost, pause, silence};
use super::{PostgresStore, statements};
use crate::{AuditEntry, CommitError, Tenure};

/// Rows that one statement deletes or inserts.
const PART_ROWS: usize = 1000;
/// The whole is tried so often if it meets other transactions.
const ATTEMPTS_MAX: u32 = 5;

impl PostgresStore {
    pub(super) async fn rewrite_all(
        &self,
        tenure: &Tenure,
        pods: &[Arc<Pod>],
        audit: &[AuditEntry],
    ) -> Result<Uuid, CommitError> {
        let _alone = self.gate.write().await;
        let registry_id = Uuid::new_v4();
        let content =
            Content { tenure, pods, audit, registry_id, patience: self.patience(Purpose::Bulk) };
        let mut attempt = 1;
        loop {
            let session = self.bulk().await;
            let mut session = session.map_err(|trouble| CommitError::NotApplied(trouble.fault))?;
            match content.write(&mut session).await {
                Ok(()) => break,
                Err(Stopped::Conflict(_)) if attempt < ATTEMPTS_MAX => pause(attempt).await,
                Err(Stopped::Conflict(error) | Stopped::End(error)) => return Err(error),
            }
            attempt += 1;
        }
        *self.odd_keys() = OddKeys::default();
        // Entries have ids of another connection now, which may be behind those in store here.
        if let Ok(session) = self.writer().await {
            self.forget_ids(&session).await;
        }
        Ok(registry_id)
    }
}

/// Why it was not written.
enum Stopped {
    /// It met another transaction.
    Conflict(CommitError),
    End(CommitError),
}

/// What is to be written.
struct Content<'a> {
    tenure: &'a Tenure,
    pods: &'a [Arc<Pod>],
    audit: &'a [AuditEntry],
    registry_id: Uuid,
    patience: Duration,
}

impl Content<'_> {
    async fn write(&self, session: &mut Session) -> Result<(), Stopped> {
        let place = session.place.clone();
        let silent = || Stopped::End(CommitError::NotApplied(silence(&place)));
        let stopped = |error: Error| {
            // Before the commit is sent nothing of it can become true, whatever the error says.
            let is_conflict = meaning(&error) == Meaning::Conflict;
            let is_data = meaning(&error) == Meaning::Data;
            let fault = place.explain(error).fault;
            let culprit = None;
            match (is_conflict, is_data) {
                (true, _) => Stopped::Conflict(CommitError::NotApplied(fault)),
                (_, true) => Stopped::End(CommitError::Refused { culprit, fault }),
                _ => Stopped::End(CommitError::NotApplied(fault)),
            }
        };
        let filled = async {
            let transaction = session.client.transaction().await?;
            self.clear(&transaction).await?;
            self.fill(&transaction).await?;
            let is_ours = self.fence(&transaction).await?;
            if is_ours {
                self.note(&transaction).await?;
            }
            Ok::<_, Error>((transaction, is_ours))
        };
        // Several statements, each within the server's limit; the whole within several times it.
        let filled = tokio::time::timeout(self.patience * 10, filled).await;
        let (transaction, is_ours) = filled.map_err(|_| silent())?.map_err(stopped)?;
        if !is_ours {
            return Err(Stopped::End(lost(self.tenure.epoch)));
        }
        match tokio::time::timeout(self.patience, transaction.commit()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if meaning(&error) == Meaning::Conflict => Err(stopped(error)),
            Ok(Err(error)) => Err(Stopped::End(place.commit_error(error))),
            Err(_) => Err(Stopped::End(CommitError::Unknown(silence(&place)))),
        }
    }

    async fn clear(&self, transaction: &Transaction<'_>) -> Result<(), Error> {
        let limit = i64::try_from(PART_ROWS).unwrap_or(i64::MAX);
        for text in [statements::DELETE_SERVICES, statements::DELETE_PODS] {
            let statement = transaction.prepare(text).await?;
            while transaction.execute(&statement, &[&limit]).await? > 0 {}
        }
        Ok(())
    }

    async fn fill(&self, transaction: &Transaction<'_>) -> Result<(), Error> {
        let sequence = self.tenure.sequence.cast_signed();
        let statement = transaction.prepare(statements::REWRITE_PART).await?;
        for part in self.pods.chunks(PART_ROWS) {
            let columns = PodColumns::of(part.iter().map(|pod| &**pod));
            let mut parameters: Vec<&(dyn ToSql + Sync)> = columns.parameters().into();
            parameters.push(&sequence);
            transaction.execute(&statement, &parameters).await?;
        }
        Ok(())
    }

    async fn note(&self, transaction: &Transaction<'_>) -> Result<(), Error> {
        for part in self.audit.chunks(PART_ROWS) {
            let columns = AuditColumns::of(part);
            let parameters = columns.parameters();
            transaction.execute(statements::REWRITE_AUDIT, &parameters).await?;
        }
        Ok(())
    }

    async fn fence(&self, transaction: &Transaction<'_>) -> Result<bool, Error> {
        let epoch = i64::from(self.tenure.epoch);
        let registry_id = self.registry_id.to_string();
        let sequence = self.tenure.sequence.cast_signed();
        let lease = LEASE.as_secs_f64();
        let row = transaction
            .query_opt(statements::REWRITE_LEASE, &[&epoch, &registry_id, &sequence, &lease])
            .await?;
        Ok(row.is_some())
    }
}
