//! The relay from the outside, without a manager and so without pods: what may not go on is refused
//! as RFC 6733 asks, and what may is told that nobody can take it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use diam_gw::{Addresses, Config, serve};
use governance_testkit::http::Client;
use telco_codec::peer::Capabilities;
use telco_codec::s13::CheckRequest;
use telco_codec::{
    APPLICATION_S13, Flags, Header, Identity, Imei, Message, ResultCode, Serial, Splitter, avps,
};
use telco_node::Settings;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);
const SERIAL: Serial = Serial { hop_by_hop: 0x0101, end_to_end: 0x0202 };

struct Gateway {
    addresses: Addresses,
    _runtime: Runtime,
}

impl Gateway {
    fn start() -> Self {
        let mut settings = Settings::new(
            [
                ("HTTP_HOST", "127.0.0.1"),
                ("HTTP_PORT", "0"),
                ("DIAMETER_PORT", "0"),
                ("DIAMETER_REALM", "example.net"),
                ("POD_NAME", "diam-gw-pod-1"),
                // Nobody listens there.
                ("GOVERNANCE_MANAGER_URL", "http://127.0.0.1:1"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        let config = Config::read(&mut settings);
        settings.finish().unwrap();
        let runtime = Runtime::new().unwrap();
        let (tx, rx) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            serve(config, CancellationToken::new(), |addresses| tx.send(addresses).unwrap()).await
        });
        Self { addresses: rx.recv_timeout(PATIENCE).unwrap(), _runtime: runtime }
    }
}

fn us() -> Identity {
    Identity::new("mme.example.net", "example.net").unwrap()
}

struct Peer {
    stream: TcpStream,
    splitter: Splitter,
}

impl Peer {
    fn meet(address: SocketAddr) -> Self {
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

    fn code(&mut self, frame: &[u8]) -> ResultCode {
        let answer = self.exchange(frame);
        let answer = Message::parse(&answer).unwrap();
        assert_eq!(answer.header().serial, SERIAL);
        let code = answer.result_code().unwrap();
        assert_eq!(answer.header().flags.has(Flags::ERROR), code.is_protocol_error());
        code
    }
}

fn question() -> CheckRequest {
    CheckRequest::new("s;1;1", us(), Imei::parse("35209900000000").unwrap())
}

/// A sound question with another header.
fn with_header(change: impl FnOnce(&mut Header)) -> Vec<u8> {
    let frame = question().write(SERIAL).unwrap();
    let message = Message::parse(&frame).unwrap();
    let mut header = message.header();
    change(&mut header);
    message.forwarded(&header, None).unwrap()
}

#[test]
fn without_a_pod_it_is_unable_to_deliver() {
    let gateway = Gateway::start();
    let mut peer = Peer::meet(gateway.addresses.diameter);
    assert_eq!(peer.code(&question().write(SERIAL).unwrap()), ResultCode::UNABLE_TO_DELIVER);
    let mut to_us = question();
    to_us.destination_host = Some("diam-gw-pod-1.example.net".to_owned());
    assert_eq!(peer.code(&to_us.write(SERIAL).unwrap()), ResultCode::UNABLE_TO_DELIVER);
    let mut client = Client::new(gateway.addresses.http);
    assert_eq!(client.get("/stats").json()["undelivered"], 2);
    assert_eq!(client.get("/health").status, 200);
}

#[test]
fn what_has_no_route_is_refused() {
    let gateway = Gateway::start();
    let mut peer = Peer::meet(gateway.addresses.diameter);
    let mut elsewhere = question();
    elsewhere.destination_realm = "example.org".to_owned();
    assert_eq!(peer.code(&elsewhere.write(SERIAL).unwrap()), ResultCode::REALM_NOT_SERVED);
    let mut stranger = question();
    stranger.destination_host = Some("eir.example.org".to_owned());
    assert_eq!(peer.code(&stranger.write(SERIAL).unwrap()), ResultCode::UNABLE_TO_DELIVER);
    let other = with_header(|header| header.application = 4);
    assert_eq!(peer.code(&other), ResultCode::APPLICATION_UNSUPPORTED);
    let other = with_header(|header| (header.application, header.command) = (0, 999));
    assert_eq!(peer.code(&other), ResultCode::COMMAND_UNSUPPORTED);
    let local = with_header(|header| header.flags = Flags::REQUEST);
    assert_eq!(peer.code(&local), ResultCode::INVALID_HDR_BITS);
}

#[test]
fn a_request_that_was_here_before_is_a_loop() {
    let gateway = Gateway::start();
    let mut peer = Peer::meet(gateway.addresses.diameter);
    let frame = question().write(SERIAL).unwrap();
    let message = Message::parse(&frame).unwrap();
    let record = Some((&avps::ROUTE_RECORD, "DIAM-GW-pod-1.example.net"));
    let frame = message.forwarded(&message.header(), record).unwrap();
    assert_eq!(peer.code(&frame), ResultCode::LOOP_DETECTED);
}
