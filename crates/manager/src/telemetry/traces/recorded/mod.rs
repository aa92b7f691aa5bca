//! Traces that are recorded, with OpenTelemetry's SDK: its sampler, its ids, its spans. What is its
//! own here is where spans wait (`queue`) and how they are sent (`sender`, `collector`): bounded,
//! counted, in a task of the process's named set, over the connections that the manager has anyway.
//!
//! Only what is sampled travels on: a context that is not is none, and costs nothing further.

mod collector;
mod headers;
mod queue;
mod sender;
mod span;

use std::fmt;
use std::sync::Arc;

use http::{Extensions, HeaderMap, Method};
use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanContext, SpanKind, TracerProvider as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use tokio::time::Instant;

use super::{RequestLine, TraceFigures, key};
use crate::clock::Clock;
use crate::config;
use crate::connect::TrustFault;
use collector::Collector;
use queue::Queue;

pub use sender::Sender;
pub use span::Span;

/// Methods that are named; callers may invent others, and backends count by the name of a span.
const METHODS: [Method; 7] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::HEAD,
    Method::OPTIONS,
    Method::PATCH,
];

/// Where traces begin: nowhere, if none are configured.
#[derive(Clone, Debug, Default)]
pub struct Traces {
    recorder: Option<Arc<Recorder>>,
}

/// What makes spans.
struct Recorder {
    tracer: SdkTracer,
    clock: Arc<dyn Clock>,
    queue: Arc<Queue>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("queue", &self.queue).finish_non_exhaustive()
    }
}

/// A place in a trace; none if what happens there is not recorded. Cloning counts a reference.
#[derive(Clone, Debug, Default)]
pub struct TraceContext {
    place: Option<Arc<Place>>,
}

#[derive(Debug)]
struct Place {
    recorder: Arc<Recorder>,
    /// The step that others come of; none where a trace may begin.
    parent: Option<SpanContext>,
    /// When the first step began, if a trace may begin here.
    since: Instant,
}

impl PartialEq for TraceContext {
    fn eq(&self, other: &Self) -> bool {
        match (&self.place, &other.place) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

impl Eq for TraceContext {}

impl Traces {
    /// Records what the configuration asks for, and returns the task that sends it. `instance`
    /// tells this manager from others of its name.
    ///
    /// # Errors
    /// When the file of CAs cannot be used.
    pub fn start(
        config: Option<&config::Traces>,
        instance: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Option<Sender>), TrustFault> {
        let Some(config) = config else { return Ok((Self::default(), None)) };
        let resource = resource(config, instance);
        let collector = Collector::new(config)?;
        let queue = Arc::new(Queue::default());
        let provider = SdkTracerProvider::builder()
            .with_sampler(sampler(config))
            .with_resource(resource.clone())
            .with_span_processor(queue::Entrance::new(Arc::clone(&queue)))
            .build();
        let tracer = provider.tracer("governance-manager");
        let recorder = Recorder { tracer, clock, queue: Arc::clone(&queue) };
        let sender = Sender::new(queue, collector, &resource, config.url.clone());
        Ok((Self { recorder: Some(Arc::new(recorder)) }, Some(sender)))
    }

    /// The step that a request is: in its caller's trace, if the caller records one.
    pub fn request(&self, line: RequestLine<'_>, headers: &HeaderMap) -> Span {
        let Some(recorder) = &self.recorder else { return Span::default() };
        let parent = headers::read(headers);
        if !line.may_begin && !parent.as_ref().is_some_and(SpanContext::is_sampled) {
            return Span::default();
        }
        let method = Some(line.method).filter(|method| METHODS.contains(method));
        let name = format!("{} {}", method.map_or("HTTP", Method::as_str), line.route);
        let place = Place { recorder: Arc::clone(recorder), parent, since: Instant::now() };
        let mut span = Span::begin(&place, name, SpanKind::Server, place.since);
        span.set(key::METHOD, &method.map_or("_OTHER", Method::as_str));
        span.set(key::ROUTE, &line.route);
        span.set(key::REQUEST_ID, &line.id.to_str().unwrap_or_default());
        span
    }

    /// A place where a trace may begin, at a time that has passed.
    pub fn beginning(&self, since: Instant) -> TraceContext {
        let recorder = self.recorder.as_ref();
        let place = recorder.map(|recorder| {
            Arc::new(Place { recorder: Arc::clone(recorder), parent: None, since })
        });
        TraceContext { place }
    }

    /// What became of what was recorded; none without traces.
    pub fn figures(&self) -> Option<TraceFigures> {
        Some(self.recorder.as_ref()?.queue.figures())
    }
}

impl TraceContext {
    /// The one that a request carries.
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }

    /// Whether steps after it may be recorded.
    pub fn is_recorded(&self) -> bool {
        self.place.is_some()
    }

    /// A step that begins now; where a trace may begin, when that began.
    pub fn begin(&self, name: &'static str) -> Span {
        let Some(place) = &self.place else { return Span::default() };
        let since = if place.parent.is_some() { Instant::now() } else { place.since };
        Span::begin(place, name, SpanKind::Internal, since)
    }

    /// A step that began then.
    pub fn begin_at(&self, name: &'static str, since: Instant) -> Span {
        let Some(place) = &self.place else { return Span::default() };
        Span::begin(place, name, SpanKind::Internal, since)
    }

    /// A request to somebody else, which begins now.
    pub fn begin_call(&self, name: &'static str) -> Span {
        let Some(place) = &self.place else { return Span::default() };
        Span::begin(place, name, SpanKind::Client, Instant::now())
    }

    /// Has a request to somebody else say to which trace it belongs.
    pub fn write(&self, headers: &mut HeaderMap) {
        let parent = self.place.as_ref().and_then(|place| place.parent.as_ref());
        if let Some(parent) = parent {
            headers::write(parent, headers);
        }
    }
}

fn sampler(config: &config::Traces) -> Sampler {
    let ratio = || Sampler::TraceIdRatioBased(config.ratio.as_fraction());
    let of_parent = |root: Sampler| Sampler::ParentBased(Box::new(root));
    match config.sampler {
        config::Sampler::AlwaysOn => Sampler::AlwaysOn,
        config::Sampler::AlwaysOff => Sampler::AlwaysOff,
        config::Sampler::Ratio => ratio(),
        config::Sampler::ParentAlwaysOn => of_parent(Sampler::AlwaysOn),
        config::Sampler::ParentAlwaysOff => of_parent(Sampler::AlwaysOff),
        config::Sampler::ParentRatio => of_parent(ratio()),
    }
}

/// Who records. What the operator says wins over what is found out.
fn resource(config: &config::Traces, instance: &str) -> Resource {
    let own = [
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", instance.to_owned()),
    ];
    let given = config.attributes.iter();
    let given = given.map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    Resource::builder_empty()
        .with_attributes(own)
        .with_attributes(given)
        .with_service_name(config.service_name.clone())
        .build()
}
