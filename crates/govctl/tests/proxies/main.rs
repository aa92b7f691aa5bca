//! What `deploy/follow`, `deploy/haproxy` and `deploy/envoy` deliver, as it is delivered: the real
//! manager, real pods, the real proxies, all on loopback.
//!
//! A program that is not installed skips its tests and says so; with `CI` set that is a failure.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod envoy;
mod following;
mod haproxy;
mod stage;
