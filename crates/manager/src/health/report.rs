//! What checks found, on its way to the engine.
//!
//! A result that finds no room is kept, the newest per pod, and reported again. Removals are
//! asked for only when the engine has nothing better to do: the next failed check asks again.

use std::collections::BTreeMap;
use std::sync::Arc;

use governance_domain::{Evict, PodKey, Verdict};

use super::schedule::Conclusion;
use crate::clock::Clock;
use crate::engine::{EngineHandle, Observation, Writes};
use crate::telemetry::traces::{TraceContext, key};

/// Commands that may wait for the writer when a removal is added to them.
const QUEUE_MAX: usize = 64;

/// The way to the engine.
pub(super) struct Report {
    engine: EngineHandle,
    clock: Arc<dyn Clock>,
    /// At most one per pod.
    unreported: BTreeMap<PodKey, Observation>,
}

impl Report {
    pub(super) fn new(engine: EngineHandle, clock: Arc<dyn Clock>) -> Self {
        Self { engine, clock, unreported: BTreeMap::new() }
    }

    /// Whether pods may be asked now: not when a standby may have taken over.
    pub(super) fn may_ask(&self) -> bool {
        self.engine.may_act()
    }

    /// Tells the engine what a check found, from where in a trace; `is_held`: nothing is removed now.
    pub(super) fn conclude(&mut self, conclusion: Conclusion, trace: TraceContext, is_held: bool) {
        let Conclusion { key, registration_id, status, reason, is_removal_due } = conclusion;
        let verdict = Verdict { status, at: self.clock.now() };
        let reason = reason.to_string();
        let is_removal_due = is_removal_due && !is_held && self.may_remove();
        let doomed = is_removal_due.then(|| trace.clone());
        let key_of = key.clone();
        let observation = Observation { key: key_of, registration_id, verdict, reason, trace };
        if self.unreported.is_empty() {
            if !self.engine.observe(observation.clone()) {
                self.unreported.insert(key.clone(), observation);
            }
        } else {
            self.unreported.insert(key.clone(), observation);
        }
        if let Some(trace) = doomed {
            let mut step = trace.begin("health check");
            step.set(key::SERVICE, &key.service);
            step.set(key::POD, &key.pod);
            step.set(key::RESULT, &"removal_due");
            // No room is no harm.
            let _ = self.engine.evict(Evict { key, registration_id }, step.context());
        }
    }

    /// Tries again what found no room.
    pub(super) fn flush(&mut self) {
        while let Some((key, observation)) = self.unreported.pop_first() {
            if !self.engine.observe(observation.clone()) {
                self.unreported.insert(key, observation);
                return;
            }
        }
    }

    /// Forgets what found no room: it means nothing any more.
    pub(super) fn clear(&mut self) {
        self.unreported.clear();
    }

    /// Whether something waits for [`Report::flush`].
    pub(super) fn is_behind(&self) -> bool {
        !self.unreported.is_empty()
    }

    fn may_remove(&self) -> bool {
        self.engine.queue_depth() < QUEUE_MAX && self.engine.standing().writes == Writes::Available
    }
}
