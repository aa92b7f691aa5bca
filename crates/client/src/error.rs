//! What can go wrong for the author or operator of a service: one message each, with what to do.

use std::io;
use std::net::SocketAddr;

/// Why a member could not start, register or leave.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use governance_client::{Error, Member};
///
/// let error = Member::builder("http-gw").pod("-").start().await.unwrap_err();
/// let Error::Invalid(faults) = error else { panic!("{error}") };
/// assert_eq!(faults.len(), 2);
/// assert!(faults[0].starts_with("pod name \"-\" is not allowed: give 1 to 128 characters"));
/// assert!(faults[1].starts_with("there are 0 providers: give 1 to 64"));
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What was configured cannot be registered. Every fault is named.
    #[error("this cannot be registered: {}", .0.join("; "))]
    Invalid(Vec<String>),
    /// Another program listens where this one should.
    #[error(
        "cannot listen on {address} for notifications: the port is in use; stop the program that \
         uses it, or give another port with listen(), 0 for any that is free"
    )]
    PortInUse {
        /// Where.
        address: SocketAddr,
    },
    /// The address to listen on cannot be used.
    #[error(
        "cannot listen on {address} for notifications: {fault}; give an address of this machine \
         with listen()"
    )]
    Listen {
        /// Where.
        address: String,
        /// What the system says.
        fault: io::Error,
    },
    /// The manager refuses the registration, or is not understood. The member goes on trying.
    #[error("{0}")]
    Stuck(String),
    /// The pod may still be registered; the manager removes it when its checks have failed long
    /// enough.
    #[error("could not unregister in time: {0}")]
    NotUnregistered(String),
    /// The member was shut down.
    #[error("the member has left")]
    Left,
}
