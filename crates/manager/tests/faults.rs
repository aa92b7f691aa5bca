//! A disk that is full, a file that may not be written: registrations are refused with 503 and a
//! clear line in the log, reads go on, and all is well again without a restart.
//!
//! Which means a test has depends on the machine (a file system of its own needs rights), so it is
//! chosen when it runs; each has one that always works, and none is skipped.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use governance_testkit::http::Answer;
use governance_testkit::manager::{ManagerBuilder, ManagerProcess, PATIENCE};
use governance_testkit::wait::until;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::{Value, json};

/// The user that has no rights on most systems.
const NOBODY: u32 = 65534;

fn manager() -> ManagerBuilder {
    ManagerProcess::builder(env!("CARGO_BIN_EXE_governance-manager"))
        .set("REQUEST_TIMEOUT", "1s")
        // Checks of pods that do not exist would write, too.
        .set("HEALTH_CHECK_INTERVAL", "24h")
}

fn name(number: usize) -> String {
    format!("eir-{number}")
}

/// About three kilobytes, so that a small disk is full soon.
fn registration(number: usize) -> Value {
    let subscriptions: Vec<String> =
        (0..50).map(|other| format!("service-{other:0>50}-{number}")).collect();
    json!({
        "service_name": "eir", "pod_name": name(number),
        "providers": [{"protocol": "http", "ip": "127.0.0.1", "port": 1}],
        "health_check_url": "http://127.0.0.1:1/health",
        "notification_url": "http://127.0.0.1:1/notify",
        "subscriptions": subscriptions,
    })
}

fn register(manager: &ManagerProcess, number: usize) -> Answer {
    manager.client().post("/register", &registration(number))
}

fn shown(manager: &ManagerProcess) -> BTreeSet<String> {
    let list = manager.client().get("/services");
    assert_eq!(list.status, 200, "reads go on: {list:?}");
    let list = list.json();
    let pods = list["services"].as_array().unwrap();
    pods.iter().map(|pod| pod["pod_name"].as_str().unwrap().to_owned()).collect()
}

/// 503 with a code, when to come again, and nothing that only an operator may know.
#[track_caller]
fn assert_store_unavailable(answer: &Answer) {
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.json()["error"], "store_unavailable", "{answer:?}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    assert!(!answer.text().contains("governance.db"), "{answer:?}");
}

/// A line of the log that a person can act on.
#[track_caller]
fn assert_told(manager: &ManagerProcess, part: &str) {
    let line = manager.wait_for_log(|line| {
        line["level"] == "ERROR"
            && line["why"].as_str().is_some_and(|why| why.to_lowercase().contains(part))
    });
    assert!(line["message"].as_str().is_some_and(|text| text.contains("does not take writes")));
}

/// Registers more pods until one is not; returns those that were acknowledged, and one that was
/// not. `may_be_unknown`: of that one nobody may know.
#[track_caller]
fn fill(manager: &ManagerProcess, may_be_unknown: bool) -> (BTreeSet<String>, usize) {
    let mut acknowledged = BTreeSet::new();
    for number in 0..10_000 {
        let answer = register(manager, number);
        match answer.status {
            200 => drop(acknowledged.insert(name(number))),
            504 if may_be_unknown => return (acknowledged, number),
            _ => {
                assert_store_unavailable(&answer);
                return (acknowledged, number);
            }
        }
    }
    panic!("the disk does not become full");
}

#[track_caller]
fn assert_recovers(manager: &ManagerProcess, number: usize) {
    let mut last = None;
    let is_back = until(PATIENCE, || {
        let answer = register(manager, number);
        let is_back = answer.status == 200;
        last = Some(answer);
        is_back
    });
    assert!(is_back, "{last:?}\n{}", manager.log_text());
    assert_eq!(manager.client().get("/ready").json()["writes"], "available");
}

/// What the next process reads is what was acknowledged, and nothing else.
#[track_caller]
fn assert_stored(manager: ManagerProcess, acknowledged: &BTreeSet<String>) {
    let builder = manager.sigkill();
    let again = builder.start();
    assert_eq!(shown(&again), *acknowledged);
}

/// A disk of a few megabytes that can be made roomy again.
enum SmallDisk {
    /// A file system of its own, with a file on it that takes room away.
    Mounted { at: PathBuf, ballast: PathBuf },
    /// A limit on the size of the process's files, which it is told of as an error, not a signal.
    Limited { blocks: u32 },
}

impl SmallDisk {
    fn make(at: &Path) -> Self {
        fs::create_dir_all(at).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "governance-test"])
            .arg(at)
            .output();
        match mount {
            Ok(mount) if mount.status.success() => {
                let ballast = at.join("ballast");
                fs::write(&ballast, vec![0; 6 * 1024 * 1024]).unwrap();
                Self::Mounted { at: at.to_owned(), ballast }
            }
            _ => Self::Limited { blocks: 1_200 },
        }
    }

    fn prepare(&self, builder: ManagerBuilder) -> ManagerBuilder {
        match self {
            Self::Mounted { .. } => builder,
            Self::Limited { blocks } => {
                // The soft limit alone, so that it can be raised again from outside.
                let script = format!("trap '' XFSZ; ulimit -S -f {blocks}; exec \"$0\" \"$@\"");
                builder.wrapped_by(&["/bin/sh", "-c", &script])
            }
        }
    }

    fn make_room(&self, manager: &ManagerProcess) {
        match self {
            Self::Mounted { ballast, .. } => fs::remove_file(ballast).unwrap(),
            Self::Limited { .. } => {
                let pid = Pid::from_raw(i32::try_from(manager.pid()).unwrap());
                let maximum = getrlimit(Resource::Fsize).maximum;
                prlimit(pid, Resource::Fsize, Rlimit { current: maximum, maximum }).unwrap();
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Self::Mounted { at, .. } = self {
            // Nothing else can be done about it here.
            let _ = Command::new("umount").arg("--lazy").arg(at).status();
        }
    }
}

#[track_caller]
fn assert_survives_a_full_disk(disk: &SmallDisk, builder: &ManagerBuilder) {
    let manager = builder.start();
    // "No room" is a certain no; the error of a limit is like that of a broken disk.
    let may_be_unknown = matches!(disk, SmallDisk::Limited { .. });
    let (mut acknowledged, last) = fill(&manager, may_be_unknown);
    assert_told(&manager, "disk");
    assert_eq!(shown(&manager), acknowledged, "only what was acknowledged is shown");
    let ready = manager.client().get("/ready");
    assert_eq!((ready.status, &ready.json()["writes"]), (200, &json!("unavailable")));
    assert!(ready.json()["reason"].is_string(), "{ready:?}");
    let beat = manager.client().send("POST", "/heartbeat?service_name=eir&pod_name=eir-0");
    assert_eq!(beat.status, 200, "a heartbeat needs no disk");
    let same = register(&manager, 0);
    assert_eq!(same.status, 200, "what is registered already needs no disk: {same:?}");
    assert_store_unavailable(&register(&manager, last + 1));

    disk.make_room(&manager);
    assert_recovers(&manager, last + 2);
    acknowledged.insert(name(last + 2));
    let shown = shown(&manager);
    let unknown = if may_be_unknown { BTreeSet::from([name(last)]) } else { BTreeSet::new() };
    assert!(shown.is_superset(&acknowledged), "something acknowledged is gone: {shown:?}");
    let others: BTreeSet<_> = shown.difference(&acknowledged).cloned().collect();
    assert!(others.is_subset(&unknown), "what was refused came later: {others:?}");
    assert_stored(manager, &shown);
}

#[test]
fn a_full_disk_costs_writes_alone_and_only_while_it_is_full() {
    let builder = manager();
    let disk = SmallDisk::make(&builder.data_dir());
    let builder = disk.prepare(builder);
    assert_survives_a_full_disk(&disk, &builder);
}

#[test]
fn a_file_that_may_not_grow_costs_writes_alone_and_only_while_it_may_not() {
    let disk = SmallDisk::Limited { blocks: 1_200 };
    let builder = disk.prepare(manager());
    assert_survives_a_full_disk(&disk, &builder);
}

/// The manager as a user whose rights are those of the file's modes: root has all rights whatever
/// they are.
fn unprivileged(builder: ManagerBuilder) -> ManagerBuilder {
    if !rustix::process::geteuid().is_root() {
        return builder;
    }
    let directory = builder.directory();
    chown(directory, Some(NOBODY), Some(NOBODY)).unwrap();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    // Its own program may be where others may not look: a copy is not.
    let program = directory.join("governance-manager");
    fs::copy(env!("CARGO_BIN_EXE_governance-manager"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let user = NOBODY.to_string();
    let (user, group) = (format!("--reuid={user}"), format!("--regid={user}"));
    builder.with_program(program).wrapped_by(&["/usr/bin/setpriv", &user, &group, "--clear-groups"])
}

fn set_modes(data_dir: &Path, directory: u32, file: u32) {
    for entry in fs::read_dir(data_dir).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("governance.db"))
        {
            fs::set_permissions(path, fs::Permissions::from_mode(file)).unwrap();
        }
    }
    fs::set_permissions(data_dir, fs::Permissions::from_mode(directory)).unwrap();
}

#[test]
fn a_file_that_became_read_only_is_noticed_at_a_start_and_mended_without_another() {
    let builder = unprivileged(manager());
    let mut first = builder.start();
    assert_eq!(register(&first, 0).status, 200);
    assert_eq!(first.stop().code(), Some(0));
    set_modes(&builder.data_dir(), 0o555, 0o444);

    let second = builder.launch();
    let line = second.wait_for_log(|line| line["level"] == "ERROR");
    let why = line["why"].as_str().unwrap_or_default();
    assert!(why.contains("read") || why.contains("permission") || why.contains("writ"), "{line}");
    let refused = register(&second, 1);
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(second.client().get("/ready").status, 503);
    assert_eq!(second.client().get("/health").status, 200, "the process lives");

    set_modes(&builder.data_dir(), 0o755, 0o644);
    assert_recovers(&second, 2);
    let acknowledged = BTreeSet::from(["eir-0".to_owned(), "eir-2".to_owned()]);
    assert_eq!(shown(&second), acknowledged);
    assert_stored(second, &acknowledged);
}

#[test]
fn a_file_that_was_removed_under_a_running_manager_is_made_and_written_again() {
    let manager = manager().start();
    let mut acknowledged: BTreeSet<String> = (0..5)
        .map(|number| {
            assert_eq!(register(&manager, number).status, 200);
            name(number)
        })
        .collect();
    let registry_id = manager.client().get("/services").json()["registry_id"].clone();
    fs::remove_file(manager.settings().data_dir().join("governance.db")).unwrap();
    assert_eq!(register(&manager, 5).status, 200, "{}", manager.log_text());
    acknowledged.insert(name(5));
    assert_eq!(shown(&manager), acknowledged);
    manager.wait_for_log(|line| {
        let text = line["message"].as_str().unwrap_or_default();
        line["level"] == "ERROR" && text.contains("earlier state")
    });
    let now = manager.client().get("/services").json()["registry_id"].clone();
    assert_ne!(now, registry_id, "what was told of the earlier file is compared with nothing");
    assert_stored(manager, &acknowledged);
}

#[test]
fn a_data_directory_that_may_not_be_written_is_one_clear_message() {
    let builder = unprivileged(manager());
    fs::create_dir(builder.data_dir()).unwrap();
    fs::set_permissions(builder.data_dir(), fs::Permissions::from_mode(0o555)).unwrap();
    let ended = builder.run_to_end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let errors: Vec<&str> =
        ended.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{}", ended.stderr);
    assert!(errors[0].contains(&builder.data_dir().display().to_string()), "{}", ended.stderr);
    assert!(ended.stderr.contains("hint: "), "{}", ended.stderr);
}

#[test]
fn without_descriptors_new_connections_wait_and_old_ones_are_served() {
    let manager = manager().start();
    let mut old = manager.client();
    assert_eq!(old.get("/services").status, 200);
    // Fewer than it could count on when it started.
    let pid = i32::try_from(manager.pid()).ok().and_then(Pid::from_raw);
    let few = Rlimit { current: Some(64), maximum: Some(64) };
    prlimit(pid, Resource::Nofile, few).unwrap();
    let mut others = Vec::new();
    for _ in 0..100 {
        others.push(governance_testkit::http::Wire::open(manager.address()).unwrap());
    }
    manager.wait_for_log(|line| {
        line["level"] == "WARN"
            && line["message"].as_str().is_some_and(|text| text.contains("cannot accept"))
    });
    drop(others);
    let is_back = until(Duration::from_secs(20), || {
        manager.client().call("GET", "/services", None).is_ok_and(|answer| answer.status == 200)
    });
    assert!(is_back, "{}", manager.log_text());
    assert_eq!(register(&manager, 0).status, 200, "the store has its descriptors still");
}
