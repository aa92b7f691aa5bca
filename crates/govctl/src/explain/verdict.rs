//! The state of a pod and how it came to it.

use governance_api::{AuditLog, HealthChange, PodHealth, Status};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::Facts;
use crate::text::{ago, ago_of, at, counted, moment, span, tame, who};

/// So many changes between healthy and unhealthy …
const FLAPS_MIN: usize = 4;
/// … within so long are flapping.
const FLAPS_WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// A first check that has not begun after so long is late.
const FIRST_CHECK_LATE: SignedDuration = SignedDuration::from_secs(60);
/// Entries of the audit that are shown.
const ENTRIES_MAX: usize = 8;

/// What is the matter with a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// No check has ended since it registered, and none has failed.
    NeverChecked,
    /// The last check passed.
    Healthy,
    /// The last attempt failed, and its retries are under way: the status is still the one before.
    Retrying,
    /// The last check failed with all its retries.
    Unhealthy,
    /// It goes back and forth.
    Flapping,
    /// The manager removed it.
    Removed,
    /// It was unregistered.
    Unregistered,
    /// It wants to register, and its last attempt was refused or failed.
    Refused,
    /// It is not registered, although the last that is known of it is that it was.
    Lost,
}

/// Why a pod is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Absence {
    pub(super) state: State,
    pub(super) summary: String,
    pub(super) hint: String,
}

/// What is the matter, in a sentence.
pub(super) fn of(facts: &Facts) -> (State, String) {
    let (now, pod) = (facts.now, &facts.pod.pod);
    let name = format!("{}/{}", pod.service_name, pod.pod_name);
    let health = facts.pod.health.as_ref();
    let flaps = flaps(facts);
    let retrying = health.and_then(|health| retrying(facts, health));
    match (pod.status, retrying) {
        (status, _) if flaps.len() >= FLAPS_MIN => {
            let first = flaps.iter().min().map(|first| now.duration_since(*first));
            let within = span(first.unwrap_or_default());
            let changes = counted(flaps.len(), "change");
            let word = crate::commands::status_word(status);
            (State::Flapping, format!("{name} is flapping: {changes} within {within}, now {word}"))
        }
        (Status::Unhealthy, _) => (State::Unhealthy, unhealthy(&name, facts)),
        (Status::Healthy, Some(why)) => {
            (State::Retrying, format!("{name} is still healthy, but {why}"))
        }
        (Status::Unknown, Some(why)) => {
            (State::Retrying, format!("{name} is not known to be healthy yet: {why}"))
        }
        (Status::Healthy, None) => {
            let since = health.and_then(|health| health.changes.last());
            let since = since.filter(|change| change.to == Status::Healthy);
            let since = since.map(|change| format!(" since {}", at(&change.at, now)));
            let checked = pod.last_health_check.as_deref().map(|time| ago_of(time, now));
            let checked = checked.unwrap_or_else(|| "never by this manager".to_owned());
            let since = since.unwrap_or_default();
            (State::Healthy, format!("{name} is healthy{since}; last checked {checked}"))
        }
        (Status::Unknown, None) => {
            let registered = ago_of(&pod.registered_at, now);
            let text = format!("{name} was never checked: it registered {registered}");
            (State::NeverChecked, format!("{text}, and no check has ended since"))
        }
    }
}

fn unhealthy(name: &str, facts: &Facts) -> String {
    let Some(health) = &facts.pod.health else {
        return format!("{name} is unhealthy; this manager has not checked it itself yet");
    };
    let failed = health.consecutive_failures;
    let since = health.changes.last().filter(|change| change.to == Status::Unhealthy);
    let since = since.map(|change| format!(" since {}", at(&change.at, facts.now)));
    let since = since.unwrap_or_default();
    let reason = health.last_failure.as_ref().map(|failure| format!(": {}", tame(&failure.reason)));
    let checks = match failed {
        0 => "its last check failed".to_owned(),
        failed => format!("{} failed in a row", counted(failed as usize, "check")),
    };
    format!("{name} is unhealthy{since}: {checks}{}", reason.unwrap_or_default())
}

/// Whether an attempt failed after the last check that ended: then its retries are under way.
fn retrying(facts: &Facts, health: &PodHealth) -> Option<String> {
    let failure = health.last_failure.as_ref()?;
    let failed_at = moment(&failure.at)?;
    let pod = &facts.pod.pod;
    let checked_at = pod.last_health_check.as_deref().and_then(moment);
    // Of an earlier registration, or overtaken by a check that ended.
    let is_old = moment(&pod.registered_at).is_some_and(|registered| failed_at < registered)
        || checked_at.is_some_and(|checked| failed_at <= checked);
    if is_old {
        return None;
    }
    let (when, reason) = (ago(failed_at, facts.now), tame(&failure.reason));
    Some(format!("its last attempt failed {when}: {reason}; {}", next(health, facts.now)))
}

fn next(health: &PodHealth, now: Timestamp) -> String {
    match health.next_attempt.as_deref().and_then(moment) {
        None => "an attempt is under way".to_owned(),
        Some(at) if at <= now => "the next is due now".to_owned(),
        Some(at) => match ago(at, now).as_str() {
            "just now" => "the next is due now".to_owned(),
            when => format!("the next is due {when}"),
        },
    }
}

/// When it changed between healthy and unhealthy lately: as the manager remembers, or the audit,
/// which survives a restart and may know more.
fn flaps(facts: &Facts) -> Vec<Timestamp> {
    let is_late = |at: &Timestamp| facts.now.duration_since(*at) <= FLAPS_WITHIN;
    let health = facts.pod.health.as_ref();
    let changes = health.map_or(&[][..], |health| &health.changes);
    let is_flap = |change: &&HealthChange| change.from != Status::Unknown;
    let remembered = changes.iter().filter(is_flap).filter_map(|change| moment(&change.at));
    let remembered: Vec<_> = remembered.filter(is_late).collect();
    let entries = facts.audit.iter().flatten().filter(|log| {
        let before = log.previous_status.as_deref();
        log.action == "health_status_change" && before != Some("unknown")
    });
    let written: Vec<_> =
        entries.filter_map(|log| moment(&log.timestamp)).filter(is_late).collect();
    if remembered.len() >= written.len() { remembered } else { written }
}

/// What led to the state, oldest first.
pub(super) fn history(facts: &Facts) -> Vec<String> {
    let now = facts.now;
    match (&facts.audit, &facts.pod.health) {
        (Some(audit), _) if !audit.is_empty() => entries(audit, now),
        (_, health) => {
            let mut lines = vec![format!("{} registered", at(&facts.pod.pod.registered_at, now))];
            let changes = health.iter().flat_map(|health| &health.changes);
            lines.extend(changes.map(|change| {
                let word = crate::commands::status_word;
                let (from, to) = (word(change.from), word(change.to));
                format!("{} {from} → {to}: {}", at(&change.at, now), tame(&change.reason))
            }));
            if facts.audit.is_none() {
                lines.push("the audit cannot be read now, so older reasons are missing".to_owned());
            }
            lines
        }
    }
}

/// Entries of the audit as lines, oldest first.
pub(super) fn entries(audit: &[AuditLog], now: Timestamp) -> Vec<String> {
    let shown = audit.iter().take(ENTRIES_MAX).rev();
    let lines = shown.map(|log| {
        let (when, by) = (at(&log.timestamp, now), by(log));
        match (log.action.as_str(), &log.previous_status, &log.new_status) {
            (action, ..) if log.result != "success" => {
                let what = if log.result == "denied" { "was refused" } else { "failed" };
                let action = match action {
                    "register" => "a registration",
                    "unregister" => "a removal",
                    other => other,
                };
                format!("{when} {action}{by} {what}: {}", tame(&log.details))
            }
            ("register", ..) => format!("{when} registered{by}"),
            ("unregister", ..) => format!("{when} unregistered{by}"),
            ("auto_cleanup", ..) => {
                format!("{when} removed by the manager: {}", reason_of(&log.details))
            }
            ("health_status_change", Some(from), Some(to)) => {
                format!("{when} {from} → {to}: {}", tame(&log.details))
            }
            (action, ..) => format!("{when} {action}{by}: {}", tame(&log.details)),
        }
    });
    lines.collect()
}

/// ` by …`, if it was somebody.
fn by(log: &AuditLog) -> String {
    who(log).map(|who| format!(" by {}", tame(&who))).unwrap_or_default()
}

/// Without the number in front of it.
fn reason_of(details: &str) -> String {
    let reason = details.split_once(": ").filter(|(id, _)| id.starts_with("registration_id"));
    tame(reason.map_or(details, |(_, reason)| reason))
}

/// What is done to find out, and when next.
pub(super) fn attempts(facts: &Facts) -> Vec<String> {
    let (pod, now) = (&facts.pod.pod, facts.now);
    let mut lines = vec![format!("checked at {}", tame(&pod.health_check_url))];
    let ended = pod.last_health_check.as_deref().map(|time| at(time, now));
    lines.push(format!("last check that ended: {}", ended.unwrap_or_else(|| "none".to_owned())));
    let Some(health) = &facts.pod.health else {
        lines.push("this manager has not begun to check it".to_owned());
        return lines;
    };
    if let Some(failure) = &health.last_failure {
        lines.push(format!("last failure: {}: {}", at(&failure.at, now), tame(&failure.reason)));
    }
    if health.consecutive_failures > 0 {
        lines.push(format!(
            "{} failed in a row; the manager removes a pod after HEALTH_CHECK_FAILURE_LIMIT of \
             them, unless too many pods fail at once",
            counted(health.consecutive_failures as usize, "check")
        ));
    }
    let registered = moment(&pod.registered_at);
    let is_late = registered.is_some_and(|at| now.duration_since(at) > FIRST_CHECK_LATE);
    if pod.last_health_check.is_none() && health.last_failure.is_none() && is_late {
        lines.push("the first check is late: see the manager's log and check lag".to_owned());
    }
    lines.push(format!("attempts: {}", next(health, now)));
    lines
}

/// What to do about a state.
pub(super) fn hint(state: State) -> Option<&'static str> {
    match state {
        State::NeverChecked => Some(
            "a new pod is checked at once, and an attempt takes no longer than \
             HEALTH_CHECK_TIMEOUT; if it stays like this, see the manager's log",
        ),
        State::Retrying => Some(
            "if the retries fail too it becomes unhealthy; one success ends them. See whether the \
             pod listens where its health check points",
        ),
        State::Unhealthy => Some(
            "see whether the pod runs and answers its health check with a status from 200 to 299; \
             one success makes it healthy",
        ),
        State::Flapping => Some(
            "see whether the pod is short of time or memory, or answers slower than \
             HEALTH_CHECK_TIMEOUT; more HEALTH_CHECK_RETRY tolerates more",
        ),
        State::Healthy | State::Removed | State::Unregistered | State::Refused | State::Lost => {
            None
        }
    }
}

/// Why a pod is not there, by the newest entries of the audit; none if they say nothing.
pub(super) fn absence(
    service: &str,
    pod: &str,
    audit: &[AuditLog],
    now: Timestamp,
) -> Option<Absence> {
    let about = ["register", "unregister", "auto_cleanup", "health_status_change"];
    // A removal that failed removed nothing; a registration that failed is why it is not there.
    let log = audit.iter().find(|log| {
        let counts = log.result == "success" || log.action == "register";
        counts && about.contains(&log.action.as_str())
    })?;
    let (name, when) = (format!("{}/{}", tame(service), tame(pod)), at(&log.timestamp, now));
    let absence = |state, summary, hint: &str| Absence { state, summary, hint: hint.to_owned() };
    Some(match log.action.as_str() {
        _ if log.result != "success" => {
            let (by, why) = (by(log), tame(&log.details));
            let is_denied = log.result == "denied";
            let verb = if is_denied { "was refused" } else { "failed" };
            let hint = if is_denied {
                "give it a token or certificate that may write this service, or have its line in \
                 the manager's API_TOKENS_FILE changed; a client tries again by itself"
            } else {
                "mend what is named there; a client tries again by itself"
            };
            let summary = format!("{name} is not registered: its attempt{by} {verb} {when}: {why}");
            absence(State::Refused, summary, hint)
        }
        "auto_cleanup" => absence(
            State::Removed,
            format!("{name} was removed by the manager {when}: {}", reason_of(&log.details)),
            "it is back when it registers again, which a client does by itself within 90 s once it \
             runs; HEALTH_CHECK_FAILURE_LIMIT says how many failed checks a pod may have",
        ),
        "unregister" => absence(
            State::Unregistered,
            format!("{name} was unregistered {when}{}", by(log)),
            "that is how a pod ends; start it again, or register it with `govctl register`",
        ),
        _ => absence(
            State::Lost,
            format!("{name} is not registered, and nothing says why; last known {when}"),
            "its end may be older than what the audit keeps, or the store went back: see the \
             manager's log",
        ),
    })
}
