//! Why there is no connection, in an operator's words, and whose fault it is.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use rustix::io::Errno;

/// What this machine lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OwnFaultKind {
    /// No descriptor is left, for this process or the whole machine.
    Descriptors,
    /// No memory for another connection.
    Memory,
    /// No route to the address, or a rule of our own forbids it.
    Route,
    /// No local address or port to connect from.
    Address,
    /// No name server answers.
    Resolver,
    /// This process did not run for a while, and what ran out of time meanwhile means nothing.
    Stall,
    /// A defect of this program.
    Defect,
}

impl OwnFaultKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Descriptors,
        Self::Memory,
        Self::Route,
        Self::Address,
        Self::Resolver,
        Self::Stall,
        Self::Defect,
    ];

    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Descriptors => "descriptors",
            Self::Memory => "memory",
            Self::Route => "route",
            Self::Address => "address",
            Self::Resolver => "resolver",
            Self::Stall => "stall",
            Self::Defect => "defect",
        }
    }
}

/// A fault of this machine: it says nothing about the other side.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct OwnFault {
    /// What is lacking.
    pub kind: OwnFaultKind,
    /// In an operator's words.
    pub detail: String,
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No name server knows the name.
    #[error("name {0} does not resolve")]
    Unresolved(String),
    /// The operator forbids this address.
    #[error("address {0} is denied by TARGET_DENY")]
    Denied(IpAddr),
    /// Nobody listens there.
    #[error("connection refused")]
    Refused,
    /// Nothing came in time.
    #[error("no answer within {}", spell(*.0))]
    NoAnswer(Duration),
    /// The TLS handshake failed.
    #[error("{0}")]
    Tls(String),
    /// Something else went wrong on the way or on the other side.
    #[error("{0}")]
    Other(String),
    /// This machine could not even try.
    #[error(transparent)]
    Ours(#[from] OwnFault),
}

impl Fault {
    /// Whether it says nothing about the other side.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Ours(_))
    }

    pub(super) fn ours(kind: OwnFaultKind, detail: impl Into<String>) -> Self {
        Self::Ours(OwnFault { kind, detail: detail.into() })
    }

    /// Judges an error of `connect`. `is_immediate`: the system call itself failed, so nothing was
    /// sent; the same errors mean something else when they come later, from the network.
    pub(super) fn of_connect(error: &io::Error, address: IpAddr, is_immediate: bool) -> Self {
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        match errno {
            Some(Errno::MFILE | Errno::NFILE) => {
                Self::ours(OwnFaultKind::Descriptors, "no file descriptor is left")
            }
            Some(Errno::NOBUFS | Errno::NOMEM) => {
                Self::ours(OwnFaultKind::Memory, "no memory is left for a connection")
            }
            Some(Errno::ADDRNOTAVAIL) => Self::ours(
                OwnFaultKind::Address,
                format!("no local address or port is left to reach {address}"),
            ),
            Some(Errno::NETDOWN) => {
                Self::ours(OwnFaultKind::Route, "the network of this machine is down")
            }
            Some(
                Errno::NETUNREACH
                | Errno::HOSTUNREACH
                | Errno::ACCESS
                | Errno::PERM
                | Errno::INVAL
                | Errno::AFNOSUPPORT,
            ) if is_immediate => {
                Self::ours(OwnFaultKind::Route, format!("no route from this machine to {address}"))
            }
            Some(Errno::NETUNREACH | Errno::HOSTUNREACH) => {
                Self::Other("host unreachable".to_owned())
            }
            _ => Self::of_io(error),
        }
    }

    /// Judges an error on an open connection.
    #[expect(clippy::wildcard_enum_match_arm, reason = "what is not named is treated alike")]
    pub fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Self::Other("connection reset".to_owned()),
            io::ErrorKind::UnexpectedEof => {
                Self::Other("connection closed before an answer".to_owned())
            }
            io::ErrorKind::TimedOut => Self::Other("connection timed out".to_owned()),
            _ => Self::Other(format!("connection failed: {error}")),
        }
    }
}

/// A duration as the configuration writes it: `5s`, `1.5s`, `250ms`.
#[derive(Clone, Copy, Debug)]
pub struct Spell(Duration);

/// Shows a duration as the configuration writes it.
pub fn spell(duration: Duration) -> Spell {
    Spell(duration)
}

impl fmt::Display for Spell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < Duration::from_secs(1) {
            write!(f, "{}ms", self.0.as_millis())
        } else {
            write!(f, "{}s", self.0.as_secs_f64())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(errno: Errno, is_immediate: bool) -> Fault {
        let address = IpAddr::from([10, 0, 0, 1]);
        Fault::of_connect(
            &io::Error::from_raw_os_error(errno.raw_os_error()),
            address,
            is_immediate,
        )
    }

    #[test]
    fn what_this_machine_lacks_is_its_own_fault() {
        for (errno, kind) in [
            (Errno::MFILE, OwnFaultKind::Descriptors),
            (Errno::NFILE, OwnFaultKind::Descriptors),
            (Errno::NOBUFS, OwnFaultKind::Memory),
            (Errno::ADDRNOTAVAIL, OwnFaultKind::Address),
            (Errno::NETUNREACH, OwnFaultKind::Route),
            (Errno::HOSTUNREACH, OwnFaultKind::Route),
            (Errno::PERM, OwnFaultKind::Route),
        ] {
            let fault = fault(errno, true);
            assert!(matches!(&fault, Fault::Ours(own) if own.kind == kind), "{errno:?}: {fault:?}");
        }
    }

    #[test]
    fn an_unreachable_host_that_the_network_reported_is_no_fault_of_ours() {
        assert!(!fault(Errno::HOSTUNREACH, false).is_ours());
        assert!(!fault(Errno::NETUNREACH, false).is_ours());
        assert_eq!(fault(Errno::CONNREFUSED, true), Fault::Refused);
        assert_eq!(fault(Errno::CONNRESET, false).to_string(), "connection reset");
    }

    #[test]
    fn durations_are_shown_as_the_configuration_writes_them() {
        let shown = |millis| spell(Duration::from_millis(millis)).to_string();
        assert_eq!(
            (shown(5_000), shown(1_500), shown(250)),
            ("5s".into(), "1.5s".into(), "250ms".into())
        );
    }
}
