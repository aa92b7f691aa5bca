//! The stage: a manager, pods, and runs of `govctl` written down with their volatile parts masked.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use governance_testkit::fleet::{FakePod, Fleet};
use governance_testkit::manager::{ManagerBuilder, ManagerProcess};
use governance_testkit::wait::until;
use serde_json::{Value, json};
use tokio::net::TcpSocket;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Nothing listens there: below what the system gives out, and no service of this machine's.
pub(crate) const CLOSED: &str = "127.0.0.1:9";

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the program with a known environment.
pub(crate) fn govctl(words: &[&str], environment: &[(&str, &str)], input: &str) -> Ran {
    let mut child = command(words, environment).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that reads nothing may have ended before.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

pub(crate) fn command(words: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_govctl"));
    command
        .args(words)
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A manager with pods, and what was typed so far.
pub(crate) struct Scene {
    pub(crate) manager: ManagerProcess,
    pub(crate) fleet: Fleet,
    transcript: String,
}

impl Scene {
    /// Checks are an hour apart, so that a pod is checked once, unless a test says otherwise.
    pub(crate) fn new(set: impl FnOnce(ManagerBuilder) -> ManagerBuilder) -> Self {
        let builder = ManagerProcess::built()
            .set("HEALTH_CHECK_INTERVAL", "1h")
            .set("HEALTH_CHECK_RETRY", "0")
            .set("NOTIFICATION_INTERVAL", "1h");
        let manager = set(builder).start();
        Self { manager, fleet: Fleet::new().unwrap(), transcript: String::new() }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.manager.address())
    }

    /// Registers a pod that has one endpoint, its own.
    pub(crate) fn register(&self, pod: &FakePod, service: &str, subscriptions: &Value) {
        let answer =
            self.manager.client().post("/register", &document(pod, service, subscriptions));
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Waits until what the manager shows of a pod is as wanted.
    #[track_caller]
    pub(crate) fn wait_for(&self, service: &str, pod: &str, is_wanted: impl Fn(&Value) -> bool) {
        let target = format!("/services/{service}/pods/{pod}");
        let mut last = Value::Null;
        let came = until(PATIENCE, || {
            last = self.manager.client().get(&target).json();
            is_wanted(&last)
        });
        assert!(came, "it did not come to that: {last:#}");
    }

    /// Waits for a status.
    #[track_caller]
    pub(crate) fn wait_for_status(&self, service: &str, pod: &str, status: &str) {
        self.wait_for(service, pod, |found| found["status"] == status);
    }

    /// Types a line and writes down what came of it.
    pub(crate) fn run(&mut self, words: &[&str]) -> Ran {
        self.run_with(words, "")
    }

    /// The same with an input.
    pub(crate) fn run_with(&mut self, words: &[&str], input: &str) -> Ran {
        let url = self.url();
        let ran = govctl(words, &[("GOVERNANCE_URL", &url)], input);
        note(&mut self.transcript, words, &ran);
        ran
    }

    /// Compares everything typed so far with what is expected.
    #[track_caller]
    pub(crate) fn compare(&self, name: &str) {
        compare(name, &self.transcript);
    }
}

/// Where a pod was: holds its port, without listening, so that nobody else is given it.
pub(crate) struct Grave {
    _socket: TcpSocket,
}

/// Ends a pod for as long as the grave is kept.
#[track_caller]
pub(crate) fn kill(pod: &FakePod) -> Grave {
    pod.die();
    let bound = |reuses: bool| {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(reuses)?;
        socket.bind(pod.address).map(|()| socket)
    };
    let mut held = None;
    // Sharing the port is second best: needed where old connections linger on it.
    let is_gone = until(PATIENCE, || {
        held = bound(false).or_else(|_| bound(true)).ok();
        held.is_some()
    });
    assert!(is_gone, "{} still listens", pod.name);
    Grave { _socket: held.unwrap() }
}

/// What a pod registers.
pub(crate) fn document(pod: &FakePod, service: &str, subscriptions: &Value) -> Value {
    json!({"service_name": service, "pod_name": pod.name,
        "providers": [{"protocol": "http", "ip": "127.0.0.1", "port": pod.address.port()}],
        "health_check_url": pod.health_url(), "notification_url": pod.notification_url(),
        "subscriptions": subscriptions})
}

/// Adds a run to a transcript.
pub(crate) fn note(transcript: &mut String, words: &[&str], ran: &Ran) {
    let words = words.join(" ");
    let _ = writeln!(transcript, "$ govctl {words}");
    transcript.push_str(&ran.stdout);
    ran.stderr.lines().for_each(|line| {
        let _ = writeln!(transcript, "! {line}");
    });
    let _ = writeln!(transcript, "[exit {}]\n", ran.code.unwrap());
}

/// Compares a transcript, masked, with the checked-in text.
#[track_caller]
pub(crate) fn compare(name: &str, transcript: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/govctl/snapshots");
    let path = folder.join(format!("{name}.txt"));
    let found = masked(transcript);
    if std::env::var("GOVCTL_SNAPSHOTS").is_ok_and(|value| value == "write") {
        std::fs::write(&path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{name} differs; found:\n{found}\nexpected:\n{expected}");
}

/// What differs from run to run, replaced. In a pattern `#` stands for digits and `%` for
/// hexadecimal ones.
fn masked(text: &str) -> String {
    const PATTERNS: &[(&str, &str)] = &[
        ("%-%-%-%-%", "UUID"),
        ("  #  %-00000000%", "  N  REQUEST"),
        ("#-#-#T#:#:#.#Z", "TIME"),
        ("#-#-#T#:#:#Z", "TIME"),
        ("https://localhost:#", "https://localhost:PORT"),
        ("127.1:#", "127.1:PORT"),
        ("127.0.0.1:9 ", "127.0.0.1:CLOSED "),
        ("127.0.0.1:9:", "127.0.0.1:CLOSED:"),
        ("127.0.0.1:#", "127.0.0.1:PORT"),
        ("\"port\":#", "\"port\":PORT"),
        ("\"port\": #", "\"port\": PORT"),
        ("\"uptime_seconds\": #", "\"uptime_seconds\": N"),
        ("42949#", "NUMBER"),
        ("\"id\": \"#\"", "\"id\": \"N\""),
        ("\"request_id\": \"%-%\"", "\"request_id\": \"REQUEST\""),
        ("\"attempts\": #", "\"attempts\": N"),
        ("  #s  0.1.0", "  UPTIME  0.1.0"),
        ("an attempt is under way", "the next is due now"),
        ("due now", "due SOON"),
        ("due in #h#m", "due SOON"),
        ("in #h#m", "LATER"),
        ("due in #s", "due SOON"),
        ("due in #m", "due SOON"),
        ("in #m", "LATER"),
        ("in #s", "LATER"),
        ("just now", "AGO"),
        ("for #s", "AGO"),
        ("#s ago", "AGO"),
        ("#m ago", "AGO"),
        ("within #s", "within SPAN"),
        ("# attempts failed", "N attempts failed"),
        ("# attempt failed", "N attempts failed"),
        ("AGO  #  it", "AGO  N  it"),
    ];
    let mut text = text.to_owned();
    // First: whatever is as wide as its column.
    while text.contains("   ") {
        text = text.replace("   ", "  ");
    }
    for (pattern, mask) in PATTERNS {
        text = replaced(&text, pattern, mask);
    }
    text.lines().fold(String::new(), |all, line| all + line.trim_end() + "\n")
}

fn replaced(text: &str, pattern: &str, mask: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    let mut is_inside = false;
    while let Some(first) = rest.chars().next() {
        let is_word = !pattern.starts_with(' ');
        let length = if is_inside && is_word { None } else { matched(rest, pattern) };
        if let Some(length) = length {
            out.push_str(mask);
            rest = &rest[length..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
        is_inside = first.is_ascii_alphanumeric();
    }
    out
}

/// How much of the text the pattern covers, if the text begins with it.
fn matched(text: &str, pattern: &str) -> Option<usize> {
    let mut at = 0;
    for wanted in pattern.chars() {
        let rest = &text[at..];
        let is_of = |c: char| match wanted {
            '#' => c.is_ascii_digit(),
            _ => c.is_ascii_hexdigit(),
        };
        at += match wanted {
            '#' | '%' => rest.find(|c| !is_of(c)).unwrap_or(rest.len()),
            _ if rest.starts_with(wanted) => wanted.len_utf8(),
            _ => return None,
        };
        if matches!(wanted, '#' | '%') && rest.find(|c| !is_of(c)) == Some(0) {
            return None;
        }
    }
    Some(at)
}
