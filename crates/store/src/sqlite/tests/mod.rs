//! What is this store's own: its file seen from outside, its faults, and how it gets over them
//! without being opened again. What it promises like every store is in `contract`.

mod audit;

use std::fs;
use std::path::PathBuf;

use futures_util::FutureExt;
use governance_domain::{
    Content, PodKey, PodName, Protocol, Provider, RegistrationId, ServiceName, Status, Subscription,
};
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::{AuditAction, AuditResult, RowChange};

/// A store in a directory of its own.
struct Case {
    directory: TempDir,
    store: SqliteStore,
    tenure: Option<Tenure>,
}

fn owner() -> Owner {
    Owner { id: Uuid::from_u128(1), address: "127.0.0.1:8080".to_owned(), last: None }
}

fn pod(name: &str, registration: u64) -> Pod {
    let time = Timestamp::from_micros(1_767_323_045_678_901);
    Pod {
        key: PodKey::new(ServiceName::stored("eir"), PodName::stored(name)),
        registration_id: RegistrationId::from_u64(registration),
        content: Arc::new(Content {
            providers: [Provider {
                protocol: Protocol::stored("http"),
                host: "192.168.1.30".into(),
                port: 8080,
                id: None,
            }]
            .into(),
            health_check_url: "http://192.168.1.30:8080/health".into(),
            notification_url: "http://192.168.1.30:8080/notify".into(),
            subscriptions: [Subscription::to_all_of(ServiceName::stored("diam-gw"))].into(),
            instance_id: None,
        }),
        status: Status::Unknown,
        last_health_check: None,
        registered_at: time,
        updated_at: time,
    }
}

fn put(pod: Pod) -> RowChange {
    RowChange::Put { pod: Arc::new(pod), resets_health: true }
}

fn delete(name: &str) -> RowChange {
    RowChange::Delete { key: pod(name, 0).key }
}

impl Case {
    /// Nothing is there yet.
    fn unopened() -> Self {
        let directory = TempDir::new().unwrap();
        let store = SqliteStore::open(directory.path()).unwrap();
        Self { directory, store, tenure: None }
    }

    /// Ready to be written to.
    async fn new() -> Self {
        let mut case = Self::unopened();
        case.acquire().await.unwrap();
        case
    }

    async fn acquire(&mut self) -> Result<(), AcquireError> {
        self.tenure = Some(self.store.acquire(&owner()).await?);
        Ok(())
    }

    async fn assert_unavailable(&mut self, text: &str) {
        match self.acquire().await {
            Err(AcquireError::Unavailable(fault)) => {
                assert!(fault.message.contains(text), "{}", fault.message);
            }
            other => panic!("{other:?} where {text:?} was expected"),
        }
    }

    async fn assert_unusable(&mut self, text: &str) {
        match self.acquire().await {
            Err(AcquireError::Unusable(fault)) => {
                assert!(fault.message.contains(text), "{}", fault.message);
            }
            other => panic!("{other:?} where {text:?} was expected"),
        }
    }

    async fn assert_not_applied(&mut self, rows: Vec<RowChange>, text: &str) {
        match self.commit(rows).await {
            Err(CommitError::NotApplied(fault)) => {
                assert!(fault.message.contains(text), "{}", fault.message);
            }
            other => panic!("{other:?} where {text:?} was expected"),
        }
    }

    /// Commits the next batch; a failed one leaves its number to the next.
    async fn commit(&mut self, rows: Vec<RowChange>) -> Result<(), CommitError> {
        let tenure = self.tenure.as_mut().unwrap();
        let sequence = tenure.sequence + 1;
        let audit = rows.iter().map(|row| entry(Some(row.key().clone()))).collect();
        let batch = Batch { epoch: tenure.epoch, sequence, rows, audit };
        self.store.commit(Arc::new(batch)).await?;
        self.tenure.as_mut().unwrap().sequence = sequence;
        Ok(())
    }

    async fn names(&self) -> Vec<String> {
        let loaded = self.store.load().await.unwrap();
        let mut names: Vec<_> = loaded.pods.iter().map(|pod| pod.key.pod.to_string()).collect();
        names.sort();
        names
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join(FILE_NAME)
    }

    /// Another program at the same file, such as the sqlite3 shell.
    fn shell(&self) -> Connection {
        Connection::open(self.file()).unwrap()
    }

    fn execute(&self, sql: &str) {
        self.shell().execute_batch(sql).unwrap();
    }

    /// Changes the store's own connection.
    async fn set_pragma(&self, name: &'static str, value: i64) {
        let outcome: Result<(), StoreFault> = self
            .store
            .thread
            .ask(move |session| {
                let connection = session.connection().map_err(|_| StoreFault::new("open"))?;
                connection
                    .pragma_update(None, name, value)
                    .map_err(|error| StoreFault::because("pragma", error))
            })
            .await;
        outcome.unwrap();
    }
}

fn entry(key: Option<PodKey>) -> AuditEntry {
    AuditEntry {
        at: Timestamp::from_micros(0),
        action: AuditAction::Register,
        result: AuditResult::Success,
        key,
        details: String::new(),
        previous_status: None,
        new_status: None,
        request_id: None,
        remote: None,
    }
}

#[tokio::test]
async fn a_file_that_was_removed_or_replaced_is_not_written_to_any_more() {
    let mut case = Case::new().await;
    case.commit(vec![put(pod("a", 1))]).await.unwrap();
    let first = case.tenure.unwrap();
    case.execute(&format!("VACUUM INTO '{}'", case.file().with_extension("copy").display()));
    for replace in [false, true] {
        fs::remove_file(case.file()).unwrap();
        if replace {
            fs::rename(case.file().with_extension("copy"), case.file()).unwrap();
        }
        match case.commit(vec![put(pod("b", 2))]).await {
            Err(CommitError::Lost(fault)) => assert!(fault.message.contains("removed"), "{fault}"),
            other => panic!("{other:?}"),
        }
        case.acquire().await.unwrap();
        let is_same = case.tenure.unwrap().registry_id == first.registry_id;
        assert_eq!(is_same, replace, "a new file is a new registry, a copy is not");
        case.commit(vec![put(pod("c", 3))]).await.unwrap();
        let page = case.store.read_audit(AuditQuery { limit: 10, ..AuditQuery::default() }).await;
        assert!(!page.unwrap().records.is_empty(), "it is read where it is written");
    }
}

#[tokio::test]
async fn a_shell_reads_along_what_the_documentation_prints() {
    let mut case = Case::new().await;
    let shell = case.shell();
    case.commit(vec![put(pod("eir-1", 7))]).await.unwrap();
    let row: (String, String, String, String, String) = shell
        .query_row(
            "SELECT service_key, providers, status, last_health_check, registered_at \
             FROM services WHERE json_array_length(subscriptions) > 0",
            (),
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)),
        )
        .unwrap();
    let expected = (
        "eir:eir-1".to_owned(),
        r#"[{"protocol":"http","ip":"192.168.1.30","port":8080}]"#.to_owned(),
        "unknown".to_owned(),
        "0001-01-01 00:00:00".to_owned(),
        "2026-01-02 03:04:05.678901".to_owned(),
    );
    assert_eq!(row, expected);
    let by_service: (String, i64) = shell
        .query_row("SELECT service_name, COUNT(*) FROM services GROUP BY service_name", (), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(by_service, ("eir".to_owned(), 1));
    // A view that is held open stops no write, and does not move.
    shell.execute_batch("BEGIN; SELECT count(*) FROM services").unwrap();
    let count = || shell.query_row("SELECT count(*) FROM services", (), |row| row.get::<_, i64>(0));
    assert_eq!(count(), Ok(1));
    case.commit(vec![put(pod("eir-2", 8))]).await.unwrap();
    assert_eq!(count(), Ok(1));
    shell.execute_batch("COMMIT").unwrap();
    assert_eq!(count(), Ok(2));
}

#[tokio::test]
async fn the_columns_of_services_are_the_documented_ones() {
    let case = Case::new().await;
    let shell = case.shell();
    let mut statement = shell.prepare("SELECT name FROM pragma_table_info('services')").unwrap();
    let names: Vec<String> =
        statement.query_map((), |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let documented = [
        "service_key",
        "service_name",
        "pod_name",
        "providers",
        "health_check_url",
        "notification_url",
        "subscriptions",
        "status",
        "last_health_check",
        "registered_at",
        "updated_at",
    ];
    assert_eq!(names, documented);
}

#[tokio::test]
async fn a_newer_schema_is_refused_with_both_versions_named() {
    let mut case = Case::new().await;
    case.commit(vec![put(pod("a", 1))]).await.unwrap();
    case.execute("INSERT INTO governance_schema VALUES (99, 'x', 'later')");
    case.assert_unusable("version 99, this program knows up to 2").await;
    case.execute("DELETE FROM governance_schema WHERE version = 99");
    case.acquire().await.unwrap();
    assert_eq!(case.names().await, ["a"]);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_until_it_is_gone() {
    let mut case = Case::unopened();
    fs::write(case.file(), "this is not a database, whatever its name says. ".repeat(99)).unwrap();
    case.assert_unusable("is not a SQLite database").await;
    assert!(case.store.load().await.is_err());
    fs::remove_file(case.file()).unwrap();
    case.acquire().await.unwrap();
    case.commit(vec![put(pod("a", 1))]).await.unwrap();
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_waited_for() {
    let mut case = Case::unopened();
    fs::create_dir(case.file()).unwrap();
    case.assert_unavailable("cannot open").await;
    fs::remove_dir(case.file()).unwrap();
    fs::remove_dir(case.directory.path()).unwrap();
    case.assert_unavailable("cannot open").await;
    fs::create_dir(case.directory.path()).unwrap();
    case.acquire().await.unwrap();
    case.commit(vec![put(pod("a", 1))]).await.unwrap();
    assert_eq!(case.names().await, ["a"]);
}

#[tokio::test]
async fn a_full_disk_costs_the_batch_and_nothing_else() {
    let mut case = Case::new().await;
    case.commit(vec![put(pod("a", 1))]).await.unwrap();
    case.set_pragma("max_page_count", 1).await;
    let many: Vec<_> = (0..500).map(|number| put(pod(&format!("p{number}"), number))).collect();
    case.assert_not_applied(many.clone(), "disk full: make room").await;
    assert_eq!(case.names().await, ["a"]);
    case.commit(many).await.unwrap();
    assert_eq!(case.names().await.len(), 501);
}

#[tokio::test]
async fn a_read_only_file_costs_the_batch_and_nothing_else() {
    let mut case = Case::new().await;
    case.set_pragma("query_only", 1).await;
    case.assert_not_applied(vec![put(pod("a", 1))], "governance.db is read-only").await;
    case.commit(vec![put(pod("a", 1))]).await.unwrap();
    case.set_pragma("query_only", 1).await;
    case.assert_unavailable("governance.db is read-only").await;
    case.acquire().await.unwrap();
    assert_eq!(case.names().await, ["a"]);
}

#[tokio::test]
async fn a_lock_of_another_program_is_told_and_outlived() {
    let mut case = Case::new().await;
    let shell = case.shell();
    shell.execute_batch("BEGIN IMMEDIATE").unwrap();
    case.assert_not_applied(vec![put(pod("a", 1))], "another program holds").await;
    shell.execute_batch("ROLLBACK").unwrap();
    case.commit(vec![put(pod("a", 1))]).await.unwrap();
    assert_eq!(case.names().await, ["a"]);
}

#[tokio::test]
async fn refused_data_names_its_pod_and_the_rest_is_not_stored() {
    let mut case = Case::new().await;
    case.execute(
        "CREATE TRIGGER no BEFORE INSERT ON services WHEN new.pod_name = 'bad' \
         BEGIN SELECT RAISE(ABORT, 'no'); END",
    );
    let outcome = case.commit(vec![put(pod("good", 1)), put(pod("bad", 2))]).await;
    match outcome {
        Err(CommitError::Refused { culprit: Some(key), .. }) => {
            assert_eq!(key.to_string(), "eir:bad");
        }
        other => panic!("{other:?}"),
    }
    assert!(case.names().await.is_empty());
    case.commit(vec![put(pod("good", 1))]).await.unwrap();
    assert_eq!(case.names().await, ["good"]);
}

#[tokio::test]
async fn after_a_panic_nothing_is_written_until_the_outcome_is_settled() {
    let mut case = Case::new().await;
    case.commit(vec![put(pod("a", 1))]).await.unwrap();
    // A reader keeps the log from being started anew, so nothing becomes certain.
    let shell = case.shell();
    shell.execute_batch("BEGIN").unwrap();
    let _: i64 = shell.query_row("SELECT count(*) FROM services", (), |row| row.get(0)).unwrap();
    let outcome: Result<(), CommitError> =
        case.store.thread.ask(|_| panic!("a bug, planned by the test")).await;
    assert!(matches!(outcome, Err(CommitError::Unknown(_))), "{outcome:?}");
    case.assert_not_applied(vec![put(pod("b", 2))], "not settled").await;
    case.assert_unavailable("close that program").await;
    drop(shell);
    case.acquire().await.unwrap();
    case.commit(vec![put(pod("b", 2))]).await.unwrap();
    assert_eq!(case.names().await, ["a", "b"]);
}

#[tokio::test]
async fn a_file_whose_lease_is_gone_is_not_written_under_the_old_right() {
    let mut case = Case::new().await;
    case.commit(vec![put(pod("a", 1))]).await.unwrap();
    case.execute("DELETE FROM governance_lease");
    let outcome = case.commit(vec![delete("a")]).await;
    assert!(matches!(outcome, Err(CommitError::Lost(_))), "{outcome:?}");
    assert_eq!(case.names().await, ["a"]);
}

#[tokio::test]
async fn anything_in_any_column_is_loaded() {
    let mut case = Case::new().await;
    case.execute(
        "INSERT INTO services VALUES ('eir:x', 'eir', 'x', x'ff00', 5, 1.5, x'5b5d', 0, 'soon', \
         'never', x'00'), (7, 8, 9, '[]', '', '', '{}', '', '', '', ''), \
         ('wrong', 'eir', 'stray', '[]', '', '', '[]', 'healthy', '', '', ''), \
         ('wronger', 'eir', 'stray', '[]', '', '', '[]', 'unhealthy', '', '', '')",
    );
    let loaded = case.store.load().await.unwrap();
    assert_eq!((loaded.pods.len(), loaded.odd_count), (3, 4), "{:?}", loaded.oddities);
    assert_eq!(case.names().await, ["9", "stray", "x"]);
    case.commit(vec![put(pod("x", 2)), delete("stray")]).await.unwrap();
    assert_eq!(case.names().await, ["9", "x"]);
    let left: i64 = case
        .shell()
        .query_row("SELECT count(*) FROM services WHERE pod_name = 'stray'", (), |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0, "both rows of the pod are gone");
}

#[tokio::test]
async fn tombstones_go_with_the_audit_after_an_hour() {
    let mut case = Case::new().await;
    case.commit(vec![put(pod("a", 1)), put(pod("b", 2)), put(pod("c", 3))]).await.unwrap();
    case.commit(vec![delete("a"), delete("b")]).await.unwrap();
    case.execute(
        "UPDATE governance_pods SET deleted = strftime('%Y-%m-%d %H:%M:%f', 'now', '-61 minutes') \
         WHERE service_key = 'eir:a' AND deleted IS NOT NULL",
    );
    let tenure = case.tenure.unwrap();
    case.store.prune_audit(&tenure, Timestamp::from_micros(0), 10).await.unwrap();
    let keys: Vec<String> = case
        .shell()
        .prepare("SELECT service_key FROM governance_pods ORDER BY service_key")
        .unwrap()
        .query_map((), |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(keys, ["eir:b", "eir:c"]);
}

#[tokio::test]
async fn superseded_registrations_and_the_log_do_not_grow_without_bound() {
    let mut case = Case::new().await;
    let mut registration = 0;
    for _ in 0..60 {
        let again = (0..500).map(|number| {
            registration += 1;
            put(pod(&format!("p{number}"), registration))
        });
        let again = again.collect();
        case.commit(again).await.unwrap();
    }
    let count: u32 = case
        .shell()
        .query_row("SELECT count(*) FROM governance_pods", (), |row| row.get(0))
        .unwrap();
    assert!((10_000..12_000).contains(&count), "{count} rows for 500 pods");
    let log = fs::metadata(case.directory.path().join("governance.db-wal")).unwrap().len();
    assert!(log < 80 << 20, "{log} bytes of log");
    // The ledger that is read back agrees with the one that was kept.
    let before = case.store.load().await.unwrap().pods;
    case.acquire().await.unwrap();
    case.commit(vec![put(pod("p0", registration + 1)), delete("p1")]).await.unwrap();
    let after = case.store.load().await.unwrap().pods;
    assert_eq!(after.len(), before.len() - 1);
    let oldest = after.iter().map(|pod| pod.registration_id.as_u64()).min();
    assert_eq!(oldest, Some(registration - 497), "p0 is new, p1 is gone");
}

#[tokio::test]
async fn an_operators_columns_go_over_to_the_next_registration() {
    let mut case = Case::new().await;
    case.commit(vec![put(pod("a", 1)), put(pod("b", 2))]).await.unwrap();
    case.execute("UPDATE governance_pods SET admin_state = 'drain', weight = 5 WHERE id = 1");
    case.commit(vec![put(pod("a", 3))]).await.unwrap();
    let tenure = case.tenure.unwrap();
    let pods = vec![Arc::new(pod("a", 4)), Arc::new(pod("b", 5))];
    case.store.rewrite(&tenure, pods, Vec::new()).await.unwrap();
    let states: Vec<(String, Option<String>, Option<i64>)> = case
        .shell()
        .prepare(
            "SELECT service_key, admin_state, weight FROM governance_pods \
             WHERE deleted IS NULL ORDER BY registration_id DESC LIMIT 2",
        )
        .unwrap()
        .query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let expected =
        [("eir:b".to_owned(), None, None), ("eir:a".to_owned(), Some("drain".to_owned()), Some(5))];
    assert_eq!(states, expected);
}

#[tokio::test]
async fn more_calls_than_the_queue_holds_are_refused_at_once() {
    let case = Case::new().await;
    let (release, released) = std::sync::mpsc::channel::<()>();
    let blocked = case.store.thread.ask(move |_| {
        let _ = released.recv();
        Ok::<(), StoreFault>(())
    });
    let mut waiting = Vec::new();
    let refused = loop {
        let mut load = case.store.load();
        match (&mut load).now_or_never() {
            Some(answer) => break answer,
            None => waiting.push(load),
        }
        assert!(waiting.len() < 1_000, "nothing was refused");
    };
    assert!(refused.unwrap_err().message.contains("too many calls"));
    release.send(()).unwrap();
    blocked.await.unwrap();
    for load in waiting {
        load.await.unwrap();
    }
}
