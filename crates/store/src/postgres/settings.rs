//! How to reach PostgreSQL: what the store is told, already parsed. Not here: environment
//! variables and their defaults.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Where the database is and who we are to it.
#[derive(Clone)]
pub struct PostgresSettings {
    /// Names or addresses (IPv6 without brackets) with their ports, tried in this order; the first
    /// one that takes writes is used.
    pub hosts: Vec<(String, u16)>,
    /// The database; created if it is missing and the user may.
    pub database: String,
    /// The role to log in as.
    pub user: String,
    /// Its password.
    pub password: String,
    /// Whether to encrypt, and what to verify.
    pub ssl_mode: SslMode,
    /// A PEM file with the CAs to trust; `None` stands for the system's.
    pub ssl_root_cert: Option<PathBuf>,
    /// So long the server may work on one ordinary statement. A little later we stop waiting for
    /// its answer, and the outcome is unknown.
    pub statement_timeout: Duration,
}

/// What is encrypted and verified, in libpq's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// No encryption.
    Disable,
    /// Encryption; the certificate is verified only if a CA is named, then as by `VerifyCa`.
    Require,
    /// The certificate must come from a trusted CA.
    VerifyCa,
    /// And it must be for the host's name.
    VerifyFull,
}

impl PostgresSettings {
    /// `user@host:port,host:port/database`, for people; no password.
    pub fn location(&self) -> String {
        let hosts: Vec<String> = self.hosts.iter().map(|(h, p)| host_text(h, *p)).collect();
        format!("{}@{}/{}", self.user, hosts.join(","), self.database)
    }
}

/// `host:port`, an IPv6 address in brackets.
pub(super) fn host_text(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

impl fmt::Debug for PostgresSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSettings")
            .field("location", &self.location())
            .field("ssl_mode", &self.ssl_mode)
            .field("ssl_root_cert", &self.ssl_root_cert)
            .field("statement_timeout", &self.statement_timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_the_location_nor_a_dump_shows_the_password() {
        let settings = PostgresSettings {
            hosts: vec![("db".into(), 5432), ("::1".into(), 5433)],
            database: "governance_db".into(),
            user: "gov".into(),
            password: "hunter2".into(),
            ssl_mode: SslMode::Disable,
            ssl_root_cert: None,
            statement_timeout: Duration::from_secs(5),
        };
        assert_eq!(settings.location(), "gov@db:5432,[::1]:5433/governance_db");
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
