//! Starts: how soon a manager is ready and what it then occupies, filled and empty, beside a bare
//! server that has nothing to load.

use std::{process::ExitStatus, time::Duration};

use anyhow::bail;
use tempfile::TempDir;

use crate::{
    bare,
    cli::{RestartOptions, StoreKind},
    manager::{Manager, new_directory, wait_until_ready},
    process::{Usage, usage_of},
    report::{Report, StartResult, Verdict, median, megabytes, progress},
    scenario::{PodSide, fill, new_report},
    workload::{ChangedField, Contents},
};

const EMPTY_READY_MS: f64 = 200.0;
const EMPTY_RSS_MB: f64 = 25.0;
/// Wanted with 100,000 pods.
const FILLED_READY_MS: f64 = 1_500.0;
const FILLED_RSS_MB: f64 = 150.0;

/// What the starts of one kind came to.
#[derive(Default)]
struct Starts {
    ready: Vec<Duration>,
    usage: Vec<Usage>,
    stop: Vec<Duration>,
}

impl Starts {
    fn result(&self, contender: &str) -> StartResult {
        let millis =
            |times: &[Duration]| median(times.iter().map(|t| t.as_secs_f64() * 1e3).collect());
        let mut rss: Vec<u64> = self.usage.iter().map(|usage| usage.rss_bytes).collect();
        rss.sort_unstable();
        StartResult {
            contender: contender.to_owned(),
            ready_ms: (!self.ready.is_empty()).then(|| millis(&self.ready)),
            rss_bytes: rss.get(rss.len() / 2).copied().unwrap_or(0),
            peak_bytes: self.usage.iter().map(|usage| usage.peak_bytes).max().unwrap_or(0),
            stop_ms: (!self.stop.is_empty()).then(|| millis(&self.stop)),
            starts: self.ready.len(),
        }
    }
}

pub(super) async fn run(options: &RestartOptions) -> anyhow::Result<Report> {
    if options.manager.store == StoreKind::Memory {
        bail!("--store memory keeps nothing over a restart");
    }
    let home = new_directory(None)?;
    let mut report = new_report("restart", settings(options));
    let bare = bare_starts(&home, options.rounds).await?;
    report.starts.push(bare.result("bare axum process"));
    let empty = empty_starts(options, &mut report).await?.result("manager, empty");
    if options.manager.store != StoreKind::Postgres {
        // There an empty start makes a database, which takes as long as its server takes.
        report.verdicts.extend(start_verdicts(&empty, EMPTY_READY_MS, EMPTY_RSS_MB));
    }
    report.starts.push(empty);
    filled_starts(options, &home, &mut report).await?;
    Ok(report)
}

fn settings(options: &RestartOptions) -> String {
    format!(
        "{} pods, {} pods a service, {} subscriptions, store {}, {} starts each",
        options.pods,
        options.fleet.pods_per_service,
        options.fleet.subscriptions,
        options.manager.store.name(),
        options.rounds,
    )
}

async fn bare_starts(home: &TempDir, rounds: u32) -> anyhow::Result<Starts> {
    let mut starts = Starts::default();
    for round in 1..=rounds {
        progress(&format!("bare axum process: start {round} of {rounds}"));
        let (mut server, address) = bare::start(home.path(), 1, 0, None).await?;
        starts.ready.push(wait_until_ready(&mut server, address).await?);
        starts.usage.push(usage_of(server.pid())?);
    }
    Ok(starts)
}

async fn empty_starts(options: &RestartOptions, report: &mut Report) -> anyhow::Result<Starts> {
    let name = "manager, empty";
    let mut starts = Starts::default();
    for round in 1..=options.rounds {
        progress(&format!("{name}: start {round} of {}", options.rounds));
        let (mut manager, ready_after) = Manager::start(&options.manager).await?;
        starts.ready.push(ready_after);
        let rows = manager.count_rows(0).await?;
        report.faults.extend(rows.fault());
        starts.usage.extend(manager.usage()?);
        let stopped = manager.stop().await?;
        note_stop(name, stopped, &mut starts, report);
    }
    Ok(starts)
}

async fn filled_starts(
    options: &RestartOptions,
    home: &TempDir,
    report: &mut Report,
) -> anyhow::Result<()> {
    let name = format!("manager, {} pods", options.pods);
    let pods = PodSide::open(options.fleet.health, home).await?;
    let fleet = pods.fleet(&options.fleet, options.pods, ChangedField::Provider)?;
    let (mut manager, _) = Manager::start(&options.manager).await?;
    fill(&name, &manager, &fleet, &Contents::new(), options.connections).await?;

    let filled_name = format!("{name}, just filled");
    let mut filled = Starts { usage: manager.usage()?.into_iter().collect(), ..Starts::default() };
    let stopped = manager.stop().await?;
    note_stop(&filled_name, stopped, &mut filled, report);
    let filled = filled.result(&filled_name);
    report.verdicts.push(memory_verdict(&filled, FILLED_RSS_MB));
    report.starts.push(filled);

    let again_name = format!("{name}, started again");
    let mut starts = Starts::default();
    for round in 1..=options.rounds {
        progress(&format!("{again_name}: start {round} of {}", options.rounds));
        starts.ready.push(manager.start_again().await?);
        let rows = manager.count_rows(options.pods.into()).await?;
        report.add_rows(&format!("{name}, start {round}"), rows);
        starts.usage.extend(manager.usage()?);
        let stopped = manager.stop().await?;
        note_stop(&again_name, stopped, &mut starts, report);
    }
    let again = starts.result(&again_name);
    report.verdicts.extend(start_verdicts(&again, FILLED_READY_MS, FILLED_RSS_MB));
    report.starts.push(again);
    Ok(())
}

/// A manager that was asked to end must exit with 0.
fn note_stop(
    name: &str,
    (after, status): (Duration, ExitStatus),
    starts: &mut Starts,
    report: &mut Report,
) {
    starts.stop.push(after);
    if !status.success() {
        report.faults.push(format!("{name}: ended with {status} after SIGTERM"));
    }
}

fn start_verdicts(start: &StartResult, ready_ms: f64, rss_mb: f64) -> [Verdict; 2] {
    let what = format!("{}: ready after", start.contender);
    let ready = start.ready_ms.unwrap_or(f64::NAN);
    [Verdict::at_most(what, ready, ready_ms, " ms"), memory_verdict(start, rss_mb)]
}

fn memory_verdict(start: &StartResult, bound: f64) -> Verdict {
    let what = format!("{}: RSS", start.contender);
    Verdict::at_most(what, megabytes(start.rss_bytes), bound, " MB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_start_and_the_highest_peak_are_reported() {
        let usage = |rss_bytes, peak_bytes| Usage { cpu: Duration::ZERO, rss_bytes, peak_bytes };
        let starts = Starts {
            ready: [30, 10, 20].map(Duration::from_millis).to_vec(),
            usage: vec![usage(3, 9), usage(1, 5), usage(2, 4)],
            stop: Vec::new(),
        };
        let result = starts.result("x");
        assert_eq!((result.rss_bytes, result.peak_bytes, result.starts), (2, 9, 3));
        assert!((result.ready_ms.unwrap() - 20.0).abs() < 1e-9);
        assert_eq!(result.stop_ms, None);
    }

    #[test]
    fn a_start_that_was_not_measured_meets_no_target() {
        let start = Starts::default().result("x");
        assert!(!start_verdicts(&start, 1_000.0, 1_000.0)[0].passed);
    }
}
