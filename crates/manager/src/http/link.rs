//! What the server knows of one connection: whether it works or idles, and since when.
//!
//! hyper's own header timeout also runs while a connection idles between two requests, and would
//! close it after seconds. So the times are kept here and looked at once a second by `server`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use tokio::sync::Notify;

/// Seconds since the server started, counted by the server: cheaper than a clock per request.
#[derive(Debug, Default)]
pub(super) struct Seconds(AtomicU64);

impl Seconds {
    pub(super) fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn advance(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a connection is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Go on.
    Serve,
    /// Finish the request under way, if there is one, and close.
    Retire,
    /// Close at once.
    Cut,
}

/// How long a connection may do what it does, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Between the first byte of a request and the last of its headers.
    pub(super) head: u64,
    /// Between two requests.
    pub(super) idle: u64,
    /// Without taking a byte of an answer.
    pub(super) stall: u64,
}

/// Stands for "not so now" in a field that holds a second.
const NEVER: u64 = u64::MAX;

/// One connection. Written by its task, read by the server.
#[derive(Debug)]
pub(super) struct Link {
    seconds: Arc<Seconds>,
    /// Requests that are being answered.
    busy: AtomicU32,
    is_http2: AtomicBool,
    /// When the last request ended, or the connection began.
    idle_since: AtomicU64,
    /// When the first bytes of a request came whose headers are not complete.
    head_since: AtomicU64,
    /// Since when the peer takes no bytes although there are some.
    stalled_since: AtomicU64,
    order: AtomicU8,
    ordered: Notify,
}

impl Link {
    pub(super) fn new(seconds: Arc<Seconds>) -> Self {
        let idle_since = AtomicU64::new(seconds.now());
        Self {
            seconds,
            busy: AtomicU32::new(0),
            is_http2: AtomicBool::new(false),
            idle_since,
            head_since: AtomicU64::new(NEVER),
            stalled_since: AtomicU64::new(NEVER),
            order: AtomicU8::new(Order::Serve as u8),
            ordered: Notify::new(),
        }
    }

    /// A request's headers are complete; it is under way until the answer is dropped.
    pub(super) fn begin(self: &Arc<Self>, is_http2: bool) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        self.head_since.store(NEVER, Ordering::Relaxed);
        if is_http2 {
            self.is_http2.store(true, Ordering::Relaxed);
        }
        Busy(Arc::clone(self))
    }

    /// Bytes came.
    pub(super) fn note_read(&self) {
        // HTTP/2 has frames between requests; the library bounds the size of its headers.
        let counts = !self.is_busy() && !self.is_http2.load(Ordering::Relaxed);
        if counts && self.head_since.load(Ordering::Relaxed) == NEVER {
            self.head_since.store(self.seconds.now(), Ordering::Relaxed);
        }
    }

    /// The peer takes bytes, or does not.
    pub(super) fn note_write(&self, is_taken: bool) {
        let is_stalled = self.stalled_since.load(Ordering::Relaxed) != NEVER;
        match (is_taken, is_stalled) {
            (true, true) => {
                self.stalled_since.store(NEVER, Ordering::Relaxed);
                self.idle_since.store(self.seconds.now(), Ordering::Relaxed);
            }
            (false, false) => self.stalled_since.store(self.seconds.now(), Ordering::Relaxed),
            (true, false) | (false, true) => {}
        }
    }

    /// What should become of it.
    pub(super) fn judge(&self, patience: Patience) -> Order {
        let now = self.seconds.now();
        let is_over = |since: &AtomicU64, limit: u64| {
            let since = since.load(Ordering::Relaxed);
            since != NEVER && now.saturating_sub(since) > limit
        };
        if is_over(&self.stalled_since, patience.stall) || is_over(&self.head_since, patience.head)
        {
            Order::Cut
        } else if !self.is_busy() && is_over(&self.idle_since, patience.idle) {
            Order::Retire
        } else {
            Order::Serve
        }
    }

    /// For how many seconds it has been idle; none if it is not.
    pub(super) fn idle_for(&self) -> Option<u64> {
        let is_idle = !self.is_busy() && self.stalled_since.load(Ordering::Relaxed) == NEVER;
        let since = self.idle_since.load(Ordering::Relaxed);
        is_idle.then(|| self.seconds.now().saturating_sub(since))
    }

    /// Tells the connection's task. An order is never taken back.
    pub(super) fn tell(&self, order: Order) {
        if self.order.fetch_max(order as u8, Ordering::AcqRel) < order as u8 {
            self.ordered.notify_one();
        }
    }

    /// Waits for the next order.
    pub(super) async fn ordered(&self) -> Order {
        self.ordered.notified().await;
        match self.order.load(Ordering::Acquire) {
            order if order == Order::Cut as u8 => Order::Cut,
            order if order == Order::Retire as u8 => Order::Retire,
            _ => Order::Serve,
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed) > 0
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Busy(Arc<Link>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.seconds.now(), Ordering::Relaxed);
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { head: 10, idle: 180, stall: 30 };

    fn link_after(act: impl FnOnce(&Arc<Link>), seconds: u64) -> Order {
        let clock = Arc::new(Seconds::default());
        let link = Arc::new(Link::new(Arc::clone(&clock)));
        act(&link);
        (0..seconds).for_each(|_| clock.advance());
        link.judge(PATIENCE)
    }

    #[test]
    fn idle_connection_is_kept_for_three_minutes() {
        assert_eq!(link_after(|_| {}, 180), Order::Serve);
        assert_eq!(link_after(|_| {}, 181), Order::Retire);
        let answered = |link: &Arc<Link>| {
            link.note_read();
            drop(link.begin(false));
        };
        assert_eq!(link_after(answered, 180), Order::Serve);
    }

    #[test]
    fn unfinished_headers_are_cut_off_after_ten_seconds() {
        assert_eq!(link_after(|link| link.note_read(), 10), Order::Serve);
        assert_eq!(link_after(|link| link.note_read(), 11), Order::Cut);
        let frames_of_http2 = |link: &Arc<Link>| {
            drop(link.begin(true));
            link.note_read();
        };
        assert_eq!(link_after(frames_of_http2, 100), Order::Serve);
    }

    #[test]
    fn request_under_way_is_never_idle() {
        assert_eq!(link_after(|link| std::mem::forget(link.begin(false)), 1_000), Order::Serve);
    }

    #[test]
    fn peer_that_takes_nothing_is_cut_off() {
        assert_eq!(link_after(|link| link.note_write(false), 31), Order::Cut);
        let resumed = |link: &Arc<Link>| {
            link.note_write(false);
            link.note_write(true);
        };
        assert_eq!(link_after(resumed, 31), Order::Serve);
    }
}
