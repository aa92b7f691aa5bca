//! The bounds of notifications, each with what happens there.

use crate::descriptors::Descriptors;

/// What a manager takes that may open as many files as it likes.
const MAX: Limits = Limits { fresh: 128, slow: 2_048, suspects: 512, idle: 1_024 };
/// The least of each, however few files there are.
const MIN: usize = 4;

/// How many connections to subscribers there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Deliveries that have just begun, to subscribers that answer; the others wait. Few, because
    /// hundreds that connect at once overflow the queues of those who listen, and a lost packet
    /// costs a second.
    pub(super) fresh: usize,
    /// Deliveries that take long. Beyond that they stand in the way of the fresh ones.
    pub(super) slow: usize,
    /// Deliveries to subscribers that did not answer the last time; the others wait.
    pub(super) suspects: usize,
    /// Connections kept for the next notification; beyond that they are closed.
    pub(super) idle: usize,
}

impl Limits {
    /// As far as the files of this process go.
    pub(super) fn of_this_process() -> Self {
        Self::of(Descriptors::of_this_process().deliveries)
    }

    /// All together no more than so many connections, but for the least of each.
    fn of(connections: usize) -> Self {
        let fresh = MAX.fresh.min(connections / 4);
        let others = MAX.slow + MAX.suspects + MAX.idle;
        let rest = (connections - fresh).min(others);
        let share = |max: usize| (max * rest / others).max(MIN);
        Self {
            fresh: fresh.max(MIN),
            slow: share(MAX.slow),
            suspects: share(MAX.suspects),
            idle: share(MAX.idle),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_files_make_few_connections_and_many_no_more_than_is_useful() {
        assert_eq!(Limits::of(100_000), MAX);
        assert_eq!(Limits::of(4_000), MAX);
        for connections in [16, 168, 1_000, 3_000] {
            let Limits { fresh, slow, suspects, idle } = Limits::of(connections);
            let sum = fresh + slow + suspects + idle;
            assert!(sum <= connections + 4 * MIN, "{connections}: {sum}");
        }
        assert_eq!(Limits::of(0), Limits { fresh: 4, slow: 4, suspects: 4, idle: 4 });
    }
}
