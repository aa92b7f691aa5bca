//! One export: a POST to the collector over a connection of its own (OTLP/HTTP with protobuf).
//!
//! The collector is the operator's, not a pod's: `TARGET_DENY` does not apply to it. Not here:
//! when to send, and whether again.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use governance_domain::target::{Purpose, Target};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;

use crate::config;
use crate::connect::{Dialer, Policy, SystemResolver, Trust, TrustFault};

/// What one export may take, from the connection to the end of the answer.
const EXPORT_MAX: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read.
const ANSWER_MAX: usize = 64 * 1024;
/// The setting that names CAs, for messages.
const CA_SETTING: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";

/// Where traces go.
pub(super) struct Collector {
    dialer: Dialer,
    target: Target,
    headers: HeaderMap,
}

/// Why an export was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// In an operator's words.
    pub(super) why: String,
    /// Whether the same export may be taken later (OTLP specification, "Failures").
    pub(super) is_passing: bool,
}

/// Spans of an export that the collector did not take, and why.
pub(super) type Rejected = Option<(u64, String)>;

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Collector {
    /// The configured one.
    ///
    /// # Errors
    /// When the file of CAs cannot be used.
    pub(super) fn new(config: &config::Traces) -> Result<Self, TrustFault> {
        let trust = Trust::load(CA_SETTING, config.ca_file.as_deref())?;
        let dialer = Dialer::new(Policy::unlimited(), Arc::new(SystemResolver::new()), trust);
        let target = Target::parse(&config.url, Purpose::Notification)
            .expect("the configuration judged it by the same rule");
        let mut headers = HeaderMap::new();
        for (name, value) in &config.headers {
            let name = HeaderName::from_bytes(name.as_bytes());
            if let (Ok(name), Ok(mut value)) = (name, HeaderValue::from_str(value.expose())) {
                value.set_sensitive(true);
                headers.append(name, value);
            }
        }
        Ok(Self { dialer, target, headers })
    }

    /// Sends an export, and returns what of it was not taken.
    pub(super) async fn post(&self, export: Bytes) -> Result<Rejected, Refusal> {
        match tokio::time::timeout(EXPORT_MAX, self.exchange(export)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(passing(format!("no answer within {EXPORT_MAX:?}"))),
        }
    }

    async fn exchange(&self, export: Bytes) -> Result<Rejected, Refusal> {
        let dialled = self.dialer.dial(&self.target, EXPORT_MAX).await;
        let stream = dialled.map_err(|fault| passing(fault.to_string()))?;
        let broken = |fault: hyper::Error| passing(describe(&fault));
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let request = self.request(export)?;
        let exchange = pin!(async move {
            let answer = sender.send_request(request).await.map_err(broken)?;
            read(answer).await
        });
        match select(exchange, pin!(connection)).await {
            Either::Left((result, _)) => result,
            // The connection ended; the answer may have come before that.
            Either::Right((_, exchange)) => exchange.await,
        }
    }

    fn request(&self, export: Bytes) -> Result<Request<Full<Bytes>>, Refusal> {
        let mut request = Request::post(&*self.target.path)
            .header(header::HOST, &*self.target.authority)
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(header::USER_AGENT, concat!("governance-manager/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, "close")
            .body(Full::new(export))
            .map_err(|fault| Refusal { why: fault.to_string(), is_passing: false })?;
        for (name, value) in &self.headers {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        Ok(request)
    }
}

async fn read(answer: Response<Incoming>) -> Result<Rejected, Refusal> {
    let status = answer.status();
    if !status.is_success() {
        let is_passing = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
        return Err(Refusal { why: format!("it answered {status}"), is_passing });
    }
    // It took them. What it says beyond that may be cut short or nonsense.
    let Ok(body) = Limited::new(answer.into_body(), ANSWER_MAX).collect().await else {
        return Ok(None);
    };
    let partial = ExportTraceServiceResponse::decode(body.to_bytes())
        .ok()
        .and_then(|answer| answer.partial_success)
        .and_then(|partial| {
            let spans = u64::try_from(partial.rejected_spans).ok().filter(|spans| *spans > 0)?;
            Some((spans, partial.error_message))
        });
    Ok(partial)
}

fn passing(why: String) -> Refusal {
    Refusal { why, is_passing: true }
}

/// The whole chain of causes in one line: the outermost says little.
fn describe(fault: &hyper::Error) -> String {
    let mut text = fault.to_string();
    let mut cause = std::error::Error::source(fault);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
