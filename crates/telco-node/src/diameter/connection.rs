//! One connection after its exchange of capabilities, whichever side opened it: reading, writing,
//! watching, farewell.
//!
//! Reading never waits for writing: what is to be written goes into a bounded outbox, and a peer
//! that lets it fill up is cut off.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use telco_codec::peer::{
    Capabilities, DisconnectCause, disconnect_answer, disconnect_request, watchdog_answer,
    watchdog_request,
};
use telco_codec::{APPLICATION_BASE, Command, Fault, Message, Serial, Splitter, refusal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::watchdog::{Order, Watchdog};
use super::{CHUNK, FAREWELL_MAX, Node, OUTBOX_BYTES, OUTBOX_MAX, WRITE_MAX};

/// Written together, at most.
const BATCH: usize = 32 * 1024;

/// What answers the requests of peers. Must not block: hand on what takes time.
pub trait Service: Send + Sync + 'static {
    /// Takes a request that is not about the connection itself. Its outer AVPs are sound; nothing
    /// else is checked.
    fn take(&self, request: &Message<'_>, from: &Arc<Capabilities>, reply: Reply);
}

/// The way back to the peer that asked.
#[derive(Clone, Debug)]
pub struct Reply(Outbox);

impl Reply {
    /// Sends an answer, unless the peer is gone or does not read.
    pub fn send(&self, answer: Vec<u8>) {
        if !self.0.send(answer) {
            tracing::debug!("an answer finds its peer gone, or not reading");
        }
    }
}

/// What a connection tells its owner.
pub(super) trait Owner: Send + Sync {
    /// A request of the peer.
    fn request(&self, message: &Message<'_>, outbox: &Outbox);
    /// An answer of the peer, not to the watchdog.
    fn answer(&self, message: &Message<'_>);
    /// Traffic may be sent (again), or should go elsewhere.
    fn trust(&self, is_trusted: bool);
}

/// The sending end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    queue: mpsc::Sender<Vec<u8>>,
    /// Bytes that wait.
    waiting: Arc<AtomicUsize>,
}

/// The other end of an outbox.
#[derive(Debug)]
pub(super) struct Queue {
    frames: mpsc::Receiver<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
}

impl Outbox {
    /// False if the connection is gone or the peer does not read.
    pub(super) fn send(&self, frame: Vec<u8>) -> bool {
        let length = frame.len();
        let waiting = self.waiting.fetch_add(length, Ordering::Relaxed);
        let is_taken = waiting + length <= OUTBOX_BYTES && self.queue.try_send(frame).is_ok();
        if !is_taken {
            self.waiting.fetch_sub(length, Ordering::Relaxed);
        }
        is_taken
    }

    pub(super) fn reply(&self) -> Reply {
        Reply(self.clone())
    }
}

impl Queue {
    /// What waits, as far as it is written together; none when nobody writes any more.
    async fn next(&mut self) -> Option<Vec<u8>> {
        let mut bytes = self.frames.recv().await?;
        while bytes.len() < BATCH {
            let Ok(more) = self.frames.try_recv() else { break };
            bytes.extend(more);
        }
        self.waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
        Some(bytes)
    }
}

/// The outbox of a connection and its other end.
pub(super) fn outbox() -> (Outbox, Queue) {
    let (tx, frames) = mpsc::channel(OUTBOX_MAX);
    let waiting = Arc::<AtomicUsize>::default();
    (Outbox { queue: tx, waiting: Arc::clone(&waiting) }, Queue { frames, waiting })
}

/// An open connection.
pub(super) struct Connection<'a> {
    pub(super) stream: TcpStream,
    /// May hold bytes that came right after the exchange.
    pub(super) splitter: Splitter,
    pub(super) node: &'a Node,
    pub(super) owner: &'a dyn Owner,
    pub(super) outbox: Outbox,
    pub(super) watchdog: Watchdog,
}

impl Connection<'_> {
    /// Runs until either side ends it; why. When `stop` is cancelled, says farewell first.
    pub(super) async fn run(self, queue: Queue, stop: &CancellationToken) -> &'static str {
        // Answers are written whole; waiting for more only delays them.
        let _ = self.stream.set_nodelay(true);
        let (from, to) = self.stream.into_split();
        let mut reader = Reader {
            splitter: self.splitter,
            node: self.node,
            owner: self.owner,
            outbox: self.outbox,
            watchdog: self.watchdog,
            due: Instant::now(),
            leaving: None,
        };
        tokio::select! {
            why = reader.run(from, stop) => why,
            why = write(to, queue) => why,
        }
    }
}

/// Writes what is in the outbox; ends when the connection does.
async fn write(mut to: OwnedWriteHalf, mut queue: Queue) -> &'static str {
    while let Some(bytes) = queue.next().await {
        match timeout(WRITE_MAX, to.write_all(&bytes)).await {
            Ok(Ok(())) => (),
            Ok(Err(_)) => return "the connection broke",
            Err(_) => return "the peer does not read",
        }
    }
    "nobody writes any more"
}

struct Reader<'a> {
    splitter: Splitter,
    node: &'a Node,
    owner: &'a dyn Owner,
    outbox: Outbox,
    watchdog: Watchdog,
    /// When the watchdog's time is up.
    due: Instant,
    /// When the end comes, once a farewell was said.
    leaving: Option<Instant>,
}

/// Why a connection ends.
type End = &'static str;

impl Reader<'_> {
    async fn run(&mut self, mut from: OwnedReadHalf, stop: &CancellationToken) -> End {
        self.rewind();
        if !self.watchdog.is_okay() {
            self.ask();
        }
        self.owner.trust(self.watchdog.is_okay());
        let mut chunk = vec![0; CHUNK];
        loop {
            if let Err(end) = self.take_frames() {
                return end;
            }
            let leaving = self.leaving;
            tokio::select! {
                () = stop.cancelled(), if leaving.is_none() => self.leave(),
                () = at(leaving) => return "the farewell is over",
                () = tokio::time::sleep_until(self.due) => {
                    if let Err(end) = self.elapsed() {
                        return end;
                    }
                }
                count = from.read(&mut chunk) => match count {
                    Ok(0) => return "the peer closed the connection",
                    Ok(count) => self.splitter.push(chunk.get(..count).unwrap_or_default()),
                    Err(_) => return "the connection broke",
                },
            }
        }
    }

    /// Says that we go; the peer's answer or a short time ends it.
    fn leave(&mut self) {
        self.leaving = Some(Instant::now() + FAREWELL_MAX);
        let us = &self.node.capabilities.identity;
        self.outbox.send(disconnect_request(us, DisconnectCause::Rebooting, serial()));
    }

    fn take_frames(&mut self) -> Result<(), End> {
        // Taken out, because frames borrow from it while the rest of `self` changes.
        let mut splitter = std::mem::take(&mut self.splitter);
        let taken = loop {
            match splitter.next_frame() {
                Ok(Some(frame)) => {
                    if let Err(end) = self.take(frame) {
                        break Err(end);
                    }
                }
                Ok(None) => break Ok(()),
                Err(fault) => {
                    tracing::warn!(%fault, "the stream cannot be read any more");
                    break Err("a length that cannot be");
                }
            }
        };
        self.splitter = splitter;
        taken
    }

    fn take(&mut self, frame: &[u8]) -> Result<(), End> {
        let message = match Message::parse(frame) {
            Ok(message) => message,
            Err(fault) => return self.refuse(frame, &fault),
        };
        let header = message.header();
        let is_local = header.application == APPLICATION_BASE;
        let is_answer = is_local && !header.is_request() && header.command == WATCHDOG;
        self.rewind();
        match self.watchdog.received(is_answer) {
            Order::FailBack => self.owner.trust(true),
            Order::Wait | Order::Ask | Order::FailOver | Order::Close => (),
        }
        if is_local {
            return self.take_local(frame, &message);
        }
        if header.is_request() {
            self.owner.request(&message, &self.outbox);
        } else {
            self.owner.answer(&message);
        }
        Ok(())
    }

    /// What is between neighbours and never goes on.
    fn take_local(&mut self, frame: &[u8], message: &Message<'_>) -> Result<(), End> {
        let us = &self.node.capabilities;
        let is_request = message.header().is_request();
        match (Command::check(message), is_request) {
            (Ok(Command::DeviceWatchdog), true) => {
                self.send(watchdog_answer(&us.identity, us.state, message))
            }
            (Ok(Command::DisconnectPeer), true) => {
                self.owner.trust(false);
                self.leaving = Some(Instant::now() + FAREWELL_MAX);
                self.send(disconnect_answer(&us.identity, message))
            }
            (Ok(Command::DisconnectPeer), false) => Err("the farewell is answered"),
            (Ok(Command::CapabilitiesExchange), true) => {
                Err("capabilities are exchanged once per connection")
            }
            (Ok(_), _) => Ok(()),
            (Err(fault), true) => self.refuse(frame, &fault),
            (Err(fault), false) => {
                tracing::debug!(%fault, "an answer makes no sense");
                Ok(())
            }
        }
    }

    fn refuse(&mut self, frame: &[u8], fault: &Fault) -> Result<(), End> {
        tracing::info!(%fault, "a message is refused");
        if let Some(answer) = refusal(frame, fault, &self.node.capabilities.identity) {
            self.send(answer)?;
        }
        // The refusal still has to be written, so the end comes with the peer's or in a moment.
        if fault.is_fatal {
            self.leaving = self.leaving.or(Some(Instant::now() + Duration::from_millis(100)));
            self.splitter = Splitter::new();
        }
        Ok(())
    }

    fn elapsed(&mut self) -> Result<(), End> {
        self.rewind();
        match self.watchdog.elapsed() {
            Order::Wait | Order::FailBack => Ok(()),
            Order::Ask => {
                self.ask();
                Ok(())
            }
            Order::FailOver => {
                tracing::warn!("a peer does not answer the watchdog");
                self.owner.trust(false);
                Ok(())
            }
            Order::Close => Err("the peer does not answer the watchdog"),
        }
    }

    fn ask(&mut self) {
        let us = &self.node.capabilities;
        self.outbox.send(watchdog_request(&us.identity, us.state, serial()));
    }

    fn send(&mut self, frame: Vec<u8>) -> Result<(), End> {
        if self.outbox.send(frame) { Ok(()) } else { Err("the peer does not read") }
    }

    /// Tw from now, give or take a fifteenth (RFC 3539 §3.4.1: two seconds of thirty).
    fn rewind(&mut self) {
        let share = 14.0 / 15.0 + fastrand::f64() * (2.0 / 15.0);
        self.due = Instant::now() + self.node.watchdog.mul_f64(share);
    }
}

const WATCHDOG: u32 = Command::DeviceWatchdog.code();

/// Identifiers for a request of our own that nobody waits for.
pub(super) fn serial() -> Serial {
    Serial { hop_by_hop: fastrand::u32(..), end_to_end: fastrand::u32(..) }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
