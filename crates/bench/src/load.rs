//! Drives N connections in a closed loop and counts what comes back.
//!
//! Each connection is one task: write, wait for the answer, count, again. What is asked comes from
//! `workload`, bytes from `wire`. A round has a warm-up and a window; only answers that arrive
//! inside the window count, and the server's CPU time is read at its two edges.
//!
//! Invariants: every request ends up in exactly one of succeeded, another status, broken or
//! unanswered; a peer that stops answering ends the round after [`PATIENCE`].

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use serde::Serialize;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};

use crate::{
    histogram::Histogram,
    process::{Usage, usage_of},
    report::progress,
    wire::{Connection, WireError},
    workload::Requests,
};

/// With no answer on any connection for this long, the rest counts as unanswered.
const PATIENCE: Duration = Duration::from_secs(30);
/// A connection that breaks so often in a row is given up.
const BREAKS_IN_A_ROW: u32 = 3;
/// This much of a first unexpected answer is shown.
const SAMPLE_LENGTH: usize = 300;

/// What happened to the requests of one pass.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Counts {
    /// Answered 200.
    pub(crate) succeeded: u64,
    /// Answers other than 200, by status, in and outside the window.
    pub(crate) other_statuses: BTreeMap<u16, u64>,
    /// Requests whose connection broke.
    pub(crate) broken: u64,
    /// Connections whose last request never got an answer.
    pub(crate) unanswered: u64,
    /// Mean length of the bodies of the 200s.
    pub(crate) mean_body_bytes: u64,
    /// The first unexpected answer or error, shortened.
    pub(crate) first_fault: Option<String>,
}

impl Counts {
    pub(crate) fn faults(&self) -> u64 {
        self.other_statuses.values().sum::<u64>() + self.broken + self.unanswered
    }
}

/// One measured round against one contender.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Round {
    pub(crate) requests_per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    /// Of the server, inside the window; `None` when its process is not known.
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) cpu_us_per_request: Option<f64>,
    pub(crate) counts: Counts,
}

/// How long a round warms up and is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// Answers count from `opens` to `closes`; no request begins after that.
#[derive(Clone, Copy)]
struct Window {
    opens: Instant,
    closes: Option<Instant>,
}

#[derive(Default)]
struct Unexpected {
    statuses: BTreeMap<u16, u64>,
    broken: u64,
    first: Option<String>,
}

/// Written by all connections of a pass.
struct Tally {
    /// All exchanges that ended, for progress and the stall watch.
    finished: AtomicU64,
    succeeded: AtomicU64,
    body_bytes: AtomicU64,
    latency: Histogram,
    unexpected: Mutex<Unexpected>,
}

impl Tally {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            finished: AtomicU64::new(0),
            succeeded: AtomicU64::new(0),
            body_bytes: AtomicU64::new(0),
            latency: Histogram::new(),
            unexpected: Mutex::new(Unexpected::default()),
        })
    }

    fn count_success(&self, latency: Duration, body: usize) {
        self.succeeded.fetch_add(1, Ordering::Relaxed);
        self.body_bytes.fetch_add(body as u64, Ordering::Relaxed);
        self.latency.record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    fn count_status(&self, status: u16, body: &[u8]) {
        let mut unexpected = self.unexpected.lock().unwrap_or_else(PoisonError::into_inner);
        *unexpected.statuses.entry(status).or_default() += 1;
        unexpected.first.get_or_insert_with(|| {
            let shown = body.get(..SAMPLE_LENGTH.min(body.len())).unwrap_or_default();
            format!("status {status}: {}", String::from_utf8_lossy(shown))
        });
    }

    fn count_break(&self, error: &WireError) {
        let mut unexpected = self.unexpected.lock().unwrap_or_else(PoisonError::into_inner);
        unexpected.broken += 1;
        unexpected.first.get_or_insert_with(|| match error {
            WireError::Io(source) => format!("{error}: {source}"),
            WireError::Truncated | WireError::Malformed(_) | WireError::Surplus => {
                error.to_string()
            }
        });
    }

    fn counts(&self, unanswered: u64) -> Counts {
        let unexpected = self.unexpected.lock().unwrap_or_else(PoisonError::into_inner);
        let succeeded = self.succeeded.load(Ordering::Relaxed);
        Counts {
            succeeded,
            other_statuses: unexpected.statuses.clone(),
            broken: unexpected.broken,
            unanswered,
            mean_body_bytes: self.body_bytes.load(Ordering::Relaxed) / succeeded.max(1),
            first_fault: unexpected.first.clone(),
        }
    }
}

/// Runs endless sources for one warm-up and one window.
pub(crate) async fn measure<S: Requests>(
    address: SocketAddr,
    sources: Vec<S>,
    timing: Timing,
    pid: Option<u32>,
    label: &str,
) -> anyhow::Result<Round> {
    let connections = open_all(address, sources.len()).await?;
    let opens = Instant::now() + timing.warm_up;
    let closes = opens + timing.measured;
    let tally = Tally::new();
    let window = Window { opens, closes: Some(closes) };
    let mut tasks = start(address, connections, sources, window, &tally);
    let line = |finished: u64| format!("{label}: {finished} requests");
    let (unanswered, used) =
        tokio::join!(supervise(&mut tasks, &tally, line), cpu_between(pid, opens, closes));
    Ok(round(&tally, unanswered, timing.measured, used?))
}

/// Runs finite sources to their end; `total` is for the progress line only.
pub(crate) async fn exhaust<S: Requests>(
    address: SocketAddr,
    sources: Vec<S>,
    total: u32,
    label: &str,
) -> anyhow::Result<Counts> {
    let connections = open_all(address, sources.len()).await?;
    let tally = Tally::new();
    let began = Instant::now();
    let window = Window { opens: began, closes: None };
    let mut tasks = start(address, connections, sources, window, &tally);
    let line = |finished: u64| {
        let rate = ratio(finished, 1) / began.elapsed().as_secs_f64();
        format!("{label}: {finished} of {total} ({rate:.0}/s)")
    };
    let unanswered = supervise(&mut tasks, &tally, line).await;
    Ok(tally.counts(unanswered))
}

async fn open_all(address: SocketAddr, count: usize) -> anyhow::Result<Vec<Connection>> {
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        let connection = timeout(PATIENCE, Connection::open(address)).await;
        connections.push(
            connection
                .with_context(|| format!("{address} does not take connections"))?
                .with_context(|| format!("cannot connect to {address}"))?,
        );
    }
    Ok(connections)
}

fn start<S: Requests>(
    address: SocketAddr,
    connections: Vec<Connection>,
    sources: Vec<S>,
    window: Window,
    tally: &Arc<Tally>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for (connection, source) in connections.into_iter().zip(sources) {
        tasks.spawn(drive(address, connection, source, window, Arc::clone(tally)));
    }
    tasks
}

async fn drive<S: Requests>(
    address: SocketAddr,
    mut connection: Connection,
    mut source: S,
    window: Window,
    tally: Arc<Tally>,
) {
    let mut request = Vec::with_capacity(1024);
    let mut breaks = 0;
    loop {
        let sent = Instant::now();
        if window.closes.is_some_and(|closes| sent >= closes) || !source.write_next(&mut request) {
            return;
        }
        match connection.exchange(&request).await {
            Ok(answer) if answer.status == 200 => {
                breaks = 0;
                let now = Instant::now();
                if now >= window.opens && window.closes.is_none_or(|closes| now <= closes) {
                    tally.count_success(now - sent, answer.body.len());
                }
            }
            Ok(answer) => tally.count_status(answer.status, &answer.body),
            Err(error) => {
                tally.count_break(&error);
                breaks += 1;
                match Connection::open(address).await {
                    Ok(fresh) if breaks < BREAKS_IN_A_ROW => connection = fresh,
                    Ok(_) | Err(_) => return,
                }
            }
        }
        tally.finished.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits for all connections, tells how far they are every second, and gives up on those that wait
/// when nothing has been answered for `PATIENCE`. Returns how many were given up.
async fn supervise(tasks: &mut JoinSet<()>, tally: &Tally, line: impl Fn(u64) -> String) -> u64 {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks.tick().await;
    let mut last = (Instant::now(), 0);
    loop {
        tokio::select! {
            ended = tasks.join_next() => if ended.is_none() { return 0 },
            _ = ticks.tick() => {
                let finished = tally.finished.load(Ordering::Relaxed);
                progress(&line(finished));
                if finished != last.1 {
                    last = (Instant::now(), finished);
                } else if last.0.elapsed() > PATIENCE {
                    let waiting = tasks.len() as u64;
                    tasks.shutdown().await;
                    return waiting;
                }
            }
        }
    }
}

async fn cpu_between(
    pid: Option<u32>,
    opens: Instant,
    closes: Instant,
) -> anyhow::Result<Option<Duration>> {
    let Some(pid) = pid else { return Ok(None) };
    sleep_until(opens).await;
    let Usage { cpu: before, .. } = usage_of(pid)?;
    sleep_until(closes).await;
    let Usage { cpu: after, .. } = usage_of(pid)?;
    Ok(Some(after.saturating_sub(before)))
}

fn round(tally: &Tally, unanswered: u64, measured: Duration, cpu: Option<Duration>) -> Round {
    let counts = tally.counts(unanswered);
    let millis = |per_mille| ratio(tally.latency.at_per_mille(per_mille), 1_000_000);
    let cpu_seconds = cpu.map(|cpu| cpu.as_secs_f64());
    Round {
        requests_per_second: ratio(counts.succeeded, 1) / measured.as_secs_f64(),
        p50_ms: millis(500),
        p99_ms: millis(990),
        p999_ms: millis(999),
        cpu_seconds,
        cpu_us_per_request: cpu_seconds
            .filter(|_| counts.succeeded > 0)
            .map(|cpu| cpu * 1e6 / ratio(counts.succeeded, 1)),
        counts,
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2⁵²")]
fn ratio(count: u64, of: u64) -> f64 {
    count as f64 / of as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{ChangedField, Contents, Fleet, Pass, Registrations};
    use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
    use serde_json::Value;
    use std::collections::{HashMap, HashSet};
    use tokio::net::TcpListener;

    /// Remembers what is stored and in flight, and notes every breach.
    #[derive(Default)]
    struct Witness {
        in_flight: HashSet<String>,
        stored: HashMap<String, String>,
        breaches: Vec<String>,
        seen: u64,
    }

    type Shared = Arc<Mutex<Witness>>;

    async fn accept(
        State(witness): State<Shared>,
        Json(body): Json<Value>,
    ) -> (StatusCode, String) {
        let pod = body["pod_name"].to_string();
        let is_refused = {
            let mut witness = witness.lock().unwrap();
            witness.seen += 1;
            if !witness.in_flight.insert(pod.clone()) {
                witness.breaches.push(format!("{pod} is in flight twice"));
            }
            let content = body.to_string();
            if witness.stored.insert(pod.clone(), content.clone()).as_ref() == Some(&content) {
                witness.breaches.push(format!("{pod} is sent as it is stored"));
            }
            witness.seen.is_multiple_of(100)
        };
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
        witness.lock().unwrap().in_flight.remove(&pod);
        if is_refused {
            return (StatusCode::SERVICE_UNAVAILABLE, "busy".to_owned());
        }
        (StatusCode::OK, "done".to_owned())
    }

    async fn serve(router: Router) -> (SocketAddr, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        (address, server)
    }

    fn sources(pods: u32, connections: u32, pass: Pass) -> Vec<Registrations> {
        let fleet = Fleet {
            pods,
            pods_per_service: 10,
            subscriptions: 0,
            pod_base_url: "http://127.0.0.1:9".to_owned(),
            changed: ChangedField::Provider,
        };
        Registrations::deal(&Arc::new(fleet), &Contents::new(), connections, pass)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn under_load_no_pod_is_in_flight_twice_and_no_stored_content_is_sent_again() {
        let witness = Shared::default();
        let router = Router::new().route("/register", post(accept)).with_state(witness.clone());
        let (address, _server) = serve(router).await;
        let timing =
            Timing { warm_up: Duration::from_millis(20), measured: Duration::from_millis(300) };
        let pid = Some(std::process::id());
        let round =
            measure(address, sources(40, 16, Pass::Endless), timing, pid, "test").await.unwrap();
        let witness = witness.lock().unwrap();
        assert_eq!(witness.breaches, Vec::<String>::new());
        assert_eq!(witness.stored.len(), 40);
        assert!(witness.in_flight.is_empty(), "requests in flight are waited for");
        assert_eq!(round.counts.other_statuses, BTreeMap::from([(503, witness.seen / 100)]));
        assert_eq!(round.counts.first_fault.as_deref(), Some("status 503: busy"));
        assert!(round.counts.succeeded > 0 && round.counts.succeeded < witness.seen);
        assert_eq!(round.counts.mean_body_bytes, 4);
        assert!(round.p50_ms > 0.0 && round.p50_ms <= round.p999_ms);
    }

    #[tokio::test]
    async fn a_filling_pass_ends_and_counts_every_pod() {
        let witness = Shared::default();
        let router = Router::new().route("/register", post(accept)).with_state(witness.clone());
        let (address, _server) = serve(router).await;
        let counts = exhaust(address, sources(95, 8, Pass::Once), 95, "test").await.unwrap();
        assert_eq!((counts.succeeded, counts.faults()), (95, 0));
        assert_eq!(witness.lock().unwrap().stored.len(), 95);
    }

    #[tokio::test]
    async fn a_server_that_hangs_up_is_counted_and_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = JoinSet::new();
        server.spawn(async move {
            loop {
                drop(listener.accept().await.unwrap());
            }
        });
        let counts = exhaust(address, sources(10, 2, Pass::Once), 10, "test").await.unwrap();
        assert_eq!(counts.succeeded, 0);
        assert_eq!(counts.broken, 2 * u64::from(BREAKS_IN_A_ROW));
        assert!(counts.first_fault.is_some());
    }
}
