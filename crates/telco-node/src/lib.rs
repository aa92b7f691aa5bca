//! What the managed services share, each thing once: settings from the environment ([`Settings`]),
//! the log ([`log`]), the signals that end a process ([`stop`]), the frame of a program
//! ([`process`]), a bounded HTTP server ([`http`]), Diameter over TCP ([`diameter`]), being part of
//! the fleet ([`fleet`]), and what is done meanwhile ([`Duty`]).
//!
//! Deliberately not here: what a service does with a request, and what `crates/client` knows of
//! governance.

mod credentials;
pub mod diameter;
mod duty;
pub mod fleet;
pub mod http;
pub mod log;
pub mod process;
mod settings;
pub mod stop;

pub use credentials::Credentials;
pub use duty::Duty;
pub use settings::{EXIT_USAGE, Settings, SettingsFault};
