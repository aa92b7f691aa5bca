//! The stage: a manager, pods that say who they are, followers, and requests through a proxy.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use governance_testkit::fleet::{FakePod, Fleet};
use governance_testkit::http::Client;
use governance_testkit::manager::{ManagerBuilder, ManagerProcess, PATIENCE};
use governance_testkit::wait::until;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// Nothing listens there: below what the system gives out, and no service of this machine's.
const CLOSED: &str = "http://127.0.0.1:9";
/// So many requests see every pod of a small service more than once.
const LOOK: usize = 12;

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A file below `deploy/`.
pub(crate) fn delivered(name: &str) -> PathBuf {
    root().join("deploy").join(name)
}

/// Whether these programs are here.
pub(crate) fn has(programs: &[&str]) -> bool {
    let missing: Vec<_> = programs.iter().filter(|name| find(name).is_none()).collect();
    if missing.is_empty() {
        return true;
    }
    // Envoy comes from a package index that may be away; the others are Debian's.
    let is_excused = missing.iter().all(|name| **name == "envoy");
    let is_ci = std::env::var_os("CI").is_some();
    assert!(!is_ci || is_excused, "CI has no {missing:?}: `cargo xtask check`");
    eprintln!("SKIPPED: {missing:?} not installed; `cargo xtask check --only tools` does it");
    false
}

/// Where a program is: in `PATH`, in Debian's folder for servers, or where the gate puts it.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    found.filter(|_| name != "envoy").or_else(|| {
        let versions = fs::read_dir(root().join("target/tools/envoy/lib")).ok()?;
        versions
            .filter_map(|version| {
                Some(version.ok()?.path().join("site-packages/envoy/_bin").join(name))
            })
            .find(|file| file.is_file())
    })
}

/// A process with its log in a file. Dropped it is killed.
pub(crate) struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    pub(crate) fn start(command: &mut Command, log: PathBuf) -> Self {
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { child, log }
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    #[track_caller]
    pub(crate) fn wait_for_log(&self, part: &str) {
        let is_there = until(PATIENCE, || self.log().contains(part));
        assert!(is_there, "{part:?} is not in {}", self.log());
    }

    /// Asks it to end; its exit code.
    #[track_caller]
    pub(crate) fn stop(&mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let mut status = None;
        until(PATIENCE, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap_or_else(|| panic!("it does not end: {}", self.log())).code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A follower ends what it started, if it is asked and not killed.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            until(PATIENCE, || !matches!(self.child.try_wait(), Ok(None)));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a manager is started with: it checks often.
pub(crate) fn manager() -> ManagerBuilder {
    ManagerProcess::built()
        .set("HEALTH_CHECK_INTERVAL", "200ms")
        .set("HEALTH_CHECK_RETRY", "0")
        // However slow the machine is, nobody is removed for being unhealthy.
        .set("HEALTH_CHECK_FAILURE_LIMIT", "0")
}

/// A manager and pods of the service eir.
pub(crate) struct Stage {
    pub(crate) manager: ManagerProcess,
    pub(crate) fleet: Fleet,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::on(&manager())
    }

    pub(crate) fn on(manager: &ManagerBuilder) -> Self {
        Self { manager: manager.start(), fleet: Fleet::new().unwrap() }
    }

    /// A place for files.
    pub(crate) fn folder(&self) -> PathBuf {
        self.manager.settings().directory().to_path_buf()
    }

    /// A pod that is registered.
    #[track_caller]
    pub(crate) fn pod(&self, name: &str) -> FakePod {
        let pod = self.fleet.pod(name).unwrap();
        self.register(&pod, "127.0.0.1");
        pod
    }

    /// Registers a pod under a way to write its address.
    #[track_caller]
    pub(crate) fn register(&self, pod: &FakePod, ip: &str) {
        let port = pod.address.port();
        let providers = json!([
            {"protocol": "diameter", "ip": "127.0.0.1", "port": 1},
            {"protocol": "http", "ip": ip, "port": port, "provider_id": "main"},
        ]);
        self.register_as(pod, &providers);
    }

    #[track_caller]
    pub(crate) fn register_as(&self, pod: &FakePod, providers: &Value) {
        let document = json!({"service_name": "eir", "pod_name": pod.name, "providers": providers,
            "health_check_url": pod.health_url(), "notification_url": pod.notification_url()});
        let answer = self.manager.client().post("/register", &document);
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    #[track_caller]
    pub(crate) fn unregister(&self, pod: &FakePod) {
        let target = format!("/unregister?service_name=eir&pod_name={}", pod.name);
        let answer = self.manager.client().send("DELETE", &target);
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Starts the manager again where it was, on what it stored.
    pub(crate) fn start_again(&mut self) {
        let port = self.manager.address().port().to_string();
        self.manager = self.manager.settings().clone().set("SERVER_PORT", port).start();
    }

    /// Follows the service; the first manager that it knows is not there.
    pub(crate) fn follow(&self, command: &[&str], settings: &[(&str, &str)]) -> Program {
        let programs = [
            Path::new(env!("CARGO_BIN_EXE_govctl")).parent().unwrap().to_path_buf(),
            delivered("haproxy"),
            delivered("envoy"),
        ];
        let path = std::env::var_os("PATH").unwrap();
        let path = std::env::join_paths(programs.into_iter().chain(std::env::split_paths(&path)));
        let log = self.folder().join(format!("{}.log", Path::new(command[0]).display()));
        Program::start(
            Command::new(delivered("follow/governance-follow"))
                .args(["eir", "http"])
                .args(command)
                .env_clear()
                .env("PATH", path.unwrap())
                .env("GOVERNANCE_URL", format!("{CLOSED},http://{}", self.manager.address()))
                .env("RESYNC_SECONDS", "1")
                .envs(settings.iter().copied())
                .current_dir(self.folder()),
            log,
        )
    }
}

/// Who answers requests through a proxy, and how often; what fails counts under its fault.
pub(crate) fn served(proxy: SocketAddr, requests: usize) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for _ in 0..requests {
        let who = match Client::new(proxy).call("GET", "/who", None) {
            Ok(answer) if answer.status == 200 => answer.text().to_owned(),
            Ok(answer) => format!("status {}", answer.status),
            Err(fault) => format!("fault {fault}"),
        };
        *found.entry(who).or_default() += 1;
    }
    found
}

/// Waits until these and no others answer, and makes sure that it stays so.
#[track_caller]
pub(crate) fn assert_served_by(proxy: SocketAddr, pods: &[&str], followers: &[&Program]) {
    let is_so = |found: &BTreeMap<String, usize>| found.keys().eq(pods);
    let mut last = BTreeMap::new();
    let came = until(PATIENCE, || {
        last = served(proxy, LOOK);
        is_so(&last)
    });
    let logs = || followers.iter().map(|follower| follower.log()).collect::<String>();
    assert!(came, "{last:?} in place of {pods:?}\n{}", logs());
    last = served(proxy, 10 * LOOK);
    assert!(is_so(&last), "{last:?} in place of {pods:?}\n{}", logs());
}

/// What happens to a service in front of which there is a proxy; `pods` are p1, p2 and p3.
#[track_caller]
pub(crate) fn play(stage: &mut Stage, proxy: SocketAddr, follower: &mut Program) {
    use governance_testkit::fleet::Health;

    let [p1, p2] = ["p1", "p2"].map(|name| stage.pod(name));
    assert_served_by(proxy, &["p1", "p2"], &[follower]);
    let p3 = stage.pod("p3");
    assert_served_by(proxy, &["p1", "p2", "p3"], &[follower]);
    // It still takes requests, but says that it is not well.
    p1.set_health(Health::Answer(500));
    assert_served_by(proxy, &["p2", "p3"], &[follower]);
    p1.set_health(Health::Answer(200));
    assert_served_by(proxy, &["p1", "p2", "p3"], &[follower]);
    p2.die();
    follower.wait_for_log("-p2=");
    assert_served_by(proxy, &["p1", "p3"], &[follower]);
    stage.unregister(&p1);
    assert_served_by(proxy, &["p3"], &[follower]);
    p2.rise().unwrap();
    assert_served_by(proxy, &["p2", "p3"], &[follower]);
    // Nobody is well any more: better those than none.
    p2.set_health(Health::Answer(500));
    p3.set_health(Health::Answer(500));
    follower.wait_for_log("NO HEALTHY POD");
    let found = served(proxy, LOOK);
    assert!(!found.is_empty() && found.keys().all(|who| who.starts_with('p')), "{found:?}");
    p2.set_health(Health::Answer(200));
    p3.set_health(Health::Answer(200));
    assert_served_by(proxy, &["p2", "p3"], &[follower]);
    // No manager: all stays as it is. It comes back: what changes then counts.
    stage.manager.stop();
    follower.wait_for_log("NO ANSWER from the managers");
    assert_served_by(proxy, &["p2", "p3"], &[follower]);
    // Who dies meanwhile is found by the proxy itself.
    p3.die();
    assert_served_by(proxy, &["p2"], &[follower]);
    p3.rise().unwrap();
    stage.start_again();
    let p4 = stage.pod("p4");
    assert_served_by(proxy, &["p2", "p3", "p4"], &[follower]);
    stage.unregister(&p4);
    assert_served_by(proxy, &["p2", "p3"], &[follower]);
    assert_eq!(follower.stop(), Some(0), "{}", follower.log());
    assert_served_by(proxy, &["p2", "p3"], &[follower]);
}
