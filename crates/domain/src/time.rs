//! A moment in time as the domain sees it: a number that somebody else's clock produced.

/// Microseconds since 1970-01-01T00:00:00Z; negative before.
///
/// Microseconds because that is what PostgreSQL's `timestamp` keeps: a value read back equals the
/// value written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }
}
