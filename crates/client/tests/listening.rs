//! The three paths, through the own listener and through axum: what they answer, and their bounds.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod fake;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use fake::{Fake, eventually, gateway, notification, phase, seen, summary};
use governance_client::{Member, Paths, Phase, Status};
use governance_testkit::http::{Answer, Client, Wire, request};
use tokio::net::TcpListener;
use tokio::task::{JoinSet, spawn_blocking};

/// Asks on a thread that may wait.
async fn ask(address: SocketAddr, method: &'static str, path: &str, body: Vec<u8>) -> Answer {
    let path = path.to_owned();
    let ask = move || Client::new(address).call(method, &path, Some(&body)).unwrap();
    spawn_blocking(ask).await.unwrap()
}

/// The same answers, however they are served.
async fn check_paths(member: &Member, address: SocketAddr, is_well: &AtomicBool) {
    let told = notification("a", u64::MAX, &[summary("eir-1", Status::Healthy)]);
    assert_eq!(ask(address, "POST", "/notify", told).await.status, 200);
    assert_eq!(seen(member), ["eir-1"]);

    let well = ask(address, "GET", "/health", Vec::new()).await;
    assert_eq!((well.status, well.json()["status"].as_str()), (200, Some("healthy")));
    is_well.store(false, Ordering::Relaxed);
    let ill = ask(address, "GET", "/health", Vec::new()).await;
    assert_eq!((ill.status, ill.json()["reason"].as_str()), (503, Some("no peer")));

    let view = ask(address, "GET", "/subscribed-services", Vec::new()).await.json();
    assert_eq!(view["registry_id"], "a");
    assert_eq!(view["subscribed_services"]["eir"]["pods"][0]["pod_name"], "eir-1");

    for (method, path, body, status, code) in [
        ("POST", "/notify", "{}", 400, "not_a_notification"),
        ("POST", "/notify", "", 400, "not_a_notification"),
        ("GET", "/notify", "", 405, "method_not_allowed"),
        ("POST", "/health", "", 405, "method_not_allowed"),
        ("DELETE", "/subscribed-services", "", 405, "method_not_allowed"),
    ] {
        let answer = ask(address, method, path, body.into()).await;
        let told = (answer.status, answer.json()["error"].as_str().map(str::to_owned));
        assert_eq!(told, (status, Some(code.to_owned())), "{method} {path}");
        assert_eq!(answer.header("allow").is_some(), status == 405, "{method} {path}");
    }
    let long = vec![b'x'; 2_000];
    let answer = ask(address, "POST", "/notify", long).await;
    assert_eq!((answer.status, answer.json()["error"].as_str()), (413, Some("body_too_large")));
    assert_eq!(seen(member), ["eir-1"], "nothing of that changed the view");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_listener_answers_the_three_paths() {
    let manager = Fake::start("a");
    let is_well = Arc::new(AtomicBool::new(true));
    let looked = Arc::clone(&is_well);
    let member = gateway(&manager.url())
        .notification_max(1_000)
        .health(
            move || {
                if looked.load(Ordering::Relaxed) { Ok(()) } else { Err("no peer".to_owned()) }
            },
        )
        .start()
        .await
        .unwrap();
    member.registered().await.unwrap();
    let address = member.listens_on().unwrap();
    check_paths(&member, address, &is_well).await;
    assert_eq!(ask(address, "GET", "/elsewhere", Vec::new()).await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_axum_router_answers_the_three_paths_beside_others() {
    let manager = Fake::start("a");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let is_well = Arc::new(AtomicBool::new(true));
    let looked = Arc::clone(&is_well);
    let member = Member::builder("http-gw")
        .pod("http-gw-1")
        .manager(manager.url())
        .provides("http", address.port())
        .advertise("127.0.0.1")
        .subscribe("eir")
        .health_check_url(format!("http://{address}/health"))
        .notification_url(format!("http://{address}/notify"))
        .notification_max(1_000)
        .health(
            move || {
                if looked.load(Ordering::Relaxed) { Ok(()) } else { Err("no peer".to_owned()) }
            },
        )
        .start()
        .await
        .unwrap();
    assert_eq!(member.listens_on(), None);
    let own = Router::new().route("/own", axum::routing::get(|| async { "mine" }));
    let application = own.merge(member.receiver().router());
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, application).await.unwrap() });
    member.registered().await.unwrap();
    let (_, registered) = manager.book().pods["http-gw:http-gw-1"].clone();
    assert_eq!(registered.notification_url, format!("http://{address}/notify"));
    check_paths(&member, address, &is_well).await;
    assert_eq!(ask(address, "GET", "/own", Vec::new()).await.text(), "mine");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_can_be_others() {
    let manager = Fake::start("a");
    let paths = Paths { notify: "/fleet/notify".to_owned(), ..Paths::default() };
    let member = gateway(&manager.url()).paths(paths).start().await.unwrap();
    member.registered().await.unwrap();
    let (_, registered) = manager.book().pods["http-gw:http-gw-1"].clone();
    assert!(registered.notification_url.ends_with("/fleet/notify"));
    let address = member.listens_on().unwrap();
    let told = notification("a", u64::MAX, &[summary("eir-1", Status::Healthy)]);
    assert_eq!(ask(address, "POST", "/notify", told.clone()).await.status, 404);
    assert_eq!(ask(address, "POST", "/fleet/notify", told).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_under_way_is_finished_at_shutdown_and_no_other_is_taken() {
    let manager = Fake::start("a");
    let member = gateway(&manager.url()).start().await.unwrap();
    member.registered().await.unwrap();
    let address = member.listens_on().unwrap();
    let body = notification("a", u64::MAX, &[]);
    let whole = request("POST", "/notify", Some(&body));
    let (first, rest) = whole.split_at(whole.len() - 5);
    let (first, rest) = (first.to_vec(), rest.to_vec());
    let wire = spawn_blocking(move || {
        let mut wire = Wire::open(address).unwrap();
        wire.send(first).unwrap();
        wire
    });
    let mut wire = wire.await.unwrap();
    let mut ended = JoinSet::new();
    let (mut standing, shutdown) = (member.watch_standing(), member.shutdown());
    ended.spawn(shutdown);
    standing.wait_for(|standing| standing.phase == Phase::Left).await.unwrap();
    let is_closed = || std::net::TcpStream::connect(address).is_err();
    eventually("the port is closed", is_closed).await;
    let answer = spawn_blocking(move || {
        wire.send(rest).unwrap();
        wire.receive().unwrap()
    });
    assert_eq!(answer.await.unwrap().status, 200);
    ended.join_next().await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_health_check_answers_before_anybody_is_registered() {
    let member = gateway("http://127.0.0.1:1").start().await.unwrap();
    let answer = ask(member.listens_on().unwrap(), "GET", "/health", Vec::new()).await;
    assert_eq!(answer.status, 200);
    phase(&member, Phase::Joining).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_are_bounded_and_the_next_one_waits_for_its_turn() {
    const CONNECTIONS_MAX: usize = 256;
    let member = gateway("http://127.0.0.1:1").start().await.unwrap();
    let address = member.listens_on().unwrap();
    let mut silent: Vec<_> = (0..CONNECTIONS_MAX).map(|_| Wire::open(address).unwrap()).collect();
    let mut waiting = Wire::open(address).unwrap();
    waiting.send(request("GET", "/health", None)).unwrap();
    let is_silent = waiting.is_silent_for(std::time::Duration::from_millis(100));
    drop(silent.pop());
    let answer = spawn_blocking(move || waiting.receive().unwrap()).await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(is_silent, "it was answered although the others are connected");
}
