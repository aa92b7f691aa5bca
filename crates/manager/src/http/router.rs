//! Which path leads where, and what every request has in common: an id, and errors that are
//! problems, whoever made them.

use std::fmt;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use futures_util::FutureExt as _;
use governance_api::paths;
use http::{HeaderValue, Method, StatusCode};
use tower::ServiceExt as _;

use super::problem::Problem;
use super::traffic::Route;
use super::{
    HttpState, Traffic, access, admin, audit, discovery, health, heartbeat, metrics, openapi,
    register, request_id, services, subscribers, unregister, watch,
};
use crate::access::Access;
use crate::engine::Phase;
use crate::telemetry::traces::RequestLine;

/// What a standby answers, too; and what its operator does to it.
const OF_ITSELF: [&str; 4] = [paths::HEALTH, paths::READY, paths::VERSION, paths::METRICS];
const ADMIN: &str = "/admin/";

/// What a trace may begin with: commands, which others hear of. Reads and heartbeats are many and
/// take no time; they are traced where their caller traces them.
const BEGINNINGS: [&str; 2] = [paths::REGISTER, paths::UNREGISTER];

/// Who sent a request; stands in its extensions.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Answers requests.
#[derive(Clone)]
pub struct App {
    router: Router,
    traffic: Arc<Traffic>,
    state: Arc<HttpState>,
    /// None if everybody may do everything: then nothing is looked at.
    door: Option<Arc<Access>>,
}

impl App {
    /// All resources.
    pub fn new(state: HttpState) -> Self {
        Self::with_routes(state, Router::new())
    }

    /// All resources, and others beside them.
    pub fn with_routes(state: HttpState, others: Router) -> Self {
        let state = Arc::new(state);
        let traffic = Arc::clone(&state.traffic);
        let door = state.access.clone();
        let ours = Router::new()
            .route(paths::REGISTER, post(register::register))
            .route(paths::UNREGISTER, delete(unregister::unregister))
            .route(paths::HEARTBEAT, post(heartbeat::heartbeat))
            .route(paths::SERVICES, get(services::list))
            .route(paths::SERVICE, get(services::service))
            .route(paths::POD, get(services::pod))
            .route(paths::SUBSCRIBERS, get(subscribers::subscribers))
            .route(paths::WATCH, get(watch::watch))
            .route(paths::AUDIT_LOGS, get(audit::logs))
            .route(paths::AUDIT_LOG, get(audit::log_by_id))
            .route(paths::SD_PROMETHEUS, get(discovery::prometheus))
            .route(paths::LOG_LEVEL, get(admin::log_level).put(admin::set_log_level))
            .route(paths::OPENAPI, get(openapi::document))
            .route(paths::DOCS, get(openapi::docs))
            .route(paths::METRICS, get(metrics::metrics))
            .route(paths::HEALTH, get(health::health))
            .route(paths::READY, get(health::ready))
            .route(paths::VERSION, get(health::version))
            .with_state(Arc::clone(&state));
        let router = ours
            .merge(others)
            .method_not_allowed_fallback(async || StatusCode::METHOD_NOT_ALLOWED)
            .fallback(async || StatusCode::NOT_FOUND);
        Self { router, traffic, state, door }
    }

    /// Who may do what, unless everybody may do everything.
    pub(super) fn access(&self) -> Option<&Arc<Access>> {
        self.door.as_ref()
    }

    /// Answers one request. Never fails: what goes wrong is an answer, too.
    pub async fn answer(&self, mut request: Request<Body>) -> Response {
        let (begun, route) = (Instant::now(), Route::of(request.uri().path()));
        let id = request_id::of(request.headers());
        let is_head = request.method() == Method::HEAD;
        let told = tracing::enabled!(tracing::Level::DEBUG)
            .then(|| (request.method().clone(), request.uri().path().to_owned()));
        let line = RequestLine {
            method: request.method(),
            route: route.name(),
            id: &id,
            may_begin: BEGINNINGS.contains(&route.name()),
        };
        let mut span = self.state.traces.request(line, request.headers());
        span.enter(request.extensions_mut());
        if *request.method() != Method::GET {
            // For the audit, which keeps no reads.
            request.headers_mut().insert(request_id::HEADER, id.clone());
        }
        let mut response = match self.refusal(&mut request) {
            Some(problem) => problem.into_response(),
            None => {
                let routed = self.router.clone().oneshot(request);
                match AssertUnwindSafe(routed).catch_unwind().await {
                    Ok(Ok(response)) => response,
                    Ok(Err(never)) => match never {},
                    Err(_panic) => broken(&id),
                }
            }
        };
        if response.status().as_u16() >= 400 {
            let problem = response.extensions_mut().remove::<Problem>();
            let problem = problem.unwrap_or_else(|| Problem::of_status(response.status()));
            let id = id.to_str().unwrap_or_default();
            response = problem.write(response, id, is_head);
        }
        if let Some((method, path)) = told {
            let (request_id, status) =
                (id.to_str().unwrap_or_default(), response.status().as_u16());
            let duration_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            tracing::debug!(request_id, %method, path, status, duration_us, "request answered");
        }
        response.headers_mut().insert(request_id::HEADER, id);
        span.answered(response.status());
        self.traffic.note(route, response.status(), begun.elapsed());
        response
    }

    /// Why the caller may not have this, if that is so; else its name stands in the request.
    fn refusal(&self, request: &mut Request<Body>) -> Option<Problem> {
        let refused =
            self.door.as_ref().and_then(|access| access::admit(&self.state, access, request).err());
        refused.or_else(|| self.redirection(request.uri().path()))
    }

    /// A standby speaks of itself alone, and names the active manager for all else.
    fn redirection(&self, path: &str) -> Option<Problem> {
        let standing = self.state.engine.standing();
        let is_standby = matches!(standing.phase, Phase::Standby { .. });
        let is_about_itself = OF_ITSELF.contains(&path) || path.starts_with(ADMIN);
        (is_standby && !is_about_itself).then(|| Problem::not_active(&standing.phase))
    }
}

/// The answer when a handler panicked.
fn broken(id: &HeaderValue) -> Response {
    tracing::error!(request_id = ?id, "a request handler panicked; this is a bug");
    let mut response = Response::default();
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("access", &self.access()).finish_non_exhaustive()
    }
}
