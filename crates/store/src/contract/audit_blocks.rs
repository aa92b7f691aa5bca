//! Digests of the audit's blocks: they make answers quicker and never change one.

use std::sync::Arc;

use super::fixture::{InUse, assert_lost, at, entry, key};
use super::{DurableSite, Site};
use crate::audit_query::{AUDIT_TOTAL_MAX, AuditPosition, AuditQuery};
use crate::{AuditAction, AuditEntry, AuditResult, Batch};

const BLOCK: usize = 4_096;
const SECOND: i64 = 1_000_000;

/// Entries whose services, pods, actions and results are in many blocks, in few, or in one: the
/// greater the number that stands for it, the rarer.
fn entries(random: &mut fastrand::Rng, count: u32) -> Vec<AuditEntry> {
    let mut of = |number: u32| {
        let mut rare = |most: u32| {
            let most = random.u32(..=most);
            random.u32(..=most)
        };
        let (service, pod) = (rare(4), rare(300));
        let action = AuditAction::ALL[rare(60) as usize / 10 % AuditAction::ALL.len()];
        let result = AuditResult::ALL[rare(2) as usize];
        // Some pods are spread over all blocks, others had their time.
        let pod = if random.bool() { pod } else { 1_000 + number / 700 };
        let key = (pod % 7 != 6).then(|| key(&format!("s{service}"), &format!("p{pod}")));
        let lateness = if random.u8(..50) == 0 { random.i64(0..3_000) } else { 0 };
        AuditEntry {
            action,
            result,
            details: number.to_string(),
            ..entry((i64::from(number) - lateness) * SECOND, key)
        }
    };
    (0..count).map(&mut of).collect()
}

fn question(random: &mut fastrand::Rng, entries: &[AuditEntry]) -> AuditQuery {
    // Somebody asks for what there was, or for some of that and something else.
    let [one, other] = [0; 2].map(|_| &entries[random.usize(..entries.len())]);
    let service = one.key.as_ref().map(|key| key.service.to_string());
    let pod = [one, other][random.usize(..2)].key.as_ref().map(|key| key.pod.to_string());
    let mut query = AuditQuery { limit: [1, 10, 100][random.usize(..3)], ..AuditQuery::default() };
    query.service = service.filter(|_| random.bool());
    query.pod = pod.filter(|_| random.bool());
    if random.bool() {
        query.actions.push(one.action);
    }
    if random.u8(..4) == 0 {
        query.actions.push(AuditAction::Takeover);
    }
    if random.u8(..3) == 0 {
        query.results.push(other.result);
    }
    if random.u8(..4) == 0 {
        query.from = Some(one.at.min(other.at));
        query.until = Some(one.at.max(other.at));
    }
    let before = random.bool().then(|| random.u64(..entries.len() as u64 + 2));
    let count = [0, 0, 1, 50][random.usize(..4)];
    query.position = AuditPosition::Skipping { count, before };
    query
}

fn matches(query: &AuditQuery, entry: &AuditEntry) -> bool {
    let service = entry.key.as_ref().map(|key| key.service.to_string());
    let pod = entry.key.as_ref().map(|key| key.pod.to_string());
    query.from.is_none_or(|from| entry.at >= from)
        && query.until.is_none_or(|until| entry.at <= until)
        && (query.actions.is_empty() || query.actions.contains(&entry.action))
        && (query.results.is_empty() || query.results.contains(&entry.result))
        && (query.service.is_none() || query.service == service)
        && (query.pod.is_none() || query.pod == pod)
}

/// What a page must show of entries whose ids count from 1.
fn expected<'a>(query: &AuditQuery, entries: &'a [AuditEntry]) -> (Vec<&'a str>, usize) {
    let newest_first = (1..=entries.len() as u64).rev().zip(entries.iter().rev());
    let matching = newest_first.filter(|(_, entry)| matches(query, entry));
    let AuditPosition::Skipping { count, before } = query.position else { unreachable!() };
    let page = matching.clone().filter(|(id, _)| before.is_none_or(|before| *id < before));
    let page = page.skip(count).take(query.limit).map(|(_, entry)| entry.details.as_str());
    (page.collect(), matching.count().min(AUDIT_TOTAL_MAX))
}

async fn assert_answers(used: &InUse, seed: u64, entries: &[AuditEntry]) {
    let random = &mut fastrand::Rng::with_seed(seed);
    for _ in 0..120 {
        let query = question(random, entries);
        let page = used.store.read_audit(query.clone()).await.expect("the store can be read");
        let found: Vec<_> = page.records.iter().map(|record| record.details.as_str()).collect();
        assert_eq!((found, page.total), expected(&query, entries), "seed {seed}: {query:?}");
    }
}

async fn store(used: &mut InUse, audit: Vec<AuditEntry>) {
    used.sequence += 1;
    let (epoch, sequence) = (used.tenure.epoch, used.sequence);
    let batch = Batch { epoch, sequence, rows: Vec::new(), audit };
    used.store.commit(Arc::new(batch)).await.expect("the next batch is stored");
}

async fn digest(used: &InUse, blocks: usize) -> usize {
    let made = used.store.digest_audit(&used.tenure, blocks).await;
    made.expect("the holder may digest")
}

/// Whatever is asked, with no digest, with some and with all, compared with a naive model.
pub async fn digests_change_no_answer(site: &impl Site) {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut used = InUse::open(site).await;
    // A store in memory keeps no more than ten thousand.
    let mut all = entries(&mut random, 8_700);
    store(&mut used, all.clone()).await;
    for blocks in [0, 1, 9] {
        digest(&used, blocks).await;
        assert_answers(&used, seed, &all).await;
    }
    let more = entries(&mut random, 1_000);
    store(&mut used, more.clone()).await;
    all.extend(more);
    assert_answers(&used, seed, &all).await;
}

/// One pod for each block: its entries are there and nowhere else.
fn of_blocks(blocks: &[&str]) -> Vec<AuditEntry> {
    // No entry has the number 0.
    let of = |number: usize| entry(0, Some(key("eir", blocks[number / BLOCK])));
    (1..blocks.len() * BLOCK).map(of).collect()
}

async fn total(used: &InUse, pod: &str) -> usize {
    let pod = Some(pod.to_owned());
    let query = AuditQuery { pod, limit: 1, ..AuditQuery::default() };
    used.store.read_audit(query).await.expect("the store can be read").total
}

/// At most so many at once; what may still grow is left alone.
pub async fn complete_blocks_are_digested_once_newest_first(site: &impl DurableSite) {
    let mut used = InUse::open(site).await;
    assert_eq!(digest(&used, 4).await, 0, "there is nothing");
    store(&mut used, of_blocks(&["a", "b", "c"])).await;
    assert_eq!(digest(&used, 1).await, 1);
    site.execute("DELETE FROM governance_audit_blocks WHERE block <> 1").await;
    assert_eq!(digest(&used, 4).await, 1, "the oldest; no entry follows the newest");
    assert_eq!(digest(&used, 4).await, 0);
    store(&mut used, vec![entry(0, None)]).await;
    assert_eq!(digest(&used, 4).await, 1);
    site.execute("DELETE FROM governance_audit_blocks WHERE block = 1").await;
    assert_eq!(digest(&used, 4).await, 1, "one that somebody deleted is made anew");
}

/// That digests are read at all: a wrong one shows.
pub async fn a_block_is_passed_over_because_of_its_digest_alone(site: &impl DurableSite) {
    let mut used = InUse::open(site).await;
    store(&mut used, of_blocks(&["a", "b", "c", "d"])).await;
    assert_eq!(digest(&used, 4).await, 3);
    for (pod, count) in [("a", BLOCK - 1), ("b", BLOCK), ("c", BLOCK), ("d", BLOCK), ("e", 0)] {
        assert_eq!(total(&used, pod).await, count, "{pod}");
    }
    site.execute(
        "UPDATE governance_audit_blocks SET digest = \
         (SELECT digest FROM governance_audit_blocks WHERE block = 1) WHERE block = 0",
    )
    .await;
    assert_eq!([total(&used, "a").await, total(&used, "b").await], [0, BLOCK]);
    site.execute("DELETE FROM governance_audit_blocks").await;
    assert_eq!(total(&used, "a").await, BLOCK - 1);
}

/// Cut off, emptied, changed: the block is read.
pub async fn a_digest_that_is_lost_or_damaged_hides_nothing(site: &impl DurableSite) {
    let mut used = InUse::open(site).await;
    store(&mut used, of_blocks(&["a", "b", "c"])).await;
    for damage in [
        "UPDATE governance_audit_blocks SET digest = substr(digest, 2)",
        "UPDATE governance_audit_blocks SET digest = substr(digest, 1, 11)",
        "UPDATE governance_audit_blocks SET digest = substr(digest, 1, 0)",
        "DELETE FROM governance_audit_blocks",
    ] {
        assert_eq!(digest(&used, 4).await, 2);
        site.execute(damage).await;
        let totals = [total(&used, "a").await, total(&used, "b").await, total(&used, "c").await];
        assert_eq!(totals, [BLOCK - 1, BLOCK, BLOCK], "{damage}");
        site.execute("DELETE FROM governance_audit_blocks").await;
    }
}

/// Also where ids are given again after the last entry went.
pub async fn digests_go_with_the_entries_they_tell_of(site: &impl DurableSite) {
    let mut used = InUse::open(site).await;
    store(&mut used, of_blocks(&["a", "b", "c"])).await;
    assert_eq!(digest(&used, 4).await, 2);
    let pruned = used.store.prune_audit(&used.tenure, at(1), 5_000).await;
    assert_eq!(pruned.expect("the holder may prune"), 5_000);
    assert_eq!(digest(&used, 4).await, 0, "what is left of a block gets no digest anew");
    assert_eq!(total(&used, "b").await, 2 * BLOCK - 1 - 5_000);
    for _ in 0..2 {
        used.store.prune_audit(&used.tenure, at(1), 3 * BLOCK).await.expect("the holder may prune");
    }
    let left = used.store.read_audit(AuditQuery::default()).await.expect("the store can be read");
    assert_eq!(left.total, 0);
    store(&mut used, of_blocks(&["x", "y", "z"])).await;
    for pod in ["x", "y", "z"] {
        assert!(total(&used, pod).await >= BLOCK - 1, "{pod}");
    }
    digest(&used, 9).await;
    for pod in ["x", "y", "z"] {
        assert!(total(&used, pod).await >= BLOCK - 1, "{pod}, digested");
    }
}

/// Like everything else that is written.
pub async fn an_ended_epoch_stores_no_digest(site: &impl DurableSite) {
    let mut used = InUse::open(site).await;
    store(&mut used, of_blocks(&["a", "b"])).await;
    let ended = used.tenure;
    used.acquire_again().await;
    assert_lost(used.store.digest_audit(&ended, 4).await);
    assert_eq!(digest(&used, 4).await, 1);
}
