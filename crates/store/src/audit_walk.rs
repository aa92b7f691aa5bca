//! The way through the audit that answers a question: part by part, newest first, past the blocks
//! whose digests say that nothing there can match.
//!
//! The stores differ in how they ask; what they ask for is decided here. Memory stays bounded: a
//! part is at most [`PART_BLOCKS_MAX`] blocks, of 12 KiB each.

use std::collections::BTreeSet;

use crate::audit_digest::{Probe, block_of, first_id};
use crate::audit_query::{AUDIT_TOTAL_MAX, AuditQuery, Count, Span};

/// Blocks of the first part: what most people ask for is found among the newest.
const PART_BLOCKS: i64 = 8;
/// Each part is so many times as large as the one before it, up to the largest.
const PART_GROWTH: i64 = 4;
const PART_BLOCKS_MAX: i64 = 256;
/// For a total so many ids are looked at; what digests rule out is not looked at. So a total never
/// costs more than a second, however rare the matches are.
const COUNTED_IDS_MAX: i64 = 2_000_000;

/// The ids that are left of a question.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    probe: Option<&'a Probe>,
    rest: Span,
    blocks: i64,
}

impl<'a> Walk<'a> {
    /// Through `span`. Without a probe everything matches, and no digest is needed.
    pub(crate) fn new(probe: Option<&'a Probe>, span: Span) -> Self {
        Self { probe, rest: span, blocks: PART_BLOCKS }
    }

    /// The next part; none at the end.
    pub(crate) fn part(&mut self) -> Option<Span> {
        let Span { low, high } = self.rest;
        if low >= high {
            return None;
        }
        let reach = first_id(block_of(high - 1).saturating_sub(self.blocks - 1));
        let from = if self.probe.is_some() { low.max(reach) } else { low };
        self.blocks = (self.blocks * PART_GROWTH).min(PART_BLOCKS_MAX);
        self.rest.high = from;
        Some(Span { low: from, high })
    }

    /// The blocks of a part whose digests are to be read, from the first to before the last; none
    /// if digests are of no use.
    pub(crate) fn digests_of(&self, part: Span) -> Option<(i64, i64)> {
        self.probe.map(|_| (block_of(part.low), block_of(part.high - 1).saturating_add(1)))
    }

    /// Whether a block with this digest may be passed over.
    pub(crate) fn passes_over(&self, digest: &[u8]) -> bool {
        self.probe.is_some_and(|probe| !probe.may_match(digest))
    }

    /// What is to be looked at of a part, newest first: all of it but blocks that are passed over.
    pub(crate) fn stretches(part: Span, passed_over: &BTreeSet<i64>) -> Vec<Span> {
        let mut stretches: Vec<Span> = Vec::new();
        let mut high = part.high;
        for block in passed_over.iter().rev() {
            let low = first_id(block.saturating_add(1)).max(part.low);
            if low < high {
                stretches.push(Span { low, high });
            }
            high = high.min(first_id(*block));
        }
        if part.low < high {
            stretches.push(Span { low: part.low, high });
        }
        stretches
    }
}

/// How much of a page is still to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// Matches to leave out first.
    pub(crate) skipped: i64,
    /// Matches to read then.
    pub(crate) wanted: i64,
}

impl Reading {
    pub(crate) fn of(query: &AuditQuery) -> Self {
        Self { skipped: query.skipped(), wanted: query.wanted() }
    }

    /// So many matches of a stretch were counted, at most those to leave out. Whether the stretch
    /// is to be read: it has, or may have, more than those.
    pub(crate) fn leaves_out(&mut self, counted: i64) -> bool {
        let is_to_be_read = counted >= self.skipped;
        if !is_to_be_read {
            self.skipped -= counted;
        }
        is_to_be_read
    }

    /// So many were read of a stretch, behind those to leave out.
    pub(crate) fn read(&mut self, rows: usize) {
        self.skipped = 0;
        self.wanted = self.wanted.saturating_sub(i64::try_from(rows).unwrap_or(i64::MAX));
    }

    pub(crate) fn is_done(&self) -> bool {
        self.wanted <= 0
    }
}

/// The matches that were counted so far.
#[derive(Debug)]
pub(crate) struct Tally {
    matches: i64,
    ids_left: i64,
    is_whole: bool,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self { matches: 0, ids_left: COUNTED_IDS_MAX, is_whole: true }
    }

    /// What is to be counted of a stretch, and the most matches to count; none if no more is to be
    /// counted at all.
    pub(crate) fn take(&mut self, stretch: Span) -> Option<(Span, i64)> {
        let most = i64::try_from(AUDIT_TOTAL_MAX).unwrap_or(i64::MAX - 1) + 1 - self.matches;
        if most <= 0 {
            return None;
        }
        let low = stretch.low.max(stretch.high.saturating_sub(self.ids_left));
        self.ids_left -= stretch.high - low;
        self.is_whole &= low == stretch.low;
        (low < stretch.high).then_some((Span { low, ..stretch }, most))
    }

    pub(crate) fn add(&mut self, matches: i64) {
        self.matches = self.matches.saturating_add(matches);
    }

    pub(crate) fn count(&self) -> Count {
        let matches = usize::try_from(self.matches).unwrap_or(0);
        Count { matches, is_whole: self.is_whole }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit_digest::BLOCK_IDS;

    fn probe() -> Probe {
        let query = AuditQuery { pod: Some("a".to_owned()), ..AuditQuery::default() };
        Probe::of(&query).unwrap()
    }

    fn parts(probe: Option<&Probe>, span: Span) -> Vec<Span> {
        let mut walk = Walk::new(probe, span);
        std::iter::from_fn(|| walk.part()).collect()
    }

    #[test]
    fn parts_join_without_gap_and_grow_up_to_a_limit() {
        let probe = probe();
        for span in [
            Span { low: 1, high: 2 },
            Span { low: 5_000, high: 100_000 },
            Span { low: 1, high: 10_000_001 },
            Span { low: 4_096, high: 8 * 4_096 },
        ] {
            let parts = parts(Some(&probe), span);
            assert_eq!(parts.first().unwrap().high, span.high);
            assert_eq!(parts.last().unwrap().low, span.low);
            assert!(parts.windows(2).all(|pair| pair[0].low == pair[1].high));
            assert!(parts.iter().all(|part| part.high - part.low <= 256 * BLOCK_IDS));
            assert!(parts.len() <= 14, "{}", parts.len());
        }
        assert_eq!(parts(Some(&probe), Span { low: 7, high: 7 }), []);
        let all = Span { low: 1, high: 10_000_001 };
        assert_eq!(parts(None, all), [all]);
    }

    #[test]
    fn stretches_are_the_part_without_the_blocks_passed_over() {
        let part = Span { low: 4_000, high: 20_000 };
        for (passed_over, expected) in [
            (vec![], vec![(4_000, 20_000)]),
            (vec![0], vec![(4_096, 20_000)]),
            (vec![4], vec![(4_000, 16_384)]),
            (vec![1, 2], vec![(12_288, 20_000), (4_000, 4_096)]),
            (vec![1, 3], vec![(16_384, 20_000), (8_192, 12_288), (4_000, 4_096)]),
            (vec![0, 1, 2, 3, 4], vec![]),
            (vec![-1, 5, 900], vec![(4_000, 20_000)]),
        ] {
            let stretches = Walk::stretches(part, &passed_over.iter().copied().collect());
            let found: Vec<_> = stretches.iter().map(|span| (span.low, span.high)).collect();
            assert_eq!(found, expected, "{passed_over:?}");
        }
    }

    #[test]
    fn counting_ends_somewhere_and_says_so() {
        let mut tally = Tally::new();
        let all = Span { low: 5, high: COUNTED_IDS_MAX + 5 };
        assert_eq!(tally.take(all), Some((all, 10_001)));
        tally.add(3);
        assert_eq!(tally.count(), Count { matches: 3, is_whole: true });
        assert_eq!(tally.take(Span { low: 1, high: 5 }), None);
        assert_eq!(tally.count(), Count { matches: 3, is_whole: false });

        let mut tally = Tally::new();
        let more = Span { low: 4, ..all };
        assert_eq!(tally.take(more), Some((all, 10_001)));
        assert!(!tally.count().is_whole);
        tally.add(10_001);
        assert_eq!(tally.take(Span { low: 1, high: 4 }), None);
    }

    #[test]
    fn what_is_left_out_is_left_out_once() {
        let query = AuditQuery {
            position: crate::AuditPosition::Skipping { count: 5, before: None },
            limit: 3,
            ..AuditQuery::default()
        };
        let mut reading = Reading::of(&query);
        assert!(!reading.leaves_out(2));
        assert_eq!((reading.skipped, reading.wanted), (3, 4));
        assert!(reading.leaves_out(3));
        assert_eq!(reading.skipped, 3);
        reading.read(1);
        assert_eq!((reading.skipped, reading.wanted, reading.is_done()), (0, 3, false));
        reading.read(3);
        assert!(reading.is_done());
    }
}
