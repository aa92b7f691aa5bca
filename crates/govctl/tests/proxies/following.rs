//! `governance-follow` and the files it leaves, whatever the proxy.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use governance_testkit::manager::PATIENCE;
use governance_testkit::postgres::{Cluster, PASSWORD, USER};
use governance_testkit::wait::until;
use serde_json::{Value, json};

use crate::envoy::endpoints;
use crate::stage::{Stage, delivered, has, manager};

/// Pods that come in one burst.
const BURST: usize = 150;

/// A command that writes down each list that it is given, while there is no file `hold`.
fn recorder(stage: &Stage) -> String {
    const SCRIPT: &str = "#!/bin/sh\n\
        turns=0\n\
        while [ -e hold ] && [ $turns -lt 600 ]; do sleep 0.05; turns=$((turns + 1)); done\n\
        { cat; echo; } >>lists\n";
    let file = stage.folder().join("recorder");
    fs::write(&file, SCRIPT).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    file.display().to_string()
}

fn lists(stage: &Stage) -> Vec<Value> {
    let text = fs::read_to_string(stage.folder().join("lists")).unwrap_or_default();
    let whole = text.lines().filter(|line| !line.is_empty());
    whole.map_while(|line| serde_json::from_str(line).ok()).collect()
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|pod| pod["pod"].as_str().unwrap()).collect()
}

/// What is written down in the end.
#[track_caller]
fn await_list(stage: &Stage, expected: &[&str]) -> Value {
    let mut last = Value::Null;
    let came = until(PATIENCE, || {
        last = lists(stage).pop().unwrap_or_default();
        last.is_array() && {
            let mut found = names(&last);
            found.sort_unstable();
            found == expected
        }
    });
    assert!(came, "{last} in place of {expected:?}");
    last
}

#[test]
fn shellcheck_finds_no_fault() {
    if !has(&["shellcheck"]) {
        return;
    }
    let scripts = ["follow/governance-follow", "haproxy/haproxy-servers", "envoy/envoy-endpoints"];
    let output = Command::new("shellcheck").args(scripts.map(delivered)).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_burst_costs_few_rounds() {
    if !has(&["jq"]) {
        return;
    }
    let stage = Stage::new();
    let _first = stage.pod("first");
    let follower = stage.follow(&[&recorder(&stage)], &[("RESYNC_SECONDS", "3600")]);
    await_list(&stage, &["first"]);
    // Whoever is told takes his time, and everything happens meanwhile.
    let hold = stage.folder().join("hold");
    fs::write(&hold, "").unwrap();
    let pods: Vec<_> = (0..BURST).map(|number| stage.pod(&format!("p{number:03}"))).collect();
    let mut client = stage.manager.client();
    let are_healthy = until(PATIENCE, || {
        let count = &client.get("/services/eir?status=healthy").json()["count"];
        *count == BURST + 1
    });
    assert!(are_healthy, "{}", stage.manager.log_text());
    fs::remove_file(&hold).unwrap();
    let mut expected: Vec<&str> = pods.iter().map(|pod| pod.name.as_str()).collect();
    expected.insert(0, "first");
    await_list(&stage, &expected);
    let rounds = lists(&stage).len();
    assert!(rounds < 10, "{rounds} rounds for {} changes: {}", BURST * 2, follower.log());
}

#[test]
fn the_file_is_whole_at_any_time() {
    if !has(&["jq"]) {
        return;
    }
    let stage = Stage::new();
    let file = endpoints(&stage);
    let _first = stage.pod("first");
    let command = ["envoy-endpoints", "eir", &file.display().to_string()];
    let follower = stage.follow(&command, &[]);
    let is_there = until(PATIENCE, || file.is_file());
    assert!(is_there, "{}", follower.log());
    let is_over = AtomicBool::new(false);
    let read = || -> usize {
        let whole: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        whole.pointer("/resources/0/endpoints/0/lb_endpoints").unwrap().as_array().unwrap().len()
    };
    std::thread::scope(|scope| {
        let looks = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                assert!(read() > 0);
            }
        });
        let pods: Vec<_> = (0..BURST).map(|number| stage.pod(&format!("p{number:03}"))).collect();
        let came = until(PATIENCE, || read() == pods.len() + 1);
        is_over.store(true, Ordering::Relaxed);
        looks.join().unwrap();
        assert!(came, "{} pods: {}", read(), follower.log());
    });
}

#[test]
fn names_and_addresses_from_old_rows_do_no_harm() {
    if !has(&["jq", "sqlite3"]) {
        return;
    }
    let mut stage = Stage::new();
    let good = stage.pod("good");
    stage.manager.stop();
    let url = good.health_url();
    let row = |name: &str, ip: &str| {
        let quoted = |text: &str| text.replace('\'', "''");
        let providers = json!([{"protocol": "http", "ip": ip, "port": good.address.port()}]);
        format!(
            "INSERT INTO services VALUES ('eir:{0}', 'eir', '{0}', '{1}', '{url}', '{url}', '[]', \
             'healthy', '2025-01-01 00:00:00', '2025-01-01 00:00:00', '2025-01-01 00:00:00');",
            quoted(name),
            quoted(&providers.to_string())
        )
    };
    let rows = [
        row("$(touch owned)\"; touch owned #\n\u{1b}[31m", "127.0.0.2"),
        row("-rf", "127.0.0.3; set server eir/pod1 state maint"),
        row("a\\b'c", "127.0.0.4\n"),
        row("number", "999.0.0.1"),
        row("option", "--help"),
        row("*", "`touch owned`"),
    ];
    let mut shell = Command::new("sqlite3")
        .arg(stage.manager.settings().data_dir().join("governance.db"))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    shell.stdin.take().unwrap().write_all(rows.concat().as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success());
    stage.start_again();
    let follower = stage.follow(&[&recorder(&stage)], &[]);
    // The first has an odd name and a good address: it is used, and shown without what is odd.
    let masked = "??touch?owned????touch?owned?????31m";
    let list = await_list(&stage, &[masked, "good"]);
    follower.wait_for_log("NO USABLE ADDRESS, left out:");
    follower.wait_for_log("NO ADDRESS for 999.0.0.1");
    assert!(list.as_array().unwrap().iter().any(|pod| pod["ip"] == "127.0.0.2"), "{list}");
    assert!(!stage.folder().join("owned").exists());
    let log = follower.log();
    assert!(log.chars().all(|c| c == '\n' || !c.is_control()), "{log:?}");
}

#[test]
fn one_endpoint_of_each_pod_is_used_and_it_can_be_named() {
    if !has(&["jq"]) {
        return;
    }
    let stage = Stage::new();
    let pod = stage.fleet.pod("p1").unwrap();
    let providers = json!([
        {"protocol": "diameter", "ip": "127.0.0.1", "port": 1, "provider_id": "b"},
        {"protocol": "http", "ip": "127.0.0.1", "port": 2, "provider_id": "a"},
        {"protocol": "http", "ip": "127.0.0.1", "port": 3, "provider_id": "b"},
    ]);
    stage.register_as(&pod, &providers);
    let first = stage.follow(&[&recorder(&stage)], &[]);
    assert_eq!(await_list(&stage, &["p1"])[0]["port"], 2);
    drop(first);
    fs::remove_file(stage.folder().join("lists")).unwrap();
    let _second = stage.follow(&[&recorder(&stage)], &[("PROVIDER_ID", "b")]);
    assert_eq!(await_list(&stage, &["p1"])[0]["port"], 3);
}

#[test]
fn a_standby_that_takes_over_is_followed() {
    if !has(&["jq"]) {
        return;
    }
    let cluster = Cluster::start().unwrap();
    let builder = || {
        manager()
            .set("STORAGE", "postgres")
            .set("DB_HOST", cluster.address().ip().to_string())
            .set("DB_PORT", cluster.address().port().to_string())
            .set("DB_USER", USER)
            .set("DB_PASSWORD", PASSWORD)
    };
    let mut stage = Stage::on(&builder());
    let _p1 = stage.pod("p1");
    let standby = builder().launch();
    let managers = format!("http://{},http://{}", stage.manager.address(), standby.address());
    let follower = stage.follow(&[&recorder(&stage)], &[("GOVERNANCE_URL", &managers)]);
    await_list(&stage, &["p1"]);
    let folder = stage.manager.settings().clone();
    std::mem::replace(&mut stage.manager, standby).sigkill();
    stage.manager.wait_until_ready();
    let _p2 = stage.pod("p2");
    let file = folder.directory().join("lists");
    let is_told = until(PATIENCE, || {
        let text = fs::read_to_string(&file).unwrap();
        let last = text.lines().rfind(|line| !line.is_empty()).unwrap_or_default();
        last.contains("\"p1\"") && last.contains("\"p2\"")
    });
    assert!(is_told, "{}", follower.log());
}

#[test]
fn what_is_no_list_replaces_nothing() {
    if !has(&["jq"]) {
        return;
    }
    let stage = Stage::new();
    let file = endpoints(&stage);
    for (input, is_taken) in [
        (r#"[{"pod":"p","ip":"127.0.0.1","port":1}]"#, true),
        ("", false),
        ("[{", false),
        ("\"text\"", false),
    ] {
        let before = fs::read(&file).ok();
        let mut child = Command::new(delivered("envoy/envoy-endpoints"))
            .arg("eir")
            .arg(&file)
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        assert_eq!(child.wait().unwrap().success(), is_taken, "{input}");
        assert!(is_taken || fs::read(&file).ok() == before, "{input} was written");
    }
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o444, 0o444, "others can read it");
}
