//! Who may use the HTTP API, and whether it speaks TLS. Reading the files that are named here is
//! the business of those who use them.

use std::path::{Path, PathBuf};

use super::rule::{PATH, Text};
use super::setting::{Described, Setting};
use super::source::Reader;

/// What protects the API; nothing by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// TLS, if the API speaks it.
    pub tls: Option<TlsFiles>,
    /// A file with hashed tokens and what they allow.
    pub tokens_file: Option<PathBuf>,
}

/// What TLS needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those between it and its CA, PEM.
    pub certificate: PathBuf,
    /// The certificate's private key, PEM.
    pub key: PathBuf,
    /// The CAs of clients, if they are asked for certificates, PEM.
    pub client_ca: Option<PathBuf>,
}

impl TlsFiles {
    /// All of them.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let required = [self.certificate.as_path(), self.key.as_path()];
        required.into_iter().chain(self.client_ca.as_deref())
    }
}

static TLS_CERT_FILE: Setting<Text<PathBuf>> = Setting::new(
    "TLS_CERT_FILE",
    "",
    "PEM file with the certificate of the HTTP API and those between it and its CA: the port then \
     speaks TLS alone; read again when it changes",
    PATH,
);

static TLS_KEY_FILE: Setting<Text<PathBuf>> = Setting::new(
    "TLS_KEY_FILE",
    "",
    "PEM file with the private key of `TLS_CERT_FILE`; read again when it changes",
    PATH,
);

static TLS_CLIENT_CA_FILE: Setting<Text<PathBuf>> = Setting::new(
    "TLS_CLIENT_CA_FILE",
    "",
    "PEM file with the CAs of clients: who has no certificate of theirs, and no token, may only \
     ask for `/health`, `/ready`, `/version` and the documentation; read again when it changes",
    PATH,
);

static API_TOKENS_FILE: Setting<Text<PathBuf>> = Setting::new(
    "API_TOKENS_FILE",
    "",
    "File with a line for each name that may use the HTTP API: name, right, hashed token; \
     `--hash-token` makes one; read again when it changes",
    PATH,
);

pub(super) static SETTINGS: &[&dyn Described] =
    &[&TLS_CERT_FILE, &TLS_KEY_FILE, &TLS_CLIENT_CA_FILE, &API_TOKENS_FILE];

impl Access {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let certificate = reader.read_optional(&TLS_CERT_FILE);
        let key = reader.read_optional(&TLS_KEY_FILE);
        let client_ca = reader.read_optional(&TLS_CLIENT_CA_FILE);
        let tokens_file = reader.read_optional(&API_TOKENS_FILE);
        let is_set = |card| reader.origin(card).is_some();
        let (has_certificate, has_key) = (is_set(&TLS_CERT_FILE.card), is_set(&TLS_KEY_FILE.card));
        if has_certificate && !has_key {
            let problem = "needs TLS_KEY_FILE, too: the certificate's private key".to_owned();
            reader.refuse(&TLS_CERT_FILE.card, problem);
        }
        if has_key && !has_certificate {
            let problem = "needs TLS_CERT_FILE, too: the key's certificate".to_owned();
            reader.refuse(&TLS_KEY_FILE.card, problem);
        }
        if !has_certificate && !has_key {
            let problem = "needs TLS_CERT_FILE and TLS_KEY_FILE: clients show certificates only \
                           to a server that speaks TLS";
            reader.refuse(&TLS_CLIENT_CA_FILE.card, problem.to_owned());
        }
        let tls = match (certificate, key) {
            (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key, client_ca }),
            _ => None,
        };
        Self { tls, tokens_file }
    }
}
