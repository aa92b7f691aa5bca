//! Digests of the audit: what a block of [`BLOCK_IDS`] entries is about, small enough to be read
//! instead of the entries by a question that they cannot answer.
//!
//! A digest is a Bloom filter: it may say "perhaps" of a block without a match, about one time in a
//! hundred, and never "no" of a block with one. It holds a token for each combination of service,
//! pod, action and result that occurs in the block and that somebody may ask for, in as much detail
//! as [`TOKENS_MAX`] leaves room for: a block about few pods can say which actions each of them
//! had; one about thousands tells the pods alone, each of which is then in few blocks.
//!
//! Not here: when a block is complete, and who reads and writes digests.
//!
//! INVARIANT: tokens and layout are the same in every version and on every machine; a change of
//! either takes a new [`VERSION`]. A digest of another version, or one that was damaged, says
//! "perhaps".

use governance_domain::Timestamp;

use crate::audit_query::AuditQuery;

/// Ids of a block. Block `n` holds the ids from `n * BLOCK_IDS` on.
pub(crate) const BLOCK_IDS: i64 = 4_096;
const _: () = assert!(BLOCK_IDS == 1 << 12, "the stores' SQL finds the block of an id by a shift");
/// First byte of a digest.
const VERSION: u8 = 1;
/// Version, number of groups, earliest and latest moment.
const HEAD_BYTES: usize = 2 + 8 + 8;
const CHECKSUM_BYTES: usize = 8;
/// Ten bits and seven probes for each token: one wrong "perhaps" in about 120.
const BITS_PER_TOKEN: usize = 10;
const PROBES: u32 = 7;
/// Tokens for which a filter is made as large as it should be: 12 KiB. More, which only a block of
/// thousands of services has, make it err more often.
const TOKENS_MAX: usize = 12 * 1_024 * 8 / BITS_PER_TOKEN;
/// Times beyond these are not told apart by every store.
const EARLIEST_TOLD: i64 = -62_135_596_800_000_000;
const LATEST_TOLD: i64 = 253_402_300_799_999_999;

/// Which of service, pod, action and result a token combines.
const SERVICE: u8 = 1;
const POD: u8 = 2;
const ACTION: u8 = 4;
const RESULT: u8 = 8;

/// Combinations in the order in which they are given room: the first group is always there, each
/// further one only after those before it. Pods are seldom named alike in two services; where they
/// are, they have few names, and there is room to tell them apart.
const GROUPS: [&[u8]; 4] = [
    &[ACTION, RESULT, ACTION | RESULT, SERVICE, POD],
    &[SERVICE | ACTION, SERVICE | RESULT],
    &[SERVICE | POD],
    &[POD | ACTION, POD | RESULT],
];

/// The hashes of service, pod, action and result; none for what an entry does not have, or a
/// question does not ask for.
type Parts = [Option<u64>; 4];

/// The block of an id.
pub(crate) fn block_of(id: i64) -> i64 {
    id.div_euclid(BLOCK_IDS)
}

/// The first id of a block.
pub(crate) fn first_id(block: i64) -> i64 {
    block.saturating_mul(BLOCK_IDS)
}

/// The blocks whose ids have all been given and none deleted yet, from the first to before the
/// last, if entries have ids from `lowest` to `highest`. INVARIANT: a block is among them only if
/// an entry follows it; ids only grow, so nobody will be given one of its ids again.
pub(crate) fn complete_blocks(lowest: i64, highest: i64) -> std::ops::Range<i64> {
    let block = block_of(lowest);
    // Numbers begin with 1.
    let is_whole = lowest <= first_id(block).max(1);
    let low = if is_whole { block } else { block.saturating_add(1) };
    low..block_of(highest).max(low)
}

/// What an entry is about, as bytes: a column may hold anything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    pub(crate) service: Option<&'a [u8]>,
    pub(crate) pod: Option<&'a [u8]>,
    pub(crate) action: &'a [u8],
    pub(crate) result: &'a [u8],
}

/// Gathers the entries of one block.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    seen: Vec<Parts>,
}

impl Gathering {
    /// Takes an entry in.
    pub(crate) fn note(&mut self, about: About<'_>) {
        let About { service, pod, action, result } = about;
        self.seen.push([service.map(hash), pod.map(hash), Some(hash(action)), Some(hash(result))]);
    }

    /// Entries taken in.
    pub(crate) fn len(&self) -> usize {
        self.seen.len()
    }

    /// The digest, of entries from the `earliest` to the `latest` moment in microseconds; none if
    /// that cannot be told.
    pub(crate) fn digest(mut self, times: Option<(i64, i64)>) -> Vec<u8> {
        let is_empty = self.seen.is_empty();
        self.seen.sort_unstable();
        self.seen.dedup();
        let (tokens, groups) = self.tokens();
        let (earliest, latest) = match times {
            _ if is_empty => (i64::MAX, i64::MIN),
            Some((earliest, latest)) if earliest > EARLIEST_TOLD && latest < LATEST_TOLD => {
                (earliest, latest)
            }
            Some(_) | None => (i64::MIN, i64::MAX),
        };
        let words = (tokens.len().min(TOKENS_MAX) * BITS_PER_TOKEN).div_ceil(64);
        let mut filter = vec![0_u64; words];
        for token in tokens {
            for bit in bits(token, words) {
                if let Some(word) = filter.get_mut(bit / 64) {
                    *word |= 1 << (bit % 64);
                }
            }
        }
        let mut digest = Vec::with_capacity(HEAD_BYTES + words * 8 + CHECKSUM_BYTES);
        digest.extend([VERSION, groups]);
        digest.extend(earliest.to_le_bytes());
        digest.extend(latest.to_le_bytes());
        digest.extend(filter.iter().flat_map(|word| word.to_le_bytes()));
        let checksum = checksum(&digest);
        digest.extend(checksum.to_le_bytes());
        digest
    }

    /// The tokens, each once, of as many groups as there is room for.
    fn tokens(&self) -> (Vec<u64>, u8) {
        let mut tokens = Vec::new();
        let mut groups = 0;
        for combinations in GROUPS {
            let of_entry = |parts| combinations.iter().filter_map(move |mask| token(*mask, parts));
            let mut more: Vec<u64> = self.seen.iter().flat_map(of_entry).collect();
            more.sort_unstable();
            more.dedup();
            if groups > 0 && tokens.len() + more.len() > TOKENS_MAX {
                break;
            }
            tokens.extend(more);
            groups += 1;
        }
        (tokens, groups)
    }
}

/// What a question looks for in digests.
#[derive(Debug)]
pub(crate) struct Probe {
    from: i64,
    until: i64,
    /// One for each action with each result; a block with none of them has no match.
    alternatives: Vec<Alternative>,
}

/// Tokens that a block with a match must hold, by group.
#[derive(Debug)]
struct Alternative([Vec<u64>; GROUPS.len()]);

impl Probe {
    /// None if every entry matches.
    pub(crate) fn of(query: &AuditQuery) -> Option<Self> {
        let AuditQuery { from, until, actions, results, service, pod, .. } = query;
        let asks_for_names = service.is_some() || pod.is_some();
        let asks_for_words = !actions.is_empty() || !results.is_empty();
        if !(asks_for_names || asks_for_words || from.is_some() || until.is_some()) {
            return None;
        }
        let words = |words: Vec<&str>| {
            let hashes: Vec<_> = words.iter().map(|word| Some(hash(word.as_bytes()))).collect();
            if hashes.is_empty() { vec![None] } else { hashes }
        };
        let actions = words(actions.iter().map(|action| action.as_str()).collect());
        let results = words(results.iter().map(|result| result.as_str()).collect());
        let name = |name: &Option<String>| name.as_ref().map(|name| hash(name.as_bytes()));
        let (service, pod) = (name(service), name(pod));
        let outcomes = actions.iter().flat_map(|a| results.iter().map(move |r| (*a, *r)));
        let alternative = |(action, result)| {
            let parts = [service, pod, action, result];
            let wanted = |masks: &[u8]| masks.iter().filter_map(|m| token(*m, &parts)).collect();
            Alternative(GROUPS.map(wanted))
        };
        Some(Self {
            from: from.map_or(i64::MIN, Timestamp::as_micros),
            until: until.map_or(i64::MAX, Timestamp::as_micros),
            alternatives: outcomes.map(alternative).collect(),
        })
    }

    /// False only if no entry of the digest's block matches.
    pub(crate) fn may_match(&self, digest: &[u8]) -> bool {
        let Some(digest) = Digest::read(digest) else { return true };
        if digest.latest < self.from || digest.earliest > self.until {
            return false;
        }
        let holds = |token: &u64| digest.holds(*token);
        let fits = |Alternative(groups): &Alternative| {
            groups.iter().take(digest.groups).all(|tokens| tokens.iter().all(holds))
        };
        self.alternatives.iter().any(fits)
    }
}

/// A digest that is of this version and as it was written.
struct Digest<'a> {
    groups: usize,
    earliest: i64,
    latest: i64,
    filter: &'a [[u8; 8]],
}

impl<'a> Digest<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (content, expected) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
        if checksum(content).to_le_bytes() != *expected {
            return None;
        }
        let ([version, groups], rest) = content.split_first_chunk::<2>()?;
        let (earliest, rest) = rest.split_first_chunk::<8>()?;
        let (latest, filter) = rest.split_first_chunk::<8>()?;
        let (filter, rest) = filter.as_chunks::<8>();
        let is_known = *version == VERSION && rest.is_empty();
        is_known.then(|| Self {
            groups: usize::from(*groups),
            earliest: i64::from_le_bytes(*earliest),
            latest: i64::from_le_bytes(*latest),
            filter,
        })
    }

    fn holds(&self, token: u64) -> bool {
        bits(token, self.filter.len()).all(|bit| {
            let word = self.filter.get(bit / 64).map_or(0, |word| u64::from_le_bytes(*word));
            word >> (bit % 64) & 1 == 1
        })
    }
}

/// The token of some of the parts, if they are there.
fn token(mask: u8, parts: &Parts) -> Option<u64> {
    let mut token = mix(u64::from(mask));
    for (position, part) in parts.iter().enumerate() {
        if mask >> position & 1 == 1 {
            token = mix(token ^ (*part)?);
        }
    }
    Some(token)
}

/// The bits of a token in a filter of so many words.
fn bits(token: u64, words: usize) -> impl Iterator<Item = usize> {
    // Two numbers of 32 bits give as many as are needed (Kirsch, Mitzenmacher, 2006); each is then
    // scaled to the filter instead of divided by it.
    let [first, step] = [token & 0xffff_ffff, token >> 32 | 1];
    let count = words as u64 * 64;
    (0..u64::from(PROBES)).map(move |probe| {
        let number = (first + probe * step) & 0xffff_ffff;
        usize::try_from((number * count) >> 32).unwrap_or(usize::MAX)
    })
}

/// FNV-1a, 64 bits, stirred once more: all of its bits are used.
fn hash(text: &[u8]) -> u64 {
    let hash = text.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(hash)
}

/// The last step of `SplitMix64`: each bit of the result depends on each bit of the number.
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// Tells a damaged digest from one that is as it was written; eight bytes at a time, because every
/// digest of a question is checked.
fn checksum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let step =
        |sum: u64, word: u64| (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let sum =
        words.iter().fold(bytes.len() as u64, |sum, word| step(sum, u64::from_le_bytes(*word)));
    mix(rest.iter().fold(sum, |sum, byte| step(sum, u64::from(*byte))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AuditAction, AuditResult};

    type Row = (Option<String>, Option<String>, AuditAction, AuditResult, i64);

    fn digest(rows: &[Row]) -> Vec<u8> {
        let mut gathering = Gathering::default();
        for (service, pod, action, result, _) in rows {
            gathering.note(About {
                service: service.as_deref().map(str::as_bytes),
                pod: pod.as_deref().map(str::as_bytes),
                action: action.as_str().as_bytes(),
                result: result.as_str().as_bytes(),
            });
        }
        let times = rows.iter().map(|row| row.4);
        gathering.digest(times.clone().min().zip(times.max()))
    }

    fn may_match(query: &AuditQuery, digest: &[u8]) -> bool {
        Probe::of(query).is_none_or(|probe| probe.may_match(digest))
    }

    /// `fastrand`'s numbers, from a seed that a failure names.
    fn random_row(random: &mut fastrand::Rng, names: u32) -> Row {
        let mut name = |what: &str| {
            let number = random.u32(0..=names);
            (number > 0).then(|| format!("{what}{number}"))
        };
        let (service, pod) = (name("s"), name("p"));
        let action = AuditAction::ALL[random.usize(..AuditAction::ALL.len())];
        let result = AuditResult::ALL[random.usize(..AuditResult::ALL.len())];
        (service, pod, action, result, random.i64(-1_000..1_000))
    }

    fn random_query(random: &mut fastrand::Rng, row: &Row) -> AuditQuery {
        let mut query = AuditQuery::default();
        if random.bool() {
            query.service.clone_from(&row.0);
        }
        if random.bool() {
            query.pod.clone_from(&row.1);
        }
        if random.bool() {
            query.actions = vec![AuditAction::Takeover, row.2];
        }
        if random.bool() {
            query.results = vec![row.3];
        }
        if random.bool() {
            query.from = Some(Timestamp::from_micros(row.4 - random.i64(0..5)));
        }
        if random.bool() {
            query.until = Some(Timestamp::from_micros(row.4 + random.i64(0..5)));
        }
        query
    }

    #[test]
    fn what_a_block_holds_is_never_denied() {
        for seed in 0..60 {
            let mut random = fastrand::Rng::with_seed(seed);
            let names = [1, 20, 100_000][random.usize(..3)];
            let count = random.usize(1..=4_096);
            let rows: Vec<Row> = (0..count).map(|_| random_row(&mut random, names)).collect();
            let digest = digest(&rows);
            assert!(digest.len() <= 13_000, "{} bytes", digest.len());
            for row in &rows {
                let query = random_query(&mut random, row);
                assert!(may_match(&query, &digest), "seed {seed}: {query:?} of {row:?}");
            }
        }
    }

    fn rows(pods: u32) -> Vec<Row> {
        let of = |number: u32| {
            let pod = number % pods;
            let action = if pod == 7 { AuditAction::Unregister } else { AuditAction::Register };
            let service = Some(format!("s{}", pod % 100));
            (service, Some(format!("p{pod}")), action, AuditResult::Success, i64::from(number))
        };
        (0..4_096).map(of).collect()
    }

    fn of_pod(pod: u32) -> AuditQuery {
        AuditQuery { pod: Some(format!("p{pod}")), ..AuditQuery::default() }
    }

    #[test]
    fn what_a_block_does_not_hold_is_seldom_taken_for_possible() {
        for pods in [50, 1_000, 4_096] {
            let digest = digest(&rows(pods));
            let wrong = (10_000..20_000).filter(|pod| may_match(&of_pod(*pod), &digest)).count();
            assert!(wrong < 200, "{wrong} of 10,000 with {pods} pods");
        }
    }

    #[test]
    fn combinations_are_told_where_there_is_room() {
        let few = digest(&rows(50));
        let register = vec![AuditAction::Register];
        assert!(may_match(&of_pod(7), &few));
        assert!(!may_match(&AuditQuery { actions: register.clone(), ..of_pod(7) }, &few));
        assert!(!may_match(&AuditQuery { service: Some("s8".to_owned()), ..of_pod(7) }, &few));
        let seventh = AuditQuery { service: Some("s7".to_owned()), ..AuditQuery::default() };
        assert!(!may_match(&AuditQuery { actions: register, ..seventh }, &few));
        assert!(few.len() < 2_000, "{}", few.len());
    }

    #[test]
    fn moments_are_told_apart() {
        let digest = digest(&rows(50));
        let from = |micros| AuditQuery {
            from: Some(Timestamp::from_micros(micros)),
            ..AuditQuery::default()
        };
        let until = |micros| AuditQuery {
            until: Some(Timestamp::from_micros(micros)),
            ..AuditQuery::default()
        };
        let answers = [from(4_095), from(4_096), until(0), until(-1)];
        assert_eq!(answers.map(|query| may_match(&query, &digest)), [true, false, true, false]);
    }

    #[test]
    fn a_block_without_entries_matches_nothing() {
        let nothing = digest(&[]);
        assert!(!may_match(&of_pod(1), &nothing));
        let until = Some(Timestamp::from_micros(0));
        assert!(!may_match(&AuditQuery { until, ..AuditQuery::default() }, &nothing));
    }

    #[test]
    fn a_damaged_or_unknown_digest_rules_nothing_out() {
        let sound = digest(&rows(4_096));
        let absent = of_pod(5_000);
        assert!(!may_match(&absent, &sound));
        for bit in (0..sound.len() * 8).step_by(7) {
            let mut damaged = sound.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(may_match(&absent, &damaged), "bit {bit}");
        }
        for length in (0..sound.len()).step_by(101) {
            assert!(may_match(&absent, &sound[..length]), "{length} bytes");
        }
        let mut newer = sound[..sound.len() - CHECKSUM_BYTES].to_vec();
        newer[0] = VERSION + 1;
        let checksum = checksum(&newer);
        newer.extend(checksum.to_le_bytes());
        assert!(may_match(&absent, &newer));
    }

    /// A digest that is in a database today must say the same tomorrow.
    #[test]
    fn the_layout_of_version_one_is_what_it_was() {
        let row = (
            Some("eir".to_owned()),
            Some("eir-1".to_owned()),
            AuditAction::Register,
            AuditResult::Success,
            1_767_323_045_678_901,
        );
        let digest = digest(&[row]);
        let (words, _) = digest[2..].as_chunks::<8>();
        let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        assert_eq!(digest[..2], [1, 4]);
        let filter = [7_139_893_754_836_501_265, 13_871_412_545_322_025_418];
        let at = 1_767_323_045_678_901;
        assert_eq!(words[..4], [&[at, at], &filter[..]].concat());
        assert_eq!(words[4..], [13_154_643_272_332_333_142], "the checksum");
    }

    #[test]
    fn a_block_is_complete_when_it_begins_within_and_something_follows_it() {
        for (lowest, highest, blocks) in [
            (1, 4_095, 0..0),
            (1, 4_096, 0..1),
            (2, 4_096, 1..1),
            (2, 9_000, 1..2),
            (4_096, 12_287, 1..2),
            (4_096, 12_288, 1..3),
            (5, 5, 1..1),
        ] {
            assert_eq!(complete_blocks(lowest, highest), blocks, "{lowest} to {highest}");
        }
    }
}
