//! Tests of notifications: each sentence of the contract, random histories, and real sockets.

mod contract;
mod convergence;
mod end_to_end;
mod faults;
mod receiver;
#[cfg(feature = "traces")]
mod traces;
mod wire;
mod world;
