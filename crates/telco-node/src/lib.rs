//! What the managed services share, each thing once: settings from the environment ([`Settings`]),
//! the log ([`log`]), the signals that end a process ([`stop`]), a bounded HTTP server ([`http`]),
//! and Diameter over TCP ([`diameter`]).
//!
//! Deliberately not here: what a service does with a request, and governance: a service brings the
//! two together with `crates/client`.

pub mod diameter;
pub mod http;
pub mod log;
mod settings;
pub mod stop;

pub use settings::{EXIT_USAGE, Settings, SettingsFault};
