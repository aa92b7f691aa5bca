//! Digests of the audit's blocks: read over the connection that reads, stored over the one that
//! writes.
//!
//! INVARIANT: a digest tells of every entry of its block that there is or will be. A block whose
//! ids are all there holds no surprise. One with gaps, which a statement that failed leaves behind,
//! could get an entry whose id was taken early and committed late. In PostgreSQL it cannot once a
//! later entry is seen: whatever writes entries takes their ids while it holds the lease's row
//! ([`statements`](super::statements)), so that who takes later ids has waited for its end.
//! Engines that give ids to connections in portions, or order statements in another way, are the
//! reason for the rest: what a connection has in store is thrown away when the lease is taken and
//! after a rewrite, the only one of ours to write entries over another connection; and a block with
//! gaps waits until a later entry was seen [`SETTLING`] ago in the same tenure, longer than any
//! statement of an earlier connection lasts. An ended epoch commits nothing, whenever it took its
//! ids. Ids are never given twice.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use governance_domain::Timestamp;
use tokio_postgres::{Client, Error};

use super::columns::Stamp;
use super::session::Purpose;
use super::write::{lost, silence};
use super::{PostgresStore, statements};
use crate::audit_digest::{About, BLOCK_IDS, Gathering, complete_blocks, first_id};
use crate::audit_undigested::{Ask, PAGE, Undigested};
use crate::{CommitError, Tenure};

/// A block with gaps is settled so long after a later entry was first seen.
const SETTLING: Duration = Duration::from_mins(1);
/// How often it is noted which entry was the last one.
const SIGHTING_PAUSE: Duration = Duration::from_secs(10);
/// Blocks with gaps that are remembered, so as not to be read again and again meanwhile.
const UNSETTLED_MAX: usize = 256;

/// Which ids were seen when, and what waits for time to pass.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    epoch: u32,
    /// The highest id at a moment, oldest first; both only grow.
    highest: VecDeque<(Instant, i64)>,
    /// Blocks that had gaps when they were read.
    unsettled: BTreeSet<i64>,
}

impl Sightings {
    /// Notes the highest id there is.
    fn note(&mut self, epoch: u32, now: Instant, highest: i64) {
        let went_back = self.highest.back().is_some_and(|(_, seen)| highest < *seen);
        if epoch != self.epoch || went_back {
            *self = Self { epoch, ..Self::default() };
        }
        let is_due = |(at, _): &(Instant, i64)| now.duration_since(*at) >= SIGHTING_PAUSE;
        if self.highest.back().is_none_or(is_due) {
            self.highest.push_back((now, highest));
        }
        let is_settled = |(at, _): &(Instant, i64)| now.duration_since(*at) >= SETTLING;
        while self.highest.get(1).is_some_and(is_settled) {
            self.highest.pop_front();
        }
    }

    /// Whether nothing can be added to a block any more, however many gaps it has.
    fn is_settled(&self, now: Instant, block: i64) -> bool {
        self.highest.front().is_some_and(|(at, highest)| {
            now.duration_since(*at) >= SETTLING && complete_blocks(0, *highest).contains(&block)
        })
    }

    /// The blocks that need not be read again yet.
    fn unsettled(&mut self, now: Instant) -> BTreeSet<i64> {
        let waiting = self.unsettled.iter().filter(|block| !self.is_settled(now, **block));
        self.unsettled = waiting.copied().collect();
        self.unsettled.clone()
    }

    fn put_off(&mut self, block: i64) {
        if self.unsettled.len() >= UNSETTLED_MAX {
            self.unsettled.clear();
        }
        self.unsettled.insert(block);
    }
}

/// Whether as many entries as a block can have are there; the ids begin with 1.
fn is_full(block: i64, entries: usize) -> bool {
    let ids = if block == 0 { BLOCK_IDS - 1 } else { BLOCK_IDS };
    i64::try_from(entries).is_ok_and(|entries| entries >= ids)
}

impl PostgresStore {
    /// See [`crate::Store::digest_audit`].
    pub(super) async fn make_digests(
        &self,
        tenure: &Tenure,
        blocks: usize,
    ) -> Result<usize, CommitError> {
        let session = self.reader().await;
        let session = session.map_err(|trouble| CommitError::NotApplied(trouble.fault))?;
        let read = self.digests(&session.client, tenure.epoch, blocks);
        let made = match tokio::time::timeout(self.patience(Purpose::Reading), read).await {
            Ok(Ok(made)) => made,
            Ok(Err(error)) => {
                return Err(CommitError::NotApplied(session.place.explain(error).fault));
            }
            Err(_) => {
                session.abandon();
                return Err(CommitError::NotApplied(silence(&session.place)));
            }
        };
        let (blocks, digests): (Vec<i64>, Vec<Vec<u8>>) = made.into_iter().unzip();
        if blocks.is_empty() {
            return Ok(0);
        }
        let _shared = self.gate.read().await;
        let epoch = i64::from(tenure.epoch);
        let row =
            self.change(statements::STORE_DIGESTS, None, &[&epoch, &blocks, &digests]).await?;
        let row = row.ok_or_else(|| lost(tenure.epoch))?;
        Ok(usize::try_from(row.try_get::<_, i64>(0).unwrap_or(0)).unwrap_or(0))
    }

    /// Digests of the newest blocks that have none and to which nothing can be added.
    async fn digests(
        &self,
        client: &Client,
        epoch: u32,
        blocks: usize,
    ) -> Result<Vec<(i64, Vec<u8>)>, Error> {
        let ends = client.query_one(statements::AUDIT_ENDS, &[]).await?;
        let (lowest, highest): (Option<i64>, Option<i64>) = (ends.try_get(0)?, ends.try_get(1)?);
        let Some((lowest, highest)) = lowest.zip(highest) else { return Ok(Vec::new()) };
        let now = Instant::now();
        self.sightings().note(epoch, now, highest);
        let unsettled = self.sightings().unsettled(now);
        let complete = complete_blocks(lowest, highest);
        let mut search = Undigested::new(&complete, blocks, &unsettled);
        while let Some(ask) = search.ask() {
            match ask {
                Ask::Digested(low, high) => {
                    let rows = client.query(statements::DIGESTED, &[&low, &high, &PAGE]).await?;
                    let blocks = rows.iter().map(|row| row.try_get(0));
                    search.tell_digested(blocks.collect::<Result<_, Error>>()?);
                }
                Ask::HighestBelow(id) => {
                    let row = client.query_one(statements::AUDIT_LAST_BEFORE, &[&id]).await?;
                    search.tell_highest(row.try_get(0)?);
                }
            }
        }
        let mut made = Vec::new();
        for block in search.found() {
            let (entries, digest) = digest(client, block).await?;
            let mut sightings = self.sightings();
            if is_full(block, entries) || sightings.is_settled(now, block) {
                made.push((block, digest));
            } else {
                sightings.put_off(block);
            }
        }
        Ok(made)
    }

    fn sightings(&self) -> MutexGuard<'_, Sightings> {
        self.sightings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many entries a block has, and its digest.
async fn digest(client: &Client, block: i64) -> Result<(usize, Vec<u8>), Error> {
    let (from, until) = (first_id(block), first_id(block.saturating_add(1)));
    let rows = client.query(statements::AUDIT_BLOCK, &[&from, &until]).await?;
    let mut gathering = Gathering::default();
    let mut times: Option<(Timestamp, Timestamp)> = None;
    for row in &rows {
        let name = |column| row.try_get::<_, Option<&str>>(column);
        gathering.note(About {
            service: name(0)?.map(str::as_bytes),
            pod: name(1)?.map(str::as_bytes),
            action: name(2)?.unwrap_or_default().as_bytes(),
            result: name(3)?.unwrap_or_default().as_bytes(),
        });
        let Stamp(at) = row.try_get(4)?;
        let (earliest, latest) = times.unwrap_or((at, at));
        times = Some((earliest.min(at), latest.max(at)));
    }
    let times = times.map(|(earliest, latest)| (earliest.as_micros(), latest.as_micros()));
    Ok((gathering.len(), gathering.digest(times)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_with_gaps_waits_until_a_later_entry_is_old() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut sightings = Sightings::default();
        let mut note = |seconds, highest| {
            sightings.note(7, at(seconds), highest);
            [0, 1].map(|block| sightings.is_settled(at(seconds), block))
        };
        assert_eq!(note(0, 4_095), [false, false]);
        assert_eq!(note(65, 4_096), [false, false]);
        assert_eq!(note(124, 9_000), [false, false]);
        assert_eq!(note(125, 9_000), [true, false]);
        assert_eq!(note(183, 9_001), [true, false]);
        assert_eq!(note(184, 9_001), [true, true]);
    }

    #[test]
    fn another_epoch_and_a_database_that_went_back_begin_anew() {
        let begin = Instant::now();
        let later = begin + SETTLING;
        for (epoch, highest) in [(2, 9_000), (1, 8_999)] {
            let mut sightings = Sightings::default();
            sightings.note(1, begin, 9_000);
            assert!(sightings.is_settled(later, 1));
            sightings.note(epoch, later, highest);
            assert!(!sightings.is_settled(later, 1));
            assert!(sightings.is_settled(later + SETTLING, 1));
        }
    }

    #[test]
    fn a_block_that_waits_is_not_read_again_before_its_time() {
        let begin = Instant::now();
        let mut sightings = Sightings::default();
        sightings.note(1, begin, 20_000);
        sightings.put_off(3);
        sightings.put_off(90);
        assert_eq!(sightings.unsettled(begin), [3, 90].into());
        assert_eq!(sightings.unsettled(begin + SETTLING), [90].into());
    }

    #[test]
    fn the_first_block_is_full_with_one_entry_less() {
        assert!(is_full(0, 4_095) && !is_full(0, 4_094));
        assert!(is_full(1, 4_096) && !is_full(1, 4_095));
    }
}
