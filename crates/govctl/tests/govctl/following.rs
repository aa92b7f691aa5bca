//! `govctl watch`: a line per change, over broken connections.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStderr, ChildStdout};

use governance_testkit::proxy::Proxy;
use serde_json::{Value, json};

use crate::scene::{CLOSED, Scene, command, note};

/// A watch under way.
struct Watch {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
}

impl Watch {
    /// Starts it and waits until it has seen the state.
    fn start(words: &[&str], url: &str) -> Self {
        let mut child = command(words, &[("GOVERNANCE_URL", url)]).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let mut watch = Self { child, stdout, stderr };
        watch.wait_for_remark("at revision");
        watch
    }

    fn wait_for_remark(&mut self, part: &str) {
        let mut line = String::new();
        while !line.contains(part) {
            line.clear();
            assert!(self.stderr.read_line(&mut line).unwrap() > 0, "it ended before {part:?}");
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.stdout.read_line(&mut line).unwrap() > 0, "it ended");
        line
    }

    /// What else it prints until it ends, which it must do by itself.
    fn end(&mut self) -> crate::scene::Ran {
        let mut stdout = String::new();
        std::io::Read::read_to_string(&mut self.stdout, &mut stdout).unwrap();
        let mut stderr = String::new();
        std::io::Read::read_to_string(&mut self.stderr, &mut stderr).unwrap();
        crate::scene::Ran { code: self.child.wait().unwrap().code(), stdout, stderr }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn changes_are_lines_in_the_order_in_which_they_happen() {
    let mut scene = Scene::new(|builder| builder);
    let url = scene.url();
    let words = ["watch", "eir", "--count", "3"];
    let mut watch = Watch::start(&words, &url);
    let pods = ["p1", "p2"].map(|name| scene.fleet.pod(name).unwrap());
    scene.register(&pods[1], "other", &json!([]));
    scene.register(&pods[0], "eir", &json!([]));
    scene.wait_for_status("eir", "p1", "healthy");
    scene.run(&["unregister", "eir", "p1"]);
    let ran = watch.end();
    let mut transcript = String::new();
    note(&mut transcript, &words, &ran);
    let begin = (1_u64 << 32).to_string();
    for format in ["wide", "name"] {
        let words = ["watch", "eir", "--since", &begin, "--count", "3", "-o", format];
        let ran = crate::scene::govctl(&words, &[("GOVERNANCE_URL", &url)], "");
        note(&mut transcript, &words, &ran);
    }
    let words = ["watch", "-m", &format!("http://{CLOSED}")];
    note(&mut transcript, &words, &crate::scene::govctl(&words, &[], ""));
    let words = ["watch", "--count", "many"];
    note(&mut transcript, &words, &crate::scene::govctl(&words, &[], ""));
    crate::scene::compare("watch", &transcript);
}

#[test]
fn changes_as_json_and_from_a_revision_on() {
    let scene = Scene::new(|builder| builder);
    let pod = scene.fleet.pod("p1").unwrap();
    scene.register(&pod, "eir", &json!([]));
    scene.wait_for_status("eir", "p1", "healthy");
    let begin = 1_u64 << 32;
    let words = ["watch", "--since", &begin.to_string(), "--count", "2", "-o", "json"];
    let ran = crate::scene::govctl(&words, &[("GOVERNANCE_URL", &scene.url())], "");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let changes: Vec<Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<_> = changes.iter().map(|change| change["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["register", "update"]);
    assert_eq!(changes[1]["pod"]["status"], "healthy");
}

#[test]
fn a_broken_connection_loses_nothing_and_repeats_nothing() {
    const ROUNDS: usize = 5;
    let scene = Scene::new(|builder| builder);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let proxy = runtime.block_on(Proxy::start(scene.manager.address())).unwrap();
    let url = format!("http://{}", proxy.address);
    let mut watch = Watch::start(&["watch", "eir", "-o", "name"], &url);
    let pods: Vec<_> =
        (0..ROUNDS * 2).map(|index| scene.fleet.pod(&format!("p{index}")).unwrap()).collect();
    let mut seen = Vec::new();
    for pair in pods.chunks(2) {
        scene.register(&pair[0], "eir", &json!([]));
        proxy.cut();
        scene.register(&pair[1], "eir", &json!([]));
        scene.wait_for_status("eir", &pair[0].name, "healthy");
        scene.wait_for_status("eir", &pair[1].name, "healthy");
        seen.extend((0..4).map(|_| watch.line()));
    }
    let mut expected: Vec<_> = pods
        .iter()
        .flat_map(|pod| [format!("eir/{}\n", pod.name), format!("eir/{}\n", pod.name)])
        .collect();
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected, "each registered once and became healthy once");
}

#[test]
fn a_manager_that_starts_anew_is_found_again() {
    let mut scene = Scene::new(|builder| builder.set("STORAGE", "memory"));
    let url = scene.url();
    let pod = scene.fleet.pod("p1").unwrap();
    scene.register(&pod, "eir", &json!([]));
    scene.wait_for_status("eir", "p1", "healthy");
    let mut watch = Watch::start(&["watch", "-o", "name"], &url);
    let port = scene.manager.address().port().to_string();
    scene.manager.stop();
    // Memory keeps nothing: the pod that was known is gone, and that is told.
    let again = scene.manager.settings().clone().set("SERVER_PORT", port);
    scene.manager = again.start();
    assert_eq!(watch.line(), "eir/p1\n");
}
