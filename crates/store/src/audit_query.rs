//! Reading the audit: what is asked, what is answered, and how a moment is found among entries
//! that have no index on their time.
//!
//! Entries are numbered in the order in which they were stored, and that order is what pages
//! follow: newest first. Times follow it closely but not exactly, because what checks found is
//! written behind the commits, much later if the store was away. An index on the time would be
//! paid for by every registration, so a moment is looked for by halving ([`Bisection`]), with
//! [`LATENESS_MAX`] to both sides; what lies between is looked at entry by entry, or block by block
//! where blocks have digests (`audit_digest`).

use governance_domain::Timestamp;

use crate::audit::{AuditAction, AuditResult};

/// Entries that are counted for a total; of more it is only said that there are more.
pub const AUDIT_TOTAL_MAX: usize = 10_000;
/// By how much, at most, an entry is older than one that was stored before it: a day without a
/// store, or a clock that was set back by a day. Beyond that, entries at the rim of a span of
/// time may be left out.
const LATENESS_MAX: i64 = 24 * 3_600 * 1_000_000;

/// What is asked. Every condition narrows; an empty list stands for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Not before this moment.
    pub from: Option<Timestamp>,
    /// Not after this moment.
    pub until: Option<Timestamp>,
    /// One of these actions.
    pub actions: Vec<AuditAction>,
    /// With one of these results.
    pub results: Vec<AuditResult>,
    /// Of this service.
    pub service: Option<String>,
    /// Of a pod of this name.
    pub pod: Option<String>,
    /// Where the page begins.
    pub position: AuditPosition,
    /// The most entries of a page.
    pub limit: usize,
}

/// Where a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditPosition {
    /// After so many of the newest.
    Skipping {
        /// How many are left out.
        count: usize,
        /// Only entries behind the one with this id, whether it is still there or not.
        before: Option<u64>,
    },
    /// At this entry alone, if it matches.
    At(u64),
}

impl Default for AuditPosition {
    fn default() -> Self {
        Self::Skipping { count: 0, before: None }
    }
}

/// An entry as it is stored. Words stay texts: a newer program may have written others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Grows with each entry stored.
    pub id: u64,
    /// When it was decided.
    pub at: Timestamp,
    /// What was done.
    pub action: String,
    /// How it ended.
    pub result: String,
    /// Of which service.
    pub service: Option<String>,
    /// Of which pod.
    pub pod: Option<String>,
    /// For people, one sentence; may be empty.
    pub details: String,
    /// Status before, if it is about a status.
    pub previous_status: Option<String>,
    /// Status after, if it is about a status.
    pub new_status: Option<String>,
    /// The request that asked for it.
    pub request_id: Option<String>,
    /// Where that request came from.
    pub remote: Option<String>,
}

/// What is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// How many entries match on all pages; at most [`AUDIT_TOTAL_MAX`].
    pub total: usize,
    /// Whether there are, or may be, more than `total`.
    pub is_total_minimum: bool,
    /// Newest first.
    pub records: Vec<AuditRecord>,
    /// Whether there are older ones behind the last.
    pub has_more: bool,
}

impl AuditPage {
    /// The answer of `records`, of which one more than the page holds was read if there is one.
    pub(crate) fn new(query: &AuditQuery, mut records: Vec<AuditRecord>, count: Count) -> Self {
        let has_more = records.len() > query.limit;
        let seen = usize::try_from(query.skipped()).unwrap_or(usize::MAX);
        let seen = if records.is_empty() { 0 } else { seen.saturating_add(records.len()) };
        records.truncate(query.limit);
        let matches = count.matches.max(seen);
        let is_total_minimum = !count.is_whole || matches > AUDIT_TOTAL_MAX;
        Self { total: matches.min(AUDIT_TOTAL_MAX), is_total_minimum, records, has_more }
    }
}

/// What was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    /// Matches, of which one more than [`AUDIT_TOTAL_MAX`] was counted if there is one.
    pub(crate) matches: usize,
    /// Whether all ids were looked at.
    pub(crate) is_whole: bool,
}

impl AuditQuery {
    /// The one entry of this id.
    pub fn entry(id: u64) -> Self {
        Self { position: AuditPosition::At(id), limit: 1, ..Self::default() }
    }

    /// Entries to leave out, newest first.
    pub(crate) fn skipped(&self) -> i64 {
        match self.position {
            AuditPosition::Skipping { count, .. } => i64::try_from(count).unwrap_or(i64::MAX),
            AuditPosition::At(_) => 0,
        }
    }

    /// Entries to read: one more than the page holds, to see whether there are more.
    pub(crate) fn wanted(&self) -> i64 {
        i64::try_from(self.limit).unwrap_or(i64::MAX).saturating_add(1)
    }

    /// How many entries match, if `read`, what was read for the page, shows the end of them: then
    /// counting, which looks at everything once more, can be left out.
    pub(crate) fn known_total(&self, read: usize) -> Option<Count> {
        let matches = match self.position {
            AuditPosition::Skipping { count, before: None } => {
                let is_end = read <= self.limit && (read > 0 || count == 0);
                is_end.then(|| count.saturating_add(read))
            }
            AuditPosition::At(_) => Some(read),
            AuditPosition::Skipping { before: Some(_), .. } => None,
        };
        matches.map(|matches| Count { matches, is_whole: true })
    }

    /// Ids of the page among those that match, which are within `span`.
    pub(crate) fn page_of(&self, span: Span) -> Span {
        let within = |id: u64| i64::try_from(id).unwrap_or(i64::MAX);
        match self.position {
            AuditPosition::Skipping { before: None, .. } => span,
            AuditPosition::Skipping { before: Some(id), .. } => {
                Span { high: span.high.min(within(id)), ..span }
            }
            AuditPosition::At(id) => {
                let id = within(id);
                Span { low: span.low.max(id), high: span.high.min(id.saturating_add(1)) }
            }
        }
    }

    /// Searches for the ends of the asked span of time among the ids `low..high`; none for an end
    /// that is not asked for.
    pub(crate) fn bisections(&self, span: Span) -> (Option<Bisection>, Option<Bisection>) {
        let search = |bound: i64| Bisection { span, bound: Timestamp::from_micros(bound) };
        // What is before an entry that is older than this is older than `from`.
        let lower = |from: Timestamp| from.as_micros().saturating_sub(LATENESS_MAX + 1);
        let upper = |until: Timestamp| until.as_micros().saturating_add(LATENESS_MAX);
        (self.from.map(lower).map(search), self.until.map(upper).map(search))
    }
}

/// Ids from `low` to before `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) low: i64,
    pub(crate) high: i64,
}

/// The search for the first entry behind a moment, as if times never went back. Ids may have gaps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bisection {
    span: Span,
    bound: Timestamp,
}

impl Bisection {
    /// The id from which on the next entry is to be read; none when the search is over.
    pub(crate) fn probe(&self) -> Option<i64> {
        let Span { low, high } = self.span;
        (low < high).then(|| low + (high - low) / 2)
    }

    /// Notes the first entry whose id is at least the last probe, if there is one.
    pub(crate) fn found(&mut self, entry: Option<(i64, Timestamp)>) {
        let Some(probe) = self.probe() else { return };
        match entry {
            Some((id, at)) if at <= self.bound => self.span.low = id.saturating_add(1),
            Some(_) | None => self.span.high = probe,
        }
    }

    /// Entries from here on are behind the moment, those before it are not.
    pub(crate) fn border(&self) -> i64 {
        self.span.low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn border(entries: &[(i64, i64)], bound: i64) -> i64 {
        let span = Span { low: 0, high: 1_000 };
        let mut search = Bisection { span, bound: Timestamp::from_micros(bound) };
        let mut steps = 0;
        while let Some(probe) = search.probe() {
            let next = entries.iter().find(|(id, _)| *id >= probe);
            search.found(next.map(|(id, at)| (*id, Timestamp::from_micros(*at))));
            steps += 1;
            assert!(steps < 20, "it halves");
        }
        search.border()
    }

    #[test]
    fn the_border_lies_between_the_last_entry_before_and_the_first_behind() {
        let entries = [(3, 10), (4, 20), (90, 20), (700, 30)];
        for (bound, expected) in [(9, 0..=3), (10, 4..=4), (20, 91..=700), (30, 701..=1_000)] {
            let border = border(&entries, bound);
            assert!(expected.contains(&border), "{bound}: {border}");
        }
        assert_eq!(border(&[], 5), 0);
    }

    #[test]
    fn a_page_says_whether_there_may_be_more() {
        let query = AuditQuery { limit: 5, ..AuditQuery::default() };
        for (matches, is_whole, expected) in [
            (AUDIT_TOTAL_MAX + 1, true, (AUDIT_TOTAL_MAX, true)),
            (AUDIT_TOTAL_MAX, true, (AUDIT_TOTAL_MAX, false)),
            (7, false, (7, true)),
            (7, true, (7, false)),
        ] {
            let page = AuditPage::new(&query, Vec::new(), Count { matches, is_whole });
            assert_eq!((page.total, page.is_total_minimum), expected);
        }
    }
}
