//! The Telco Governance Manager: which pods exist, whether they are well, and who must know.
//!
//! [`start`] is the only wiring: it makes every part and hands each what it needs. `http`,
//! `health` and `notify` never see one another; they meet through `engine`.

pub mod access;
pub mod clock;
pub mod config;
pub mod connect;
pub mod datadir;
pub mod engine;
pub mod flood;
pub mod health;
pub mod http;
pub mod notify;
pub mod storage;
pub mod telemetry;
pub mod watch;
pub mod wire;

mod descriptors;
mod parts;
mod remembering;
mod running;

pub use running::{Running, StartError, start};
