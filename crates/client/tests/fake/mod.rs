//! A manager that does what a test wants, and keeps a book of what was asked of it.
//!
//! It runs on threads of its own, so that ending it ends every connection, as a process would.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a panic is how a test fails, also in its helpers"
)]
#![allow(dead_code, reason = "each test crate uses a part")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use governance_api::{PodSummary, Provider, RegisterRequest, Status};
use governance_client::{Builder, Member, Phase};
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How it answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Mood {
    #[default]
    Serving,
    /// Takes requests and never answers.
    Hanging,
    /// A problem of this status and code to everything.
    Failing(u16, &'static str),
    /// Heartbeats and reads work, writes do not: the database is away.
    WithoutDatabase,
    /// Does it, and says that it does not know.
    Doubting,
    /// Another one is active, perhaps there.
    Standby(Option<SocketAddr>),
    /// Another contract: this to a registration.
    Strange(String),
    /// No to registrations, with this text.
    Refusing(&'static str),
}

#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) mood: Mood,
    pub(crate) registry_id: String,
    pub(crate) revision: u64,
    last_id: u64,
    pub(crate) pods: BTreeMap<String, (u64, RegisterRequest)>,
    /// What the services that are subscribed to look like.
    pub(crate) fleet: BTreeMap<String, Vec<PodSummary>>,
    /// Every request, in order.
    pub(crate) asked: Vec<String>,
    registering: usize,
    pub(crate) most_registering: usize,
    /// Why notifications do not arrive.
    pub(crate) undelivered: Option<String>,
}

type Shared = Arc<Mutex<Book>>;

/// The manager; dropped, it is gone.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    book: Shared,
    runtime: Option<Runtime>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waits until all of it is gone, which must not happen on a runtime's own thread.
            let end = std::thread::spawn(move || runtime.shutdown_timeout(PATIENCE));
            end.join().unwrap();
        }
    }
}

impl Fake {
    pub(crate) fn start(registry_id: &str) -> Self {
        Self::start_at(SocketAddr::from((own_ip(), 0)), registry_id)
    }

    pub(crate) fn start_at(address: SocketAddr, registry_id: &str) -> Self {
        let book = Arc::new(Mutex::new(Book {
            mood: Mood::Serving,
            registry_id: registry_id.to_owned(),
            revision: 1 << 32,
            last_id: 0,
            pods: BTreeMap::new(),
            fleet: BTreeMap::new(),
            asked: Vec::new(),
            registering: 0,
            most_registering: 0,
            undelivered: None,
        }));
        let runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = { runtime }.worker_threads(1).enable_all().build().unwrap();
        let application = Router::new()
            .route("/register", post(register))
            .route("/heartbeat", post(heartbeat))
            .route("/unregister", delete(unregister))
            .route("/services/{service}/pods/{pod}", get(inspect))
            .route("/version", get(version))
            .with_state(Arc::clone(&book));
        let listener = {
            let _guard = runtime.enter();
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
            let socket = socket.unwrap();
            socket.set_reuseaddr(true).unwrap();
            socket.bind(address).unwrap();
            socket.listen(64).unwrap()
        };
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, application).await.unwrap() });
        Self { address, book, runtime: Some(runtime) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.book().mood = mood;
    }

    /// Ends it as `kill -9` would; where it was.
    pub(crate) fn die(self) -> SocketAddr {
        self.address
    }

    pub(crate) fn knows(&self, key: &str) -> bool {
        self.book().pods.contains_key(key)
    }

    pub(crate) fn count(&self, what: &str) -> usize {
        self.book().asked.iter().filter(|asked| asked.starts_with(what)).count()
    }
}

/// Any port of the other loopback.
pub(crate) fn localhost_v6() -> SocketAddr {
    SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 0))
}

/// An address of loopback that no other test uses, so that nobody takes the port of a manager that
/// is gone for a moment.
pub(crate) fn own_ip() -> [u8; 4] {
    let [a, b, ..] = *uuid::Uuid::new_v4().as_bytes();
    [127, 77, a, b.clamp(1, 254)]
}

fn problem(status: u16, code: &str, detail: &str, active: Option<SocketAddr>) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    let mut body = json!({
        "type": "about:blank", "title": "x", "status": status.as_u16(), "detail": detail,
        "message": detail, "error": code, "request_id": "r",
    });
    if let Some(active) = active {
        body["active"] = json!(active.to_string());
    }
    let kind = [(header::CONTENT_TYPE, "application/problem+json")];
    (status, kind, body.to_string()).into_response()
}

fn unknown() -> Response {
    problem(404, "pod_not_registered", "it is not registered", None)
}

/// What its mood makes it say to anything.
async fn moody(book: &Shared, what: String) -> Option<Response> {
    let mood = {
        let mut book = book.lock().unwrap();
        book.asked.push(what);
        book.mood.clone()
    };
    match mood {
        Mood::Hanging => std::future::pending().await,
        Mood::Failing(status, code) => Some(problem(status, code, "as the test says", None)),
        Mood::Standby(active) => Some(problem(503, "not_active", "a standby", active)),
        _ => None,
    }
}

/// Counts a registration as under way.
struct Registering(Shared);

impl Registering {
    fn new(book: &Shared) -> Self {
        let mut inside = book.lock().unwrap();
        inside.registering += 1;
        inside.most_registering = inside.most_registering.max(inside.registering);
        Self(Arc::clone(book))
    }
}

impl Drop for Registering {
    fn drop(&mut self) {
        self.0.lock().unwrap().registering -= 1;
    }
}

async fn register(State(book): State<Shared>, body: Bytes) -> Response {
    let under_way = Registering::new(&book);
    if let Some(answer) = moody(&book, "register".to_owned()).await {
        return answer;
    }
    // Long enough for a second one to be seen.
    sleep(Duration::from_millis(5)).await;
    drop(under_way);
    let mut book = book.lock().unwrap();
    match book.mood.clone() {
        Mood::WithoutDatabase => return problem(503, "store_unavailable", "no database", None),
        Mood::Refusing(why) => return problem(400, "invalid_request", why, None),
        Mood::Strange(body) => return body.into_response(),
        _ => {}
    }
    let request: RegisterRequest = serde_json::from_slice(&body).unwrap();
    let key = format!("{}:{}", request.service_name, request.pod_name);
    let known = book.pods.get(&key).filter(|(_, known)| *known == request).map(|(id, _)| *id);
    let id = known.unwrap_or_else(|| {
        book.last_id += 1;
        book.revision += 1;
        book.last_id
    });
    let fleet = |name: &str| book.fleet.get(name).cloned().unwrap_or_default();
    let subscribed: BTreeMap<_, _> =
        request.subscriptions.iter().map(|s| (s.service_name(), fleet(s.service_name()))).collect();
    let answer = json!({
        "status": "success", "message": "", "service_name": request.service_name,
        "pod_name": request.pod_name, "registration_id": id, "revision": book.revision,
        "registry_id": book.registry_id, "pods": [], "subscribed_services": subscribed,
    });
    book.pods.insert(key, (id, request));
    if book.mood == Mood::Doubting {
        return problem(504, "outcome_unknown", "nobody knows", None);
    }
    answer.to_string().into_response()
}

type Names = Query<BTreeMap<String, String>>;

fn key(names: &BTreeMap<String, String>) -> String {
    format!("{}:{}", names["service_name"], names["pod_name"])
}

async fn heartbeat(State(book): State<Shared>, Query(names): Names) -> Response {
    if let Some(answer) = moody(&book, "heartbeat".to_owned()).await {
        return answer;
    }
    if !book.lock().unwrap().pods.contains_key(&key(&names)) {
        return unknown();
    }
    json!({"status": "ok", "timestamp": "2026-01-01T00:00:00Z"}).to_string().into_response()
}

async fn unregister(State(book): State<Shared>, Query(names): Names) -> Response {
    let ids = format!("unregister {:?} {}", names.get("registration_id"), names["instance_id"]);
    if let Some(answer) = moody(&book, ids).await {
        return answer;
    }
    let mut book = book.lock().unwrap();
    if book.mood == Mood::WithoutDatabase {
        return problem(503, "store_unavailable", "no database", None);
    }
    let Some((id, known)) = book.pods.get(&key(&names)) else { return unknown() };
    let is_id = names.get("registration_id").is_none_or(|given| *given == id.to_string());
    if !is_id || known.instance_id.as_ref() != names.get("instance_id") {
        return problem(409, "registration_superseded", "another one is registered", None);
    }
    book.pods.remove(&key(&names));
    json!({"status": "success"}).to_string().into_response()
}

async fn inspect(State(book): State<Shared>, Path(names): Path<(String, String)>) -> Response {
    if let Some(answer) = moody(&book, format!("inspect {names:?}")).await {
        return answer;
    }
    let why = book.lock().unwrap().undelivered.clone();
    let since = why.as_ref().map(|_| "2026-01-01T00:00:00Z");
    let delivery = json!({
        "service_name": "eir", "delivered_revision": null, "delivered_at": null,
        "behind_since": since, "failing_since": since, "attempts": 3, "last_error": why,
    });
    json!({"service_name": names.0, "deliveries": [delivery]}).to_string().into_response()
}

async fn version(State(book): State<Shared>) -> Response {
    if let Some(answer) = moody(&book, "version".to_owned()).await {
        return answer;
    }
    json!({"name": "governance-manager", "version": "9.9.9"}).to_string().into_response()
}

/// A pod of the fleet.
pub(crate) fn summary(name: &str, status: Status) -> PodSummary {
    let providers = vec![Provider::new("http", "127.0.0.1", 9)];
    PodSummary { pod_name: name.to_owned(), status, providers }
}

/// A notification's bytes.
pub(crate) fn notification(registry_id: &str, revision: u64, pods: &[PodSummary]) -> Vec<u8> {
    let body: Value = json!({
        "service_name": "eir", "event_type": "register", "timestamp": "2026-01-01T00:00:00Z",
        "revision": revision, "registry_id": registry_id, "pods": pods,
    });
    body.to_string().into_bytes()
}

/// A gateway that is in a hurry, and takes notifications on loopback.
pub(crate) fn gateway(manager: &str) -> Builder {
    Member::builder("http-gw")
        .pod("http-gw-1")
        .manager(manager)
        .provides("http", 8080)
        .subscribe("eir")
        .listen("127.0.0.1:0")
        .heartbeat(Duration::from_millis(40))
        .retry(Duration::from_millis(20), Duration::from_millis(200))
        .request_timeout(Duration::from_secs(2))
}

/// Waits for a condition.
#[track_caller]
pub(crate) fn eventually<'a>(
    what: &'a str,
    mut holds: impl FnMut() -> bool + 'a,
) -> impl Future<Output = ()> + 'a {
    let place = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + PATIENCE + Duration::from_secs(1);
        while !holds() {
            // A little longer than who waits with a message of its own.
            assert!(Instant::now() < deadline, "{what}: not so ({place})");
            sleep(Duration::from_millis(3)).await;
        }
    }
}

/// Waits until the member stands so.
pub(crate) async fn phase(member: &Member, wanted: Phase) {
    let mut standing = member.watch_standing();
    let reached = standing.wait_for(|standing| standing.phase == wanted);
    let reached = tokio::time::timeout(PATIENCE, reached).await.map(|result| result.map(|_| ()));
    assert!(reached.is_ok_and(|result| result.is_ok()), "{wanted:?}: {:?}", member.standing());
}

/// The names of the pods of `eir` that it sees.
pub(crate) fn seen(member: &Member) -> Vec<String> {
    member.view().pods("eir").iter().map(|pod| pod.name().to_owned()).collect()
}
