//! Forwarding a request to a pod, and to another if that one fails.
//!
//! Only what may be repeated is repeated (RFC 9110 §9.2.2). Request and answer are held whole, both
//! bounded: an answer that breaks off half-way can then still be asked for elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};

use crate::pods::Pods;
use crate::problem::Problem;

/// The largest body either way, in bytes.
const BODY_MAX: usize = 1024 * 1024;
/// Idle connections kept per pod, and how long: less than the pods keep theirs.
const IDLE_MAX: usize = 64;
const IDLE_TIME: Duration = Duration::from_secs(20);
/// How long a connection may take to open.
const CONNECT_MAX: Duration = Duration::from_millis(300);
/// Before looking for a pod again when there was none to ask.
const PAUSE: Duration = Duration::from_millis(25);
/// Says which pod answered.
const SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");

/// Fields that are about one connection (RFC 9110 §7.6.1).
static HOP_BY_HOP: [HeaderName; 10] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::HOST,
    header::CONTENT_LENGTH,
    HeaderName::from_static("keep-alive"),
];

/// The bounds of forwarding.
#[derive(Clone, Copy, Debug)]
pub struct ForwardSettings {
    /// How long one pod may take.
    pub attempt_max: Duration,
    /// How long all attempts together may take.
    pub total_max: Duration,
    /// Requests at once.
    pub requests_max: usize,
}

/// The way to the pods of a service.
pub(crate) struct Forward {
    client: Client<HttpConnector, Full<Bytes>>,
    pods: Arc<Pods>,
    settings: ForwardSettings,
    places: Semaphore,
    pub(crate) requests: AtomicU64,
    pub(crate) repeated: AtomicU64,
    pub(crate) failed: AtomicU64,
}

/// Why an attempt came to nothing.
enum Missed {
    /// The pod cannot be reached, broke off, or says that it is not up to it.
    Broken,
    /// It takes too long.
    Late,
}

impl Forward {
    pub(crate) fn new(pods: Arc<Pods>, settings: ForwardSettings) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_MAX));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(IDLE_MAX)
            // What fails is repeated here, on another pod.
            .retry_canceled_requests(false)
            .build(connector);
        Self {
            client,
            pods,
            settings,
            places: Semaphore::new(settings.requests_max),
            requests: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// Sends a request on and gives the answer.
    pub(crate) async fn forward(&self, request: Request) -> Result<Response, Problem> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let result = self.forward_one(request).await;
        if result.is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    async fn forward_one(&self, request: Request) -> Result<Response, Problem> {
        let _place = self.places.try_acquire().map_err(|_| Problem::BUSY)?;
        let (mut head, body) = request.into_parts();
        strip(&mut head.headers);
        let body = axum::body::to_bytes(body, BODY_MAX).await.map_err(|_| Problem {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            cause: "PAYLOAD_TOO_LARGE",
            detail: "the body is larger than 1 MiB or did not come whole",
        })?;
        let is_repeatable = head.method.is_idempotent();
        let deadline = Instant::now() + self.settings.total_max;
        let mut tried: Vec<String> = Vec::new();
        loop {
            let Some(choice) = self.pods.choose(&tried) else {
                if !is_repeatable || Instant::now() + PAUSE >= deadline {
                    return Err(if tried.is_empty() {
                        Problem::NO_POD
                    } else {
                        Problem::NO_ANSWER
                    });
                }
                sleep(PAUSE).await;
                continue;
            };
            if !tried.is_empty() {
                self.repeated.fetch_add(1, Ordering::Relaxed);
            }
            let attempt = self.attempt(&choice.address, &head, body.clone());
            let until = deadline.min(Instant::now() + self.settings.attempt_max);
            let missed = match timeout_at(until, attempt).await {
                Ok(Ok(response)) => return Ok(served_by(response, &choice.name)),
                Ok(Err(missed)) => missed,
                Err(_) => Missed::Late,
            };
            choice.failed();
            if !is_repeatable || Instant::now() >= deadline {
                return Err(Problem::NO_ANSWER);
            }
            tracing::debug!(
                pod = choice.name,
                is_late = matches!(missed, Missed::Late),
                "asked elsewhere"
            );
            // All have failed: do not spin on pods that refuse at once.
            if tried.contains(&choice.name) {
                sleep(PAUSE).await;
            } else {
                tried.push(choice.name.clone());
            }
        }
    }

    async fn attempt(
        &self,
        address: &str,
        head: &http::request::Parts,
        body: Bytes,
    ) -> Result<Response, Missed> {
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let uri: Uri = format!("http://{address}{path}").parse().map_err(|_| Missed::Broken)?;
        let mut request = http::Request::new(Full::new(body));
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = head.headers.clone();
        let answer = self.client.request(request).await.map_err(|_| Missed::Broken)?;
        let (mut parts, body) = answer.into_parts();
        if is_unwilling(parts.status) {
            return Err(Missed::Broken);
        }
        let body = Limited::new(body, BODY_MAX).collect().await.map_err(|_| Missed::Broken)?;
        let body = body.to_bytes();
        // The length of an answer to HEAD is that of a body which is not there.
        let length = (head.method == Method::HEAD)
            .then(|| parts.headers.get(header::CONTENT_LENGTH).cloned())
            .flatten();
        strip(&mut parts.headers);
        parts.headers.extend(length.map(|length| (header::CONTENT_LENGTH, length)));
        Ok(Response::from_parts(parts, Body::from(body)))
    }
}

/// The pod says itself that another should be asked.
fn is_unwilling(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

fn strip(headers: &mut HeaderMap) {
    // What Connection names is about the connection, too.
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn served_by(mut response: Response, pod: &str) -> Response {
    if let Ok(pod) = HeaderValue::from_str(pod) {
        response.headers_mut().insert(SERVED_BY, pod);
    }
    response
}
