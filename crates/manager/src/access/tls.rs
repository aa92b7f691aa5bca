//! TLS for connections of clients: the certificate in force, and the handshake.
//!
//! TLS 1.2 and 1.3; HTTP/2 and HTTP/1.1 by ALPN. Connections keep what they began with; new ones
//! get what was read last.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::warn;

use super::AccessFault;
use super::certificate::{Lenient, Presented, expiry_of};
use super::file::{self, fault};
use crate::clock::Clock;
use crate::config::TlsFiles;

/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// A certificate that ends sooner is warned of, in seconds.
const EXPIRY_WARNED: u64 = 14 * 24 * 3600;
/// The first byte of a TLS handshake (RFC 8446 §5.1).
const HANDSHAKE_BYTE: u8 = 22;

/// Why a connection did not come to speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeFault {
    /// The client speaks something else, most likely plain HTTP; its connection, to say so.
    #[error("the client does not speak TLS")]
    Plain(TcpStream),
    /// It took too long.
    #[error("the handshake was not done within {} s", HANDSHAKE_MAX.as_secs())]
    TooSlow,
    /// It failed.
    #[error("the handshake failed: {0}")]
    Failed(#[from] io::Error),
}

/// What is in force.
struct Loaded {
    acceptor: TlsAcceptor,
    /// Judges clients' certificates, where they are asked for.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// When the certificate ends, in seconds since 1970.
    expires: Option<u64>,
}

/// The TLS side of the server.
pub struct Tls {
    files: TlsFiles,
    clock: Arc<dyn Clock>,
    current: ArcSwap<Loaded>,
}

impl Tls {
    /// Reads the files. Blocks.
    pub(super) fn load(files: &TlsFiles, clock: Arc<dyn Clock>) -> Result<Self, AccessFault> {
        let loaded = load(files)?;
        let tls = Self { files: files.clone(), clock, current: ArcSwap::from_pointee(loaded) };
        tls.warn_of_expiry();
        Ok(tls)
    }

    /// Reads the files again; what is in force stays if they cannot be used. Blocks.
    pub(super) fn reload(&self) -> Result<(), AccessFault> {
        self.current.store(Arc::new(load(&self.files)?));
        self.warn_of_expiry();
        Ok(())
    }

    pub(super) fn asks_for_certificate(&self) -> bool {
        self.files.client_ca.is_some()
    }

    /// When the certificate in force ends, in seconds since 1970.
    pub fn expires(&self) -> Option<u64> {
        self.current.load().expires
    }

    fn warn_of_expiry(&self) {
        let (Some(expires), now) = (self.expires(), self.now().as_secs()) else { return };
        if expires < now {
            warn!("the certificate of TLS_CERT_FILE has expired: clients will refuse it");
        } else if expires - now < EXPIRY_WARNED {
            let days = (expires - now) / (24 * 3600);
            warn!(days, "the certificate of TLS_CERT_FILE ends soon: put a new one in its place");
        }
    }

    fn now(&self) -> UnixTime {
        let micros = u64::try_from(self.clock.now().as_micros()).unwrap_or(0);
        UnixTime::since_unix_epoch(Duration::from_micros(micros))
    }

    /// Speaks TLS on a connection that was accepted, within [`HANDSHAKE_MAX`].
    pub async fn secure(
        &self,
        socket: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Presented), HandshakeFault> {
        let handshake = async {
            let mut first = [0];
            if socket.peek(&mut first).await? == 1 && first != [HANDSHAKE_BYTE] {
                return Err(HandshakeFault::Plain(socket));
            }
            let loaded = self.current.load_full();
            let stream = loaded.acceptor.accept(socket).await?;
            let presented = match &loaded.verifier {
                Some(verifier) => {
                    let chain = stream.get_ref().1.peer_certificates();
                    Presented::verify(&**verifier, chain, self.now())
                }
                None => Presented::None,
            };
            Ok((stream, presented))
        };
        timeout(HANDSHAKE_MAX, handshake).await.map_err(|_| HandshakeFault::TooSlow)?
    }
}

fn load(files: &TlsFiles) -> Result<Loaded, AccessFault> {
    let refuse = |why: String| fault(file::CERTIFICATE, &files.certificate, &why);
    let chain = certificates(file::CERTIFICATE, &files.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&file::read(file::KEY, &files.key)?);
    let key = key.map_err(|why| fault(file::KEY, &files.key, &why.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = match &files.client_ca {
        None => None,
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for ca in certificates(file::CLIENT_CA, path)? {
                let added = roots.add(ca);
                added.map_err(|why| fault(file::CLIENT_CA, path, &why.to_string()))?;
            }
            let provider = Arc::clone(&provider);
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            Some(verifier.map_err(|why| fault(file::CLIENT_CA, path, &why.to_string()))?)
        }
    };
    let expires = chain.first().and_then(expiry_of);
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports the versions that it comes with");
    let builder = match &verifier {
        Some(verifier) => {
            builder.with_client_cert_verifier(Arc::new(Lenient(Arc::clone(verifier))))
        }
        None => builder.with_no_client_auth(),
    };
    // Refuses a key that is not the certificate's.
    let config = builder.with_single_cert(chain, key);
    let mut config = config.map_err(|why| refuse(format!("with TLS_KEY_FILE: {why}")))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Loaded { acceptor: TlsAcceptor::from(Arc::new(config)), verifier, expires })
}

fn certificates(
    setting: &'static str,
    path: &std::path::Path,
) -> Result<Vec<CertificateDer<'static>>, AccessFault> {
    let pem = file::read(setting, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|why| fault(setting, path, &why.to_string()))?;
    if found.is_empty() {
        return Err(fault(setting, path, "holds no certificate in PEM form"));
    }
    Ok(found)
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}
