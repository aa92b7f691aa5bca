//! Reading the audit for people, over a connection of its own that can only read: whoever leafs
//! through it never stands before a batch.
//!
//! Not here: who may ask, and how many at once; which way leads past what cannot match.

use std::sync::Arc;

use governance_domain::Timestamp;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, Statement};

use super::columns::Stamp;
use super::fault::{Meaning, Trouble, meaning};
use super::session::{self, Purpose, Session};
use super::write::silence;
use super::{PostgresStore, statements};
use crate::audit_digest::Probe;
use crate::audit_query::{AuditPage, AuditQuery, AuditRecord, Bisection, Count, Span};
use crate::audit_walk::{Reading, Seen, Tally, Walk, Wanted};
use crate::{AuditAction, AuditResult, StoreFault};

impl PostgresStore {
    pub(super) async fn read_page(&self, query: &AuditQuery) -> Result<AuditPage, StoreFault> {
        let session = self.reader().await.map_err(|trouble| trouble.fault)?;
        let read = page(&session.client, query);
        match tokio::time::timeout(self.patience(Purpose::Reading), read).await {
            Ok(Ok(page)) => Ok(page),
            Ok(Err(error)) => Err(session.place.explain(error).fault),
            Err(_) => {
                session.abandon();
                Err(silence(&session.place))
            }
        }
    }

    /// The connection that reads, to the server that we write to.
    pub(super) async fn reader(&self) -> Result<Arc<Session>, Trouble> {
        let host = self.writer().await?.host_index;
        let mut slot = self.reader.lock().await;
        let is_good = |session: &&Arc<Session>| session.is_usable() && session.host_index == host;
        if let Some(session) = slot.as_ref().filter(is_good) {
            return Ok(Arc::clone(session));
        }
        *slot = None;
        let session = session::open_only(&self.settings, Purpose::Reading, host).await?;
        let session = Arc::new(session);
        *slot = Some(Arc::clone(&session));
        Ok(session)
    }
}

async fn page(client: &Client, query: &AuditQuery) -> Result<AuditPage, Error> {
    let span = span(client, query).await?;
    let question = Question::prepare(client, query).await?;
    let records = question.records(query.page_of(span)).await?;
    let count = match query.known_total(records.len()) {
        Some(count) => count,
        None => question.total(span).await?,
    };
    Ok(AuditPage::new(query, records, count))
}

/// A question with the statements that answer it.
struct Question<'a> {
    client: &'a Client,
    query: &'a AuditQuery,
    probe: Option<Probe>,
    /// None where no manager of this version has made the table yet.
    digests: Option<Statement>,
    rows: Statement,
    count: Statement,
}

impl<'a> Question<'a> {
    async fn prepare(client: &'a Client, query: &'a AuditQuery) -> Result<Self, Error> {
        let rows = client.prepare(&statements::audit_matches(statements::AUDIT_COLUMNS)).await?;
        let count = format!("SELECT count(*) FROM ({}) AS found", statements::audit_matches("1"));
        let count = client.prepare(&count).await?;
        let probe = Probe::of(query);
        let digests = match client.prepare(statements::AUDIT_DIGESTS).await {
            Ok(statement) => Some(statement),
            Err(error) if meaning(&error) == Meaning::TablesGone => None,
            Err(error) => return Err(error),
        };
        Ok(Self { client, query, probe, digests, rows, count })
    }

    /// The page, and one more entry if there is one.
    async fn records(&self, span: Span) -> Result<Vec<AuditRecord>, Error> {
        let mut records = Vec::new();
        let mut reading = Reading::of(self.query);
        let mut walk = self.walk(span);
        while let Some(stretches) = self.stretches(&mut walk).await? {
            for stretch in stretches {
                if reading.skipped > 0 {
                    let counted = self.count(stretch, reading.skipped).await?;
                    if !reading.leaves_out(counted) {
                        continue;
                    }
                }
                let part = (reading.wanted, reading.skipped);
                let rows = self.matching(&self.rows, stretch, part).await?;
                reading.read(rows.len());
                for row in &rows {
                    records.push(record(row)?);
                }
                if reading.is_done() {
                    return Ok(records);
                }
            }
        }
        Ok(records)
    }

    async fn total(&self, span: Span) -> Result<Count, Error> {
        let mut tally = Tally::new();
        let mut walk = self.walk(span);
        while let Some(stretches) = self.stretches(&mut walk).await? {
            for stretch in stretches {
                let Some((counted, most)) = tally.take(stretch) else {
                    return Ok(tally.count());
                };
                tally.add(self.count(counted, most).await?);
            }
        }
        Ok(tally.count())
    }

    fn walk(&self, span: Span) -> Walk<'_> {
        Walk::new(self.probe.as_ref().filter(|_| self.digests.is_some()), span)
    }

    /// What may match of the next part; none at the end.
    async fn stretches(&self, walk: &mut Walk<'_>) -> Result<Option<Vec<Span>>, Error> {
        if walk.is_done() {
            return Ok(None);
        }
        let mut seen = Seen::default();
        if let (Some(wanted), Some(statement)) = (walk.wanted(), &self.digests) {
            let Wanted { low, high, limit } = wanted;
            for row in self.client.query(statement, &[&low, &high, &limit]).await? {
                walk.see(&mut seen, row.try_get(0)?, row.try_get(1)?);
            }
        }
        Ok(Some(walk.stretches(&seen)))
    }

    /// How many match, up to `most`.
    async fn count(&self, span: Span, most: i64) -> Result<i64, Error> {
        let rows = self.matching(&self.count, span, (most, 0)).await?;
        rows.first().map_or(Ok(0), |row| row.try_get(0))
    }

    async fn matching(
        &self,
        statement: &Statement,
        span: Span,
        (wanted, skipped): (i64, i64),
    ) -> Result<Vec<Row>, Error> {
        let query = self.query;
        let stamp = |time: Option<Timestamp>| time.map(Stamp);
        let actions: Vec<&str> = query.actions.iter().copied().map(AuditAction::as_str).collect();
        let results: Vec<&str> = query.results.iter().copied().map(AuditResult::as_str).collect();
        let parameters: [&(dyn ToSql + Sync); 10] = [
            &span.low,
            &span.high,
            &stamp(query.from),
            &stamp(query.until),
            &actions,
            &results,
            &query.service,
            &query.pod,
            &wanted,
            &skipped,
        ];
        self.client.query(statement, &parameters).await
    }
}

/// The ids among which matches are.
async fn span(client: &Client, query: &AuditQuery) -> Result<Span, Error> {
    let ends = client.query_one(statements::AUDIT_ENDS, &[]).await?;
    let (low, high): (Option<i64>, Option<i64>) = (ends.try_get(0)?, ends.try_get(1)?);
    let all = Span { low: low.unwrap_or(0), high: high.map_or(0, |high| high.saturating_add(1)) };
    let (lower, upper) = query.bisections(all);
    let low = match lower {
        Some(search) => border(client, search).await?,
        None => all.low,
    };
    let high = match upper {
        Some(search) => border(client, search).await?,
        None => all.high,
    };
    Ok(Span { low, high })
}

async fn border(client: &Client, mut search: Bisection) -> Result<i64, Error> {
    let next = client.prepare(statements::AUDIT_NEXT).await?;
    while let Some(probe) = search.probe() {
        let row = client.query_opt(&next, &[&probe]).await?;
        let entry = row.map(|row| Ok::<_, Error>((row.try_get(0)?, row.try_get::<_, Stamp>(1)?.0)));
        search.found(entry.transpose()?);
    }
    Ok(search.border())
}

fn record(row: &Row) -> Result<AuditRecord, Error> {
    Ok(AuditRecord {
        id: row.try_get::<_, i64>(0)?.cast_unsigned(),
        at: row.try_get::<_, Stamp>(1)?.0,
        action: row.try_get(2)?,
        result: row.try_get(3)?,
        service: row.try_get(4)?,
        pod: row.try_get(5)?,
        details: row.try_get(6)?,
        previous_status: row.try_get(7)?,
        new_status: row.try_get(8)?,
        request_id: row.try_get(9)?,
        remote: row.try_get(10)?,
    })
}
