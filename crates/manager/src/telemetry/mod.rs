//! What the manager says of itself.

pub mod logging;
