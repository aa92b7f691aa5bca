//! What watchers cost registrations: the same load without them and with them, in turns.
//!
//! The watchers live in this process, one task and one connection each; they read what comes as
//! fast as they are let and keep nothing of it, so what they cost here is part of the bill.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    cli::WatchOptions,
    load::{Timing, measure},
    process::usage_of,
    report::{LoadResult, Medians, Report, Verdict, median, megabytes, progress},
    scenario::{Ground, load_settings, new_report},
    workload::{ChangedField, Pass, Registrations},
};

/// Wanted: registrations a second beside those without watchers, when nothing concerns them, and
/// when everything does.
const RATIO_QUIET: f64 = 0.95;
const RATIO_ALL: f64 = 0.7;
/// Wanted: memory of all watchers of a quiet service.
const MEMORY_MB: f64 = 50.0;
/// A service that no load touches.
const QUIET: &str = "/watch?service_name=quiet";
const ALL: &str = "/watch";
const READ_SIZE: usize = 64 * 1024;
/// All watchers must have their first event within this.
const PATIENCE: Duration = Duration::from_secs(30);

/// What watchers saw together.
#[derive(Default)]
struct Seen {
    begun: AtomicU64,
    bytes: AtomicU64,
    ended: AtomicU64,
}

pub(super) async fn run(options: &WatchOptions) -> anyhow::Result<Report> {
    let load = &options.load;
    let ground = Ground::prepare(load, ChangedField::NotificationUrl).await?;
    let [registry] = ground.registries.as_slice() else { bail!("one registry is watched") };
    let (address, pid) = (registry.manager.address, registry.manager.pid);
    let timing = Timing { warm_up: load.warm_up, measured: load.seconds };
    let (mut alone, mut watched, mut ratios, mut memory) = (vec![], vec![], vec![], vec![]);
    for pair in 1..=load.rounds {
        let sources = || {
            let fleet = &registry.fleet;
            Registrations::deal(fleet, &ground.contents, load.connections, Pass::Endless)
        };
        let label = format!("pair {pair} of {}: without watchers", load.rounds);
        progress(&label);
        let without = measure(address, sources(), timing, pid, &label).await?;
        let label = format!("pair {pair} of {}: with watchers", load.rounds);
        progress(&label);
        let before = pid.map(usage_of).transpose()?;
        let audience = Audience::open(address, options).await?;
        if let (Some(before), Some(pid)) = (before, pid) {
            memory.push(megabytes(usage_of(pid)?.rss_bytes.saturating_sub(before.rss_bytes)));
        }
        let with = measure(address, sources(), timing, pid, &label).await?;
        audience.close(&label);
        ratios.push(with.requests_per_second / without.requests_per_second);
        alone.push(without);
        watched.push(with);
    }
    let mut report = new_report("watch", settings(options));
    let usage = pid.map(usage_of).transpose()?;
    for (contender, rounds) in [("without watchers", alone), ("with watchers", watched)] {
        report.loads.push(LoadResult {
            contender: contender.to_owned(),
            median: Medians::of(&rounds),
            rss_bytes: usage.map(|usage| usage.rss_bytes),
            peak_bytes: usage.map(|usage| usage.peak_bytes),
            rounds,
        });
    }
    let wanted = if options.unfiltered > 0 { RATIO_ALL } else { RATIO_QUIET };
    let what = "registrations with watchers beside those without, median of the pairs";
    report.verdicts.push(Verdict::at_least(what, median(ratios), wanted));
    if options.unfiltered == 0 && !memory.is_empty() {
        let what = "memory of the watchers";
        report.verdicts.push(Verdict::at_most(what, median(memory), MEMORY_MB, " MB"));
    }
    Ok(report)
}

fn settings(options: &WatchOptions) -> String {
    let WatchOptions { quiet, unfiltered, load } = options;
    format!("{quiet} watchers of a quiet service, {unfiltered} of all; {}", load_settings(load))
}

/// All watchers; they end with it.
struct Audience {
    watchers: JoinSet<anyhow::Result<()>>,
    seen: Arc<Seen>,
}

impl Audience {
    /// Opens all watches and waits until each has begun.
    async fn open(address: SocketAddr, options: &WatchOptions) -> anyhow::Result<Self> {
        let seen = Arc::new(Seen::default());
        let mut watchers = JoinSet::new();
        let quiet = (0..options.quiet).map(|_| QUIET);
        let all = (0..options.unfiltered).map(|_| ALL);
        for target in quiet.chain(all) {
            watchers.spawn(watch(address, target, Arc::clone(&seen)));
        }
        let wanted = u64::from(options.quiet) + u64::from(options.unfiltered);
        let deadline = Instant::now() + PATIENCE;
        while seen.begun.load(Ordering::Relaxed) < wanted {
            if let Some(ended) = watchers.try_join_next() {
                ended?.context("a watcher could not begin")?;
                bail!("a watcher was turned away");
            }
            if Instant::now() > deadline {
                bail!("not all watchers got their first event within {PATIENCE:?}");
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(Self { watchers, seen })
    }

    fn close(self, label: &str) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        progress(&format!(
            "{label}: {:.0} MB read, {} of the watchers were cut off",
            megabytes(read(&self.seen.bytes)),
            read(&self.seen.ended)
        ));
        drop(self.watchers);
    }
}

/// Reads until the other side ends it.
async fn watch(address: SocketAddr, target: &str, seen: Arc<Seen>) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut buffer = vec![0; READ_SIZE];
    let first = stream.read(&mut buffer).await?;
    if !buffer.starts_with(b"HTTP/1.1 200") {
        let shown = buffer.get(..first.min(200)).unwrap_or_default();
        bail!("the answer to {target} is {}", String::from_utf8_lossy(shown));
    }
    seen.begun.fetch_add(1, Ordering::Relaxed);
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            seen.ended.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        seen.bytes.fetch_add(count as u64, Ordering::Relaxed);
    }
}
