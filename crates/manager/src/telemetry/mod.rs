//! What the manager says of itself: the log, and how metrics are counted and written. Which metrics
//! there are is known where they come from.

pub mod exposition;
pub mod histogram;
pub mod logging;
pub mod process;
pub mod traces;
