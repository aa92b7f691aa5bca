//! What others ask of this pod: notifications, whether it is healthy, and what it knows.
//!
//! `receiver` answers without knowing how it was asked; `listener` is a small server around it,
//! `router` puts it into an axum application.

#[cfg(feature = "listener")]
pub(crate) mod listener;
mod receiver;
#[cfg(feature = "axum")]
mod router;

pub(crate) use receiver::{Check, Desk};
pub use receiver::{Paths, Receiver, Reply};
