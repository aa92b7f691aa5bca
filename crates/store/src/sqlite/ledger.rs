//! Which row of `governance_pods` speaks for which pod: that table is a log without an index on the
//! key, because a random page of its own per registration would cost more than all else together.
//!
//! Kept in memory beside the connection, read from the file when it is first needed after each
//! acquisition or fault. INVARIANT: it tells what is committed; what a transaction does to it is
//! staged and applied after the commit.

use std::collections::{BTreeSet, HashMap};

use rusqlite::Connection;

/// Superseded rows that are left alone however few the others are.
const SUPERSEDED_MIN: usize = 10_000;

/// The rows in force, by `service_key`, and those that no longer are.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    current: HashMap<Box<str>, Current>,
    superseded: BTreeSet<i64>,
}

/// What speaks for a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Current {
    /// Its row; none if its row in `services` was written by another program or a person.
    pub(super) row: Option<i64>,
    /// Its registration; that of a row without one is the row's number, which is below all ids of
    /// the first epoch.
    pub(super) registration_id: i64,
}

/// What a transaction did, to be applied when it is committed.
#[derive(Debug, Default)]
pub(super) struct Staged {
    /// The row that speaks for a key from now on; none if the pod left.
    changes: Vec<(Box<str>, Option<Current>)>,
    /// Superseded rows that were deleted.
    collected: Vec<i64>,
}

impl Ledger {
    /// Reads it from the file, and shows the instance of each row.
    pub(super) fn read(
        connection: &Connection,
        mut instance: impl FnMut(i64, &str),
    ) -> rusqlite::Result<Self> {
        let mut ledger = Self::default();
        let mut statement = connection.prepare("SELECT service_key, rowid FROM services")?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            // A key that is not even text has no row of ours.
            if let Ok(key) = row.get_ref(0)?.as_str() {
                let unregistered = Current { row: None, registration_id: row.get(1)? };
                ledger.current.insert(key.into(), unregistered);
            }
        }
        let mut statement = connection.prepare(
            "SELECT id, service_key, registration_id, instance_id, deleted IS NOT NULL \
             FROM governance_pods ORDER BY id",
        )?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            let Ok(key) = row.get_ref(1)?.as_str() else { continue };
            if row.get(4)? {
                ledger.note_tombstone(connection, key)?;
            } else {
                ledger.note_row(key, Current { row: Some(id), registration_id: row.get(2)? });
            }
            if let Ok(text) = row.get_ref(3)?.as_str() {
                instance(id, text);
            }
        }
        Ok(ledger)
    }

    /// A row of the log that comes after those noted before.
    fn note_row(&mut self, key: &str, current: Current) {
        let superseded = match self.current.get_mut(key) {
            Some(place) => std::mem::replace(place, current).row,
            // Its pod left, and its tombstone has gone before it.
            None => current.row,
        };
        self.superseded.extend(superseded);
    }

    /// A tombstone that comes after the rows noted before. If there is a row in `services` all the
    /// same, another program or a person put it there.
    fn note_tombstone(&mut self, connection: &Connection, key: &str) -> rusqlite::Result<()> {
        if let Some(place) = self.current.get_mut(key) {
            let rowid = connection
                .prepare_cached("SELECT rowid FROM services WHERE service_key = ?1")?
                .query_row([key], |row| row.get(0))?;
            let unregistered = Current { row: None, registration_id: rowid };
            self.superseded.extend(std::mem::replace(place, unregistered).row);
        }
        Ok(())
    }

    /// What speaks for a pod.
    pub(super) fn current(&self, service_key: &str) -> Option<Current> {
        self.current.get(service_key).copied()
    }

    /// Superseded rows to delete now, the oldest, at most `limit`: none until there are as many as
    /// others, so that each page is touched once for many of them.
    pub(super) fn collectable(&self, limit: usize) -> impl Iterator<Item = i64> {
        let is_due = self.superseded.len() > self.current.len().max(SUPERSEDED_MIN);
        self.superseded.iter().copied().take(if is_due { limit } else { 0 })
    }

    /// Takes over what a transaction did that is now committed.
    pub(super) fn apply(&mut self, staged: Staged) {
        for (key, current) in staged.changes {
            self.set(key, current);
        }
        for row in staged.collected {
            self.superseded.remove(&row);
        }
    }

    fn set(&mut self, key: Box<str>, current: Option<Current>) {
        let Some(current) = current else {
            // Its row is its tombstone now.
            self.current.remove(&key);
            return;
        };
        let earlier = self.current.insert(key, current).and_then(|earlier| earlier.row);
        self.superseded.extend(earlier.filter(|row| current.row != Some(*row)));
    }
}

impl Staged {
    /// A pod has another row, or the same with another registration.
    pub(super) fn put(&mut self, service_key: &str, current: Current) {
        self.changes.push((service_key.into(), Some(current)));
    }

    /// A pod left; its row became its tombstone.
    pub(super) fn remove(&mut self, service_key: &str) {
        self.changes.push((service_key.into(), None));
    }

    /// A superseded row was deleted.
    pub(super) fn collect(&mut self, row: i64) {
        self.collected.push(row);
    }
}
