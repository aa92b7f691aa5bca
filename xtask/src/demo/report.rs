//! What is shown: a line a second while it runs, and the verdict at the end.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::fleet::{Fleet, Places, ask, is_active, registry};
use super::script::pause;
use super::traffic::{Lane, Shared, Traffic, Way};

/// Lines between two headings.
const HEADING_EVERY: u64 = 20;
/// Of so many requests one may fail.
const FAILED_ONE_IN: u64 = 1_000;

/// Something that should hold, and what was measured.
pub(crate) struct Check {
    name: String,
    pub(crate) holds: bool,
    measured: String,
}

impl Check {
    pub(crate) fn new(name: &str, holds: bool, measured: String) -> Self {
        Self { name: name.to_owned(), holds, measured }
    }
}

/// The live table.
pub(crate) struct Board {
    began: Instant,
    stop: Arc<AtomicBool>,
    ticker: Mutex<Option<JoinHandle<()>>>,
}

impl Board {
    pub(crate) fn start(fleet: &Fleet, traffic: &Traffic) -> Self {
        let (began, stop) = (Instant::now(), Arc::<AtomicBool>::default());
        let mut ticker = Ticker {
            began,
            managers: fleet.addresses.clone(),
            places: Arc::clone(&fleet.places),
            shared: Arc::clone(&traffic.shared),
            before: [0; 2],
        };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut second = 0;
            while !stopped.load(Ordering::Relaxed) {
                if second % HEADING_EVERY == 0 {
                    heading();
                }
                second += 1;
                let next = began + Duration::from_secs(second);
                pause(next.saturating_duration_since(Instant::now()));
                ticker.line();
            }
        });
        Self { began, stop, ticker: Mutex::new(Some(thread)) }
    }

    /// A line about what was done.
    pub(crate) fn say(&self, what: &str) {
        eprintln!("{:>5.1}s  >> {what}", self.began.elapsed().as_secs_f64());
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        let ticker = self.ticker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(ticker) = ticker {
            // A table that broke is no reason to fail.
            let _ = ticker.join();
        }
    }
}

fn heading() {
    eprintln!(
        "\n  time | HTTP/s fail  max | S13/s fail  max | failovers | registry (+ well, - unhealthy, ? unknown, s stands by, x away)"
    );
}

struct Ticker {
    began: Instant,
    managers: Vec<std::net::SocketAddr>,
    places: Places,
    shared: Arc<Shared>,
    /// Answered until the last line, by way.
    before: [u64; 2],
}

impl Ticker {
    fn line(&mut self) {
        let mut text = format!("{:>5.1}s |", self.began.elapsed().as_secs_f64());
        for (way, before) in Way::ALL.into_iter().zip(&mut self.before) {
            let lane = self.shared.lane(way);
            let answered = lane.answered.load(Ordering::Relaxed);
            let failed = lane.failed.load(Ordering::Relaxed);
            let slowest = lane.slowest_ms.swap(0, Ordering::Relaxed);
            let rate = answered - std::mem::replace(before, answered);
            // Writing to a text cannot fail.
            let _ = write!(text, " {rate:>5} {failed:>4} {slowest:>4}ms|");
        }
        let failovers = self.failovers();
        eprintln!("{text} {failovers:>9} | {}", self.registry());
    }

    /// Requests that the gateways asked again elsewhere, since they started.
    fn failovers(&self) -> u64 {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let gateways = places.iter().filter(|(name, _)| name.contains("-gw-"));
        let stats = gateways.filter_map(|(_, address)| ask(*address, "/stats").ok());
        stats.map(|stats| repeated(&stats)).sum()
    }

    fn registry(&self) -> String {
        let mut text = "manager".to_owned();
        for (number, manager) in (1..).zip(&self.managers) {
            let sign = match is_active(*manager) {
                Some(true) => '+',
                Some(false) => 's',
                None => 'x',
            };
            let _ = write!(text, " {number}{sign}");
        }
        text.push_str("  ");
        for service in ["http-gw", "diam-gw", "eir"] {
            let Ok(pods) = registry(&self.managers, service) else {
                return text;
            };
            text.push_str(service);
            for (pod, status) in pods {
                let number = pod.rsplit('-').next().unwrap_or_default();
                let sign = match status.as_str() {
                    "healthy" => '+',
                    "unhealthy" => '-',
                    _ => '?',
                };
                let _ = write!(text, " {number}{sign}");
            }
            text.push_str("  ");
        }
        text
    }
}

/// `repeated` at the top of the object or one below.
fn repeated(stats: &Value) -> u64 {
    let here = stats.get("repeated").and_then(Value::as_u64).unwrap_or_default();
    let below = stats.as_object().into_iter().flat_map(|object| object.values());
    here + below.filter_map(|value| value.get("repeated")?.as_u64()).sum::<u64>()
}

impl Traffic {
    /// Requests answered so far, both ways.
    pub(crate) fn answered(&self) -> u64 {
        let answered = |way| self.shared.lane(way).answered.load(Ordering::Relaxed);
        Way::ALL.into_iter().map(answered).sum()
    }
}

/// At most one request in a thousand failed, either way.
pub(crate) fn judge_counts(shared: &Shared) -> Vec<Check> {
    let judge = |way: Way| {
        let lane = shared.lane(way);
        let (answered, failed) = counts(lane);
        let total = answered + failed;
        let first = lane.first_failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let first = first.map(|failure| format!("; the first: {failure}")).unwrap_or_default();
        Check::new(
            &format!("at most 0.1 % of the requests over {} fail", way.name()),
            total > 0 && failed * FAILED_ONE_IN <= total,
            format!("{failed} of {total}{first}"),
        )
    };
    Way::ALL.into_iter().map(judge).collect()
}

/// Everything that was asked to end at the end did so.
pub(crate) fn judge_ends(faults: &[String]) -> Check {
    let measured = if faults.is_empty() { "all".to_owned() } else { faults.join("; ") };
    Check::new("every process unregisters and ends well", faults.is_empty(), measured)
}

/// The verdict, on standard error like everything else a person reads here.
pub(crate) fn print_verdict(checks: &[Check], shared: &Shared) {
    let total: u64 = Way::ALL.into_iter().map(|way| counts(shared.lane(way)).0).sum();
    eprintln!("\nverdict after {total} answered requests:");
    for check in checks {
        let word = if check.holds { "holds " } else { "FAILED" };
        eprintln!("  {word}  {}: {}", check.name, check.measured);
    }
}

fn counts(lane: &Lane) -> (u64, u64) {
    (lane.answered.load(Ordering::Relaxed), lane.failed.load(Ordering::Relaxed))
}
