//! `HAProxy`, with the configuration of `deploy/haproxy`: only addresses, paths and sizes differ.

use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd as _;
use std::process::Command;

use governance_testkit::wait::until;
use rustix::io::{FdFlags, fcntl_setfd};

use crate::stage::{Program, Stage, assert_served_by, delivered, find, has, play};

const NEEDED: [&str; 3] = ["haproxy", "jq", "socat"];

/// An `HAProxy` that may be started more than once on the same port.
struct Proxy {
    listener: TcpListener,
    program: Option<Program>,
    folder: std::path::PathBuf,
}

impl Proxy {
    /// With so many servers.
    fn new(stage: &Stage, servers: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // It is given the socket, so that nobody else can take the port.
        fcntl_setfd(&listener, FdFlags::empty()).unwrap();
        let folder = stage.folder();
        let mut text = fs::read_to_string(delivered("haproxy/haproxy.cfg")).unwrap();
        for (from, to) in [
            ("/run/haproxy/", format!("{}/", folder.display())),
            ("user haproxy group haproxy ", String::new()),
            ("bind :8085", format!("bind fd@{}", listener.as_raw_fd())),
            ("server-template pod 100 ", format!("server-template pod {servers} ")),
        ] {
            assert!(text.contains(from), "no {from} in the configuration");
            // In comments, too, which does no harm.
            text = text.replace(from, &to);
        }
        fs::write(folder.join("haproxy.cfg"), text).unwrap();
        let mut proxy = Self { listener, program: None, folder };
        proxy.start();
        proxy
    }

    fn start(&mut self) {
        let mut command = Command::new(find("haproxy").unwrap());
        command.args(["-db", "-f", "haproxy.cfg"]).current_dir(&self.folder);
        let log = self.folder.join("haproxy.log");
        let program = self.program.insert(Program::start(&mut command, log));
        let socket = self.folder.join("governance.sock");
        let is_up = until(governance_testkit::manager::PATIENCE, || {
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        });
        assert!(is_up, "{}", program.log());
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    fn follow(&self, stage: &Stage) -> Program {
        stage.follow(&["haproxy-servers", "eir", &self.socket()], &[])
    }

    fn socket(&self) -> String {
        self.folder.join("governance.sock").display().to_string()
    }
}

#[test]
fn haproxy_takes_what_is_delivered() {
    if !has(&NEEDED) {
        return;
    }
    let stage = Stage::new();
    let text = fs::read_to_string(delivered("haproxy/haproxy.cfg")).unwrap();
    let text = text.replace("user haproxy group haproxy ", "");
    let file = stage.folder().join("checked.cfg");
    fs::write(&file, text).unwrap();
    let checked = Command::new(find("haproxy").unwrap()).args(["-c", "-f"]).arg(file).output();
    let checked = checked.unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && !said.contains("WARNING"), "{said}");
}

#[test]
fn haproxy_follows_the_registry() {
    if !has(&NEEDED) {
        return;
    }
    let mut stage = Stage::new();
    let proxy = Proxy::new(&stage, 100);
    let mut follower = proxy.follow(&stage);
    play(&mut stage, proxy.address(), &mut follower);
}

#[test]
fn more_pods_than_servers_are_complained_of_and_wait_for_a_free_one() {
    if !has(&NEEDED) {
        return;
    }
    let stage = Stage::new();
    let proxy = Proxy::new(&stage, 2);
    let pods = ["p1", "p2"].map(|name| stage.pod(name));
    let follower = proxy.follow(&stage);
    assert_served_by(proxy.address(), &["p1", "p2"], &[&follower]);
    let _p3 = stage.pod("p3");
    follower.wait_for_log("TOO FEW SERVERS: 1 of the pods get no traffic");
    assert_served_by(proxy.address(), &["p1", "p2"], &[&follower]);
    stage.unregister(&pods[0]);
    assert_served_by(proxy.address(), &["p2", "p3"], &[&follower]);
    assert_eq!(follower.log().matches("TOO FEW").count(), 1, "{}", follower.log());
}

#[test]
fn an_haproxy_that_starts_anew_is_told_again() {
    if !has(&NEEDED) {
        return;
    }
    let stage = Stage::new();
    let mut proxy = Proxy::new(&stage, 100);
    let _pods = ["p1", "p2"].map(|name| stage.pod(name));
    let follower = proxy.follow(&stage);
    assert_served_by(proxy.address(), &["p1", "p2"], &[&follower]);
    proxy.program = None;
    follower.wait_for_log("FAILED: haproxy-servers");
    proxy.start();
    assert_served_by(proxy.address(), &["p1", "p2"], &[&follower]);
}

#[test]
fn addresses_are_reached_however_they_are_written() {
    if !has(&NEEDED) {
        return;
    }
    let stage = Stage::new();
    let proxy = Proxy::new(&stage, 100);
    let by_name = stage.fleet.pod("by-name").unwrap();
    stage.register(&by_name, "localhost");
    let mut expected = vec!["by-name"];
    let by_number = stage.fleet.pod_at("by-number", IpAddr::V6(Ipv6Addr::LOCALHOST));
    if let Ok(pod) = &by_number {
        stage.register(pod, "0:0:0:0:0:0:0:1");
        expected.push("by-number");
    }
    let unknown = stage.fleet.pod("unknown").unwrap();
    stage.register(&unknown, "no-such-name.invalid");
    let follower = proxy.follow(&stage);
    follower.wait_for_log("NO ADDRESS for no-such-name.invalid");
    assert_served_by(proxy.address(), &expected, &[&follower]);
    let complaints = follower.log().matches("FAILED").count();
    assert_eq!(complaints, 0, "{}", follower.log());
}
