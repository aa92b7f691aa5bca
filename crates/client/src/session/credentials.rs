//! Who asks, and whom it believes to be a manager: a token, CAs, a certificate of its own.
//!
//! Everything is checked when it is given, so that a request never fails because of it. INVARIANT:
//! no text made here holds a token or a key.

use std::fmt;

use http::HeaderValue;
use tokio::net::TcpStream;

use super::line::Line;
use super::obstacle::Obstacle;
use super::url::ManagerUrl;

/// Who asks, and whom it believes to be a manager. Cheap to clone; shows nothing of itself.
///
/// By default nobody in particular, who speaks to managers at `http` URLs alone.
#[derive(Clone, Default)]
pub struct Credentials {
    /// Sent with every request, if there is one.
    authorization: Option<HeaderValue>,
    /// For https URLs.
    #[cfg(feature = "tls")]
    connector: Option<tokio_rustls::TlsConnector>,
}

/// Why credentials cannot be used. Each holds what is wrong, and nothing of what was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialFault {
    /// The token.
    #[error("the token has characters that cannot be sent")]
    Token,
    /// The CAs.
    #[error("the CAs: {0}")]
    Authorities(String),
    /// The system has no CAs, and none were given.
    #[error("there is no CA to believe")]
    NoAuthority,
    /// The own certificate, or those between it and its CA.
    #[error("the certificate: {0}")]
    Certificate(String),
    /// The own private key.
    #[error("the key: {0}")]
    Key(String),
    /// The own certificate and key together.
    #[error("certificate and key: {0}")]
    Pair(String),
}

impl Credentials {
    /// The same with a token, sent as `Authorization: Bearer TOKEN` with every request, in clear
    /// text where the manager's URL is `http`.
    pub fn with_token(mut self, token: &str) -> Result<Self, CredentialFault> {
        let value = HeaderValue::try_from(format!("Bearer {token}"));
        let mut value = value.map_err(|_| CredentialFault::Token)?;
        value.set_sensitive(true);
        self.authorization = Some(value);
        Ok(self)
    }

    pub(super) fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

#[cfg(not(feature = "tls"))]
impl Credentials {
    /// Makes of a socket what the URL asks for: without the feature `tls`, nothing else.
    #[expect(clippy::unused_async, reason = "with the feature it waits")]
    pub(super) async fn secure(&self, _: &ManagerUrl, socket: TcpStream) -> Result<Line, Obstacle> {
        Ok(Line::Plain(socket))
    }
}

#[cfg(feature = "tls")]
impl Credentials {
    /// The same for managers at `https` URLs: they are believed if one of these CAs (PEM) vouches
    /// for their name; without any, one of the system's. `own` is the certificate, with those
    /// between it and its CA, and its private key, both PEM, for managers that ask for one.
    pub fn with_tls(
        self,
        authorities: Option<&[u8]>,
        own: Option<(&[u8], &[u8])>,
    ) -> Result<Self, CredentialFault> {
        Ok(Self { connector: Some(connector(authorities, own)?), ..self })
    }

    /// Makes of a socket what the URL asks for.
    pub(super) async fn secure(
        &self,
        url: &ManagerUrl,
        socket: TcpStream,
    ) -> Result<Line, Obstacle> {
        if !url.is_tls() {
            return Ok(Line::Plain(socket));
        }
        let name = rustls::pki_types::ServerName::try_from(url.host().to_owned());
        let name = name.map_err(|_| {
            Obstacle::other(format!("{} is no name that TLS can verify", url.host()))
        })?;
        let connector = self.connector.as_ref();
        let connector =
            connector.ok_or_else(|| Obstacle::other("there is nobody to believe for TLS"))?;
        let stream = connector.connect(name, socket).await;
        let stream = stream.map_err(|fault| super::obstacle::tls::of_handshake(&fault))?;
        Ok(Line::Tls(Box::new(stream)))
    }
}

#[cfg(feature = "tls")]
fn connector(
    authorities: Option<&[u8]>,
    own: Option<(&[u8], &[u8])>,
) -> Result<tokio_rustls::TlsConnector, CredentialFault> {
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject as _;
    let given = authorities.map(|pem| certificates(pem).map_err(CredentialFault::Authorities));
    let authorities = match given {
        Some(given) => given?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(authorities);
    if roots.is_empty() {
        return Err(CredentialFault::NoAuthority);
    }
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports the versions that it comes with")
        .with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = certificates(chain).map_err(CredentialFault::Certificate)?;
            let key = PrivateKeyDer::from_pem_slice(key);
            let key = key.map_err(|fault| {
                CredentialFault::Key(format!("holds no private key in PEM form ({fault})"))
            })?;
            let config = builder.with_client_auth_cert(chain, key);
            config.map_err(|fault| {
                let is_other_key = matches!(fault, rustls::Error::InconsistentKeys(_));
                let other_key = "the key is not that of the certificate";
                let why = if is_other_key { other_key.to_owned() } else { fault.to_string() };
                CredentialFault::Pair(why)
            })?
        }
    };
    Ok(std::sync::Arc::new(config).into())
}

/// All certificates of a PEM text.
#[cfg(feature = "tls")]
fn certificates(pem: &[u8]) -> Result<Vec<rustls::pki_types::CertificateDer<'static>>, String> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err("holds no certificate in PEM form".to_owned()),
        Err(fault) => Err(format!("cannot be read: {fault}")),
    }
}
