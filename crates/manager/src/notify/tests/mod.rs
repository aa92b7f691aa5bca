//! Tests of notifications: each sentence of the contract, random histories, and real sockets.

mod contract;
mod convergence;
mod faults;
mod wire;
mod world;
