//! A TCP proxy that misbehaves on command: cuts, delays, swallows. It knows no protocol; what it
//! acts on is "the next thing that the client sends".

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// So much is read at once: a request that is smaller arrives as one piece.
const PIECE_BYTES: usize = 256 * 1024;

/// What becomes of the next piece that a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing of it reaches the server; both connections are cut.
    CutBefore,
    /// Half of it reaches the server; then both connections are cut.
    CutWithin,
    /// All of it reaches the server; when the server answers, both connections are cut, and
    /// nothing of the answer reaches the client.
    CutAfter,
    /// All of it reaches the server, but nothing of the answer the client, which is not told.
    SwallowAnswer,
}

/// What becomes of everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    Clear,
    Slow(Duration),
    /// Everything is accepted and nothing arrives.
    BlackHole,
    /// New connections are closed at once.
    Refusing,
}

/// A running proxy; it ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Where clients connect.
    pub address: SocketAddr,
    state: Arc<State>,
    listener: AbortHandle,
}

#[derive(Debug)]
struct State {
    upstream: SocketAddr,
    weather: watch::Sender<Weather>,
    /// Counts the cuts; a connection that was made before the newest one ends.
    cuts: watch::Sender<u64>,
    fate: Mutex<Option<Fate>>,
}

impl State {
    fn take_fate(&self) -> Option<Fate> {
        self.fate.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set_fate(&self, fate: Fate) {
        *self.fate.lock().unwrap_or_else(PoisonError::into_inner) = Some(fate);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
        self.cut();
    }
}

impl Proxy {
    /// Starts one on a free port of the loopback interface.
    pub async fn start(upstream: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            upstream,
            weather: watch::Sender::new(Weather::Clear),
            cuts: watch::Sender::new(0),
            fate: Mutex::new(None),
        });
        let accepting = accept(listener, Arc::clone(&state));
        Ok(Self { address, state, listener: spawn(accepting) })
    }

    /// Decides over the next piece that any client sends.
    pub fn doom_next(&self, fate: Fate) {
        self.state.set_fate(fate);
    }

    /// Cuts all connections that are there now.
    pub fn cut(&self) {
        self.state.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Forwards again, also what was held back.
    pub fn clear(&self) {
        self.state.weather.send_replace(Weather::Clear);
    }

    /// Holds every piece back for so long, in both directions.
    pub fn delay(&self, delay: Duration) {
        self.state.weather.send_replace(Weather::Slow(delay));
    }

    /// Goes on accepting, and forwards nothing until [`Proxy::clear`].
    pub fn black_hole(&self) {
        self.state.weather.send_replace(Weather::BlackHole);
    }

    /// Cuts all connections and closes new ones at once, until [`Proxy::clear`].
    pub fn refuse(&self) {
        self.state.weather.send_replace(Weather::Refusing);
        self.cut();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the proxy aborts it when it is dropped; connections end with the cut"
)]
fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
    tokio::spawn(task).abort_handle()
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        if *state.weather.borrow() != Weather::Refusing {
            let cuts = state.cuts.subscribe();
            spawn(serve(client, Arc::clone(&state), cuts));
        }
    }
}

async fn serve(client: TcpStream, state: Arc<State>, mut cuts: watch::Receiver<u64>) {
    let Ok(server) = TcpStream::connect(state.upstream).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let answers = watch::Sender::new(None);
    let up = pump_up(from_client, to_server, &state, &answers);
    let down = pump_down(from_server, to_client, &state, answers.subscribe());
    // Whichever ends first takes the other with it, and both sockets.
    tokio::select! {
        _ = up => {}
        _ = down => {}
        _ = cuts.changed() => {}
    }
}

/// Waits until the weather lets a piece through.
async fn wait_out(state: &State) {
    let mut weather = state.weather.subscribe();
    let now = *weather.borrow_and_update();
    if let Weather::Slow(delay) = now {
        tokio::time::sleep(delay).await;
    }
    // The sender lives as long as `state`.
    let _ = weather.wait_for(|now| *now != Weather::BlackHole).await;
}

async fn pump_up(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    state: &State,
    answers: &watch::Sender<Option<Fate>>,
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let length = from.read(&mut buffer).await?;
        let piece = buffer.get(..length).unwrap_or_default();
        if piece.is_empty() {
            return Ok(());
        }
        wait_out(state).await;
        match state.take_fate() {
            Some(Fate::CutBefore) => return Ok(()),
            Some(Fate::CutWithin) => {
                to.write_all(piece.get(..length / 2).unwrap_or_default()).await?;
                return to.flush().await;
            }
            Some(fate @ (Fate::CutAfter | Fate::SwallowAnswer)) => {
                answers.send_replace(Some(fate));
            }
            None => {}
        }
        to.write_all(piece).await?;
    }
}

async fn pump_down(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    state: &State,
    answers: watch::Receiver<Option<Fate>>,
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let length = from.read(&mut buffer).await?;
        let piece = buffer.get(..length).unwrap_or_default();
        if piece.is_empty() {
            return Ok(());
        }
        wait_out(state).await;
        let fate = *answers.borrow();
        match fate {
            Some(Fate::SwallowAnswer) => {}
            Some(_) => return Ok(()),
            None => to.write_all(piece).await?,
        }
    }
}
