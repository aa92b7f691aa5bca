//! Starting and ending: what is said when it cannot start, and what a restart keeps.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]

use std::io::Write as _;
use std::net::TcpListener;
use std::process::Command;

use governance_testkit::http::{Client, Wire, request};
use governance_testkit::manager::{Ended, ManagerBuilder, ManagerProcess, PATIENCE};
use governance_testkit::wait::until;
use serde_json::{Value, json};

fn manager() -> ManagerBuilder {
    ManagerProcess::builder(env!("CARGO_BIN_EXE_governance-manager"))
}

fn registration(pod: &str) -> Value {
    json!({
        "service_name": "eir", "pod_name": pod,
        "providers": [{"protocol": "http", "ip": "127.0.0.1", "port": 1}],
        "health_check_url": "http://127.0.0.1:1/health",
        "notification_url": "http://127.0.0.1:1/notify",
        "subscriptions": ["http-gw"],
    })
}

/// Fails to start with exit code 1, one complaint, and a hint that names the cure.
#[track_caller]
fn assert_refused(ended: &Ended, complaint: &str, cure: &str) {
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let errors = ended.stderr.lines().filter(|line| line.starts_with("error: "));
    let errors: Vec<&str> = errors.collect();
    assert_eq!(errors.len(), 1, "one message: {}", ended.stderr);
    assert!(errors[0].contains(complaint), "{}", ended.stderr);
    let hint = ended.stderr.lines().find(|line| line.trim_start().starts_with("hint: "));
    assert!(hint.is_some_and(|hint| hint.contains(cure)), "{}", ended.stderr);
}

#[test]
fn all_faults_of_the_configuration_are_named_in_one_message() {
    let wrong = manager()
        .set("SERVER_PORT", "99999")
        .set("HEALTH_CHECK_INTERVAL", "abc")
        .set("DB_SSL_MODE", "maybe");
    let ended = wrong.run_to_end();
    assert_eq!(ended.code, Some(64), "{ended:?}");
    for part in ["SERVER_PORT", "99999", "65535"] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
    for part in ["HEALTH_CHECK_INTERVAL", "abc", "100ms", "24h"] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
    for part in ["DB_SSL_MODE", "maybe", "disable", "require", "verify-ca", "verify-full"] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
    assert!(!wrong.data_dir().exists(), "nothing is made before the configuration is right");
}

#[test]
fn a_port_in_use_is_one_clear_message() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port().to_string();
    let taken = manager().set("SERVER_PORT", port.clone());
    let ended = taken.run_to_end();
    assert_refused(&ended, &port, "SERVER_PORT");
    assert!(!taken.data_dir().exists(), "a port in use is found before anything is written");
}

#[test]
fn a_data_directory_that_is_a_file_is_one_clear_message() {
    let builder = manager();
    std::fs::write(builder.data_dir(), "in the way").unwrap();
    let ended = builder.run_to_end();
    assert_refused(&ended, &builder.data_dir().display().to_string(), "DATA_DIR");
    assert_eq!(std::fs::read_to_string(builder.data_dir()).unwrap(), "in the way");
}

#[test]
fn a_data_directory_in_use_by_another_manager_is_one_clear_message() {
    let first = manager().start();
    let ended = first.settings().run_to_end();
    assert_refused(&ended, "in use by another manager", "DATA_DIR");
    assert_eq!(first.client().get("/ready").status, 200, "the first one is not disturbed");
}

#[test]
fn version_help_and_check_config_print_and_end_well() {
    let version = manager().argument("--version").run_to_end();
    assert_eq!(version.code, Some(0), "{version:?}");
    assert!(version.stdout.contains(env!("CARGO_PKG_VERSION")), "{version:?}");

    let help = manager().argument("--help").run_to_end();
    assert_eq!(help.code, Some(0), "{help:?}");
    for part in ["--server-port", "--data-dir", "--check-config"] {
        assert!(help.stdout.contains(part), "{part}: {}", help.stdout);
    }

    let builder = manager().set("DB_PASSWORD", "open-sesame").set("NOTIFICATION_INTERVAL", "90s");
    let check = builder.clone().argument("--check-config").run_to_end();
    assert_eq!(check.code, Some(0), "{check:?}");
    assert!(check.stdout.contains("NOTIFICATION_INTERVAL"), "{}", check.stdout);
    assert!(check.stdout.contains("1m30s") || check.stdout.contains("90s"), "{}", check.stdout);
    assert!(!format!("{check:?}").contains("open-sesame"), "a secret is printed: {check:?}");
    assert!(!builder.data_dir().exists(), "checking changes nothing");
}

#[test]
fn an_unknown_flag_is_wrong_usage() {
    let ended = manager().argument("--no-such-flag").run_to_end();
    assert_eq!(ended.code, Some(64), "{ended:?}");
    assert!(ended.stderr.contains("--no-such-flag"), "{ended:?}");
}

#[test]
fn sigterm_ends_it_with_code_zero_and_leaves_nothing_behind_that_disturbs() {
    let mut first = manager().start();
    first.client().post("/register", &registration("eir-1"));
    assert_eq!(first.stop().code(), Some(0), "{}", first.log_text());
    let answer = Client::new(first.address()).call("GET", "/health", None);
    assert!(answer.is_err(), "nobody answers any more: {answer:?}");
    let second = first.settings().start();
    assert_eq!(second.client().get("/services").json()["count"], 1);
}

#[test]
fn a_request_under_way_is_answered_although_the_process_ends() {
    let mut manager = manager().start();
    let body = registration("eir-1").to_string();
    let whole = request("POST", "/register", Some(body.as_bytes()));
    let (first, rest) = whole.split_at(whole.len() - 10);
    let mut wire = Wire::open(manager.address()).unwrap();
    wire.send(first).unwrap();
    // An answer on a later connection: the server has the first part of the earlier one by then.
    assert_eq!(manager.client().get("/ready").status, 200);
    manager.sigterm();
    manager.wait_for_log(|line| line["signal"] == "SIGTERM");
    wire.send(rest).unwrap();
    let answer = wire.receive().expect("what was accepted is finished");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(manager.wait().code(), Some(0), "{}", manager.log_text());
    let second = manager.settings().start();
    assert_eq!(second.client().get("/services").json()["count"], 1);
}

#[test]
fn ready_says_no_before_the_port_closes() {
    let mut manager = manager().set("SHUTDOWN_DELAY", "2s").start();
    manager.sigterm();
    let mut client = manager.client();
    let turns_away = until(PATIENCE, || client.get("/ready").status == 503);
    assert!(turns_away, "{}", manager.log_text());
    assert_eq!(client.get("/services").status, 200, "everything else still works");
    assert_eq!(client.post("/register", &registration("late")).status, 200);
    assert_eq!(manager.wait().code(), Some(0), "{}", manager.log_text());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut manager = manager().set("SHUTDOWN_DELAY", "10m").start();
    manager.sigterm();
    manager.wait_for_log(|line| line["signal"] == "SIGTERM");
    manager.sigterm();
    // `wait` is far more patient than this may take and far less than the delay.
    assert_eq!(manager.wait().code(), Some(1), "{}", manager.log_text());
}

#[test]
fn a_restart_keeps_registrations_and_the_registry_and_revisions_go_up() {
    let mut first = manager().start();
    let registered = first.client().post("/register", &registration("eir-1")).json();
    let before = first.client().get("/services").json();
    assert_eq!(first.stop().code(), Some(0));

    let second = first.settings().start();
    let after = second.client().get("/services").json();
    assert_eq!(after["registry_id"], before["registry_id"]);
    // What checks find goes on meanwhile; it is no part of what was registered.
    let kept = [
        "service_key",
        "service_name",
        "pod_name",
        "providers",
        "health_check_url",
        "notification_url",
        "subscriptions",
        "registered_at",
        "registration_id",
    ];
    for field in kept {
        assert_eq!(after["services"][0][field], before["services"][0][field], "{field}");
    }
    let again = second.client().post("/register", &registration("eir-2")).json();
    let (earlier, later) = (&before["revision"], &again["revision"]);
    assert!(later.as_u64() > earlier.as_u64(), "{later} after {earlier}");
    assert!(again["registration_id"].as_u64() > registered["registration_id"].as_u64());
}

#[test]
fn a_backup_that_was_restored_between_two_runs_is_another_registry_with_later_revisions() {
    let mut first = manager().set("STORAGE", "sqlite").start();
    assert_eq!(first.client().post("/register", &registration("kept")).status, 200);
    assert_eq!(first.stop().code(), Some(0));
    let file = first.settings().data_dir().join("governance.db");
    let backup = file.with_extension("backup");
    std::fs::copy(&file, &backup).unwrap();
    // The backup is of the first run; what the second and the third tell is forgotten.
    let mut second = first.settings().start();
    assert_eq!(second.stop().code(), Some(0));
    let mut third = second.settings().start();
    let told = third.client().post("/register", &registration("lost")).json();
    assert_eq!(third.stop().code(), Some(0));
    std::fs::rename(&backup, &file).unwrap();

    let restored = third.settings().start();
    let list = restored.client().get("/services").json();
    assert_eq!(list["count"], 1, "{list}");
    assert_ne!(list["registry_id"], told["registry_id"]);
    assert!(list["revision"].as_u64() > told["revision"].as_u64(), "{list} after {told}");
    restored.wait_for_log(|line| {
        let text = line["message"].as_str().unwrap_or_default();
        line["level"] == "WARN" && text.contains("another registry")
    });
}

#[test]
fn a_backup_of_the_same_run_is_recognised_after_an_orderly_end() {
    let mut first = manager().set("STORAGE", "sqlite").start();
    assert_eq!(first.client().post("/register", &registration("kept")).status, 200);
    let file = first.settings().data_dir().join("governance.db");
    let backup = file.with_extension("backup");
    let whole = format!("VACUUM INTO '{}'", backup.display());
    assert!(Command::new("sqlite3").arg(&file).arg(whole).status().unwrap().success());
    let told = first.client().post("/register", &registration("lost")).json();
    assert_eq!(first.stop().code(), Some(0));
    std::fs::rename(&backup, &file).unwrap();

    let restored = first.settings().start();
    let list = restored.client().get("/services").json();
    assert_eq!(list["count"], 1, "{list}");
    assert_ne!(list["registry_id"], told["registry_id"]);
    assert!(list["revision"].as_u64() > told["revision"].as_u64(), "{list} after {told}");
}

#[test]
fn memory_keeps_nothing_and_says_so() {
    let mut first = manager().set("STORAGE", "memory").start();
    let warning = first.wait_for_log(|line| {
        let text = line["message"].as_str().unwrap_or_default();
        line["level"] == "WARN" && text.contains("memory") && text.contains("keeps nothing")
    });
    assert!(warning.is_object());
    assert_eq!(first.client().post("/register", &registration("eir-1")).status, 200);
    let registry_id = first.client().get("/services").json()["registry_id"].clone();
    assert_eq!(first.stop().code(), Some(0));
    let second = first.settings().start();
    let list = second.client().get("/services").json();
    assert_eq!(list["count"], 0);
    assert_ne!(list["registry_id"], registry_id, "another memory is another registry");
}

#[test]
fn a_file_that_is_no_database_stops_it_and_is_left_as_it_is() {
    let builder = manager();
    std::fs::create_dir(builder.data_dir()).unwrap();
    let file = builder.data_dir().join("governance.db");
    let mut content = std::fs::File::create(&file).unwrap();
    let text = "This file is a letter to a friend, and no database.\n".repeat(200);
    content.write_all(text.as_bytes()).unwrap();
    let ended = builder.run_to_end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("governance.db"), "{ended:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "nothing is written over it");
}

#[test]
fn the_storage_that_was_chosen_once_is_used_again() {
    // Not the choice itself: that one would look for a PostgreSQL on this machine, and use it.
    let builder = manager().unset("STORAGE");
    std::fs::create_dir(builder.data_dir()).unwrap();
    std::fs::write(builder.data_dir().join("storage-choice"), "sqlite\n").unwrap();
    let manager = builder.start();
    let line = manager.wait_for_log(|line| line["message"] == "storage");
    assert_eq!(line["kind"], "sqlite");
    assert!(line["reason"].as_str().is_some_and(|reason| reason.contains("STORAGE")), "{line}");
}

#[test]
fn the_configuration_is_logged_and_how_much_is_logged_can_be_changed() {
    let manager = manager().set("DB_PASSWORD", "hunter2").set("STORAGE", "sqlite").start();
    let line = manager.wait_for_log(|line| line["message"] == "effective configuration");
    let chosen = line["chosen"].as_str().unwrap();
    assert!(chosen.contains("DB_PASSWORD=(hidden) (environment)"), "{chosen}");
    assert!(line["all"].as_str().unwrap().contains("HEALTH_CHECK_INTERVAL="), "{line}");
    let mut client = manager.client();
    let before = client.get("/admin/log-level").json();
    let is_debug = |line: &Value| line["level"] == "DEBUG" && line["message"] == "commit";
    client.post("/register", &registration("a"));
    let mut set = |level: &str| {
        let body = json!({ "level": level }).to_string();
        client.call("PUT", "/admin/log-level", Some(body.as_bytes())).unwrap()
    };
    let refused = set("loud");
    assert_eq!((refused.status, &refused.json()["error"]), (400, &json!("invalid_request")));
    let answer = set("Debug");
    assert_eq!((answer.status, answer.json()), (200, json!({"level": "debug"})), "{before}");
    let mut client = manager.client();
    client.post("/register", &registration("b"));
    manager.wait_for_log(is_debug);
    assert_eq!(client.get("/admin/log-level").json()["level"], "debug");
    assert!(!manager.log_text().contains("hunter2"));
}
