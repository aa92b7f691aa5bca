//! The whole program against the real manager: what is typed, what comes out on stdout and stderr,
//! and the exit code, compared with the texts in `snapshots/`.
//!
//! `GOVCTL_SNAPSHOTS=write` writes them anew; read the difference before committing it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod explaining;
mod following;
mod generated;
mod scene;
mod secured;
mod standby;
mod strangers;
mod talking;
