//! Measures what the embedded store makes of batches: rows per second and processor time per row,
//! with few and with many rows already there, in batches of two sizes.
//!
//! `cargo run --release -p governance-store --example commit_rate [directory]`
//!
//! Each row is a registration with all that belongs to it: its row in `services`, its row in
//! `governance_pods`, its audit entry. Keys are random. `again` registers pods that are there,
//! `new` ones that are not.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use governance_domain::{
    Content, Pod, PodKey, PodName, Protocol, Provider, RegistrationId, ServiceName, Status,
    Subscription, Timestamp,
};
use governance_store::{
    AuditAction, AuditEntry, AuditResult, Batch, Owner, RowChange, SqliteStore, Store, Uuid,
};
use rustix::time::{ClockId, clock_gettime};

/// Registrations per measurement.
const ROWS: usize = 30_000;
/// The first moment of 2026.
const NOW: i64 = 1_767_225_600_000_000;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let own = tempfile::tempdir()?;
    let parent = std::env::args_os().nth(1).map_or(own.path().to_owned(), PathBuf::from);
    for existing in [1_000, 100_000] {
        for batch_size in [64, 128, 256] {
            let directory = tempfile::tempdir_in(&parent)?;
            runtime.block_on(measure(directory.path(), existing, batch_size))?;
        }
    }
    Ok(())
}

/// A store being written to.
struct Run {
    store: SqliteStore,
    epoch: u32,
    sequence: u64,
    registration: u64,
}

async fn measure(directory: &Path, existing: u32, batch_size: usize) -> Outcome<()> {
    let store = SqliteStore::open(directory)?;
    let owner = Owner { id: Uuid::new_v4(), address: "127.0.0.1:8080".to_owned(), last: None };
    let tenure = store.acquire(&owner).await?;
    let mut run = Run { store, epoch: tenure.epoch, sequence: tenure.sequence, registration: 0 };
    let mut random = Random(7);
    run.register((0..existing).map(scatter), 1024).await?;
    let again: Vec<u32> = (0..ROWS).map(|_| scatter(random.below(existing))).collect();
    let began = Lap::start();
    run.register(again.into_iter(), batch_size).await?;
    began.report(existing, batch_size, "again")?;
    let fresh = existing..existing + u32::try_from(ROWS)?;
    let began = Lap::start();
    run.register(fresh.map(scatter), batch_size).await?;
    began.report(existing, batch_size, "new")?;
    let began = Lap::start();
    let loaded = run.store.load().await?.pods.len();
    writeln!(
        std::io::stdout().lock(),
        "{existing:>7} rows: loaded {loaded} in {} ms, {} ms of processor; log {} KiB, file {} KiB",
        began.began.elapsed().as_millis(),
        processor_time().abs_diff(began.processor).as_millis(),
        kib(&directory.join("governance.db-wal")),
        kib(&directory.join("governance.db")),
    )?;
    Ok(())
}

impl Run {
    async fn register(&mut self, pods: impl Iterator<Item = u32>, size: usize) -> Outcome<()> {
        let mut pods = pods.peekable();
        while pods.peek().is_some() {
            let mut numbers: Vec<u32> = pods.by_ref().take(size).collect();
            numbers.sort_unstable();
            numbers.dedup();
            self.sequence += 1;
            let mut batch = Batch {
                epoch: self.epoch,
                sequence: self.sequence,
                rows: Vec::with_capacity(size),
                audit: Vec::with_capacity(size),
            };
            for number in numbers {
                self.registration += 1;
                let pod = pod(number, self.registration);
                batch.audit.push(entry(&pod.key));
                batch.rows.push(RowChange::Put { pod: Arc::new(pod), resets_health: true });
            }
            self.store.commit(Arc::new(batch)).await?;
        }
        Ok(())
    }
}

fn pod(number: u32, registration: u64) -> Pod {
    let service = match number % 3 {
        0 => "http-gw",
        1 => "diam-gw",
        _ => "eir",
    };
    let host = format!("10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255);
    let provider = |protocol, port| Provider {
        protocol: Protocol::stored(protocol),
        host: host.as_str().into(),
        port,
        id: None,
    };
    let wish = |service| Subscription::to_all_of(ServiceName::stored(service));
    let now = Timestamp::from_micros(NOW + i64::from(number));
    Pod {
        key: PodKey::new(
            ServiceName::stored(service),
            PodName::stored(&format!("{service}-pod-{number:010}")),
        ),
        registration_id: RegistrationId::from_u64(registration),
        content: Arc::new(Content {
            providers: [provider("http", 8080), provider("tcp", 3868)].into(),
            health_check_url: format!("http://{host}:8080/health").into(),
            notification_url: format!("http://{host}:8080/notify").into(),
            subscriptions: [wish("diam-gw"), wish("eir")].into(),
            instance_id: Some("0f7c1c9e-0a42-4a52-9d32-7f6e0c1b2a3d".into()),
        }),
        status: Status::Unknown,
        last_health_check: None,
        registered_at: now,
        updated_at: now,
    }
}

fn entry(key: &PodKey) -> AuditEntry {
    AuditEntry {
        at: Timestamp::from_micros(NOW),
        action: AuditAction::Register,
        result: AuditResult::Success,
        key: Some(key.clone()),
        details: "registered with 2 providers and 2 subscriptions".to_owned(),
        previous_status: None,
        new_status: None,
        request_id: Some("01890a5d-ac96-774b-bcce-b302099a8057".to_owned()),
        remote: Some("10.0.0.1".to_owned()),
    }
}

/// Spreads numbers over all of 32 bits, each to another (an odd factor has an inverse).
fn scatter(number: u32) -> u32 {
    (number.wrapping_mul(0x9e37_79b1) ^ 0x5bd1_e995).wrapping_mul(0x85eb_ca6b)
}

/// Xorshift, so that every run does the same.
struct Random(u32);

impl Random {
    fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 % end
    }
}

/// Time on the wall and of this process's processors.
struct Lap {
    began: Instant,
    processor: Duration,
}

impl Lap {
    fn start() -> Self {
        Self { began: Instant::now(), processor: processor_time() }
    }

    fn report(&self, existing: u32, batch_size: usize, what: &str) -> Outcome<()> {
        let rows = u32::try_from(ROWS)?;
        let rate = f64::from(rows) / self.began.elapsed().as_secs_f64();
        let micros =
            processor_time().abs_diff(self.processor).as_secs_f64() * 1e6 / f64::from(rows);
        writeln!(
            std::io::stdout().lock(),
            "{existing:>7} rows, batches of {batch_size:>3}, {what:>5}: {rate:>7.0} rows/s, \
             {micros:>5.1} µs of processor per row"
        )?;
        Ok(())
    }
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn kib(path: &Path) -> u64 {
    path.metadata().map_or(0, |file| file.len() / 1024)
}
