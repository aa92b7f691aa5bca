//! The subscribers: many of them in one process of its own, which record what they are told.
//!
//! Subscriber `i` listens at `/n/i` and behaves as it was told: fast, slow, failing or hanging.
//! What was seen is asked at `/farm/report`. Times are of the system's monotonic clock, which is
//! the same in every process, so that the load generator can subtract its own.
//!
//! Invariant: nothing here knows what the manager should do; it only writes down what it did.

use std::{
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path as UrlPath, Query, State},
    http::StatusCode,
    routing::{get, post},
    serve::ListenerExt as _,
};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::net::TcpListener;

use crate::{
    bare::end_with_parent,
    cli::FarmOptions,
    process::{Server, log_path},
};

/// How long a slow subscriber takes; a little less than the manager waits.
const SLOW: Duration = Duration::from_millis(4_900);
/// How long a hanging one does.
const HANGING: Duration = Duration::from_hours(1);
/// Arrivals kept per subscriber since the last mark.
const ARRIVALS_MAX: usize = 256;
/// Bytes of one notification.
const BODY_MAX: usize = 64 * 1024 * 1024;

/// Microseconds of the system's monotonic clock.
pub(crate) fn monotonic_micros() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000
}

/// How many behave how; those that hang come first, then the failing, then the slow.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Shares {
    pub(crate) hanging: u32,
    pub(crate) failing: u32,
    pub(crate) slow: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behaviour {
    Fast,
    Slow,
    Failing,
    Hanging,
}

impl Shares {
    /// Subscribers that are not simply fast.
    pub(crate) fn total(self) -> u32 {
        self.hanging + self.failing + self.slow
    }

    fn behaviour(self, index: usize) -> Behaviour {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        if index < self.hanging {
            Behaviour::Hanging
        } else if index < self.hanging + self.failing {
            Behaviour::Failing
        } else if index < self.total() {
            Behaviour::Slow
        } else {
            Behaviour::Fast
        }
    }
}

/// The part of a notification that is looked at.
#[derive(Deserialize)]
struct Told<'a> {
    revision: u64,
    #[serde(borrow)]
    pods: &'a RawValue,
}

/// One subscriber.
#[derive(Debug, Default)]
struct Subscriber {
    /// Time and revision of what was received since the last mark.
    arrivals: Vec<(u64, u64)>,
    last_revision: u64,
    /// Times that a revision was lower than one before it.
    went_back: u64,
    requests: u64,
    bytes: u64,
    /// The last list received, as it was written.
    list: Bytes,
}

#[derive(Debug)]
struct Farm {
    subscribers: Vec<Mutex<Subscriber>>,
    shares: Mutex<Shares>,
}

/// What the farm saw.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// When each subscriber first held the asked revision or a later one; none if it does not.
    pub(crate) arrivals: Vec<Option<u64>>,
    /// Requests and bytes since the last mark, of all subscribers.
    pub(crate) requests: u64,
    pub(crate) bytes: u64,
    pub(crate) went_back: u64,
    /// The different lists that fast subscribers hold; one, when all agree.
    pub(crate) lists: Vec<String>,
}

#[derive(Deserialize)]
struct Asked {
    revision: u64,
}

impl Farm {
    fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self, revision: u64) -> Seen {
        let shares = *Self::lock(&self.shares);
        let mut seen =
            Seen { arrivals: Vec::new(), requests: 0, bytes: 0, went_back: 0, lists: Vec::new() };
        for (index, subscriber) in self.subscribers.iter().enumerate() {
            let subscriber = Self::lock(subscriber);
            let first = subscriber.arrivals.iter().find(|(_, told)| *told >= revision);
            seen.arrivals.push(first.map(|(at, _)| *at));
            seen.requests += subscriber.requests;
            seen.bytes += subscriber.bytes;
            seen.went_back += subscriber.went_back;
            if shares.behaviour(index) == Behaviour::Fast {
                let list = String::from_utf8_lossy(&subscriber.list);
                if !seen.lists.iter().any(|other| *other == list) {
                    seen.lists.push(list.into_owned());
                }
            }
        }
        seen
    }
}

/// Starts the farm as a child process.
pub(crate) async fn start(directory: &Path, count: u32) -> anyhow::Result<(Server, SocketAddr)> {
    let program = std::env::current_exe().context("this program cannot find itself")?;
    let mut command = Command::new(program);
    command.args(["farm", "--until-stdin-closes", "--subscribers", &count.to_string()]);
    command.stdin(Stdio::piped());
    let mut server = Server::spawn(command, log_path(directory, "farm", 0))?;
    let address = server.address().await?;
    Ok((server, address))
}

/// The child's side: serves until it is ended.
pub(crate) fn serve(options: &FarmOptions) -> anyhow::Result<()> {
    if options.until_stdin_closes {
        thread::spawn(end_with_parent);
    }
    let subscribers = (0..options.subscribers).map(|_| Mutex::default()).collect();
    let farm = Arc::new(Farm { subscribers, shares: Mutex::default() });
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        writeln!(std::io::stderr(), "{{\"message\":\"listening\",\"address\":\"{address}\"}}")?;
        let listener = listener.tap_io(|stream| {
            let _slower_at_worst = stream.set_nodelay(true);
        });
        axum::serve(listener, router(farm)).await?;
        Ok(())
    })
}

fn router(farm: Arc<Farm>) -> Router {
    Router::new()
        .route("/n/{index}", post(notified))
        .route("/health", get(|| async { StatusCode::OK }))
        .route("/farm/report", get(report))
        .route("/farm/mark", post(mark))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(farm)
}

async fn notified(
    State(farm): State<Arc<Farm>>,
    UrlPath(index): UrlPath<usize>,
    body: Bytes,
) -> StatusCode {
    let at = monotonic_micros();
    let Some(subscriber) = farm.subscribers.get(index) else { return StatusCode::NOT_FOUND };
    let behaviour = Farm::lock(&farm.shares).behaviour(index);
    Farm::lock(subscriber).requests += 1;
    match behaviour {
        Behaviour::Failing => return StatusCode::INTERNAL_SERVER_ERROR,
        Behaviour::Hanging => tokio::time::sleep(HANGING).await,
        Behaviour::Slow => tokio::time::sleep(SLOW).await,
        Behaviour::Fast => {}
    }
    let Ok(told) = serde_json::from_slice::<Told<'_>>(&body) else {
        return StatusCode::BAD_REQUEST;
    };
    let mut subscriber = Farm::lock(subscriber);
    subscriber.bytes += body.len() as u64;
    subscriber.went_back += u64::from(told.revision < subscriber.last_revision);
    subscriber.last_revision = told.revision;
    if subscriber.arrivals.len() < ARRIVALS_MAX {
        subscriber.arrivals.push((at, told.revision));
    }
    subscriber.list = body.slice_ref(told.pods.get().as_bytes());
    StatusCode::OK
}

async fn report(State(farm): State<Arc<Farm>>, Query(asked): Query<Asked>) -> Json<Seen> {
    Json(farm.seen(asked.revision))
}

/// Forgets arrivals and counts, and makes the subscribers behave in these shares from now on.
async fn mark(State(farm): State<Arc<Farm>>, Query(shares): Query<Shares>) -> StatusCode {
    for subscriber in &farm.subscribers {
        let mut subscriber = Farm::lock(subscriber);
        subscriber.arrivals.clear();
        (subscriber.requests, subscriber.bytes) = (0, 0);
    }
    *Farm::lock(&farm.shares) = shares;
    StatusCode::OK
}

#[cfg(test)]
mod tests {
    use super::*;

    fn farm(count: usize) -> Arc<Farm> {
        let subscribers = (0..count).map(|_| Mutex::default()).collect();
        Arc::new(Farm { subscribers, shares: Mutex::default() })
    }

    async fn tell(farm: &Arc<Farm>, index: usize, revision: u64, pods: &str) -> StatusCode {
        let body = format!("{{\"service_name\":\"a\",\"revision\":{revision},\"pods\":{pods}}}");
        notified(State(Arc::clone(farm)), UrlPath(index), body.into()).await
    }

    #[tokio::test]
    async fn revisions_that_go_back_and_lists_that_differ_are_seen() {
        let farm = farm(2);
        for (index, revision, pods) in [(0, 5, "[1]"), (0, 4, "[2]"), (1, 5, "[1]")] {
            assert_eq!(tell(&farm, index, revision, pods).await, StatusCode::OK);
        }
        let seen = farm.seen(5);
        assert_eq!((seen.went_back, seen.requests), (1, 3));
        assert_eq!(seen.lists, ["[2]", "[1]"]);
        assert!(seen.arrivals.iter().all(Option::is_some));
        assert_eq!(farm.seen(6).arrivals, [None, None]);
    }

    #[tokio::test]
    async fn shares_begin_with_those_that_hang() {
        let farm = farm(4);
        let shares = Shares { hanging: 1, failing: 1, slow: 1 };
        mark(State(Arc::clone(&farm)), Query(shares)).await;
        assert_eq!(shares.behaviour(0), Behaviour::Hanging);
        assert_eq!(tell(&farm, 1, 1, "[]").await, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(shares.behaviour(2), Behaviour::Slow);
        assert_eq!(tell(&farm, 3, 1, "[]").await, StatusCode::OK);
        assert_eq!(farm.seen(1).arrivals.iter().flatten().count(), 1);
        assert_eq!(farm.seen(1).requests, 2);
    }

    #[tokio::test]
    async fn what_is_no_notification_is_refused() {
        assert_eq!(tell(&farm(1), 0, 1, "oops").await, StatusCode::BAD_REQUEST);
        assert_eq!(tell(&farm(1), 9, 1, "[]").await, StatusCode::NOT_FOUND);
    }
}
