//! Sending requests to any of a changing set of peers: one connection each, the least busy is
//! taken, and what a peer does not answer goes to another with the T flag.
//!
//! Whoever owns a trunk says which peers there are ([`Trunk::aim`]); what is under way on one that
//! is not wanted any more because it fails moves at once, on one that leaves it may still be
//! answered. An attempt has a time, and so has the whole.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use telco_codec::{Definition, Message, ResultCode};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::errand::{Done, Errand, Errands, Undelivered};
use super::line::{Line, keep};
use super::{FAREWELL_MAX, Node};

/// How often attempts are looked at for their time.
const TICK: Duration = Duration::from_millis(10);

/// One peer that should be connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The pod.
    pub name: String,
    /// Where it takes Diameter.
    pub address: SocketAddr,
    /// Whether requests should go there now; if not it is kept connected for later.
    pub is_wanted: bool,
}

/// Where a request should go, and what is added to it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Route<'a> {
    /// One more AVP at the end.
    pub record: Option<(&'static Definition, &'a str)>,
    /// Only the peer of this host will do.
    pub host: Option<&'a str>,
}

/// What a trunk did since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests taken.
    pub requests: u64,
    /// Attempts beyond the first.
    pub repeated: u64,
    /// Requests that came to nothing.
    pub undelivered: u64,
}

/// The bounds of a trunk.
#[derive(Clone, Copy, Debug)]
pub struct TrunkSettings {
    /// How long one peer may take.
    pub attempt_max: Duration,
    /// How long all attempts together may take.
    pub total_max: Duration,
    /// Attempts per request.
    pub attempts_max: usize,
    /// Requests at once.
    pub under_way_max: usize,
}

impl Default for TrunkSettings {
    fn default() -> Self {
        Self {
            attempt_max: Duration::from_millis(500),
            total_max: Duration::from_secs(2),
            attempts_max: 3,
            under_way_max: 10_000,
        }
    }
}

/// The set of peers and what is under way to them.
pub struct Trunk {
    core: Arc<Core>,
    node: Arc<Node>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// One change of the set at a time.
    aiming: Mutex<()>,
}

impl Trunk {
    /// Without peers. Must be called within a runtime.
    pub fn new(node: Arc<Node>, settings: TrunkSettings) -> Self {
        let core = Arc::new(Core {
            lines: ArcSwap::default(),
            errands: Errands::default(),
            turn: AtomicUsize::new(fastrand::usize(..1 << 16)),
            requests: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            undelivered: AtomicU64::new(0),
            settings,
        });
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        tasks.spawn(watch_times(Arc::clone(&core), stop.clone()));
        Self { core, node, tasks, stop, aiming: Mutex::default() }
    }

    /// These are the peers from now on. Takes effect before it returns: no request that is sent
    /// afterwards goes to a peer that is not among them or not wanted.
    pub fn aim(&self, targets: &[Target]) {
        let _one = self.aiming.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.core.lines.load_full();
        let mut lines = Vec::with_capacity(targets.len());
        let mut failing = Vec::new();
        for target in targets {
            match old.iter().find(|line| line.is_for(target)) {
                Some(line) => {
                    match (line.want(target.is_wanted), target.is_wanted) {
                        (true, true) => line.try_now(),
                        (true, false) => failing.push(Arc::clone(line)),
                        (false, _) => {}
                    }
                    lines.push(Arc::clone(line));
                }
                None => lines.push(self.begin(target)),
            }
        }
        let gone = old.iter().filter(|line| !targets.iter().any(|target| line.is_for(target)));
        let gone: Vec<_> = gone.cloned().collect();
        self.core.lines.store(Arc::new(lines));
        for line in gone {
            line.want(false);
            line.stop.cancel();
        }
        for line in failing {
            self.core.fail_over(&line);
        }
    }

    /// Sends a request and tells `done` how it ended, exactly once.
    pub fn send(
        &self,
        request: &Message<'_>,
        route: Route<'_>,
        done: impl FnOnce(Result<Vec<u8>, Undelivered>) + Send + 'static,
    ) {
        let done: Done = Box::new(done);
        let header = request.header();
        self.core.requests.fetch_add(1, Ordering::Relaxed);
        let Ok(frame) = request.forwarded(&header, route.record) else {
            return self.core.give_up(done, Undelivered::TooLong);
        };
        if self.core.errands.is_full(self.core.settings.under_way_max) {
            return self.core.give_up(done, Undelivered::Busy);
        }
        let deadline = Instant::now() + self.core.settings.total_max;
        let host = route.host.map(str::to_owned);
        self.core.dispatch(Errand { header, frame, host, tried: Vec::new(), deadline, done });
    }

    /// What it did so far.
    pub fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            requests: read(&self.core.requests),
            repeated: read(&self.core.repeated),
            undelivered: read(&self.core.undelivered),
        }
    }

    /// Requests under way.
    pub fn under_way(&self) -> usize {
        self.core.errands.len()
    }

    /// Peers that requests may be sent to now.
    pub fn usable(&self) -> usize {
        self.core.lines.load().iter().filter(|line| line.is_usable()).count()
    }

    /// Peers that are connected, wanted or not.
    pub fn connected(&self) -> usize {
        self.core.lines.load().iter().filter(|line| line.is_open()).count()
    }

    /// Whether one of the peers is that host.
    pub fn knows_host(&self, name: &str) -> bool {
        self.core.lines.load().iter().any(|line| line.is_host(name))
    }

    /// Says farewell to all peers and ends.
    pub async fn close(&self) {
        self.aim(&[]);
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(3 * FAREWELL_MAX, self.tasks.wait()).await.is_err() {
            tracing::warn!(peers = self.tasks.len(), "peers did not take our farewell in time");
        }
    }

    fn begin(&self, target: &Target) -> Arc<Line> {
        let line = Arc::new(Line::new(target));
        let core = Arc::downgrade(&self.core);
        self.tasks.spawn(keep(Arc::clone(&line), Arc::clone(&self.node), core));
        line
    }
}

impl Drop for Trunk {
    fn drop(&mut self) {
        self.stop.cancel();
        for line in self.core.lines.load().iter() {
            line.stop.cancel();
        }
    }
}

/// What lines and the clock work on.
pub(super) struct Core {
    lines: ArcSwap<Vec<Arc<Line>>>,
    errands: Errands,
    /// Whose turn it is among the equally busy.
    turn: AtomicUsize,
    requests: AtomicU64,
    repeated: AtomicU64,
    undelivered: AtomicU64,
    settings: TrunkSettings,
}

impl Core {
    /// Sends an errand to the least busy line that has not had it, and to none twice while there
    /// is another; answers it if there is none.
    fn dispatch(&self, mut errand: Errand) {
        let now = Instant::now();
        loop {
            let has_tried = !errand.tried.is_empty();
            if errand.tried.len() >= self.settings.attempts_max || now >= errand.deadline {
                return self.give_up(errand.done, Undelivered::NoAnswer);
            }
            let Some(line) = self.choose(&errand) else {
                let why = if has_tried { Undelivered::NoAnswer } else { Undelivered::NoPeer };
                return self.give_up(errand.done, why);
            };
            if has_tried {
                self.repeated.fetch_add(1, Ordering::Relaxed);
            }
            errand.tried.push(Arc::clone(&line));
            let due = errand.deadline.min(now + self.settings.attempt_max);
            let (id, frame) = self.errands.put(errand, due);
            if line.send(frame) {
                return;
            }
            // The connection broke between choosing and sending; whoever noticed it may have taken
            // the errand already.
            match self.errands.take(id) {
                Some(taken) => errand = taken,
                None => return,
            }
        }
    }

    fn give_up(&self, done: Done, why: Undelivered) {
        self.undelivered.fetch_add(1, Ordering::Relaxed);
        done(Err(why));
    }

    fn choose(&self, errand: &Errand) -> Option<Arc<Line>> {
        let lines = self.lines.load();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = lines.len().max(1);
        let (first, second) = lines.split_at_checked(turn % count)?;
        let usable = second.iter().chain(first).filter(|line| errand.may_take(line));
        let is_new = |line: &&&Arc<Line>| !errand.tried.iter().any(|old| Arc::ptr_eq(old, line));
        let rank = |line: &&Arc<Line>| (line.is_avoided(), line.under_way());
        let fresh = usable.clone().filter(|line| is_new(&line)).min_by_key(rank);
        // The only one there is may be asked again, but for the one that just failed to answer.
        let again = || usable.filter(|line| !is_last(errand, line)).min_by_key(rank);
        fresh.or_else(again).cloned()
    }

    /// An answer came on a line.
    pub(super) fn answered(&self, line: &Line, message: &Message<'_>) {
        let mut header = message.header();
        let Some(errand) = self.errands.answered(header.serial.hop_by_hop, line) else {
            tracing::debug!(peer = line.name, "an answer too late, or to nothing");
            return;
        };
        let is_unwilling = matches!(
            message.result_code(),
            Some(ResultCode::UNABLE_TO_DELIVER | ResultCode::TOO_BUSY)
        );
        if is_unwilling
            && errand.tried.len() < self.settings.attempts_max
            && self.has_other(&errand)
        {
            return self.dispatch(errand);
        }
        header.serial = errand.header.serial;
        let answer = message.forwarded(&header, None).map_err(|_| Undelivered::TooLong);
        (errand.done)(answer);
    }

    fn has_other(&self, errand: &Errand) -> bool {
        let lines = self.lines.load();
        lines.iter().any(|line| {
            errand.may_take(line) && !errand.tried.iter().any(|old| Arc::ptr_eq(old, line))
        })
    }

    /// Moves what is under way on a line to others.
    pub(super) fn fail_over(&self, line: &Line) {
        let stranded = self.errands.stranded(line);
        if !stranded.is_empty() {
            tracing::info!(pod = line.name, requests = stranded.len(), "sent again elsewhere");
        }
        for errand in stranded {
            self.dispatch(errand);
        }
    }
}

fn is_last(errand: &Errand, line: &Arc<Line>) -> bool {
    errand.tried.last().is_some_and(|last| Arc::ptr_eq(last, line))
}

/// Gives up attempts that take too long.
async fn watch_times(core: Arc<Core>, stop: CancellationToken) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => (),
        }
        for errand in core.errands.overdue(Instant::now()) {
            if let Some(line) = errand.tried.last() {
                line.avoid();
            }
            core.dispatch(errand);
        }
    }
}
