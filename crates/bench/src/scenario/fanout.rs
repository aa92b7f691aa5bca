//! One change, many subscribers: how soon the last one has it, beside a bare client that posts the
//! same bytes to the same subscribers; what slow, failing and hanging ones do to the others; and a
//! storm of registrations that everybody hears of.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::storm;
use crate::{
    cli::FanoutOptions,
    farm::{self, Seen, Shares, monotonic_micros},
    manager::{Manager, fetch, new_directory},
    report::{Report, Verdict, median, megabytes, progress},
    scenario::new_report,
    wire::Connection,
};

/// The service that everybody subscribes to.
pub(super) const TARGET: &str = "target";
/// Subscribers of one service name: well below the manager's limit.
const PODS_PER_SERVICE: u32 = 1_000;
/// Connections that register, and that the bare client has open at once.
const WORKERS: usize = 64;
/// How long a round may take.
const PATIENCE: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(20);
/// Between two rounds: buckets fill up, and what follows the change is over.
const REST: Duration = Duration::from_millis(1_500);
/// Wanted with 1,000 subscribers, and with 10,000.
const LAST_SECONDS: [f64; 2] = [0.2, 5.0];
const RATE_RATIO: f64 = 0.5;
const GROWTH_MB: f64 = 100.0;

/// The manager and its subscribers.
pub(super) struct Ground {
    pub(super) manager: Manager,
    pub(super) farm: SocketAddr,
    pub(super) subscribers: u32,
    port: u16,
}

/// What one change came to, in milliseconds after it was asked for.
struct Spread {
    p50: f64,
    p99: f64,
    last: f64,
    seen: Seen,
}

pub(super) async fn run(options: &FanoutOptions) -> anyhow::Result<Report> {
    let home = new_directory(None)?;
    let (_farm, farm) = farm::start(home.path(), options.subscribers).await?;
    let (manager, _) = Manager::start(&options.manager).await?;
    let before = manager.usage()?;
    let mut ground = Ground { manager, farm, subscribers: options.subscribers, port: 1_000 };
    let mut report = new_report("fanout", settings(options));
    ground.fill().await?;
    ground.manager.rest("manager").await?;
    changes(&mut ground, options, &mut report).await?;
    if options.shares().total() > 0 {
        pairs(&mut ground, options, &mut report).await?;
    }
    if options.storm {
        storm::run(&mut ground, &mut report).await?;
    }
    if let (Some(before), Some(after)) = (before, ground.manager.usage()?) {
        let growth = megabytes(after.peak_bytes.saturating_sub(before.rss_bytes));
        report.verdicts.push(Verdict::at_most("memory for it", growth, GROWTH_MB, " MB"));
    }
    Ok(report)
}

fn settings(options: &FanoutOptions) -> String {
    format!(
        "{} subscribers, {} rounds, store {}, {:?}",
        options.subscribers,
        options.rounds,
        options.manager.store.name(),
        options.shares(),
    )
}

/// Rounds in turns: the manager tells everyone of a change, then a bare client posts the same.
async fn changes(
    ground: &mut Ground,
    options: &FanoutOptions,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (mut lasts, mut ratios) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        let spread = ground.change(Shares::default()).await?;
        let body = ground.notification().await?;
        let bare = ground.bare(&body).await?;
        progress(&format!(
            "round {round}: p50 {:.1} ms, p99 {:.1} ms, last {:.1} ms; bare client {bare:.1} ms \
             for {} bytes each",
            spread.p50,
            spread.p99,
            spread.last,
            body.len(),
        ));
        lasts.push(spread.last / 1e3);
        ratios.push(bare / spread.last);
        check(&spread.seen, report);
    }
    let [thousand, more] = LAST_SECONDS;
    let bound = if options.subscribers <= 1_000 { thousand } else { more };
    report.verdicts.push(Verdict::at_most(
        "last subscriber told after",
        median(lasts),
        bound,
        " s",
    ));
    let what = "rate beside a bare client";
    report.verdicts.push(Verdict::at_least(what, median(ratios), RATE_RATIO));
    Ok(())
}

/// Pairs of rounds: all are fast, and then a part is not; what do the others feel?
async fn pairs(
    ground: &mut Ground,
    options: &FanoutOptions,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut excess = Vec::new();
    for pair in 1..=5 {
        let calm = ground.change(Shares::default()).await?;
        let troubled = ground.change(options.shares()).await?;
        progress(&format!(
            "pair {pair}: p99 {:.1} ms; of the others among {:?}: {:.1} ms",
            calm.p99,
            options.shares(),
            troubled.p99
        ));
        let bound = (calm.p99 * 1.2).max(calm.p99 + 20.0);
        excess.push(troubled.p99 / bound);
        check(&calm.seen, report);
    }
    let what = "p99 of the others, as a part of max(1.2 x, + 20 ms)";
    report.verdicts.push(Verdict::at_most(what, median(excess), 1.0, ""));
    Ok(())
}

impl Ground {
    /// Registers the target and all subscribers, and waits until each was greeted.
    async fn fill(&mut self) -> anyhow::Result<()> {
        self.touch_target().await?;
        let begun = Instant::now();
        let mut workers = JoinSet::new();
        for worker in 0..WORKERS {
            let (manager, farm, count) = (self.manager.address, self.farm, self.subscribers);
            workers.spawn(async move {
                let mut connection = Connection::open(manager).await?;
                for index in (0..count).skip(worker).step_by(WORKERS) {
                    register(&mut connection, &subscriber(index, farm)).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = workers.join_next().await {
            done??;
        }
        progress(&format!("{} subscribers registered in {:?}", self.subscribers, begun.elapsed()));
        self.converge(0, 0).await?;
        Ok(())
    }

    /// Changes the target's provider; returns the revision.
    async fn touch_target(&mut self) -> anyhow::Result<u64> {
        self.port = self.port.checked_add(1).context("too many rounds")?;
        let pod = json!({
            "service_name": TARGET,
            "pod_name": "pod-1",
            "providers": [{"protocol": "http", "ip": "10.0.0.1", "port": self.port}],
            "health_check_url": format!("http://{}/health", self.farm),
            "notification_url": format!("http://{}/n/none", self.farm),
            "subscriptions": [],
        });
        let mut connection = Connection::open(self.manager.address).await?;
        let answer = register(&mut connection, &pod).await?;
        answer.get("revision").and_then(Value::as_u64).context("the answer has no revision")
    }

    /// Makes one change, and waits until all that can hear of it did.
    async fn change(&mut self, shares: Shares) -> anyhow::Result<Spread> {
        self.settle(shares).await?;
        let begun = monotonic_micros();
        let revision = self.touch_target().await?;
        let seen = self.converge(revision, shares.total()).await?;
        let fast = seen.arrivals.iter().skip(shares.total() as usize).flatten();
        let mut waits: Vec<u64> = fast.map(|at| at.saturating_sub(begun)).collect();
        waits.sort_unstable();
        #[expect(clippy::cast_precision_loss, reason = "microseconds of minutes")]
        let at = |part: usize| {
            let index = (waits.len() * part / 1_000).min(waits.len().saturating_sub(1));
            waits.get(index).copied().unwrap_or(0) as f64 / 1e3
        };
        Ok(Spread { p50: at(500), p99: at(990), last: at(1_000), seen })
    }

    /// Waits until all hold the same, also those that failed before, and nothing is under way;
    /// from then on the subscribers behave in these shares.
    pub(super) async fn settle(&self, shares: Shares) -> anyhow::Result<()> {
        self.post(&mark_path(Shares::default())).await?;
        sleep(REST).await;
        self.agree().await?;
        self.manager.rest("manager").await?;
        self.post(&mark_path(shares)).await
    }

    /// Waits until all but the first `excused` subscribers hold the revision.
    pub(super) async fn converge(&self, revision: u64, excused: u32) -> anyhow::Result<Seen> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.seen(revision).await?;
            let behind = seen.arrivals.iter().skip(excused as usize).filter(|at| at.is_none());
            let behind = behind.count();
            if behind == 0 {
                return Ok(seen);
            }
            if Instant::now() > deadline {
                bail!("{behind} subscribers were not told of revision {revision}");
            }
            sleep(POLL).await;
        }
    }

    /// Waits until all subscribers hold the same list.
    async fn agree(&self) -> anyhow::Result<Seen> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.seen(0).await?;
            if seen.lists.len() == 1 {
                return Ok(seen);
            }
            if Instant::now() > deadline {
                bail!("subscribers hold {} different lists", seen.lists.len());
            }
            sleep(POLL).await;
        }
    }

    async fn seen(&self, revision: u64) -> anyhow::Result<Seen> {
        let mut connection = Connection::open(self.farm).await?;
        let body = fetch(&mut connection, &format!("/farm/report?revision={revision}")).await?;
        Ok(serde_json::from_slice(&body)?)
    }

    /// A body like the one that was just sent; what is held must be what the manager says.
    pub(super) async fn notification(&self) -> anyhow::Result<Vec<u8>> {
        let seen = self.agree().await?;
        let mut connection = Connection::open(self.manager.address).await?;
        let state = fetch(&mut connection, &format!("/services/{TARGET}")).await?;
        let state: Value = serde_json::from_slice(&state)?;
        let list = seen.lists.first().context("nobody holds a list")?;
        let held: Value = serde_json::from_str(list)?;
        let pods = state.get("pods").context("no pods")?;
        if shown(&held) != shown(pods) {
            bail!("subscribers hold {held}, the manager says {pods}");
        }
        let (revision, registry_id) = (state.get("revision"), state.get("registry_id"));
        Ok(serde_json::to_vec(&json!({
            "service_name": TARGET, "event_type": "register", "revision": revision,
            "timestamp": "2026-01-02T03:04:05.678901Z", "registry_id": registry_id, "pods": held,
        }))?)
    }

    /// Posts the same bytes to every subscriber, each over a connection of its own, as somebody
    /// who knows nothing but addresses would; returns milliseconds.
    async fn bare(&self, body: &[u8]) -> anyhow::Result<f64> {
        let begun = Instant::now();
        let mut workers = JoinSet::new();
        for worker in 0..WORKERS {
            let (farm, count, body) = (self.farm, self.subscribers, body.to_vec());
            workers.spawn(async move {
                for index in (0..count).skip(worker).step_by(WORKERS) {
                    let mut connection = Connection::open(farm).await?;
                    let answer = post(&mut connection, &format!("/n/{index}"), &body).await?;
                    if answer.0 != 200 {
                        bail!("subscriber {index} answers {}", answer.0);
                    }
                }
                Ok(())
            });
        }
        while let Some(done) = workers.join_next().await {
            done??;
        }
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    }

    async fn post(&self, path: &str) -> anyhow::Result<()> {
        let mut connection = Connection::open(self.farm).await?;
        match post(&mut connection, path, b"").await? {
            (200, _) => Ok(()),
            (status, _) => bail!("POST {path} answers {status}"),
        }
    }
}

/// What stands wrong after a round.
fn check(seen: &Seen, report: &mut Report) {
    if seen.went_back > 0 {
        report.faults.push(format!("{} times a revision went back", seen.went_back));
    }
}

/// Name, status and endpoints of each pod.
fn shown(pods: &Value) -> Vec<[Option<&Value>; 3]> {
    let pods = pods.as_array().map_or(&[][..], Vec::as_slice);
    let fields = ["pod_name", "status", "providers"];
    pods.iter().map(|pod| fields.map(|field| pod.get(field))).collect()
}

fn mark_path(shares: Shares) -> String {
    let Shares { hanging, failing, slow } = shares;
    format!("/farm/mark?hanging={hanging}&failing={failing}&slow={slow}")
}

fn subscriber(index: u32, farm: SocketAddr) -> Value {
    json!({
        "service_name": format!("subscriber-{}", index / PODS_PER_SERVICE),
        "pod_name": format!("pod-{index}"),
        "providers": [{"protocol": "http", "ip": "10.0.0.2", "port": 80}],
        "health_check_url": format!("http://{farm}/health"),
        "notification_url": format!("http://{farm}/n/{index}"),
        "subscriptions": [TARGET],
    })
}

pub(super) async fn register(connection: &mut Connection, pod: &Value) -> anyhow::Result<Value> {
    let (status, body) = post(connection, "/register", pod.to_string().as_bytes()).await?;
    if status != 200 {
        bail!("POST /register answers {status}: {}", String::from_utf8_lossy(&body));
    }
    Ok(serde_json::from_slice(&body)?)
}

async fn post(
    connection: &mut Connection,
    path: &str,
    body: &[u8],
) -> anyhow::Result<(u16, Vec<u8>)> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    let answer = timeout(PATIENCE, connection.exchange(&request)).await??;
    Ok((answer.status, answer.body.into_owned()))
}
