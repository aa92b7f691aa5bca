//! A manager that speaks TLS and asks who calls.

#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, also in its helpers")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use governance_client::{Builder, Error, Member};
use governance_testkit::certificates::TestCa;
use governance_testkit::manager::{ManagerBuilder, ManagerProcess};
use tokio::time::timeout;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const PATIENCE: Duration = Duration::from_secs(30);

fn put(builder: &ManagerBuilder, name: &str, text: &str) -> String {
    let path = builder.directory().join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// The line of the token, as the manager makes it.
fn line(program: &Path, beginning: &str) -> String {
    let mut child = Command::new(program)
        .args(["--hash-token", beginning])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(TOKEN.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

/// A manager for `localhost` that knows the token and certificates of the CA.
fn manager(ca: &TestCa) -> ManagerProcess {
    let certificate = ca.server(&["localhost"]).unwrap();
    let builder = ManagerProcess::built();
    let lines = line(builder.program(), "pods write services=eir");
    let lines = format!("{lines}gw.example write services=http-gw certificate\n");
    let (chain, key) = (&certificate.certificate, &certificate.key);
    let (chain, key) = (put(&builder, "tls.crt", chain), put(&builder, "tls.key", key));
    let tokens = put(&builder, "tokens", &lines);
    let clients = put(&builder, "clients.crt", &ca.certificate);
    builder
        .set("TLS_CERT_FILE", chain)
        .set("TLS_KEY_FILE", key)
        .set("TLS_CLIENT_CA_FILE", clients)
        .set("API_TOKENS_FILE", tokens)
        .launch()
}

fn member(manager: &ManagerProcess, service: &str) -> Builder {
    Member::builder(service)
        .pod("a")
        .manager(format!("https://localhost:{}", manager.address().port()))
        .provides("http", 1)
        .listen("127.0.0.1:0")
        .retry(Duration::from_millis(20), Duration::from_millis(200))
}

#[tokio::test]
async fn a_member_registers_over_tls_with_a_token_or_with_a_certificate() {
    let ca = TestCa::new().unwrap();
    let manager = manager(&ca);
    let eir = member(&manager, "eir").trust(ca.certificate.clone()).token(TOKEN);
    let eir = eir.start().await.unwrap();
    timeout(PATIENCE, eir.registered()).await.expect("it registers").unwrap();
    let own = ca.server(&["gw.example"]).unwrap();
    let gateway = member(&manager, "http-gw").trust(ca.certificate.clone());
    let gateway = gateway.certificate(own.certificate, own.key).start().await.unwrap();
    timeout(PATIENCE, gateway.registered()).await.expect("it registers").unwrap();
    eir.shutdown().await.unwrap();
    gateway.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_member_without_a_token_or_with_anothers_name_is_told_so() {
    let ca = TestCa::new().unwrap();
    let manager = manager(&ca);
    let nobody = member(&manager, "eir").trust(ca.certificate.clone());
    let another = member(&manager, "diam-gw").trust(ca.certificate.clone()).token(TOKEN);
    for (builder, words) in [(nobody, "say who you are"), (another, "may not write service")] {
        let member = builder.start().await.unwrap();
        let refused = timeout(PATIENCE, member.registered()).await.expect("it is told");
        let Err(Error::Stuck(text)) = refused else { panic!("{refused:?}") };
        assert!(text.contains(words), "{text}");
    }
}

#[tokio::test]
async fn what_cannot_be_used_is_named_at_the_start() {
    let https = || Member::builder("eir").pod("a").manager("https://m").provides("http", 1);
    for (builder, words) in [
        (https().trust("no PEM"), "trust() holds no certificate"),
        (https().trust("-----BEGIN CERTIFICATE-----\nx\n"), "trust() "),
        (https().token("two\nlines"), "the token has characters"),
    ] {
        let fault = builder.start().await.unwrap_err().to_string();
        assert!(fault.contains(words), "{fault}");
    }
}
