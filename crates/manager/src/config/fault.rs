//! What is wrong with a configuration, in the words that the operator reads.
//!
//! All faults are collected and shown together. A secret's value is never part of a text. That
//! the process then ends with exit code 64 is decided by `main`.

use std::fmt;

use super::setting::{Card, Secrecy};
use super::source::Origin;

/// Longer values are cut in messages: a whole file pasted into a variable helps nobody.
const SHOWN_VALUE_CHARS: usize = 80;

/// One setting that cannot be used as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    setting: &'static str,
    value: Shown,
    origin: Origin,
    problem: String,
}

impl Fault {
    pub(super) fn new(card: &Card, value: &str, origin: &Origin, problem: String) -> Self {
        // A connection URL put into the wrong setting carries a password.
        let is_url_with_password = value.contains("://") && value.contains('@');
        let value = match card.secrecy {
            Secrecy::Open if !is_url_with_password => Shown::Text(cut(value)),
            Secrecy::Open | Secrecy::Secret => Shown::Hidden,
        };
        Self { setting: card.name, value, origin: origin.clone(), problem }
    }

    /// The name of the setting.
    pub(super) fn setting(&self) -> &'static str {
        self.setting
    }

    /// For a fault that is not about what the value is.
    pub(super) fn without_value(card: &Card, origin: &Origin, problem: String) -> Self {
        Self { setting: card.name, value: Shown::Nothing, origin: origin.clone(), problem }
    }
}

/// How much of a value a fault shows.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shown {
    Text(String),
    Hidden,
    Nothing,
}

fn cut(value: &str) -> String {
    match value.char_indices().nth(SHOWN_VALUE_CHARS) {
        Some((end, _)) => format!("{}…", value.get(..end).unwrap_or_default()),
        None => value.to_owned(),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, value, origin, problem } = self;
        match value {
            Shown::Text(value) => write!(f, "{setting}={value:?} ({origin}): {problem}"),
            Shown::Hidden => write!(f, "{setting}=(hidden) ({origin}): {problem}"),
            Shown::Nothing => write!(f, "{setting} ({origin}): {problem}"),
        }
    }
}

/// Why there is no configuration to start with. The process ends with exit code 64.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Wrong values: every one of them, in the order of the reference document.
    #[error("{}", Listing(.0))]
    Settings(Vec<Fault>),
    /// A command line that cannot be read. The text is complete, beginning with `error:`.
    #[error("{0}")]
    Usage(String),
}

struct Listing<'a>(&'a [Fault]);

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => writeln!(f, "error: 1 setting is wrong")?,
            count => writeln!(f, "error: {count} settings are wrong")?,
        }
        for fault in self.0 {
            writeln!(f, "  {fault}")?;
        }
        write!(f, "hint: --help names every setting, its default and what it allows")
    }
}
