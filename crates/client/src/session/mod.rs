//! One pod's membership: registered, and registered again whenever that is needed.
//!
//! `course` decides what to do next and knows neither clock nor network; `managers` and `backoff`
//! are its parts. `outcome` reads answers, `wire` fetches them over a `line` with `credentials` or
//! says which `obstacle` was in the way, `task` drives it all.
//! `stream` is an answer that goes on, for tools only.

mod backoff;
mod course;
mod credentials;
mod line;
mod managers;
mod obstacle;
mod outcome;
mod stream;
mod task;
mod url;
mod wire;

#[cfg(test)]
mod tests;

pub(crate) use backoff::Pauses;
pub(crate) use course::{Course, Renewal, Rhythm};
pub use credentials::{CredentialFault, Credentials};
pub use obstacle::{Obstacle, ObstacleKind};
pub(crate) use outcome::{Answer, cut};
pub(crate) use stream::Stream;
pub(crate) use task::{Links, PATIENCE, Session};
pub(crate) use url::ManagerUrl;
pub(crate) use wire::{Failure, Question, Wire};
