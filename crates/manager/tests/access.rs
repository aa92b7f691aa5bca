//! TLS, client certificates and tokens with the real program over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use governance_testkit::certificates::{ServerCertificate, TestCa};
use governance_testkit::http::{Wire, request};
use governance_testkit::manager::{ManagerBuilder, ManagerProcess, PATIENCE};
use governance_testkit::wait::until;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_governance-manager");
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const ADMIN: &str = "fedcba9876543210fedcba9876543210";

/// The line of a token, as the program makes it.
fn hashed(beginning: &str, token: &str) -> String {
    let mut child = Command::new(PROGRAM)
        .args(["--hash-token", beginning])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{token}").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn registration(service: &str) -> Value {
    json!({
        "service_name": service, "pod_name": "a",
        "providers": [{"protocol": "http", "ip": "127.0.0.1", "port": 1}],
        "health_check_url": "http://127.0.0.1:1/health",
        "notification_url": "http://127.0.0.1:1/notify",
    })
}

/// A client that trusts a CA and may have a certificate.
struct TlsClient {
    address: SocketAddr,
    config: Arc<ClientConfig>,
}

impl TlsClient {
    fn new(address: SocketAddr, ca: &TestCa, own: Option<&ServerCertificate>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.certificate.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain = CertificateDer::from_pem_slice(own.certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![chain], key).unwrap()
            }
        };
        Self { address, config: Arc::new(config) }
    }

    /// Status and body.
    fn call(&self, method: &str, target: &str, body: &str) -> io::Result<(u16, String)> {
        let socket = TcpStream::connect(self.address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        let mut stream = StreamOwned::new(session, socket);
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        Ok((status.unwrap_or(0), body.to_owned()))
    }

    /// A connection once it is secured.
    fn handshake(&self) -> StreamOwned<ClientConnection, TcpStream> {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        let mut stream = StreamOwned::new(session, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        stream
    }

    fn get(&self, target: &str) -> (u16, String) {
        self.call("GET", target, "").unwrap()
    }

    fn register(&self, service: &str) -> (u16, String) {
        self.call("POST", "/register", &registration(service).to_string()).unwrap()
    }

    #[track_caller]
    fn wait_until_ready(&self) {
        eventually("it is ready", || matches!(self.call("GET", "/ready", ""), Ok((200, _))));
    }
}

#[track_caller]
fn eventually(what: &str, holds: impl FnMut() -> bool) {
    assert!(until(PATIENCE, holds), "{what}");
}

fn put(builder: &ManagerBuilder, name: &str, text: &str) -> PathBuf {
    let path = builder.directory().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn with_tls(builder: ManagerBuilder, certificate: &ServerCertificate) -> ManagerBuilder {
    let chain = put(&builder, "tls.crt", &certificate.certificate);
    let key = put(&builder, "tls.key", &certificate.key);
    builder.set("TLS_CERT_FILE", text(&chain)).set("TLS_KEY_FILE", text(&key))
}

fn is_warning(part: &'static str) -> impl Fn(&Value) -> bool {
    move |line| line["level"] == "WARN" && line["message"].as_str().unwrap().contains(part)
}

#[test]
fn without_files_everybody_may_write_and_one_line_says_so() {
    let mut manager = ManagerProcess::builder(PROGRAM).start();
    assert_eq!(manager.client().post("/register", &registration("eir")).status, 200);
    let open: Vec<_> = manager.log().into_iter().filter(is_warning("may register")).collect();
    assert_eq!(open.len(), 1, "{open:?}");
    assert!(manager.stop().success());
}

#[test]
fn a_certificate_of_the_ca_writes_and_all_others_are_told_why_not() {
    let (ca, stranger) = (TestCa::new().unwrap(), TestCa::new().unwrap());
    let builder = with_tls(ManagerProcess::builder(PROGRAM), &ca.server(&["localhost"]).unwrap());
    let clients = put(&builder, "clients.crt", &ca.certificate);
    let mut manager = builder.set("TLS_CLIENT_CA_FILE", text(&clients)).launch();
    let client = |own: Option<&ServerCertificate>| TlsClient::new(manager.address(), &ca, own);
    let own = ca.server(&["eir-pod-1.example"]).unwrap();
    let known = client(Some(&own));
    known.wait_until_ready();
    assert_eq!(known.register("eir").0, 200);
    for (own, why) in [
        (None, "say who you are"),
        (Some(stranger.server(&["eir-pod-1.example"]).unwrap()), "no CA of TLS_CLIENT_CA_FILE"),
        (Some(ca.expired_server(&["eir-pod-1.example"]).unwrap()), "its time is over"),
    ] {
        let client = client(own.as_ref());
        let (status, body) = client.register("eir");
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, problem["error"].as_str()), (401, Some("unauthenticated")), "{body}");
        assert!(problem["detail"].as_str().unwrap().contains(why), "{why}: {body}");
        assert_eq!(client.get("/ready").0, 200, "{why}");
    }
    eventually("the audit has the name and the refusals", || {
        let logs: Value = serde_json::from_str(&known.get("/audit/logs").1).unwrap();
        let logs = logs["logs"].as_array().unwrap().clone();
        let denied = logs.iter().filter(|log| log["result"] == "denied").count();
        let named = logs.iter().find(|log| log["identity"] == "eir-pod-1.example");
        denied == 3 && named.is_some_and(|log| log["action"] == "register")
    });
    assert!(known.get("/metrics").1.contains("refused_total{reason=\"certificate\"} 2"));
    assert!(manager.stop().success());
}

#[test]
fn a_new_certificate_is_taken_and_a_broken_one_is_not() {
    let (old, new) = (TestCa::new().unwrap(), TestCa::new().unwrap());
    let certificate = old.server(&["localhost"]).unwrap();
    let builder = with_tls(ManagerProcess::builder(PROGRAM), &certificate);
    let mut manager = builder.launch();
    let trusting = |ca: &TestCa| TlsClient::new(manager.address(), ca, None);
    trusting(&old).wait_until_ready();
    assert!(trusting(&new).call("GET", "/ready", "").is_err());
    put(&builder, "tls.crt", "-----BEGIN CERTIFICATE-----\nbroken\n");
    let line = manager.wait_for_log(|line| line["level"] == "ERROR");
    assert!(line["fault"].as_str().unwrap().contains("TLS_CERT_FILE"), "{line}");
    assert!(line["message"].as_str().unwrap().contains("stays in force"), "{line}");
    assert_eq!(trusting(&old).get("/ready").0, 200);
    eventually("the metric shows it", || {
        trusting(&old).get("/metrics").1.contains("access_reload_failing 1\n")
    });
    let next = new.server(&["localhost"]).unwrap();
    put(&builder, "tls.crt", &next.certificate);
    put(&builder, "tls.key", &next.key);
    trusting(&new).wait_until_ready();
    assert!(trusting(&old).call("GET", "/ready", "").is_err());
    assert!(trusting(&new).get("/metrics").1.contains("tls_certificate_expiry_seconds "));
    let errors = manager.log().into_iter().filter(|line| line["level"] == "ERROR").count();
    assert!((1..=2).contains(&errors), "each broken content is told once: {errors}");
    assert!(manager.stop().success());
}

#[test]
fn clients_that_do_not_speak_tls_are_told_so_and_silent_ones_are_in_nobodys_way() {
    let ca = TestCa::new().unwrap();
    let builder = with_tls(ManagerProcess::builder(PROGRAM), &ca.server(&["localhost"]).unwrap());
    let mut manager = builder.launch();
    let silent: Vec<_> = (0..50).map(|_| TcpStream::connect(manager.address()).unwrap()).collect();
    TlsClient::new(manager.address(), &ca, None).wait_until_ready();
    for (offered, chosen) in [
        (&[&b"h2"[..], b"http/1.1"][..], Some(&b"h2"[..])),
        (&[b"http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let mut client = TlsClient::new(manager.address(), &ca, None);
        let config = Arc::get_mut(&mut client.config).unwrap();
        config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        assert_eq!(client.handshake().conn.alpn_protocol(), chosen);
    }
    let mut plain = Wire::open(manager.address()).unwrap();
    plain.send(request("GET", "/services", None)).unwrap();
    let answer = plain.receive().unwrap();
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(answer.json()["error"], "tls_required");
    assert!(answer.json()["detail"].as_str().unwrap().contains("https"));
    assert!(plain.is_closed_within(Duration::from_secs(10)));
    drop(silent);
    assert!(manager.stop().success());
}

#[test]
fn tokens_are_taken_anew_when_the_file_changes_and_never_stand_in_the_log() {
    let builder = ManagerProcess::builder(PROGRAM).set("LOG_LEVEL", "debug");
    let line = hashed("pods write services=eir", TOKEN);
    let path = put(&builder, "tokens", &line);
    let mut manager = builder.set("API_TOKENS_FILE", text(&path)).start();
    let address = manager.address();
    let send = |token: &str, service: &str| {
        let body = registration(service).to_string();
        let mut wire = Wire::open(address).unwrap();
        let head = format!(
            "POST /register HTTP/1.1\r\nhost: a\r\nconnection: close\r\nauthorization: Bearer \
             {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        wire.send(head).unwrap();
        let answer = wire.receive().unwrap();
        (answer.status, answer.json()["error"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(send(TOKEN, "eir").0, 200);
    assert_eq!(send(TOKEN, "http-gw"), (403, "forbidden".to_owned()));
    assert_eq!(send(ADMIN, "eir"), (401, "unauthenticated".to_owned()));
    manager.wait_for_log(is_warning("clear text"));
    std::fs::write(&path, format!("{line}boss admin\n")).unwrap();
    let fault = manager.wait_for_log(|line| line["level"] == "ERROR");
    assert!(fault["fault"].as_str().unwrap().contains("line 2"), "{fault}");
    assert_eq!(send(TOKEN, "eir").0, 200, "what was in force stays so");
    std::fs::write(&path, hashed("boss admin", ADMIN)).unwrap();
    eventually("the new line counts", || send(ADMIN, "http-gw").0 == 200);
    assert_eq!(send(TOKEN, "eir").0, 401, "a line that was taken away counts no more");
    let log = manager.log_text();
    assert!(!log.contains(TOKEN) && !log.contains(ADMIN), "{log}");
    assert!(manager.stop().success());
}

#[test]
fn files_that_cannot_be_used_stop_the_start_with_a_hint() {
    let builder = ManagerProcess::builder(PROGRAM);
    let path = put(&builder, "tokens", "pods wrote\n");
    let ended = builder.clone().set("API_TOKENS_FILE", text(&path)).run_to_end();
    assert_eq!(ended.code, Some(64), "{ended:?}");
    for part in ["error: API_TOKENS_FILE", "line 1: \"wrote\" is not a right", "hint: each line"] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
    let half = builder.set("TLS_CERT_FILE", "a.crt").set("TLS_CLIENT_CA_FILE", "b.crt");
    let ended = half.run_to_end();
    assert_eq!(ended.code, Some(64), "{ended:?}");
    assert!(ended.stderr.contains("TLS_KEY_FILE"), "{}", ended.stderr);
}
