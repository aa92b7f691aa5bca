//! What request handlers and metrics may read of the checks.
//!
//! Traits and plain values only. Each is implemented where the knowledge is, and passed on by
//! `lib.rs`. Reading never waits for anything slow.

use std::time::Duration;

use governance_domain::{PodKey, Status, Timestamp};

/// A change of a pod's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusChange {
    /// When.
    pub at: Timestamp,
    /// What it was.
    pub from: Status,
    /// What it became.
    pub to: Status,
    /// Why, in an operator's words.
    pub reason: String,
}

/// The last thing that went wrong with a pod's checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastFailure {
    /// When.
    pub at: Timestamp,
    /// What, in an operator's words.
    pub reason: String,
}

/// A pod's health in brief.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthHistory {
    /// The last few changes of its status, oldest first.
    pub changes: Vec<StatusChange>,
    /// The last attempt that failed or could not be made, also after the pod recovered.
    pub last_failure: Option<LastFailure>,
    /// Failed checks since the last success.
    pub consecutive_failures: u32,
    /// When the next attempt is due; none while one is under way.
    pub next_attempt: Option<Timestamp>,
}

/// How the checks as a whole are doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthFigures {
    /// Pods that are checked.
    pub pods: usize,
    /// Attempts under way.
    pub in_flight: usize,
    /// Checks that ended with success, since the start.
    pub passed: u64,
    /// Checks that ended without, since the start.
    pub failed: u64,
    /// Turns that were left out because an earlier check was not done, since the start.
    pub skipped: u64,
    /// Attempts that this machine could not make, by what it lacked, since the start.
    pub own_faults: Vec<(&'static str, u64)>,
    /// How late checks began in the last seconds: half of them at most so late …
    pub lag_p50: Duration,
    /// … ninety-nine of a hundred …
    pub lag_p99: Duration,
    /// … and the latest, or the one that is overdue for longest.
    pub lag_max: Duration,
    /// Whether no dead pod is removed because too many fail at once.
    pub is_removal_held: bool,
}

/// Reads what health knows.
pub trait HealthReader: Send + Sync {
    /// One pod's health in brief; none if it is not checked here.
    fn history(&self, key: &PodKey) -> Option<HealthHistory>;

    /// How the checks as a whole are doing.
    fn figures(&self) -> HealthFigures;
}
