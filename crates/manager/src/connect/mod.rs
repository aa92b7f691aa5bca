//! Outgoing connections to addresses that pods named: resolve, filter, connect to that address.
//!
//! Shared by health checks and notifications. Not here: what is said on a connection, how often,
//! and what a failure means. Invariants: nothing connects to an address that [`Policy`] denies,
//! whatever notation or name led to it; a fault of this machine is told apart from one of the
//! other side ([`Fault::is_ours`]).

mod dial;
mod fault;
mod policy;
mod resolver;
mod stream;
mod trust;

#[cfg(test)]
mod tests;

pub use dial::Dialer;
pub use fault::{Fault, OwnFault, OwnFaultKind, Spell, spell};
pub use policy::Policy;
pub use resolver::{NameFault, Resolve, SystemResolver};
pub use stream::Stream;
pub use trust::{Trust, TrustFault};
