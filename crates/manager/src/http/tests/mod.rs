//! The HTTP side in process: a real engine on a store in memory, requests without sockets, except
//! where the socket is the point.

mod access;
mod audit;
mod errors;
mod metrics;
mod openapi;
mod operating;
mod reads;
mod registering;
mod server;
mod watch;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use governance_domain::{PodKey, Timestamp};
use governance_store::{MemoryStore, Owner, Store, Uuid};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{App, HttpState};
use crate::access::Access;
use crate::clock::Clock;
use crate::engine::{CheckSoon, Engine, EngineHandle, EngineSettings, Phase};
use crate::watch::Watch;

/// 2026-01-02T03:04:05.678Z.
const NOW: Timestamp = Timestamp::from_micros(1_767_323_045_678_000);

struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        NOW
    }
}

#[derive(Default)]
struct Checks(Mutex<Vec<String>>);

impl CheckSoon for Checks {
    fn check_soon(&self, key: &PodKey) {
        self.0.lock().unwrap().push(key.to_string());
    }
}

/// An answer, taken apart.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|fault| panic!("{fault}: {}", self.text))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The body, once it is known to be a problem of this status and code.
    fn problem(&self, status: u16, code: &str) -> governance_api::Problem {
        let text = &self.text;
        assert_eq!(
            (self.status.as_u16(), self.header("content-type")),
            (status, Some("application/problem+json")),
            "{text}"
        );
        let problem: governance_api::Problem = serde_json::from_str(text).unwrap();
        assert_eq!((problem.status, problem.error.as_str()), (status, code), "{text}");
        assert_eq!(problem.detail, problem.message);
        assert_eq!(Some(problem.request_id.as_str()), self.header("x-request-id"));
        let is_repeatable = matches!(status, 429 | 503);
        assert_eq!(self.header("retry-after").is_some(), is_repeatable, "{text}");
        problem
    }
}

/// A manager's HTTP side and engine.
struct Bench {
    app: App,
    engine: EngineHandle,
    checks: Arc<Checks>,
    draining: CancellationToken,
    /// Ends what would not end by itself.
    closing: CancellationToken,
    tasks: JoinSet<()>,
}

impl Bench {
    /// One that has read its state.
    async fn start() -> Self {
        let mut bench = Self::prepare(100);
        bench.wait_until_active().await;
        bench
    }

    async fn with_pods_per_service(max: usize) -> Self {
        let mut bench = Self::prepare(max);
        bench.wait_until_active().await;
        bench
    }

    /// One whose engine does not run yet.
    fn loading() -> Self {
        let mut bench = Self::prepare(100);
        bench.tasks.abort_all();
        bench
    }

    fn prepare(max_pods_per_service: usize) -> Self {
        Self::on(Arc::new(MemoryStore::default()), max_pods_per_service)
    }

    fn on(store: Arc<dyn Store>, max_pods_per_service: usize) -> Self {
        Self::guarded(store, max_pods_per_service, None)
    }

    fn guarded(
        store: Arc<dyn Store>,
        max_pods_per_service: usize,
        access: Option<Arc<Access>>,
    ) -> Self {
        let settings = EngineSettings {
            event_queue_size: 100,
            max_pods_per_service,
            audit_retention: Duration::from_hours(1),
            owner: Owner { id: Uuid::nil(), address: "127.0.0.1:1".to_owned(), last: None },
        };
        let (mut engine, handle) = Engine::new(store, settings, Arc::new(StoppedClock));
        let watch = Watch::new(handle.clone());
        engine.add_observer(watch.observer());
        let checks = Arc::new(Checks::default());
        let draining = CancellationToken::new();
        let timeout = Duration::from_secs(5);
        let clock = Arc::new(StoppedClock);
        let state = HttpState {
            check_soon: checks.clone(),
            permits: Arc::new(|address| address.to_string() != "169.254.1.1"),
            version: "0.0.0-test",
            watch: Some(watch.clone()),
            access,
            ..HttpState::new(handle.clone(), clock, timeout, draining.clone())
        };
        let mut tasks = JoinSet::new();
        let closing = CancellationToken::new();
        tasks.spawn(watch.run(closing.clone()));
        tasks.spawn(async move { engine.run().await.unwrap() });
        Self { app: App::new(state), engine: handle, checks, draining, closing, tasks }
    }

    async fn wait_until_active(&mut self) {
        let active = async {
            while self.engine.standing().phase != Phase::Active {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), active).await.expect("it becomes active");
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let answer = self.app.answer(request).await;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(body.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    async fn call(&self, method: &str, uri: &str) -> Answer {
        self.send(Request::builder().method(method).uri(uri).body(Body::empty()).unwrap()).await
    }

    async fn get(&self, uri: &str) -> Answer {
        self.call("GET", uri).await
    }

    async fn post(&self, body: impl Into<Body>) -> Answer {
        let request = Request::post("/register").header("content-type", "application/json");
        self.send(request.body(body.into()).unwrap()).await
    }

    /// Registers, and fails the test if that fails.
    async fn register(&self, registration: &Value) -> Value {
        let answer = self.post(registration.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }
}

/// A registration like those of the documentation.
fn registration(service: &str, pod: &str) -> Value {
    json!({
        "service_name": service,
        "pod_name": pod,
        "providers": [{"protocol": "http", "ip": "192.168.1.10", "port": 8080}],
        "health_check_url": "http://192.168.1.10:8080/health",
        "notification_url": "http://192.168.1.10:8080/notify",
        "subscriptions": [],
    })
}

/// The same with another value in a field.
fn with(mut registration: Value, field: &str, value: Value) -> Value {
    registration[field] = value;
    registration
}
