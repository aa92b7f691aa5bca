//! Tests of health: `world` has the real engine and loop with scripted pods on a paused clock;
//! the other files use it, or the schedule alone, or real sockets (`network`).

mod faults;
mod network;
mod removal;
mod rhythm;
mod tls;
mod verdicts;
mod world;
