//! The four SSL modes against servers of every kind: what libpq's documentation promises of each.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic says that the test failed"
)]

mod postgres_common;

use std::path::{Path, PathBuf};

use governance_store::postgres::{PostgresSettings, SslMode};
use governance_store::{PostgresStore, Store};
use governance_testkit::certificates::{ServerCertificate, TestCa};
use governance_testkit::postgres::{Cluster, Shutdown};
use postgres_common::{owner, settings};
use tempfile::TempDir;

/// What the client says.
const MODES: [(&str, SslMode, bool); 5] = [
    ("disable", SslMode::Disable, true),
    ("require", SslMode::Require, false),
    ("require with a CA", SslMode::Require, true),
    ("verify-ca", SslMode::VerifyCa, true),
    ("verify-full", SslMode::VerifyFull, true),
];

/// Part of the refusal; none if the connection is made.
type Expected = [Option<&'static str>; 5];

struct Bench {
    cluster: Cluster,
    ca_file: PathBuf,
    _directory: TempDir,
}

impl Bench {
    fn set(ca: &TestCa) -> Self {
        let directory = TempDir::new().unwrap();
        let ca_file = directory.path().join("ca.pem");
        std::fs::write(&ca_file, &ca.certificate).unwrap();
        Self { cluster: Cluster::start().unwrap(), ca_file, _directory: directory }
    }

    fn serve(&mut self, certificate: &ServerCertificate) {
        self.cluster.write_file("server.crt", &certificate.certificate).unwrap();
        self.cluster.write_file("server.key", &certificate.key).unwrap();
        self.cluster.stop(Shutdown::Fast).unwrap();
        self.cluster.set("ssl", "on");
        self.cluster.start_again().unwrap();
    }

    fn settings(&self, mode: SslMode, ca_file: Option<&Path>) -> PostgresSettings {
        PostgresSettings {
            ssl_mode: mode,
            ssl_root_cert: ca_file.map(Path::to_owned),
            ..settings(self.cluster.address())
        }
    }

    async fn check(&self, what: &str, expected: Expected) {
        // Its own lease, whatever the connection before it left.
        let owner = owner("a:1");
        for ((name, mode, with_ca), expected) in MODES.into_iter().zip(expected) {
            let ca_file = with_ca.then_some(self.ca_file.as_path());
            let store = PostgresStore::new(self.settings(mode, ca_file));
            let outcome = store.acquire(&owner).await.map_err(|error| error.to_string());
            match (expected, outcome) {
                (None, Ok(tenure)) => {
                    assert_eq!(self.is_encrypted(), mode != SslMode::Disable, "{name}, {what}");
                    store.release(&tenure).await.unwrap();
                }
                (Some(part), Err(text)) => assert!(text.contains(part), "{name}, {what}: {text}"),
                (_, outcome) => panic!("{name}, {what}: {outcome:?}"),
            }
        }
    }

    fn is_encrypted(&self) -> bool {
        let sql = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                   WHERE application_name = 'telco-governance-manager'";
        self.cluster.sql("postgres", sql).unwrap() == "t"
    }
}

#[tokio::test]
async fn each_mode_accepts_and_refuses_what_libpq_does() {
    let (ca, other_ca) = (TestCa::new().unwrap(), TestCa::new().unwrap());
    let mut bench = Bench::set(&ca);
    let none = Some("offers no TLS");
    bench.check("no TLS", [None, none, none, none, none]).await;

    let here = ["127.0.0.1", "localhost"];
    bench.serve(&ca.server(&here).unwrap());
    bench.check("all is well", [None; 5]).await;

    bench.serve(&other_ca.server(&here).unwrap());
    let stranger = Some("trusted CA");
    bench.check("another CA", [None, None, stranger, stranger, stranger]).await;

    bench.serve(&ca.server(&["db.example.org"]).unwrap());
    let name = Some("another host");
    bench.check("another host", [None, None, None, None, name]).await;

    bench.serve(&ca.expired_server(&here).unwrap());
    let expired = Some("has expired");
    bench.check("expired", [None, None, expired, expired, expired]).await;

    bench.serve(&other_ca.server(&["db.example.org"]).unwrap());
    bench.check("another CA and host", [None, None, stranger, stranger, stranger]).await;
}

#[tokio::test]
async fn without_a_ca_file_the_systems_authorities_are_asked() {
    let ca = TestCa::new().unwrap();
    let mut bench = Bench::set(&ca);
    bench.serve(&ca.server(&["127.0.0.1"]).unwrap());
    for mode in [SslMode::VerifyCa, SslMode::VerifyFull] {
        let text = postgres_common::refusal(bench.settings(mode, None)).await;
        // A machine may have none, as a bare container does.
        assert!(text.contains("DB_SSL_ROOT_CERT"), "{text}");
    }
}

#[tokio::test]
async fn a_ca_file_that_is_missing_or_holds_none_is_named() {
    let ca = TestCa::new().unwrap();
    let mut bench = Bench::set(&ca);
    bench.serve(&ca.server(&["127.0.0.1"]).unwrap());
    let missing = bench.ca_file.with_file_name("missing.pem");
    let empty = bench.ca_file.with_file_name("empty.pem");
    std::fs::write(&empty, "no certificate\n").unwrap();
    for file in [missing, empty] {
        let text = postgres_common::refusal(bench.settings(SslMode::VerifyCa, Some(&file))).await;
        assert!(text.contains(file.to_str().unwrap()), "{text}");
        assert!(text.starts_with("unusable: "), "{text}");
    }
}
