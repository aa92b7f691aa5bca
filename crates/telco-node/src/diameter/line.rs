//! One peer of a trunk: a connection that is opened again whenever it breaks.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use telco_codec::Message;
use telco_codec::peer::Capabilities;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Outbox, Owner, outbox};
use super::handshake::{self, Met};
use super::trunk::{Core, Target};
use super::watchdog::Watchdog;
use super::{Node, shown};

/// Between two attempts to connect: doubled from the first to the last, with jitter.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// After so long a connection the next break begins with the shortest pause again.
const SETTLED: Duration = Duration::from_secs(5);
/// How long requests under way may take once the line is not wanted any more.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// How long a peer that did not answer in time is passed over.
const AVOIDED_MS: u64 = 1_000;
const DRAIN_LOOK: Duration = Duration::from_millis(10);

/// A peer and the way to it.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    /// Whether requests should go here; told from outside.
    is_wanted: AtomicBool,
    /// Open and not suspected; told by the connection.
    is_trusted: AtomicBool,
    /// Until when others are preferred, in milliseconds since `began`: it did not answer in time.
    avoided_until: AtomicU64,
    began: Instant,
    /// Requests under way.
    under_way: AtomicUsize,
    outbox: Mutex<Option<Outbox>>,
    /// Host of the peer, once met.
    host: Mutex<Option<String>>,
    pub(super) stop: CancellationToken,
    /// Ends a pause between two attempts to connect: there is news of the pod.
    news: Notify,
}

impl Line {
    pub(super) fn new(target: &Target) -> Self {
        Self {
            name: target.name.clone(),
            address: target.address,
            is_wanted: AtomicBool::new(target.is_wanted),
            is_trusted: AtomicBool::new(false),
            avoided_until: AtomicU64::new(0),
            began: Instant::now(),
            under_way: AtomicUsize::new(0),
            outbox: Mutex::default(),
            host: Mutex::default(),
            stop: CancellationToken::new(),
            news: Notify::new(),
        }
    }

    /// Whether it is this target's line.
    pub(super) fn is_for(&self, target: &Target) -> bool {
        self.name == target.name && self.address == target.address
    }

    /// Whether a request may be sent here now.
    pub(super) fn is_usable(&self) -> bool {
        self.is_wanted.load(Ordering::Acquire) && self.is_trusted.load(Ordering::Acquire)
    }

    /// Whether a connection is open, wanted or not.
    pub(super) fn is_open(&self) -> bool {
        self.is_trusted.load(Ordering::Acquire)
    }

    /// Says whether requests should go here; whether that is a change.
    pub(super) fn want(&self, is_wanted: bool) -> bool {
        self.is_wanted.swap(is_wanted, Ordering::AcqRel) != is_wanted
    }

    /// Governance knows something new of it: worth an attempt to connect at once.
    pub(super) fn try_now(&self) {
        if !self.is_open() {
            self.news.notify_one();
        }
    }

    /// It did not answer in time: for a moment others are preferred, about as long as governance
    /// needs to notice.
    pub(super) fn avoid(&self) {
        self.avoided_until.store(self.age() + AVOIDED_MS, Ordering::Relaxed);
    }

    pub(super) fn is_avoided(&self) -> bool {
        self.age() < self.avoided_until.load(Ordering::Relaxed)
    }

    fn age(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX / 2)
    }

    pub(super) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    pub(super) fn began(&self) {
        self.under_way.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ended(&self) {
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether the peer there is that host.
    pub(super) fn is_host(&self, name: &str) -> bool {
        let host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        host.as_deref().is_some_and(|host| host.eq_ignore_ascii_case(name))
    }

    /// False if the connection is gone.
    pub(super) fn send(&self, frame: Vec<u8>) -> bool {
        let outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        outbox.as_ref().is_some_and(|outbox| outbox.send(frame))
    }

    fn met(&self, outbox: Option<Outbox>, host: Option<&str>) {
        *self.outbox.lock().unwrap_or_else(PoisonError::into_inner) = outbox;
        *self.host.lock().unwrap_or_else(PoisonError::into_inner) = host.map(str::to_owned);
    }
}

/// Keeps a line connected until its token is cancelled.
pub(super) async fn keep(line: Arc<Line>, node: Arc<Node>, core: Weak<Core>) {
    let mut pause = PAUSE_MIN;
    // The state of the peer when the last connection broke: the same again means that it did not
    // start anew, and has to prove itself (RFC 3539 §3.4.1, REOPEN).
    let mut broken: Option<Option<u32>> = None;
    loop {
        let opened = tokio::select! {
            () = line.stop.cancelled() => return,
            opened = handshake::open(line.address, &node) => opened,
        };
        match opened {
            Ok(met) => {
                let is_same = broken == Some(met.peer.state) && met.peer.state.is_some();
                broken = Some(met.peer.state);
                let began = Instant::now();
                talk(&line, met, &node, &core, is_same).await;
                if began.elapsed() >= SETTLED {
                    pause = PAUSE_MIN;
                }
            }
            Err(fault) => {
                let cause = std::error::Error::source(&fault).map(ToString::to_string);
                tracing::debug!(peer = line.name, address = %line.address, %fault, cause, "no connection");
            }
        }
        tokio::select! {
            () = line.stop.cancelled() => return,
            () = line.news.notified() => (),
            () = sleep(pause.mul_f64(0.5 + fastrand::f64() * 0.5)) => (),
        }
        pause = (2 * pause).min(PAUSE_MAX);
    }
}

async fn talk(line: &Arc<Line>, met: Met, node: &Node, core: &Weak<Core>, is_same: bool) {
    let peer: Capabilities = met.peer;
    tracing::info!(peer = shown(&peer, line.address), pod = line.name, "connected");
    let (outbox, queue) = outbox();
    line.met(Some(outbox.clone()), Some(peer.identity.host()));
    let owner = Holder { line: Arc::clone(line), core: Weak::clone(core) };
    let watchdog = if is_same { Watchdog::reopened() } else { Watchdog::fresh() };
    let connection = Connection {
        stream: met.stream,
        splitter: met.splitter,
        node,
        owner: &owner,
        outbox,
        watchdog,
    };
    // Not wanted any more: what is under way may still be answered.
    let stop = CancellationToken::new();
    let drained = async {
        line.stop.cancelled().await;
        let deadline = Instant::now() + DRAIN_MAX;
        while line.under_way() > 0 && Instant::now() < deadline {
            sleep(DRAIN_LOOK).await;
        }
        stop.cancel();
        std::future::pending::<()>().await;
    };
    let why = tokio::select! {
        why = connection.run(queue, &stop) => why,
        () = drained => "not wanted any more",
    };
    line.met(None, None);
    owner.trust(false);
    tracing::info!(peer = shown(&peer, line.address), pod = line.name, why, "disconnected");
}

/// What the connection of a line tells.
struct Holder {
    line: Arc<Line>,
    core: Weak<Core>,
}

impl Owner for Holder {
    fn request(&self, message: &Message<'_>, _outbox: &Outbox) {
        let command = message.header().command;
        tracing::debug!(
            peer = self.line.name,
            command,
            "a request where only answers are expected"
        );
    }

    fn answer(&self, message: &Message<'_>) {
        if let Some(core) = self.core.upgrade() {
            core.answered(&self.line, message);
        }
    }

    fn trust(&self, is_trusted: bool) {
        let was = self.line.is_trusted.swap(is_trusted, Ordering::AcqRel);
        if was
            && !is_trusted
            && let Some(core) = self.core.upgrade()
        {
            core.fail_over(&self.line);
        }
    }
}
