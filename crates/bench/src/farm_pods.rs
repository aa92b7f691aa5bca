//! The pods: very many of them in one process of its own, which write down when they were asked.
//!
//! Pod `i` has an address of its own in 127.0.0.0/8 and the path `/p/i`. One listener takes the
//! connections to all addresses. It speaks just enough HTTP to be checked, because it shares the
//! processors with what is measured. Bad pods come first: those that swallow connections, refuse
//! them, hang, are slow, flap; all others answer 200 at once.
//!
//! How late a check is, is seen from here: a pod's turns are one interval apart, so a check is
//! late by as much as it comes after the turn that its earliest check shows.
//!
//! Invariant: nothing here knows what the manager should do; it only writes down what it did.

use std::{
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Context as _;
use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    routing::{get, post},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    bare::end_with_parent,
    cli::{PodShares, PodsOptions},
    farm::monotonic_micros,
    process::{Server, log_path},
};

const SLOW: Duration = Duration::from_secs(2);
const HANGING: Duration = Duration::from_hours(1);
/// A flapping pod is well and unwell in turns of this many microseconds.
const FLAP_MICROS: u64 = 40_000_000;
/// A client that sends nothing is given up.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// Arrivals kept per pod since the last mark.
const ARRIVALS_MAX: usize = 1_024;
/// After a connection that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
/// The most that a system lets wait for one listener; so there are several: in reality each pod
/// has its own.
const BACKLOG: i32 = 4_096;
const LISTENERS: usize = 8;
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
const AWAY: &[u8] = b"HTTP/1.1 503 Away\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// What a pod does when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conduct {
    BlackHole,
    Refusing,
    Hanging,
    Slow,
    Flapping,
    Well,
}

impl PodShares {
    /// Pods that are not simply well.
    pub(crate) fn total(&self) -> u32 {
        self.black_hole + self.refusing + self.hanging + self.slow + self.flapping
    }

    pub(crate) fn conduct(&self, pod: u32) -> Conduct {
        let mut end = 0;
        for (count, conduct) in [
            (self.black_hole, Conduct::BlackHole),
            (self.refusing, Conduct::Refusing),
            (self.hanging, Conduct::Hanging),
            (self.slow, Conduct::Slow),
            (self.flapping, Conduct::Flapping),
        ] {
            end += count;
            if pod < end {
                return conduct;
            }
        }
        Conduct::Well
    }
}

/// Where pods are reached, by conduct.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Ports {
    pub(crate) answering: [u16; LISTENERS],
    pub(crate) refusing: u16,
    pub(crate) black_hole: u16,
}

impl Ports {
    /// The health-check URL of a pod.
    pub(crate) fn url(self, pod: u32, conduct: Conduct) -> String {
        let port = match conduct {
            Conduct::BlackHole => self.black_hole,
            Conduct::Refusing => self.refusing,
            Conduct::Hanging | Conduct::Slow | Conduct::Flapping | Conduct::Well => {
                port_of_pod(&self.answering, pod)
            }
        };
        format!("http://{}:{port}/p/{pod}", address_of(pod))
    }
}

/// Pods share the listeners.
pub(crate) fn port_of_pod(ports: &[u16], pod: u32) -> u16 {
    ports.get(pod as usize % ports.len().max(1)).copied().unwrap_or(0)
}

/// Pods have different addresses, as in a network; a million of them fit in front of 127.17.0.0.
pub(crate) fn address_of(pod: u32) -> Ipv4Addr {
    let [_, a, b, c] = (pod % 1_000_000).to_be_bytes();
    Ipv4Addr::new(127, a + 1, b, c)
}

struct Pods {
    shares: PodShares,
    ports: Ports,
    /// Monotonic microseconds of each check since the last mark, by pod.
    arrivals: Vec<Mutex<Vec<u64>>>,
    /// Pods from the first number up to the second are dead.
    dead: [AtomicU32; 2],
}

/// What the pods that are well saw since the last mark.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) checks: u64,
    /// Checks of all pods that can see them, the bad ones too.
    pub(crate) all_checks: u64,
    pub(crate) lag_p50_ms: f64,
    pub(crate) lag_p99_ms: f64,
    pub(crate) lag_max_ms: f64,
    /// Turns that passed without a check, between two that had one.
    pub(crate) skipped: u64,
}

#[derive(Deserialize)]
struct Range {
    first: u32,
    end: u32,
}

#[derive(Deserialize)]
struct Rhythm {
    interval_micros: u64,
}

/// Starts the pods as a child process; returns where they are controlled.
pub(crate) async fn start(
    directory: &Path,
    number: usize,
    pods: u32,
    shares: &PodShares,
) -> anyhow::Result<(Server, SocketAddr)> {
    let program = std::env::current_exe().context("this program cannot find itself")?;
    let mut command = Command::new(program);
    command.args(["pods", "--until-stdin-closes", "--pods", &pods.to_string()]);
    for (name, count) in [
        ("--black-hole", shares.black_hole),
        ("--refusing", shares.refusing),
        ("--hanging", shares.hanging),
        ("--slow", shares.slow),
        ("--flapping", shares.flapping),
    ] {
        command.args([name, &count.to_string()]);
    }
    command.stdin(Stdio::piped());
    let mut server = Server::spawn(command, log_path(directory, "pods", number))?;
    let address = server.address().await?;
    Ok((server, address))
}

/// The child's side: serves until it is ended.
pub(crate) fn serve(options: &PodsOptions) -> anyhow::Result<()> {
    if options.until_stdin_closes {
        thread::spawn(end_with_parent);
    }
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(options))
}

/// One descriptor per check under way, and thousands may be.
pub(crate) fn raise_file_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let _stays = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

async fn run(options: &PodsOptions) -> anyhow::Result<()> {
    let (mut answering, mut listeners) = ([0; LISTENERS], Vec::new());
    for port in &mut answering {
        let socket = wildcard(Some(BACKLOG))?;
        socket.set_nonblocking(true)?;
        *port = port_of(&socket)?;
        listeners.push(TcpListener::from_std(socket.into())?);
    }
    let refusing = wildcard(None)?;
    let (black_hole, _queue) = black_hole().await?;
    let ports =
        Ports { answering, refusing: port_of(&refusing)?, black_hole: port_of(&black_hole)? };
    let pods = Arc::new(Pods {
        shares: options.shares,
        ports,
        arrivals: (0..options.pods).map(|_| Mutex::default()).collect(),
        dead: [AtomicU32::new(0), AtomicU32::new(0)],
    });
    let control = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = control.local_addr()?;
    writeln!(std::io::stderr(), "{{\"message\":\"listening\",\"address\":\"{address}\"}}")?;
    let mut acceptors = JoinSet::new();
    for listener in listeners {
        acceptors.spawn(accept(listener, Arc::clone(&pods)));
    }
    axum::serve(control, router(pods)).await?;
    Ok(())
}

/// A socket on every address and some port, that listens with this backlog or not at all.
fn wildcard(backlog: Option<i32>) -> anyhow::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into())?;
    if let Some(backlog) = backlog {
        socket.listen(backlog)?;
    }
    Ok(socket)
}

/// A listener whose queue is full: what else comes gets no answer at all.
async fn black_hole() -> anyhow::Result<(Socket, Vec<TcpStream>)> {
    let socket = wildcard(Some(0))?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port_of(&socket)?));
    let mut queue = Vec::new();
    while let Ok(connected) = timeout(Duration::from_millis(300), TcpStream::connect(address)).await
    {
        queue.push(connected?);
    }
    Ok((socket, queue))
}

fn port_of(socket: &Socket) -> anyhow::Result<u16> {
    let address = socket.local_addr()?.as_socket().context("a socket without address")?;
    Ok(address.port())
}

async fn accept(listener: TcpListener, pods: Arc<Pods>) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(answer(stream, Arc::clone(&pods)));
            }
            // Out of descriptors, or the client is gone: the others go on.
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

/// One check. A client that goes away is no error.
async fn answer(mut stream: TcpStream, pods: Arc<Pods>) {
    let mut buffer = [0_u8; 1_024];
    let Ok(Ok(length)) = timeout(REQUEST_LIMIT, stream.read(&mut buffer)).await else { return };
    let at = monotonic_micros();
    let Some(pod) = buffer.get(..length).and_then(pod_of) else { return };
    pods.note(pod, at);
    if pods.is_dead(pod) {
        return;
    }
    let answer = match pods.shares.conduct(pod) {
        Conduct::Hanging => return sleep(HANGING).await,
        Conduct::Slow => {
            sleep(SLOW).await;
            OK
        }
        Conduct::Flapping if (at / FLAP_MICROS) % 2 == 1 => AWAY,
        Conduct::BlackHole | Conduct::Refusing | Conduct::Flapping | Conduct::Well => OK,
    };
    let _gone = stream.write_all(answer).await;
}

/// The number in `GET /p/123 …`.
fn pod_of(request: &[u8]) -> Option<u32> {
    let rest = request.strip_prefix(b"GET /p/")?;
    let digits = rest.split(|byte| !byte.is_ascii_digit()).next()?;
    str::from_utf8(digits).ok()?.parse().ok()
}

impl Pods {
    fn note(&self, pod: u32, at: u64) {
        if let Some(arrivals) = self.arrivals.get(pod as usize) {
            let mut arrivals = lock(arrivals);
            if arrivals.len() < ARRIVALS_MAX {
                arrivals.push(at);
            }
        }
    }

    fn is_dead(&self, pod: u32) -> bool {
        let [first, end] = &self.dead;
        (first.load(Ordering::Relaxed)..end.load(Ordering::Relaxed)).contains(&pod)
    }

    fn seen(&self, interval: u64) -> Seen {
        let mut all_checks = 0;
        let (mut checks, mut skipped, mut lags) = (0, 0, Vec::new());
        for (pod, arrivals) in (0..).zip(&self.arrivals) {
            let arrivals = lock(arrivals);
            all_checks += arrivals.len() as u64;
            if self.shares.conduct(pod) == Conduct::Well {
                checks += arrivals.len() as u64;
                let late = lateness(&arrivals, interval);
                skipped += late.skipped;
                lags.extend(late.lags);
            }
        }
        lags.sort_unstable();
        #[expect(clippy::cast_precision_loss, reason = "microseconds of minutes")]
        let at = |part: usize| {
            let index = (lags.len() * part / 1_000).min(lags.len().saturating_sub(1));
            lags.get(index).copied().unwrap_or(0) as f64 / 1e3
        };
        let (lag_p50_ms, lag_p99_ms, lag_max_ms) = (at(500), at(990), at(1_000));
        Seen { checks, all_checks, lag_p50_ms, lag_p99_ms, lag_max_ms, skipped }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How late each check of a pod was.
#[derive(Debug, PartialEq, Eq)]
struct Lateness {
    /// Of each check but the one that shows the turn.
    lags: Vec<u64>,
    skipped: u64,
}

/// The turn is where the earliest check lies within the interval, seen from any of them: the one
/// after which all others come within half an interval, counted in whole turns.
fn lateness(arrivals: &[u64], interval: u64) -> Lateness {
    let mut lateness = Lateness { lags: Vec::new(), skipped: 0 };
    let Some(first) = arrivals.first() else { return lateness };
    let half = interval / 2;
    // Where a check lies in the interval, with the first check in the middle.
    let offset = |at: &u64| ((at - first) % interval + half) % interval;
    let earliest = arrivals.iter().map(offset).min().unwrap_or(half);
    lateness.lags = arrivals.iter().map(|at| offset(at) - earliest).collect();
    lateness.lags.sort_unstable();
    lateness.lags.remove(0);
    for pair in arrivals.windows(2) {
        if let [one, next] = pair {
            lateness.skipped += ((next - one + half) / interval).saturating_sub(1);
        }
    }
    lateness
}

fn router(pods: Arc<Pods>) -> Router {
    Router::new()
        .route("/pods/ports", get(|State(pods): State<Arc<Pods>>| async move { Json(pods.ports) }))
        .route("/pods/seen", get(seen))
        .route("/pods/arrivals", get(arrivals))
        .route("/pods/mark", post(mark))
        .route("/pods/dead", post(dead))
        .route("/notify", post(|| async { StatusCode::OK }))
        .with_state(pods)
}

async fn seen(State(pods): State<Arc<Pods>>, Query(rhythm): Query<Rhythm>) -> Json<Seen> {
    Json(pods.seen(rhythm.interval_micros.max(1)))
}

/// When each pod of the range was asked.
async fn arrivals(
    State(pods): State<Arc<Pods>>,
    Query(range): Query<Range>,
) -> Json<Vec<Vec<u64>>> {
    let range = (range.first as usize)..(range.end as usize);
    let asked = pods.arrivals.get(range).unwrap_or_default();
    Json(asked.iter().map(|arrivals| lock(arrivals).clone()).collect())
}

async fn mark(State(pods): State<Arc<Pods>>) -> StatusCode {
    for arrivals in &pods.arrivals {
        lock(arrivals).clear();
    }
    StatusCode::OK
}

/// The pods of the range are dead from now on, and no others.
async fn dead(State(pods): State<Arc<Pods>>, Query(range): Query<Range>) -> StatusCode {
    let [first, end] = &pods.dead;
    first.store(range.first, Ordering::Relaxed);
    end.store(range.end, Ordering::Relaxed);
    StatusCode::OK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_is_counted_from_the_earliest_turn_also_over_the_end_of_the_interval() {
        let on_time = lateness(&[1_000, 2_000, 3_000], 1_000);
        assert_eq!(on_time, Lateness { lags: vec![0, 0], skipped: 0 });
        let first_is_late = lateness(&[1_050, 2_000, 3_010], 1_000);
        assert_eq!(first_is_late, Lateness { lags: vec![10, 50], skipped: 0 });
        let one_is_missing = lateness(&[1_000, 3_100, 4_000], 1_000);
        assert_eq!(one_is_missing, Lateness { lags: vec![0, 100], skipped: 1 });
        assert_eq!(lateness(&[], 1_000), Lateness { lags: vec![], skipped: 0 });
    }

    #[test]
    fn bad_pods_come_first_and_reach_other_ports() {
        let shares = PodShares { black_hole: 1, refusing: 1, hanging: 1, slow: 1, flapping: 1 };
        let conducts: Vec<Conduct> = (0..6).map(|pod| shares.conduct(pod)).collect();
        let expected = [
            Conduct::BlackHole,
            Conduct::Refusing,
            Conduct::Hanging,
            Conduct::Slow,
            Conduct::Flapping,
            Conduct::Well,
        ];
        assert_eq!(conducts, expected);
        let ports = Ports { answering: [1; LISTENERS], refusing: 2, black_hole: 3 };
        assert_eq!(ports.url(0, Conduct::BlackHole), "http://127.1.0.0:3/p/0");
        assert_eq!(ports.url(70_000, Conduct::Well), "http://127.2.17.112:1/p/70000");
    }

    #[test]
    fn the_pod_is_read_from_the_request() {
        assert_eq!(pod_of(b"GET /p/123 HTTP/1.1\r\n"), Some(123));
        assert_eq!(pod_of(b"GET /q/123 HTTP/1.1\r\n"), None);
        assert_eq!(pod_of(b"GET /p/ HTTP/1.1\r\n"), None);
    }
}
