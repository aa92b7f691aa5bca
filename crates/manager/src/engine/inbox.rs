//! The event queue: bounded and lock-free on the way in, one reader.
//!
//! A full queue makes callers wait for room until their deadline; only then a lock is touched. A
//! command can be withdrawn by its caller until the writer takes it: [`Ticket`] decides the race.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;
use crossbeam_queue::ArrayQueue;
use governance_domain::{Evict, PodKey, Register, Unregister};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

use super::handle::{Origin, Registered, SubmitError, Unregistered};
use super::under_way::{Passage, UnderWay};

/// A command with the way back to its caller.
#[derive(Debug)]
pub(super) enum Request {
    /// Register a pod.
    Register { command: Register, reply: oneshot::Sender<Result<Registered, SubmitError>> },
    /// Remove a pod.
    Unregister { command: Unregister, reply: oneshot::Sender<Result<Unregistered, SubmitError>> },
    /// Remove a pod that is dead; asked by health, which wants no answer.
    Evict { command: Evict },
}

/// A command that waits.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) request: Request,
    pub(super) ticket: Arc<Ticket>,
    pub(super) origin: Origin,
    /// When it began to wait.
    pub(super) since: Instant,
    /// It is not begun after that, also when its caller is gone and cannot withdraw it; none for
    /// what nobody waits for.
    pub(super) deadline: Option<Instant>,
    /// Keeps later commands of the pod from overtaking it; dropped with it.
    pub(super) _under_way: Passage,
}

impl Pending {
    /// Whom it concerns.
    pub(super) fn key(&self) -> &PodKey {
        match &self.request {
            Request::Register { command, .. } => &command.key,
            Request::Unregister { command, .. } => &command.key,
            Request::Evict { command } => &command.key,
        }
    }

    /// Whether the caller went away or ran out of time.
    pub(super) fn is_abandoned(&self) -> bool {
        match &self.request {
            Request::Register { reply, .. } => reply.is_closed(),
            Request::Unregister { reply, .. } => reply.is_closed(),
            Request::Evict { .. } => false,
        }
    }

    /// Whether it is too late to begin it.
    pub(super) fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Answers that nothing was done.
    pub(super) fn fail(self, error: SubmitError) {
        // A caller that is gone needs no answer.
        match self.request {
            Request::Register { reply, .. } => drop(reply.send(Err(error))),
            Request::Unregister { reply, .. } => drop(reply.send(Err(error))),
            Request::Evict { .. } => {}
        }
    }
}

/// Who has the command: its caller may withdraw it while it waits, not once it is in a batch.
#[derive(Debug, Default)]
pub(super) struct Ticket(AtomicU8);

const WAITING: u8 = 0;
const TAKEN: u8 = 1;
const WITHDRAWN: u8 = 2;

impl Ticket {
    /// The writer takes the command into a batch; false if it was withdrawn.
    pub(super) fn take(&self) -> bool {
        self.swap(WAITING, TAKEN)
    }

    /// The writer puts the command of a batch that was not applied back.
    pub(super) fn put_back(&self) {
        self.0.store(WAITING, Ordering::Release);
    }

    /// The caller gives up; false if the command is in a batch.
    pub(super) fn withdraw(&self) -> bool {
        self.swap(WAITING, WITHDRAWN)
    }

    fn swap(&self, from: u8, to: u8) -> bool {
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// The queue.
#[derive(Debug)]
pub(super) struct Inbox {
    queue: ArrayQueue<Pending>,
    /// Whose commands wait here, or are with the writer.
    pub(super) under_way: Arc<UnderWay>,
    /// Wakes the writer; it alone registers here.
    writer: AtomicWaker,
    /// Wakes one caller per place that became free. Only used when the queue is full.
    room: Notify,
    is_closed: AtomicBool,
}

impl Inbox {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            queue: ArrayQueue::new(capacity.max(1)),
            under_way: Arc::default(),
            writer: AtomicWaker::new(),
            room: Notify::new(),
            is_closed: AtomicBool::new(false),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Puts a command in, waiting for room until the deadline; false if there was none, or if
    /// the queue is closed.
    pub(super) async fn push(&self, pending: Pending, deadline: Instant) -> bool {
        let Err(mut pending) = self.try_push(pending) else { return true };
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            // Tried after asking to be woken: a place that came free before is not missed.
            match self.try_push(pending) {
                Ok(()) => {
                    // Places may come free faster than callers wake: each wakes the next.
                    if !self.queue.is_full() {
                        self.room.notify_one();
                    }
                    return true;
                }
                Err(back) => pending = back,
            }
            if self.is_closed() || timeout_at(deadline, room).await.is_err() {
                return false;
            }
        }
    }

    #[expect(clippy::result_large_err, reason = "the command goes back to its caller")]
    pub(super) fn try_push(&self, pending: Pending) -> Result<(), Pending> {
        if self.is_closed() {
            return Err(pending);
        }
        self.queue.push(pending)?;
        self.writer.wake();
        Ok(())
    }

    /// Takes the oldest command, if there is one.
    pub(super) fn pop(&self) -> Option<Pending> {
        let pending = self.queue.pop()?;
        self.room.notify_one();
        Some(pending)
    }

    /// Ready when there is a command to take, or when the queue is closed.
    pub(super) fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.has_news() {
            return Poll::Ready(());
        }
        self.writer.register(context.waker());
        // Looked at again: a push between the first look and the registration woke nobody.
        if self.has_news() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Ready when the queue is closed.
    pub(super) fn poll_closed(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.is_closed() {
            return Poll::Ready(());
        }
        self.writer.register(context.waker());
        if self.is_closed() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Closed, and nothing left in it.
    pub(super) fn is_drained(&self) -> bool {
        self.is_closed() && self.queue.is_empty()
    }

    fn has_news(&self) -> bool {
        !self.queue.is_empty() || self.is_closed()
    }

    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.writer.wake();
        self.room.notify_waiters();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }
}
