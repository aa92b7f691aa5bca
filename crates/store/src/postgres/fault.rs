//! What an error of the driver or of the server means: to the batch that met it, and to the person
//! who reads the log. Not here: what is done about it.
//!
//! INVARIANT: "certainly not applied" is said only where the server itself said that the statement
//! failed; whatever else happens after something was sent leaves the outcome open.

use std::error::Error as StdError;
use std::io;

use rustls::CertificateError;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use super::settings::{PostgresSettings, host_text};
use crate::{AcquireError, CommitError, StoreFault};

/// What an error says of the statement that met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It had no effect because it met another; the same again may succeed.
    Conflict,
    /// It had no effect because of the data in it.
    Data,
    /// It had no effect, for another reason that the server gave.
    Rejected,
    /// It had no effect, and never will on this connection: the server takes no writes.
    ReadOnly,
    /// It had no effect: our tables are not there any more.
    TablesGone,
    /// Nobody knows.
    Open,
}

/// Reads the meaning of an error that a statement met after it was sent.
pub(super) fn meaning(error: &Error) -> Meaning {
    let Some(code) = error.code() else {
        return Meaning::Open;
    };
    if [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED].contains(code) {
        return Meaning::Conflict;
    }
    if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        return Meaning::ReadOnly;
    }
    if *code == SqlState::UNDEFINED_TABLE {
        return Meaning::TablesGone;
    }
    match code.code().get(..2) {
        Some("22" | "23") => Meaning::Data,
        // The server ended the connection, perhaps after it had committed; and 40003 says so itself.
        Some("08") => Meaning::Open,
        Some("57") if *code != SqlState::QUERY_CANCELED => Meaning::Open,
        Some("40") if *code == SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN => Meaning::Open,
        _ => Meaning::Rejected,
    }
}

/// An error with the place where it happened, in words.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) fault: StoreFault,
    /// Whether trying again cannot help: a person must act.
    pub(super) is_lasting: bool,
}

impl Trouble {
    /// Something that passes.
    pub(super) fn passing(fault: StoreFault) -> Self {
        let is_lasting = false;
        Self { fault, is_lasting }
    }

    /// Something that a person must mend.
    pub(super) fn lasting(fault: StoreFault) -> Self {
        let is_lasting = true;
        Self { fault, is_lasting }
    }
}

impl From<Trouble> for AcquireError {
    fn from(trouble: Trouble) -> Self {
        if trouble.is_lasting {
            Self::Unusable(trouble.fault)
        } else {
            Self::Unavailable(trouble.fault)
        }
    }
}

/// Where something was tried.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// `host:port`.
    pub(super) host: String,
    database: String,
    user: String,
}

impl Place {
    pub(super) fn new(settings: &PostgresSettings, host: &str, port: u16) -> Self {
        Self {
            host: host_text(host, port),
            database: settings.database.clone(),
            user: settings.user.clone(),
        }
    }

    /// Words for an error, with a cure where one is known.
    pub(super) fn explain(&self, error: Error) -> Trouble {
        let is_lasting = is_lasting(&error);
        let message = self.sentence(&error);
        let fault = StoreFault::because(message, error);
        Trouble { fault, is_lasting }
    }

    /// What an error of a statement that changes data means to its caller.
    pub(super) fn commit_error(&self, error: Error) -> CommitError {
        let meaning = meaning(&error);
        let fault = self.explain(error).fault;
        match meaning {
            Meaning::Data => CommitError::Refused { culprit: None, fault },
            Meaning::Conflict | Meaning::Rejected | Meaning::ReadOnly => {
                CommitError::NotApplied(fault)
            }
            // The lease went with the tables. Whoever asks for it anew makes them again.
            Meaning::TablesGone => CommitError::Lost(fault),
            Meaning::Open => CommitError::Unknown(fault),
        }
    }

    fn sentence(&self, error: &Error) -> String {
        let host = &self.host;
        if let Some(database) = error.as_db_error() {
            let words = database.message();
            return self.server_sentence(database.code(), words);
        }
        if let Some(tls) = tls_cause(error) {
            return format!("PostgreSQL at {host}: {}", tls_sentence(tls));
        }
        if is_tls_missing(error) {
            return format!(
                "PostgreSQL at {host} offers no TLS: enable ssl there or set DB_SSL_MODE=disable"
            );
        }
        match io_cause(error).map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => format!(
                "nothing answers at {host}: is PostgreSQL running there, and are DB_HOST and \
                 DB_PORT right?"
            ),
            Some(io::ErrorKind::TimedOut) => format!("PostgreSQL at {host} does not answer"),
            Some(_) if error.to_string().starts_with("error connecting") => {
                format!("{host} cannot be reached: is DB_HOST right?")
            }
            _ if error.is_closed() => format!("the connection to PostgreSQL at {host} ended"),
            Some(_) => format!("the connection to PostgreSQL at {host} broke"),
            None => format!("PostgreSQL at {host}: {error}"),
        }
    }

    fn server_sentence(&self, code: &SqlState, words: &str) -> String {
        let Self { host, database, user } = self;
        let server = format!("PostgreSQL at {host}");
        match code.code() {
            "28P01" => {
                format!("{server} refused the password of {user:?}: check DB_USER and DB_PASSWORD")
            }
            "28000" => format!(
                "{server} does not let {user:?} in: check DB_USER, DB_SSL_MODE and the server's \
                 pg_hba.conf"
            ),
            "3D000" => format!(
                "{server} has no database {database:?}: create it, or let {user:?} do so (ALTER \
                 ROLE … CREATEDB)"
            ),
            "42501" => format!(
                "{user:?} lacks a right in database {database:?} of {server} ({words}): make it \
                 the owner of the tables and grant it CREATE on the schema"
            ),
            "53300" => {
                format!("{server} has no connection left: end unused ones or raise max_connections")
            }
            "53100" => format!("{server} is out of disk space: make room on its data volume"),
            "25006" => format!("{server} takes no writes: it is a standby or set read-only"),
            "57P03" => format!("{server} is starting or stopping"),
            "57P01" | "57P02" => format!("{server} ended the connection"),
            "57014" => format!("{server} took too long and gave the statement up"),
            "42P01" | "42703" => format!(
                "the tables in database {database:?} of {server} are not as they should be \
                 ({words}): is it the right database?"
            ),
            _ => format!("{server} says: {words}"),
        }
    }
}

/// Whether a person must act before it can work.
fn is_lasting(error: &Error) -> bool {
    if let Some(code) = error.code() {
        let class = code.code().get(..2);
        return matches!(class, Some("28")) || matches!(code.code(), "3D000" | "42501" | "42P10");
    }
    tls_cause(error).is_some_and(|cause| matches!(cause, rustls::Error::InvalidCertificate(_)))
        || is_tls_missing(error)
}

fn is_tls_missing(error: &Error) -> bool {
    let cause = error.source().map(ToString::to_string);
    cause.is_some_and(|text| text == "server does not support TLS")
}

fn io_cause(error: &Error) -> Option<&io::Error> {
    let mut cause: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(found) = cause {
        if let Some(io) = found.downcast_ref() {
            return Some(io);
        }
        cause = found.source();
    }
    None
}

/// The TLS library's error; it travels inside an I/O error, whose `source` skips it.
fn tls_cause(error: &Error) -> Option<&rustls::Error> {
    io_cause(error)?.get_ref()?.downcast_ref()
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library's list grows; what is not named here is told in its words"
)]
fn tls_sentence(error: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(fault) = error else {
        return format!("the TLS handshake failed ({error})");
    };
    let cure = match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "has expired: renew it"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet: check the clocks"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "is for another host: set DB_HOST to a name in it, or DB_SSL_MODE=verify-ca"
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "does not come from a trusted CA: name its CA with DB_SSL_ROOT_CERT"
        }
        other => return format!("its certificate was refused ({other})"),
    };
    format!("its certificate {cure}")
}
