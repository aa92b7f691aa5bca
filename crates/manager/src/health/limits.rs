//! The bounds of health, each with what happens there.

use std::time::Duration;

use crate::config;
use crate::descriptors::Descriptors;

/// Attempts under way, whatever the machine allows: each may hold some 20 KiB. Beyond that, checks
/// wait for their place and are late, all alike.
const IN_FLIGHT_MAX: usize = 20_000;
/// Attempts under way, however little the machine allows.
const IN_FLIGHT_MIN: usize = 8;

/// Between two checks of a pod that was never healthy, in its first minute.
const FIRST_MINUTE_PAUSE: Duration = Duration::from_secs(5);

/// Places for attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// Attempts under way at once.
    pub(super) all: usize,
    /// Attempts under way with pods whose last attempt failed: they may take their full time, and
    /// must leave room for the others.
    pub(super) suspects: usize,
}

impl Places {
    /// As far as the files of this process go, within bounds.
    pub(super) fn of_this_process() -> Self {
        Self::new(Descriptors::of_this_process().checks.clamp(IN_FLIGHT_MIN, IN_FLIGHT_MAX))
    }

    pub(super) fn new(all: usize) -> Self {
        Self { all, suspects: (all - all / 4).max(1) }
    }
}

/// When pods are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rhythm {
    /// Between two checks of one pod.
    pub(super) interval: Duration,
    /// Between two checks of a pod that was never healthy, in its first minute, if that is less
    /// than the interval.
    pub(super) first_minute: Option<Duration>,
    /// A check that begins so late is worth a line in the log.
    pub(super) late: Duration,
}

impl Rhythm {
    pub(super) fn new(config: &config::Health) -> Self {
        let interval = config.interval;
        Self {
            interval,
            first_minute: Some(FIRST_MINUTE_PAUSE).filter(|pause| *pause < interval),
            late: (interval / 4).clamp(Duration::from_millis(200), Duration::from_secs(5)),
        }
    }
}
