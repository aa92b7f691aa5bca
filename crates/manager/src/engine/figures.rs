//! How the engine is doing: counters that are cheap to write, read by whoever shows them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governance_domain::Status;
use governance_store::CommitError;

use super::handle::SubmitError;
use crate::telemetry::histogram::Histogram;

/// Upper ends for waits and commits, in seconds.
const SECONDS: &[f64] =
    &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
/// Upper ends for commands in a batch.
const COMMANDS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommandKind {
    Register,
    Unregister,
    Evict,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommandResult {
    Applied,
    Unchanged,
    Rejected,
    Refused,
    Busy,
    StoreUnavailable,
    NotActive,
    OutcomeUnknown,
}

impl From<&SubmitError> for CommandResult {
    fn from(error: &SubmitError) -> Self {
        match error {
            SubmitError::Rejected(_) => Self::Rejected,
            SubmitError::Refused => Self::Refused,
            SubmitError::Busy => Self::Busy,
            SubmitError::StoreUnavailable { .. } => Self::StoreUnavailable,
            SubmitError::NotActive(_) => Self::NotActive,
            SubmitError::OutcomeUnknown => Self::OutcomeUnknown,
        }
    }
}

/// In the order of [`CommandKind`].
const KINDS: [&str; 3] = ["register", "unregister", "evict"];
/// In the order of [`CommandResult`].
const RESULTS: [&str; 8] = [
    "applied",
    "unchanged",
    "rejected",
    "refused",
    "busy",
    "store_unavailable",
    "not_active",
    "outcome_unknown",
];
/// In the order of [`CommitError`].
const FAILURES: [&str; 4] = ["not_applied", "refused", "unknown", "lost"];

/// The counters.
#[derive(Debug)]
pub struct Figures {
    commands: [[AtomicU64; RESULTS.len()]; KINDS.len()],
    commit_failures: [AtomicU64; FAILURES.len()],
    to_healthy: AtomicU64,
    to_unhealthy: AtomicU64,
    /// Commands in each batch.
    pub batch_commands: Histogram,
    /// How long the oldest command of each batch had waited, in seconds.
    pub queue_wait: Histogram,
    /// How long each commit took, in seconds.
    pub commit_seconds: Histogram,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            commands: Default::default(),
            commit_failures: Default::default(),
            to_healthy: AtomicU64::new(0),
            to_unhealthy: AtomicU64::new(0),
            batch_commands: Histogram::new(COMMANDS),
            queue_wait: Histogram::new(SECONDS),
            commit_seconds: Histogram::new(SECONDS),
        }
    }
}

impl Figures {
    pub(super) fn note_command(&self, kind: CommandKind, result: CommandResult) {
        let counter = self.commands.get(kind as usize).and_then(|row| row.get(result as usize));
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn note_commit(&self, took: Duration, result: &Result<(), CommitError>) {
        self.commit_seconds.note(took);
        let Err(error) = result else { return };
        let failure = match error {
            CommitError::NotApplied(_) => 0,
            CommitError::Refused { .. } => 1,
            CommitError::Unknown(_) => 2,
            CommitError::Lost(_) => 3,
        };
        if let Some(counter) = self.commit_failures.get(failure) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn note_transition(&self, to: Status) {
        match to {
            Status::Healthy => _ = self.to_healthy.fetch_add(1, Ordering::Relaxed),
            Status::Unhealthy => _ = self.to_unhealthy.fetch_add(1, Ordering::Relaxed),
            Status::Unknown => {}
        }
    }

    /// How many commands of which kind ended how.
    pub fn commands(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        KINDS.iter().zip(&self.commands).flat_map(|(kind, row)| {
            let of_kind = RESULTS.iter().zip(row);
            of_kind.map(|(result, count)| (*kind, *result, count.load(Ordering::Relaxed)))
        })
    }

    /// How many commits failed how.
    pub fn commit_failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = FAILURES.iter().zip(&self.commit_failures);
        counts.map(|(name, count)| (*name, count.load(Ordering::Relaxed)))
    }

    /// How often a pod became so.
    pub fn transitions(&self) -> [(&'static str, u64); 2] {
        [
            ("healthy", self.to_healthy.load(Ordering::Relaxed)),
            ("unhealthy", self.to_unhealthy.load(Ordering::Relaxed)),
        ]
    }
}
