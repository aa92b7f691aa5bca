//! Reading the audit out of the store, for people: few at once, for a short time, beside the writer.
//!
//! Not here: how a store reads without getting in the writer's way; that is the store's promise.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use governance_store::{AuditPage, AuditQuery, Store};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::tenure::chain;

/// Questions that the store works on at once; others wait for their turn.
const QUESTIONS_MAX: usize = 2;
/// How long an answer may take, the wait for its turn included.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Why there is no answer. None of these says anything about the entries.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// It took longer than is allowed: the question is too wide, or too many ask.
    #[error("the audit was not read in time")]
    TooSlow,
    /// The store cannot be read.
    #[error("the audit cannot be read: {why}")]
    Unavailable {
        /// In an operator's words.
        why: String,
    },
}

/// The way to what was done and by whom.
#[derive(Clone)]
pub struct Archive {
    store: Arc<dyn Store>,
    turns: Arc<Semaphore>,
}

impl Archive {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, turns: Arc::new(Semaphore::new(QUESTIONS_MAX)) }
    }

    /// A page of the audit.
    pub async fn read(&self, query: AuditQuery) -> Result<AuditPage, ArchiveError> {
        let answer = async {
            let _turn = self.turns.acquire().await;
            self.store.read_audit(query).await
        };
        match timeout(ANSWER_MAX, answer).await {
            Ok(Ok(page)) => Ok(page),
            Ok(Err(fault)) => Err(ArchiveError::Unavailable { why: chain(&fault) }),
            Err(_elapsed) => Err(ArchiveError::TooSlow),
        }
    }
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive").field("store", &self.store.describe()).finish_non_exhaustive()
    }
}
