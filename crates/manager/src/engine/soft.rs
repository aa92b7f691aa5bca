//! Soft state on its way to the store: what checks found, written in bulk behind the commits.
//!
//! A transition is written within [`TRANSITION_DELAY`] when the store is there. The time of the
//! last check of a pod whose status stays is written when there is room, never more than
//! [`TOUCHES_PER_SECOND`] rows a second. While the store is away the newest state per pod is kept
//! (one entry each) and written when it is back.

use std::collections::BTreeMap;
use std::time::Duration;

use governance_domain::{Change, PodKey, Timestamp};
use governance_store::{AuditEntry, HealthWrite};

/// Longest wait of a transition for its write, with a store that answers.
pub(super) const TRANSITION_DELAY: Duration = Duration::from_millis(100);
/// Rows in one statement, so that a write of health never delays a commit for long.
const ROWS_MAX: usize = 500;
/// Rows a second for mere times of checks.
const TOUCHES_PER_SECOND: usize = 500;
/// Audit entries kept while the store is away; beyond that the oldest are dropped, and counted.
const AUDIT_MAX: usize = 10_000;

/// What waits to be written. INVARIANT: a pod has at most one row here, its newest.
#[derive(Debug, Default)]
pub(super) struct SoftWrites {
    transitions: BTreeMap<PodKey, HealthWrite>,
    touches: BTreeMap<PodKey, HealthWrite>,
    audit: Vec<AuditEntry>,
    /// The key after which the next touches are taken, so that all get their turn.
    turn: Option<PodKey>,
    /// Touches that may still be written now; refilled by the passing of time.
    allowance: f64,
    pub(super) dropped_audit: u64,
}

impl SoftWrites {
    /// Whether anything waits.
    pub(super) fn is_empty(&self) -> bool {
        self.transitions.is_empty() && self.touches.is_empty() && self.audit.is_empty()
    }

    /// Whether a transition or its entry waits, which is not held back like mere times of checks.
    pub(super) fn has_transitions(&self) -> bool {
        !self.transitions.is_empty() || !self.audit.is_empty()
    }

    /// An entry of its own, about no pod's health.
    pub(super) fn note_entry(&mut self, entry: AuditEntry) {
        self.push_audit(entry);
    }

    fn push_audit(&mut self, entry: AuditEntry) {
        self.audit.push(entry);
        if self.audit.len() > AUDIT_MAX {
            self.audit.drain(..AUDIT_MAX / 10);
            self.dropped_audit += (AUDIT_MAX / 10) as u64;
        }
    }

    /// Forgets what waits for a pod that left or registered anew.
    pub(super) fn forget_if_gone(&mut self, change: &Change) {
        if !matches!(change, Change::PodAmended { .. }) {
            self.transitions.remove(change.key());
            self.touches.remove(change.key());
        }
    }

    pub(super) fn note_transition(&mut self, write: HealthWrite, entry: AuditEntry) {
        self.touches.remove(&write.key);
        self.transitions.insert(write.key.clone(), write);
        self.push_audit(entry);
    }

    pub(super) fn note_touch(&mut self, write: HealthWrite) {
        match self.transitions.get_mut(&write.key) {
            Some(waiting) if waiting.registration_id == write.registration_id => {
                waiting.last_health_check = write.last_health_check;
            }
            waiting => {
                if waiting.is_some() {
                    self.transitions.remove(&write.key); // of a registration that is gone
                }
                self.touches.insert(write.key.clone(), write);
            }
        }
    }

    /// Time passed: more touches may be written.
    pub(super) fn refill(&mut self, passed: Duration) {
        #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
        let most = TOUCHES_PER_SECOND as f64;
        self.allowance = (self.allowance + passed.as_secs_f64() * most).min(most);
    }

    /// Takes what goes into the next statement. `everything` lifts the limit on touches: at the
    /// end of the process.
    pub(super) fn take(&mut self, everything: bool) -> (Vec<HealthWrite>, Vec<AuditEntry>) {
        let mut rows = Vec::new();
        while rows.len() < ROWS_MAX
            && let Some((_, write)) = self.transitions.pop_first()
        {
            rows.push(write);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and TOUCHES_PER_SECOND"
        )]
        let allowed = if everything { ROWS_MAX } else { self.allowance as usize };
        let touches = self.take_touches(allowed.min(ROWS_MAX - rows.len()));
        if !everything {
            #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
            let used = touches.len() as f64;
            self.allowance -= used;
        }
        rows.extend(touches);
        let entries = self.audit.len().min(ROWS_MAX);
        (rows, self.audit.drain(..entries).collect())
    }

    fn take_touches(&mut self, most: usize) -> Vec<HealthWrite> {
        let from = self.turn.take();
        let after = from.iter().flat_map(|key| self.touches.range(key.clone()..));
        let mut keys: Vec<PodKey> = after.take(most).map(|(key, _)| key.clone()).collect();
        if keys.len() < most {
            let rest = self.touches.keys().take(most - keys.len()).cloned().collect::<Vec<_>>();
            keys.extend(rest);
        }
        self.turn = keys.last().cloned();
        keys.iter().filter_map(|key| self.touches.remove(key)).collect()
    }

    /// Puts back what was not written, unless something newer waits.
    pub(super) fn put_back(&mut self, rows: Vec<HealthWrite>, mut audit: Vec<AuditEntry>) {
        for row in rows {
            if self.transitions.contains_key(&row.key) {
                continue;
            }
            match self.touches.get_mut(&row.key) {
                None if row.status_changed_at.is_some() => {
                    self.transitions.insert(row.key.clone(), row);
                }
                None => drop(self.touches.insert(row.key.clone(), row)),
                Some(newer) if newer.registration_id == row.registration_id => {
                    // The transition was not written, and the touch alone does not tell of it.
                    newer.status_changed_at = row.status_changed_at;
                    if newer.status_changed_at.is_some()
                        && let Some(newer) = self.touches.remove(&row.key)
                    {
                        self.transitions.insert(row.key, newer);
                    }
                }
                Some(_of_a_newer_registration) => {}
            }
        }
        audit.append(&mut self.audit);
        self.audit = audit;
    }
}

/// The row for what a check found.
pub(super) fn write_of(pod: &governance_domain::Pod, at: Timestamp, changed: bool) -> HealthWrite {
    HealthWrite {
        key: pod.key.clone(),
        registration_id: pod.registration_id,
        status: pod.status,
        last_health_check: at,
        status_changed_at: changed.then_some(at),
    }
}

#[cfg(test)]
mod tests {
    use governance_domain::{PodName, RegistrationId, ServiceName, Status};

    use super::*;

    fn write(registration: u64, at: i64, is_transition: bool) -> HealthWrite {
        let last_health_check = Timestamp::from_micros(at);
        HealthWrite {
            key: PodKey::new(ServiceName::stored("eir"), PodName::stored("a")),
            registration_id: RegistrationId::from_u64(registration),
            status: Status::Healthy,
            last_health_check,
            status_changed_at: is_transition.then_some(last_health_check),
        }
    }

    fn all(soft: &mut SoftWrites) -> Vec<(u64, i64, Option<i64>)> {
        soft.refill(Duration::from_secs(1));
        let (rows, _) = soft.take(false);
        let micros = |time: Timestamp| time.as_micros();
        rows.into_iter()
            .map(|row| {
                let changed = row.status_changed_at.map(micros);
                (row.registration_id.as_u64(), micros(row.last_health_check), changed)
            })
            .collect()
    }

    #[test]
    fn a_transition_that_was_not_written_takes_a_newer_touch_along() {
        let mut soft = SoftWrites::default();
        soft.note_touch(write(1, 20, false));
        soft.put_back(vec![write(1, 10, true)], Vec::new());
        soft.note_touch(write(1, 30, false));
        assert_eq!(all(&mut soft), [(1, 30, Some(10))]);
        assert!(soft.is_empty());
    }

    #[test]
    fn what_was_not_written_never_replaces_what_is_newer() {
        let mut soft = SoftWrites::default();
        soft.note_touch(write(1, 20, false));
        soft.put_back(vec![write(1, 10, false)], Vec::new());
        assert_eq!(all(&mut soft), [(1, 20, None)]);
        soft.note_touch(write(2, 20, false));
        soft.put_back(vec![write(1, 10, true)], Vec::new());
        assert_eq!(all(&mut soft), [(2, 20, None)]);
    }

    #[test]
    fn a_row_of_an_earlier_registration_gives_way() {
        let mut soft = SoftWrites::default();
        soft.put_back(vec![write(1, 10, true)], Vec::new());
        soft.note_touch(write(2, 20, false));
        assert_eq!(all(&mut soft), [(2, 20, None)]);
    }
}
