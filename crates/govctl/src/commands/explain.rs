//! `govctl explain SERVICE POD`: collects what is known and prints what follows from it.

use governance_api::AuditLog;
use serde::Serialize;

use super::{audit, pod, subscribers};
use crate::cli::{ExplainOptions, PodName};
use crate::explain::{Explanation, Facts, State, explain, explain_absence};
use crate::fault::{Fault, Kind, Outcome};
use crate::managers::Managers;
use crate::reach;
use crate::screen::{Format, Screen};
use crate::table::{BAD, GOOD, HEAD, OPEN};
use crate::text::{encoded, now, tame};

/// Entries of the audit that are looked at: flapping shows in the newest few.
const ENTRIES_READ: usize = 50;

/// `-o json`: the explanation and what it rests on.
#[derive(Serialize)]
struct Report<'a> {
    service_name: &'a str,
    pod_name: &'a str,
    #[serde(flatten)]
    explanation: &'a Explanation,
    reached: Option<&'a [reach::Reach]>,
}

pub(crate) async fn run(
    screen: Screen,
    mut managers: Managers,
    options: &ExplainOptions,
) -> Outcome {
    let name = &options.name;
    let detail = match pod::of(&mut managers, name).await {
        Err(fault) if fault.kind == Kind::NotFound => {
            return absent(screen, &mut managers, name, fault).await;
        }
        detail => detail?,
    };
    // The store may be away, which must not keep the rest from being said.
    let audit = history(&mut managers, name).await.ok();
    let subscribers = subscribers::of(&mut managers, &name.service).await.ok();
    let reached = if options.no_connect { None } else { Some(reach::try_all(&detail.pod).await) };
    let subscribers = subscribers.map(|found| found.subscribers);
    let facts = Facts { now: now(), pod: detail, audit, subscribers, reached };
    print(screen, name, &explain(&facts), facts.reached.as_deref())
}

/// It is not registered: what the audit knows of its end. The exit code stays "not found".
async fn absent(screen: Screen, managers: &mut Managers, name: &PodName, fault: Fault) -> Outcome {
    let log = history(managers, name).await;
    let Ok(log) = log else {
        let hint = "the audit, which would say what became of it, cannot be read now";
        return Err(Fault { hint: hint.to_owned(), ..fault }.into());
    };
    let Some(found) = explain_absence(&name.service, &name.pod, &log, now()) else {
        let hint = "the audit knows nothing of it either: it never registered here, or longer ago \
                    than AUDIT_RETENTION; `govctl pods` shows who is registered";
        return Err(Fault { hint: hint.to_owned(), ..fault }.into());
    };
    print(screen, name, &found, None)?;
    let hint = found.hints.into_iter().next().unwrap_or(fault.hint);
    Err(Fault::new(fault.kind, fault.what, hint).into())
}

async fn history(managers: &mut Managers, name: &PodName) -> Result<Vec<AuditLog>, Fault> {
    let (service, pod) = (encoded(&name.service), encoded(&name.pod));
    let conditions = format!("&service_name={service}&pod_name={pod}");
    audit::read(managers, &conditions, ENTRIES_READ).await.map(|(logs, _)| logs)
}

fn print(
    screen: Screen,
    name: &PodName,
    found: &Explanation,
    reached: Option<&[reach::Reach]>,
) -> Outcome {
    let (service_name, pod_name) = (name.service.as_str(), name.pod.as_str());
    match screen.format {
        Format::Json => {
            return screen.json(&Report { service_name, pod_name, explanation: found, reached });
        }
        Format::Name => return screen.line(state_word(found.state)),
        Format::Table | Format::Wide => {}
    }
    let style = match found.state {
        State::Healthy => GOOD,
        State::NeverChecked | State::Retrying | State::Flapping => OPEN,
        State::Unhealthy | State::Removed | State::Unregistered | State::Refused | State::Lost => {
            BAD
        }
    };
    let mut lines = vec![screen.paint(&tame(&found.summary), style)];
    let sections = [
        ("What happened", &found.why),
        ("What was tried", &found.tried),
        ("Who knows", &found.known),
        ("From here", &found.from_here),
    ];
    for (title, section) in sections.into_iter().filter(|(_, lines)| !lines.is_empty()) {
        lines.extend([String::new(), screen.paint(title, HEAD)]);
        lines.extend(section.iter().map(|line| format!("  {}", tame(line))));
    }
    let is_there =
        !matches!(found.state, State::Removed | State::Unregistered | State::Refused | State::Lost);
    // For one that is not there the hint stands with the error.
    if is_there && !found.hints.is_empty() {
        lines.push(String::new());
        lines.extend(found.hints.iter().map(|hint| format!("hint: {}", tame(hint))));
    }
    lines.push(String::new());
    screen.print(&lines.join("\n"))
}

fn state_word(state: State) -> &'static str {
    match state {
        State::NeverChecked => "never_checked",
        State::Healthy => "healthy",
        State::Retrying => "retrying",
        State::Unhealthy => "unhealthy",
        State::Flapping => "flapping",
        State::Removed => "removed",
        State::Unregistered => "unregistered",
        State::Refused => "refused",
        State::Lost => "lost",
    }
}
