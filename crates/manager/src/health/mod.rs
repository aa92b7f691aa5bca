//! Health: when a pod is checked, how, and what the results mean for the registry.
//!
//! `schedule` decides when, `probe` makes one attempt, `domain::health` says what a row of results
//! means, `brake` holds removals back when too many fail at once, `report` tells the engine, and
//! `task` is the loop that drives them. What the engine publishes comes in through `inbox`.
//!
//! Not here: the status itself, which the engine owns; HTTP; notifications. Invariants: the writer
//! never waits for anything in here; two attempts for one pod never overlap; what this machine
//! cannot do is no verdict about a pod.

mod brake;
mod entry;
mod faults;
mod inbox;
mod lag;
mod limits;
mod probe;
mod reason;
mod report;
mod roster;
mod round;
mod schedule;
mod task;
mod tick;

#[cfg(test)]
mod tests;

pub use task::{Health, HealthTask};
