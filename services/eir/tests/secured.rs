//! The register and a manager that speaks TLS and asks who calls.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use eir::{Config, serve};
use governance_testkit::certificates::TestCa;
use governance_testkit::manager::{ManagerBuilder, ManagerProcess};
use governance_testkit::sqlite_shell::query;
use governance_testkit::wait::until;
use serde_json::json;
use telco_node::Settings;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);

fn put(builder: &ManagerBuilder, name: &str, text: &str) -> String {
    let path = builder.directory().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_register_with_a_certificate_joins_where_others_are_refused() {
    let ca = TestCa::new().unwrap();
    let builder = ManagerProcess::built().set("STORAGE", "sqlite");
    let (own, pod) = (ca.server(&["localhost"]).unwrap(), ca.server(&["eir.example"]).unwrap());
    put(&builder, "tls.crt", &own.certificate);
    put(&builder, "tls.key", &own.key);
    put(&builder, "tokens", "eir.example write services=eir certificate\n");
    let authority = put(&builder, "ca.crt", &ca.certificate);
    let certificate = put(&builder, "eir.crt", &pod.certificate);
    let key = put(&builder, "eir.key", &pod.key);
    let list = put(&builder, "list", "35209900* white\n");
    let manager = builder
        .set("TLS_CERT_FILE", "tls.crt")
        .set("TLS_KEY_FILE", "tls.key")
        .set("TLS_CLIENT_CA_FILE", "ca.crt")
        .set("API_TOKENS_FILE", "tokens")
        .launch();
    manager.wait_for_log(|line| line["message"] == "registry loaded");
    let url = format!("https://localhost:{}", manager.address().port());
    let file = manager.settings().data_dir().join("governance.db");
    let stored = || query(&file, "SELECT service_key FROM services");
    let known = vec![json!({"service_key": "eir:known"})];

    let runtime = Runtime::new().unwrap();
    let start = |name: &str, more: &[(&str, &str)]| {
        let given = [
            ("HTTP_HOST", "127.0.0.1"),
            ("HTTP_PORT", "0"),
            ("DIAMETER_PORT", "0"),
            ("POD_NAME", name),
            ("GOVERNANCE_MANAGER_URL", url.as_str()),
            ("GOVERNANCE_CA_FILE", authority.as_str()),
            ("EIR_FILE", list.as_str()),
        ];
        let given = given.iter().chain(more);
        let mut settings =
            Settings::new(given.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let config = Config::read(&mut settings);
        settings.finish().unwrap();
        runtime.spawn(serve(config, CancellationToken::new(), |_| ()))
    };
    let _stranger = start("stranger", &[]);
    let own = [("GOVERNANCE_CERT_FILE", certificate.as_str()), ("GOVERNANCE_KEY_FILE", &key)];
    let _known = start("known", &own);
    assert!(until(PATIENCE, || stored() == known), "{:?}\n{}", stored(), manager.log_text());
    let denied = || query(&file, "SELECT id FROM governance_audit WHERE result = 'denied'");
    assert!(until(PATIENCE, || !denied().is_empty()), "{}", manager.log_text());
    assert_eq!(stored(), known);
}
