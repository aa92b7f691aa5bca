//! What the writer has asked of the store and waits for. At most one of these at a time: a commit,
//! the search for its outcome, or writing everything back; that order is what keeps state and
//! store in agreement.

use std::future::{pending, poll_fn};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use governance_domain::Pod;
use governance_store::{AuditEntry, Batch, CommitError, Owner, Store, Tenure, Uuid};
use tokio::time::{Instant, sleep_until, timeout};

use super::batch::Decisions;
use super::figures::Figures;
use super::tenure::{Attempt, STORE_CALL_MAX, attempt};

/// Why the outcome is asked for.
#[derive(Debug)]
pub(super) enum Question {
    /// A batch was sent and its outcome is not known.
    Batch(Decisions),
    /// Nothing was sent; the tenure must be taken anew.
    Tenure,
    /// Everything was to be written back, and that may have happened.
    Rewrite,
}

impl Question {
    /// The number of the batch in question.
    pub(super) fn sequence(&self) -> Option<u64> {
        match self {
            Self::Batch(decisions) => decisions.batch.as_ref().map(|batch| batch.sequence),
            Self::Tenure | Self::Rewrite => None,
        }
    }
}

/// What is under way.
pub(super) enum Flight {
    /// Nothing: the next batch may be formed.
    Idle,
    /// Nothing until then: the store just failed.
    Pausing(Instant),
    /// A batch is with the store.
    Commit(Decisions, BoxFuture<'static, Result<(), CommitError>>),
    /// Waiting to ask again.
    Asking(Question, Instant),
    /// The right to write is being taken, to learn what is stored.
    Attempt(Question, BoxFuture<'static, Attempt>),
    /// Everything is being written back under this tenure.
    Rewrite(Tenure, BoxFuture<'static, Result<Uuid, CommitError>>),
}

/// What came of it.
pub(super) enum Landing {
    PauseOver,
    Committed(Decisions, Result<(), CommitError>),
    AskAgain(Question),
    Attempted(Question, Attempt),
    Rewritten(Tenure, Result<Uuid, CommitError>),
}

impl Flight {
    pub(super) fn commit(
        store: &Arc<dyn Store>,
        figures: &Arc<Figures>,
        decisions: Decisions,
        batch: Arc<Batch>,
    ) -> Self {
        let (store, figures) = (Arc::clone(store), Arc::clone(figures));
        let call = async move {
            let begun = Instant::now();
            let answer = timeout(STORE_CALL_MAX, store.commit(batch)).await;
            let result = answer.unwrap_or_else(|_| Err(no_answer()));
            figures.note_commit(begun.elapsed(), &result);
            result
        };
        Self::Commit(decisions, call.boxed())
    }

    pub(super) fn attempt(store: &Arc<dyn Store>, owner: &Arc<Owner>, question: Question) -> Self {
        let (store, owner) = (Arc::clone(store), Arc::clone(owner));
        Self::Attempt(question, async move { attempt(&store, &owner).await }.boxed())
    }

    /// No timeout here: writing everything takes as long as it takes, and nothing else may be
    /// written before it ends. A store bounds its own statements.
    pub(super) fn rewrite(
        store: &Arc<dyn Store>,
        tenure: Tenure,
        pods: Vec<Arc<Pod>>,
        audit: Vec<AuditEntry>,
    ) -> Self {
        let store = Arc::clone(store);
        let call = async move { store.rewrite(&tenure, pods, audit).await };
        Self::Rewrite(tenure, call.boxed())
    }

    pub(super) fn is_idle(&self) -> bool {
        matches!(self, Self::Idle)
    }

    /// Whether the store holds less than was committed, until everything is written back.
    pub(super) fn is_rewriting(&self) -> bool {
        matches!(
            self,
            Self::Rewrite(..)
                | Self::Asking(Question::Rewrite, _)
                | Self::Attempt(Question::Rewrite, _)
        )
    }

    /// Waits for what is under way and leaves `Idle` behind. Safe to drop and call again.
    pub(super) async fn land(&mut self) -> Landing {
        match self {
            Self::Idle => pending().await,
            Self::Pausing(until) => {
                sleep_until(*until).await;
                *self = Self::Idle;
                Landing::PauseOver
            }
            Self::Asking(_, until) => {
                sleep_until(*until).await;
                let Self::Asking(question, _) = std::mem::replace(self, Self::Idle) else {
                    unreachable!("matched above")
                };
                Landing::AskAgain(question)
            }
            Self::Commit(_, call) => {
                let result = poll_fn(|context| call.poll_unpin(context)).await;
                let Self::Commit(decisions, _) = std::mem::replace(self, Self::Idle) else {
                    unreachable!("matched above")
                };
                Landing::Committed(decisions, result)
            }
            Self::Attempt(_, call) => {
                let result = poll_fn(|context| call.poll_unpin(context)).await;
                let Self::Attempt(question, _) = std::mem::replace(self, Self::Idle) else {
                    unreachable!("matched above")
                };
                Landing::Attempted(question, result)
            }
            Self::Rewrite(_, call) => {
                let result = poll_fn(|context| call.poll_unpin(context)).await;
                let Self::Rewrite(tenure, _) = std::mem::replace(self, Self::Idle) else {
                    unreachable!("matched above")
                };
                Landing::Rewritten(tenure, result)
            }
        }
    }
}

pub(super) fn no_answer() -> CommitError {
    let message = format!("no answer from the store within {STORE_CALL_MAX:?}");
    CommitError::Unknown(governance_store::StoreFault::new(message))
}
