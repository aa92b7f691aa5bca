//! The alert rules of `deploy/prometheus`, as promtool and a Prometheus on loopback see them: what
//! goes wrong raises exactly the alert it should, and what is well none.
//!
//! The rules are those that are delivered, with all times thirty times as short, like the pause
//! between two scrapes. Skipped, and said so, where Prometheus is not installed; the gate installs it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod fleet_common;
mod postgres_common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use fleet_common::{await_status, register, registration};
use governance_testkit::fleet::{FakePod, Fleet, Reception};
use governance_testkit::manager::{ManagerProcess, PATIENCE};
use governance_testkit::postgres::{Cluster, Shutdown};
use governance_testkit::prometheus::Prometheus;
use governance_testkit::wait::until;
use postgres_common::readiness;
use serde_json::Value;

const RULES: &str = include_str!("../../../deploy/prometheus/alerts.yml");
const DASHBOARD: &str = include_str!("../../../deploy/prometheus/dashboard.json");
/// Where every family of metrics is written, under its name in quotes.
const METRICS: &str = include_str!("../src/http/metrics.rs");
/// Every time in the rules, and the one threshold that is a time; thirty times as short.
const SCALED: [(&str, &str); 7] = [
    ("for: 30s", "for: 1s"),
    ("for: 1m", "for: 2s"),
    ("for: 5m", "for: 10s"),
    ("[2m]", "[4s]"),
    ("[5m]", "[10s]"),
    ("[15m]", "[30s]"),
    ("governance_subscriber_lag_seconds > 60", "governance_subscriber_lag_seconds > 2"),
];
/// So many evaluations are longer than the longest wait of a rule.
const EVALUATIONS: usize = 22;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/prometheus")
}

fn scaled_rules() -> String {
    SCALED.iter().fold(RULES.to_owned(), |rules, (from, to)| {
        assert!(rules.contains(from), "the rules have no {from} any more");
        rules.replace(from, to)
    })
}

/// Waits until all rules were evaluated so often.
#[track_caller]
fn evaluate(prometheus: &Prometheus, times: usize) {
    for _ in 0..times {
        let before = prometheus.evaluations().unwrap();
        let is_done = until(PATIENCE, || {
            let now = prometheus.evaluations().unwrap();
            now.iter().zip(&before).all(|(now, before)| now != before)
        });
        assert!(is_done, "rules are not evaluated any more");
    }
}

/// Prometheus, once it has seen these managers and found nothing wrong.
#[track_caller]
fn watch(managers: &[&ManagerProcess]) -> Prometheus {
    watch_by(&scaled_rules(), managers)
}

#[track_caller]
fn watch_by(rules: &str, managers: &[&ManagerProcess]) -> Prometheus {
    let targets: Vec<_> = managers.iter().map(|manager| manager.address()).collect();
    let prometheus = Prometheus::start(rules, &targets).unwrap();
    let is_seen = until(PATIENCE, || {
        let seen = prometheus.query("governance_build_info").unwrap();
        seen.len() == managers.len()
    });
    assert!(is_seen, "it does not scrape");
    evaluate(&prometheus, 6);
    assert_eq!(prometheus.ever_fired().unwrap(), BTreeSet::new(), "all is well");
    prometheus
}

/// Waits for these alerts and makes sure that no others come, neither in between nor later.
#[track_caller]
fn assert_raises(prometheus: &Prometheus, expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
    evaluate(prometheus, EVALUATIONS);
    until(PATIENCE, || prometheus.firing().unwrap() == expected);
    evaluate(prometheus, 2);
    let values = || prometheus.query(r#"ALERTS or {__name__=~"governance_.*"} > 0"#).unwrap();
    assert_eq!(prometheus.ever_fired().unwrap(), expected, "{:#?}", values());
    assert_eq!(prometheus.firing().unwrap(), expected, "it lasts as long as the fault");
}

/// Waits until no alert is raised any more.
#[track_caller]
fn assert_calms(prometheus: &Prometheus) {
    let is_calm = until(PATIENCE, || prometheus.firing().unwrap().is_empty());
    assert!(is_calm, "still raised: {:?}", prometheus.firing().unwrap());
}

/// Healthy pods of a service, each of which subscribes to another service.
#[track_caller]
fn pods(fleet: &Fleet, manager: &ManagerProcess, service: &str, count: usize) -> Vec<FakePod> {
    let mut client = manager.client();
    let named = (1..=count).map(|number| fleet.pod(&format!("{service}-{number}")).unwrap());
    let pods: Vec<FakePod> = named.collect();
    for pod in &pods {
        register(&mut client, &registration(service, pod, pod.address.port(), &["eir"]));
    }
    for pod in &pods {
        await_status(&mut client, service, &pod.name, "healthy");
    }
    pods
}

#[track_caller]
fn promtool(words: &[&str]) {
    let output = Command::new("promtool").args(words).current_dir(folder()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn promtool_finds_no_fault_and_each_rule_is_raised_by_its_example() {
    if !Prometheus::is_installed() {
        return;
    }
    promtool(&["check", "config", "prometheus.yml"]);
    promtool(&["check", "rules", "--lint-fatal", "alerts.yml"]);
    promtool(&["test", "rules", "alerts_test.yml"]);
    let examples = std::fs::read_to_string(folder().join("alerts_test.yml")).unwrap();
    for name in RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let raised = format!("{{labels: '{{alertname=\"{name}\"");
        assert!(examples.contains(&raised), "{name} is raised by no example");
    }
}

/// The words of a text that look like names of metrics.
fn metric_words(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("governance_") || word.starts_with("process_")).collect()
}

#[test]
fn rules_and_dashboard_name_only_metrics_that_there_are() {
    let is_family = |name: &str| METRICS.contains(&format!("\"{name}\""));
    assert!(is_family("governance_role"));
    for word in metric_words(RULES).into_iter().chain(metric_words(DASHBOARD)) {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
        let is_known = is_family(word) || family.is_some_and(is_family);
        assert!(is_known, "there is no metric {word}");
    }
}

#[test]
fn every_panel_of_the_dashboard_shows_something() {
    if !Prometheus::is_installed() {
        return;
    }
    let fleet = Fleet::new().unwrap();
    let manager = fleet_common::manager().start();
    let _pods = pods(&fleet, &manager, "eir", 2);
    let prometheus = watch(&[&manager]);
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 10);
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{panel}");
        for target in targets {
            let expression = target["expr"].as_str().unwrap();
            let filled = expression.replace("$job", "governance-manager").replace("[5m]", "[1m]");
            assert!(!prometheus.query(&filled).unwrap().is_empty(), "nothing for {filled}");
        }
    }
}

#[test]
fn a_killed_pod_raises_that_it_is_unhealthy() {
    if !Prometheus::is_installed() {
        return;
    }
    let fleet = Fleet::new().unwrap();
    let manager = fleet_common::manager().start();
    let eirs = pods(&fleet, &manager, "eir", 3);
    let _gateways = pods(&fleet, &manager, "http-gw", 2);
    let prometheus = watch(&[&manager]);
    eirs[0].die();
    assert_raises(&prometheus, &["GovernancePodUnhealthy"]);
    eirs[0].rise().unwrap();
    assert_calms(&prometheus);
}

#[test]
fn a_hung_subscriber_raises_that_it_is_behind() {
    if !Prometheus::is_installed() {
        return;
    }
    let fleet = Fleet::new().unwrap();
    let manager = fleet_common::manager().set("NOTIFICATION_TIMEOUT", "1s").start();
    let _eirs = pods(&fleet, &manager, "eir", 2);
    let gateways = pods(&fleet, &manager, "http-gw", 2);
    let prometheus = watch(&[&manager]);
    gateways[0].set_reception(Reception::Hang);
    let _news = pods(&fleet, &manager, "eir", 3);
    assert_raises(&prometheus, &["GovernanceSubscriberBehind"]);
    gateways[0].set_reception(Reception::Answer(200));
    assert_calms(&prometheus);
}

#[test]
fn a_stopped_database_raises_that_the_store_is_unreachable() {
    if !Prometheus::is_installed() {
        return;
    }
    let mut cluster = Cluster::start().unwrap();
    let fleet = Fleet::new().unwrap();
    let manager = postgres_common::manager(cluster.address())
        .set("HEALTH_CHECK_INTERVAL", "500ms")
        .set("REQUEST_TIMEOUT", "1s")
        .start();
    let eirs = pods(&fleet, &manager, "eir", 2);
    let prometheus = watch(&[&manager]);
    cluster.stop(Shutdown::Immediate).unwrap();
    // Nobody needs to write for it to be noticed.
    let is_noticed = until(PATIENCE, || {
        !prometheus.query("governance_store_reachable == 0").unwrap().is_empty()
    });
    assert!(is_noticed, "{}", manager.log_text());
    // Who does is refused, which raises nothing else.
    let changed = registration("eir", &eirs[0], 1, &[]);
    assert_eq!(manager.client().post("/register", &changed).status, 503);
    assert_raises(&prometheus, &["GovernanceStoreUnreachable"]);
    cluster.start_again().unwrap();
    assert_calms(&prometheus);
}

#[test]
fn a_standby_that_takes_over_raises_that_it_did() {
    if !Prometheus::is_installed() {
        return;
    }
    let cluster = Cluster::start().unwrap();
    let active = postgres_common::manager(cluster.address()).start();
    let standby = postgres_common::manager(cluster.address()).launch();
    let is_standby = until(PATIENCE, || postgres_common::health(&standby)["role"] == "standby");
    assert!(is_standby, "{}", standby.log_text());
    // A lease is not thirty times as short. That one is down, and for a moment nobody active, is
    // for the test below.
    let patient = [("up{job=~\"governance-manager.*\"} == 0", "2s"), ("== 0) > 0", "1s")];
    let rules = patient.iter().fold(scaled_rules(), |rules, (expression, pause)| {
        let (from, to) = (
            format!("{expression}\n        for: {pause}"),
            format!("{expression}\n        for: 1h"),
        );
        assert_eq!(rules.matches(&from).count(), 1, "{from}");
        rules.replace(&from, &to)
    });
    let rules = rules.replace("[30s]", "[1h]");
    let prometheus = watch_by(&rules, &[&active, &standby]);
    active.sigkill();
    assert!(until(PATIENCE, || readiness(&standby) == Some(200)), "{}", standby.log_text());
    assert_raises(&prometheus, &["GovernanceStandbyTookOver"]);
}

#[test]
fn a_manager_that_is_gone_with_nobody_to_take_over_raises_both() {
    if !Prometheus::is_installed() {
        return;
    }
    let manager = fleet_common::manager().start();
    let prometheus = watch(&[&manager]);
    manager.sigkill();
    assert_raises(&prometheus, &["GovernanceManagerDown", "GovernanceNoActiveManager"]);
}
