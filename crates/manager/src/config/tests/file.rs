//! What a configuration file may look like, and what is said of one that does not.

use std::fmt::Write;
use std::time::Duration;

use super::super::*;
use super::*;

#[test]
fn the_same_names_are_keys_of_the_file_in_every_style() {
    let config = with_file(
        "\
SERVER_PORT: 1
health_check_interval: 1m30s
healthCheckTimeout: .5s
notification-interval: 0
TARGET_ALLOW: [169.254.1.1, 'fe80::/64']
db_password: 007
log_level: &level debug
DB_USER: *level
DB_NAME: yes
",
    );
    assert_eq!(config.server.port, 1);
    assert_eq!(config.health.interval, Duration::from_secs(90));
    assert_eq!(config.health.timeout, Duration::from_millis(500));
    assert_eq!(config.notification.interval, None);
    assert_eq!(config.targets.allow.len(), 2);
    assert_eq!(config.database.password.expose(), "007", "as written, not as a number");
    assert_eq!(config.database.user, "debug");
    assert_eq!(config.database.name, "yes", "as written, not as a boolean");
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn the_earlier_managers_file_is_understood() {
    let config = with_file(
        "\
server:
  port: 9090
database:
  host: db
  port: 5433
  database: telco
  username: gov
  password: \" p w \"
  sslMode: require
manager:
  health_check_interval: 10s
  healthCheckTimeout: 2s
  health_check_retry: 1
  notification_interval: 30s
  notification_timeout: 3s
  event_queue_size: 50
logging:
  level: WARNING
  format: console
",
    );
    assert_eq!(config.server.port, 9090);
    assert_eq!(config.database.hosts, [("db".to_owned(), 5433)]);
    assert_eq!(config.database.name, "telco");
    assert_eq!(config.database.user, "gov");
    assert_eq!(config.database.password.expose(), " p w ");
    assert_eq!(config.database.ssl_mode, SslMode::Require);
    assert_eq!(config.health.interval, Duration::from_secs(10));
    assert_eq!(config.health.timeout, Duration::from_secs(2));
    assert_eq!(config.health.retry, 1);
    assert_eq!(config.notification.interval, Some(Duration::from_secs(30)));
    assert_eq!(config.notification.timeout, Duration::from_secs(3));
    assert_eq!(config.engine.event_queue_size, 50);
    assert_eq!(config.log, Log { level: "warn".to_owned(), format: LogFormat::Text });
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn unknown_keys_are_warned_of_with_their_lines() {
    let (_dir, path) = file("colour: red\nserver:\n  prot: 1\nweb: {port: 1}\nCONFIG_FILE: x\n");
    let config = config(&[], &[("CONFIG_FILE", &path)]);
    let expected = [(1, "colour"), (3, "server.prot"), (4, "web"), (5, "CONFIG_FILE")];
    let expected = expected
        .map(|(line, key)| format!("{path} line {line}: unknown setting {key:?} is ignored"));
    assert_eq!(config.warnings, expected);
}

#[test]
fn an_empty_file_sets_nothing() {
    for text in ["", "# only a comment\n", "---\n", "server:\n", "\u{feff}"] {
        assert_eq!(with_file(text), Config::default(), "{text:?}");
    }
}

#[test]
fn a_byte_order_mark_does_not_shift_the_values() {
    assert_eq!(with_file("\u{feff}SERVER_PORT: 8081\n").server.port, 8081);
}

#[test]
fn a_wrong_value_in_the_file_is_named_with_file_and_line() {
    let text = file_fault("server:\n  port: 99999\nHEALTH_CHECK_RETRY: {a: 1}\nSTORAGE: 1.5\n");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "error: 3 settings are wrong");
    assert_eq!(lines[1], "  SERVER_PORT=\"99999\" (FILE line 2): must be a port, 0 to 65535");
    assert!(lines[2].starts_with("  STORAGE=\"1.5\" (FILE line 4): must be auto"), "{text}");
    let shape = "HEALTH_CHECK_RETRY (FILE line 3): must be a single value, or a list of";
    assert!(lines[3].contains(shape), "{text}");
}

#[test]
fn a_setting_that_stands_twice_in_the_file_is_a_fault() {
    let text = file_fault("SERVER_PORT: 1\nserver: {port: 2}\n");
    assert!(text.contains("SERVER_PORT (FILE line 2): is set twice: as \"SERVER_PORT\" in line 1"));
    let text = file_fault("SERVER_PORT: 1\nSERVER_PORT: 2\n");
    assert!(text.contains("CONFIG_FILE=\"FILE\" (environment): is not valid YAML"), "{text}");
    assert!(text.contains("line 2"), "{text}");
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_the_reason() {
    let missing = faults(&[("CONFIG_FILE", "/nowhere/x.yaml")]);
    let expected = "CONFIG_FILE=\"/nowhere/x.yaml\" (environment): cannot be read: No such file";
    assert!(missing.contains(expected), "{missing}");
    let directory = tempfile::tempdir().unwrap();
    let text = faults(&[("CONFIG_FILE", directory.path().to_str().unwrap())]);
    assert!(text.contains("cannot be read: "), "{text}");

    let text = file_fault("SERVER_PORT: 1\nDB_PASSWORD: 'hunter2\nx: [\n");
    assert!(text.contains("is not valid YAML: ") && text.contains("line "), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    let text = file_fault("a: 1\n---\nb: 1\n");
    assert!(text.contains("more than one document at line"), "{text}");
    let text = file_fault("- a\n- b\n");
    assert!(text.contains("line 1: must be a mapping of settings to values"), "{text}");
    let text = file_fault("# x\n".repeat(300_000));
    assert!(text.contains("is too large: at most 1 MiB is read"), "{text}");
    let text = file_fault(b"a: 1\nb: \xff\n");
    assert!(text.contains("is not UTF-8 text: line 2"), "{text}");
}

#[test]
fn hostile_yaml_is_refused_and_not_followed() {
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let previous = format!("*a{}", level - 1);
        let items = [previous.as_str(); 9].join(",");
        writeln!(bomb, "a{level}: &a{level} [{items}]").unwrap();
    }
    assert!(file_fault(bomb).contains("is not valid YAML"));
    assert!(file_fault("[".repeat(100_000)).contains("is not valid YAML"));
    assert!(file_fault("? [a, b]\n: 1\n").contains("is not valid YAML"));
}

#[test]
fn a_bad_file_does_not_hide_other_faults() {
    let (_dir, path) = file("[");
    let text = faults(&[("CONFIG_FILE", &path), ("SERVER_PORT", "x")]);
    assert!(text.starts_with("error: 2 settings are wrong\n  SERVER_PORT="), "{text}");
}
