//! The HTTP side: from bytes on a connection to a command or a snapshot, and back.
//!
//! `server` owns connections, `router` gives every request an id and every error its form, and
//! each resource has a file. Handlers parse, ask the engine and write the answer; no rule of the
//! registry is here. Reads are answered from the published snapshot and never wait.

mod access;
mod admin;
mod audit;
mod bind;
mod body;
mod discovery;
mod health;
mod heartbeat;
mod insight;
mod json;
mod link;
mod list;
mod metrics;
mod openapi;
mod place;
mod problem;
mod query;
mod refusal;
mod register;
mod registration;
mod request_id;
mod router;
mod server;
mod services;
mod stream;
mod subscribers;
mod traffic;
mod unregister;
mod watch;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use governance_domain::PodKey;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::access::{Access, Caller};
use crate::clock::Clock;
use crate::config::UnhealthyPods;
use crate::engine::{CheckSoon, DeliveryReader, EngineHandle, HealthReader, Origin, Phase};
use crate::flood::Flood;
use crate::telemetry::traces::{TraceContext, Traces};
use crate::watch::Watch;

pub use bind::{BindFault, bind};
pub use openapi::generated as openapi_document;
pub use router::{App, Peer};
pub use server::{ServerSettings, serve};

use problem::Problem;
pub use traffic::Traffic;

/// What handlers need. Shared by all of them, never changed.
pub struct HttpState {
    /// The way to the writer and to the published state.
    pub engine: EngineHandle,
    /// For the timestamp of a heartbeat.
    pub clock: Arc<dyn Clock>,
    /// Told of pods that should be checked before their turn.
    pub check_soon: Arc<dyn CheckSoon>,
    /// Whether a literal address in a URL may be connected to.
    pub permits: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
    /// How long a command may take.
    pub request_timeout: Duration,
    /// Whether the answer to a registration shows unhealthy pods.
    pub unhealthy_pods: UnhealthyPods,
    /// The program's version.
    pub version: &'static str,
    /// When the process started.
    pub started: Instant,
    /// How checks went, where health checks run.
    pub health: Option<Arc<dyn HealthReader>>,
    /// What subscribers were told, where notifications are sent.
    pub deliveries: Option<Arc<dyn DeliveryReader>>,
    /// The way to a stream of changes, where there is one.
    pub watch: Option<Watch>,
    /// How many requests were answered how.
    pub traffic: Arc<Traffic>,
    /// How many of the commands that failed the audit hears of.
    pub failures: Flood,
    /// Where traces begin, if there are any.
    pub traces: Traces,
    /// Who may do what; none if everybody may do everything.
    pub access: Option<Arc<Access>>,
    /// Cancelled when the manager is about to stop: `/ready` says so, all else goes on.
    pub draining: CancellationToken,
}

/// The state as handlers get it.
type Shared = axum::extract::State<Arc<HttpState>>;
/// What handlers return; `router` turns both into bytes.
type Answer = Result<axum::response::Response, Problem>;

impl HttpState {
    /// A state with defaults for the rest: every address may be connected to, unhealthy pods are
    /// shown, and nobody checks pods before their turn.
    pub fn new(
        engine: EngineHandle,
        clock: Arc<dyn Clock>,
        request_timeout: Duration,
        draining: CancellationToken,
    ) -> Self {
        Self {
            engine,
            clock,
            check_soon: Arc::new(Nobody),
            permits: Arc::new(|_| true),
            request_timeout,
            unhealthy_pods: UnhealthyPods::List,
            version: env!("CARGO_PKG_VERSION"),
            started: Instant::now(),
            health: None,
            deliveries: None,
            watch: None,
            traffic: Arc::default(),
            failures: Flood::default(),
            traces: Traces::default(),
            access: None,
            draining,
        }
    }

    /// Refuses while this manager has no state to answer from.
    fn check_readable(&self) -> Result<(), Problem> {
        match &self.engine.standing().phase {
            Phase::Active | Phase::Stopping => Ok(()),
            phase @ (Phase::Loading { .. } | Phase::Standby { .. }) => {
                Err(Problem::not_active(phase))
            }
        }
    }

    /// Refuses while this manager does not write.
    fn check_writable(&self) -> Result<(), Problem> {
        let standing = self.engine.standing();
        if standing.phase == Phase::Active {
            return Ok(());
        }
        Err(Problem::not_active(&standing.phase))
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.request_timeout
    }
}

/// Checks no pods, where no health checks run.
struct Nobody;

impl CheckSoon for Nobody {
    fn check_soon(&self, _key: &PodKey) {}
}

/// Everything that is answered.
pub fn router(state: HttpState) -> App {
    App::new(state)
}

/// Where a request comes from, for the audit.
fn origin(parts: &http::request::Parts) -> Origin {
    origin_of(&parts.headers, &parts.extensions)
}

fn origin_of(headers: &http::HeaderMap, extensions: &http::Extensions) -> Origin {
    let request_id = headers.get(request_id::HEADER).and_then(|id| id.to_str().ok());
    let caller = extensions.get::<Caller>();
    let remote = extensions.get::<Peer>().map(|peer| match caller {
        Some(caller) => format!("{}@{}", caller.name, peer.0),
        None => peer.0.to_string(),
    });
    let trace = TraceContext::of(extensions);
    Origin { request_id: request_id.map(str::to_owned), remote, trace }
}

/// A successful answer of JSON.
fn json_answer(body: Vec<u8>) -> axum::response::Response {
    let mut answer = axum::response::Response::new(body.into());
    let json = http::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(http::header::CONTENT_TYPE, json);
    answer
}
