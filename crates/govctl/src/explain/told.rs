//! Who knows the state of a pod, and what the pod knows of others.

use governance_api::{Delivery, Subscriber};

use super::Facts;
use crate::text::{ago_of, counted, tame};

/// Subscribers that are named.
const NAMED_MAX: usize = 10;

/// The lines, and what to do where somebody is behind.
pub(super) fn of(facts: &Facts) -> (Vec<String>, Vec<String>) {
    let (mut lines, mut hints) = (Vec::new(), Vec::new());
    let service = tame(&facts.pod.pod.service_name);
    match facts.subscribers.as_deref() {
        None => lines.push("who subscribes cannot be read now".to_owned()),
        Some([]) => lines.push(format!("nobody subscribes to {service}")),
        Some(all) => {
            subscribers(facts, all, &mut lines);
            if all.iter().any(is_failing) {
                hints.push(
                    "who cannot be told is told again by itself, with growing pauses; see whether it \
                     runs and takes POST at its notification_url"
                        .to_owned(),
                );
            }
        }
    }
    let deliveries = &facts.pod.deliveries;
    for delivery in deliveries {
        lines.push(delivery_line(facts, delivery));
    }
    if deliveries.iter().any(|delivery| delivery.failing_since.is_some()) {
        let url = tame(&facts.pod.pod.notification_url);
        hints.push(format!("this pod cannot be told: see whether it takes POST at {url}"));
    }
    (lines, hints)
}

/// What belongs into the summary: who cannot be told of the pod, and of what it cannot be told.
pub(super) fn remark(facts: &Facts) -> Option<String> {
    let behind = facts.subscribers.iter().flatten().filter(|one| is_failing(one)).count();
    let failing = facts.pod.deliveries.iter().filter(|delivery| delivery.failing_since.is_some());
    let deaf: Vec<_> = failing.map(|delivery| tame(&delivery.service_name)).collect();
    let behind = (behind > 0).then(|| format!("{} cannot be told", counted(behind, "subscriber")));
    let deaf = (!deaf.is_empty()).then(|| format!("it cannot be told of {}", deaf.join(", ")));
    let parts: Vec<_> = behind.into_iter().chain(deaf).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn subscribers(facts: &Facts, all: &[Subscriber], lines: &mut Vec<String>) {
    let service = tame(&facts.pod.pod.service_name);
    let behind: Vec<_> = all.iter().filter(|one| one.behind_since.is_some()).collect();
    let knowing = all
        .iter()
        .filter(|one| one.behind_since.is_none() && one.delivered_revision.is_some())
        .count();
    let count = all.len();
    lines.push(format!(
        "subscribers of {service} that know its current state: {knowing} of {count}"
    ));
    for one in behind.iter().take(NAMED_MAX) {
        let name = tame(&format!("{}/{}", one.service_name, one.pod_name));
        let since = one.behind_since.as_deref().unwrap_or_default();
        let since = since_words(facts, since);
        lines.push(match &one.last_error {
            Some(error) if is_failing(one) => {
                let attempts = counted(one.attempts.unwrap_or_default() as usize, "attempt");
                format!("{name} is behind {since}: {attempts} failed, the last: {}", tame(error))
            }
            _ => format!("{name} is being told {since}"),
        });
    }
    if behind.len() > NAMED_MAX {
        lines.push(format!("and {} more", behind.len() - NAMED_MAX));
    }
}

fn is_failing(one: &Subscriber) -> bool {
    one.behind_since.is_some() && one.failing_since.is_some()
}

fn delivery_line(facts: &Facts, delivery: &Delivery) -> String {
    let service = tame(&delivery.service_name);
    match (&delivery.failing_since, &delivery.behind_since) {
        (Some(since), _) => {
            let error = tame(delivery.last_error.as_deref().unwrap_or("no reason given"));
            let attempts = counted(delivery.attempts as usize, "attempt");
            let since = since_words(facts, since);
            format!("it cannot be told of {service} {since}: {attempts} failed, the last: {error}")
        }
        (None, Some(since)) => {
            format!("it is being told of {service} {}", since_words(facts, since))
        }
        (None, None) if delivery.delivered_revision.is_some() => {
            format!("it knows the current state of {service}")
        }
        (None, None) => format!("it was not told of {service} yet"),
    }
}

/// `for 3m`.
fn since_words(facts: &Facts, since: &str) -> String {
    let ago = ago_of(since, facts.now);
    match ago.strip_suffix(" ago") {
        Some(length) => format!("for {length}"),
        None => ago,
    }
}
