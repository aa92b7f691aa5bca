//! What is not what it was taken for: certificates that do not fit, servers that demand one, and the
//! wrong protocol on a port.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use governance_testkit::certificates::{ServerCertificate, TestCa};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use tempfile::TempDir;

use crate::scene::{Ran, Scene, command, compare, note};

/// Speaks TLS with every connection until that ends; its thread ends with the test's process.
fn tls_server(own: &ServerCertificate, clients: Option<&TestCa>) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(ca.certificate.as_bytes()).unwrap()).unwrap();
            let roots = Arc::new(roots);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(own.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
    let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let session = ServerConnection::new(Arc::clone(&config)).unwrap();
            let socket = socket.unwrap();
            std::thread::spawn(move || serve(session, socket));
        }
    });
    address
}

/// Whatever fails is told with an alert, and read to its end, so that the alert arrives.
fn serve(mut session: ServerConnection, mut socket: TcpStream) {
    while session.complete_io(&mut socket).is_ok_and(|(read, written)| read + written > 0) {}
    let _ = session.write_tls(&mut socket);
    let _ = socket.flush();
    let _ = socket.shutdown(std::net::Shutdown::Write);
    let _ = socket.read_to_end(&mut Vec::new());
}

/// A folder with files, and what was typed in it.
struct Folder {
    folder: TempDir,
    transcript: String,
}

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        Self { folder, transcript: String::new() }
    }

    fn type_in(&mut self, words: &[&str], environment: &[(&str, &str)]) -> Ran {
        let output = command(words, environment).current_dir(&self.folder).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let ran = Ran {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        };
        note(&mut self.transcript, words, &ran);
        ran
    }
}

#[test]
fn a_certificate_that_does_not_fit_is_told_with_what_to_do() {
    let (ca, other) = (TestCa::new().unwrap(), TestCa::new().unwrap());
    let good = tls_server(&ca.server(&["localhost"]).unwrap(), None);
    let expired = tls_server(&ca.expired_server(&["localhost"]).unwrap(), None);
    let url = |address: SocketAddr| format!("https://localhost:{}", address.port());
    let mut folder = Folder::new(&[("ca.crt", &ca.certificate), ("other.crt", &other.certificate)]);
    folder.type_in(&["services", "-m", &url(good)], &[("SSL_CERT_FILE", "other.crt")]);
    folder.type_in(&["services", "-m", &url(good), "--ca-file", "other.crt"], &[]);
    let by_address = format!("https://{good}");
    folder.type_in(&["services", "-m", &by_address, "--ca-file", "ca.crt"], &[]);
    folder.type_in(&["services", "-m", &url(expired), "--ca-file", "ca.crt"], &[]);
    folder.type_in(&["watch", "-m", &url(expired), "--ca-file", "ca.crt"], &[]);
    folder.type_in(&["status", "-m", &url(expired), "--ca-file", "ca.crt"], &[]);
    compare("certificates", &folder.transcript);
}

#[test]
fn a_server_that_demands_a_certificate_is_told_apart() {
    let (ca, other) = (TestCa::new().unwrap(), TestCa::new().unwrap());
    let strict = tls_server(&ca.server(&["localhost"]).unwrap(), Some(&ca));
    let stranger = other.server(&["ops.example"]).unwrap();
    let former = ca.expired_server(&["ops.example"]).unwrap();
    let mut folder = Folder::new(&[
        ("ca.crt", &ca.certificate),
        ("stranger.crt", &stranger.certificate),
        ("stranger.key", &stranger.key),
        ("former.crt", &former.certificate),
        ("former.key", &former.key),
    ]);
    let url = format!("https://localhost:{}", strict.port());
    let ask = ["services", "-m", &url, "--ca-file", "ca.crt"];
    folder.type_in(&ask, &[]);
    for name in ["stranger", "former"] {
        let (certificate, key) = (format!("{name}.crt"), format!("{name}.key"));
        let own = ["--cert-file", &certificate, "--key-file", &key];
        folder.type_in(&[&ask[..], &own].concat(), &[]);
    }
    // It was not carried out, so that it is no case of not knowing.
    let remove = ["unregister", "eir", "p1", "-m", &url, "--ca-file", "ca.crt"];
    folder.type_in(&remove, &[]);
    compare("demanding", &folder.transcript);
}

#[test]
fn the_wrong_protocol_on_a_port_is_told_with_the_right_one() {
    let scene = Scene::new(|builder| builder);
    let ca = TestCa::new().unwrap();
    let tls = tls_server(&ca.server(&["localhost"]).unwrap(), None);
    let mut folder = Folder::new(&[("ca.crt", &ca.certificate)]);
    let plain = format!("https://{}", scene.manager.address());
    folder.type_in(&["services", "-m", &plain, "--ca-file", "ca.crt"], &[]);
    let secure = format!("http://{tls}");
    folder.type_in(&["services", "-m", &secure], &[]);
    folder.type_in(&["unregister", "eir", "p1", "-m", &secure], &[]);
    compare("protocols", &folder.transcript);
}
