//! A storm: many pods of one service register within seconds, and many pods hear of each. How few
//! requests that takes, how soon all hold the last state, and what the registrations feel of it.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use super::fanout::{Ground, TARGET, register};
use crate::{
    farm::{Shares, monotonic_micros},
    report::{Report, Verdict, progress},
    wire::Connection,
};

/// Pods that register.
const PODS: u32 = 1_000;
/// In this time, evenly.
const DURATION: Duration = Duration::from_secs(10);
/// Connections that take turns.
const WORKERS: u32 = 16;
/// Wanted: requests beside one for each pod and subscriber.
const REQUESTS_PART: f64 = 1.0 / 20.0;
/// Wanted: the last subscriber after the last registration.
const LAST_SECONDS: f64 = 2.0;

/// A storm that nobody hears of, and one that everybody hears of.
pub(super) async fn run(ground: &mut Ground, report: &mut Report) -> anyhow::Result<()> {
    let (_, quiet) = storm(ground, "quiet").await?;
    ground.settle(Shares::default()).await?;
    let (revision, heard) = storm(ground, TARGET).await?;
    let ended = monotonic_micros();
    let seen = ground.converge(revision, 0).await?;
    let last = seen.arrivals.iter().flatten().max().copied().unwrap_or(u64::MAX);
    #[expect(clippy::cast_precision_loss, reason = "counts and seconds stay far below 2⁵²")]
    let (last, requests) = (last.saturating_sub(ended) as f64 / 1e6, seen.requests as f64);
    progress(&format!(
        "storm: {requests} requests, {} MB, the last {last:.2} s after the last registration; \
         registration p99 {heard:.1} ms, without subscribers {quiet:.1} ms",
        seen.bytes / 1_000_000,
    ));
    let naive = f64::from(PODS) * f64::from(ground.subscribers);
    let bound = (quiet * 2.0).max(quiet + 20.0);
    report.verdicts.extend([
        Verdict::at_most("storm: requests beside naive ones", requests / naive, REQUESTS_PART, ""),
        Verdict::at_most("storm: last subscriber told after", last, LAST_SECONDS, " s"),
        Verdict::at_most("storm: registration p99", heard, bound, " ms"),
    ]);
    if seen.went_back > 0 {
        report.faults.push(format!("{} times a revision went back", seen.went_back));
    }
    ground.notification().await.context("after the storm")?;
    Ok(())
}

/// Registers the pods of a service in time; returns the last revision, and the 99th percentile of
/// the answers in milliseconds.
async fn storm(ground: &Ground, service: &'static str) -> anyhow::Result<(u64, f64)> {
    let begun = Instant::now();
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let (manager, farm) = (ground.manager.address, ground.farm);
        workers.spawn(async move {
            let mut connection = Connection::open(manager).await?;
            let (mut waits, mut last) = (Vec::new(), 0);
            for index in (worker..PODS).step_by(WORKERS as usize) {
                tokio::time::sleep_until(begun + DURATION * index / PODS).await;
                let pod = json!({
                    "service_name": service,
                    "pod_name": format!("storm-{index}"),
                    "providers": [{"protocol": "http", "ip": "10.0.0.3", "port": 1 + index}],
                    "health_check_url": format!("http://{farm}/health"),
                    "notification_url": format!("http://{farm}/n/none"),
                    "subscriptions": [],
                });
                let asked = Instant::now();
                let answer = register(&mut connection, &pod).await?;
                waits.push(asked.elapsed().as_secs_f64() * 1e3);
                last = answer.get("revision").and_then(Value::as_u64).unwrap_or(0).max(last);
            }
            anyhow::Ok((waits, last))
        });
    }
    let (mut waits, mut last) = (Vec::new(), 0);
    while let Some(done) = workers.join_next().await {
        let (of_worker, revision) = done??;
        waits.extend(of_worker);
        last = revision.max(last);
    }
    waits.sort_by(f64::total_cmp);
    Ok((last, waits.get(waits.len() * 99 / 100).copied().unwrap_or(f64::NAN)))
}
