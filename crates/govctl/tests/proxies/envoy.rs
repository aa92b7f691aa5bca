//! Envoy, with the configuration of `deploy/envoy`: only addresses and paths differ.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use governance_testkit::http::Client;
use governance_testkit::manager::PATIENCE;
use governance_testkit::wait::until;

use crate::stage::{Program, Stage, delivered, find, has, play};

/// The only file that the follower touches.
pub(crate) fn endpoints(stage: &Stage) -> PathBuf {
    let folder = stage.folder().join("endpoints");
    fs::create_dir_all(&folder).unwrap();
    folder.join("eir.json")
}

fn configuration(stage: &Stage) -> PathBuf {
    let mut text = fs::read_to_string(delivered("envoy/envoy.yaml")).unwrap();
    let folder = stage.folder();
    for (from, to) in [
        ("/var/lib/envoy/", format!("{}/", folder.display())),
        ("address: 0.0.0.0, port_value: 8085", "address: 127.0.0.1, port_value: 0".to_owned()),
        ("port_value: 9901", "port_value: 0".to_owned()),
    ] {
        assert!(text.contains(from), "no {from} in the configuration");
        text = text.replace(from, &to);
    }
    let file = folder.join("envoy.yaml");
    fs::write(&file, text).unwrap();
    file
}

/// Starts it; where it listens.
fn start(stage: &Stage) -> (Program, SocketAddr) {
    let folder = stage.folder();
    let admin = folder.join("admin");
    let mut command = Command::new(find("envoy").unwrap());
    command
        .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning", "-c"])
        .arg(configuration(stage))
        .arg("--admin-address-path")
        .arg(&admin)
        .current_dir(&folder);
    let program = Program::start(&mut command, folder.join("envoy.log"));
    let mut listens = None;
    until(PATIENCE, || {
        let text = fs::read_to_string(&admin).unwrap_or_default();
        let answer = text
            .parse()
            .ok()
            .and_then(|admin| Client::new(admin).call("GET", "/listeners?format=json", None).ok());
        let listeners = answer.filter(|answer| answer.status == 200).map(|answer| answer.json());
        listens = listeners.and_then(|found| {
            let at = found.pointer("/listener_statuses/0/local_address/socket_address")?;
            format!("{}:{}", at["address"].as_str()?, at["port_value"]).parse().ok()
        });
        listens.is_some()
    });
    let listens = listens.unwrap_or_else(|| panic!("it does not listen: {}", program.log()));
    (program, listens)
}

/// The file that Envoy needs at its first start.
#[track_caller]
fn prepare(stage: &Stage) -> PathBuf {
    let file = endpoints(stage);
    let status = Command::new("sh")
        .args(["-c", "echo '[]' | \"$0\" eir \"$1\""])
        .arg(delivered("envoy/envoy-endpoints"))
        .arg(&file)
        .status();
    assert!(status.unwrap().success());
    file
}

#[test]
fn envoy_follows_the_registry() {
    if !has(&["envoy", "jq"]) {
        return;
    }
    let mut stage = Stage::new();
    let file = prepare(&stage);
    let (program, address) = start(&stage);
    let file = file.display().to_string();
    let mut follower = stage.follow(&["envoy-endpoints", "eir", &file], &[]);
    play(&mut stage, address, &mut follower);
    assert!(!program.log().contains("rejected"), "{}", program.log());
}
