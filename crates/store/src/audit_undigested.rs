//! The search for blocks of the audit that have entries and no digest, newest first.
//!
//! Steps over ids without entries at once, however many they are: somebody may have set the counter
//! far ahead. The stores answer what it asks.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;

use crate::audit_digest::{block_of, first_id};

/// Numbers of digests that are read at once.
pub(crate) const PAGE: i64 = 4_096;

/// What the search needs to know next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// The newest [`PAGE`] blocks with a digest, from the first to the last of these.
    Digested(i64, i64),
    /// The highest id below this one.
    HighestBelow(i64),
}

/// The search.
#[derive(Debug)]
pub(crate) struct Undigested<'a> {
    /// The block that is looked at; those above it are settled.
    block: i64,
    lowest: i64,
    limit: usize,
    /// Blocks that are passed over as if they had a digest.
    skipped: &'a BTreeSet<i64>,
    /// Blocks below with a digest, newest first, as far as they were read.
    digested: VecDeque<i64>,
    /// The lowest block down to which `digested` tells all.
    known_down_to: i64,
    found: Vec<i64>,
}

impl<'a> Undigested<'a> {
    /// At most `limit` among these blocks, but none of `skipped`.
    pub(crate) fn new(complete: &Range<i64>, limit: usize, skipped: &'a BTreeSet<i64>) -> Self {
        Self {
            block: complete.end.saturating_sub(1),
            lowest: complete.start,
            limit,
            skipped,
            digested: VecDeque::new(),
            known_down_to: complete.end,
            found: Vec::new(),
        }
    }

    /// What to find out next; none when the search is over.
    pub(crate) fn ask(&mut self) -> Option<Ask> {
        while self.block >= self.lowest && self.found.len() < self.limit {
            if self.block < self.known_down_to {
                return Some(Ask::Digested(self.lowest, self.block));
            }
            while self.digested.front().is_some_and(|digested| *digested > self.block) {
                self.digested.pop_front();
            }
            if self.digested.front() != Some(&self.block) && !self.skipped.contains(&self.block) {
                return Some(Ask::HighestBelow(first_id(self.block.saturating_add(1))));
            }
            self.block = self.block.saturating_sub(1);
        }
        None
    }

    /// The answer to [`Ask::Digested`].
    pub(crate) fn tell_digested(&mut self, blocks: Vec<i64>) {
        let is_page = i64::try_from(blocks.len()).is_ok_and(|blocks| blocks >= PAGE);
        let last = blocks.last().copied().filter(|_| is_page);
        self.known_down_to = last.unwrap_or(self.lowest);
        self.digested = blocks.into();
    }

    /// The answer to [`Ask::HighestBelow`].
    pub(crate) fn tell_highest(&mut self, id: Option<i64>) {
        let Some(block) = id.map(block_of) else {
            self.block = self.lowest.saturating_sub(1);
            return;
        };
        if block >= self.block {
            self.found.push(self.block);
            self.block = self.block.saturating_sub(1);
        } else {
            self.block = block;
        }
    }

    /// The blocks, newest first.
    pub(crate) fn found(self) -> Vec<i64> {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches a table with these entries and digests; also says how often it asked.
    fn search(
        complete: Range<i64>,
        limit: usize,
        (blocks, digested, skipped): (&[i64], &[i64], &[i64]),
    ) -> (Vec<i64>, usize) {
        let skipped = skipped.iter().copied().collect();
        let mut search = Undigested::new(&complete, limit, &skipped);
        let mut asked = 0;
        while let Some(ask) = search.ask() {
            asked += 1;
            match ask {
                Ask::Digested(low, high) => {
                    let mut found: Vec<i64> =
                        digested.iter().copied().filter(|b| (low..=high).contains(b)).collect();
                    found.sort_unstable_by(|one, other| other.cmp(one));
                    found.truncate(usize::try_from(PAGE).unwrap());
                    search.tell_digested(found);
                }
                Ask::HighestBelow(id) => {
                    let ids = blocks.iter().map(|block| first_id(*block) + 7);
                    search.tell_highest(ids.filter(|found| *found < id).max());
                }
            }
        }
        (search.found(), asked)
    }

    #[test]
    fn the_newest_without_a_digest_are_found_first() {
        let blocks: Vec<i64> = (0..10).collect();
        for (limit, digested, skipped, expected) in [
            (3, &[][..], &[][..], vec![8, 7, 6]),
            (99, &[0, 1, 2, 3, 5, 7, 8], &[], vec![6, 4]),
            (1, &[8, 6], &[7], vec![5]),
            (99, &[0, 1, 2, 3, 4, 5, 6, 7, 8], &[], vec![]),
        ] {
            let table = (&blocks[..], digested, skipped);
            assert_eq!(search(0..9, limit, table).0, expected, "{digested:?}");
        }
        assert_eq!(search(3..3, 9, (&blocks, &[], &[])), (vec![], 0));
    }

    #[test]
    fn ids_without_entries_are_stepped_over() {
        let far = 1 << 50;
        let table = (&[0, 1, 2, 9_000, far][..], &[1, 9_000][..], &[][..]);
        assert_eq!(search(0..far, 9, table), (vec![2, 0], 5));
        assert_eq!(search(0..far, 1, (&[far], &[], &[])), (vec![], 2));
    }

    #[test]
    fn what_has_digests_is_read_in_pages() {
        let blocks: Vec<i64> = (0..20_000).collect();
        let digested = &blocks[1..];
        let (found, asked) = search(0..20_000, 9, (&blocks, digested, &[]));
        assert_eq!(found, [0]);
        assert!(asked < 10, "{asked}");
    }
}
