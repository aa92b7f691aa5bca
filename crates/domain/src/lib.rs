//! The rules of the service registry.
//!
//! Pure by design: no async, no clock (`now` is an argument), no I/O, no serialisation, no
//! randomness. What is decided here depends on the arguments alone, so that a script of commands
//! gives the same changes on every run.
//!
//! Read [`registry`] first: it decides commands into changes and applies them.

pub mod change;
pub mod command;
pub mod content;
pub mod draft;
pub mod health;
pub mod limits;
pub mod name;
pub mod ordered;
pub mod pod;
pub mod provider;
pub mod registry;
pub mod rejection;
pub mod revision;
mod sharded;
pub mod subscription;
pub mod target;
pub mod time;

pub use change::{Applied, Change, Notice, NoticeKind};
pub use command::{Evict, Register, Unregister};
pub use content::Content;
pub use draft::{Decision, Draft};
pub use health::{Finding, Step, Streak, StreakRules};
pub use name::{NameFault, PodKey, PodName, ServiceName};
pub use pod::{Pod, Status};
pub use provider::{Protocol, Provider};
pub use registry::{Registry, Service, Verdict};
pub use rejection::Rejection;
pub use revision::{RegistrationId, Revision};
pub use subscription::{ProviderFilter, Subscription};
pub use time::Timestamp;
