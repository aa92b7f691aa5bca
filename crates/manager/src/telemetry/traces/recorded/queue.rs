//! Where ended spans wait for the sender: bounded; what finds no room is dropped and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use tokio::sync::Notify;

use super::super::TraceFigures;

/// Spans that wait, about 1 KiB each. At ten spans for each registration that is traced, as many
/// as come in while the collector is away for a moment.
pub(super) const SPANS_MAX: usize = 8_192;
/// Spans in one export.
pub(super) const BATCH_MAX: usize = 512;

/// The queue, and what became of what was in it.
#[derive(Debug)]
pub(super) struct Queue {
    spans: ArrayQueue<SpanData>,
    /// Rings when there is a whole batch.
    bell: Notify,
    dropped: AtomicU64,
    sent: AtomicU64,
    failed: AtomicU64,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            spans: ArrayQueue::new(SPANS_MAX),
            bell: Notify::new(),
            dropped: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }
}

impl Queue {
    fn push(&self, span: SpanData) {
        if self.spans.push(span).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        } else if self.spans.len() == BATCH_MAX {
            self.bell.notify_one();
        }
    }

    /// The oldest spans, as many as one export takes; none if nothing waits.
    pub(super) fn take(&self) -> Option<Vec<SpanData>> {
        let spans: Vec<_> = std::iter::from_fn(|| self.spans.pop()).take(BATCH_MAX).collect();
        (!spans.is_empty()).then_some(spans)
    }

    /// Returns when a whole batch came together since the last return.
    pub(super) async fn filled(&self) {
        self.bell.notified().await;
    }

    pub(super) fn note_sent(&self, spans: u64) {
        self.sent.fetch_add(spans, Ordering::Relaxed);
    }

    pub(super) fn note_failed(&self, spans: u64) {
        self.failed.fetch_add(spans, Ordering::Relaxed);
    }

    pub(super) fn figures(&self) -> TraceFigures {
        TraceFigures {
            sent: self.sent.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            queued: self.spans.len(),
        }
    }
}

/// How spans get in: the SDK calls it when one ends.
#[derive(Debug)]
pub(super) struct Entrance {
    queue: Arc<Queue>,
}

impl Entrance {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self { queue }
    }
}

impl SpanProcessor for Entrance {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.queue.push(span);
    }

    /// The sender sends what waits when the process ends.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use futures_util::FutureExt as _;
    use opentelemetry::trace::{SpanBuilder, Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;

    /// A queue into which so many spans were put.
    pub(in super::super) fn filled_with(spans: usize) -> Arc<Queue> {
        let queue = Arc::new(Queue::default());
        let entrance = Entrance::new(Arc::clone(&queue));
        let provider = SdkTracerProvider::builder().with_span_processor(entrance).build();
        let tracer = provider.tracer("test");
        for _ in 0..spans {
            drop(tracer.build_with_context(SpanBuilder::from_name("x"), &Context::new()));
        }
        queue
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_counted() {
        let queue = filled_with(SPANS_MAX + 5);
        let figures = TraceFigures { dropped: 5, queued: SPANS_MAX, ..TraceFigures::default() };
        assert_eq!(queue.figures(), figures);
        assert_eq!(queue.take().unwrap().len(), BATCH_MAX);
        assert_eq!(queue.figures().queued, SPANS_MAX - BATCH_MAX);
        let rest = std::iter::from_fn(|| queue.take()).map(|batch| batch.len()).sum::<usize>();
        assert_eq!(rest, SPANS_MAX - BATCH_MAX);
        assert!(queue.take().is_none());
    }

    #[test]
    fn the_bell_rings_for_a_whole_batch() {
        let rings = |spans| filled_with(spans).filled().now_or_never().is_some();
        assert!(rings(BATCH_MAX) && !rings(BATCH_MAX - 1));
    }
}
