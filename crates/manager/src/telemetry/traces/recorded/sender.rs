//! The task that sends what was recorded: whole batches at once, the rest every second.
//!
//! One export at a time. While a collector is away, the export at hand is tried a few times and
//! then given up, and what comes in meanwhile waits in the queue or is dropped there. At the end
//! what waits is sent, as far as that is possible within [`FLUSH_MAX`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use prost::Message as _;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::collector::{Collector, Refusal, Rejected};
use super::queue::Queue;

/// How long spans wait for others.
const DELAY: Duration = Duration::from_secs(1);
/// How often one export is tried.
const TRIES_MAX: u32 = 4;
/// Between the first two tries; twice as long each time.
const PAUSE: Duration = Duration::from_secs(1);
/// What sending the rest may take when the manager ends.
const FLUSH_MAX: Duration = Duration::from_secs(3);
/// Characters of what a collector says that are logged.
const TEXT_MAX: usize = 200;

/// Sends until it is told to stop.
#[derive(Debug)]
pub struct Sender {
    queue: Arc<Queue>,
    collector: Collector,
    resource: ResourceAttributesWithSchema,
    /// For the log.
    url: String,
    /// Whether the last export was not taken; said once, when it begins.
    is_failing: bool,
    export: Option<Export>,
}

/// Spans on their way.
#[derive(Debug)]
struct Export {
    body: Bytes,
    spans: u64,
    tries: u32,
}

impl Sender {
    pub(super) fn new(
        queue: Arc<Queue>,
        collector: Collector,
        resource: &Resource,
        url: String,
    ) -> Self {
        let resource = ResourceAttributesWithSchema::from(resource);
        Self { queue, collector, resource, url, is_failing: false, export: None }
    }

    /// Sends until it is told to stop, and then what waits.
    pub async fn run(mut self, stop: CancellationToken) {
        info!(url = self.url, "traces are sent");
        while stop.run_until_cancelled(self.send_waiting()).await.is_some() {
            let queue = Arc::clone(&self.queue);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = queue.filled() => {}
                () = sleep(DELAY) => {}
            }
        }
        self.flush().await;
    }

    /// Sends all that waits. May be dropped at any time: the export at hand is kept.
    async fn send_waiting(&mut self) {
        while let Some(export) = self.next() {
            let result = self.collector.post(export).await;
            if let Some(pause) = self.judge(result) {
                sleep(pause).await;
            }
        }
    }

    /// The export at hand, or else the next one.
    fn next(&mut self) -> Option<Bytes> {
        if self.export.is_none() {
            let spans = self.queue.take()?;
            let count = spans.len() as u64;
            let resource_spans = group_spans_by_resource_and_scope(spans, &self.resource);
            let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec().into();
            self.export = Some(Export { body, spans: count, tries: 0 });
        }
        self.export.as_ref().map(|export| export.body.clone())
    }

    /// What follows from a try: how long to wait before the next one, if it may help.
    fn judge(&mut self, result: Result<Rejected, Refusal>) -> Option<Duration> {
        let mut export = self.export.take()?;
        match result {
            Ok(rejected) => {
                let lost = rejected.as_ref().map_or(0, |(spans, _)| *spans).min(export.spans);
                self.queue.note_sent(export.spans - lost);
                self.queue.note_failed(lost);
                match rejected {
                    Some((_, why)) => self.note_failure(&why, lost),
                    None => self.note_success(),
                }
                None
            }
            Err(Refusal { why, is_passing }) => {
                export.tries += 1;
                self.note_failure(&why, export.spans);
                if !is_passing || export.tries >= TRIES_MAX {
                    self.queue.note_failed(export.spans);
                    return None;
                }
                let pause = PAUSE * 2_u32.pow(export.tries - 1);
                self.export = Some(export);
                Some(pause)
            }
        }
    }

    fn note_success(&mut self) {
        if std::mem::take(&mut self.is_failing) {
            info!(url = self.url, "the collector takes traces again");
        }
    }

    fn note_failure(&mut self, why: &str, spans: u64) {
        let why: String = why.chars().take(TEXT_MAX).collect();
        if std::mem::replace(&mut self.is_failing, true) {
            debug!(url = self.url, why, spans, "the collector does not take traces");
        } else {
            warn!(
                url = self.url,
                why,
                spans,
                "the collector does not take traces: they are lost if that lasts; \
                 nothing else is affected"
            );
        }
    }

    /// Sends what waits, once and in time.
    async fn flush(&mut self) {
        let deadline = Instant::now() + FLUSH_MAX;
        while let Some(export) = self.next() {
            let Ok(result) = timeout_at(deadline, self.collector.post(export)).await else { break };
            if self.judge(result).is_some() {
                break;
            }
        }
        let at_hand = self.export.take().map_or(0, |export| export.spans);
        let unsent = at_hand + self.queue.figures().queued as u64;
        self.queue.note_failed(at_hand);
        if unsent > 0 {
            info!(
                spans = unsent,
                "traces that the collector did not take were given up at the end"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::TraceFigures;
    use super::super::queue::BATCH_MAX;
    use super::super::queue::tests::filled_with;
    use super::*;
    use crate::config::{Ratio, Sampler, Traces};

    fn sender(spans: usize) -> Sender {
        let config = Traces {
            url: "http://127.0.0.1:9/v1/traces".to_owned(),
            headers: Vec::new(),
            ca_file: None,
            sampler: Sampler::AlwaysOn,
            ratio: Ratio { millionths: 1_000_000 },
            service_name: "manager".to_owned(),
            attributes: Vec::new(),
        };
        let collector = Collector::new(&config).unwrap();
        let resource = Resource::builder_empty().build();
        Sender::new(filled_with(spans), collector, &resource, config.url)
    }

    fn refused(is_passing: bool) -> Result<Rejected, Refusal> {
        Err(Refusal { why: "it answered so".to_owned(), is_passing })
    }

    fn counted(sender: &Sender) -> (u64, u64) {
        let TraceFigures { sent, failed, .. } = sender.queue.figures();
        (sent, failed)
    }

    #[test]
    fn an_export_is_tried_a_few_times_with_growing_pauses_and_then_given_up() {
        let mut sender = sender(3);
        let mut pauses = Vec::new();
        while sender.next().is_some() {
            pauses.extend(sender.judge(refused(true)).map(|pause| pause.as_secs()));
        }
        assert_eq!((pauses, counted(&sender)), (vec![1, 2, 4], (0, 3)));
    }

    #[test]
    fn an_export_that_is_wrong_is_not_tried_again() {
        let mut sender = sender(3);
        assert!(sender.next().is_some());
        assert_eq!(sender.judge(refused(false)), None);
        assert_eq!(counted(&sender), (0, 3));
        assert!(sender.next().is_none() && sender.is_failing);
    }

    #[test]
    fn what_a_collector_takes_is_counted_apart_from_what_it_does_not_take() {
        let mut sender = sender(BATCH_MAX + 10);
        assert!(sender.next().is_some());
        assert_eq!(sender.judge(Ok(Some((2, "too old".to_owned())))), None);
        assert_eq!(counted(&sender), (BATCH_MAX as u64 - 2, 2));
        assert!(sender.next().is_some());
        assert_eq!(sender.judge(Ok(None)), None);
        assert_eq!(counted(&sender), (BATCH_MAX as u64 + 8, 2));
        assert!(sender.next().is_none() && !sender.is_failing);
    }
}
