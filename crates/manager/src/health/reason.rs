//! What an attempt found, in an operator's words but small: there is a history per pod.

use std::fmt;
use std::time::Duration;

use crate::connect::{Fault, OwnFault, spell};

/// Why a status is what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The pod answered with this status code.
    Answered(u16),
    /// The connection opened, which was all that was asked.
    Connected,
    /// Nobody listens.
    Refused,
    /// Nothing came in time.
    NoAnswer(Duration),
    /// The pod registered again, so nothing is known of it.
    RegisteredAnew,
    /// Anything else.
    Words(Box<str>),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(code) => write!(f, "HTTP {code}"),
            Self::Connected => f.write_str("connection opened"),
            Self::Refused => f.write_str("connection refused"),
            Self::NoAnswer(limit) => write!(f, "no answer within {}", spell(*limit)),
            Self::RegisteredAnew => f.write_str("registered again"),
            Self::Words(words) => f.write_str(words),
        }
    }
}

/// What one attempt found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// The pod is well.
    Passed(Reason),
    /// It is not.
    Failed(Reason),
    /// Nothing was learnt, for a reason of our own.
    Ours(OwnFault),
}

impl From<Fault> for Attempt {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Ours(own) => Self::Ours(own),
            Fault::Refused => Self::Failed(Reason::Refused),
            Fault::NoAnswer(limit) => Self::Failed(Reason::NoAnswer(limit)),
            Fault::Unresolved(_) | Fault::Denied(_) | Fault::Tls(_) | Fault::Other(_) => {
                Self::Failed(Reason::Words(fault.to_string().into()))
            }
        }
    }
}
