//! Which source wins, and what the values become.

use std::path::PathBuf;
use std::time::Duration;

use super::super::*;
use super::*;

#[test]
fn without_any_configuration_the_documented_defaults_hold() {
    let config = config(&[], &[]);
    assert_eq!(config, Config::default());
    assert_eq!((config.server.host, config.server.port), (None, 8080));
    assert_eq!(config.server.request_timeout, Duration::from_secs(8));
    assert_eq!(config.server.shutdown_delay, Duration::ZERO);
    assert_eq!(config.storage.choice, StorageChoice::Auto);
    assert_eq!(config.storage.data_dir, PathBuf::from("./data"));
    assert!(!config.storage.any_db_setting);
    assert_eq!(config.storage.audit_retention, Duration::from_hours(720));
    assert_eq!(config.database.hosts, [("localhost".to_owned(), 5432)]);
    assert_eq!(config.database.name, "governance_db");
    assert_eq!(config.database.user, "postgres");
    assert_eq!(config.database.password.expose(), "postgres");
    assert_eq!(config.database.ssl_mode, SslMode::Disable);
    assert_eq!(config.database.ssl_root_cert, None);
    assert_eq!(config.engine, Engine { event_queue_size: 1000, max_pods_per_service: 10_000 });
    let (interval, timeout) = (Duration::from_secs(30), Duration::from_secs(5));
    assert_eq!(config.health, Health { interval, timeout, retry: 3, failure_limit: 120 });
    assert_eq!(config.notification.interval, Some(Duration::from_mins(1)));
    assert_eq!(config.notification.timeout, timeout);
    assert_eq!(config.notification.min_interval, Duration::from_millis(250));
    assert_eq!(config.notification.unhealthy_pods, UnhealthyPods::List);
    assert_eq!(config.targets.deny.len(), 5);
    assert_eq!((config.targets.allow, config.targets.ca_file), (vec![], None));
    assert_eq!(config.log, Log { level: "info".to_owned(), format: LogFormat::Text });
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn a_flag_wins_over_the_environment_which_wins_over_the_file() {
    let (_dir, path) = file("SERVER_PORT: 1\nHEALTH_CHECK_RETRY: 1\nEVENT_QUEUE_SIZE: 1\n");
    let env = [("CONFIG_FILE", path.as_str()), ("SERVER_PORT", "2"), ("HEALTH_CHECK_RETRY", "2")];
    let config = config(&["--server-port", "3"], &env);
    assert_eq!(config.server.port, 3);
    assert_eq!(config.health.retry, 2);
    assert_eq!(config.engine.event_queue_size, 1);
    assert_eq!(config.health.failure_limit, 120);
}

#[test]
fn an_empty_value_is_an_unset_one_at_every_level() {
    let (_dir, path) = file("SERVER_PORT: 9000\nDB_HOST:\nDB_NAME: ''\nLOG_FORMAT: ~\n");
    let env = [("CONFIG_FILE", path.as_str()), ("SERVER_PORT", ""), ("HEALTH_CHECK_RETRY", " ")];
    let config = config(&["--server-port="], &env);
    assert_eq!(config.server.port, 9000);
    assert_eq!(config.health.retry, 3);
    assert!(!config.storage.any_db_setting);
}

#[test]
fn zero_switches_off_what_may_be_switched_off() {
    let env = [("NOTIFICATION_INTERVAL", "0"), ("HEALTH_CHECK_FAILURE_LIMIT", "0")];
    let config = config(&[], &env);
    assert_eq!(config.notification.interval, None);
    assert_eq!(config.health.failure_limit, 0);
}

#[test]
fn port_zero_asks_for_a_free_port() {
    assert_eq!(config(&["--server-port", "0"], &[]).server.port, 0);
}

#[test]
fn an_address_that_the_platform_injects_as_a_port_is_ignored_with_a_warning() {
    let env = [("DB_PORT", "tcp://10.0.0.7:5432"), ("SERVER_PORT", "tcp://10.0.0.8:80")];
    let config = config(&[], &env);
    assert_eq!(config.database.hosts, [("localhost".to_owned(), 5432)]);
    assert_eq!(config.server.port, 8080);
    assert!(!config.storage.any_db_setting, "nobody chose a database");
    assert_eq!(config.warnings.len(), 2, "{:?}", config.warnings);
    assert!(config.warnings[1].starts_with("DB_PORT=\"tcp://10.0.0.7:5432\" (environment)"));
    assert!(invoke(&["--db-port", "tcp://10.0.0.7:5432"], &[]).is_err(), "nobody injects flags");
}

#[test]
fn an_injected_port_does_not_hide_the_one_in_the_file() {
    let (_dir, path) = file("DB_PORT: 6000");
    let config = config(&[], &[("CONFIG_FILE", &path), ("DB_PORT", "tcp://10.0.0.7:5432")]);
    assert_eq!(config.database.hosts, [("localhost".to_owned(), 6000)]);
}

#[test]
fn hosts_without_a_port_take_the_common_one() {
    let env = [("DB_HOST", "a,b:5433,[::1]"), ("DB_PORT", "6000")];
    let hosts = config(&[], &env).database.hosts;
    let expected = [("a", 6000), ("b", 5433), ("::1", 6000)];
    assert_eq!(hosts, expected.map(|(host, port)| (host.to_owned(), port)));
}

#[test]
fn any_of_the_six_database_settings_counts_as_choosing_a_database() {
    let six = [
        ("DB_HOST", "x"),
        ("DB_PORT", "5432"),
        ("DB_NAME", "x"),
        ("DB_USER", "x"),
        ("DB_PASSWORD", "x"),
        ("DB_SSL_MODE", "disable"),
    ];
    for pair in six {
        assert!(config(&[], &[pair]).storage.any_db_setting, "{pair:?}");
    }
    assert!(with_file("database: {port: 5432}").storage.any_db_setting);
    assert!(config(&["--db-user=x"], &[]).storage.any_db_setting);
    assert!(!config(&[], &[("PGSSLROOTCERT", &authority().1)]).storage.any_db_setting);
}

#[test]
fn the_root_certificate_is_found_under_both_names() {
    let ((_a_kept, a), (_b_kept, b)) = (authority(), authority());
    let env = [("PGSSLROOTCERT", b.as_str()), ("DB_SSL_MODE", "require")];
    assert_eq!(config(&[], &env).database.ssl_root_cert, Some(b.clone().into()));
    let env = [("PGSSLROOTCERT", b.as_str()), ("DB_SSL_ROOT_CERT", &a)];
    let config = config(&[], &env);
    assert_eq!(config.database.ssl_root_cert, Some(a.into()));
    assert!(config.warnings[0].contains("DB_SSL_MODE is disable"), "{:?}", config.warnings);
}

#[test]
fn the_password_can_come_from_a_file_without_its_line_end() {
    let (_dir, path) = file(" s3cret \r\n");
    let config = config(&[], &[("DB_PASSWORD_FILE", &path)]);
    assert_eq!(config.database.password.expose(), " s3cret ");
    assert!(config.storage.any_db_setting);
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[test]
fn of_two_passwords_the_one_set_at_the_higher_level_counts() {
    let (_dir, path) = file("from-file");
    let both = [("DB_PASSWORD", "direct"), ("DB_PASSWORD_FILE", path.as_str())];
    let text = faults(&both);
    assert!(text.contains("must not be set together with DB_PASSWORD"), "{text}");
    assert!(!text.contains("direct"), "{text}");

    let config_with = |yaml: &str, env: (&str, &str)| {
        let (_dir, config_path) = file(yaml);
        config(&[], &[("CONFIG_FILE", &config_path), env]).database.password
    };
    let higher = config_with("DB_PASSWORD: in-yaml", ("DB_PASSWORD_FILE", &path));
    assert_eq!(higher.expose(), "from-file");
    let lower = config_with(&format!("DB_PASSWORD_FILE: {path}"), ("DB_PASSWORD", "direct"));
    assert_eq!(lower.expose(), "direct");
}

#[test]
fn database_settings_that_another_store_ignores_are_warned_of() {
    let config = config(&[], &[("STORAGE", "sqlite"), ("DB_HOST", "db")]);
    assert!(config.warnings[0].starts_with("DB_* settings are given but not used"));
}

#[cfg(not(feature = "traces"))]
#[test]
fn settings_of_traces_have_no_effect_in_a_program_without_them_and_say_so() {
    let url = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317");
    let alien = ("OTEL_TRACES_SAMPLER", "jaeger_remote");
    let secret = ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=hunter2");
    let found = config(&[], &[url, alien, secret]);
    assert_eq!(found.traces, None);
    let [warning] = &found.warnings[..] else { panic!("{:?}", found.warnings) };
    for part in ["OTEL_EXPORTER_OTLP_ENDPOINT (environment)", "no effect", "--features traces"] {
        assert!(warning.contains(part), "{part} in {warning}");
    }
    let text = printed(&["--check-config"], &[url, alien, secret]);
    assert!(text.contains("OTEL_TRACES_SAMPLER: jaeger_remote"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    // Platforms set the others for every program: they alone are no reason to warn.
    assert!(config(&[], &[alien, secret]).warnings.is_empty());
}

#[cfg(feature = "traces")]
#[test]
fn traces_go_where_the_standard_names_say() {
    let url = |env: &[(&str, &str)]| config(&[], env).traces.map(|traces| traces.url);
    let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318/");
    let whole = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces.example.com/in?a=1");
    assert_eq!(url(&[]), None);
    assert_eq!(url(&[base]).as_deref(), Some("http://localhost:4318/v1/traces"));
    assert_eq!(url(&[base, whole]).as_deref(), Some(whole.1));
    assert_eq!(url(&[base, ("OTEL_SDK_DISABLED", "TRUE")]), None);
    let long = format!("http://localhost/{}", "x".repeat(490));
    assert!(faults(&[(base.0, &long)]).contains("/v1/traces"));
    let found = config(&["--otel-traces-sampler=traceidratio"], &[base]).traces.unwrap();
    assert_eq!(
        (found.sampler, found.service_name.as_str()),
        (Sampler::Ratio, "governance-manager")
    );
}
