//! Why a pod is in its state: facts in, words out.
//!
//! `verdict` finds the state and its reason, `told` who knows what. Nothing here asks anybody; the
//! command collects the facts. Every sentence must follow from a fact that the manager showed.

mod told;
mod verdict;

use governance_api::{AuditLog, PodDetails, Subscriber};
use jiff::Timestamp;
use serde::Serialize;

use crate::reach::Reach;

pub(crate) use verdict::{Absence, State};

/// What is known when the question is answered.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) now: Timestamp,
    pub(crate) pod: PodDetails,
    /// Entries about this pod, newest first; none if the audit could not be read.
    pub(crate) audit: Option<Vec<AuditLog>>,
    /// Who subscribes to its service; none if that could not be read.
    pub(crate) subscribers: Option<Vec<Subscriber>>,
    /// What can be reached from here; none if nothing was tried.
    pub(crate) reached: Option<Vec<Reach>>,
}

/// The answer: a sentence, what it rests on, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Explanation {
    pub(crate) state: State,
    /// One sentence that can be read alone.
    pub(crate) summary: String,
    /// What led there.
    pub(crate) why: Vec<String>,
    /// What was tried, and what will be.
    pub(crate) tried: Vec<String>,
    /// Who knows its state, and what it knows itself.
    pub(crate) known: Vec<String>,
    /// What it looks like from here.
    pub(crate) from_here: Vec<String>,
    /// What a person can do.
    pub(crate) hints: Vec<String>,
}

/// Explains a pod that is registered.
pub(crate) fn explain(facts: &Facts) -> Explanation {
    let (state, mut summary) = verdict::of(facts);
    if let Some(remark) = told::remark(facts) {
        summary = format!("{summary}; {remark}");
    }
    if let Some(remark) = unreached(facts) {
        summary = format!("{summary}; {remark}");
    }
    let (known, mut hints) = told::of(facts);
    let (from_here, hint) = seen_from_here(facts);
    hints.extend(hint);
    if let Some(hint) = verdict::hint(state) {
        hints.insert(0, hint.to_owned());
    }
    let (why, tried) = (verdict::history(facts), verdict::attempts(facts));
    Explanation { state, summary, why, tried, known, from_here, hints }
}

/// Explains why a pod is not registered, from the audit; none if that knows nothing of it.
pub(crate) fn explain_absence(
    service: &str,
    pod: &str,
    audit: &[AuditLog],
    now: Timestamp,
) -> Option<Explanation> {
    let Absence { state, summary, hint } = verdict::absence(service, pod, audit, now)?;
    let why = verdict::entries(audit, now);
    let nothing = Vec::new;
    let (tried, known, from_here) = (nothing(), nothing(), nothing());
    Some(Explanation { state, summary, why, tried, known, from_here, hints: vec![hint] })
}

/// What belongs into the summary: that it cannot be reached from here.
fn unreached(facts: &Facts) -> Option<String> {
    let reached = facts.reached.as_deref().unwrap_or_default();
    let closed = reached.iter().filter(|reach| !reach.is_open).count();
    match (closed, reached.len()) {
        (0, _) => None,
        (closed, all) if closed == all => Some("it cannot be reached from here".to_owned()),
        (closed, all) => {
            Some(format!("{closed} of its {all} addresses cannot be reached from here"))
        }
    }
}

/// The lines, and a hint where the manager and this place see different things.
fn seen_from_here(facts: &Facts) -> (Vec<String>, Option<String>) {
    use governance_api::Status;
    let reached = facts.reached.as_deref().unwrap_or_default();
    let lines = reached.iter().map(|reach| {
        let Reach { address, purpose, .. } = reach;
        match &reach.reason {
            None => format!("{address} ({purpose}) takes connections"),
            Some(reason) => format!("{address} ({purpose}) cannot be reached: {reason}"),
        }
    });
    let checked = reached.iter().find(|reach| reach.purpose.contains("health check"));
    let is_healthy = facts.pod.pod.status == Status::Healthy;
    let has_closed = reached.iter().any(|reach| !reach.is_open);
    let hint = match (is_healthy, checked.map(|reach| reach.is_open)) {
        (true, Some(false)) => Some(
            "the manager reaches the pod and this machine does not: look at addresses that mean \
             something else here (localhost, 0.0.0.0), routes and firewalls between here and there",
        ),
        (true, _) if has_closed => Some(
            "the pod passes its checks, but an address that it registered cannot be reached from \
             here: clients on this network fail there, too",
        ),
        (false, Some(true)) => Some(
            "its health check's address takes connections from here: look at what the pod answers \
             there, and at what lies between the manager and the pod",
        ),
        (..) => None,
    };
    (lines.collect(), hint.map(str::to_owned))
}
