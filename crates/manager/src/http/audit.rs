//! `GET /audit/logs` and `GET /audit/logs/by-id`: what was done, when, by whom and why.
//!
//! Read from the store, because it is kept there alone: while the store is away there is no answer.

use axum::extract::{RawQuery, State};
use governance_api::{AuditLog, AuditLogs};
use governance_domain::Timestamp;
use http::StatusCode;

use super::problem::Problem;
use super::query::Query;
use super::{Answer, Shared, json_answer};
use crate::engine::{
    ArchiveError, AuditAction, AuditPosition, AuditQuery, AuditRecord, AuditResult,
};
use crate::wire;

/// Entries of a page, if the caller does not say.
const LIMIT_DEFAULT: usize = 100;
/// The most entries of a page.
const LIMIT_MAX: usize = 1_000;
/// The most entries that can be skipped, each of which is read: beyond them, `before` leads on.
const OFFSET_MAX: usize = 10_000;

pub(super) async fn logs(State(state): Shared, RawQuery(query): RawQuery) -> Answer {
    state.check_readable()?;
    let query = read(Query::new(query.as_deref()))?;
    let page = state.engine.archive().read(query).await.map_err(|error| unread(&error))?;
    let last = page.records.last().filter(|_| page.has_more);
    let answer = AuditLogs {
        total: page.total,
        total_is_minimum: page.is_total_minimum,
        next_before: last.map(|record| record.id.to_string()),
        logs: page.records.into_iter().map(log).collect(),
    };
    Ok(json_answer(to_json(&answer)))
}

pub(super) async fn log_by_id(State(state): Shared, RawQuery(query): RawQuery) -> Answer {
    state.check_readable()?;
    let mut query = Query::new(query.as_deref());
    let text = query.required("id");
    let id = query.parsed("id", parse_id);
    query.finish()?;
    let found = state.engine.archive().read(AuditQuery::entry(id.unwrap_or_default())).await;
    let page = found.map_err(|error| unread(&error))?;
    match page.records.into_iter().next() {
        Some(record) => Ok(json_answer(to_json(&log(record)))),
        None => {
            let detail = format!(
                "there is no audit entry {}: it may be older than AUDIT_RETENTION",
                text.unwrap_or_default()
            );
            Err(Problem::new(StatusCode::NOT_FOUND, "audit_entry_not_found", detail))
        }
    }
}

fn read(mut query: Query<'_>) -> Result<AuditQuery, Problem> {
    let from = query.parsed("start_time", parse_time);
    let until = query.parsed("end_time", parse_time);
    let actions = query.parsed("actions", |text| {
        words(text, "an action", AuditAction::parse, &AuditAction::ALL.map(AuditAction::as_str))
    });
    let results = query.parsed("results", |text| {
        words(text, "a result", AuditResult::parse, &AuditResult::ALL.map(AuditResult::as_str))
    });
    let service = query.optional("service_name").map(Into::into);
    let pod = query.optional("pod_name").map(Into::into);
    let limit = query.parsed("limit", |text| whole(text, "a limit", 1, LIMIT_MAX, ""));
    let beyond = ", and before=ID beyond that";
    let offset = query.parsed("offset", |text| whole(text, "an offset", 0, OFFSET_MAX, beyond));
    let before = query.parsed("before", parse_id);
    query.finish()?;
    // A span is what lies between two moments, whichever is named first.
    let (from, until) = match (from, until) {
        (Some(one), Some(other)) => (Some(one.min(other)), Some(one.max(other))),
        open => open,
    };
    Ok(AuditQuery {
        from,
        until,
        actions: actions.unwrap_or_default(),
        results: results.unwrap_or_default(),
        service,
        pod,
        position: AuditPosition::Skipping { count: offset.unwrap_or(0), before },
        limit: limit.unwrap_or(LIMIT_DEFAULT),
    })
}

/// A moment. A `+` that was not percent-encoded arrives as a blank, and is taken for what it was.
fn parse_time(text: &str) -> Result<Timestamp, String> {
    let time = text.parse().or_else(|_| text.replace(' ', "+").parse::<jiff::Timestamp>());
    let time = time.map_err(|_| {
        format!("{text:?} is not a time: give one of RFC 3339, such as 2026-01-02T03:04:05Z")
    })?;
    Ok(Timestamp::from_micros(time.as_microsecond()))
}

fn parse_id(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?} is not an id: give the id of an entry"))
}

/// Words with commas between them.
fn words<T>(
    text: &str,
    what: &str,
    parse: impl Fn(&str) -> Option<T>,
    all: &[&str],
) -> Result<Vec<T>, String> {
    let unknown: Vec<_> = text.split(',').filter(|word| parse(word.trim()).is_none()).collect();
    if unknown.is_empty() {
        return Ok(text.split(',').filter_map(|word| parse(word.trim())).collect());
    }
    let (unknown, all) = (unknown.join(","), all.join(", "));
    Err(format!("{unknown:?} is not {what}: use {all}, with commas between them"))
}

fn whole(text: &str, what: &str, min: usize, max: usize, hint: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("{text:?} is not {what}: give a whole number from {min} to {max}{hint}")),
    }
}

fn unread(error: &ArchiveError) -> Problem {
    match error {
        ArchiveError::TooSlow => Problem::unavailable(
            "audit_too_slow",
            5,
            "the audit could not be read in time: narrow the question with start_time, end_time \
             or service_name, or try again",
        ),
        ArchiveError::Unavailable { why } => {
            tracing::warn!(why, "the audit could not be read");
            Problem::unavailable(
                "store_unavailable",
                5,
                "the store cannot be reached, and the audit is kept there alone: try again",
            )
        }
    }
}

fn log(record: AuditRecord) -> AuditLog {
    let (identity, remote) = match record.remote.as_deref().map(|who| (who.rsplit_once('@'), who)) {
        None => (None, None),
        Some((Some((name, address)), _)) => (Some(name.to_owned()), Some(address.to_owned())),
        Some((None, address)) => (None, Some(address.to_owned())),
    };
    AuditLog {
        id: record.id.to_string(),
        timestamp: wire::time_text(record.at),
        action: record.action,
        result: record.result,
        service_name: record.service,
        pod_name: record.pod,
        details: record.details,
        previous_status: record.previous_status,
        new_status: record.new_status,
        request_id: record.request_id,
        remote,
        identity,
    }
}

fn to_json<T: serde::Serialize>(answer: &T) -> Vec<u8> {
    serde_json::to_vec(answer).expect("texts and numbers always have a JSON form")
}
