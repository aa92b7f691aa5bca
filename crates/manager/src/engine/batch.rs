//! One batch: commands decided together, stored in one atomic step, answered one by one.

use std::collections::BTreeSet;
use std::sync::Arc;

use governance_domain::{
    Change, Decision, Draft, Pod, PodKey, RegistrationId, Registry, Rejection, Timestamp,
};
use governance_store::{AuditAction, AuditEntry, AuditResult, Batch, RowChange, Tenure};
use tokio::time::Instant;

use super::alteration;
use super::handle::Origin;
use super::inbox::{Pending, Request};

/// A command with what it was decided into.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) pending: Pending,
    /// None: there is nothing to do and nobody to tell.
    pub(super) verdict: Option<Result<Decision, Rejection>>,
}

/// Commands that were decided on one state. Nothing of it is visible to anybody yet.
#[derive(Debug)]
pub(super) struct Decisions {
    /// In the order of arrival.
    pub(super) decided: Vec<Decided>,
    /// What the store is to keep; none if no command changes anything.
    pub(super) batch: Option<Arc<Batch>>,
    /// The last registration id given.
    pub(super) last_id: RegistrationId,
    /// When they were decided.
    pub(super) since: Instant,
}

/// Decides commands on `registry` and on one another.
pub(super) fn decide(
    commands: Vec<Pending>,
    registry: &Registry,
    pods_per_service_max: usize,
    last_id: RegistrationId,
    tenure: &Tenure,
    now: Timestamp,
) -> Decisions {
    let mut draft = Draft::new(registry, pods_per_service_max, last_id);
    let mut audit = Vec::with_capacity(commands.len());
    let mut fresh = BTreeSet::new();
    let decided: Vec<Decided> = commands
        .into_iter()
        .map(|pending| {
            let before = draft.pod(pending.key()).cloned();
            let verdict = match &pending.request {
                Request::Register { command, .. } => Some(draft.register(command, now)),
                Request::Unregister { command, .. } => {
                    Some(draft.unregister(command).map(Decision::Changed))
                }
                Request::Evict { command } => {
                    draft.evict(command).map(|change| Ok(Decision::Changed(change)))
                }
            };
            if let Some(Ok(Decision::Changed(change))) = &verdict {
                audit.push(entry(before.as_deref(), change, &pending.origin, now));
                if let Change::PodRegistered { pod } = change {
                    fresh.insert(pod.key.clone());
                }
            }
            Decided { pending, verdict }
        })
        .collect();
    let batch = (!audit.is_empty()).then(|| {
        let (epoch, sequence) = (tenure.epoch, tenure.sequence + 1);
        Arc::new(Batch { epoch, sequence, rows: rows(&draft, &fresh), audit })
    });
    Decisions { decided, batch, last_id: draft.last_id(), since: Instant::now() }
}

/// The last state of every pod that the draft touched.
fn rows(draft: &Draft<'_>, fresh: &BTreeSet<PodKey>) -> Vec<RowChange> {
    draft
        .touched()
        .map(|(key, state)| match state {
            Some(pod) => {
                RowChange::Put { pod: Arc::clone(pod), resets_health: fresh.contains(key) }
            }
            None => RowChange::Delete { key: key.clone() },
        })
        .collect()
}

/// Who did what, to what, and why. A registration's status begins anew, a departure ends it.
fn entry(before: Option<&Pod>, change: &Change, origin: &Origin, at: Timestamp) -> AuditEntry {
    let previous_status = before.map(|pod| pod.status);
    let (action, details, new_status) = match change {
        Change::PodRegistered { pod } => {
            let id = pod.registration_id;
            let details = match before {
                None => format!("registration_id {id}"),
                Some(before) => {
                    alteration::sentence(id, Some(before.registration_id), before, &pod.content)
                }
            };
            (AuditAction::Register, details, Some(pod.status))
        }
        Change::PodAmended { registration_id, content, .. } => {
            let id = *registration_id;
            let details = match before {
                None => format!("registration_id {id}"),
                Some(before) => alteration::sentence(id, None, before, content),
            };
            (AuditAction::Register, details, previous_status)
        }
        Change::PodUnregistered { registration_id, .. } => {
            (AuditAction::Unregister, format!("registration_id {registration_id}"), None)
        }
        Change::PodEvicted { registration_id, .. } => {
            let details =
                format!("registration_id {registration_id}: too many failed checks in a row");
            (AuditAction::AutoCleanup, details, None)
        }
    };
    AuditEntry {
        at,
        action,
        result: AuditResult::Success,
        key: Some(change.key().clone()),
        details,
        previous_status,
        new_status,
        request_id: origin.request_id.clone(),
        remote: origin.remote.clone(),
    }
}
