//! Attempts over TLS: whose certificate is believed, and what an operator reads when it is not.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use governance_testkit::certificates::{ServerCertificate, TestCa};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::network::{ask_with, dialer};
use crate::connect::Trust;

const LONG: Duration = Duration::from_secs(20);

/// A pod that answers 200 over TLS with this certificate.
async fn serve(certificate: &ServerCertificate) -> (SocketAddr, JoinSet<()>) {
    let chain = CertificateDer::pem_slice_iter(certificate.certificate.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut task = JoinSet::new();
    task.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            let _ = stream.shutdown().await;
        }
    });
    (address, task)
}

fn ca_file(ca: &TestCa) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(ca.certificate.as_bytes()).unwrap();
    file
}

async fn ask(host: &str, address: SocketAddr, trusted: Option<&TestCa>) -> (bool, String) {
    let file = trusted.map(ca_file);
    let trust = Trust::load("TARGET_CA_FILE", file.as_ref().map(NamedTempFile::path)).unwrap();
    ask_with(dialer(trust), &format!("https://{host}:{}/", address.port()), LONG).await
}

#[tokio::test]
async fn a_private_ca_is_believed_when_the_operator_names_it_and_not_else() {
    let ca = TestCa::new().unwrap();
    let (address, _pod) = serve(&ca.server(&["localhost", "127.0.0.1"]).unwrap()).await;
    for host in ["localhost", "127.0.0.1"] {
        assert_eq!(ask(host, address, Some(&ca)).await, (true, "HTTP 200".to_owned()), "{host}");
    }
    let unknown = "certificate is signed by an unknown CA: name it in TARGET_CA_FILE";
    assert_eq!(ask("localhost", address, None).await, (false, unknown.to_owned()));
    let other = TestCa::new().unwrap();
    let (is_healthy, reason) = ask("localhost", address, Some(&other)).await;
    assert!(!is_healthy && reason.starts_with("certificate is"), "{reason}");
}

#[tokio::test]
async fn an_expired_certificate_is_a_failed_attempt_that_says_since_when() {
    let ca = TestCa::new().unwrap();
    let (address, _pod) = serve(&ca.expired_server(&["localhost"]).unwrap()).await;
    let (is_healthy, reason) = ask("localhost", address, Some(&ca)).await;
    let days =
        reason.strip_prefix("certificate expired ").and_then(|rest| rest.strip_suffix(" days ago"));
    assert!(
        !is_healthy && days.is_some_and(|days| days.parse::<u32>().unwrap() > 1_000),
        "{reason}"
    );
}

#[tokio::test]
async fn a_certificate_for_another_name_or_address_is_a_failed_attempt_that_says_whose_it_is() {
    let ca = TestCa::new().unwrap();
    let (address, _pod) = serve(&ca.server(&["eir.example"]).unwrap()).await;
    for host in ["localhost", "127.0.0.1"] {
        let (is_healthy, reason) = ask(host, address, Some(&ca)).await;
        let says_both = reason.contains(host) && reason.contains("eir.example");
        assert!(!is_healthy && says_both, "{reason}");
    }
}

#[tokio::test]
async fn a_pod_that_speaks_no_tls_is_a_failed_attempt() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut task = JoinSet::new();
    task.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = stream.read(&mut [0; 1024]).await;
    });
    let (is_healthy, reason) = ask("localhost", address, None).await;
    assert!(!is_healthy && reason.starts_with("TLS failed"), "{reason}");
}

#[test]
fn a_ca_file_that_holds_none_or_is_not_there_stops_the_start_with_its_name() {
    let empty = NamedTempFile::new().unwrap();
    let fault =
        Trust::load("TARGET_CA_FILE", Some(empty.path())).map(drop).unwrap_err().to_string();
    assert!(fault.contains("TARGET_CA_FILE") && fault.contains("no certificate"), "{fault}");
    let missing = std::path::Path::new("/nowhere/ca.pem");
    let fault = Trust::load("TARGET_CA_FILE", Some(missing)).map(drop).unwrap_err().to_string();
    assert!(fault.contains("/nowhere/ca.pem") && fault.contains("No such file"), "{fault}");
}
