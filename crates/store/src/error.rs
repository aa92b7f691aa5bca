//! What a store says when it cannot do what was asked. The difference between "certainly not" and
//! "nobody knows" is the heart of it: the first may be tried again, the second must be found out.

use governance_domain::PodKey;

use crate::LastTenure;

/// Something went wrong between us and the data.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StoreFault {
    /// In an operator's words: what failed, and what to do where that is known.
    pub message: String,
    /// The driver's own words, for the log.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StoreFault {
    /// A fault without a cause below it.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    /// A fault with the driver's error.
    pub fn because(
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { message: message.into(), source: Some(source.into()) }
    }
}

/// Why a batch was not stored, or may not have been.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Nothing of it is stored nor ever will be; the store itself is in trouble. Try again later.
    #[error("the store did not take it: {0}")]
    NotApplied(StoreFault),
    /// Nothing of it is stored: the data in it was refused. Trying it again as it is cannot help.
    #[error("the store refused the data{}: {fault}", of(.culprit.as_ref()))]
    Refused {
        /// The pod whose data is at fault, if the store can tell.
        culprit: Option<PodKey>,
        /// What it said.
        fault: StoreFault,
    },
    /// It may be stored, now or in a moment. [`Store::acquire`](crate::Store::acquire) tells.
    #[error("nobody knows whether the store took it: {0}")]
    Unknown(StoreFault),
    /// Nothing of it is stored: another manager holds the right to write.
    #[error("the right to write was lost: {0}")]
    Lost(StoreFault),
}

fn of(culprit: Option<&PodKey>) -> String {
    culprit.map(|key| format!(" of {key}")).unwrap_or_default()
}

/// Why the right to write was not given.
#[derive(Debug, thiserror::Error)]
pub enum AcquireError {
    /// Another manager holds it.
    #[error("the manager at {address} is active")]
    Held {
        /// Where the holder answers.
        address: String,
        /// In which tenure, as far as the store says; to be remembered as [`Owner::last`](crate::Owner::last).
        tenure: Option<LastTenure>,
    },
    /// The store cannot be asked. Try again later.
    #[error("the store is not available: {0}")]
    Unavailable(StoreFault),
    /// The store can be asked, but never will do: a newer schema, missing rights. A person must act.
    #[error("the store cannot be used: {0}")]
    Unusable(StoreFault),
}
