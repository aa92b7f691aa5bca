//! The bounds of health, each with what happens there.

use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use crate::config;

/// Attempts under way, whatever the machine allows: each may hold some 20 KiB. Beyond that, checks
/// wait for their place and are late, all alike.
const IN_FLIGHT_MAX: u64 = 20_000;
/// Attempts under way, however little the machine allows.
const IN_FLIGHT_MIN: u64 = 8;
/// Descriptors that are left to everything else: requests, notifications, the store.
const DESCRIPTORS_LEFT: u64 = 128;

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
    /// Half of what the process may open, within bounds.
    pub(super) fn of_this_process() -> Self {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let all =
            (descriptors.saturating_sub(DESCRIPTORS_LEFT) / 2).clamp(IN_FLIGHT_MIN, IN_FLIGHT_MAX);
        Self::new(usize::try_from(all).unwrap_or(usize::MAX))
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
