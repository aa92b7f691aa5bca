//! A manager that speaks TLS and asks who calls: with a token, with a certificate, and with neither.

use std::process::{Command, Stdio};

use governance_testkit::certificates::TestCa;
use governance_testkit::fleet::{FakePod, Fleet};
use governance_testkit::manager::{ManagerBuilder, ManagerProcess};
use governance_testkit::proxy::Proxy;
use governance_testkit::wait::until;
use serde_json::json;

use crate::scene::{CLOSED, PATIENCE, Ran, command, compare, document, note};

const ONCALL: &str = "0123456789abcdef0123456789abcdef";
const READER: &str = "1123456789abcdef0123456789abcdef";
const GATEWAY: &str = "2123456789abcdef0123456789abcdef";
const FORMER: &str = "3123456789abcdef0123456789abcdef";
const STRANGER: &str = "4123456789abcdef0123456789abcdef";

/// A manager at `https://localhost` with files beside it, in whose folder the commands run.
struct Secured {
    manager: ManagerProcess,
    fleet: Fleet,
    transcript: String,
}

/// Writes a file that nobody else can read.
fn put(builder: &ManagerBuilder, name: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let path = builder.directory().join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// The line of a token, as the manager makes it.
fn line(builder: &ManagerBuilder, beginning: &str, token: &str) -> String {
    let mut child = Command::new(builder.program())
        .args(["--hash-token", beginning])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), token.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

impl Secured {
    fn new() -> Self {
        let ca = TestCa::new().unwrap();
        let builder = ManagerProcess::built();
        let own = ca.server(&["localhost"]).unwrap();
        put(&builder, "ca.crt", &ca.certificate);
        put(&builder, "tls.crt", &own.certificate);
        put(&builder, "tls.key", &own.key);
        let lines = [
            line(&builder, "oncall admin", ONCALL),
            line(&builder, "reader read", READER),
            line(&builder, "gateways write services=http-gw", GATEWAY),
            line(&builder, "former admin expires=2020-01-01T00:00:00Z", FORMER),
            "ops.example admin certificate\n".to_owned(),
        ];
        put(&builder, "tokens", &lines.concat());
        for (name, token) in [
            ("oncall.token", ONCALL),
            ("reader.token", READER),
            ("gateways.token", GATEWAY),
            ("former.token", FORMER),
            ("stranger.token", STRANGER),
        ] {
            put(&builder, name, &format!("{token}\n"));
        }
        for (name, pair) in [
            ("ops", ca.server(&["ops.example"]).unwrap()),
            ("unlisted", ca.server(&["dev.example"]).unwrap()),
            ("former", ca.expired_server(&["ops.example"]).unwrap()),
            ("stranger", TestCa::new().unwrap().server(&["ops.example"]).unwrap()),
        ] {
            put(&builder, &format!("{name}.crt"), &pair.certificate);
            put(&builder, &format!("{name}.key"), &pair.key);
        }
        let manager = builder
            .set("HEALTH_CHECK_INTERVAL", "1h")
            .set("HEALTH_CHECK_RETRY", "0")
            .set("TLS_CERT_FILE", "tls.crt")
            .set("TLS_KEY_FILE", "tls.key")
            .set("TLS_CLIENT_CA_FILE", "ca.crt")
            .set("API_TOKENS_FILE", "tokens")
            .launch();
        let fleet = Fleet::new().unwrap();
        let secured = Self { manager, fleet, transcript: String::new() };
        let is_ready = until(PATIENCE, || {
            secured.ask(&["status"], &[("GOVERNANCE_TOKEN", ONCALL)]).code == Some(0)
        });
        assert!(is_ready, "{}", secured.manager.log_text());
        secured
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.manager.address().port())
    }

    /// Runs the program beside the manager's files, trusting its CA unless that is said otherwise.
    fn run_with(&self, words: &[&str], environment: &[(&str, &str)], input: &str) -> Ran {
        let url = self.url();
        let mut all = vec![("GOVERNANCE_URL", url.as_str()), ("GOVERNANCE_CA_FILE", "ca.crt")];
        all.extend(environment);
        let mut command = command(words, &all);
        command.current_dir(self.manager.settings().directory());
        let mut child = command.spawn().unwrap();
        // A command that reads nothing may have ended before.
        let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let ran = Ran {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        };
        for token in [ONCALL, READER, GATEWAY, FORMER, STRANGER] {
            let is_told = ran.stdout.contains(token) || ran.stderr.contains(token);
            assert!(!is_told, "a token is nobody's to see: {ran:?}");
        }
        ran
    }

    fn ask(&self, words: &[&str], environment: &[(&str, &str)]) -> Ran {
        self.run_with(words, environment, "")
    }

    /// Types a line and writes down what came of it.
    fn type_in(&mut self, words: &[&str]) -> Ran {
        let ran = self.ask(words, &[]);
        note(&mut self.transcript, words, &ran);
        ran
    }

    fn type_with(&mut self, words: &[&str], input: &str) -> Ran {
        let ran = self.run_with(words, &[], input);
        note(&mut self.transcript, words, &ran);
        ran
    }
}

/// A pod of a service, as it registers.
fn registration(pod: &FakePod, service: &str) -> String {
    document(pod, service, &json!([])).to_string()
}

#[test]
fn with_a_token_or_a_certificate_everything_works_over_tls() {
    let mut stage = Secured::new();
    let pods = ["eir-pod-1", "gw-1"].map(|name| stage.fleet.pod(name).unwrap());
    let token = ["--token-file", "oncall.token"];
    let with = |words: &[&'static str]| [words, &token[..]].concat();
    let documents =
        format!("{}\n{}", registration(&pods[0], "eir"), registration(&pods[1], "http-gw"));
    stage.type_with(&with(&["register", "-f", "-"]), &documents);
    let are_checked = until(PATIENCE, || {
        stage.ask(&with(&["pods", "--status", "healthy", "-o", "name"]), &[]).stdout.lines().count()
            == 2
    });
    assert!(are_checked, "both are healthy");
    let are_written = until(PATIENCE, || {
        let asked = with(&["audit", "--action", "health_status_change", "-o", "name"]);
        stage.ask(&asked, &[]).stdout.lines().count() == 2
    });
    assert!(are_written, "the audit is written behind what is published");
    for words in [
        &["services"][..],
        &["pods", "eir"],
        &["status"],
        &["audit", "--action", "register"],
        &["explain", "eir", "eir-pod-1"],
        &["watch", "--since", "4294967296", "--count", "1"],
        &["unregister", "eir", "eir-pod-1"],
    ] {
        stage.type_in(&with(words));
    }
    let certificate = ["--cert-file", "ops.crt", "--key-file", "ops.key"];
    stage.type_in(&[&["unregister", "http-gw", "gw-1"][..], &certificate].concat());
    compare("secured", &stage.transcript);
}

#[test]
fn the_environment_says_the_same_as_the_options() {
    let stage = Secured::new();
    let services = ["services", "-o", "name"];
    for environment in [
        &[("GOVERNANCE_TOKEN", READER)][..],
        &[("GOVERNANCE_TOKEN_FILE", "reader.token")],
        &[("GOVERNANCE_CERT_FILE", "ops.crt"), ("GOVERNANCE_KEY_FILE", "ops.key")],
        // What is empty is not set; and the CAs of the system are trusted when none is named.
        &[
            ("GOVERNANCE_TOKEN", READER),
            ("GOVERNANCE_TOKEN_FILE", ""),
            ("GOVERNANCE_CA_FILE", ""),
            ("SSL_CERT_FILE", "ca.crt"),
        ],
    ] {
        let ran = stage.ask(&services, environment);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{environment:?}: {ran:?}");
    }
    let ran = stage.ask(
        &["services", "--token-file", "reader.token"],
        &[("GOVERNANCE_TOKEN", STRANGER), ("GOVERNANCE_TOKEN_FILE", "nowhere")],
    );
    assert_eq!(ran.code, Some(0), "an option counts more: {ran:?}");
    let open = stage.manager.settings().directory().join("open.token");
    std::fs::write(&open, READER).unwrap();
    let mode = |bits| <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(bits);
    std::fs::set_permissions(&open, mode(0o644)).unwrap();
    let ran = stage.ask(&["services", "--token-file", "open.token"], &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.starts_with("warning: every user of this machine can read"), "{ran:?}");
    std::fs::set_permissions(&open, mode(0o640)).unwrap();
    let ran = stage.ask(&["services", "--token-file", "open.token"], &[]);
    assert!(!ran.stderr.contains("warning"), "a group may be meant to: {ran:?}");
}

#[test]
fn who_may_not_is_told_why_and_what_to_do() {
    let mut stage = Secured::new();
    let pod = stage.fleet.pod("eir-pod-1").unwrap();
    let document = registration(&pod, "eir");
    let two = format!("{document}\n{document}");
    stage.type_in(&["services"]);
    stage.type_in(&["status"]);
    stage.type_with(&["register", "-f", "-"], &two);
    for file in ["stranger.token", "former.token"] {
        stage.type_in(&["services", "--token-file", file]);
    }
    stage.type_with(&["register", "-f", "-", "--token-file", "reader.token"], &document);
    stage.type_with(&["register", "-f", "-", "--token-file", "gateways.token"], &document);
    stage.type_in(&["unregister", "eir", "eir-pod-1", "--token-file", "reader.token"]);
    stage.type_in(&["unregister", "eir", "eir-pod-1", "--token-file", "gateways.token"]);
    for name in ["stranger", "former", "unlisted"] {
        let (certificate, key) = (format!("{name}.crt"), format!("{name}.key"));
        stage.type_in(&["services", "--cert-file", &certificate, "--key-file", &key]);
    }
    let are_written = until(PATIENCE, || {
        let asked = ["audit", "--result", "denied", "-o", "name", "--token-file", "oncall.token"];
        stage.ask(&asked, &[]).stdout.lines().count() == 5
    });
    assert!(are_written, "what was refused is in the audit");
    stage.type_in(&["audit", "--result", "denied", "--token-file", "oncall.token"]);
    stage.type_in(&["explain", "eir", "eir-pod-1", "--token-file", "oncall.token"]);
    compare("refused", &stage.transcript);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let mut stage = Secured::new();
    let builder = stage.manager.settings().clone();
    put(&builder, "empty", "\n");
    put(&builder, "two-words", &format!("{ONCALL} and more"));
    put(&builder, "binary", "\u{0}\u{1}");
    for words in [
        &["services", "--token-file", "nowhere"][..],
        &["services", "--token-file", "."],
        &["services", "--token-file", "empty"],
        &["services", "--token-file", "two-words"],
        &["services", "--token-file", "/dev/zero"],
        &["services", "--ca-file", "nowhere"],
        &["services", "--ca-file", "empty"],
        &["services", "--cert-file", "ops.crt"],
        &["services", "--key-file", "ops.key"],
        &["services", "--cert-file", "ops.key", "--key-file", "ops.key"],
        &["services", "--cert-file", "ops.crt", "--key-file", "ops.crt"],
        &["services", "--cert-file", "ops.crt", "--key-file", "stranger.key"],
        // They have to be readable even where they are not needed.
        &["services", "-m", "http://127.0.0.1:9", "--ca-file", "nowhere"],
    ] {
        let ran = stage.type_in(words);
        assert_eq!(ran.code, Some(2), "{words:?}: {ran:?}");
    }
    for environment in [
        &[("GOVERNANCE_TOKEN", "two words")][..],
        &[("GOVERNANCE_TOKEN", ONCALL), ("GOVERNANCE_TOKEN_FILE", "oncall.token")],
        &[("GOVERNANCE_CA_FILE", ""), ("SSL_CERT_FILE", "empty")],
    ] {
        let ran = stage.ask(&["services"], environment);
        assert_eq!(ran.code, Some(2), "{environment:?}: {ran:?}");
        note(&mut stage.transcript, &["services"], &ran);
    }
    let refused = [vec!["services", "--token", ONCALL], vec!["--token=x", "services"]];
    let spoken = format!("--token={ONCALL}");
    let refused = refused.into_iter().chain([vec!["services", spoken.as_str()]]);
    for words in refused {
        let ran = stage.ask(&words, &[]);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        note(&mut stage.transcript, &["services", "--token", "…"], &ran);
    }
    // Where no manager is asked, nobody asks who it is.
    let ran = stage.ask(&["completions", "bash", "--token-file", "nowhere"], &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    compare("credentials", &stage.transcript);
}

#[test]
fn of_several_managers_the_right_one_is_found_whatever_the_others_speak() {
    let mut stage = Secured::new();
    let pod = stage.fleet.pod("eir-pod-1").unwrap();
    let document = registration(&pod, "eir");
    let (good, port) = (stage.url(), stage.manager.address().port());
    let token = ["--token-file", "oncall.token"];
    // Nobody; one that speaks TLS asked without; one by a name that its certificate has not.
    let others = format!("http://{CLOSED},http://127.0.0.1:{port},https://127.0.0.1:{port}");
    let list = format!("{others},{good}");
    let ran = stage.run_with(
        &[&["register", "-f", "-", "-m", &list][..], &token].concat(),
        &[],
        &document,
    );
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let ran = stage.ask(&[&["pods", "-o", "name", "-m", &list][..], &token].concat(), &[]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "eir/eir-pod-1\n"), "{ran:?}");
    let follow = ["watch", "--since", "4294967296", "--count", "1", "-o", "name", "-m", &list];
    let ran = stage.ask(&[&follow[..], &token].concat(), &[]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "eir/eir-pod-1\n"), "{ran:?}");
    for words in [&["services", "-m", &others][..], &["watch", "-m", &others]] {
        stage.type_in(&[words, &token].concat());
    }
    stage.type_in(&[&["status", "-m", &list][..], &token].concat());
    compare("mixed", &stage.transcript);
}

#[test]
fn a_watch_whose_token_was_taken_away_ends_and_says_so() {
    let stage = Secured::new();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let proxy = runtime.block_on(Proxy::start(stage.manager.address())).unwrap();
    let url = format!("https://localhost:{}", proxy.address.port());
    let environment = [
        ("GOVERNANCE_URL", url.as_str()),
        ("GOVERNANCE_CA_FILE", "ca.crt"),
        ("GOVERNANCE_TOKEN", READER),
    ];
    let mut command = command(&["watch"], &environment);
    let mut child = command.current_dir(stage.manager.settings().directory()).spawn().unwrap();
    let mut remarks = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut seen = String::new();
    while !seen.contains("at revision") {
        assert!(std::io::BufRead::read_line(&mut remarks, &mut seen).unwrap() > 0, "{seen}");
    }
    let builder = stage.manager.settings();
    put(builder, "tokens", &line(builder, "oncall admin", ONCALL));
    let is_gone = until(PATIENCE, || {
        stage.ask(&["services"], &[("GOVERNANCE_TOKEN", READER)]).code == Some(1)
    });
    assert!(is_gone, "the line counts no more");
    proxy.cut();
    std::io::Read::read_to_string(&mut remarks, &mut seen).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{seen}");
    assert!(seen.contains("does not know who asks"), "{seen}");
    assert!(seen.contains("hint: the token in GOVERNANCE_TOKEN was sent"), "{seen}");
    assert!(!seen.contains(READER), "{seen}");
}
