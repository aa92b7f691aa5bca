//! Reading the audit: pages, conditions, and the order of entries.

use std::sync::Arc;

use governance_domain::Status;

use super::Site;
use super::fixture::{InUse, at, entry, key};
use crate::audit_query::{AUDIT_TOTAL_MAX, AuditPage, AuditPosition, AuditQuery};
use crate::{AuditAction, AuditEntry, AuditResult, Batch, Store};

/// Ten entries, a minute apart.
const MINUTE: i64 = 60_000_000;

fn ten() -> Vec<AuditEntry> {
    let of = |number: i64| AuditEntry {
        action: if number % 5 == 4 { AuditAction::Unregister } else { AuditAction::Register },
        result: if number == 3 { AuditResult::Failure } else { AuditResult::Success },
        key: match number {
            9 => None,
            odd if odd % 2 == 1 => Some(key("eir", &format!("p{number}"))),
            _ => Some(key("diam-gw", "p1")),
        },
        details: number.to_string(),
        ..entry(number * MINUTE, None)
    };
    (0..10).map(of).collect()
}

async fn with(site: &impl Site, audit: Vec<AuditEntry>) -> InUse {
    let used = InUse::open(site).await;
    let batch = Batch { epoch: used.tenure.epoch, sequence: 1, rows: Vec::new(), audit };
    used.store.commit(Arc::new(batch)).await.expect("the next batch is stored");
    used
}

async fn read(store: &Arc<dyn Store>, query: AuditQuery) -> AuditPage {
    store.read_audit(query).await.expect("the store can be read")
}

/// The `details` of a page's entries, joined.
async fn numbers(used: &InUse, query: AuditQuery) -> String {
    let page = read(&used.store, query).await;
    page.records.iter().map(|record| record.details.as_str()).collect()
}

fn all() -> AuditQuery {
    AuditQuery { limit: 100, ..AuditQuery::default() }
}

fn skipping(count: usize) -> AuditPosition {
    AuditPosition::Skipping { count, before: None }
}

fn before(id: u64) -> AuditPosition {
    AuditPosition::Skipping { count: 0, before: Some(id) }
}

/// Every field, and ids that fall.
pub async fn the_audit_is_read_newest_first_as_it_was_written(site: &impl Site) {
    let mut entries = ten();
    entries[4].previous_status = Some(Status::Healthy);
    entries[4].remote = Some("[::1]:5".to_owned());
    let used = with(site, entries.clone()).await;
    let page = read(&used.store, all()).await;
    assert_eq!((page.total, page.is_total_minimum, page.has_more), (10, false, false));
    assert!(page.records.is_sorted_by(|newer, older| newer.id > older.id));
    for (record, written) in page.records.iter().zip(entries.iter().rev()) {
        let word = |status: Option<Status>| status.map(|status| status.as_str().to_owned());
        assert_eq!(record.at, written.at);
        assert_eq!(record.action, written.action.as_str());
        assert_eq!(record.result, written.result.as_str());
        let key = written.key.as_ref();
        assert_eq!(record.service.as_deref(), key.map(|key| key.service.as_str()));
        assert_eq!(record.pod.as_deref(), key.map(|key| key.pod.as_str()));
        assert_eq!(record.details, written.details);
        assert_eq!(record.previous_status, word(written.previous_status));
        assert_eq!(record.new_status, word(written.new_status));
        assert_eq!(record.request_id, written.request_id);
        assert_eq!(record.remote, written.remote);
    }
}

/// A store without a single entry answers, too.
pub async fn an_empty_audit_is_an_empty_page(site: &impl Site) {
    let used = InUse::open(site).await;
    for query in [all(), AuditQuery { from: Some(at(0)), ..all() }, AuditQuery::entry(1)] {
        assert_eq!(read(&used.store, query).await, AuditPage::default());
    }
}

/// By number of entries left out, and by the id of the last entry seen.
pub async fn pages_of_the_audit_follow_one_another(site: &impl Site) {
    let used = with(site, ten()).await;
    let page = |position| AuditQuery { position, limit: 4, ..all() };
    let mut seen = String::new();
    for (skipped, has_more) in [(0, true), (4, true), (8, false), (12, false)] {
        let page = read(&used.store, page(skipping(skipped))).await;
        assert_eq!((page.total, page.has_more), (10, has_more), "after {skipped}");
        seen.extend(page.records.iter().map(|record| record.details.as_str()));
    }
    assert_eq!(seen, "9876543210");
    let first = read(&used.store, page(skipping(0))).await;
    let last = first.records.last().expect("four entries").id;
    let next = read(&used.store, page(before(last))).await;
    assert_eq!((next.total, next.has_more), (10, true));
    assert_eq!(numbers(&used, page(before(last))).await, "5432");
    let both = AuditPosition::Skipping { count: 3, before: Some(last) };
    assert_eq!(numbers(&used, page(both)).await, "210");
    assert_eq!(numbers(&used, page(before(u64::MAX))).await, "9876");
    assert_eq!(numbers(&used, page(before(0))).await, "");
    assert_eq!(numbers(&used, AuditQuery::entry(last)).await, "6");
    assert_eq!(numbers(&used, AuditQuery::entry(u64::MAX)).await, "");
}

/// Each condition alone and all together.
pub async fn conditions_narrow_the_audit(site: &impl Site) {
    let used = with(site, ten()).await;
    let minute = |number: i64| Some(at(number * MINUTE));
    let text = |text: &str| Some(text.to_owned());
    for (query, expected) in [
        (AuditQuery { from: minute(7), ..all() }, "987"),
        (AuditQuery { from: Some(at(7 * MINUTE + 1)), ..all() }, "98"),
        (AuditQuery { until: minute(2), ..all() }, "210"),
        (AuditQuery { from: minute(3), until: minute(5), ..all() }, "543"),
        (AuditQuery { from: minute(5), until: minute(3), ..all() }, ""),
        (AuditQuery { actions: vec![AuditAction::Unregister], ..all() }, "94"),
        (AuditQuery { actions: AuditAction::ALL.to_vec(), ..all() }, "9876543210"),
        (AuditQuery { results: vec![AuditResult::Failure], ..all() }, "3"),
        (AuditQuery { service: text("eir"), ..all() }, "7531"),
        (AuditQuery { pod: text("p1"), ..all() }, "864210"),
        (AuditQuery { service: text("eir"), pod: text("p1"), ..all() }, "1"),
        (AuditQuery { service: text("Eir"), ..all() }, ""),
        (AuditQuery { service: text("e'%_"), ..all() }, ""),
        (AuditQuery { service: text("eir"), from: minute(2), until: minute(6), ..all() }, "53"),
    ] {
        let total = read(&used.store, query.clone()).await.total;
        assert_eq!(total, expected.len(), "{query:?}");
        assert_eq!(numbers(&used, query.clone()).await, expected, "{query:?}");
    }
}

/// What checks found may be stored long after it happened.
pub async fn entries_that_were_stored_late_are_found_by_their_time(site: &impl Site) {
    let hour = 60 * MINUTE;
    let times = [0, 30 * hour, 31 * hour, 8 * hour, 60 * hour, 61 * hour];
    let entries = times
        .iter()
        .enumerate()
        .map(|(number, offset)| AuditEntry { details: number.to_string(), ..entry(*offset, None) });
    let used = with(site, entries.collect()).await;
    let between = |from: i64, until: i64| AuditQuery {
        from: Some(at(from * hour)),
        until: Some(at(until * hour)),
        ..all()
    };
    assert_eq!(numbers(&used, between(7, 9)).await, "3");
    assert_eq!(numbers(&used, between(0, 10)).await, "30");
    assert_eq!(numbers(&used, between(29, 60)).await, "421");
}

/// So that a total costs the same whatever there is.
pub async fn totals_of_the_audit_are_counted_up_to_a_limit(site: &impl Site) {
    let many = (0..12_000).map(|offset| entry(offset, None)).collect();
    let used = with(site, many).await;
    let page = read(&used.store, all()).await;
    // A store in memory keeps no more than can be counted.
    assert_eq!(page.total, AUDIT_TOTAL_MAX);
    assert_eq!((page.records.len(), page.has_more), (100, true));
    assert_eq!(page.records[0].at, at(11_999));
}
