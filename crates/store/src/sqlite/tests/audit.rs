//! The audit in this store: read beside other programs, and digests that never speak of entries that
//! are not there.

use super::*;

#[tokio::test]
async fn the_audit_is_read_while_another_program_holds_the_file_for_writing() {
    let mut case = Case::new().await;
    case.commit(vec![put(pod("a", 1))]).await.unwrap();
    let other = Connection::open(case.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE; DELETE FROM governance_audit").unwrap();
    let query = AuditQuery { limit: 10, ..AuditQuery::default() };
    let page = case.store.read_audit(query).await.unwrap();
    assert_eq!(page.total, 1);
}

#[tokio::test]
async fn an_audit_that_cannot_be_read_is_a_fault_until_it_can() {
    let mut case = Case::unopened();
    let query = AuditQuery { limit: 10, ..AuditQuery::default() };
    assert!(case.store.read_audit(query.clone()).await.is_err(), "there is no file");
    case.acquire().await.unwrap();
    assert_eq!(case.store.read_audit(query).await.unwrap(), AuditPage::default());
}

#[tokio::test]
async fn a_question_nobody_waits_for_is_not_worked_on() {
    let mut case = Case::new().await;
    case.commit(vec![put(pod("a", 1))]).await.unwrap();
    let query = AuditQuery { limit: 10, ..AuditQuery::default() };
    let caller = Arc::new(());
    for (seen, expected) in [(Arc::downgrade(&caller), 1), (std::sync::Weak::new(), 0)] {
        let query = query.clone();
        let answer = case.store.readers.ask(move |reading| reading.read(&query, seen)).await;
        assert_eq!(answer.unwrap().total, expected);
    }
}

/// Entries of the pod, by SQL.
const MANY: &str = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000) \
    INSERT INTO governance_audit (at, action, result, service_name, pod_name, details) \
    SELECT '2026-01-02 03:04:05.678901', 'register', 'success', 'eir', 'many', '' FROM n";

async fn total(case: &Case, pod: &str) -> usize {
    let pod = Some(pod.to_owned());
    let query = AuditQuery { pod, limit: 1, ..AuditQuery::default() };
    case.store.read_audit(query).await.unwrap().total
}

fn kept_digests(case: &Case) -> u32 {
    let count = "SELECT count(*) FROM governance_audit_blocks";
    case.shell().query_row(count, (), |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn an_audit_of_an_earlier_version_is_read_before_and_digested_after_the_upgrade() {
    let mut case = Case::new().await;
    case.execute(MANY);
    case.execute(
        "DROP TRIGGER governance_audit_deleted; DROP TRIGGER governance_audit_changed; \
         DROP TABLE governance_audit_blocks; DELETE FROM governance_schema WHERE version = 2",
    );
    assert_eq!(total(&case, "many").await, 9_000);
    let tenure = case.tenure.unwrap();
    assert_eq!(case.store.digest_audit(&tenure, 5).await.unwrap(), 0);
    case.acquire().await.unwrap();
    let tenure = case.tenure.unwrap();
    assert_eq!(case.store.digest_audit(&tenure, 5).await.unwrap(), 2);
    assert_eq!((total(&case, "many").await, total(&case, "none").await), (9_000, 0));
}

#[tokio::test]
async fn a_digest_goes_when_somebody_deletes_or_changes_an_entry_by_hand() {
    let case = Case::new().await;
    let tenure = case.tenure.unwrap();
    for (change, left) in [
        ("DELETE FROM governance_audit WHERE id = 5000", 1),
        ("UPDATE governance_audit SET pod_name = 'other' WHERE id = 4095", 1),
        ("DELETE FROM governance_audit", 0),
    ] {
        case.execute(MANY);
        case.store.digest_audit(&tenure, 9).await.unwrap();
        assert!(kept_digests(&case) > 1);
        let before = kept_digests(&case);
        case.execute(change);
        assert!(if left == 0 {
            kept_digests(&case) == 0
        } else {
            kept_digests(&case) == before - 1
        });
    }
    // Ids begin with 1 again.
    case.execute(&MANY.replace("'many'", "'new'"));
    assert_eq!((total(&case, "many").await, total(&case, "new").await), (0, 9_000));
}

#[tokio::test]
async fn columns_of_any_kind_are_digested() {
    let case = Case::new().await;
    case.execute(MANY);
    case.execute(
        "UPDATE governance_audit SET at = 'soon', result = 5, pod_name = 7 WHERE id = 5000; \
         UPDATE governance_audit SET at = 5, action = x'ff', service_name = x'00' WHERE id = 1",
    );
    let tenure = case.tenure.unwrap();
    assert_eq!(case.store.digest_audit(&tenure, 9).await.unwrap(), 2);
    assert_eq!((total(&case, "7").await, total(&case, "8").await), (1, 0));
}

#[tokio::test]
async fn digests_of_an_audit_that_was_replaced_meanwhile_are_not_stored() {
    let case = Case::new().await;
    case.execute(MANY);
    let made = case.store.readers.ask(|reading| reading.digests(9)).await.unwrap();
    assert!(!made.is_empty());
    case.execute("DELETE FROM governance_audit");
    case.execute(&MANY.replace("'many'", "'new'").replace("03:04:05", "03:04:06"));
    let epoch = case.tenure.unwrap().epoch;
    let stored = case.store.thread.ask(move |session| digests::store(session, epoch, &made)).await;
    assert!(matches!(stored, Ok(0)), "{stored:?}");
    assert_eq!((total(&case, "many").await, total(&case, "new").await), (0, 9_000));
}
