//! What hinders the checks as a whole: counted each time, told to the operator once per episode.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::{error, info, warn};

use super::brake::Jam;
use super::tick::Tick;
use crate::connect::{OwnFault, OwnFaultKind};

/// An episode is over when nothing of its kind happened for so long, or for two intervals.
const QUIET_MIN: Duration = Duration::from_mins(1);

/// The running episodes.
pub(super) struct Faults {
    quiet: Duration,
    counts: BTreeMap<OwnFaultKind, u64>,
    last: BTreeMap<OwnFaultKind, Tick>,
    late: Option<Tick>,
    is_held: bool,
}

impl Faults {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            quiet: QUIET_MIN.max(interval * 2),
            counts: BTreeMap::new(),
            last: BTreeMap::new(),
            late: None,
            is_held: false,
        }
    }

    /// An attempt could not be made.
    pub(super) fn note(&mut self, fault: &OwnFault, now: Tick) {
        *self.counts.entry(fault.kind).or_default() += 1;
        if self.last.insert(fault.kind, now).is_some() {
            return;
        }
        let kind = fault.kind.as_str();
        if fault.kind == OwnFaultKind::Defect {
            error!(kind, why = %fault, "a health check broke: its pod keeps its status");
        } else {
            error!(kind, why = %fault, "this machine cannot make some health checks: their pods \
                keep their status");
        }
    }

    /// A check began so late that it is worth a line.
    pub(super) fn note_late(&mut self, lag: Duration, in_flight: usize, pods: usize, now: Tick) {
        if self.late.replace(now).is_none() {
            let late_ms = u64::try_from(lag.as_millis()).unwrap_or(u64::MAX);
            warn!(
                late_ms,
                in_flight,
                pods,
                "health checks begin late: there are more than this \
                machine can make, all are made less often"
            );
        }
    }

    /// Whether removals are held back changed.
    pub(super) fn note_jam(&mut self, jam: Option<Jam>) {
        match jam {
            Some(Jam { reference, failing }) if !self.is_held => {
                warn!(
                    failing,
                    of = reference,
                    "more than half of the pods that were healthy two \
                    intervals ago are failing: none is removed until at most half of them are, \
                    because the fault may lie between them and this manager"
                );
            }
            None if self.is_held => info!("dead pods are removed again"),
            Some(_) | None => {}
        }
        self.is_held = jam.is_some();
    }

    /// Ends what did not happen again.
    pub(super) fn tidy(&mut self, now: Tick) {
        let quiet = self.quiet;
        self.last.retain(|kind, last| {
            let is_on = now.since(*last) < quiet;
            if !is_on {
                info!(kind = kind.as_str(), "this machine makes all health checks again");
            }
            is_on
        });
        if self.late.is_some_and(|last| now.since(last) >= quiet) {
            info!("health checks begin in time again");
            self.late = None;
        }
    }

    /// How often each kind happened since the start.
    pub(super) fn counts(&self) -> Vec<(&'static str, u64)> {
        let count = |kind: &OwnFaultKind| self.counts.get(kind).copied().unwrap_or(0);
        OwnFaultKind::ALL.iter().map(|kind| (kind.as_str(), count(kind))).collect()
    }
}
