//! Tests of health: `world` has the real engine and loop with scripted pods on a paused clock;
//! the other files use it, or the schedule alone, or real sockets (`network`).

#![expect(clippy::unchecked_time_subtraction, reason = "a later moment less an earlier one")]

mod faults;
mod model;
mod network;
mod removal;
mod rhythm;
mod tls;
mod verdicts;
mod world;
