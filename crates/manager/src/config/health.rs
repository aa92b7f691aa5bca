//! How often and how patiently pods are checked.

use std::time::Duration;

use super::rule::{Span, Whole};
use super::setting::{Described, Setting};
use super::source::Reader;

/// Health checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The time between two checks of one pod.
    pub interval: Duration,
    /// The limit of a single attempt.
    pub timeout: Duration,
    /// How often a failed attempt is repeated before a pod is unhealthy.
    pub retry: u32,
    /// After how many failed checks in a row a pod is removed; 0 stands for never.
    pub failure_limit: u32,
}

static HEALTH_CHECK_INTERVAL: Setting<Span> = Setting::new(
    "HEALTH_CHECK_INTERVAL",
    "30s",
    "How often to check service health",
    Span::between(Duration::from_millis(100), Duration::from_hours(24)),
)
.earlier_keys(&["manager.health_check_interval"]);

static HEALTH_CHECK_TIMEOUT: Setting<Span> = Setting::new(
    "HEALTH_CHECK_TIMEOUT",
    "5s",
    "Timeout for one health check request",
    Span::between(Duration::from_millis(10), Duration::from_mins(10)),
)
.earlier_keys(&["manager.health_check_timeout"]);

static HEALTH_CHECK_RETRY: Setting<Whole<u32>> = Setting::new(
    "HEALTH_CHECK_RETRY",
    "3",
    "Number of retries, after 1s, 2s, 4s and so on, before a pod is marked unhealthy",
    Whole::between("a number of retries", 0, 10),
)
.earlier_keys(&["manager.health_check_retry"]);

static HEALTH_CHECK_FAILURE_LIMIT: Setting<Whole<u32>> = Setting::new(
    "HEALTH_CHECK_FAILURE_LIMIT",
    "120",
    "After so many failed checks in a row a pod is removed",
    Whole {
        zero_means: Some("never"),
        ..Whole::between("a number of failed checks", 0, 1_000_000)
    },
);

pub(super) static SETTINGS: &[&dyn Described] = &[
    &HEALTH_CHECK_INTERVAL,
    &HEALTH_CHECK_TIMEOUT,
    &HEALTH_CHECK_RETRY,
    &HEALTH_CHECK_FAILURE_LIMIT,
];

impl Health {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            interval: reader.read(&HEALTH_CHECK_INTERVAL),
            timeout: reader.read(&HEALTH_CHECK_TIMEOUT),
            retry: reader.read(&HEALTH_CHECK_RETRY),
            failure_limit: reader.read(&HEALTH_CHECK_FAILURE_LIMIT),
        }
    }
}
