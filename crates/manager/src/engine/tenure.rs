//! The right to write: getting it, and finding out what is stored when a commit left that open.

use std::sync::Arc;
use std::time::Duration;

use governance_store::{AcquireError, Owner, Store, StoreFault, Tenure};
use tokio::time::timeout;

use crate::clock::Stamp;

/// How long one call of the store may take before its outcome counts as unknown.
pub(super) const STORE_CALL_MAX: Duration = Duration::from_secs(5);

/// Pauses between attempts while the store is away: short at first, because most outages are.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_millis(500);

/// A growing pause with an end to its growth.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(RETRY_FIRST)
    }
}

impl Backoff {
    /// The pause before the next attempt; the one after will be longer.
    pub(super) fn next_pause(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(RETRY_MAX);
        pause
    }

    pub(super) fn reset(&mut self) {
        self.0 = RETRY_FIRST;
    }
}

/// What an attempt to take the right to write came to.
#[derive(Debug)]
pub(super) enum Attempt {
    /// It is ours, in a new epoch; a lease runs from when it was asked for, at the latest.
    Taken { tenure: Tenure, begun: Stamp },
    /// Another manager has it.
    Held { address: String },
    /// Try again later.
    Later(String),
    /// Never; a person must act.
    Never(StoreFault),
}

pub(super) async fn attempt(store: &Arc<dyn Store>, owner: &Owner) -> Attempt {
    let begun = Stamp::now();
    match timeout(STORE_CALL_MAX, store.acquire(owner)).await {
        Ok(Ok(tenure)) => Attempt::Taken { tenure, begun },
        Ok(Err(AcquireError::Held { address, .. })) => Attempt::Held { address },
        Ok(Err(AcquireError::Unavailable(fault))) => Attempt::Later(chain(&fault)),
        Ok(Err(AcquireError::Unusable(fault))) => Attempt::Never(fault),
        Err(_elapsed) => {
            Attempt::Later(format!("no answer from the store within {STORE_CALL_MAX:?}"))
        }
    }
}

/// What the store holds, compared with what was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// Everything, and the batch in question too.
    Stored,
    /// Everything, but not the batch in question.
    NotStored,
    /// Less than was committed: the store went back to an earlier state.
    WentBack,
    /// More than was committed: somebody else wrote.
    Foreign,
}

/// Compares the tenure in which the outcome became unknown with the one taken afterwards.
/// `asked` is the sequence of the batch in question, if there was one.
pub(super) fn evidence(before: &Tenure, after: &Tenure, asked: Option<u64>) -> Evidence {
    let is_same = before.registry_id == after.registry_id;
    match after.sequence.cmp(&before.sequence) {
        _ if !is_same => Evidence::WentBack,
        std::cmp::Ordering::Less => Evidence::WentBack,
        std::cmp::Ordering::Equal => Evidence::NotStored,
        std::cmp::Ordering::Greater if asked == Some(after.sequence) => Evidence::Stored,
        std::cmp::Ordering::Greater => Evidence::Foreign,
    }
}

/// An error with everything below it, for the log.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(cause) = below {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        below = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use governance_store::Uuid;

    use super::*;

    #[test]
    fn the_sequence_tells_what_is_stored() {
        let registry_id = Uuid::from_u128(1);
        let before = Tenure { registry_id, epoch: 3, sequence: 10, lease: None };
        let after = |sequence| Tenure { sequence, epoch: 4, ..before };
        assert_eq!(evidence(&before, &after(11), Some(11)), Evidence::Stored);
        assert_eq!(evidence(&before, &after(10), Some(11)), Evidence::NotStored);
        assert_eq!(evidence(&before, &after(9), Some(11)), Evidence::WentBack);
        assert_eq!(evidence(&before, &after(12), Some(11)), Evidence::Foreign);
        assert_eq!(evidence(&before, &after(11), None), Evidence::Foreign);
        let restored = Tenure { registry_id: Uuid::from_u128(2), ..after(11) };
        assert_eq!(evidence(&before, &restored, Some(11)), Evidence::WentBack);
    }
}
