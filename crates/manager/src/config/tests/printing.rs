//! What is printed instead of a start.

use super::super::*;
use super::*;

#[test]
fn help_and_version_are_printed_even_if_settings_are_wrong() {
    let wrong = [("SERVER_PORT", "x")];
    let version = format!("governance-manager {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(printed(&["--version"], &wrong), version);
    assert!(printed(&["--help"], &wrong).contains("--server-port <VALUE>"));
    assert!(printed(&["--print-config-reference"], &wrong).starts_with("# Configuration\n"));
    assert!(invoke(&["--check-config"], &wrong).is_err());
}

#[test]
fn check_config_shows_each_value_with_its_origin_and_hides_secrets() {
    let (_dir, path) = file("server:\n  host: '::1'\nfoo: 1\n");
    let env = [
        ("CONFIG_FILE", path.as_str()),
        ("DB_PASSWORD", "hunter2"),
        ("HEALTH_CHECK_INTERVAL", "90s"),
    ];
    let text = printed(&["--check-config", "--log-level", "DEBUG"], &env);
    let words: Vec<_> =
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let expected = [
        format!("# warning: {path} line 3: unknown setting \"foo\" is ignored"),
        format!("SERVER_HOST: \"::1\" # {path} line 2"),
        "# SERVER_PORT: 8080 # default".to_owned(),
        "# DB_PASSWORD: (hidden) # environment".to_owned(),
        "HEALTH_CHECK_INTERVAL: 1m30s # environment".to_owned(),
        "# TARGET_CA_FILE: \"\" # default".to_owned(),
        "LOG_LEVEL: debug # flag".to_owned(),
        format!("# CONFIG_FILE: {path} # environment"),
    ];
    for line in expected {
        assert!(words.contains(&line), "{line} in {text}");
    }
    assert!(!text.contains("hunter2"));
    for card in table::settings().map(setting::Described::card) {
        assert!(text.contains(&format!("{}: ", card.name)), "{}", card.name);
    }
}

#[test]
fn the_log_gets_every_setting_and_no_secret() {
    let (_dir, path) = file("server:\n  host: '::1'\n");
    let env = [("CONFIG_FILE", path.as_str()), ("DB_PASSWORD", "hunter2")];
    let Ok(Invocation::Run(_, text)) = invoke(&["--log-level", "DEBUG"], &env) else {
        panic!("it starts")
    };
    for card in table::settings().map(setting::Described::card) {
        assert!(text.all.contains(&format!("{}=", card.name)), "{} in {}", card.name, text.all);
    }
    let file = format!("SERVER_HOST=::1 ({path} line 2)");
    for part in [&*file, "DB_PASSWORD=(hidden) (environment)", "LOG_LEVEL=debug (flag)"] {
        assert!(text.chosen.contains(part), "{part} in {}", text.chosen);
    }
    assert!(!text.chosen.contains("SERVER_PORT"), "a default");
    for text in [text.all, text.chosen] {
        assert!(!text.contains("hunter2") && !text.contains('\n'), "{text}");
    }
}

#[test]
fn check_config_names_the_file_a_password_came_from() {
    let (_dir, path) = file("hunter2");
    let text = printed(&["--check-config"], &[("DB_PASSWORD_FILE", &path)]);
    let line = text.lines().find(|line| line.starts_with("# DB_PASSWORD:")).unwrap();
    assert!(line.ends_with("# from DB_PASSWORD_FILE"), "{line}");
}

#[test]
fn what_check_config_prints_can_be_used_as_the_file() {
    let (_authority_kept, authority_path) = authority();
    let env = [
        ("SERVER_HOST", "::1"),
        ("DB_HOST", "a,[::1]:5433"),
        ("DB_NAME", "null"),
        ("DB_USER", "it's # \"me\": yes"),
        ("DATA_DIR", "/var/lib/governance"),
        ("NOTIFICATION_INTERVAL", "0"),
        ("LOG_LEVEL", "info,hyper=warn"),
        ("TARGET_DENY", "none"),
        ("STORAGE", "postgres"),
        ("DB_SSL_MODE", "verify-full"),
        ("DB_SSL_ROOT_CERT", &authority_path),
    ];
    let direct = config(&[], &env);
    assert_eq!(with_file(&printed(&["--check-config"], &env)), direct);
    let nothing_set = with_file(&printed(&["--check-config"], &[]));
    assert_eq!(nothing_set, Config::default(), "above all: nobody chose a database");
}
