//! One POST over real sockets: what is sent, what counts as received, which connections are kept.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use governance_domain::target::Target;
use governance_domain::{Content, Revision, ServiceName};
use tokio::net::{TcpListener, TcpStream};

use super::receiver::{Answer, Happening, Receiver, status};
use super::world::{Desk, content, key, provider};
use crate::clock::SystemClock;
use crate::config::Targets;
use crate::connect::{Dialer, Policy, SystemResolver, Trust};
use crate::notify::Office;
use crate::notify::courier::{Courier, Failure, Fault, Parcel};
use crate::notify::delivery::{Attempts, Connector, HttpCourier, Stream};
use crate::telemetry::traces::TraceContext;

/// Opens what it is asked to.
struct Plain;

impl Connector for Plain {
    fn connect<'a>(
        &'a self,
        target: &'a Target,
        _limit: Duration,
    ) -> BoxFuture<'a, Result<Box<dyn Stream>, String>> {
        Box::pin(async move {
            let stream = TcpStream::connect(&*target.authority).await;
            stream.map(|s| Box::new(s) as Box<dyn Stream>).map_err(|fault| fault.to_string())
        })
    }
}

const PATIENT: Duration = Duration::from_secs(10);

fn courier(timeout: Duration) -> Arc<HttpCourier> {
    courier_of(&Arc::default(), timeout)
}

fn courier_of(desk: &Arc<Desk>, timeout: Duration) -> Arc<HttpCourier> {
    let office = Arc::clone(desk) as Arc<dyn Office>;
    let attempts = Attempts { timeout, idle_max: 100 };
    Arc::new(HttpCourier::new(Arc::new(Plain), Arc::new(SystemClock), office, attempts))
}

fn parcel(url: &str, number: u64) -> Parcel {
    let content =
        Content { notification_url: url.into(), ..content("x", &[provider(1, None)], &[]) };
    let head = format!(
        r#"{{"service_name":"eir","event_type":"update","timestamp":"t","revision":{number},"registry_id":"r","pods":"#
    );
    Parcel {
        subscriber: key("gw:1"),
        content: Arc::new(content),
        service: ServiceName::stored("eir"),
        revision: Revision::from_u64(number),
        head: head.into(),
        list: Bytes::from_static(b"[]}"),
        attempt: 1,
        trace: TraceContext::default(),
    }
}

async fn post(courier: &Arc<HttpCourier>, url: &str, number: u64) -> Result<(), Failure> {
    Arc::clone(courier).carry(parcel(url, number)).await
}

/// The connection numbers of all requests.
fn connections(log: &[Happening]) -> Vec<usize> {
    let of = |happening: &Happening| match happening {
        Happening::Request(number, ..) => Some(*number),
        Happening::Opened(_) | Happening::Closed(_) => None,
    };
    log.iter().filter_map(of).collect()
}

fn position(log: &[Happening], wanted: &Happening) -> Option<usize> {
    log.iter().position(|happening| happening == wanted)
}

#[tokio::test]
async fn a_notification_is_a_post_of_json_to_the_path_of_the_url() {
    let receiver = Receiver::open().await;
    post(&courier(PATIENT), &receiver.url(), 7).await.unwrap();
    let log = receiver.log();
    let Happening::Request(_, head, body) = &log[1] else { panic!("{log:?}") };
    let lines: Vec<&str> = head.lines().collect();
    assert_eq!(lines[0], "POST /notify?x=1 HTTP/1.1");
    for line in [
        format!("host: {}", receiver.address),
        "content-type: application/json".to_owned(),
        format!("content-length: {}", body.len()),
    ] {
        assert!(lines.contains(&line.as_str()), "{line}: {head}");
    }
    assert_eq!(receiver.told()[0].revision, 7);
}

#[tokio::test]
async fn any_2xx_is_received_and_its_body_is_not_waited_for() {
    let receiver = Receiver::open().await;
    let courier = courier(PATIENT);
    for (n, answer) in [
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        "HTTP/1.1 299 x\r\nContent-Length: 3\r\n\r\nabc".to_owned(),
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 x\r\nContent-Length: 0\r\n\r\n".to_owned(),
        // Never ends, though nobody waits for that.
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n{}", "x".repeat(100_000)),
        "HTTP/1.0 200 OK\r\n\r\nuntil the end".to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        receiver.answer(&[Answer::Bytes(answer.clone())]);
        let (number, url) = (n as u64, receiver.url());
        let result = tokio::time::timeout(PATIENT / 2, post(&courier, &url, number));
        assert_eq!(result.await.unwrap(), Ok(()), "{}", &answer[..20]);
    }
}

#[tokio::test]
async fn all_else_is_a_failure_and_redirects_are_not_followed() {
    let receiver = Receiver::open().await;
    let courier = courier(PATIENT);
    let elsewhere = Receiver::open().await;
    let redirect =
        format!("HTTP/1.1 307 x\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", elsewhere.url());
    for (answer, fault) in [
        (Answer::Bytes(redirect), Fault::Refused),
        (status(404), Fault::Refused),
        (status(500), Fault::Refused),
        (status(429), Fault::Overloaded),
        (status(503), Fault::Overloaded),
        (Answer::Last(String::new()), Fault::Unreachable),
        (Answer::Last("nonsense\r\n\r\n".to_owned()), Fault::Unreachable),
        (
            Answer::Bytes(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(20_000))),
            Fault::Unreachable,
        ),
    ] {
        receiver.answer(std::slice::from_ref(&answer));
        let failure = post(&courier, &receiver.url(), 1).await.unwrap_err();
        assert_eq!((failure.fault, failure.retry_after), (fault, None), "{answer:?}");
        assert!(!failure.text.is_empty() && failure.text.len() < 300);
    }
    assert!(elsewhere.log().is_empty());
}

#[tokio::test]
async fn retry_after_is_read_as_seconds_and_as_a_date() {
    let receiver = Receiver::open().await;
    let courier = courier(PATIENT);
    let answer = |text: &str| {
        Answer::Bytes(format!("HTTP/1.1 503 x\r\nRetry-After: {text}\r\nContent-Length: 0\r\n\r\n"))
    };
    for (text, least) in [
        ("7", Some(Duration::from_secs(7))),
        ("Fri, 01 Jan 2100 00:00:00 GMT", Some(Duration::from_hours(24 * 365 * 50))),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(Duration::ZERO)),
        ("soon", None),
    ] {
        receiver.answer(&[answer(text)]);
        let pause = post(&courier, &receiver.url(), 1).await.unwrap_err().retry_after;
        assert_eq!(pause.is_some(), least.is_some(), "{text}");
        assert!(pause >= least, "{text}: {pause:?}");
    }
}

#[tokio::test]
async fn nobody_there_and_no_answer_are_different_failures() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let failure = post(&courier(PATIENT), &format!("http://{address}/"), 1).await.unwrap_err();
    assert_eq!(failure.fault, Fault::Unreachable);

    let receiver = Receiver::open().await;
    receiver.answer(&[Answer::Silence]);
    let impatient = courier(Duration::from_millis(100));
    let failure = post(&impatient, &receiver.url(), 1).await.unwrap_err();
    assert_eq!((failure.fault, &*failure.text), (Fault::TimedOut, "no answer within 100ms"));
}

#[tokio::test]
async fn a_connection_is_used_again_after_success_and_replaced_if_the_other_side_closed_it() {
    let receiver = Receiver::open().await;
    let courier = courier(PATIENT);
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned();
    receiver.answer(&[status(200), status(202), Answer::Last(ok)]);
    for number in 1..=5 {
        post(&courier, &receiver.url(), number).await.unwrap();
        if number == 3 {
            receiver.wait("the end", |log| log.contains(&Happening::Closed(1))).await;
        }
    }
    assert_eq!(connections(&receiver.log()), [1, 1, 1, 2, 2]);
}

#[tokio::test]
async fn after_anything_but_success_the_old_connection_is_closed_before_the_next_attempt() {
    for answer in [status(500), status(503), Answer::Silence] {
        let receiver = Receiver::open().await;
        receiver.answer(&[status(200), answer.clone(), status(200)]);
        let courier = courier(Duration::from_millis(300));
        post(&courier, &receiver.url(), 1).await.unwrap();
        post(&courier, &receiver.url(), 2).await.unwrap_err();
        receiver.wait("the old one's end", |log| log.contains(&Happening::Closed(1))).await;
        post(&courier, &receiver.url(), 3).await.unwrap();
        let log = receiver.log();
        assert_eq!(connections(&log), [1, 1, 2], "{answer:?}");
        let closed = position(&log, &Happening::Closed(1));
        assert!(closed < position(&log, &Happening::Opened(2)), "{log:?}");
    }
}

#[tokio::test]
async fn an_attempt_that_is_broken_off_closes_its_connection() {
    let receiver = Receiver::open().await;
    receiver.answer(&[Answer::Silence]);
    let courier = courier(PATIENT);
    let url = receiver.url();
    let attempt = post(&courier, &url, 1);
    tokio::select! {
        result = attempt => panic!("{result:?}"),
        () = receiver.wait("the request", |log| !connections(log).is_empty()) => {}
    }
    receiver.wait("the end", |log| log.contains(&Happening::Closed(1))).await;
}

#[tokio::test]
async fn a_kept_connection_is_not_used_for_another_place() {
    let (one, other) = (Receiver::open().await, Receiver::open().await);
    let courier = courier(PATIENT);
    post(&courier, &one.url(), 1).await.unwrap();
    post(&courier, &other.url(), 2).await.unwrap();
    assert_eq!((connections(&one.log()), connections(&other.log())), (vec![1], vec![1]));
    one.wait("the end", |log| log.contains(&Happening::Closed(1))).await;
}

#[tokio::test]
async fn a_large_list_arrives_whole() {
    let receiver = Receiver::open().await;
    let pod = r#"{"pod_name":"p","status":"healthy","providers":[]}"#;
    let list = format!("[{}]}}", vec![pod; 40_000].join(","));
    let large = Parcel { list: list.into(), ..parcel(&receiver.url(), 1) };
    courier(PATIENT).carry(large).await.unwrap();
    assert_eq!(receiver.told()[0].pods.len(), 40_000);
}

#[tokio::test]
async fn addresses_that_policy_denies_are_not_connected_to() {
    let receiver = Receiver::open().await;
    let deny = vec!["127.0.0.0/8".parse().unwrap()];
    let targets = Targets { deny, allow: Vec::new(), ca_file: None };
    let trust = Trust::load("TARGET_CA_FILE", None).unwrap();
    let dialer = Dialer::new(Policy::new(&targets), Arc::new(SystemResolver::new()), trust);
    let courier = Arc::new(HttpCourier::new(
        Arc::new(dialer),
        Arc::new(SystemClock),
        Arc::new(Desk::default()),
        Attempts { timeout: PATIENT, idle_max: 100 },
    ));
    let port = receiver.address.port();
    for host in ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost"] {
        let url = format!("http://{host}:{port}/");
        let failure = post(&courier, &url, 1).await.unwrap_err();
        assert_eq!(failure.fault, Fault::Unreachable, "{host}");
    }
    assert!(receiver.log().is_empty());
}

#[tokio::test]
async fn a_manager_that_may_act_no_longer_sends_nothing_whatever_it_was_about_to_do() {
    let receiver = Receiver::open().await;
    let desk: Arc<Desk> = Arc::default();
    let courier = courier_of(&desk, PATIENT);
    post(&courier, &receiver.url(), 1).await.unwrap();
    // On the kept connection, and on a new one; then after one more question, so that the first
    // part of the body is on its way when the second may not follow.
    for questions in [0, 1, 2] {
        *desk.patience.lock().unwrap() = Some(questions);
        let failure = post(&courier, &receiver.url(), 2).await.unwrap_err();
        assert!(failure.text.contains("another manager"), "{failure:?}");
    }
    *desk.patience.lock().unwrap() = None;
    post(&courier, &receiver.url(), 3).await.unwrap();
    let told: Vec<u64> = receiver.told().iter().map(|told| told.revision).collect();
    assert_eq!(told, [1, 3]);
}
