//! Questions to an audit of millions of entries: how long a page takes, without the digests of its
//! blocks and with them.
//!
//! Straight at a store, without a manager: what is asked over HTTP waits for the same. The entries
//! are those of a fleet whose pods come and go evenly, and of some rare events among them.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use governance_domain::{PodKey, PodName, ServiceName, Timestamp};
use governance_store::{
    AuditAction, AuditEntry, AuditPosition, AuditQuery, AuditResult, Batch, Owner, PostgresStore,
    SqliteStore, Store, Tenure, Uuid,
    postgres::{PostgresSettings, SslMode},
    sqlite::FILE_NAME,
};
use governance_testkit::postgres::{Cluster, PASSWORD, USER};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::{
    cli::{AuditOptions, StoreKind},
    manager::{new_database, new_directory},
    process::usage_of,
    report::{QuestionResult, Report, Verdict, median, progress},
    scenario::new_report,
};

/// Entries of one batch.
const BATCH: u32 = 20_000;
/// Between two entries: ten million are a month's.
const STEP_MICROS: i64 = 260_000;
/// 2026-01-01.
const BEGIN_MICROS: i64 = 1_767_225_600_000_000;
/// Blocks that are digested by one call, as the manager does it.
const DIGEST_BLOCKS: usize = 4;
const PODS_PER_SERVICE: u32 = 10;
/// Wanted of the median page of each question, in milliseconds.
const PAGE_MS: f64 = 1_000.0;
const DATABASE: &str = "governance_db";

/// A filled store and where it is.
struct Site {
    store: Arc<dyn Store>,
    tenure: Tenure,
    database: Option<Cluster>,
    home: TempDir,
}

pub(super) async fn run(options: &AuditOptions) -> anyhow::Result<Report> {
    let site = Site::open(options).await?;
    site.fill(options).await?;
    let settings = format!(
        "{} entries of {} pods, store {}",
        options.entries,
        options.pods,
        options.store.name()
    );
    let mut report = new_report("audit", settings);
    let questions = questions(options);
    for (name, query) in &questions {
        let (found, total, is_minimum, plain_ms) = site.ask(query, 1).await?;
        progress(&format!("{name}: {found} of {total}, {plain_ms:.1} ms without digests"));
        report.questions.push(QuestionResult {
            question: (*name).to_owned(),
            found,
            total,
            is_minimum,
            plain_ms,
            digest_ms: 0.0,
        });
    }
    report.settings += &site.digest().await?;
    for ((name, query), result) in questions.iter().zip(&mut report.questions) {
        let (found, total, is_minimum, digest_ms) = site.ask(query, options.rounds).await?;
        if found != result.found || total < result.total {
            report.faults.push(format!("{name}: digests changed the answer"));
        }
        *result = QuestionResult { total, is_minimum, digest_ms, ..result.clone() };
        let what = format!("{name}: a page");
        report.verdicts.push(Verdict::at_most(what, digest_ms, PAGE_MS, " ms"));
    }
    Ok(report)
}

impl Site {
    async fn open(options: &AuditOptions) -> anyhow::Result<Self> {
        let home = new_directory(options.data_dir.as_deref())?;
        let (store, database): (Arc<dyn Store>, _) = match options.store {
            StoreKind::Sqlite => (Arc::new(SqliteStore::open(home.path())?), None),
            StoreKind::Postgres => {
                let database = new_database()?;
                (Arc::new(PostgresStore::new(settings(&database))), Some(database))
            }
            StoreKind::Memory => bail!("--store memory keeps ten thousand entries"),
        };
        let owner = Owner { id: Uuid::nil(), address: "127.0.0.1:1".to_owned(), last: None };
        let tenure = store.acquire(&owner).await?;
        Ok(Self { store, tenure, database, home })
    }

    async fn fill(&self, options: &AuditOptions) -> anyhow::Result<()> {
        let mut random = fastrand::Rng::with_seed(1);
        let batches = options.entries.div_ceil(BATCH);
        for batch in 0..batches {
            if batch % 50 == 0 {
                progress(&format!("filling: batch {batch} of {batches}"));
            }
            let numbers = batch * BATCH..options.entries.min((batch + 1) * BATCH);
            let audit = numbers.map(|number| entry(&mut random, options, number)).collect();
            let sequence = u64::from(batch) + 1;
            let batch = Batch { epoch: self.tenure.epoch, sequence, rows: Vec::new(), audit };
            self.store.commit(Arc::new(batch)).await?;
        }
        Ok(())
    }

    /// The entries of a page, the total, whether that is a minimum, and the median time in
    /// milliseconds.
    async fn ask(
        &self,
        query: &AuditQuery,
        rounds: u32,
    ) -> anyhow::Result<(usize, usize, bool, f64)> {
        let mut times = Vec::new();
        let mut page = self.store.read_audit(query.clone()).await?;
        for _ in 0..rounds {
            let began = Instant::now();
            page = self.store.read_audit(query.clone()).await?;
            times.push(began.elapsed().as_secs_f64() * 1e3);
        }
        Ok((page.records.len(), page.total, page.is_total_minimum, median(times)))
    }

    /// Digests everything; says what that cost.
    async fn digest(&self) -> anyhow::Result<String> {
        let cpu = || usage_of(std::process::id()).map(|usage| usage.cpu);
        let (began, used) = (Instant::now(), cpu()?);
        let mut blocks = 0;
        loop {
            match self.store.digest_audit(&self.tenure, DIGEST_BLOCKS).await? {
                0 => break,
                made => blocks += made,
            }
        }
        let each = |time: Duration| {
            #[expect(clippy::cast_precision_loss, reason = "a few thousand blocks")]
            let blocks = blocks.max(1) as f64;
            time.as_secs_f64() * 1e3 / blocks
        };
        let (wall, cpu) = (each(began.elapsed()), each(cpu()?.saturating_sub(used)));
        let bytes = self.digest_bytes()?;
        Ok(format!(
            "; {blocks} digests of {bytes} bytes in all, {wall:.2} ms each, {cpu:.2} ms of CPU in \
             this process"
        ))
    }

    fn digest_bytes(&self) -> anyhow::Result<String> {
        let length = "SELECT coalesce(sum(length(digest)), 0) FROM governance_audit_blocks";
        match &self.database {
            Some(database) => Ok(database.sql(DATABASE, length)?.trim().to_owned()),
            None => {
                let file = rusqlite::Connection::open(self.home.path().join(FILE_NAME))?;
                let bytes: i64 = file
                    .query_row(length, (), |row| row.get(0))
                    .context("the table of digests cannot be read")?;
                Ok(bytes.to_string())
            }
        }
    }
}

fn settings(database: &Cluster) -> PostgresSettings {
    let address = database.address();
    PostgresSettings {
        hosts: vec![(address.ip().to_string(), address.port())],
        database: DATABASE.to_owned(),
        user: USER.to_owned(),
        password: PASSWORD.to_owned(),
        ssl_mode: SslMode::Disable,
        ssl_root_cert: None,
        statement_timeout: Duration::from_secs(10),
    }
}

fn key(service: &str, pod: &str) -> PodKey {
    PodKey::new(ServiceName::stored(service), PodName::stored(pod))
}

fn moment(number: u32) -> Timestamp {
    Timestamp::from_micros(BEGIN_MICROS + i64::from(number) * STEP_MICROS)
}

/// So many times among all entries, evenly: whether this is one of them.
fn is_one_of(times: u32, options: &AuditOptions, number: u32) -> bool {
    let distance = (options.entries / times).max(1);
    number % distance == distance / 2
}

fn entry(random: &mut fastrand::Rng, options: &AuditOptions, number: u32) -> AuditEntry {
    let pod = random.u32(..options.pods);
    let mut entry = AuditEntry {
        at: moment(number),
        action: match random.u8(..10) {
            0..4 => AuditAction::Register,
            4..9 => AuditAction::HealthStatusChange,
            _ => AuditAction::Unregister,
        },
        result: AuditResult::Success,
        key: Some(key(&format!("service-{}", pod / PODS_PER_SERVICE), &format!("pod-{pod}"))),
        details: "providers: 2, subscriptions: 3".to_owned(),
        previous_status: None,
        new_status: None,
        request_id: Some(format!("{:016x}", random.u64(..))),
        remote: Some("[::1]:40000".to_owned()),
    };
    if is_one_of(100, options, number) {
        entry.key = Some(key("service-0", "rare-pod"));
    } else if is_one_of(51, options, number) {
        entry.key = Some(key("rare-service", &format!("pod-{pod}")));
    } else if is_one_of(23, options, number) {
        entry.action = AuditAction::Takeover;
        entry.key = None;
    } else if is_one_of(37, options, number) {
        entry.result = AuditResult::Denied;
    } else if is_one_of(71, options, number) {
        entry.action = AuditAction::AutoCleanup;
        entry.key = Some(key("service-1", "pod-10"));
    } else if is_one_of(997, options, number) {
        entry.action = AuditAction::AutoCleanup;
    }
    entry
}

/// What people ask, with the name it has in the report.
fn questions(options: &AuditOptions) -> Vec<(&'static str, AuditQuery)> {
    let all = || AuditQuery { limit: 100, ..AuditQuery::default() };
    let text = |text: &str| Some(text.to_owned());
    let rare = || AuditQuery { pod: text("rare-pod"), ..all() };
    let cleanup = || vec![AuditAction::AutoCleanup];
    let middle = options.entries / 2;
    let skipping = |count, before| AuditPosition::Skipping { count, before };
    vec![
        ("everything", all()),
        (
            "an action of every other entry",
            AuditQuery { actions: vec![AuditAction::Register], ..all() },
        ),
        ("a service of every 1,000th", AuditQuery { service: text("service-1"), ..all() }),
        ("a pod of every 10,000th", AuditQuery { pod: text("pod-10"), ..all() }),
        ("a pod with 100 entries", rare()),
        ("its 40 oldest", AuditQuery { position: skipping(60, None), ..rare() }),
        (
            "its entries before the middle",
            AuditQuery { position: skipping(0, Some(middle.into())), ..rare() },
        ),
        ("a pod that never was", AuditQuery { pod: text("no-pod"), ..all() }),
        ("an action with 23", AuditQuery { actions: vec![AuditAction::Takeover], ..all() }),
        ("a result with 37", AuditQuery { results: vec![AuditResult::Denied], ..all() }),
        ("a service with 51", AuditQuery { service: text("rare-service"), ..all() }),
        (
            "71 of a service with an action of 1,068",
            AuditQuery { service: text("service-1"), actions: cleanup(), ..all() },
        ),
        (
            "71 of a pod with the same",
            AuditQuery { pod: text("pod-10"), actions: cleanup(), ..all() },
        ),
        (
            "a service within an hour",
            AuditQuery {
                service: text("service-1"),
                from: Some(moment(middle)),
                until: Some(moment(middle + 13_846)),
                ..all()
            },
        ),
    ]
}
