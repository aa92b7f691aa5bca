//! How the manager itself stands.

use serde::{Deserialize, Serialize};

/// What a manager is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It answers and writes.
    Active,
    /// Another one is active.
    Standby,
    /// It has not read its state yet.
    Loading,
    /// It finishes what it accepted, and ends.
    Stopping,
}

/// The answer of `GET /health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Health {
    /// `healthy`, while the process lives.
    pub status: String,
    /// What it is doing.
    pub role: Role,
    /// The epoch it writes in; 0 before the first.
    pub epoch: u32,
    /// Where it keeps its state.
    pub storage: Storage,
    /// The program's version.
    pub version: String,
    /// How long it has been running.
    pub uptime_seconds: u64,
}

/// Where a manager keeps its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Storage {
    /// `postgres`, `sqlite` or `memory`.
    pub kind: String,
    /// Whether it takes writes, as far as is known.
    pub reachable: bool,
    /// Whether it outlives the process.
    pub durable: bool,
}

/// The answer of `GET /ready`, when it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Ready {
    /// `ready`.
    pub status: String,
    /// `available` or `unavailable`.
    pub writes: String,
    /// Why writes are not available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when they are not (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// The answer of `GET /version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Version {
    /// The program.
    pub name: String,
    /// Its version.
    pub version: String,
}
