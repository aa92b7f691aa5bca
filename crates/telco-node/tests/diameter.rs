//! Peers on loopback: the exchange of capabilities, refusals on the wire, fail-over, farewell.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use telco_codec::peer::Capabilities;
use telco_codec::s13::{CheckOutcome, CheckRequest, EquipmentStatus};
use telco_codec::{
    APPLICATION_S13, Command, Flags, Identity, Imei, Message, ResultCode, Serial, Splitter, avps,
};
use telco_node::diameter::{
    Node, Reply, Route, ServerSettings, Service, Target, Trunk, TrunkSettings, Undelivered, serve,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const PATIENCE: Duration = Duration::from_secs(20);

fn node(host: &str, watchdog: Duration) -> Arc<Node> {
    Arc::new(Node {
        capabilities: Capabilities {
            identity: Identity::new(host, "example.net").unwrap(),
            addresses: vec!["127.0.0.1".parse().unwrap()],
            vendor: 0,
            product: "test".to_owned(),
            state: Some(1),
            applications: vec![APPLICATION_S13],
        },
        watchdog,
    })
}

/// Answers everything as white, unless it hangs; remembers the T flag.
struct Register {
    us: Identity,
    hangs: AtomicBool,
    is_busy: AtomicBool,
    asked: AtomicUsize,
    repeated: AtomicUsize,
}

impl Service for Register {
    fn take(&self, request: &Message<'_>, _from: &Arc<Capabilities>, reply: Reply) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if request.header().flags.has(Flags::RETRANSMITTED) {
            self.repeated.fetch_add(1, Ordering::SeqCst);
        }
        if self.hangs.load(Ordering::SeqCst) {
            return;
        }
        let outcome = if self.is_busy.load(Ordering::SeqCst) {
            CheckOutcome::Failed(ResultCode::TOO_BUSY)
        } else {
            CheckOutcome::Known(EquipmentStatus::Whitelisted)
        };
        reply.send(outcome.write(request, &self.us).unwrap());
    }
}

struct Pod {
    address: SocketAddr,
    register: Arc<Register>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Pod {
    async fn start(host: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let node = node(host, Duration::from_secs(30));
        let register = Arc::new(Register {
            us: node.capabilities.identity.clone(),
            hangs: AtomicBool::new(false),
            is_busy: AtomicBool::new(false),
            asked: AtomicUsize::new(0),
            repeated: AtomicUsize::new(0),
        });
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let service: Arc<dyn Service> = Arc::clone(&register) as Arc<dyn Service>;
        let settings = ServerSettings { peers_max: 10 };
        tasks.spawn(serve(listener, node, service, settings, stop.clone()));
        Self { address, register, stop, tasks }
    }

    fn target(&self, is_wanted: bool) -> Target {
        Target { name: self.address.to_string(), address: self.address, is_wanted }
    }

    fn asked(&self) -> usize {
        self.register.asked.load(Ordering::SeqCst)
    }
}

fn trunk() -> Trunk {
    let settings = TrunkSettings {
        attempt_max: Duration::from_millis(200),
        total_max: Duration::from_secs(5),
        ..TrunkSettings::default()
    };
    Trunk::new(node("gw.example.net", Duration::from_secs(30)), settings)
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

fn question() -> Vec<u8> {
    let origin = Identity::new("mme.example.net", "example.net").unwrap();
    let request = CheckRequest::new("s;1;1", origin, Imei::parse("35209900176148").unwrap());
    request.write(Serial { hop_by_hop: 77, end_to_end: 78 }).unwrap()
}

async fn ask(trunk: &Trunk) -> Result<CheckOutcome, Undelivered> {
    let (tx, rx) = oneshot::channel();
    let frame = question();
    trunk.send(&Message::parse(&frame).unwrap(), Route::default(), move |ended| {
        let _ = tx.send(ended);
    });
    let answer = tokio::time::timeout(PATIENCE, rx).await.unwrap().unwrap()?;
    let answer = Message::parse(&answer).unwrap();
    assert_eq!(answer.header().serial, Serial { hop_by_hop: 77, end_to_end: 78 });
    Ok(CheckOutcome::read(&answer).unwrap())
}

const WHITE: Result<CheckOutcome, Undelivered> =
    Ok(CheckOutcome::Known(EquipmentStatus::Whitelisted));

#[tokio::test]
async fn requests_are_spread_over_all_wanted_peers() {
    let pods = [Pod::start("a").await, Pod::start("b").await];
    let trunk = trunk();
    assert_eq!(ask(&trunk).await, Err(Undelivered::NoPeer));
    trunk.aim(&[pods[0].target(true), pods[1].target(true)]);
    until("two peers", || trunk.usable() == 2).await;
    for _ in 0..20 {
        assert_eq!(ask(&trunk).await, WHITE);
    }
    assert_eq!(pods[0].asked() + pods[1].asked(), 20);
    assert!(pods[0].asked() > 0 && pods[1].asked() > 0);
    assert_eq!(trunk.under_way(), 0);
}

#[tokio::test]
async fn what_one_peer_does_not_answer_goes_to_another_with_the_t_flag() {
    let pods = [Pod::start("a").await, Pod::start("b").await];
    let trunk = trunk();
    trunk.aim(&[pods[0].target(true), pods[1].target(true)]);
    until("two peers", || trunk.usable() == 2).await;
    pods[0].register.hangs.store(true, Ordering::SeqCst);
    for _ in 0..4 {
        assert_eq!(ask(&trunk).await, WHITE);
    }
    let repeated = pods[1].register.repeated.load(Ordering::SeqCst);
    assert!(repeated > 0);
    assert_eq!(repeated, pods[0].asked(), "each that hung came again elsewhere");
}

#[tokio::test]
async fn what_is_under_way_moves_when_its_peer_is_not_wanted_any_more() {
    let pods = [Pod::start("a").await, Pod::start("b").await];
    let settings = TrunkSettings {
        attempt_max: PATIENCE,
        total_max: 2 * PATIENCE,
        ..TrunkSettings::default()
    };
    let trunk = Arc::new(Trunk::new(node("gw.example.net", Duration::from_secs(30)), settings));
    trunk.aim(&[pods[0].target(true)]);
    until("one peer", || trunk.usable() == 1).await;
    pods[0].register.hangs.store(true, Ordering::SeqCst);
    let tasks = TaskTracker::new();
    let asking = {
        let trunk = Arc::clone(&trunk);
        tasks.spawn(async move { ask(&trunk).await })
    };
    until("it is asked", || pods[0].asked() == 1).await;
    trunk.aim(&[pods[0].target(true), pods[1].target(true)]);
    until("two peers", || trunk.usable() == 2).await;
    trunk.aim(&[pods[0].target(false), pods[1].target(true)]);
    assert_eq!(asking.await.unwrap(), WHITE);
    assert_eq!(pods[1].asked(), 1);
    for _ in 0..5 {
        assert_eq!(ask(&trunk).await, WHITE);
    }
    assert_eq!(pods[0].asked(), 1, "not wanted means not asked");
}

#[tokio::test]
async fn a_peer_that_is_too_busy_is_passed_over_and_heard_when_it_is_the_only_one() {
    let pods = [Pod::start("a").await, Pod::start("b").await];
    let trunk = trunk();
    pods[0].register.is_busy.store(true, Ordering::SeqCst);
    trunk.aim(&[pods[0].target(true)]);
    until("one peer", || trunk.usable() == 1).await;
    assert_eq!(ask(&trunk).await, Ok(CheckOutcome::Failed(ResultCode::TOO_BUSY)));
    trunk.aim(&[pods[0].target(true), pods[1].target(true)]);
    until("two peers", || trunk.usable() == 2).await;
    for _ in 0..4 {
        assert_eq!(ask(&trunk).await, WHITE);
    }
}

#[tokio::test]
async fn a_peer_that_says_farewell_gets_nothing_more_and_is_met_again_when_it_is_back() {
    let pod = Pod::start("a").await;
    let trunk = trunk();
    trunk.aim(&[pod.target(true)]);
    until("one peer", || trunk.usable() == 1).await;
    pod.stop.cancel();
    pod.tasks.close();
    pod.tasks.wait().await;
    until("no peer", || trunk.usable() == 0).await;
    assert_eq!(ask(&trunk).await, Err(Undelivered::NoPeer));
}

#[tokio::test]
async fn a_silent_peer_is_suspected_by_the_watchdog() {
    // Takes the exchange of capabilities and never says another word.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = TaskTracker::new();
    tasks.spawn(async move {
        let mut kept = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let frame = read_frame(&mut stream).await.unwrap();
            let us = &node("mute.example.net", PATIENCE).capabilities;
            let answer = us.answer(&Message::parse(&frame).unwrap(), ResultCode::SUCCESS);
            stream.write_all(&answer).await.unwrap();
            kept.push(stream);
        }
    });
    let trunk = Trunk::new(node("gw", Duration::from_millis(100)), TrunkSettings::default());
    trunk.aim(&[Target { name: "mute".to_owned(), address, is_wanted: true }]);
    until("it is met", || trunk.usable() == 1).await;
    until("it is suspected", || trunk.usable() == 0).await;
}

async fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut splitter = Splitter::new();
    let mut chunk = [0; 4_096];
    loop {
        if let Some(frame) = splitter.next_frame().unwrap() {
            return Some(frame.to_vec());
        }
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut chunk)).await.unwrap();
        match read {
            Ok(0) | Err(_) => return None,
            Ok(count) => splitter.push(&chunk[..count]),
        }
    }
}

async fn introduced(pod: &Pod) -> TcpStream {
    let mut stream = TcpStream::connect(pod.address).await.unwrap();
    let us = &node("client.example.net", PATIENCE).capabilities;
    let serial = Serial { hop_by_hop: 1, end_to_end: 1 };
    stream.write_all(&us.request(serial)).await.unwrap();
    let answer = read_frame(&mut stream).await.unwrap();
    let answer = Message::parse(&answer).unwrap();
    assert_eq!(answer.result_code(), Some(ResultCode::SUCCESS));
    Command::check(&answer).unwrap();
    stream
}

#[tokio::test]
async fn a_watchdog_and_a_farewell_are_answered() {
    let pod = Pod::start("a").await;
    let mut stream = introduced(&pod).await;
    let us = &node("client.example.net", PATIENCE).capabilities.identity;
    let serial = Serial { hop_by_hop: 5, end_to_end: 6 };
    for frame in [
        telco_codec::peer::watchdog_request(us, None, serial),
        telco_codec::peer::disconnect_request(us, telco_codec::peer::DisconnectCause::Busy, serial),
    ] {
        stream.write_all(&frame).await.unwrap();
        let answer = read_frame(&mut stream).await.unwrap();
        let answer = Message::parse(&answer).unwrap();
        assert_eq!(answer.result_code(), Some(ResultCode::SUCCESS));
        assert_eq!(answer.header().serial, serial);
    }
}

#[tokio::test]
async fn whoever_begins_with_anything_but_capabilities_is_cut_off() {
    let pod = Pod::start("a").await;
    let mut stream = TcpStream::connect(pod.address).await.unwrap();
    stream.write_all(&question()).await.unwrap();
    assert_eq!(read_frame(&mut stream).await, None);
    assert_eq!(pod.asked(), 0);
}

#[tokio::test]
async fn a_peer_without_a_common_application_is_told_5010_and_cut_off() {
    let pod = Pod::start("a").await;
    let mut stream = TcpStream::connect(pod.address).await.unwrap();
    let mut us = node("client.example.net", PATIENCE).capabilities.clone();
    us.applications = vec![4];
    stream.write_all(&us.request(Serial { hop_by_hop: 1, end_to_end: 1 })).await.unwrap();
    let answer = read_frame(&mut stream).await.unwrap();
    let answer = Message::parse(&answer).unwrap();
    assert_eq!(answer.result_code(), Some(ResultCode::NO_COMMON_APPLICATION));
    assert_eq!(read_frame(&mut stream).await, None);
}

#[tokio::test]
async fn a_lie_about_a_length_is_answered_and_the_rest_goes_on() {
    let pod = Pod::start("a").await;
    let mut stream = introduced(&pod).await;
    let mut lie = question();
    lie[27] = 0xf0;
    stream.write_all(&lie).await.unwrap();
    let answer = read_frame(&mut stream).await.unwrap();
    let answer = Message::parse(&answer).unwrap();
    assert_eq!(answer.result_code(), Some(ResultCode::INVALID_AVP_LENGTH));
    assert!(answer.find(&avps::FAILED_AVP).is_some());
    stream.write_all(&question()).await.unwrap();
    let answer = read_frame(&mut stream).await.unwrap();
    let outcome = CheckOutcome::read(&Message::parse(&answer).unwrap());
    assert_eq!(outcome.unwrap(), CheckOutcome::Known(EquipmentStatus::Whitelisted));
}

#[tokio::test]
async fn a_message_of_an_impossible_length_ends_the_connection() {
    let pod = Pod::start("a").await;
    let mut stream = introduced(&pod).await;
    stream.write_all(&[1, 0xff, 0xff, 0xff]).await.unwrap();
    assert_eq!(read_frame(&mut stream).await, None);
}

#[tokio::test]
async fn a_peer_that_asks_and_never_reads_is_cut_off() {
    let pod = Pod::start("a").await;
    let mut stream = introduced(&pod).await;
    let flood = question().repeat(200);
    let flooding = async {
        // More answers than any buffer between us holds; ends when the other side has had enough.
        while stream.write_all(&flood).await.is_ok() {}
    };
    tokio::time::timeout(PATIENCE, flooding).await.expect("it is cut off");
}

#[tokio::test]
async fn too_much_under_way_is_said_at_once() {
    let pod = Pod::start("a").await;
    pod.register.hangs.store(true, Ordering::SeqCst);
    let settings =
        TrunkSettings { under_way_max: 1, attempt_max: PATIENCE, ..TrunkSettings::default() };
    let trunk = Trunk::new(node("gw.example.net", Duration::from_secs(30)), settings);
    trunk.aim(&[pod.target(true)]);
    until("one peer", || trunk.usable() == 1).await;
    let frame = question();
    trunk.send(&Message::parse(&frame).unwrap(), Route::default(), |_| ());
    assert_eq!(ask(&trunk).await, Err(Undelivered::Busy));
}
