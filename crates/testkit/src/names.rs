//! A name server that says what a test wants: addresses, nothing, or things that no name server
//! should say. UDP only; what is asked over TCP is refused.
//!
//! It runs on a thread that ends with the test's process.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What it says about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saying {
    /// These addresses, for so many seconds.
    Addresses(Vec<IpAddr>, u32),
    /// There is no such name.
    NoSuchName,
    /// It failed (SERVFAIL).
    Failure,
    /// Nothing.
    Silence,
    /// Bytes that mean nothing.
    Garbage,
    /// An answer whose name points to itself without an end.
    Loop,
    /// An answer to another question.
    OtherQuestion,
    /// That the answer is too long, and nothing of it.
    Truncated,
    /// A record whose length goes beyond the packet.
    Overlong,
}

type Sayings = Arc<Mutex<BTreeMap<String, (Saying, usize)>>>;

/// The server.
#[derive(Clone, Debug)]
pub struct NameServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it says, and how often it was asked for an IPv4 address; "" for all other names.
    sayings: Sayings,
}

impl NameServer {
    /// Starts one that knows no name.
    ///
    /// # Errors
    /// When nobody can listen there.
    pub fn start(at: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(at)?;
        let server = Self { address: socket.local_addr()?, sayings: Sayings::default() };
        let sayings = Arc::clone(&server.sayings);
        std::thread::spawn(move || serve(&socket, &sayings));
        Ok(server)
    }

    /// Decides what is said of a name from now on.
    pub fn set(&self, name: &str, saying: Saying) {
        lock(&self.sayings).entry(name.to_owned()).or_insert((Saying::NoSuchName, 0)).0 = saying;
    }

    /// How often the IPv4 address of a name was asked for.
    pub fn count(&self, name: &str) -> usize {
        lock(&self.sayings).get(name).map_or(0, |(_, count)| *count)
    }
}

fn serve(socket: &UdpSocket, sayings: &Mutex<BTreeMap<String, (Saying, usize)>>) {
    let mut buffer = [0_u8; 2048];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { return };
        let packet = buffer.get(..length).unwrap_or_default();
        let Some((name, is_ipv4, end)) = question(packet) else { continue };
        let saying = {
            let mut sayings = lock(sayings);
            let entry = sayings.entry(name).or_insert((Saying::NoSuchName, 0));
            entry.1 += usize::from(is_ipv4);
            entry.0.clone()
        };
        let asked = packet.get(..end).unwrap_or_default();
        if let Some(answer) = answer(asked, &saying, is_ipv4) {
            // Whoever asked may be gone.
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// The name in question, whether its IPv4 address is asked for, and where the question ends.
fn question(packet: &[u8]) -> Option<(String, bool, usize)> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*packet.get(at)?);
        if length == 0 {
            break;
        }
        let label = packet.get(at + 1..at + 1 + length)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += 1 + length;
    }
    Some((labels.join("."), *packet.get(at + 2)? == 1, at + 5))
}

/// RFC 1035: header and question as they came, with flags, counts and perhaps records.
fn answer(question: &[u8], saying: &Saying, is_ipv4: bool) -> Option<Vec<u8>> {
    let mut packet = Packet::of(question);
    match saying {
        Saying::Silence => return None,
        Saying::Garbage => return Some(question.iter().rev().copied().collect()),
        Saying::NoSuchName => packet.code(3),
        Saying::Failure => packet.code(2),
        Saying::Truncated => packet.set(2, 0x87),
        Saying::OtherQuestion => packet.set(13, b'x'),
        Saying::Loop => {
            let start = u8::try_from(packet.0.len()).ok()?;
            packet.count_records(1);
            packet.0.extend([0xc0, start, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
        }
        Saying::Overlong => {
            packet.count_records(1);
            packet.0.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0xff, 0xff, 127]);
        }
        Saying::Addresses(addresses, ttl) => {
            let wanted = addresses.iter().filter(|address| address.is_ipv4() == is_ipv4);
            let wanted: Vec<&IpAddr> = wanted.collect();
            packet.count_records(u8::try_from(wanted.len()).ok()?);
            for address in wanted {
                packet.address(*address, *ttl);
            }
        }
    }
    Some(packet.0)
}

struct Packet(Vec<u8>);

impl Packet {
    fn of(question: &[u8]) -> Self {
        let mut packet = Self(question.to_vec());
        packet.set(2, 0x85);
        packet.set(3, 0x80);
        for at in 6..12 {
            packet.set(at, 0);
        }
        packet
    }

    fn set(&mut self, at: usize, value: u8) {
        if let Some(byte) = self.0.get_mut(at) {
            *byte = value;
        }
    }

    fn code(&mut self, code: u8) {
        self.set(3, 0x80 | code);
    }

    fn count_records(&mut self, count: u8) {
        self.set(7, count);
    }

    fn address(&mut self, address: IpAddr, ttl: u32) {
        let kind = if address.is_ipv4() { 1 } else { 28 };
        self.0.extend([0xc0, 12, 0, kind, 0, 1]);
        self.0.extend(ttl.to_be_bytes());
        match address {
            IpAddr::V4(address) => {
                self.0.extend([0, 4]);
                self.0.extend(address.octets());
            }
            IpAddr::V6(address) => {
                self.0.extend([0, 16]);
                self.0.extend(address.octets());
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
