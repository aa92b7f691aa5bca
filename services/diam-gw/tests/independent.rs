//! Others' Diameter. Debian's freeDiameter is a peer of the relay, exchanges capabilities and
//! watchdogs with it, and carries a question over S13 from a client to the register and the answer
//! back: it takes our messages apart and puts them together again. A peer made of scapy's messages
//! asks by itself and reads the status.
//!
//! Skipped, and says so, where `freeDiameterd` or scapy is not installed; the gate installs them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use governance_testkit::certificates::TestCa;
use governance_testkit::http::Client;
use governance_testkit::manager::ManagerProcess;
use governance_testkit::wait::until;
use telco_codec::peer::Capabilities;
use telco_codec::s13::{CheckOutcome, CheckRequest, EquipmentStatus};
use telco_codec::{APPLICATION_RELAY, Identity, Imei, Message, ResultCode, Serial, Splitter, avps};
use telco_node::Settings;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);
const SERIAL: Serial = Serial { hop_by_hop: 7, end_to_end: 8 };

/// The daemon; killed with the test.
struct FreeDiameter {
    process: Child,
    log: Arc<Mutex<String>>,
}

impl FreeDiameter {
    fn start(directory: &Path, port: u16, gateway: SocketAddr) -> Option<Self> {
        let ca = TestCa::new().unwrap();
        let certificate = ca.server(&["fd.example.net"]).unwrap();
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        // It wants credentials even where all its connections are plain.
        let ca = write("ca.pem", &ca.certificate);
        let key = write("key.pem", &certificate.key);
        let certificate = write("certificate.pem", &certificate.certificate);
        let allowed = write("allowed.conf", "ALLOW_IPSEC mme.example.net\n");
        let config = format!(
            "Identity = \"fd.example.net\";\nRealm = \"example.net\";\n\
             Port = {port};\nSecPort = 0;\nNo_SCTP;\nNo_IPv6;\nListenOn = \"127.0.0.1\";\n\
             TwTimer = 6;\nTLS_Cred = \"{certificate}\", \"{key}\";\nTLS_CA = \"{ca}\";\n\
             LoadExtension = \"acl_wl.fdx\" : \"{allowed}\";\n\
             LoadExtension = \"dbg_msg_dumps.fdx\" : \"0x2222\";\n\
             ConnectPeer = \"diam-gw-pod-1.example.net\" \
             {{ ConnectTo = \"127.0.0.1\"; No_TLS; Port = {}; }};\n",
            gateway.port()
        );
        let config = write("freediameter.conf", &config);
        let spawned = Command::new("freeDiameterd")
            .args(["-c", &config])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut process = match spawned {
            Ok(process) => process,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => panic!("freeDiameterd cannot be started: {error}"),
        };
        let log = Arc::<Mutex<String>>::default();
        let (kept, stdout) = (Arc::clone(&log), process.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let mut log = kept.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Some(Self { process, log })
    }

    fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }
}

impl Drop for FreeDiameter {
    fn drop(&mut self) {
        // It may have ended before; nothing to tell anybody here.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn settings(pod: &str, manager: SocketAddr, list: &Path) -> Settings {
    let settings = [
        ("HTTP_HOST", "127.0.0.1".to_owned()),
        ("HTTP_PORT", "0".to_owned()),
        ("DIAMETER_PORT", "0".to_owned()),
        ("DIAMETER_REALM", "example.net".to_owned()),
        // Longer than the daemon's: it asks and we answer.
        ("DIAMETER_WATCHDOG", "60s".to_owned()),
        ("POD_NAME", pod.to_owned()),
        ("GOVERNANCE_MANAGER_URL", format!("http://{manager}")),
        ("EIR_FILE", list.display().to_string()),
    ];
    Settings::new(settings.map(|(name, value)| (name.to_owned(), value)))
}

fn exchange(stream: &mut TcpStream, frame: &[u8]) -> Option<Vec<u8>> {
    stream.write_all(frame).ok()?;
    let mut splitter = Splitter::new();
    let mut chunk = [0; 4_096];
    loop {
        if let Some(frame) = splitter.next_frame().unwrap() {
            return Some(frame.to_vec());
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(count) => splitter.push(&chunk[..count]),
        }
    }
}

/// Introduces us to the daemon, once it is there.
fn meet(address: SocketAddr) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let us = Capabilities {
        identity: Identity::new("mme.example.net", "example.net").unwrap(),
        addresses: vec!["127.0.0.1".parse().unwrap()],
        vendor: 0,
        product: "test".to_owned(),
        state: Some(1),
        applications: vec![APPLICATION_RELAY],
    };
    let answer = exchange(&mut stream, &us.request(SERIAL))?;
    let answer = Message::parse(&answer).unwrap();
    (answer.result_code() == Some(ResultCode::SUCCESS)).then_some(stream)
}

fn ask(stream: &mut TcpStream, imei: &str) -> Option<(CheckOutcome, String)> {
    let us = Identity::new("mme.example.net", "example.net").unwrap();
    let mut request = CheckRequest::new("mme.example.net;1;1", us, Imei::parse(imei).unwrap());
    request.destination_host = Some("diam-gw-pod-1.example.net".to_owned());
    let answer = exchange(stream, &request.write(SERIAL).unwrap())?;
    let answer = Message::parse(&answer).unwrap();
    let from = answer.find(&avps::ORIGIN_HOST).unwrap().text().unwrap().to_owned();
    Some((CheckOutcome::read(&answer).ok()?, from))
}

/// A manager, a register and a relay that knows it.
struct House {
    gateway: diam_gw::Addresses,
    directory: TempDir,
    _runtime: Runtime,
    _manager: ManagerProcess,
}

impl House {
    fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let list = directory.path().join("list");
        std::fs::write(&list, "35209900* white\n35209901* black\n").unwrap();
        let manager = ManagerProcess::built().set("HEALTH_CHECK_INTERVAL", "500ms").start();
        let runtime = Runtime::new().unwrap();
        let config = eir::Config::read(&mut settings("eir-pod-1", manager.address(), &list));
        runtime.spawn(eir::serve(config, CancellationToken::new(), |_| ()));
        let settings = &mut settings("diam-gw-pod-1", manager.address(), &list);
        let config = diam_gw::Config::read(settings);
        let (tx, rx) = std::sync::mpsc::channel();
        runtime.spawn(diam_gw::serve(config, CancellationToken::new(), move |at| {
            tx.send(at).unwrap();
        }));
        let gateway = rx.recv_timeout(PATIENCE).unwrap();
        let mut stats = Client::new(gateway.http);
        assert!(until(PATIENCE, || stats.get("/stats").json()["usable_pods"] == 1));
        Self { gateway, directory, _runtime: runtime, _manager: manager }
    }
}

/// An interpreter that has scapy; Debian's package is for Debian's own.
fn python() -> Option<&'static str> {
    ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        let imported = Command::new(python)
            .args(["-c", "import scapy.contrib.diameter"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status();
        imported.is_ok_and(|status| status.success())
    })
}

#[test]
fn scapy_is_a_peer_and_reads_the_status() {
    let Some(python) = python() else {
        println!("SKIPPED: scapy is not installed (Debian package python3-scapy)");
        return;
    };
    let house = House::start();
    let output = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scapy/peer.py"))
        .args(["127.0.0.1", &house.gateway.diameter.port().to_string()])
        .args(["35209900176148", "352099011761480", "99000000000000"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let read = String::from_utf8(output.stdout).unwrap();
    let expected = "CEA 2001\nDWA 2001\n\
                    ECA 2001 0 eir-pod-1.example.net\n\
                    ECA 2001 1 eir-pod-1.example.net\n\
                    ECA 5422 None eir-pod-1.example.net\n";
    assert_eq!(read, expected, "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn free_diameter_is_a_peer_and_carries_a_question_and_its_answer() {
    let house = House::start();
    // Taken and given back: the daemon takes no port 0.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let Some(daemon) =
        FreeDiameter::start(house.directory.path(), port.port(), house.gateway.diameter)
    else {
        println!("SKIPPED: freeDiameterd is not installed (Debian package freediameterd)");
        return;
    };
    let is_open = until(PATIENCE, || daemon.log().contains("STATE_OPEN"));
    assert!(is_open, "it does not take our CEA:\n{}", daemon.log());
    let mut stream = None;
    let is_met = until(PATIENCE, || {
        stream = meet(port);
        stream.is_some()
    });
    assert!(is_met, "it does not take our CER:\n{}", daemon.log());
    let mut stream = stream.unwrap();
    for (imei, outcome) in [
        ("35209900176148", CheckOutcome::Known(EquipmentStatus::Whitelisted)),
        ("35209901176148", CheckOutcome::Known(EquipmentStatus::Blacklisted)),
        ("99000000000000", CheckOutcome::Unknown),
    ] {
        let answer = ask(&mut stream, imei);
        let expected = Some((outcome, "eir-pod-1.example.net".to_owned()));
        assert_eq!(answer, expected, "{imei}\n{}", daemon.log());
    } // Silence, until the daemon wants to know whether we live.
    let is_answered = until(PATIENCE, || has_answered_watchdog(&daemon.log()));
    assert!(is_answered, "it does not get our DWA:\n{}", daemon.log());
}

/// A DWA of ours in the daemon's dump of messages.
fn has_answered_watchdog(log: &str) -> bool {
    // Application 0, command 280, no flag.
    let is_answer =
        |line: &str| line.contains("RCV from 'diam-gw") && line.contains("0/280 f:----");
    log.lines().any(is_answer)
}
