//! The ceiling: an axum server of the same request and answer shapes that stores nothing.
//!
//! It runs in a process of its own (`governance-bench bare`, hidden), so that its CPU and memory
//! can be read like the manager's. It parses a registration into typed values and serialises an
//! answer with as many pods as the manager's; a read answers bytes it was given at its start. It
//! keeps no registry, validates nothing and is no stand-in for a manager.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use anyhow::Context as _;
use axum::{
    Json, Router,
    extract::{Path as UrlPath, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt as _,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::{
    cli::BareOptions,
    process::{Server, log_path},
};

#[derive(Deserialize)]
struct Registration {
    service_name: String,
    pod_name: String,
    providers: Vec<Provider>,
    #[serde(rename = "health_check_url")]
    _health_check_url: String,
    #[serde(rename = "notification_url")]
    _notification_url: String,
    subscriptions: Vec<String>,
}

#[derive(Deserialize, Serialize)]
struct Provider {
    protocol: String,
    ip: String,
    port: u16,
}

#[derive(Serialize)]
struct Registered<'a> {
    status: &'static str,
    message: &'static str,
    service_name: &'a str,
    pod_name: &'a str,
    registration_id: u64,
    revision: u64,
    registry_id: &'static str,
    pods: Vec<Pod<'a>>,
    subscribed_services: HashMap<&'a str, Vec<Pod<'a>>>,
}

#[derive(Serialize)]
struct Pod<'a> {
    #[serde(rename = "pod_name")]
    name: String,
    status: &'static str,
    providers: &'a [Provider],
}

struct Shared {
    pods_per_service: u32,
    /// What `GET /services/{service}` answers, by service.
    answers: HashMap<String, Bytes>,
    counter: AtomicU64,
}

/// Starts the ceiling as a child process. `answers` is a JSON object of bodies by service.
pub(crate) async fn start(
    directory: &Path,
    number: usize,
    pods_per_service: u32,
    answers: Option<&Path>,
) -> anyhow::Result<(Server, SocketAddr)> {
    let program = std::env::current_exe().context("this program cannot find itself")?;
    let mut command = Command::new(program);
    command.args(["bare", "--until-stdin-closes", "--pods-per-service"]);
    command.arg(pods_per_service.to_string()).stdin(Stdio::piped());
    if let Some(answers) = answers {
        command.arg("--answers").arg(answers);
    }
    let mut server = Server::spawn(command, log_path(directory, "bare", number))?;
    let address = server.address().await?;
    Ok((server, address))
}

/// The child's side: serves until it is ended.
pub(crate) fn serve(options: &BareOptions) -> anyhow::Result<()> {
    if options.until_stdin_closes {
        thread::spawn(end_with_parent);
    }
    let shared = Arc::new(Shared {
        pods_per_service: options.pods_per_service,
        answers: read_answers(options.answers.as_ref())?,
        counter: AtomicU64::new(1 << 32),
    });
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
        let address = listener.local_addr()?;
        writeln!(io::stderr(), "{{\"message\":\"listening\",\"address\":\"{address}\"}}")?;
        let listener = listener.tap_io(|stream| {
            let _slower_at_worst = stream.set_nodelay(true);
        });
        axum::serve(listener, router(shared)).await?;
        Ok(())
    })
}

/// Standard input ends when the parent does, however it died; then so does this process.
pub(crate) fn end_with_parent() {
    let mut byte = [0];
    while matches!(io::stdin().read(&mut byte), Ok(1)) {}
    std::process::exit(0);
}

fn read_answers(path: Option<&PathBuf>) -> anyhow::Result<HashMap<String, Bytes>> {
    let Some(path) = path else {
        return Ok(HashMap::new());
    };
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let answers: HashMap<String, String> = serde_json::from_reader(BufReader::new(file))
        .with_context(|| format!("{} is no object of texts", path.display()))?;
    Ok(answers.into_iter().map(|(service, body)| (service, Bytes::from(body))).collect())
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/register", post(register))
        .route("/services/{service}", get(read))
        .route("/ready", get(|| async { StatusCode::OK }))
        .route("/health", get(|| async { StatusCode::OK }))
        .with_state(shared)
}

async fn register(
    State(shared): State<Arc<Shared>>,
    Json(registration): Json<Registration>,
) -> Response {
    let revision = shared.counter.fetch_add(1, Ordering::Relaxed);
    let pods_of = |service: &str| -> Vec<Pod<'_>> {
        (0..shared.pods_per_service)
            .map(|number| Pod {
                name: format!("{service}-pod-{number}"),
                status: "unknown",
                providers: &registration.providers,
            })
            .collect()
    };
    Json(Registered {
        status: "success",
        message: "service registered",
        service_name: &registration.service_name,
        pod_name: &registration.pod_name,
        registration_id: revision,
        revision,
        registry_id: "00000000-0000-4000-8000-000000000000",
        pods: pods_of(&registration.service_name),
        subscribed_services: registration
            .subscriptions
            .iter()
            .map(|service| (service.as_str(), pods_of(service)))
            .collect(),
    })
    .into_response()
}

async fn read(State(shared): State<Arc<Shared>>, UrlPath(service): UrlPath<String>) -> Response {
    match shared.answers.get(&service) {
        Some(body) => ([(CONTENT_TYPE, "application/json")], body.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        wire::{self, Connection},
        workload::{ChangedField, Contents, Fleet, Pass, Registrations, Requests as _},
    };
    use serde_json::Value;
    use tokio::task::JoinSet;

    async fn connect(answers: HashMap<String, Bytes>) -> (Connection, JoinSet<()>) {
        let shared = Shared { pods_per_service: 10, answers, counter: AtomicU64::new(7) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = JoinSet::new();
        let router = router(Arc::new(shared));
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        (Connection::open(address).await.unwrap(), server)
    }

    #[tokio::test]
    async fn a_registration_of_the_workload_is_answered_with_all_pods_of_its_services() {
        let (mut connection, _server) = connect(HashMap::new()).await;
        let fleet = Arc::new(Fleet {
            pods: 100,
            pods_per_service: 10,
            subscriptions: 2,
            pod_base_url: "http://127.0.0.1:9".to_owned(),
            changed: ChangedField::Provider,
        });
        let mut source = Registrations::deal(&fleet, &Contents::new(), 100, Pass::Once).remove(57);
        let mut request = Vec::new();
        assert!(source.write_next(&mut request));
        let answer = connection.exchange(&request).await.unwrap();
        assert_eq!(answer.status, 200);
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["pod_name"], "svc-000005-pod-7");
        assert_eq!(body["pods"].as_array().unwrap().len(), 10);
        assert_eq!(body["pods"][9]["pod_name"], "svc-000005-pod-9");
        assert!(body["pods"][0]["providers"][0]["port"].is_u64());
        let subscribed = body["subscribed_services"].as_object().unwrap();
        assert_eq!(subscribed.keys().collect::<Vec<_>>(), ["svc-000006", "svc-000007"]);
    }

    #[tokio::test]
    async fn a_read_answers_the_given_bytes_and_an_unknown_service_is_404() {
        let answers = HashMap::from([("svc-000001".to_owned(), Bytes::from_static(b"{\"a\":1}"))]);
        let (mut connection, _server) = connect(answers).await;
        let answer = connection.exchange(&wire::get("/services/svc-000001")).await.unwrap();
        assert_eq!((answer.status, &*answer.body), (200, b"{\"a\":1}".as_slice()));
        let answer = connection.exchange(&wire::get("/services/svc-000002")).await.unwrap();
        assert_eq!(answer.status, 404);
    }
}
