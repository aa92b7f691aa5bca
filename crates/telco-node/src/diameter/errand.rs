//! The requests under way in a trunk: what was sent where, how to send it again, who waits.
//!
//! Here: the table. Not here: choosing a line. INVARIANT: an errand is in the table exactly while
//! one attempt is under way; whoever takes it out answers it or puts it back.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use telco_codec::{Flags, Header};
use tokio::time::Instant;

use super::UNDER_WAY_BYTES;
use super::line::Line;

/// Why a request came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// No peer can be sent to.
    #[error("no peer can take the request")]
    NoPeer,
    /// Too much is under way.
    #[error("too many requests are under way")]
    Busy,
    /// Peers took it and did not answer in time.
    #[error("no peer answered in time")]
    NoAnswer,
    /// It grows too long on its way.
    #[error("the request is too long to be sent on")]
    TooLong,
}

/// Told how a request ended: the answer with the identifiers of the request.
pub(super) type Done = Box<dyn FnOnce(Result<Vec<u8>, Undelivered>) + Send>;

/// One request.
pub(super) struct Errand {
    /// As it came, for the identifiers of the answer.
    pub(super) header: Header,
    /// What is sent; each attempt puts its own header in.
    pub(super) frame: Vec<u8>,
    /// Only the peer of this host will do.
    pub(super) host: Option<String>,
    /// The lines tried so far, the current one last.
    pub(super) tried: Vec<Arc<Line>>,
    /// After which no further attempt is made.
    pub(super) deadline: Instant,
    pub(super) done: Done,
}

impl Errand {
    /// The bytes for one more attempt. From the second on it may be a duplicate (RFC 6733 §5.5.4).
    pub(super) fn attempt(&self, hop_by_hop: u32) -> Vec<u8> {
        let mut header = self.header;
        header.serial.hop_by_hop = hop_by_hop;
        if self.tried.len() > 1 {
            header.flags = header.flags.with(Flags::RETRANSMITTED);
        }
        let mut frame = self.frame.clone();
        header.stamp(&mut frame);
        frame
    }
}

/// What is under way.
#[derive(Default)]
pub(super) struct Errands(Mutex<Table>);

struct Table {
    /// By our hop-by-hop identifier.
    errands: HashMap<u32, Errand>,
    /// When each attempt is given up; entries of what ended before are skipped when they are due.
    due: BTreeSet<(Instant, u32)>,
    /// All frames together.
    bytes: usize,
    next: u32,
}

impl Default for Table {
    /// Identifiers begin anywhere, so that those of a process before are not met again.
    fn default() -> Self {
        let next = fastrand::u32(..);
        Self { errands: HashMap::new(), due: BTreeSet::new(), bytes: 0, next }
    }
}

impl Errands {
    pub(super) fn len(&self) -> usize {
        self.table().errands.len()
    }

    /// Whether one more is too many.
    pub(super) fn is_full(&self, count_max: usize) -> bool {
        let table = self.table();
        table.errands.len() >= count_max || table.bytes >= UNDER_WAY_BYTES
    }

    /// Puts an errand in under a new identifier and gives the frame for it.
    pub(super) fn put(&self, errand: Errand, due: Instant) -> (u32, Vec<u8>) {
        let mut table = self.table();
        let mut id = table.next;
        // What has wrapped around must not meet one that is still under way.
        while table.errands.contains_key(&id) {
            id = id.wrapping_add(1);
        }
        table.next = id.wrapping_add(1);
        let frame = errand.attempt(id);
        if let Some(line) = errand.tried.last() {
            line.began();
        }
        table.bytes += errand.frame.len();
        table.errands.insert(id, errand);
        table.due.insert((due, id));
        (id, frame)
    }

    /// Takes out the errand that waits for an answer with this identifier on this line.
    pub(super) fn answered(&self, id: u32, line: &Line) -> Option<Errand> {
        let mut table = self.table();
        let is_here = table.errands.get(&id).is_some_and(|errand| errand.is_on(line));
        is_here.then(|| table.take(id)).flatten()
    }

    /// Takes out one errand.
    pub(super) fn take(&self, id: u32) -> Option<Errand> {
        self.table().take(id)
    }

    /// Takes out all that wait on one line.
    pub(super) fn stranded(&self, line: &Line) -> Vec<Errand> {
        let mut table = self.table();
        let on_it = table.errands.iter().filter(|(_, errand)| errand.is_on(line));
        let ids: Vec<u32> = on_it.map(|(id, _)| *id).collect();
        ids.into_iter().filter_map(|id| table.take(id)).collect()
    }

    /// Takes out all whose attempt has lasted too long.
    pub(super) fn overdue(&self, now: Instant) -> Vec<Errand> {
        let mut table = self.table();
        let mut overdue = Vec::new();
        while let Some((due, id)) = table.due.first().copied() {
            if due > now {
                break;
            }
            table.due.pop_first();
            overdue.extend(table.take(id));
        }
        overdue
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn take(&mut self, id: u32) -> Option<Errand> {
        let errand = self.errands.remove(&id)?;
        self.bytes -= errand.frame.len();
        if let Some(line) = errand.tried.last() {
            line.ended();
        }
        Some(errand)
    }
}

impl Errand {
    /// Whether it may go there now.
    pub(super) fn may_take(&self, line: &Line) -> bool {
        line.is_usable() && self.host.as_ref().is_none_or(|host| line.is_host(host))
    }

    fn is_on(&self, line: &Line) -> bool {
        self.tried.last().is_some_and(|last| std::ptr::eq(&raw const **last, line))
    }
}
