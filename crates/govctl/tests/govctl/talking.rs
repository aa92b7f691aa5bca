//! Every command that asks and answers, in its main and its failing case.

use governance_testkit::fleet::{FakePod, Reception};
use governance_testkit::wait::until;
use serde_json::{Value, json};

use crate::scene::{
    CLOSED, Grave, PATIENCE, Ran, Scene, command, compare, document, govctl, kill, note,
};

/// Two pods of eir that are well, one of http-gw that subscribes to eir and is dead.
fn three_pods() -> (Scene, (Vec<FakePod>, Grave)) {
    let scene = Scene::new(|builder| builder);
    let pods: Vec<_> =
        ["eir-pod-1", "eir-pod-2", "gw-1"].map(|name| scene.fleet.pod(name).unwrap()).into();
    scene.register(&pods[0], "eir", &json!([]));
    scene.wait_for_status("eir", "eir-pod-1", "healthy");
    scene.register(&pods[1], "eir", &json!([]));
    scene.wait_for_status("eir", "eir-pod-2", "healthy");
    let grave = kill(&pods[2]);
    let wishes =
        json!(["eir", {"service_name": "hss", "provider_ids": ["a"], "healthy_only": true}]);
    scene.register(&pods[2], "http-gw", &wishes);
    scene.wait_for_status("http-gw", "gw-1", "unhealthy");
    (scene, (pods, grave))
}

#[test]
fn lists_are_tables_names_or_json() {
    let (mut scene, _pods) = three_pods();
    for words in [
        &["services"][..],
        &["services", "-o", "wide"],
        &["services", "-o", "json"],
        &["services", "-o", "name"],
        &["services", "--manager", "http://127.0.0.1:9"],
    ] {
        scene.run(words);
    }
    scene.compare("services");
    let (mut scene, _pods) = three_pods();
    for words in [
        &["pods"][..],
        &["pods", "eir", "-o", "wide"],
        &["pods", "--status", "unhealthy"],
        &["pods", "eir", "--status", "unhealthy"],
        &["pods", "http-gw", "-o", "json"],
        &["pods", "-o", "name", "--protocol", "http"],
        &["pods", "hss"],
        &["pods", "--status", "sick"],
        &["pods", "--protocol", "SMTP!"],
    ] {
        scene.run(words);
    }
    scene.compare("pods");
}

#[test]
fn one_pod_is_shown_with_all_that_is_known() {
    let (mut scene, _pods) = three_pods();
    for words in [
        &["pod", "eir", "eir-pod-1"][..],
        &["pod", "eir", "eir-pod-1", "-o", "name"],
        &["pod", "http-gw", "gw-1", "-o", "wide"],
        &["pod", "eir", "eir-pod-3"],
        &["pod", "eir"],
    ] {
        scene.run(words);
    }
    scene.compare("pod");
    let ran = scene.run(&["pod", "http-gw", "gw-1", "-o", "json"]);
    let shown: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(shown["health"]["changes"][0]["to"], "unhealthy", "{shown}");
    assert!(shown["deliveries"].is_array(), "{shown}");
}

#[test]
fn a_file_registers_one_pod_or_many_and_refusals_are_named() {
    let mut scene = Scene::new(|builder| builder);
    let pods = ["p1", "p2"].map(|name| scene.fleet.pod(name).unwrap());
    let documents = pods.each_ref().map(|pod| document(pod, "eir", &json!([])));
    let file = scene.manager.settings().directory().join("one.json");
    std::fs::write(&file, documents[0].to_string()).unwrap();
    // The path of the file differs from run to run.
    let url = scene.url();
    let ran = govctl(&["register", "-f", file.to_str().unwrap()], &[("GOVERNANCE_URL", &url)], "");
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let bad = json!({"service_name": "eir", "pod_name": "p3", "providers": []});
    let both = json!([documents[1], bad]).to_string();
    scene.run_with(&["register", "-f", "-"], &both);
    scene.run_with(&["register", "-f", "-", "-o", "json"], &both);
    scene.run_with(&["register", "-f", "-", "-o", "name"], &both);
    scene.run_with(&["register", "-f", "-"], "{");
    scene.run(&["register", "-f", "/nowhere/at/all"]);
    scene.run(&["register"]);
    scene.compare("register");
}

#[test]
fn a_pod_is_unregistered_unless_it_registered_anew() {
    let (mut scene, _pods) = three_pods();
    for words in [
        &["unregister", "eir", "eir-pod-1", "--registration-id", "7"][..],
        &["unregister", "eir", "eir-pod-1"],
        &["unregister", "eir", "eir-pod-1"],
        &["unregister", "eir", "eir-pod-2", "-o", "json"],
        &["unregister", "http-gw", "gw-1", "-o", "name"],
    ] {
        scene.run(words);
    }
    scene.compare("unregister");
}

#[test]
fn the_audit_is_filtered_and_read_page_by_page() {
    let (mut scene, _pods) = three_pods();
    let written = until(PATIENCE, || {
        let logs = scene.manager.client().get("/audit/logs?limit=100").json();
        logs["logs"].as_array().map(Vec::len) == Some(7)
    });
    assert!(written, "three registrations, three checks, one start");
    for words in [
        &["audit", "--service", "eir", "--action", "register"][..],
        &["audit", "--service", "http-gw", "--pod", "gw-1", "--since", "1h"],
        &["audit", "--action", "register", "--limit", "1", "-o", "wide"],
        &["audit", "--service", "eir", "--pod", "eir-pod-1", "-o", "json"],
        &["audit", "--result", "failure"],
        &["audit", "--action", "dance"],
        &["audit", "--since", "yesterday"],
        &["audit", "--limit", "0"],
    ] {
        scene.run(words);
    }
    scene.compare("audit");
    let ids = |words: &[&str]| {
        let ran = govctl(words, &[("GOVERNANCE_URL", &scene.url())], "");
        ran.stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let all = ids(&["audit", "-o", "name"]);
    assert_eq!(all.len(), 7, "{all:?}");
    let until_long_ago = ids(&["audit", "-o", "name", "--until", "1d"]);
    assert_eq!(until_long_ago, Vec::<String>::new());
}

#[test]
fn subscribers_are_listed_with_what_they_know() {
    let mut scene = Scene::new(|builder| builder);
    let pods = ["good", "deaf", "eir-pod-1"].map(|name| scene.fleet.pod(name).unwrap());
    pods[1].set_reception(Reception::Answer(503));
    scene.register(&pods[0], "gw", &json!(["eir"]));
    scene.register(&pods[1], "gw", &json!([{"service_name": "eir", "healthy_only": true}]));
    scene.register(&pods[2], "eir", &json!([]));
    scene.wait_for_status("eir", "eir-pod-1", "healthy");
    wait_until_told(&scene, "good", |one| one["behind_since"].is_null());
    wait_until_told(&scene, "deaf", |one| one["attempts"].as_u64() >= Some(2));
    for words in [
        &["subscribers", "eir"][..],
        &["subscribers", "eir", "-o", "name"],
        &["subscribers", "eir", "-o", "wide"],
        &["subscribers", "eir", "-o", "json"],
        &["subscribers", "nobody-wants-this"],
        &["subscribers"],
    ] {
        scene.run(words);
    }
    scene.compare("subscribers");
}

fn wait_until_told(scene: &Scene, pod: &str, is_wanted: impl Fn(&Value) -> bool) {
    let mut last = Value::Null;
    let came = until(PATIENCE, || {
        last = scene.manager.client().get("/services/eir/subscribers").json();
        let all = last["subscribers"].as_array().unwrap();
        all.iter().any(|one| one["pod_name"] == pod && is_wanted(one))
    });
    assert!(came, "{last:#}");
}

#[test]
fn status_shows_each_manager_that_was_named() {
    let (mut scene, _pods) = three_pods();
    let both = format!("{},http://{CLOSED}", scene.url());
    scene.run(&["status"]);
    scene.run(&["status", "-o", "wide"]);
    scene.run(&["status", "-o", "json"]);
    scene.run(&["status", "-o", "name"]);
    scene.run(&["status", "-m", &both]);
    scene.run(&["status", "-m", "localhost"]);
    scene.compare("status");
}

#[test]
fn an_export_is_imported_where_it_is_missing() {
    let (mut scene, _pods) = three_pods();
    let exported = scene.run(&["export"]);
    scene.run(&["unregister", "eir", "eir-pod-2"]);
    scene.run_with(&["import", "-"], &exported.stdout);
    scene.run_with(&["import", "-", "--replace", "-o", "json"], &exported.stdout);
    let bad = format!("{}{{\"service_name\":\"x\"}}\n", exported.stdout);
    scene.run_with(&["import", "-"], &bad);
    scene.run_with(&["import", "-", "--replace", "-o", "name"], &exported.stdout);
    scene.run(&["export", "-o", "name"]);
    scene.run_with(&["import", "-"], "");
    scene.run(&["export", "-m", "http://127.0.0.1:9"]);
    scene.compare("exchange");
    let again = scene.run(&["export"]);
    assert_eq!(again.stdout, exported.stdout);
}

#[test]
fn a_configuration_is_checked_by_the_managers_own_program() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("manager.yaml"), "server_port: 8081\n").unwrap();
    let words = ["check-config", "--file", "manager.yaml"];
    let environment = [("HEALTH_CHECK_INTERVAL", "7s"), ("STORAGE", "memory")];
    let output = command(&words, &environment).current_dir(&folder).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    // The defaults are the manager's own matter.
    let is_set = |line: &&str| !line.is_empty() && !line.starts_with('#');
    let stdout = text(&output.stdout);
    let stdout = stdout.lines().filter(is_set).flat_map(|line| [line, "\n"]).collect();
    let good = Ran { code: output.status.code(), stdout, stderr: text(&output.stderr) };
    let mut transcript = String::new();
    note(&mut transcript, &words, &good);
    let words = ["check-config"];
    let bad = govctl(&words, &[("HEALTH_CHECK_INTERVAL", "soon")], "");
    note(&mut transcript, &words, &bad);
    let words = ["check-config", "--program", "/nowhere/governance-manager"];
    note(&mut transcript, &words, &govctl(&words, &[], ""));
    // Copied to where no manager is.
    let alone = folder.path().join("govctl");
    std::fs::copy(env!("CARGO_BIN_EXE_govctl"), &alone).unwrap();
    let output = std::process::Command::new(&alone)
        .arg("check-config")
        .env_clear()
        .env("PATH", folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("neither beside govctl nor in a folder of PATH"), "{text}");
    assert!(text.contains("hint: "), "{text}");
    compare("check-config", &transcript);
}

#[test]
fn wrong_usage_is_told_with_a_hint() {
    let mut transcript = String::new();
    for words in [
        &["frobnicate"][..],
        &[],
        &["pods", "--frob"],
        &["services", "-o", "xml"],
        &["services", "-m", "ftp://localhost"],
        &["services", "-m", ","],
    ] {
        note(&mut transcript, words, &govctl(words, &[], ""));
    }
    compare("usage", &transcript);
}

#[test]
fn colours_come_only_where_they_are_wanted() {
    let (scene, _pods) = three_pods();
    let url = scene.url();
    let run = |words: &[&str]| govctl(words, &[("GOVERNANCE_URL", &url)], "").stdout;
    assert!(!run(&["pods"]).contains('\u{1b}'), "a pipe is no terminal");
    assert!(run(&["pods", "--color", "always"]).contains("\u{1b}[32mhealthy\u{1b}[0m"));
    assert!(!run(&["pods", "--color", "never"]).contains('\u{1b}'));
    for (more, is_coloured) in [
        (&[][..], true),
        (&[("NO_COLOR", "")], true),
        (&[("NO_COLOR", "1")], false),
        (&[("TERM", "dumb")], false),
    ] {
        let environment = [&[("GOVERNANCE_URL", url.as_str())][..], more].concat();
        let shown = on_a_terminal(&["pods"], &environment);
        assert!(shown.contains("eir-pod-1"), "{shown:?}");
        assert_eq!(shown.contains("\u{1b}[32mhealthy"), is_coloured, "{more:?}: {shown:?}");
    }
}

/// What a command prints on a terminal.
fn on_a_terminal(words: &[&str], environment: &[(&str, &str)]) -> String {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let open = std::fs::File::options().read(true).write(true).open(name.to_str().unwrap());
    let mut child = command(words, environment).stdout(open.unwrap()).spawn().unwrap();
    let (mut shown, mut piece) = (Vec::new(), [0; 4096]);
    // It fails when nobody has the other end open any more.
    let mut master = std::fs::File::from(master);
    while let Ok(read @ 1..) = std::io::Read::read(&mut master, &mut piece) {
        shown.extend_from_slice(&piece[..read]);
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
    String::from_utf8(shown).unwrap()
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let (scene, _pods) = three_pods();
    let url = scene.url();
    let mut child = command(&["export"], &[("GOVERNANCE_URL", &url)]).spawn().unwrap();
    // Closed before anything is printed.
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}
