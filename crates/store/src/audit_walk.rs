//! The way through the audit that answers a question: part by part, newest first, past the blocks
//! whose digests say that nothing there can match.
//!
//! The stores differ in how they ask; what they ask for is decided here. A part is as many digests
//! as are read at once, and all ids down to the last of them, so that ids without entries, or
//! without digests, cost nothing; memory stays bounded, for a digest has at most 12 KiB.

use std::collections::BTreeSet;

use crate::audit_digest::{Probe, block_of, first_id};
use crate::audit_query::{AUDIT_TOTAL_MAX, AuditQuery, Count, Span};

/// Digests of the first part: what most people ask for is found among the newest.
const DIGESTS: i64 = 2;
/// Each part has so many times as many as the one before it, up to the most.
const GROWTH: i64 = 4;
const DIGESTS_MAX: i64 = 256;
/// For a total so many ids are looked at; what digests rule out is not looked at. So a total never
/// costs more than half a second, however rare the matches are.
const COUNTED_IDS_MAX: i64 = 1_000_000;

/// The ids that are left of a question.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    probe: Option<&'a Probe>,
    rest: Span,
    digests: i64,
}

/// The digests that are to be read next: of blocks from `low` to before `high`, newest first, at
/// most so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) low: i64,
    pub(crate) high: i64,
    pub(crate) limit: i64,
}

/// Digests that were read, as far as they matter.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    count: i64,
    lowest: i64,
    passed_over: BTreeSet<i64>,
}

impl<'a> Walk<'a> {
    /// Through `span`. Without a probe everything matches, and no digest is needed.
    pub(crate) fn new(probe: Option<&'a Probe>, span: Span) -> Self {
        Self { probe, rest: span, digests: DIGESTS }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.rest.low >= self.rest.high
    }

    /// The digests to be read for the next part; none if digests are of no use.
    pub(crate) fn wanted(&self) -> Option<Wanted> {
        let Span { low, high } = self.rest;
        self.probe.filter(|_| low < high).map(|_| Wanted {
            low: block_of(low),
            high: block_of(high - 1).saturating_add(1),
            limit: self.digests,
        })
    }

    /// Takes a digest in; they come newest first.
    pub(crate) fn see(&self, seen: &mut Seen, block: i64, digest: &[u8]) {
        seen.count += 1;
        seen.lowest = block;
        if self.probe.is_some_and(|probe| !probe.may_match(digest)) {
            seen.passed_over.insert(block);
        }
    }

    /// What is to be looked at of the next part, newest first.
    pub(crate) fn stretches(&mut self, seen: &Seen) -> Vec<Span> {
        let Span { low, high } = self.rest;
        let is_last = self.probe.is_none() || seen.count < self.digests;
        let from = if is_last { low } else { low.max(first_id(seen.lowest)) };
        self.rest.high = from;
        self.digests = (self.digests * GROWTH).min(DIGESTS_MAX);
        stretches(Span { low: from, high }, &seen.passed_over)
    }
}

/// All of a part but the blocks that are passed over.
fn stretches(part: Span, passed_over: &BTreeSet<i64>) -> Vec<Span> {
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
    use crate::audit_digest::Gathering;

    fn probe() -> Probe {
        let query = AuditQuery { pod: Some("a".to_owned()), ..AuditQuery::default() };
        Probe::of(&query).unwrap()
    }

    /// What is looked at, if there are these digests, and how many parts that took.
    fn walk(probe: Option<&Probe>, span: Span, digests: &[(i64, &[u8])]) -> (Vec<Span>, usize) {
        let mut walk = Walk::new(probe, span);
        let (mut looked_at, mut parts) = (Vec::new(), 0);
        while !walk.is_done() {
            let mut seen = Seen::default();
            if let Some(Wanted { low, high, limit }) = walk.wanted() {
                assert!(limit <= DIGESTS_MAX);
                let found = digests.iter().rev().filter(|(block, _)| (low..high).contains(block));
                for (block, digest) in found.take(usize::try_from(limit).unwrap()) {
                    walk.see(&mut seen, *block, digest);
                }
            }
            looked_at.extend(walk.stretches(&seen));
            parts += 1;
        }
        (looked_at, parts)
    }

    #[test]
    fn all_is_looked_at_but_what_digests_rule_out() {
        let probe = probe();
        let nothing = Gathering::default().digest(None);
        let all = Span { low: 1, high: 10_000_001 };
        assert_eq!(walk(None, all, &[(5, &nothing)]), (vec![all], 1));
        assert_eq!(walk(Some(&probe), all, &[]), (vec![all], 1));
        assert_eq!(walk(Some(&probe), Span { low: 7, high: 7 }, &[]), (vec![], 0));
        // Block 1,000 is damaged.
        let digests: Vec<(i64, &[u8])> = (0..2_441)
            .map(|block| (block, if block == 1_000 { &[][..] } else { &nothing[..] }))
            .collect();
        let (looked_at, parts) = walk(Some(&probe), all, &digests);
        let newest = Span { low: 2_441 * 4_096, high: 10_000_001 };
        assert_eq!(looked_at, [newest, Span { low: 4_096_000, high: 4_100_096 }]);
        assert!(parts <= 14, "{parts}");
    }

    #[test]
    fn ids_without_entries_cost_nothing() {
        let probe = probe();
        let nothing = Gathering::default().digest(None);
        let digests: Vec<(i64, &[u8])> = (0..100).map(|block| (block, &nothing[..])).collect();
        let (looked_at, parts) = walk(Some(&probe), Span { low: 1, high: i64::MAX }, &digests);
        assert_eq!(looked_at, [Span { low: 409_600, high: i64::MAX }]);
        assert!(parts <= 5, "{parts}");
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
            let stretches = stretches(part, &passed_over.iter().copied().collect());
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
