//! How the files that this process may open are divided among those that need many, so that none
//! of them takes what another one counts on. Each connection is one.
//!
//! Not here: what happens at a bound; that says whoever has it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Left to everything else: listeners, the store, name servers, the log.
const OTHERS: u64 = 128;
/// What is divided, in parts.
const PARTS: u64 = 16;

/// The shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// Health checks under way.
    pub(crate) checks: usize,
    /// Connections of clients.
    pub(crate) connections: usize,
    /// Notifications under way, and connections kept for the next.
    pub(crate) deliveries: usize,
}

impl Descriptors {
    /// As the limit of this process is now.
    pub(crate) fn of_this_process() -> Self {
        Self::of(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
    }

    fn of(limit: u64) -> Self {
        let part = limit.saturating_sub(OTHERS) / PARTS;
        let share = |parts| usize::try_from(part.saturating_mul(parts)).unwrap_or(usize::MAX);
        Self { checks: share(8), connections: share(5), deliveries: share(3) }
    }
}

/// Raises the limit as far as this process may.
pub(crate) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, limit = limit.current, "the limit of open files could not be raised");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_fit_the_limit_together() {
        for limit in [0, 100, 256, 1_024, 20_000, 1_048_576] {
            let Descriptors { checks, connections, deliveries } = Descriptors::of(limit);
            let sum = checks + connections + deliveries;
            assert!(sum as u64 <= limit.saturating_sub(OTHERS), "{limit}: {sum}");
        }
        let shares = Descriptors { checks: 448, connections: 280, deliveries: 168 };
        assert_eq!(Descriptors::of(1_024), shares);
    }
}
