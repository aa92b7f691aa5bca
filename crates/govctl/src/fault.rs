//! What goes wrong, as a person and a script see it: three kinds of lines and an exit code.
//!
//! INVARIANT: there is no fault without a hint.

use std::fmt::Write as _;
use std::io;

use crate::text::tame;

/// What the exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Refused by the manager, or failed: 1.
    Failed,
    /// The manager does not know who asks, so it refuses everything: 1.
    Unidentified,
    /// The manager knows who asks, and that one may not: 1.
    Forbidden,
    /// The command line or what it names makes no sense: 2.
    Usage,
    /// What was asked for is not there: 3.
    NotFound,
    /// No manager answers: 5.
    Unreachable,
}

impl Kind {
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Failed | Self::Unidentified | Self::Forbidden => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Unreachable => 5,
        }
    }
}

/// A fault: what, why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    pub(crate) what: String,
    pub(crate) causes: Vec<String>,
    pub(crate) hint: String,
}

impl Fault {
    pub(crate) fn new(kind: Kind, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { kind, what: what.into(), causes: Vec::new(), hint: hint.into() }
    }

    #[must_use]
    pub(crate) fn caused_by(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// The lines for stderr. Texts of others are tamed here, so that none can act on a terminal.
    pub(crate) fn lines(&self) -> String {
        let mut text = format!("error: {}\n", tame(&self.what));
        for cause in &self.causes {
            // Writing to a text does not fail.
            let _ = writeln!(text, "caused by: {}", tame(cause));
        }
        let _ = writeln!(text, "hint: {}", tame(&self.hint));
        text
    }
}

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// To be told.
    Fault(Fault),
    /// Nobody reads what is printed any more (`| head`), which is no error.
    ReaderGone,
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<io::Error> for Stop {
    /// Only printing uses this; reading files names the file.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::ReaderGone;
        }
        let hint = "see whether the disk is full or the terminal is gone";
        Self::Fault(
            Fault::new(Kind::Failed, "the output cannot be written", hint)
                .caused_by(error.to_string()),
        )
    }
}

/// What a command comes to.
pub(crate) type Outcome = Result<(), Stop>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_says_what_why_and_what_to_do_and_nothing_acts_on_the_terminal() {
        let fault = Fault::new(Kind::Failed, "it \u{1b}[2Jfailed", "mend it").caused_by("a\nb");
        assert_eq!(fault.lines(), "error: it [2Jfailed\ncaused by: a b\nhint: mend it\n");
    }

    #[test]
    fn a_reader_that_left_is_no_fault() {
        let gone = Stop::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(matches!(gone, Stop::ReaderGone));
        let full = Stop::from(io::Error::from(io::ErrorKind::StorageFull));
        assert!(matches!(full, Stop::Fault(fault) if fault.kind == Kind::Failed));
    }
}
