//! Debian's Prometheus as a throw-away server on a free port of loopback: it scrapes what a test
//! names and evaluates rules; gone when it is dropped. The service that the package brings is not
//! needed and not touched.
//!
//! Calls block: they are for a test's own thread. Not here: what rules there are.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::http::Client;
use crate::wait::until;

/// It answers within so long, or something is wrong.
const DEADLINE: Duration = Duration::from_secs(30);
/// The job whose targets are scraped.
pub const JOB: &str = "governance-manager";

/// A server with its data.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    /// Kept as long as it runs.
    _directory: TempDir,
}

impl Prometheus {
    /// Whether it can be started here; says so if not.
    pub fn is_installed() -> bool {
        let answer = Command::new("prometheus").arg("--version").stdout(Stdio::null()).status();
        let is_there = answer.is_ok_and(|status| status.success());
        if !is_there {
            eprintln!("SKIPPED: prometheus is not installed (Debian package prometheus)");
        }
        is_there
    }

    /// Starts one that scrapes these addresses and evaluates these rules, both every half second.
    ///
    /// # Errors
    /// When it is not installed or does not start; the text has its log.
    pub fn start(rules: &str, targets: &[SocketAddr]) -> Result<Self> {
        let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
        let config = format!(
            "global: {{scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}}\n\
             rule_files: [alerts.yml]\n\
             scrape_configs:\n  - job_name: {JOB}\n    static_configs: [{{targets: {targets:?}}}]\n"
        );
        Self::start_with(&config, rules)
    }

    /// Starts one with this configuration; in it the rules are in the file `alerts.yml`.
    ///
    /// # Errors
    /// When it is not installed or does not start; the text has its log.
    pub fn start_with(config: &str, rules: &str) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("governance-prometheus-").tempdir()?;
        fs::write(directory.path().join("alerts.yml"), rules)?;
        fs::write(directory.path().join("prometheus.yml"), config)?;
        let log = directory.path().join("log");
        let child = Command::new("prometheus")
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg("--web.listen-address=127.0.0.1:0")
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?)
            .spawn()
            .context("cannot start prometheus (Debian's package of that name)")?;
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut prometheus = Self { child, address, _directory: directory };
        let is_up = until(DEADLINE, || {
            if let Some(address) = listening(&log) {
                prometheus.address = address;
            }
            prometheus.address.port() != 0 && prometheus.is_ready()
        });
        ensure!(is_up, "it does not start: {}", fs::read_to_string(&log).unwrap_or_default());
        Ok(prometheus)
    }

    fn is_ready(&self) -> bool {
        let answer = Client::new(self.address).call("GET", "/-/ready", None);
        answer.is_ok_and(|answer| answer.status == 200)
    }

    /// The samples of an expression, now.
    ///
    /// # Errors
    /// When the expression is wrong or the server does not answer.
    pub fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let encoded =
            expression.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02X}"));
        let answer = self.get(&format!("/api/v1/query?query={encoded}"))?;
        let result = answer.pointer("/data/result").and_then(Value::as_array);
        result.cloned().with_context(|| format!("no samples in {answer}"))
    }

    /// What it scrapes, each with what it discovered of it.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn targets(&self) -> Result<Vec<Value>> {
        let answer = self.get("/api/v1/targets?state=active")?;
        let targets = answer.pointer("/data/activeTargets").and_then(Value::as_array);
        targets.cloned().with_context(|| format!("no targets in {answer}"))
    }

    /// The names of the alerts that are raised now.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn firing(&self) -> Result<BTreeSet<String>> {
        self.names(r#"ALERTS{alertstate="firing"}"#)
    }

    /// The names of the alerts that were raised at any time since the start.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn ever_fired(&self) -> Result<BTreeSet<String>> {
        self.names(r#"count_over_time(ALERTS{alertstate="firing"}[1h])"#)
    }

    /// A number that it tells of itself.
    ///
    /// # Errors
    /// When the server does not answer, or has no such metric without labels.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let answer = Client::new(self.address).call("GET", "/metrics", None)?;
        let text = String::from_utf8(answer.body)?;
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(lines.next().with_context(|| format!("no {name}"))?.parse()?)
    }

    fn names(&self, expression: &str) -> Result<BTreeSet<String>> {
        let samples = self.query(expression)?;
        let name =
            |sample: &Value| sample.pointer("/metric/alertname")?.as_str().map(str::to_owned);
        Ok(samples.iter().filter_map(name).collect())
    }

    /// When each group of rules was evaluated last, as the server writes it.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn evaluations(&self) -> Result<Vec<String>> {
        let answer = self.get("/api/v1/rules")?;
        let groups = answer.pointer("/data/groups").and_then(Value::as_array);
        let last = |group: &Value| group.get("lastEvaluation")?.as_str().map(str::to_owned);
        Ok(groups.context("no groups of rules")?.iter().filter_map(last).collect())
    }

    fn get(&self, target: &str) -> Result<Value> {
        let answer = Client::new(self.address).call("GET", target, None)?;
        if answer.status != 200 {
            bail!("prometheus says {answer:?}");
        }
        Ok(serde_json::from_slice(&answer.body)?)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended before; nothing to tell anybody here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in the log's line about it.
fn listening(log: &Path) -> Option<SocketAddr> {
    let text = fs::read_to_string(log).ok()?;
    let line = text.lines().find(|line| line.contains("msg=\"Listening on\""))?;
    line.rsplit("address=").next()?.trim().parse().ok()
}
