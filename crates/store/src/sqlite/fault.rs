//! What the driver's errors mean to the caller: certainly nothing stored, data refused, or nobody
//! knows; and what an operator can do about it.

use std::path::Path;

use governance_domain::PodKey;
use rusqlite::{Error, ErrorCode};

use crate::{AcquireError, CommitError, StoreFault};

/// Why the file cannot be used.
pub(super) enum OpenFault {
    /// The driver says so.
    Driver(Error),
    /// Another program reads it while it must be made safe.
    InUse,
    /// It opens, but not as it must: a sentence that goes on after the file's name.
    Refused(String),
}

impl From<Error> for OpenFault {
    fn from(error: Error) -> Self {
        Self::Driver(error)
    }
}

impl OpenFault {
    /// Whether something may have reached the log.
    pub(super) fn may_have_written(&self) -> bool {
        match self {
            Self::Driver(error) => !is_before_the_log(error),
            Self::InUse | Self::Refused(_) => false,
        }
    }
}

/// Why a transaction was not committed.
pub(super) enum WriteFault {
    /// Before the commit, at no row in particular.
    Driver(Error),
    /// Before the commit, at a row.
    AtRow(Option<PodKey>, Error),
    /// At the commit itself.
    AtCommit(Error),
    /// The lease row says that somebody else writes.
    Lost(String),
}

impl From<Error> for WriteFault {
    fn from(error: Error) -> Self {
        Self::Driver(error)
    }
}

/// A fault of opening in an operator's words.
pub(super) enum Unopened {
    /// Try again later.
    Unavailable(StoreFault),
    /// A file that is no good does not become one by waiting.
    Unusable(StoreFault),
}

impl From<Unopened> for AcquireError {
    fn from(unopened: Unopened) -> Self {
        match unopened {
            Unopened::Unavailable(fault) => Self::Unavailable(fault),
            Unopened::Unusable(fault) => Self::Unusable(fault),
        }
    }
}

impl From<Unopened> for StoreFault {
    fn from(unopened: Unopened) -> Self {
        match unopened {
            Unopened::Unavailable(fault) | Unopened::Unusable(fault) => fault,
        }
    }
}

/// What a fault of opening means.
pub(super) fn unopened(path: &Path, fault: OpenFault) -> Unopened {
    let file = path.display();
    match fault {
        OpenFault::Refused(text) => Unopened::Unusable(StoreFault::new(format!("{file}: {text}"))),
        OpenFault::InUse => Unopened::Unavailable(StoreFault::new(format!(
            "{file} must be made safe after a write that failed, but another program reads it: \
             close that program"
        ))),
        OpenFault::Driver(error) => match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                Unopened::Unusable(told(path, error))
            }
            _ => Unopened::Unavailable(told(path, error)),
        },
    }
}

/// What a fault of writing means.
pub(super) fn uncommitted(path: &Path, fault: WriteFault) -> CommitError {
    match fault {
        WriteFault::Lost(text) => CommitError::Lost(StoreFault::new(text)),
        WriteFault::AtRow(culprit, error) if is_refusal(&error) => {
            CommitError::Refused { culprit, fault: told(path, error) }
        }
        WriteFault::Driver(error) | WriteFault::AtRow(_, error) => {
            CommitError::NotApplied(told(path, error))
        }
        WriteFault::AtCommit(error) if is_before_the_log(&error) => {
            CommitError::NotApplied(told(path, error))
        }
        WriteFault::AtCommit(error) => CommitError::Unknown(told(path, error)),
    }
}

/// The error with what an operator can do about it.
fn told(path: &Path, error: Error) -> StoreFault {
    let file = path.display();
    let text = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => format!("disk full: make room for {file}"),
        Some(ErrorCode::ReadOnly) => format!("the file {file} is read-only: make it writable"),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => format!(
            "another program holds {file} locked: is a transaction open in a sqlite3 shell?"
        ),
        Some(ErrorCode::CannotOpen) => format!(
            "cannot open {file}: check that its directory is there and may be written, and that \
             it and the files beside it are plain files"
        ),
        Some(ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
            format!("{file} may not be written: check owner and permissions")
        }
        Some(ErrorCode::NotADatabase) => {
            format!("{file} is not a SQLite database: move it away, or use another DATA_DIR")
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            format!("{file} is damaged: restore it from a backup, or move it away")
        }
        Some(ErrorCode::SystemIoFailure) => {
            format!("reading or writing {file} failed: check the disk")
        }
        _ => format!("{file} cannot do what was asked"),
    };
    StoreFault::because(text, error)
}

/// Whether the data is at fault, not the store.
fn is_refusal(error: &Error) -> bool {
    let by_sqlite = matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch)
    );
    by_sqlite || matches!(error, Error::ToSqlConversionFailure(_))
}

/// Whether a commit failed for certain: the frame that makes it one was not written whole. Errors
/// of input and output do not tell; an fsync that failed is one of them.
fn is_before_the_log(error: &Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::ReadOnly
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::CannotOpen
                | ErrorCode::ConstraintViolation
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    fn failure(extended_code: i32) -> Error {
        Error::SqliteFailure(ffi::Error::new(extended_code), None)
    }

    #[test]
    fn an_error_at_commit_is_unknown_unless_it_came_before_the_log() {
        for (code, is_known) in [
            (ffi::SQLITE_FULL, true),
            (ffi::SQLITE_BUSY, true),
            (ffi::SQLITE_BUSY_SNAPSHOT, true),
            (ffi::SQLITE_READONLY, true),
            (ffi::SQLITE_IOERR_FSYNC, false),
            (ffi::SQLITE_IOERR_WRITE, false),
            (ffi::SQLITE_IOERR, false),
            (ffi::SQLITE_NOMEM, false),
            (ffi::SQLITE_CORRUPT, false),
        ] {
            let error = uncommitted(Path::new("f"), WriteFault::AtCommit(failure(code)));
            let is_not_applied = matches!(error, CommitError::NotApplied(_));
            assert_eq!(is_not_applied, is_known, "{code}: {error}");
            assert_ne!(is_not_applied, matches!(error, CommitError::Unknown(_)));
        }
    }

    #[test]
    fn an_error_before_the_commit_is_never_unknown() {
        for code in [
            ffi::SQLITE_FULL,
            ffi::SQLITE_IOERR_WRITE,
            ffi::SQLITE_IOERR_FSYNC,
            ffi::SQLITE_NOMEM,
            ffi::SQLITE_INTERNAL,
        ] {
            let error = uncommitted(Path::new("f"), WriteFault::AtRow(None, failure(code)));
            assert!(matches!(error, CommitError::NotApplied(_)), "{error}");
        }
        let refused =
            uncommitted(Path::new("f"), WriteFault::AtRow(None, failure(ffi::SQLITE_TOOBIG)));
        assert!(matches!(refused, CommitError::Refused { .. }), "{refused}");
    }

    #[test]
    fn only_a_file_that_is_no_good_is_final() {
        for (code, is_final) in [
            (ffi::SQLITE_NOTADB, true),
            (ffi::SQLITE_CORRUPT, true),
            (ffi::SQLITE_FULL, false),
            (ffi::SQLITE_READONLY_DIRECTORY, false),
            (ffi::SQLITE_CANTOPEN_ISDIR, false),
            (ffi::SQLITE_BUSY, false),
        ] {
            let error = unopened(Path::new("f"), failure(code).into());
            let was_final = matches!(error, Unopened::Unusable(_));
            assert_eq!(was_final, is_final, "{code}");
        }
    }
}
