//! The register from the outside, over HTTP and over Diameter, without a manager: that one is away
//! is no reason not to answer.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use eir::{Addresses, Config, serve};
use governance_testkit::http::{Answer, Client};
use governance_testkit::wait::until;
use telco_codec::peer::Capabilities;
use telco_codec::s13::{CheckOutcome, CheckRequest, EquipmentStatus};
use telco_codec::{
    APPLICATION_S13, Definition, Identity, Imei, Kind, Message, MessageWriter, ResultCode, Serial,
    Splitter, avps,
};
use telco_node::Settings;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);
const LIST: &str = "35209900* white\n35209900100000-35209900199999 black\n35209900123456 grey\n";

/// A register on a runtime and a directory of its own.
struct Eir {
    addresses: Addresses,
    directory: TempDir,
    _runtime: Runtime,
}

impl Eir {
    fn start() -> Self {
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("list"), LIST).unwrap();
        let runtime = Runtime::new().unwrap();
        let config = config(&directory.path().join("list"));
        let (tx, rx) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            serve(config, CancellationToken::new(), |addresses| tx.send(addresses).unwrap()).await
        });
        let addresses = rx.recv_timeout(PATIENCE).unwrap();
        Self { addresses, directory, _runtime: runtime }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("list")
    }

    fn get(&self, query: &str) -> Answer {
        Client::new(self.addresses.http).get(&format!("/n5g-eir-eic/v1/equipment-status{query}"))
    }

    fn peer(&self) -> Peer {
        Peer::meet(self.addresses.diameter)
    }
}

fn config(file: &Path) -> Config {
    let mut settings = Settings::new(
        [
            ("HTTP_HOST", "127.0.0.1"),
            ("HTTP_PORT", "0"),
            ("DIAMETER_PORT", "0"),
            ("DIAMETER_REALM", "example.net"),
            ("POD_NAME", "eir-pod-1"),
            // Nobody listens there.
            ("GOVERNANCE_MANAGER_URL", "http://127.0.0.1:1"),
            ("EIR_FILE", file.to_str().unwrap()),
            ("EIR_FILE_LOOK", "20ms"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let config = Config::read(&mut settings);
    settings.finish().unwrap();
    config
}

/// A Diameter peer that asks.
struct Peer {
    stream: TcpStream,
    splitter: Splitter,
}

fn us() -> Identity {
    Identity::new("mme.example.net", "example.net").unwrap()
}

impl Peer {
    fn meet(address: std::net::SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut peer = Self { stream, splitter: Splitter::new() };
        let capabilities = Capabilities {
            identity: us(),
            addresses: vec!["127.0.0.1".parse().unwrap()],
            vendor: 0,
            product: "test".to_owned(),
            state: None,
            applications: vec![APPLICATION_S13],
        };
        let answer = peer.exchange(&capabilities.request(SERIAL));
        assert_eq!(Message::parse(&answer).unwrap().result_code(), Some(ResultCode::SUCCESS));
        peer
    }

    fn exchange(&mut self, frame: &[u8]) -> Vec<u8> {
        self.stream.write_all(frame).unwrap();
        let mut chunk = [0; 4_096];
        loop {
            if let Some(frame) = self.splitter.next_frame().unwrap() {
                return frame.to_vec();
            }
            let count = self.stream.read(&mut chunk).unwrap();
            assert!(count > 0, "the connection was closed");
            self.splitter.push(&chunk[..count]);
        }
    }

    fn ask(&mut self, imei: &str) -> CheckOutcome {
        let request = CheckRequest::new("s;1;1", us(), Imei::parse(imei).unwrap());
        let answer = self.exchange(&request.write(SERIAL).unwrap());
        CheckOutcome::read(&Message::parse(&answer).unwrap()).unwrap()
    }
}

const SERIAL: Serial = Serial { hop_by_hop: 3, end_to_end: 4 };

#[test]
fn equipment_has_the_status_the_file_says_over_http() {
    let eir = Eir::start();
    for (pei, status) in [
        ("imei-352099000000001", "WHITELISTED"),
        ("imei-352099001000001", "BLACKLISTED"),
        ("imeisv-3520990012345699", "GREYLISTED"),
        ("imei%2D352099000000001", "WHITELISTED"),
    ] {
        let answer = eir.get(&format!("?supi=imsi-001010123456789&pei={pei}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.json(), serde_json::json!({"status": status}), "{pei}");
    }
}

#[test]
fn what_cannot_be_answered_is_a_problem_with_its_cause() {
    let eir = Eir::start();
    for (query, status, cause) in [
        ("?pei=imei-990000000000001", 404, "ERROR_EQUIPMENT_UNKNOWN"),
        ("?pei=mac-00-11-22-aa-bb-cc", 404, "ERROR_EQUIPMENT_UNKNOWN"),
        ("?pei=eui-00-11-22-aa-bb-cc-00-00", 404, "ERROR_EQUIPMENT_UNKNOWN"),
        ("", 400, "MANDATORY_QUERY_PARAM_MISSING"),
        ("?peis=imei-352099000000001", 400, "MANDATORY_QUERY_PARAM_MISSING"),
        ("?pei=", 400, "MANDATORY_QUERY_PARAM_INCORRECT"),
        ("?pei=imei-35209900000000", 400, "MANDATORY_QUERY_PARAM_INCORRECT"),
        ("?pei=imei-35209900000000x", 400, "MANDATORY_QUERY_PARAM_INCORRECT"),
        ("?pei=imeisv-352099000000001", 400, "MANDATORY_QUERY_PARAM_INCORRECT"),
        ("?pei=mac-00-11-22-aa-bb", 400, "MANDATORY_QUERY_PARAM_INCORRECT"),
        ("?pei=%ff", 400, "MANDATORY_QUERY_PARAM_INCORRECT"),
        (
            "?pei=imei-352099000000001&pei=imei-352099001000001",
            400,
            "MANDATORY_QUERY_PARAM_INCORRECT",
        ),
    ] {
        let answer = eir.get(query);
        assert_eq!(answer.status, status, "{query}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.json()["cause"], cause, "{query}");
        assert_eq!(answer.json()["status"], status);
    }
    let mut client = Client::new(eir.addresses.http);
    let answer = client.send("DELETE", "/n5g-eir-eic/v1/equipment-status?pei=imei-352099000000001");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")));
    assert_eq!(client.get("/n5g-eir-eic/v2/equipment-status").status, 404);
    assert_eq!(client.get("/health").status, 200);
}

#[test]
fn equipment_has_the_same_status_over_diameter() {
    let eir = Eir::start();
    let mut peer = eir.peer();
    for (imei, outcome) in [
        ("35209900000000", CheckOutcome::Known(EquipmentStatus::Whitelisted)),
        ("352099001000001", CheckOutcome::Known(EquipmentStatus::Blacklisted)),
        ("3520990012345699", CheckOutcome::Known(EquipmentStatus::Greylisted)),
        ("99000000000000", CheckOutcome::Unknown),
    ] {
        assert_eq!(peer.ask(imei), outcome, "{imei}");
    }
}

#[test]
fn a_question_that_makes_no_sense_is_refused_over_diameter_and_the_next_is_answered() {
    let eir = Eir::start();
    let mut peer = eir.peer();
    let request = CheckRequest::new("s;1;1", us(), Imei::parse("35209900000000").unwrap());
    let sound = request.write(SERIAL).unwrap();
    let sound = Message::parse(&sound).unwrap();
    let strange = Definition {
        name: "test",
        code: 9_999,
        vendor: None,
        kind: Kind::OctetString,
        is_mandatory: true,
    };
    let frame = sound.forwarded(&sound.header(), Some((&strange, "x"))).unwrap();
    let answer = peer.exchange(&frame);
    let answer = Message::parse(&answer).unwrap();
    assert_eq!(answer.result_code(), Some(ResultCode::AVP_UNSUPPORTED));
    assert_eq!(answer.find(&avps::SESSION_ID).unwrap().text().unwrap(), "s;1;1");
    for (command, application, code) in [
        (325, APPLICATION_S13, ResultCode::COMMAND_UNSUPPORTED),
        (324, 16_777_251, ResultCode::APPLICATION_UNSUPPORTED),
    ] {
        let mut header = sound.header();
        (header.command, header.application) = (command, application);
        let answer = peer.exchange(&MessageWriter::new(&header).finish().unwrap());
        assert_eq!(Message::parse(&answer).unwrap().result_code(), Some(code));
    }
    assert_eq!(peer.ask("35209900000000"), CheckOutcome::Known(EquipmentStatus::Whitelisted));
}

#[test]
fn a_changed_file_counts_and_a_bad_one_changes_nothing() {
    let eir = Eir::start();
    let mut peer = eir.peer();
    let white = CheckOutcome::Known(EquipmentStatus::Whitelisted);
    let black = CheckOutcome::Known(EquipmentStatus::Blacklisted);
    assert_eq!(peer.ask("35209900000000"), white);
    std::fs::write(eir.file(), "35209900* blue\n").unwrap();
    std::fs::write(eir.directory.path().join("new"), "35209900* black\n# another length\n")
        .unwrap();
    assert_eq!(peer.ask("35209900000000"), white);
    std::fs::rename(eir.directory.path().join("new"), eir.file()).unwrap();
    assert!(until(PATIENCE, || peer.ask("35209900000000") == black), "the new list never counts");
    std::fs::remove_file(eir.file()).unwrap();
    assert_eq!(peer.ask("35209900000000"), black);
}

#[test]
fn without_a_list_it_does_not_start_and_says_why() {
    let runtime = Runtime::new().unwrap();
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("list");
    std::fs::write(&file, "\nwhat is this\n").unwrap();
    let serving = serve(config(&file), CancellationToken::new(), |_| ());
    let text = format!("{:#}", runtime.block_on(serving).unwrap_err());
    assert!(text.contains("line 2") && text.contains("EIR_FILE"), "{text}");
}
