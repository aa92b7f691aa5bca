//! Reading the audit for people, over a connection of its own that can only read: whoever leafs
//! through it never stands before a batch.
//!
//! Not here: who may ask, and how many at once.

use std::sync::Arc;

use governance_domain::Timestamp;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row};

use super::columns::Stamp;
use super::fault::Trouble;
use super::session::{self, Purpose, Session};
use super::write::silence;
use super::{PostgresStore, statements};
use crate::audit_query::{
    AUDIT_TOTAL_MAX, AuditPage, AuditQuery, AuditRecord, Bisection, Count, Span,
};
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
    async fn reader(&self) -> Result<Arc<Session>, Trouble> {
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
    let rows = statements::audit_matches(statements::AUDIT_COLUMNS);
    let part = (query.wanted(), query.skipped());
    let rows = matching(client, query, &rows, query.page_of(span), part).await?;
    let records = rows.iter().map(record).collect::<Result<Vec<_>, _>>()?;
    let count = format!("SELECT count(*) FROM ({}) AS matching", statements::audit_matches("1"));
    if let Some(count) = query.known_total(records.len()) {
        return Ok(AuditPage::new(query, records, count));
    }
    let (counted_ids, is_whole) = span.counted();
    let most = i64::try_from(AUDIT_TOTAL_MAX).unwrap_or(i64::MAX - 1) + 1;
    let counted = matching(client, query, &count, counted_ids, (most, 0)).await?;
    let counted = counted.first().map_or(Ok(0), |row| row.try_get::<_, i64>(0))?;
    let matches = usize::try_from(counted).unwrap_or(0);
    Ok(AuditPage::new(query, records, Count { matches, is_whole }))
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

async fn matching(
    client: &Client,
    query: &AuditQuery,
    sql: &str,
    span: Span,
    (wanted, skipped): (i64, i64),
) -> Result<Vec<Row>, Error> {
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
    client.query(sql, &parameters).await
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
