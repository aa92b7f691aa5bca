//! TLS towards pods: whom to believe, and what went wrong in an operator's words.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use governance_domain::target::Host;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::{debug, warn};

use super::fault::Fault;

/// Why the operator's CAs cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{setting} {path:?}: {why}")]
pub struct TrustFault {
    setting: &'static str,
    path: String,
    why: String,
}

impl TrustFault {
    /// What to do about it.
    pub fn hint(&self) -> String {
        format!("{} names a PEM file with certificates of CAs", self.setting)
    }
}

/// The CAs that https targets are verified against: the system's, and the operator's.
///
/// The operator's are read at the start, so that a wrong file stops it; the system's, a few
/// megabytes in memory, with the first https target, because most fleets have none.
#[derive(Clone)]
pub struct Trust {
    own: Arc<[CertificateDer<'static>]>,
    /// The setting that names them, for messages.
    setting: &'static str,
    connector: Arc<OnceCell<TlsConnector>>,
}

impl Trust {
    /// Reads the CAs of the file that a setting names.
    ///
    /// # Errors
    /// When the file cannot be read or holds no certificate.
    pub fn load(setting: &'static str, ca_file: Option<&Path>) -> Result<Self, TrustFault> {
        let own = match ca_file {
            None => Vec::new(),
            Some(path) => certificates(path).map_err(|why| TrustFault {
                setting,
                path: path.display().to_string(),
                why,
            })?,
        };
        Ok(Self { own: own.into(), setting, connector: Arc::default() })
    }

    async fn connector(&self) -> Result<&TlsConnector, Fault> {
        let make = async || {
            let own = Arc::clone(&self.own);
            spawn_blocking(move || connector(&own)).await
        };
        let ended = |_| Fault::Tls("the system's CAs cannot be read now".to_owned());
        self.connector.get_or_try_init(make).await.map_err(ended)
    }

    /// Speaks TLS on a connection and verifies that the other side is who it should be.
    pub(super) async fn secure(
        &self,
        stream: TcpStream,
        host: &Host,
    ) -> Result<TlsStream<TcpStream>, Fault> {
        let name = match host {
            Host::Address(address) => ServerName::IpAddress((*address).into()),
            Host::Name(name) => {
                let name = name.strip_suffix('.').unwrap_or(name);
                ServerName::try_from(name.to_owned())
                    .map_err(|_| Fault::Tls(format!("{name} is not a name that TLS can verify")))?
            }
        };
        self.connector().await?.connect(name, stream).await.map_err(|error| match error.get_ref() {
            Some(inner) => match inner.downcast_ref::<rustls::Error>() {
                Some(refusal) => Fault::Tls(words(refusal, self.setting)),
                None => Fault::of_io(&error),
            },
            None => Fault::of_io(&error),
        })
    }
}

/// Blocks: reads the system's CAs.
fn connector(own: &[CertificateDer<'static>]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        warn!(%error, "a CA of the system cannot be read");
    }
    let own = own.iter().cloned();
    let (added, ignored) = roots.add_parsable_certificates(found.certs.into_iter().chain(own));
    debug!(added, ignored, "CAs of the system and of the operator");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports the versions that it comes with")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config))
}

/// The certificates of a file, each fit to be a CA to believe.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = std::fs::read(path).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        RootCertStore::empty().add(certificate.clone()).map_err(|error| error.to_string())?;
        found.push(certificate);
    }
    if found.is_empty() { Err("holds no certificate in PEM form".to_owned()) } else { Ok(found) }
}

/// What an operator can act on.
#[expect(clippy::wildcard_enum_match_arm, reason = "what is not named is treated alike")]
fn words(error: &rustls::Error, setting: &str) -> String {
    let rustls::Error::InvalidCertificate(fault) = error else {
        return format!("TLS failed: {error}");
    };
    match fault {
        CertificateError::Expired => "certificate expired".to_owned(),
        CertificateError::ExpiredContext { time, not_after } => {
            format!("certificate expired {} ago", rough(between(*not_after, *time)))
        }
        CertificateError::NotValidYet => "certificate is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { time, not_before } => {
            format!(
                "certificate is not valid before {} from now",
                rough(between(*time, *not_before))
            )
        }
        CertificateError::NotValidForName => "certificate is for another name".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "certificate is not for {} but for {}",
            expected.to_str(),
            if presented.is_empty() { "nobody".to_owned() } else { presented.join(", ") }
        ),
        CertificateError::UnknownIssuer => {
            format!("certificate is signed by an unknown CA: name it in {setting}")
        }
        // Commonly a CA that was made anew under its old name.
        CertificateError::BadSignature => format!(
            "certificate is not signed by the known CA of that name: name the right one in \
             {setting}"
        ),
        other => format!("certificate is not acceptable: {other}"),
    }
}

fn between(earlier: UnixTime, later: UnixTime) -> Duration {
    Duration::from_secs(later.as_secs().saturating_sub(earlier.as_secs()))
}

/// A length of time as people say it: the largest whole unit.
fn rough(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (count, unit) = match seconds {
        86_400.. => (seconds / 86_400, "day"),
        3_600.. => (seconds / 3_600, "hour"),
        60.. => (seconds / 60, "minute"),
        _ => (seconds, "second"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}
