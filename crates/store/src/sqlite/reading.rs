//! Reading the audit for people, on a connection and a thread of its own that can only read.
//!
//! What nobody waits for any more stops: each job holds on to its caller weakly and is given up
//! between two steps of SQLite when the caller is gone.
//!
//! Not here: who may ask, and how long they wait; which way leads past what cannot match.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use governance_domain::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, named_params};

use super::digests::{self, Made};
use super::fault::{self, OpenFault};
use super::session::FileId;
use super::thread::{Owned, StoreThread};
use crate::audit_digest::Probe;
use crate::audit_query::{AuditPage, AuditQuery, AuditRecord, Bisection, Count, Span};
use crate::audit_walk::{self, Seen, Tally, Walk, Wanted};
use crate::rows::{read_time, time_text};
use crate::{AuditAction, AuditResult, StoreFault};

/// How long a statement waits for another program that holds the file's lock.
const BUSY_TIMEOUT: Duration = Duration::from_millis(500);
/// Steps of SQLite's machine between two looks whether anybody still waits.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;
/// Memory for pages, in KiB.
const CACHE_KIB: i64 = 4 * 1024;

const MATCHES: &str = "id >= :low AND id < :high \
    AND (:from IS NULL OR at >= :from) AND (:until IS NULL OR at <= :until) \
    AND (:actions IS NULL OR action IN (SELECT value FROM json_each(:actions))) \
    AND (:results IS NULL OR result IN (SELECT value FROM json_each(:results))) \
    AND (:service IS NULL OR service_name = :service) AND (:pod IS NULL OR pod_name = :pod)";

/// What the reading thread owns.
pub(super) struct Reading {
    path: PathBuf,
    connection: Option<Connection>,
    /// The file that it opened.
    file: Option<FileId>,
}

impl Reading {
    /// Opens nothing yet.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, connection: None, file: None }
    }

    pub(super) fn read(
        &mut self,
        query: &AuditQuery,
        caller: Weak<()>,
    ) -> Result<AuditPage, StoreFault> {
        if caller.strong_count() == 0 {
            return Ok(AuditPage::default()); // into the void
        }
        let is_given_up = move || caller.strong_count() == 0;
        self.view(Some(is_given_up), |view| page(view, query))
    }

    /// Digests of at most `blocks` blocks that have none.
    pub(super) fn digests(&mut self, blocks: usize) -> Result<Made, StoreFault> {
        self.view(None::<fn() -> bool>, |view| digests::make(view, blocks))
    }

    /// Lends a view that does not move, until it is given up.
    fn view<T>(
        &mut self,
        is_given_up: Option<impl FnMut() -> bool + Send + 'static>,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreFault> {
        let read = self.attempt(is_given_up, work);
        read.map_err(|error| {
            // Whatever an operator mends is noticed by the next one who asks.
            self.connection = None;
            fault::unopened(&self.path, error).into()
        })
    }

    fn attempt<T>(
        &mut self,
        is_given_up: Option<impl FnMut() -> bool + Send + 'static>,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, OpenFault> {
        let is_replaced = self.file.is_some_and(|file| file.is_replaced(&self.path));
        let connection = match self.connection.take().filter(|_| !is_replaced) {
            Some(open) => open,
            None => {
                self.file = FileId::of(&self.path).ok();
                open(&self.path)?
            }
        };
        let connection = self.connection.insert(connection);
        connection.progress_handler(STEPS_BETWEEN_LOOKS, is_given_up)?;
        let view = connection.transaction()?;
        Ok(work(&view)?)
    }
}

impl Owned for Reading {
    fn broke_off(&mut self) {
        self.connection = None;
    }
}

/// Asks the reading thread. Dropping the future gives the question up.
pub(super) fn ask(
    thread: &StoreThread<Reading>,
    query: AuditQuery,
) -> BoxFuture<'static, Result<AuditPage, StoreFault>> {
    let caller = Arc::new(());
    let seen = Arc::downgrade(&caller);
    let answer = thread.ask(move |reading| reading.read(&query, seen));
    async move {
        let answer = answer.await;
        drop(caller);
        answer
    }
    .boxed()
}

fn open(path: &std::path::Path) -> Result<Connection, OpenFault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "query_only", 1)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    Ok(connection)
}

const ROWS: &str = "id, at, action, result, service_name, pod_name, details, previous_status, \
    new_status, request_id, remote";

fn page(view: &Connection, query: &AuditQuery) -> rusqlite::Result<AuditPage> {
    let span = span(view, query)?;
    let probe = Probe::of(query).filter(|_| digests::are_kept(view).unwrap_or(false));
    let mut records = Vec::new();
    let mut reading = audit_walk::Reading::of(query);
    let rows = matches(ROWS);
    walk(view, probe.as_ref(), query.page_of(span), |stretch| {
        if reading.skipped > 0 {
            let counted = count(view, query, stretch, reading.skipped)?;
            if !reading.leaves_out(counted) {
                return Ok(true);
            }
        }
        let part = (reading.wanted, reading.skipped);
        let read = matching(view, query, &rows, stretch, part, record)?;
        reading.read(read.len());
        records.extend(read);
        Ok(!reading.is_done())
    })?;
    if let Some(count) = query.known_total(records.len()) {
        return Ok(AuditPage::new(query, records, count));
    }
    let count = total(view, query, probe.as_ref(), span)?;
    Ok(AuditPage::new(query, records, count))
}

fn total(
    view: &Connection,
    query: &AuditQuery,
    probe: Option<&Probe>,
    span: Span,
) -> rusqlite::Result<Count> {
    let mut tally = Tally::new();
    walk(view, probe, span, |stretch| {
        let Some((counted, most)) = tally.take(stretch) else { return Ok(false) };
        tally.add(count(view, query, counted, most)?);
        Ok(true)
    })?;
    Ok(tally.count())
}

/// Goes through what may match, newest first, until `look` says that it has seen enough.
fn walk(
    view: &Connection,
    probe: Option<&Probe>,
    span: Span,
    mut look: impl FnMut(Span) -> rusqlite::Result<bool>,
) -> rusqlite::Result<()> {
    let mut walk = Walk::new(probe, span);
    while !walk.is_done() {
        let mut seen = Seen::default();
        if let Some(Wanted { low, high, limit }) = walk.wanted() {
            let mut statement = view.prepare_cached(
                "SELECT block, digest FROM governance_audit_blocks \
                 WHERE block >= ?1 AND block < ?2 ORDER BY block DESC LIMIT ?3",
            )?;
            let mut rows = statement.query((low, high, limit))?;
            while let Some(row) = rows.next()? {
                // What is no digest rules nothing out.
                let digest = row.get_ref(1)?.as_blob().unwrap_or_default();
                walk.see(&mut seen, row.get(0)?, digest);
            }
        }
        for stretch in walk.stretches(&seen) {
            if !look(stretch)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn matches(columns: &str) -> String {
    format!(
        "SELECT {columns} FROM governance_audit WHERE {MATCHES} ORDER BY id DESC \
         LIMIT :wanted OFFSET :skipped"
    )
}

/// How many match, up to `most`.
fn count(view: &Connection, query: &AuditQuery, span: Span, most: i64) -> rusqlite::Result<i64> {
    let sql = format!("SELECT count(*) FROM ({})", matches("1"));
    let counted = matching(view, query, &sql, span, (most, 0), |row| row.get(0))?;
    Ok(counted.first().copied().unwrap_or(0))
}

/// The ids among which matches are.
fn span(view: &Connection, query: &AuditQuery) -> rusqlite::Result<Span> {
    let ends = "SELECT (SELECT min(id) FROM governance_audit), max(id) FROM governance_audit";
    let (low, high) = view.query_row(ends, (), |row| {
        Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?))
    })?;
    let all = Span { low: low.unwrap_or(0), high: high.map_or(0, |high| high.saturating_add(1)) };
    let (lower, upper) = query.bisections(all);
    let low = lower.map_or(Ok(all.low), |search| border(view, search))?;
    let high = upper.map_or(Ok(all.high), |search| border(view, search))?;
    Ok(Span { low, high })
}

fn border(view: &Connection, mut search: Bisection) -> rusqlite::Result<i64> {
    let mut next = view
        .prepare_cached("SELECT id, at FROM governance_audit WHERE id >= ?1 ORDER BY id LIMIT 1")?;
    while let Some(probe) = search.probe() {
        search.found(next.query_row([probe], |row| Ok((row.get(0)?, time(row, 1)?))).optional()?);
    }
    Ok(search.border())
}

fn matching<T>(
    view: &Connection,
    query: &AuditQuery,
    sql: &str,
    span: Span,
    (wanted, skipped): (i64, i64),
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    let words =
        |words: Vec<&str>| (!words.is_empty()).then(|| serde_json::Value::from(words).to_string());
    let mut statement = view.prepare_cached(sql)?;
    let rows = statement.query_map(
        named_params! {
            ":low": span.low,
            ":high": span.high,
            ":from": query.from.map(time_text),
            ":until": query.until.map(time_text),
            ":actions": words(query.actions.iter().copied().map(AuditAction::as_str).collect()),
            ":results": words(query.results.iter().copied().map(AuditResult::as_str).collect()),
            ":service": query.service,
            ":pod": query.pod,
            ":wanted": wanted,
            ":skipped": skipped,
        },
        read,
    )?;
    rows.collect()
}

fn record(row: &Row<'_>) -> rusqlite::Result<AuditRecord> {
    Ok(AuditRecord {
        id: row.get::<_, i64>(0)?.cast_unsigned(),
        at: time(row, 1)?,
        action: row.get(2)?,
        result: row.get(3)?,
        service: row.get(4)?,
        pod: row.get(5)?,
        details: row.get(6)?,
        previous_status: row.get(7)?,
        new_status: row.get(8)?,
        request_id: row.get(9)?,
        remote: row.get(10)?,
    })
}

/// A text that is no time, which only a person can have written, is shown as the first moment.
fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    let text = row.get_ref(column)?.as_str().unwrap_or_default();
    Ok(read_time(text).unwrap_or(Timestamp::from_micros(0)))
}
