//! With the real manager: the documented example, a crash, an empty successor, a take-over, and a
//! view that follows through a bad connection.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod fake;
#[path = "../examples/http_gw.rs"]
#[allow(dead_code, unreachable_pub, reason = "a program of its own; its `main` is not called here")]
mod http_gw;

use std::time::Duration;

use axum::Router;
use fake::{PATIENCE, eventually, gateway, own_ip, phase, seen};
use governance_client::{Change, Member, Phase, Status};
use governance_testkit::http::Client;
use governance_testkit::manager::{ManagerBuilder, ManagerProcess};
use governance_testkit::postgres::{Cluster, PASSWORD, Shutdown, USER};
use governance_testkit::proxy::{Fate, Proxy};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// On an address of its own, so that a successor finds its port free.
const PORT: &str = "18080";

fn builder(host: [u8; 4]) -> ManagerBuilder {
    ManagerProcess::built()
        .set("SERVER_HOST", std::net::Ipv4Addr::from(host).to_string())
        .set("SERVER_PORT", PORT)
        .set("HEALTH_CHECK_INTERVAL", "500ms")
        .set("HEALTH_CHECK_FAILURE_LIMIT", "0")
        .set("NOTIFICATION_INTERVAL", "2s")
        .set("NOTIFICATION_TIMEOUT", "500ms")
}

fn url(manager: &ManagerProcess) -> String {
    format!("http://{}", manager.address())
}

/// A register whose health check is the manager's own port, which is always open.
fn register_eir(manager: &ManagerProcess, name: &str, port: u32) {
    let health = format!("tcp://{}", manager.address());
    let body = json!({
        "service_name": "eir", "pod_name": name, "health_check_url": health,
        "notification_url": "http://127.0.0.1:1/", "subscriptions": [],
        "providers": [{"protocol": "http", "ip": "127.0.0.1", "port": port}],
    });
    let answer = manager.client().post("/register", &body);
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn pods(manager: &ManagerProcess, service: &str) -> Vec<Value> {
    let list = manager.client().get(&format!("/services/{service}")).json();
    list["pods"].as_array().cloned().unwrap_or_default()
}

async fn next(changes: &mut governance_client::Changes) -> Change {
    timeout(PATIENCE, changes.next()).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_example_registers_hears_and_unregisters() {
    let manager = builder(own_ip()).start();
    let gateway = http_gw::start(&url(&manager)).await.unwrap();
    gateway.registered().await.unwrap();
    let mut changes = gateway.changes();
    register_eir(&manager, "eir-pod-1", 8080);
    let created = next(&mut changes).await;
    http_gw::received(&created);
    let Change::Created(pod) = &created else { panic!("{created:?}") };
    assert_eq!((pod.service(), pod.name()), ("eir", "eir-pod-1"));
    if pod.status() == Status::Unknown {
        let Change::Updated { now, .. } = next(&mut changes).await else { panic!() };
        assert_eq!(now.status(), Status::Healthy);
    }
    assert_eq!(gateway.view().pick_healthy("eir").unwrap().address(), "127.0.0.1:8080");
    let is_healthy = || pods(&manager, "http-gw").first().is_some_and(|p| p["status"] == "healthy");
    eventually("the manager finds the gateway healthy", is_healthy).await;
    manager.client().send("DELETE", "/unregister?service_name=eir&pod_name=eir-pod-1");
    let removed = next(&mut changes).await;
    assert!(matches!(removed, Change::Removed(_)), "{removed:?}");
    gateway.shutdown().await.unwrap();
    assert!(pods(&manager, "http-gw").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_was_killed_is_registered_with_again_with_its_memory_and_without() {
    let host = own_ip();
    let manager = builder(host).start();
    register_eir(&manager, "eir-1", 8080);
    let member = gateway(&url(&manager)).start().await.unwrap();
    member.registered().await.unwrap();
    let before = member.standing();
    let same = manager.sigkill();
    phase(&member, Phase::Away).await;
    assert_eq!(seen(&member), ["eir-1"]);

    let manager = same.start();
    phase(&member, Phase::Registered).await;
    let after = member.standing();
    assert_eq!(after.registry_id, before.registry_id);
    assert_eq!(after.registration_id, before.registration_id, "it is the same registration");
    manager.sigkill();

    let empty = builder(host).start();
    let is_there = || pods(&empty, "http-gw").len() == 1;
    eventually("it is registered with the empty one", is_there).await;
    eventually("the view is the empty one's", || seen(&member).is_empty()).await;
    phase(&member, Phase::Registered).await;
    assert_ne!(member.standing().registry_id, before.registry_id);
    member.shutdown().await.unwrap();
    assert!(pods(&empty, "http-gw").is_empty());
}

/// The same with its registry on that server.
fn on_postgres(cluster: &Cluster) -> ManagerBuilder {
    builder(own_ip())
        .set("STORAGE", "postgres")
        .set("DB_HOST", cluster.address().ip().to_string())
        .set("DB_PORT", cluster.address().port().to_string())
        .set("DB_USER", USER)
        .set("DB_PASSWORD", PASSWORD)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_while_the_database_is_away_is_registered_when_it_is_back() {
    let mut cluster = Cluster::start().unwrap();
    let manager = on_postgres(&cluster).set("REQUEST_TIMEOUT", "500ms").start();
    let member = gateway(&url(&manager)).start().await.unwrap();
    member.registered().await.unwrap();
    cluster.stop(Shutdown::Immediate).unwrap();
    // What is registered already is answered from memory.
    let before = member.standing().registrations;
    eventually("identical ones go on", || member.standing().registrations > before).await;
    member.set_address("localhost").unwrap();
    phase(&member, Phase::Away).await;
    let trouble = member.standing().trouble.unwrap();
    assert!(trouble.contains("503") || trouble.contains("504"), "{trouble}");
    cluster.start_again().unwrap();
    phase(&member, Phase::Registered).await;
    let registered = pods(&manager, "http-gw");
    let port = member.listens_on().unwrap().port();
    assert_eq!(registered[0]["health_check_url"], format!("http://localhost:{port}/health"));
    assert_eq!(registered[0]["registration_id"], json!(member.standing().registration_id));
    member.shutdown().await.unwrap();
    assert!(pods(&manager, "http-gw").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_takes_over_is_found() {
    let cluster = Cluster::start().unwrap();
    let active = on_postgres(&cluster).start();
    let standby = on_postgres(&cluster).launch();
    let is_standby = || standby.client().get("/ready").json()["error"] == "not_active";
    eventually("the second is standby", is_standby).await;
    // The standby comes first: it is asked, and says where the active one is.
    let member = gateway(&url(&standby)).manager(url(&active)).start().await.unwrap();
    member.registered().await.unwrap();
    assert_eq!(member.standing().manager, url(&active));
    let before = member.standing();
    active.sigkill();
    let new = url(&standby);
    let moved = || {
        let now = member.standing();
        now.manager == new && now.registrations > before.registrations
    };
    let has_moved = timeout(PATIENCE, eventually("it is registered with the new one", moved)).await;
    assert!(has_moved.is_ok(), "{:?}\n{}", member.standing(), standby.log_text());
    assert_eq!(member.standing().registration_id, before.registration_id);
    assert_eq!(pods(&standby, "http-gw").len(), 1);
}

/// A gateway whose notifications pass through a proxy.
async fn behind_a_proxy(manager: &ManagerProcess) -> (Member, Proxy, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let direct = listener.local_addr().unwrap();
    let proxy = Proxy::start(direct).await.unwrap();
    let member = Member::builder("http-gw")
        .pod("http-gw-1")
        .manager(url(manager))
        .provides("http", 8080)
        .advertise("127.0.0.1")
        .subscribe("eir")
        .health_check_url(format!("http://{direct}/health"))
        .notification_url(format!("http://{}/notify", proxy.address))
        .heartbeat(Duration::from_millis(300))
        .retry(Duration::from_millis(20), Duration::from_millis(500))
        .start()
        .await
        .unwrap();
    let application: Router = member.receiver().router();
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, application).await.unwrap() });
    (member, proxy, server)
}

/// Name, status and port of every pod, as the manager has it and as the member sees it.
fn both(manager: &ManagerProcess, member: &Member) -> (Vec<String>, Vec<String>) {
    let text = |name: &str, status: &Value, port: i64| format!("{name} {status} {port}");
    let theirs = pods(manager, "eir").into_iter().map(|pod| {
        let port = pod["providers"][0]["port"].as_i64().unwrap();
        text(pod["pod_name"].as_str().unwrap(), &pod["status"], port)
    });
    let ours = member.view().pods("eir");
    let ours =
        ours.iter().map(|pod| text(pod.name(), &json!(pod.status()), pod.providers()[0].port));
    (theirs.collect(), ours.collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_view_converges_through_a_bad_connection_and_a_crash() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut manager = builder(own_ip()).start();
    let (member, proxy, _server) = behind_a_proxy(&manager).await;
    member.registered().await.unwrap();
    let mut client = Client::new(manager.address());
    let mut revision = 0;
    for turn in 0..120 {
        let name = format!("eir-{}", random.u32(..6));
        if random.u8(..3) == 0 {
            client.send("DELETE", &format!("/unregister?service_name=eir&pod_name={name}"));
        } else {
            register_eir(&manager, &name, random.u32(1..60_000));
        }
        match random.u8(..8) {
            0 => proxy.cut(),
            1 => proxy.doom_next(Fate::CutBefore),
            2 => proxy.doom_next(Fate::CutAfter),
            3 => proxy.doom_next(Fate::CutWithin),
            4 => proxy.doom_next(Fate::SwallowAnswer),
            _ => {}
        }
        let now = member.view().revision("eir").unwrap_or_default();
        assert!(now >= revision, "seed {seed}: the view went back from {revision} to {now}");
        revision = now;
        if turn == 60 {
            manager = manager.sigkill().start();
            client = Client::new(manager.address());
        }
        if turn % 10 == 9 {
            let agree = || {
                let (theirs, ours) = both(&manager, &member);
                theirs == ours
            };
            eventually(&format!("the view is the registry's, seed {seed}"), agree).await;
        }
    }
}
