//! Names, against a name server on loopback that answers as it is told.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::connect::resolver::{NameFault, Resolve, SystemResolver};

/// What the server says about a name.
#[derive(Clone, Copy)]
enum Saying {
    Address(Ipv4Addr, u32),
    NoSuchName,
    Failure,
    Nothing,
}

struct NameServer {
    asked: Arc<Mutex<HashMap<String, usize>>>,
    port: u16,
    _task: JoinSet<()>,
}

impl NameServer {
    async fn start(sayings: &[(&str, Saying)]) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let asked: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
        let sayings: HashMap<String, Saying> =
            sayings.iter().map(|(name, saying)| ((*name).to_owned(), *saying)).collect();
        let mut task = JoinSet::new();
        let counts = Arc::clone(&asked);
        task.spawn(async move {
            let mut buffer = [0_u8; 2048];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                let (name, is_ipv4, end) = question(&buffer[..length]);
                if is_ipv4 {
                    *counts.lock().unwrap().entry(name.clone()).or_default() += 1;
                }
                let saying = sayings.get(&name).copied().unwrap_or(Saying::NoSuchName);
                if let Some(answer) = answer(&buffer[..end], saying, is_ipv4) {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        });
        Self { asked, port, _task: task }
    }

    fn resolver(&self) -> SystemResolver {
        let mut udp = ConnectionConfig::udp();
        udp.port = self.port;
        let server = NameServerConfig::new(Ipv4Addr::LOCALHOST.into(), true, vec![udp]);
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let mut options = ResolverOpts::default();
        options.timeout = Duration::from_millis(300);
        options.attempts = 1;
        SystemResolver::fixed(config, options)
    }

    fn count(&self, name: &str) -> usize {
        self.asked.lock().unwrap().get(name).copied().unwrap_or(0)
    }
}

/// The name that is asked for, whether its IPv4 address is, and where the question ends.
fn question(packet: &[u8]) -> (String, bool, usize) {
    let (mut at, mut labels) = (12, Vec::new());
    while packet[at] != 0 {
        let length = usize::from(packet[at]);
        let label = &packet[at + 1..at + 1 + length];
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += 1 + length;
    }
    (labels.join("."), packet[at + 2] == 1, at + 5)
}

/// RFC 1035: the header and question as they came, with flags, counts and perhaps a record.
fn answer(question: &[u8], saying: Saying, is_ipv4: bool) -> Option<Vec<u8>> {
    let (code, record) = match saying {
        Saying::Nothing => return None,
        Saying::Failure => (2, None),
        Saying::NoSuchName => (3, None),
        Saying::Address(address, ttl) => (0, is_ipv4.then_some((address, ttl))),
    };
    let mut packet = question.to_vec();
    packet[2] = 0x85;
    packet[3] = 0x80 | code;
    packet[6..12].fill(0);
    if let Some((address, ttl)) = record {
        packet[7] = 1;
        packet.extend([0xc0, 12, 0, 1, 0, 1]);
        packet.extend(ttl.to_be_bytes());
        packet.extend([0, 4]);
        packet.extend(address.octets());
    }
    Some(packet)
}

#[tokio::test]
async fn an_answer_is_kept_as_long_as_its_record_says() {
    let address = Ipv4Addr::new(127, 0, 0, 9);
    let sayings = [
        ("long.test", Saying::Address(address, 3600)),
        ("short.test", Saying::Address(address, 1)),
    ];
    let server = NameServer::start(&sayings).await;
    let resolver = server.resolver();
    for _ in 0..50 {
        assert_eq!(resolver.resolve("long.test").await, Ok(vec![IpAddr::V4(address)]));
        resolver.resolve("short.test").await.unwrap();
    }
    assert_eq!(server.count("long.test"), 1);
    let deadline = Instant::now() + Duration::from_secs(10);
    while server.count("short.test") < 2 {
        assert!(Instant::now() < deadline, "a record of one second is asked for again");
        resolver.resolve("short.test").await.unwrap();
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.count("long.test"), 1);
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_unknown_and_a_server_that_fails_or_is_silent_says_nothing() {
    let server =
        NameServer::start(&[("failing.test", Saying::Failure), ("silent.test", Saying::Nothing)])
            .await;
    let resolver = server.resolver();
    assert_eq!(resolver.resolve("missing.test").await, Err(NameFault::Unknown));
    for name in ["failing.test", "silent.test"] {
        let fault = resolver.resolve(name).await.unwrap_err();
        assert!(matches!(fault, NameFault::Unavailable(_)), "{name}: {fault:?}");
    }
}

#[tokio::test]
async fn no_name_server_at_all_is_our_fault() {
    let resolver = {
        let server = NameServer::start(&[]).await;
        server.resolver()
    };
    let fault = resolver.resolve("eir.test").await.unwrap_err();
    assert!(matches!(fault, NameFault::Unavailable(_)), "{fault:?}");
}

#[tokio::test]
async fn localhost_needs_no_name_server() {
    let resolver = SystemResolver::fixed(ResolverConfig::default(), ResolverOpts::default());
    for name in ["localhost", "LocalHost", "localhost.", "eir.localhost"] {
        let addresses = resolver.resolve(name).await.unwrap();
        assert_eq!(addresses[0], IpAddr::V4(Ipv4Addr::LOCALHOST), "{name}");
    }
    let fault = resolver.resolve("notlocalhost").await.unwrap_err();
    assert!(matches!(fault, NameFault::Unavailable(_)), "{fault:?}");
}

#[tokio::test]
async fn the_hosts_file_of_this_machine_is_honoured() {
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    let entry = lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        let address: Ipv4Addr = words.next()?.parse().ok()?;
        words.next().filter(|name| !name.contains("localhost")).map(|name| (address, name))
    });
    let resolver = SystemResolver::fixed(ResolverConfig::default(), ResolverOpts::default());
    for (address, name) in entry {
        let found = resolver.resolve(name).await.unwrap();
        assert!(found.contains(&IpAddr::V4(address)), "{name}: {found:?}");
    }
}
