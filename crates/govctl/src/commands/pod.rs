//! `govctl pod SERVICE POD`: all that is known of one.

use std::fmt::Write as _;

use governance_api::{Delivery, PodDetails, PodHealth, Status, paths};
use serde_json::Value;

use super::pods::status;
use crate::cli::PodName;
use crate::fault::{Fault, Outcome};
use crate::managers::Managers;
use crate::screen::{Format, Screen};
use crate::table::{Cell, Table};
use crate::text::{ago_of, at, counted, encoded, endpoints, now, tame, wishes};

pub(crate) async fn run(screen: Screen, mut managers: Managers, name: &PodName) -> Outcome {
    if screen.format == Format::Json {
        // As the manager says it, also what this program does not know.
        return screen.json(&managers.get::<Value>(&target(name)).await?);
    }
    let detail = of(&mut managers, name).await?;
    if screen.format == Format::Name {
        return screen.line(&format!("{}/{}", detail.pod.service_name, detail.pod.pod_name));
    }
    screen.table(&facts(&detail))?;
    if let Some(health) = &detail.health {
        screen.print(&history(health))?;
    }
    if !detail.deliveries.is_empty() {
        screen.line("")?;
        screen.table(&told(&detail.deliveries))?;
    }
    Ok(())
}

/// One pod, with what is known beside its registration.
pub(crate) async fn of(managers: &mut Managers, name: &PodName) -> Result<PodDetails, Fault> {
    managers.get(&target(name)).await
}

fn target(name: &PodName) -> String {
    let target = paths::POD.replace("{service}", &encoded(&name.service));
    target.replace("{pod}", &encoded(&name.pod))
}

fn facts(detail: &PodDetails) -> Table {
    let (pod, now) = (&detail.pod, now());
    let checked = pod.last_health_check.as_deref();
    let next = detail.health.as_ref().map(|health| match &health.next_attempt {
        Some(next) => ago_of(next, now),
        None => "under way".to_owned(),
    });
    let mut table = Table::new(&["POD", &format!("{}/{}", pod.service_name, pod.pod_name)]);
    let rows = [
        ("status", status(pod.status)),
        ("last check", checked.map_or_else(|| "never".to_owned(), |time| at(time, now)).into()),
        ("next check", next.unwrap_or_default().into()),
        ("endpoints", endpoints(&pod.providers).into()),
        ("health check", Cell::from(&pod.health_check_url)),
        ("notifications", Cell::from(&pod.notification_url)),
        ("subscriptions", wishes(&pod.subscriptions).into()),
        ("registered", at(&pod.registered_at, now).into()),
        ("updated", at(&pod.updated_at, now).into()),
        ("registration", pod.registration_id.to_string().into()),
    ];
    for (name, value) in rows {
        table.push(vec![name.into(), value]);
    }
    table
}

/// The last changes of its status, and the last failure.
fn history(health: &PodHealth) -> String {
    let now = now();
    let mut text = String::new();
    if health.consecutive_failures > 0 {
        let failed = counted(health.consecutive_failures as usize, "check");
        let _ = writeln!(text, "\n{failed} failed in a row");
    }
    if let Some(failure) = &health.last_failure {
        let _ =
            writeln!(text, "\nlast failure: {}: {}", at(&failure.at, now), tame(&failure.reason));
    }
    if !health.changes.is_empty() {
        text.push('\n');
        let mut table = Table::new(&["CHANGED", "FROM", "TO", "REASON"]);
        for change in &health.changes {
            let word = |status: Status| Cell::from(super::pods::word(status));
            let row = vec![at(&change.at, now).into(), word(change.from), word(change.to)];
            table.push(row.into_iter().chain([Cell::from(&change.reason)]).collect());
        }
        text.push_str(&table.text(false));
    }
    text
}

/// What it was told of the services it subscribes to.
fn told(deliveries: &[Delivery]) -> Table {
    let now = now();
    let mut table = Table::new(&["TOLD OF", "REVISION", "BEHIND SINCE", "ATTEMPTS", "LAST ERROR"]);
    for delivery in deliveries {
        let since = delivery.behind_since.as_deref().map(|time| ago_of(time, now));
        let revision = delivery.delivered_revision.map(|revision| revision.to_string());
        table.push(vec![
            Cell::from(&delivery.service_name),
            revision.unwrap_or_else(|| "none".to_owned()).into(),
            since.unwrap_or_default().into(),
            if delivery.attempts == 0 { "".into() } else { delivery.attempts.to_string().into() },
            delivery.last_error.as_deref().unwrap_or_default().into(),
        ]);
    }
    table
}
