//! The engine: the single writer of the registry, and the way to it.
//!
//! Everyone else sends a command through [`EngineHandle`] or reads an immutable [`Snapshot`]. The
//! writer (`writer`) decides commands, has the store keep them, applies and publishes them, and
//! answers. What happens when the store fails stands in `tenure`.
//!
//! Not here: HTTP, probes, deliveries; they meet the engine through the types of this file alone.

mod alteration;
mod answer;
mod archive;
mod background;
mod batch;
mod entries;
mod figures;
mod flight;
mod handle;
mod health_reader;
mod inbox;
mod lease;
mod notes;
mod observation;
mod observer;
mod office;
mod readers;
mod snapshot;
mod soft;
mod standing;
mod tenure;
mod traced;
mod under_way;
mod writer;

#[cfg(test)]
mod tests;

pub use archive::{Archive, ArchiveError};
pub use figures::Figures;
pub use governance_store::{
    AuditAction, AuditPage, AuditPosition, AuditQuery, AuditRecord, AuditResult,
};
pub use handle::{EngineHandle, Origin, Registered, SubmitError, Unregistered};
pub use health_reader::{HealthFigures, HealthHistory, HealthReader, LastFailure, StatusChange};
pub use notes::Refusal;
pub use observation::Observation;
pub use observer::{CheckSoon, Event, Observer};
pub use office::{Engine, EngineSettings};
pub use readers::{DeliveryFigures, DeliveryReader, DeliveryState};
pub use snapshot::Snapshot;
pub use standing::{Phase, Standing, Writes};
