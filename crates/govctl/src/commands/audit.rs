//! `govctl audit`: what was done, page by page.

use governance_api::{AuditLog, AuditLogs, paths};
use jiff::{SignedDuration, Timestamp};

use crate::cli::AuditOptions;
use crate::fault::{Fault, Kind, Outcome};
use crate::managers::Managers;
use crate::screen::{Format, Screen};
use crate::table::{BAD, Cell, GOOD, Table};
use crate::text::{encoded, now, seconds, who};

/// The most entries of a page that a manager gives.
const PAGE_MAX: usize = 1_000;
/// The most that is shown at once: a table is as wide as its widest row, so it waits for all.
const LIMIT_MAX: usize = 100_000;

pub(crate) async fn run(screen: Screen, mut managers: Managers, options: &AuditOptions) -> Outcome {
    if !(1..=LIMIT_MAX).contains(&options.limit) {
        let what = format!("--limit {} is out of range", options.limit);
        return Err(Fault::new(Kind::Usage, what, format!("give 1 to {LIMIT_MAX}")).into());
    }
    let conditions = conditions(options)?;
    let (logs, remark) = read(&mut managers, &conditions, options.limit).await?;
    match screen.format {
        Format::Json => screen.json(&logs)?,
        Format::Name => logs.iter().try_for_each(|log| screen.line(&log.id))?,
        Format::Table | Format::Wide if logs.is_empty() => screen.remark("no entry matches"),
        Format::Table | Format::Wide => screen.table(&table(&logs, screen.format))?,
    }
    if let Some(remark) = remark {
        screen.remark(&remark);
    }
    Ok(())
}

/// The newest entries that match, at most so many; and a remark if there are more.
pub(crate) async fn read(
    managers: &mut Managers,
    conditions: &str,
    limit: usize,
) -> Result<(Vec<AuditLog>, Option<String>), Fault> {
    let (mut logs, mut total, mut before) = (Vec::new(), None, String::new());
    while logs.len() < limit {
        let page = (limit - logs.len()).min(PAGE_MAX);
        let target = format!("{}?limit={page}{conditions}{before}", paths::AUDIT_LOGS);
        let answer: AuditLogs = managers.get(&target).await?;
        let more = if answer.total_is_minimum { "more than " } else { "" };
        let total = total.get_or_insert_with(|| format!("{more}{}", answer.total));
        logs.extend(answer.logs);
        match answer.next_before {
            Some(_) if logs.len() >= limit => {
                let shown = logs.len();
                return Ok((logs, Some(format!("{shown} of {total} entries; --limit shows more"))));
            }
            Some(next) => before = format!("&before={}", encoded(&next)),
            None => break,
        }
    }
    Ok((logs, None))
}

fn conditions(options: &AuditOptions) -> Result<String, Fault> {
    let now = now();
    let time = |text: &Option<String>| text.as_deref().map(|text| moment(text, now)).transpose();
    let conditions = [
        ("service_name", options.service.clone()),
        ("pod_name", options.pod.clone()),
        ("actions", options.action.clone()),
        ("results", options.result.clone()),
        ("start_time", time(&options.since)?),
        ("end_time", time(&options.until)?),
    ];
    let set = conditions.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let set: Vec<_> = set.map(|(name, value)| format!("&{name}={}", encoded(&value))).collect();
    Ok(set.concat())
}

/// A time of RFC 3339, or how long ago.
fn moment(text: &str, now: Timestamp) -> Result<String, Fault> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at.to_string());
    }
    let back = length(text).and_then(|length| now.checked_sub(length).ok());
    back.map(|at| at.to_string()).ok_or_else(|| {
        let hint = "give a time such as 2026-01-02T03:04:05Z, or how long ago: 90s, 15m, 1h, 7d";
        Fault::new(Kind::Usage, format!("{text:?} is no time"), hint)
    })
}

/// `90s`, `15m`, `1h30m`, `7d`.
fn length(text: &str) -> Option<SignedDuration> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<i64>().ok());
    if let Some(days) = days {
        return (0..=36_500).contains(&days).then(|| SignedDuration::from_hours(days * 24));
    }
    let length: SignedDuration = text.parse().ok()?;
    (!length.is_negative()).then_some(length)
}

fn table(logs: &[AuditLog], format: Format) -> Table {
    let is_wide = format == Format::Wide;
    let mut head = vec!["TIME", "ACTION", "RESULT", "POD", "STATUS", "BY", "DETAILS"];
    head.extend(["ID", "REQUEST"].iter().filter(|_| is_wide));
    let mut table = Table::new(&head);
    for log in logs {
        let style = if log.result == "success" { GOOD } else { BAD };
        let time = if is_wide { log.timestamp.clone() } else { seconds(&log.timestamp) };
        let by = who(log).unwrap_or_else(|| "manager".to_owned());
        let mut row = vec![
            Cell::from(time),
            Cell::from(&log.action),
            Cell::styled(&log.result, style),
            whom(log).into(),
            change(log).into(),
            by.into(),
            Cell::from(&log.details),
        ];
        if is_wide {
            row.push(Cell::from(&log.id));
            row.push(log.request_id.as_deref().unwrap_or_default().into());
        }
        table.push(row);
    }
    table
}

fn whom(log: &AuditLog) -> String {
    match (&log.service_name, &log.pod_name) {
        (Some(service), Some(pod)) => format!("{service}/{pod}"),
        (Some(service), None) => service.clone(),
        (None, _) => String::new(),
    }
}

/// `healthy → unhealthy`, or the one that there is.
fn change(log: &AuditLog) -> String {
    match (&log.previous_status, &log.new_status) {
        (Some(before), Some(after)) => format!("{before} → {after}"),
        (Some(before), None) => format!("{before} → gone"),
        (None, Some(after)) => after.clone(),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute_or_so_long_ago() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        for (text, expected) in [
            ("2026-01-01T00:00:00+01:00", "2025-12-31T23:00:00Z"),
            ("1h", "2026-01-02T02:04:05Z"),
            ("1h30m", "2026-01-02T01:34:05Z"),
            ("2d", "2025-12-31T03:04:05Z"),
        ] {
            assert_eq!(moment(text, now).unwrap(), expected, "{text}");
        }
        for text in ["", "yesterday", "-1h", "-3d", "99999999d", "5"] {
            assert_eq!(moment(text, now).unwrap_err().kind, Kind::Usage, "{text}");
        }
    }
}
