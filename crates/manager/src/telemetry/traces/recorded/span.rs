//! One step of a trace: begun, described, ended when it is dropped.
//!
//! Its length is measured on the monotonic clock; only its beginning is a time of day, from the
//! manager's clock.

use std::borrow::Cow;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Extensions, StatusCode};
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use tokio::time::Instant;

use super::super::key;
use super::{Place, Recorder, TraceContext};

/// Characters of a text that are kept.
const TEXT_MAX: usize = 256;

/// A step of a trace, or nothing.
#[derive(Debug, Default)]
pub struct Span {
    open: Option<Box<Open>>,
}

#[derive(Debug)]
struct Open {
    span: opentelemetry_sdk::trace::Span,
    recorder: Arc<Recorder>,
    began: SystemTime,
    since: Instant,
}

impl Span {
    /// A step below a place, unless the sampler says no.
    pub(super) fn begin(
        place: &Place,
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        since: Instant,
    ) -> Self {
        let recorder = Arc::clone(&place.recorder);
        let now = u64::try_from(recorder.clock.now().as_micros()).unwrap_or(0);
        let now = UNIX_EPOCH + Duration::from_micros(now);
        let began = now.checked_sub(since.elapsed()).unwrap_or(now);
        let context = match &place.parent {
            Some(parent) => Context::new().with_remote_span_context(parent.clone()),
            None => Context::new(),
        };
        let builder = SpanBuilder::from_name(name).with_kind(kind).with_start_time(began);
        let span = recorder.tracer.build_with_context(builder, &context);
        if !span.span_context().is_sampled() {
            return Self::default();
        }
        Self { open: Some(Box::new(Open { span, recorder, began, since })) }
    }

    /// Whether it is recorded.
    pub fn is_recorded(&self) -> bool {
        self.open.is_some()
    }

    /// The place of steps that come of it.
    pub fn context(&self) -> TraceContext {
        let place = self.open.as_ref().map(|open| {
            Arc::new(Place {
                recorder: Arc::clone(&open.recorder),
                parent: Some(open.span.span_context().clone()),
                since: open.since,
            })
        });
        TraceContext { place }
    }

    /// Says something of it.
    pub fn set(&mut self, key: &'static str, value: &dyn Display) {
        if let Some(open) = &mut self.open {
            open.span.set_attribute(KeyValue::new(key, text(value)));
        }
    }

    /// Says a number of it.
    pub fn set_number(&mut self, key: &'static str, value: u64) {
        if let Some(open) = &mut self.open {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            open.span.set_attribute(KeyValue::new(key, value));
        }
    }

    /// It failed.
    pub fn fail(&mut self, why: &dyn Display) {
        if let Some(open) = &mut self.open {
            open.span.set_status(Status::error(text(why)));
        }
    }

    /// The request was answered. Only what is our fault is an error (semantic conventions, HTTP
    /// server spans).
    pub fn answered(&mut self, status: StatusCode) {
        self.set_number(key::STATUS, status.as_u16().into());
        if status.is_server_error() {
            self.fail(&status);
        }
    }

    /// Has a request carry its context on to whoever handles it.
    pub fn enter(&self, extensions: &mut Extensions) {
        if self.is_recorded() {
            extensions.insert(self.context());
        }
    }
}

fn text(value: &dyn Display) -> String {
    let text = value.to_string();
    match text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => text.get(..end).unwrap_or_default().to_owned(),
        None => text,
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.span.end_with_timestamp(self.began + self.since.elapsed());
    }
}
