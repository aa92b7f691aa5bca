//! What the register knows: equipment, prefixes of types, and ranges, each with a status.
//!
//! Every line is a range of 14-digit numbers. They are cut into disjoint pieces once, so that a
//! look-up is one binary search however many lines there are. Where lines overlap the narrowest
//! counts, of equally narrow ones the last.

use std::collections::BTreeSet;

use telco_codec::Imei;
use telco_codec::s13::EquipmentStatus;

/// Lines that say something, at most: about 100 MB in memory while they are read.
pub(crate) const ENTRIES_MAX: usize = 1_000_000;
/// Digits of an equipment.
const DIGITS: usize = 14;

/// Why a file is no list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListFault {
    /// A line makes no sense.
    #[error("line {line}: {reason}")]
    Line {
        /// The number of the line, from 1.
        line: usize,
        /// What is wrong and what would be right.
        reason: &'static str,
    },
    /// Too many lines.
    #[error("more than {ENTRIES_MAX} entries")]
    TooMany,
}

/// The list.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct EquipmentList {
    /// Disjoint, in order.
    pieces: Vec<Piece>,
    entries: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    first: u64,
    last: u64,
    status: EquipmentStatus,
}

impl EquipmentList {
    /// Reads a list: `PATTERN STATUS` per line, empty lines and what follows `#` left out.
    ///
    /// # Errors
    /// The first line that makes no sense.
    pub fn parse(text: &str) -> Result<Self, ListFault> {
        let mut entries = Vec::new();
        for (line, content) in (1..).zip(text.lines()) {
            let content = content.split('#').next().unwrap_or_default().trim();
            if content.is_empty() {
                continue;
            }
            if entries.len() >= ENTRIES_MAX {
                return Err(ListFault::TooMany);
            }
            let entry = parse_line(content).map_err(|reason| ListFault::Line { line, reason })?;
            entries.push(entry);
        }
        Ok(Self { pieces: cut(&entries), entries: entries.len() })
    }

    /// What is known of an equipment.
    pub fn status(&self, imei: Imei) -> Option<EquipmentStatus> {
        let number = imei.number();
        let after = self.pieces.partition_point(|piece| piece.first <= number);
        let piece = self.pieces.get(after.checked_sub(1)?)?;
        (number <= piece.last).then_some(piece.status)
    }

    /// How many lines said something.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }
}

fn parse_line(content: &str) -> Result<Piece, &'static str> {
    let mut words = content.split_ascii_whitespace();
    let (Some(pattern), Some(status), None) = (words.next(), words.next(), words.next()) else {
        return Err("a line is a pattern and a status, with a space between");
    };
    let (first, last) = parse_pattern(pattern)?;
    let status = match status.to_ascii_lowercase().as_str() {
        "white" | "whitelisted" => EquipmentStatus::Whitelisted,
        "black" | "blacklisted" => EquipmentStatus::Blacklisted,
        "grey" | "greylisted" => EquipmentStatus::Greylisted,
        _ => return Err("the status is white, black or grey"),
    };
    Ok(Piece { first, last, status })
}

fn parse_pattern(pattern: &str) -> Result<(u64, u64), &'static str> {
    const WRONG: &str = "the pattern is an IMEI of 14 to 16 digits, a prefix such as 35209900*, or \
                         two IMEIs of 14 digits with - between";
    if let Some(prefix) = pattern.strip_suffix('*') {
        let is_prefix = (1..=DIGITS).contains(&prefix.len());
        if !is_prefix || !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(WRONG);
        }
        let fill = |digit: char| {
            let rest = std::iter::repeat_n(digit, DIGITS - prefix.len());
            prefix.chars().chain(rest).collect::<String>().parse().map_err(|_| WRONG)
        };
        return Ok((fill('0')?, fill('9')?));
    }
    let number = |text: &str| Imei::parse(text).map(Imei::number).map_err(|_| WRONG);
    let Some((first, last)) = pattern.split_once('-') else {
        let number = number(pattern)?;
        return Ok((number, number));
    };
    if first.len() != DIGITS || last.len() != DIGITS {
        return Err(WRONG);
    }
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err("a range ends before it begins");
    }
    Ok((first, last))
}

/// Cuts overlapping entries into disjoint pieces by walking over where they begin and end.
fn cut(entries: &[Piece]) -> Vec<Piece> {
    // (where, entry): an entry counts from its first number to the one before `last + 1`.
    let mut edges: Vec<(u64, usize)> = Vec::with_capacity(entries.len() * 2);
    for (index, entry) in entries.iter().enumerate() {
        edges.push((entry.first, index));
        edges.push((entry.last + 1, index));
    }
    edges.sort_unstable();
    // What counts here, best first: narrow before wide, late before early.
    let mut open: BTreeSet<(u64, std::cmp::Reverse<usize>)> = BTreeSet::new();
    let mut pieces: Vec<Piece> = Vec::new();
    let mut edges = edges.into_iter().peekable();
    while let Some((at, index)) = edges.next() {
        let Some(entry) = entries.get(index) else { continue };
        let key = (entry.last - entry.first, std::cmp::Reverse(index));
        // The edge is its first or its last, and it is open in between.
        if !open.remove(&key) {
            open.insert(key);
        }
        let Some((next, _)) = edges.peek().copied() else { break };
        let best = open.first().and_then(|(_, index)| entries.get(index.0));
        if let Some(best) = best.filter(|_| next > at) {
            extend(&mut pieces, Piece { first: at, last: next - 1, status: best.status });
        }
    }
    pieces
}

/// Adds a piece, as part of the one before it if they touch and say the same.
fn extend(pieces: &mut Vec<Piece>, piece: Piece) {
    match pieces.last_mut() {
        Some(before) if before.last + 1 == piece.first && before.status == piece.status => {
            before.last = piece.last;
        }
        _ => pieces.push(piece),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use EquipmentStatus::{Blacklisted, Greylisted, Whitelisted};

    fn status(list: &EquipmentList, imei: &str) -> Option<EquipmentStatus> {
        list.status(Imei::parse(imei).unwrap())
    }

    #[test]
    fn the_narrowest_line_that_fits_counts() {
        let list = EquipmentList::parse(
            "# a type, a stolen lot of it, and one that was found again\n\
             35209900* white\n\
             35209900100000-35209900199999 black # stolen\n\
             352099001234561 grey\n",
        )
        .unwrap();
        assert_eq!(list.len(), 3);
        assert_eq!(status(&list, "35209900000000"), Some(Whitelisted));
        assert_eq!(status(&list, "35209900100000"), Some(Blacklisted));
        assert_eq!(status(&list, "35209900199999"), Some(Blacklisted));
        assert_eq!(status(&list, "35209900200000"), Some(Whitelisted));
        assert_eq!(status(&list, "35209900123456"), Some(Greylisted));
        assert_eq!(status(&list, "3520990012345699"), Some(Greylisted));
        assert_eq!(status(&list, "35209899999999"), None);
        assert_eq!(status(&list, "35209901000000"), None);
    }

    #[test]
    fn of_equally_narrow_lines_the_last_counts() {
        let list = EquipmentList::parse("35209900* white\n35209900* black\n").unwrap();
        assert_eq!(status(&list, "35209900000000"), Some(Blacklisted));
    }

    #[test]
    fn the_ends_of_the_numbers_are_reached() {
        let list = EquipmentList::parse("0* white\n99999999999999 BLACKLISTED\n").unwrap();
        assert_eq!(status(&list, "00000000000000"), Some(Whitelisted));
        assert_eq!(status(&list, "99999999999999"), Some(Blacklisted));
        assert_eq!(status(&list, "99999999999998"), None);
        assert_eq!(EquipmentList::parse("").unwrap(), EquipmentList::default());
    }

    #[test]
    fn a_line_that_makes_no_sense_is_named() {
        for wrong in [
            "35209900*",
            "35209900* blue",
            "* white",
            "352099001234567* white",
            "3520990012345 white",
            "35209900123456-35209900123455 black",
            "35209900-35209901 black",
            "35209900123456 white too",
        ] {
            let fault = EquipmentList::parse(&format!("\n{wrong}\n")).unwrap_err();
            assert!(matches!(fault, ListFault::Line { line: 2, .. }), "{wrong}: {fault}");
        }
    }

    /// Random overlapping lines against looking through all of them.
    #[test]
    fn pieces_say_what_the_lines_say() {
        let mut random: u64 = 1;
        let mut next = |bound: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % bound
        };
        for _ in 0..200 {
            let statuses = [Whitelisted, Blacklisted, Greylisted];
            let entries: Vec<Piece> = (0..next(12))
                .map(|_| {
                    let first = next(40);
                    let status = statuses[usize::try_from(next(3)).unwrap()];
                    Piece { first, last: first + next(15), status }
                })
                .collect();
            let list = EquipmentList { pieces: cut(&entries), entries: entries.len() };
            for number in 0..60 {
                let fits = |entry: &&Piece| entry.first <= number && number <= entry.last;
                let narrowest = entries.iter().rev().filter(fits).min_by_key(|e| e.last - e.first);
                let expected = narrowest.map(|entry| entry.status);
                let imei = Imei::parse(&format!("{number:014}")).unwrap();
                assert_eq!(list.status(imei), expected, "{number} in {entries:?}");
            }
        }
    }
}
