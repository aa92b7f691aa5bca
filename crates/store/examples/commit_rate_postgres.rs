//! How many rows a second PostgreSQL takes durably, in batches as the engine writes them: each a
//! registration of its own with its audit entry, fsync on, one batch after the other.
//!
//! `cargo run --release -p governance-store --example commit_rate_postgres [ROWS_PER_BATCH [SECONDS]]`
//! starts a PostgreSQL of its own with its default settings.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use governance_domain::provider::Protocol;
use governance_domain::{
    Content, Pod, PodKey, PodName, Provider, RegistrationId, ServiceName, Status, Subscription,
    Timestamp,
};
use governance_store::postgres::{PostgresSettings, SslMode};
use governance_store::{
    AuditAction, AuditEntry, AuditResult, Batch, Owner, PostgresStore, RowChange, Store, Uuid,
};
use governance_testkit::postgres::{Cluster, PASSWORD, USER};

/// Pods that register; then they register anew.
const PODS: u64 = 100_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let rows: u64 = arguments.next().map_or(Ok(256), |text| text.parse())?;
    let seconds: u64 = arguments.next().map_or(Ok(10), |text| text.parse())?;
    let cluster = Cluster::start_with(&[("fsync", "on")])?;
    let store = PostgresStore::new(settings(&cluster));
    let owner = Owner { id: Uuid::new_v4(), address: "localhost:8080".to_owned(), last: None };
    let tenure = store.acquire(&owner).await?;
    let (mut sequence, mut serial) = (tenure.sequence, 0);
    let mut slowest = Duration::ZERO;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(seconds) {
        sequence += 1;
        let batch = Arc::new(batch(tenure.epoch, sequence, serial, rows));
        serial += rows;
        let sent = Instant::now();
        store.commit(batch).await?;
        slowest = slowest.max(sent.elapsed());
    }
    let batches = sequence - tenure.sequence;
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = serial as f64 / start.elapsed().as_secs_f64();
    writeln!(
        std::io::stdout().lock(),
        "{rate:.0} rows/s durable: {batches} batches of {rows}, slowest {slowest:.1?}"
    )?;
    Ok(())
}

fn settings(cluster: &Cluster) -> PostgresSettings {
    PostgresSettings {
        hosts: vec![("127.0.0.1".to_owned(), cluster.address().port())],
        database: "governance_db".to_owned(),
        user: USER.to_owned(),
        password: PASSWORD.to_owned(),
        ssl_mode: SslMode::Disable,
        ssl_root_cert: None,
        statement_timeout: Duration::from_secs(5),
    }
}

fn batch(epoch: u32, sequence: u64, first: u64, rows: u64) -> Batch {
    let pods: Vec<Arc<Pod>> = (first..first + rows).map(pod).collect();
    let audit = pods.iter().map(|pod| entry(pod)).collect();
    let put = |pod| RowChange::Put { pod, resets_health: true };
    Batch { epoch, sequence, rows: pods.into_iter().map(put).collect(), audit }
}

fn pod(serial: u64) -> Arc<Pod> {
    let number = serial % PODS;
    let service = number % 1000;
    let all_of = |name: &str| Subscription::to_all_of(ServiceName::stored(name));
    let content = Content {
        providers: Box::new([Provider {
            protocol: Protocol::stored("http"),
            host: format!("192.168.{}.{}", number / 256 % 256, number % 256).into(),
            port: 8080,
            id: None,
        }]),
        health_check_url: format!("http://192.168.1.10:8080/health/{number}").into(),
        notification_url: format!("http://192.168.1.10:8080/notify/{number}").into(),
        subscriptions: Box::new([all_of("diam-gw"), all_of("eir")]),
        instance_id: None,
    };
    Arc::new(Pod {
        key: PodKey::new(
            ServiceName::stored(&format!("service-{service}")),
            PodName::stored(&format!("service-{service}-pod-{number}")),
        ),
        registration_id: RegistrationId::from_u64((1 << 32) + serial),
        content: Arc::new(content),
        status: Status::Unknown,
        last_health_check: None,
        registered_at: Timestamp::from_micros(1_767_323_045_678_000),
        updated_at: Timestamp::from_micros(1_767_323_045_678_000),
    })
}

fn entry(pod: &Pod) -> AuditEntry {
    AuditEntry {
        at: pod.updated_at,
        action: AuditAction::Register,
        result: AuditResult::Success,
        key: Some(pod.key.clone()),
        details: "registered".to_owned(),
        previous_status: None,
        new_status: None,
        request_id: Some(format!("{:016x}", pod.registration_id.as_u64())),
        remote: Some("192.168.1.10:40000".to_owned()),
    }
}
