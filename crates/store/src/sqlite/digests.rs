//! Digests of the audit's blocks: read on the thread that reads, stored on the one that writes.
//!
//! INVARIANT: a digest tells of every entry of its block that there is or will be. One connection
//! writes, and an id is one more than the highest there is, so nothing is added to a block that an
//! entry follows; digests are only made, and only stored, of such blocks. When entries are deleted,
//! so that ids could be given again, the triggers of the table delete their blocks' digests.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension};

use super::lease;
use super::session::Session;
use crate::CommitError;
use crate::audit_digest::{About, Gathering, complete_blocks, first_id};
use crate::audit_undigested::{Ask, PAGE, Undigested};
use crate::rows::{read_time, time_text};

/// A digest that is to be stored.
pub(super) struct Made {
    block: i64,
    digest: Vec<u8>,
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
pub(super) fn make(view: &Connection, blocks: usize) -> rusqlite::Result<Vec<Made>> {
    if !are_kept(view)? {
        return Ok(Vec::new());
    }
    let made = |block| Ok(Made { block, digest: digest(view, block)? });
    missing(view, blocks)?.into_iter().map(made).collect()
}

fn missing(view: &Connection, blocks: usize) -> rusqlite::Result<Vec<i64>> {
    let Some((lowest, highest)) = ends(view)? else { return Ok(Vec::new()) };
    let none = BTreeSet::new();
    let mut search = Undigested::new(&complete_blocks(lowest, highest), blocks, &none);
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
pub(super) fn store(
    session: &mut Session,
    epoch: u32,
    made: &[Made],
) -> Result<usize, CommitError> {
    session.transact(|desk| {
        lease::check(desk.transaction, epoch)?;
        // Entries may have been deleted since they were read.
        let Some((lowest, highest)) = ends(desk.transaction)? else { return Ok(0) };
        let complete = complete_blocks(lowest, highest);
        let mut statement = desk.transaction.prepare_cached(
            "INSERT INTO governance_audit_blocks (block, digest) VALUES (?1, ?2) \
             ON CONFLICT DO NOTHING",
        )?;
        let mut stored = 0;
        for Made { block, digest } in made.iter().filter(|made| complete.contains(&made.block)) {
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
