//! A registered pod as the registry keeps it.

use std::fmt;
use std::sync::Arc;

use crate::content::Content;
use crate::name::{PodKey, PodName};
use crate::ordered::Keyed;
use crate::revision::RegistrationId;
use crate::time::Timestamp;

/// What was measured of a pod. What an operator wants of it is never a fourth status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// No check has ended since this registration.
    Unknown,
    /// The last check succeeded.
    Healthy,
    /// The last check failed, with all its retries.
    Unhealthy,
}

impl Status {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 3] = [Self::Healthy, Self::Unhealthy, Self::Unknown];

    /// The word on the wire and in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }

    /// The status of a word, if it is one of the three.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One pod. Immutable: a change makes a new value, so that a reader's snapshot never moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Who it is.
    pub key: PodKey,
    /// Which of its registrations this is.
    pub registration_id: RegistrationId,
    /// What it said of itself; shared between the states of one registration.
    pub content: Arc<Content>,
    /// What the last check found. Written by health alone, once registered.
    pub status: Status,
    /// When the last check of this registration ended; none before the first.
    pub last_health_check: Option<Timestamp>,
    /// When this registration was decided.
    pub registered_at: Timestamp,
    /// When content or status last changed.
    pub updated_at: Timestamp,
}

impl Keyed for Arc<Pod> {
    type Key = PodName;

    fn key(&self) -> &PodName {
        &self.key.pod
    }
}
