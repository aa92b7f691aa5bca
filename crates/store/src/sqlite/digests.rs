//! Digests of the audit's blocks: read on the thread that reads, stored on the one that writes.
//!
//! INVARIANT: a digest tells of every entry of its block that there is or will be. One connection
//! writes, and an id is one more than the highest there is, so nothing is added to a block that an
//! entry follows; digests are only made, and only stored, of such blocks. When entries are deleted,
//! so that ids could be given again, the triggers of the table delete their blocks' digests.

use std::collections::BTreeSet;
use std::ops::Range;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension};

use super::lease;
use super::session::Session;
use crate::CommitError;
use crate::audit_digest::{About, Gathering, complete_blocks, first_id};
use crate::audit_undigested::{Ask, PAGE, Undigested};
use crate::rows::{read_time, time_text};

/// Digests that are to be stored.
pub(super) struct Made {
    digests: Vec<(i64, Vec<u8>)>,
    /// The last entry when they were made, with its time: tells this audit from another that was
    /// put in its place.
    last: (i64, Value),
}

impl Made {
    pub(super) fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }
}

/// Whether the table of digests is there: it is not before a manager of this version wrote.
pub(super) fn are_kept(view: &Connection) -> rusqlite::Result<bool> {
    let found = view
        .prepare_cached("SELECT 1 FROM sqlite_schema WHERE name = 'governance_audit_blocks'")?
        .query_row((), |_| Ok(()))
        .optional()?;
    Ok(found.is_some())
}

/// Digests of the newest complete blocks that have none.
pub(super) fn make(view: &Connection, blocks: usize) -> rusqlite::Result<Made> {
    let ends = if are_kept(view)? { ends(view)? } else { None };
    let Some((lowest, highest)) = ends else {
        return Ok(Made { digests: Vec::new(), last: (0, Value::Null) });
    };
    let missing = missing(view, &complete_blocks(lowest, highest), blocks)?;
    let made = |block| Ok((block, digest(view, block)?));
    let digests = missing.into_iter().map(made).collect::<rusqlite::Result<_>>()?;
    Ok(Made { digests, last: (highest, time_of(view, highest)?) })
}

/// The time of an entry as it is stored; null if there is no such entry.
fn time_of(view: &Connection, id: i64) -> rusqlite::Result<Value> {
    let mut statement = view.prepare_cached("SELECT at FROM governance_audit WHERE id = ?1")?;
    Ok(statement.query_row([id], |row| row.get(0)).optional()?.unwrap_or(Value::Null))
}

fn missing(view: &Connection, complete: &Range<i64>, blocks: usize) -> rusqlite::Result<Vec<i64>> {
    let none = BTreeSet::new();
    let mut search = Undigested::new(complete, blocks, &none);
    while let Some(ask) = search.ask() {
        match ask {
            Ask::Digested(low, high) => {
                let mut statement = view.prepare_cached(
                    "SELECT block FROM governance_audit_blocks WHERE block >= ?1 AND block <= ?2 \
                     ORDER BY block DESC LIMIT ?3",
                )?;
                let digested = statement.query_map((low, high, PAGE), |row| row.get(0))?;
                search.tell_digested(digested.collect::<Result<_, _>>()?);
            }
            Ask::HighestBelow(id) => {
                let mut statement =
                    view.prepare_cached("SELECT max(id) FROM governance_audit WHERE id < ?1")?;
                search.tell_highest(statement.query_row([id], |row| row.get(0))?);
            }
        }
    }
    Ok(search.found())
}

/// The lowest and the highest id.
fn ends(view: &Connection) -> rusqlite::Result<Option<(i64, i64)>> {
    let ends = "SELECT (SELECT min(id) FROM governance_audit), max(id) FROM governance_audit";
    let (lowest, highest): (Option<i64>, Option<i64>) =
        view.prepare_cached(ends)?.query_row((), |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(lowest.zip(highest))
}

/// Columns may hold anything, so they are taken as bytes: what is not even a text matches no
/// question.
fn digest(view: &Connection, block: i64) -> rusqlite::Result<Vec<u8>> {
    let mut statement = view.prepare_cached(
        "SELECT CAST(service_name AS BLOB), CAST(pod_name AS BLOB), CAST(action AS BLOB), \
         CAST(result AS BLOB), CAST(at AS BLOB) FROM governance_audit WHERE id >= ?1 AND id < ?2",
    )?;
    let mut rows = statement.query((first_id(block), first_id(block.saturating_add(1))))?;
    let mut gathering = Gathering::default();
    let mut times = Times::default();
    while let Some(row) = rows.next()? {
        let bytes = |column| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_blob_or_null()?);
        gathering.note(About {
            service: bytes(0)?,
            pod: bytes(1)?,
            action: bytes(2)?.unwrap_or_default(),
            result: bytes(3)?.unwrap_or_default(),
        });
        times.note(bytes(4)?.unwrap_or_default());
    }
    Ok(gathering.digest(times.ends()))
}

/// The first and the last of times in the order in which SQLite compares them: that of their bytes.
#[derive(Default)]
struct Times {
    earliest: Option<Vec<u8>>,
    latest: Vec<u8>,
}

impl Times {
    fn note(&mut self, time: &[u8]) {
        if self.earliest.as_deref().is_none_or(|earliest| time < earliest) {
            self.earliest = Some(time.to_owned());
        }
        if time > self.latest.as_slice() {
            self.latest.clear();
            self.latest.extend_from_slice(time);
        }
    }

    /// None if one is not as we write times: then it may compare in another way than as a time.
    fn ends(&self) -> Option<(i64, i64)> {
        let time = |bytes: &[u8]| {
            let text = str::from_utf8(bytes).ok()?;
            let time = read_time(text)?;
            (time_text(time) == text).then_some(time.as_micros())
        };
        Some((time(self.earliest.as_deref()?)?, time(&self.latest)?))
    }
}

/// See [`crate::Store::digest_audit`].
pub(super) fn store(session: &mut Session, epoch: u32, made: &Made) -> Result<usize, CommitError> {
    session.transact(|desk| {
        lease::check(desk.transaction, epoch)?;
        // Entries may have been deleted since they were read, or the whole file replaced.
        let (last, time) = &made.last;
        let is_other = time_of(desk.transaction, *last)? != *time;
        let Some((lowest, highest)) = ends(desk.transaction)?.filter(|_| !is_other) else {
            return Ok(0);
        };
        let complete = complete_blocks(lowest, highest);
        let mut statement = desk.transaction.prepare_cached(
            "INSERT INTO governance_audit_blocks (block, digest) VALUES (?1, ?2) \
             ON CONFLICT DO NOTHING",
        )?;
        let mut stored = 0;
        for (block, digest) in made.digests.iter().filter(|(block, _)| complete.contains(block)) {
            stored += statement.execute((block, digest))?;
        }
        Ok(stored)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_another_form_are_not_told() {
        let ends = |times: &[&str]| {
            let mut ends = Times::default();
            for time in times {
                ends.note(time.as_bytes());
            }
            ends.ends()
        };
        let first = "1970-01-01 00:00:00.000001";
        let last = "1970-01-01 00:00:01.000000";
        assert_eq!(ends(&[last, first]), Some((1, 1_000_000)));
        for odd in ["1970-01-01T00:00:00.5Z", "later", "", "1970-01-01 00:00:01"] {
            assert_eq!(ends(&[odd]), None, "{odd:?}");
        }
        assert_eq!(ends(&[]), None);
    }
}
