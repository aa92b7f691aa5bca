//! What the server was really asked, read from its log: nothing that engines which only speak its
//! protocol lack, or that would not be atomic there.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic says that the test failed"
)]

mod postgres_common;

use std::sync::Arc;

use governance_domain::{Status, Timestamp};
use governance_store::{
    AuditAction, AuditEntry, AuditQuery, AuditResult, Batch, HealthWrite, PostgresStore, RowChange,
    Store,
};
use governance_testkit::postgres::Cluster;
use postgres_common::{batch, changes, owner, pod, settings};

const FORBIDDEN: [&str; 10] = [
    "ADVISORY",
    "LISTEN",
    "NOTIFY",
    "LOCK TABLE",
    "FOR UPDATE",
    "FOR SHARE",
    "PREPARE TRANSACTION",
    "TRIGGER",
    "TEMP TABLE",
    "SAVEPOINT",
];

/// Uses everything that a store can do.
async fn use_everything(store: &PostgresStore) {
    let owner = owner("a:1");
    let tenure = store.acquire(&owner).await.unwrap();
    let eir = pod("eir", "eir-1", 1 << 32);
    store.commit(batch(tenure.epoch, 1, eir.clone())).await.unwrap();
    let delete = RowChange::Delete { key: pod("eir", "eir-2", 0).key.clone() };
    store.commit(changes(tenure.epoch, 2, vec![delete])).await.unwrap();
    let entry = AuditEntry {
        at: Timestamp::from_micros(0),
        action: AuditAction::HealthStatusChange,
        result: AuditResult::Success,
        key: Some(eir.key.clone()),
        details: String::new(),
        previous_status: None,
        new_status: Some(Status::Healthy),
        request_id: None,
        remote: None,
    };
    let write = HealthWrite {
        key: eir.key.clone(),
        registration_id: eir.registration_id,
        status: Status::Healthy,
        last_health_check: Timestamp::from_micros(0),
        status_changed_at: None,
    };
    store.write_health(&tenure, vec![write], vec![entry.clone()]).await.unwrap();
    store.renew(&tenure).await.unwrap();
    let many = Batch {
        epoch: tenure.epoch,
        sequence: 3,
        rows: Vec::new(),
        audit: vec![AuditEntry { at: Timestamp::from_micros(5), ..entry.clone() }; 5_000],
    };
    store.commit(Arc::new(many)).await.unwrap();
    assert_eq!(store.digest_audit(&tenure, 5).await.unwrap(), 1);
    let query = AuditQuery { pod: Some("eir-1".to_owned()), limit: 5, ..AuditQuery::default() };
    assert_eq!(store.read_audit(query).await.unwrap().total, 5_001);
    let pruned = store.prune_audit(&tenure, Timestamp::from_micros(1), 10).await.unwrap();
    assert_eq!(pruned, 1);
    assert_eq!(store.load().await.unwrap().pods.len(), 1);
    store.rewrite(&tenure, vec![eir], vec![entry]).await.unwrap();
    store.release(&tenure).await.unwrap();
}

/// Statements of the log with the process that ran each.
fn statements(log: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut is_statement = false;
    for line in log.lines() {
        let Some((process, message)) = line.split_once("] LOG:  ") else {
            match found.last_mut() {
                Some((_, text)) if is_statement && line.starts_with('\t') => text.push_str(line),
                _ => is_statement = false,
            }
            continue;
        };
        let text = message
            .strip_prefix("statement: ")
            .or_else(|| message.strip_prefix("execute ")?.split_once(": ").map(|(_, text)| text));
        is_statement = text.is_some();
        if let Some(text) = text {
            let process = process.rsplit('[').next().unwrap_or_default();
            found.push((process.to_owned(), text.to_owned()));
        }
    }
    found.into_iter().map(|(process, text)| (process, text.to_uppercase())).collect()
}

#[tokio::test]
async fn nothing_is_asked_that_other_engines_lack() {
    let cluster = Cluster::start_with(&[("fsync", "off"), ("log_statement", "all")]).unwrap();
    use_everything(&PostgresStore::new(settings(cluster.address()))).await;
    let statements = statements(&cluster.log());
    for expected in ["INSERT INTO SERVICES", "CREATE TABLE", "GOVERNANCE_LEASE", "COMMIT"] {
        assert!(statements.iter().any(|(_, text)| text.contains(expected)), "no {expected}");
    }
    let mut in_transaction = std::collections::BTreeSet::new();
    for (process, text) in &statements {
        for forbidden in FORBIDDEN {
            assert!(!text.contains(forbidden), "{forbidden} in {text}");
        }
        let changes_tables = text.starts_with("CREATE") || text.starts_with("ALTER");
        let changes_data =
            ["INSERT INTO", "UPDATE ", "DELETE FROM"].iter().any(|w| text.contains(w));
        assert!(!(changes_tables && changes_data), "both in one: {text}");
        assert!(!(changes_tables && in_transaction.contains(process)), "in a transaction: {text}");
        if text.starts_with("START TRANSACTION") || text.starts_with("BEGIN") {
            in_transaction.insert(process.clone());
        } else if text.starts_with("COMMIT") || text.starts_with("ROLLBACK") {
            in_transaction.remove(process);
        }
        // Sent as they are, several in one string are one transaction.
        assert!(!changes_tables || !text.contains(';'), "several in one: {text}");
    }
}
