//! Names and addresses that the manager is led to, with the real program, a name server of the
//! test and, where a packet would give it away, somebody who listens: in a network of its own,
//! which has the addresses that must never be connected to.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod fleet_common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fleet_common::{await_status, manager, own_network, register, registration, shown};
use governance_testkit::fleet::{FakePod, Fleet, Health};
use governance_testkit::http::Client;
use governance_testkit::manager::PATIENCE;
use governance_testkit::names::{NameServer, Saying};
use governance_testkit::wait::until;
use serde_json::{Value, json};

/// Where clouds give their secrets away.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// The same address in the notations of the world; none of them may be registered.
const NOTATIONS: [&str; 14] = [
    "169.254.169.254",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[0:0:0:0:0:ffff:a9fe:a9fe]",
    "[::169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b::169.254.169.254]",
    "[2002:a9fe:a9fe::1]",
    "2852039166",
    "0xa9fea9fe",
    "0xa9.0xfe.0xa9.0xfe",
    "0251.0376.0251.0376",
    "0251.254.169.254",
    "169.254.43518",
];

/// Somebody who listens and counts who comes.
struct Trap(Arc<AtomicUsize>);

impl Trap {
    fn at(address: IpAddr) -> Self {
        let listener = TcpListener::bind((address, 80)).unwrap();
        let count: Arc<AtomicUsize> = Arc::default();
        let trapped = Arc::clone(&count);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for _ in listener.incoming() {
                trapped.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self(count)
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

fn server() -> NameServer {
    NameServer::start(([127, 0, 0, 1], 53).into()).unwrap()
}

/// Registers a pod whose checks and notifications go to that host, on port 80.
fn join(client: &mut Client, pod: &FakePod, host: &str) {
    let mut body = registration("eir", pod, 80, &["eir"]);
    body["health_check_url"] = json!(format!("http://{host}/health"));
    body["notification_url"] = json!(format!("http://{host}/notify"));
    register(client, &body);
}

fn last_error(shown: &Value) -> String {
    shown["deliveries"][0]["last_error"].as_str().unwrap_or_default().to_owned()
}

fn last_reason(shown: &Value) -> String {
    shown["health"]["last_failure"]["reason"].as_str().unwrap_or_default().to_owned()
}

const SCRIPT: &str = "ip addr add 169.254.169.254/32 dev lo && ip addr add fe80::53/128 dev lo \
                      && echo 'nameserver 127.0.0.1' > \"$1\"";

#[test]
fn what_may_not_be_connected_to_is_not_whatever_leads_there() {
    own_network(SCRIPT, "in_a_network_with_secrets");
}

#[test]
#[ignore = "run by the test above, in a network of its own"]
fn in_a_network_with_secrets() {
    let (trap, names, fleet) = (Trap::at(METADATA.into()), server(), Fleet::new().unwrap());
    let manager = manager().start();
    let mut client = manager.client();
    let pod = fleet.pod("literal").unwrap();
    for host in NOTATIONS {
        for field in ["health_check_url", "notification_url"] {
            let mut body = registration("eir", &pod, 80, &[]);
            body[field] = json!(format!("http://{host}/latest/meta-data"));
            let answer = client.post("/register", &body);
            assert_eq!(answer.status, 400, "{host}: {answer:?}");
            assert_eq!(answer.json()["errors"][0]["pointer"], format!("/{field}"), "{answer:?}");
        }
    }

    let mapped = Ipv6Addr::from([0, 0, 0, 0, 0, 0xffff, 0xa9fe, 0xa9fe]);
    let nat64 = Ipv6Addr::from([0x64, 0xff9b, 0, 0, 0, 0, 0xa9fe, 0xa9fe]);
    let by_name: [(&str, IpAddr); 3] =
        [("plain", METADATA.into()), ("mapped", mapped.into()), ("nat64", nat64.into())];
    let mut pods = Vec::new();
    for (name, address) in by_name {
        let host = format!("{name}.test");
        names.set(&host, Saying::Addresses(vec![address], 1));
        pods.push(fleet.pod(name).unwrap());
        join(&mut client, pods.last().unwrap(), &host);
    }
    for (name, address) in by_name {
        let shown = await_status(&mut client, "eir", name, "unhealthy");
        assert_eq!(last_reason(&shown), format!("address {address} is denied by TARGET_DENY"));
    }

    let redirects = fleet.pod("redirects").unwrap();
    redirects.set_health(Health::Redirect("http://169.254.169.254/latest".to_owned()));
    register(&mut client, &registration("eir", &redirects, 80, &["eir"]));
    let shown = await_status(&mut client, "eir", "redirects", "unhealthy");
    assert_eq!(last_reason(&shown), "HTTP 302");

    rebind(&mut client, &names, &fleet, &trap);
    let is_refused = until(PATIENCE, || {
        let error = last_error(&fleet_common::shown(&mut client, "eir", "plain"));
        error == "address 169.254.169.254 is denied by TARGET_DENY"
    });
    assert!(is_refused, "{}", manager.log_text());
    assert_eq!(trap.count(), 0, "{}", manager.log_text());
    check_trap(&trap, &fleet);
}

/// A name that is harmless first and then is not.
fn rebind(client: &mut Client, names: &NameServer, fleet: &Fleet, trap: &Trap) {
    names.set("rebinds.test", Saying::Addresses(vec![Ipv4Addr::LOCALHOST.into()], 0));
    let pod = fleet.pod("rebinds").unwrap();
    let mut body = registration("eir", &pod, 80, &[]);
    let port = pod.address.port();
    body["health_check_url"] = json!(format!("http://rebinds.test:{port}/health"));
    register(client, &body);
    await_status(client, "eir", "rebinds", "healthy");
    names.set("rebinds.test", Saying::Addresses(vec![METADATA.into()], 0));
    let shown = await_status(client, "eir", "rebinds", "unhealthy");
    assert!(last_reason(&shown).contains("denied"), "{shown}");
    assert_eq!(trap.count(), 0);
}

/// That nobody came says something only if somebody could have.
fn check_trap(trap: &Trap, fleet: &Fleet) {
    let permitted = manager().set("TARGET_ALLOW", "169.254.169.254/32").start();
    join(&mut permitted.client(), &fleet.pod("permitted").unwrap(), "plain.test");
    assert!(until(PATIENCE, || trap.count() > 0), "{}", permitted.log_text());
}

#[test]
fn nobody_becomes_unhealthy_when_name_servers_say_nothing_or_nonsense() {
    own_network(SCRIPT, "in_a_network_with_a_name_server");
}

/// Everything that a name server can say without saying anything.
const NOTHING: [Saying; 7] = [
    Saying::Silence,
    Saying::Failure,
    Saying::Garbage,
    Saying::Loop,
    Saying::OtherQuestion,
    Saying::Truncated,
    Saying::Overlong,
];

/// A pod that is known by a name.
struct Named {
    pod: FakePod,
    host: String,
}

impl Named {
    fn join(client: &mut Client, names: &NameServer, fleet: &Fleet, name: &str, ttl: u32) -> Self {
        let (pod, host) = (fleet.pod(name).unwrap(), format!("{name}.test"));
        names.set(&host, Self::here(ttl));
        let mut body = registration("eir", &pod, 80, &[]);
        body["health_check_url"] = json!(format!("http://{host}:{}/health", pod.address.port()));
        register(client, &body);
        await_status(client, "eir", name, "healthy");
        Self { pod, host }
    }

    fn here(ttl: u32) -> Saying {
        Saying::Addresses(vec![Ipv4Addr::LOCALHOST.into()], ttl)
    }

    #[track_caller]
    fn await_checks(&self, count: usize) {
        let seen = self.pod.checks();
        assert!(until(PATIENCE, || self.pod.checks() >= seen + count), "{}", self.host);
    }
}

#[test]
#[ignore = "run by the test above, in a network of its own"]
fn in_a_network_with_a_name_server() {
    let (names, fleet) = (server(), Fleet::new().unwrap());
    let manager = manager().set("HEALTH_CHECK_TIMEOUT", "500ms").start();
    let mut client = manager.client();
    let lasting = Named::join(&mut client, &names, &fleet, "lasting", 3600);
    let brief: Vec<Named> = (0..NOTHING.len())
        .map(|number| Named::join(&mut client, &names, &fleet, &format!("brief-{number}"), 1))
        .collect();
    // A record of a second is asked for again and again, one of an hour only once.
    assert!(until(PATIENCE, || brief.iter().all(|named| names.count(&named.host) > 2)));
    lasting.await_checks(5);
    assert_eq!(names.count(&lasting.host), 1);

    let asked: Vec<usize> = brief.iter().map(|named| names.count(&named.host)).collect();
    for (named, saying) in brief.iter().zip(NOTHING) {
        names.set(&named.host, saying);
    }
    // Once their records are out of date the server is asked, in vain.
    for (named, asked) in brief.iter().zip(asked) {
        assert!(until(PATIENCE, || names.count(&named.host) > asked + 2), "{}", named.host);
    }
    let seen: Vec<usize> = brief.iter().map(|named| named.pod.checks()).collect();
    lasting.await_checks(10);
    for ((named, seen), saying) in brief.iter().zip(seen).zip(NOTHING) {
        let shown = shown(&mut client, "eir", &named.pod.name);
        assert_eq!(shown["status"], "healthy", "{saying:?}: {shown}");
        assert!(named.pod.checks() <= seen + 1, "{saying:?}: nobody knows where it is");
    }
    manager.wait_for_log(|line| line["kind"] == "resolver" && line["level"] == "ERROR");

    for named in &brief {
        names.set(&named.host, Named::here(1));
    }
    for named in &brief {
        named.await_checks(2);
    }
    names.set(&brief[0].host, Saying::NoSuchName);
    let shown = await_status(&mut client, "eir", "brief-0", "unhealthy");
    assert_eq!(last_reason(&shown), "name brief-0.test does not resolve");
    names.set(&brief[0].host, Named::here(1));
    await_status(&mut client, "eir", "brief-0", "healthy");
}
