//! The lane of health results: bounded, lock-free, and apart from that of commands, so that
//! neither a storm of results delays a registration nor the other way round.

use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;
use crossbeam_queue::ArrayQueue;
use governance_domain::{PodKey, RegistrationId, Verdict};

use crate::telemetry::traces::TraceContext;

/// Results that wait for the writer. It takes them far faster than probes can end; a full lane
/// means that the process is starved, and the prober reports again.
const LANE_MAX: usize = 4_096;

/// What a check of one pod found.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Whom it concerns.
    pub key: PodKey,
    /// Which registration was checked; a result for an earlier one is dropped.
    pub registration_id: RegistrationId,
    /// What was found.
    pub verdict: Verdict,
    /// Why, in an operator's words; goes into the audit when the status changes.
    pub reason: String,
    /// Where a trace may begin, if something comes of it.
    pub trace: TraceContext,
}

/// The lane.
#[derive(Debug)]
pub(super) struct Lane {
    queue: ArrayQueue<Observation>,
    writer: AtomicWaker,
}

impl Default for Lane {
    fn default() -> Self {
        Self { queue: ArrayQueue::new(LANE_MAX), writer: AtomicWaker::new() }
    }
}

impl Lane {
    pub(super) fn push(&self, observation: Observation) -> bool {
        let has_room = self.queue.push(observation).is_ok();
        self.writer.wake();
        has_room
    }

    pub(super) fn pop(&self) -> Option<Observation> {
        self.queue.pop()
    }

    pub(super) fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        if !self.queue.is_empty() {
            return Poll::Ready(());
        }
        self.writer.register(context.waker());
        if self.queue.is_empty() { Poll::Pending } else { Poll::Ready(()) }
    }
}
