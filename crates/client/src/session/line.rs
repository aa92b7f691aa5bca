//! The bytes of a connection to a manager: a socket, or TLS on it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::url::ManagerUrl;

/// A connection.
pub(crate) enum Line {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

/// How a member shows who it is, and whom it believes to be a manager.
#[derive(Clone, Default)]
pub(crate) struct Credentials {
    /// Sent with every request, if there is one.
    pub(crate) authorization: Option<http::HeaderValue>,
    /// For https URLs.
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<tokio_rustls::TlsConnector>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl Credentials {
    /// Makes of a socket what the URL asks for.
    #[cfg(feature = "tls")]
    pub(crate) async fn secure(&self, url: &ManagerUrl, socket: TcpStream) -> Result<Line, String> {
        if !url.is_tls() {
            return Ok(Line::Plain(socket));
        }
        let name = rustls::pki_types::ServerName::try_from(url.host().to_owned());
        let name = name.map_err(|_| format!("{} is no name that TLS can verify", url.host()))?;
        let connector = self.tls.as_ref().ok_or("there is nobody to believe for TLS")?;
        let stream = connector.connect(name, socket).await;
        Ok(Line::Tls(Box::new(stream.map_err(|fault| fault.to_string())?)))
    }

    /// Makes of a socket what the URL asks for: without the feature `tls`, nothing else.
    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_async, reason = "with the feature it waits")]
    pub(crate) async fn secure(&self, _: &ManagerUrl, socket: TcpStream) -> Result<Line, String> {
        Ok(Line::Plain(socket))
    }
}

/// Trusts the system's CAs, or those of a PEM text instead. The fault names what is wrong.
#[cfg(feature = "tls")]
pub(crate) fn connector(
    cas: Option<&[u8]>,
    own: Option<&(Vec<u8>, Vec<u8>)>,
) -> Result<tokio_rustls::TlsConnector, String> {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let read = |what: &str, pem: &[u8]| -> Result<Vec<CertificateDer<'static>>, String> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        match found {
            Ok(found) if !found.is_empty() => Ok(found),
            Ok(_) => Err(format!("{what} holds no certificate in PEM form")),
            Err(fault) => Err(format!("{what} cannot be read: {fault}")),
        }
    };
    let certificates = match cas {
        Some(pem) => read("trust()", pem)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    if roots.is_empty() {
        return Err("there is no CA to believe: name one with trust()".to_owned());
    }
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports the versions that it comes with")
        .with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = read("certificate()", chain)?;
            let key = PrivateKeyDer::from_pem_slice(key)
                .map_err(|fault| format!("the key of certificate() cannot be read: {fault}"))?;
            let config = builder.with_client_auth_cert(chain, key);
            config.map_err(|fault| format!("certificate() cannot be used: {fault}"))?
        }
    };
    Ok(std::sync::Arc::new(config).into())
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_read(ctx, buffer),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_read(ctx, buffer),
        }
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_write(ctx, bytes),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_write(ctx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_flush(ctx),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_flush(ctx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(ctx),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(ctx),
        }
    }
}
