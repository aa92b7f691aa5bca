//! The texts that the operator reads when the configuration is wrong.

use super::super::*;
use super::*;

#[test]
fn all_faults_are_named_at_once_with_what_is_allowed() {
    let env =
        [("SERVER_PORT", "99999"), ("HEALTH_CHECK_INTERVAL", "abc"), ("DB_SSL_MODE", "maybe")];
    assert_eq!(
        faults(&env),
        "\
error: 3 settings are wrong
  SERVER_PORT=\"99999\" (environment): must be a port, 0 to 65535
  DB_SSL_MODE=\"maybe\" (environment): must be disable, require, verify-ca or verify-full
  HEALTH_CHECK_INTERVAL=\"abc\" (environment): must be a duration from 100ms to 24h: not a number with a unit
hint: --help names every setting, its default and what it allows"
    );
}

/// Setting, value, and the end of the fault's text.
const FAULT_TEXTS: &[(&str, &str, &str)] = &[
    ("SERVER_PORT", "-1", "must be a port, 0 to 65535"),
    ("SERVER_HOST", "http://x", "must be an IP address or a host name"),
    ("REQUEST_TIMEOUT", "9ms", "must be a duration from 10ms to 10m"),
    ("REQUEST_TIMEOUT", "30", "10ms to 10m: the unit is missing, did you mean 30s?"),
    ("HEALTH_CHECK_INTERVAL", "1d", "unknown unit \"d\", units are ns, us, ms, s, m, h"),
    ("HEALTH_CHECK_INTERVAL", "0", "must be a duration from 100ms to 24h"),
    ("HEALTH_CHECK_INTERVAL", "-1s", "must be a duration from 100ms to 24h: negative"),
    ("NOTIFICATION_INTERVAL", "1ms", "must be 0 (off) or a duration from 100ms to 24h"),
    ("HEALTH_CHECK_RETRY", "11", "must be a number of retries, 0 to 10"),
    ("HEALTH_CHECK_FAILURE_LIMIT", "x", "a number of failed checks, 0 (never) to 1000000"),
    ("EVENT_QUEUE_SIZE", "0", "must be a number of commands, 1 to 1000000"),
    ("STORAGE", "disk", "must be auto, postgres, sqlite or memory"),
    ("UNHEALTHY_PODS", "x", "must be list or hide"),
    ("LOG_FORMAT", "xml", "must be text or json"),
    ("LOG_LEVEL", "inof", "hyper=warn: \"inof\" is not a level"),
    ("DB_PORT", "0", "must be a port, 1 to 65535"),
    ("DB_HOST", "a:x", "with commas: the port of \"a:x\" is not one, 1 to 65535"),
    ("DB_NAME", "a\u{7}b", "at most 63 bytes: it holds a control character"),
    ("TARGET_DENY", "10/8", "or none: \"10/8\" is not a network"),
    ("DATA_DIR", "a\nb", "must be a path: it holds a control character"),
];

#[test]
fn each_kind_of_fault_has_a_text_that_says_what_to_do() {
    for (name, value, problem) in FAULT_TEXTS {
        let text = faults(&[(name, value)]);
        let line = text.lines().nth(1).unwrap();
        assert_eq!(text.lines().next(), Some("error: 1 setting is wrong"));
        let start = format!("  {name}={value:?} (environment): must be ");
        assert!(line.starts_with(&start) && line.ends_with(problem), "{line}");
    }
}

#[test]
fn a_ca_file_that_cannot_be_read_is_a_fault_beside_the_others() {
    let text = faults(&[
        ("HEALTH_CHECK_INTERVAL", "x"),
        ("TARGET_CA_FILE", "/nowhere/ca.pem"),
        ("DB_SSL_MODE", "verify-full"),
        ("DB_SSL_ROOT_CERT", "/"),
        ("SERVER_HOST", "300.1.1.1"),
    ]);
    assert!(text.starts_with("error: 4 settings are wrong"), "{text}");
    assert!(text.contains("SERVER_HOST=\"300.1.1.1\""), "{text}");
    for start in ["TARGET_CA_FILE=\"/nowhere/ca.pem\"", "DB_SSL_ROOT_CERT=\"/\""] {
        assert!(text.contains(&format!("{start} (environment): cannot be read: ")), "{text}");
    }
}

#[test]
fn a_ca_file_without_a_certificate_is_a_fault() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (text, expected) in [
        ("", "holds no certificate of use"),
        (broken, "holds no certificate of use"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n", "is no good PEM file"),
    ] {
        file.as_file_mut().set_len(0).unwrap();
        std::fs::write(&path, text).unwrap();
        let told = faults(&[("TARGET_CA_FILE", &path)]);
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn a_password_file_that_cannot_be_used_is_a_fault() {
    let text = faults(&[("DB_PASSWORD_FILE", "/nowhere/pw")]);
    assert!(text.contains("DB_PASSWORD_FILE=\"/nowhere/pw\" (environment): cannot be read"));
    for (contents, problem) in [("\n", "is empty"), ("a\nb\n", "does not hold a password")] {
        let (_dir, path) = file(contents);
        let text = faults(&[("DB_PASSWORD_FILE", &path)]);
        assert!(text.contains(problem), "{text}");
    }
}

#[test]
fn no_fault_shows_a_secret() {
    let text = faults(&[("DB_PASSWORD", "hun\u{1}ter2")]);
    assert!(text.contains("DB_PASSWORD=(hidden) (environment): must be a text:"), "{text}");
    assert!(!text.contains("ter2"), "{text}");
    let text = faults(&[("DB_HOST", "postgres://me:hunter2@db/x")]);
    assert!(text.contains("it is a URL") && !text.contains("hunter2"), "{text}");
    let text = file_fault("DB_PASSWORD: {x: hunter2}");
    assert!(text.contains("DB_PASSWORD (FILE line 1)") && !text.contains("hunter2"), "{text}");
}

#[cfg(unix)]
#[test]
fn a_value_that_is_not_utf8_is_a_fault_only_under_our_names() {
    use std::os::unix::ffi::OsStringExt;
    let broken = OsString::from_vec(b"a\xff".to_vec());
    let invoke = |name: &str, args: Vec<OsString>| {
        let args = [OsString::from("governance-manager")].into_iter().chain(args);
        invocation(args, [(OsString::from(name), broken.clone())].into_iter())
    };
    let text = invoke("DB_USER", vec![]).unwrap_err().to_string();
    assert!(text.contains("DB_USER=\"a\u{fffd}\" (environment): must be UTF-8 text"), "{text}");
    assert!(invoke("SOMETHING_ELSE", vec![]).is_ok());
    let flag = invoke("X", vec!["--db-user".into(), broken.clone()]).unwrap_err().to_string();
    assert!(flag.contains("(flag): must be UTF-8 text"), "{flag}");
}

#[test]
fn an_unknown_flag_is_a_usage_error_with_a_hint() {
    let error = invoke(&["--server-prot", "1"], &[]).unwrap_err();
    assert!(matches!(error, ConfigError::Usage(_)));
    let text = error.to_string();
    assert!(text.starts_with("error: unexpected argument '--server-prot'"), "{text}");
    assert!(text.contains("--server-port"), "{text}");
    assert!(matches!(invoke(&["stray"], &[]), Err(ConfigError::Usage(_))));
}
