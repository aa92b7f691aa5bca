//! Health checks of many pods: how late they begin, what they cost beside a minimal client's, how
//! soon a death and a recovery show, and what bad pods do to the others.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    task::JoinSet,
    time::{Instant, interval, sleep},
};

use crate::{
    cli::{HealthOptions, PodShares},
    farm::monotonic_micros,
    farm_ask,
    farm_pods::{self, Conduct, Ports, Seen},
    manager::{Manager, fetch, new_directory},
    process::{Server, Usage, usage_of},
    report::{Report, Verdict, median, megabytes, progress},
    scenario::new_report,
    wire::Connection,
};

const PODS_PER_SERVICE: u32 = 100;
/// Connections that register.
const WORKERS: u32 = 32;
/// Registrations a second during a measurement of pairs.
const REGISTRATIONS_PER_SECOND: u64 = 50;
/// How often the statuses of dying pods are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// The minimal client runs for so long.
const ASK_SECONDS: u32 = 10;
/// Wanted with an interval from ten seconds, and with a shorter one.
const LAG_P99_MS: [f64; 2] = [1_000.0, 200.0];
const CORES: [f64; 2] = [0.5, 1.0];
const RSS_MB: f64 = 300.0;
const CPU_RATIO: f64 = 2.0;
/// A refused check with three retries is over after this, and may show a little later.
const VERDICT_MS: f64 = 7_200.0;
/// The service of the pods that die.
const DYING: &str = "dying";

/// A manager, the pods that it checks, and where both live.
struct Ground {
    manager: Manager,
    control: SocketAddr,
    ports: Ports,
    pods: u32,
    /// The last so many pods are those that die.
    deaths: u32,
    shares: PodShares,
    interval: Duration,
    farm: Server,
    _home: TempDir,
}

/// What a measurement came to.
struct Measured {
    seen: Seen,
    cores: f64,
    farm_cores: f64,
    cpu_us_per_check: f64,
    rss_bytes: u64,
    register_p99_ms: f64,
}

pub(super) async fn run(options: &HealthOptions) -> anyhow::Result<Report> {
    let mut report = new_report("health", settings(options));
    if options.pairs > 0 {
        pairs(options, &mut report).await?;
        return Ok(report);
    }
    let ground = Ground::open(options, options.shares).await?;
    let measured = ground.measure(options.seconds, 0).await?;
    judge(options, &measured, &mut report);
    compare(&ground, &measured, &mut report).await?;
    if options.deaths > 0 {
        deaths(&ground, &mut report).await?;
    }
    Ok(report)
}

fn settings(options: &HealthOptions) -> String {
    format!(
        "{} pods every {:?}, {:?}, store {}",
        options.pods,
        options.interval,
        options.shares,
        options.manager.store.name()
    )
}

fn judge(options: &HealthOptions, measured: &Measured, report: &mut Report) {
    let Measured { seen, cores, farm_cores, cpu_us_per_check, rss_bytes, .. } = measured;
    let rate = as_f64(seen.all_checks) / options.seconds.as_secs_f64();
    progress(&format!(
        "{rate:.0} checks/s seen by the pods; lag p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms; manager \
         {cores:.2} cores, {cpu_us_per_check:.0} µs a check; pods {farm_cores:.2} cores",
        seen.lag_p50_ms, seen.lag_p99_ms, seen.lag_max_ms
    ));
    let kind = usize::from(options.interval < Duration::from_secs(10));
    let bound = |bounds: [f64; 2]| bounds.get(kind).copied().unwrap_or(0.0);
    let at_most = Verdict::at_most;
    report.verdicts.extend([
        at_most("lag p50", seen.lag_p50_ms, bound(LAG_P99_MS), " ms"),
        at_most("lag p99", seen.lag_p99_ms, bound(LAG_P99_MS), " ms"),
        at_most("checks skipped", as_f64(seen.skipped), 0.0, ""),
        at_most("manager's processors", *cores, bound(CORES), ""),
        at_most("manager's RSS", megabytes(*rss_bytes), RSS_MB, " MB"),
    ]);
    if seen.checks == 0 {
        report.faults.push("no pod that is well was ever checked".to_owned());
    }
}

/// The same checks at the same pace by a minimal client.
async fn compare(ground: &Ground, measured: &Measured, report: &mut Report) -> anyhow::Result<()> {
    let well = ground.shares.total()..ground.pods;
    let rate = f64::from(ground.pods) / ground.interval.as_secs_f64();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checks a second")]
    let per_second = rate.clamp(1.0, 10_000.0) as u32;
    let asked = farm_ask::measure(&ground.ports.answering, well, per_second, ASK_SECONDS).await?;
    progress(&format!(
        "minimal client: {} checks, {} failed ({}), {:.0} µs a check",
        asked.checks,
        asked.failed,
        asked.first_fault.as_deref().unwrap_or("none"),
        asked.cpu_us_per_check
    ));
    let ratio = measured.cpu_us_per_check / asked.cpu_us_per_check;
    report.verdicts.push(Verdict::at_most("CPU a check / minimal client's", ratio, CPU_RATIO, ""));
    Ok(())
}

/// Pods of one service die together, and come back together.
async fn deaths(ground: &Ground, report: &mut Report) -> anyhow::Result<()> {
    let first = ground.pods - ground.deaths;
    ground.post("/pods/mark").await?;
    let died = monotonic_micros();
    ground.post(&format!("/pods/dead?first={first}&end={}", ground.pods)).await?;
    // A check that came between the two was still answered.
    let surely_dead = monotonic_micros();
    let unhealthy = ground.await_status("unhealthy").await?;
    let path = format!("/pods/arrivals?first={first}&end={}", ground.pods);
    let asked: Vec<Vec<u64>> = serde_json::from_slice(&ground.ask_pods(&path).await?)?;
    let since = |begun: u64, shown: u64| as_f64(shown.saturating_sub(begun)) / 1e3;
    let checks: Vec<f64> = asked
        .iter()
        .zip(&unhealthy)
        .filter_map(|(asked, shown)| {
            Some(since(*asked.iter().find(|at| **at >= surely_dead)?, *shown))
        })
        .collect();
    let back = monotonic_micros();
    ground.post("/pods/dead?first=0&end=0").await?;
    let healthy = ground.await_status("healthy").await?;
    let longest = |times: &[f64]| times.iter().copied().fold(0.0, f64::max);
    let after = |begun: u64, shown: &[u64]| shown.iter().map(|at| since(begun, *at)).collect();
    let (death, recovery): (Vec<f64>, Vec<f64>) = (after(died, &unhealthy), after(back, &healthy));
    progress(&format!(
        "death to unhealthy: median {:.0} ms, at most {:.0} ms; recovery to healthy: median {:.0} \
         ms, at most {:.0} ms",
        median(death.clone()),
        longest(&death),
        median(recovery.clone()),
        longest(&recovery),
    ));
    let interval = ground.interval.as_secs_f64() * 1e3;
    report.verdicts.extend([
        Verdict::at_most("first failed attempt to unhealthy", longest(&checks), VERDICT_MS, " ms"),
        Verdict::at_most("death to unhealthy", longest(&death), interval + VERDICT_MS, " ms"),
        Verdict::at_most("recovery to healthy", longest(&recovery), interval + 200.0, " ms"),
    ]);
    Ok(())
}

/// In turns without bad pods and with them.
async fn pairs(options: &HealthOptions, report: &mut Report) -> anyhow::Result<()> {
    let (mut lags, mut latencies) = (Vec::new(), Vec::new());
    for pair in 1..=options.pairs {
        let mut found = Vec::new();
        for shares in [PodShares::default(), options.shares] {
            let ground = Ground::open(options, shares).await?;
            let measured = ground.measure(options.seconds, REGISTRATIONS_PER_SECOND).await?;
            progress(&format!(
                "pair {pair}, {} bad pods: lag p99 {:.1} ms, registration p99 {:.1} ms",
                shares.total(),
                measured.seen.lag_p99_ms,
                measured.register_p99_ms
            ));
            found.push(measured);
        }
        let [calm, troubled] = found.as_slice() else { bail!("a pair is two") };
        let part = |calm: f64, troubled: f64| troubled / (calm * 1.2).max(calm + 20.0);
        lags.push(part(calm.seen.lag_p99_ms, troubled.seen.lag_p99_ms));
        latencies.push(part(calm.register_p99_ms, troubled.register_p99_ms));
    }
    for (what, parts) in [("lag", lags), ("registration latency", latencies)] {
        let what = format!("p99 of the others' {what}, as a part of max(1.2 x, + 20 ms)");
        report.verdicts.push(Verdict::at_most(what, median(parts), 1.0, ""));
    }
    Ok(())
}

impl Ground {
    /// Starts pods and manager, registers all, and waits until each had its first turn.
    async fn open(options: &HealthOptions, shares: PodShares) -> anyhow::Result<Self> {
        if shares.total().saturating_add(options.deaths) > options.pods {
            bail!("more bad and dying pods than pods");
        }
        let home = new_directory(None)?;
        let (farm, control) = farm_pods::start(home.path(), 0, options.pods, &shares).await?;
        let interval = format!("{}ms", options.interval.as_millis());
        let settings = vec![
            ("HEALTH_CHECK_INTERVAL", interval),
            ("HEALTH_CHECK_TIMEOUT", "5s".to_owned()),
            ("HEALTH_CHECK_RETRY", "3".to_owned()),
            ("HEALTH_CHECK_FAILURE_LIMIT", "0".to_owned()),
        ];
        let (manager, _) = Manager::start_with(&options.manager, settings).await?;
        let mut connection = Connection::open(control).await?;
        let ports = serde_json::from_slice(&fetch(&mut connection, "/pods/ports").await?)?;
        let HealthOptions { pods, deaths, interval, .. } = *options;
        let ground =
            Self { manager, control, ports, pods, deaths, shares, interval, farm, _home: home };
        ground.fill().await?;
        Ok(ground)
    }

    async fn fill(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut workers = JoinSet::new();
        for worker in 0..WORKERS {
            let (address, pods) = (self.manager.address, self.pods);
            let (ports, shares, well) = (self.ports, self.shares, self.pods - self.deaths);
            workers.spawn(async move {
                let mut connection = Connection::open(address).await?;
                for pod in (worker..pods).step_by(WORKERS as usize) {
                    let service = service(pod, well);
                    let url = ports.url(pod, shares.conduct(pod));
                    register(&mut connection, &service, pod, &url, 0).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = workers.join_next().await {
            done??;
        }
        let rest = self.interval + Duration::from_secs(10);
        progress(&format!(
            "{} pods registered in {:.1?}, waiting for {rest:?}",
            self.pods,
            begun.elapsed()
        ));
        sleep(rest).await;
        Ok(())
    }

    /// Watches for a while, and registers meanwhile if asked to.
    async fn measure(&self, time: Duration, registrations: u64) -> anyhow::Result<Measured> {
        self.post("/pods/mark").await?;
        let (before, farm_before) = (self.usage()?, usage_of(self.farm.pid())?);
        let begun = Instant::now();
        let mut latencies = Vec::new();
        if registrations == 0 {
            sleep(time).await;
        } else {
            self.register_for(time, registrations, &mut latencies).await?;
        }
        let passed = begun.elapsed().as_secs_f64();
        let (after, farm_after) = (self.usage()?, usage_of(self.farm.pid())?);
        let path = format!("/pods/seen?interval_micros={}", self.interval.as_micros());
        let seen: Seen = serde_json::from_slice(&self.ask_pods(&path).await?)?;
        let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64();
        let farm_cpu = farm_after.cpu.saturating_sub(farm_before.cpu).as_secs_f64();
        latencies.sort_by(f64::total_cmp);
        let index = (latencies.len() * 99 / 100).min(latencies.len().saturating_sub(1));
        Ok(Measured {
            cores: cpu / passed,
            farm_cores: farm_cpu / passed,
            cpu_us_per_check: cpu * 1e6 / as_f64(seen.all_checks.max(1)),
            rss_bytes: after.peak_bytes,
            register_p99_ms: latencies.get(index).copied().unwrap_or(0.0),
            seen,
        })
    }

    /// New content for pods of a service of its own, at a steady pace.
    async fn register_for(
        &self,
        time: Duration,
        per_second: u64,
        latencies: &mut Vec<f64>,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + time;
        let mut connection = Connection::open(self.manager.address).await?;
        let mut ticks = interval(Duration::from_micros(1_000_000 / per_second.max(1)));
        let url = self.ports.url(self.pods, Conduct::Well);
        for content in 1.. {
            ticks.tick().await;
            if Instant::now() >= deadline {
                break;
            }
            let begun = Instant::now();
            let pod = self.pods + content % 100;
            register(&mut connection, "busy", pod, &url, content).await?;
            latencies.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        Ok(())
    }

    /// Waits until all dying pods have a status; returns when each was first seen with it.
    async fn await_status(&self, status: &str) -> anyhow::Result<Vec<u64>> {
        let first = self.pods - self.deaths;
        let mut seen: Vec<Option<u64>> = vec![None; self.deaths as usize];
        let mut connection = Connection::open(self.manager.address).await?;
        let deadline = Instant::now() + self.interval * 3 + Duration::from_mins(1);
        let mut ticks = interval(LOOK);
        while seen.contains(&None) {
            if Instant::now() > deadline {
                bail!("some pods did not become {status}");
            }
            ticks.tick().await;
            let body = fetch(&mut connection, &format!("/services/{DYING}")).await?;
            let now = monotonic_micros();
            let body: Value = serde_json::from_slice(&body)?;
            let pods = body.get("pods").and_then(Value::as_array).context("no pods")?;
            for pod in pods.iter().filter(|pod| text(pod, "status") == Some(status)) {
                let number: Option<u32> = text(pod, "pod_name")
                    .and_then(|name| name.strip_prefix("pod-"))
                    .and_then(|number| number.parse().ok());
                let place = number.and_then(|number| seen.get_mut((number - first) as usize));
                if let Some(place) = place {
                    place.get_or_insert(now);
                }
            }
        }
        Ok(seen.into_iter().flatten().collect())
    }

    fn usage(&self) -> anyhow::Result<Usage> {
        self.manager.usage()?.context("the manager's process is not known")
    }

    async fn ask_pods(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        fetch(&mut Connection::open(self.control).await?, path).await
    }

    async fn post(&self, path: &str) -> anyhow::Result<()> {
        let request =
            format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n");
        let mut connection = Connection::open(self.control).await?;
        let status = connection.exchange(request.as_bytes()).await?.status;
        if status != 200 {
            bail!("{path} of the pods answers {status}");
        }
        Ok(())
    }
}

fn service(pod: u32, well: u32) -> String {
    if pod < well { format!("svc-{:05}", pod / PODS_PER_SERVICE) } else { DYING.to_owned() }
}

async fn register(
    connection: &mut Connection,
    service: &str,
    pod: u32,
    url: &str,
    content: u32,
) -> anyhow::Result<()> {
    let body = json!({
        "service_name": service,
        "pod_name": format!("pod-{pod}"),
        "providers": [{"protocol": "http", "ip": "10.0.0.1", "port": 1 + content % 65_535}],
        "health_check_url": url,
        "notification_url": "http://127.0.0.1:9/notify",
        "subscriptions": [],
    })
    .to_string();
    let request = format!(
        "POST /register HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = connection.exchange(request.as_bytes()).await?;
    if answer.status != 200 {
        bail!(
            "a registration is answered {}: {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
    }
    Ok(())
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name)?.as_str()
}

#[expect(clippy::cast_precision_loss, reason = "counts and microseconds, far below 2⁵²")]
fn as_f64(number: u64) -> f64 {
    number as f64
}
