//! Connections: accepted, bounded in number and in time, and drained at the end.
//!
//! Bounds, and what happens there: at `connections_max` the longest-idle connections are closed
//! and new ones wait in the system's queue; a request whose headers do not arrive, and a peer that
//! does not take its answer, are cut off; an idle connection is closed. Bodies have their own
//! bounds in `body`. Without file descriptors the server waits and says so once.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::link::{Link, Order, Patience, Seconds};
use super::router::{App, Peer};
use super::stream::{Stream, tls_required};
use crate::access::{HandshakeFault, Presented};

/// The largest head of a request, and the library's buffer for it.
const HEAD_MAX: usize = 16 * 1024;
/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 250;
/// How long nothing is accepted after the system refused a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a client that does not speak TLS may take to be told so.
const TURN_AWAY_MAX: Duration = Duration::from_secs(5);

/// The bounds of the server.
#[derive(Clone, Copy, Debug)]
pub struct ServerSettings {
    /// Connections at once.
    pub connections_max: usize,
    /// From the first byte of a request to the last of its headers.
    pub header_timeout: Duration,
    /// How long a connection may idle between two requests.
    pub idle_timeout: Duration,
    /// How long a peer may take no byte of its answer.
    pub stall_timeout: Duration,
    /// How long requests under way may take once the server is told to stop.
    pub drain_timeout: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(3),
            stall_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// Serves until `shutdown`, then closes the listeners, finishes what is under way, and returns
/// how many connections had to be cut off because they did not finish in time.
pub async fn serve(
    listeners: Vec<TcpListener>,
    app: App,
    shutdown: CancellationToken,
    settings: ServerSettings,
) -> usize {
    let mut hall = Hall::new(app, settings);
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let is_open = !hall.is_full() && hall.paused_until.is_none();
        tokio::select! {
            () = shutdown.cancelled() => break,
            _ = tick.tick() => hall.inspect(),
            Some(ended) = hall.tasks.join_next_with_id() => hall.forget(&ended),
            () = pause(hall.paused_until) => hall.paused_until = None,
            accepted = accept(&listeners), if is_open => hall.admit(accepted),
        }
    }
    drop(listeners);
    hall.drain().await
}

/// The next connection on any of the listeners.
async fn accept(listeners: &[TcpListener]) -> io::Result<(TcpStream, SocketAddr)> {
    poll_fn(|ctx| {
        let accepted = listeners.iter().map(|listener| listener.poll_accept(ctx));
        accepted.into_iter().find(Poll::is_ready).unwrap_or(Poll::Pending)
    })
    .await
}

async fn pause(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// All connections.
struct Hall {
    app: App,
    settings: ServerSettings,
    builder: Arc<auto::Builder<TokioExecutor>>,
    seconds: Arc<Seconds>,
    /// One per connection.
    tasks: JoinSet<()>,
    links: HashMap<Id, Arc<Link>>,
    /// Nothing is accepted before; set when the system refuses.
    paused_until: Option<Instant>,
    /// Whether the trouble with accepting was told already.
    is_warned: bool,
}

impl Hall {
    fn new(app: App, settings: ServerSettings) -> Self {
        Self {
            app,
            settings,
            builder: Arc::new(builder()),
            seconds: Arc::default(),
            tasks: JoinSet::new(),
            links: HashMap::new(),
            paused_until: None,
            is_warned: false,
        }
    }

    fn is_full(&self) -> bool {
        self.tasks.len() >= self.settings.connections_max
    }

    fn admit(&mut self, accepted: io::Result<(TcpStream, SocketAddr)>) {
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(fault) => return self.refused(&fault),
        };
        self.is_warned = false;
        // Answers are written whole; waiting for more only delays them.
        if let Err(fault) = socket.set_nodelay(true) {
            tracing::debug!(%fault, "a connection ended before it began");
            return;
        }
        let link = Arc::new(Link::new(Arc::clone(&self.seconds)));
        let (builder, app) = (Arc::clone(&self.builder), self.app.clone());
        let task = self.tasks.spawn(converse(builder, app, socket, peer, Arc::clone(&link)));
        self.links.insert(task.id(), link);
        if self.is_full() {
            self.make_room();
        }
    }

    /// The system gives no connection: its peer went away, or there are no descriptors left.
    fn refused(&mut self, fault: &io::Error) {
        if matches!(
            fault.kind(),
            io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::Interrupted
        ) {
            return;
        }
        if !std::mem::replace(&mut self.is_warned, true) {
            tracing::warn!(
                %fault,
                connections = self.tasks.len(),
                "cannot accept connections; idle ones are closed, and new ones wait: raise the \
                 limit of open files if this persists"
            );
        }
        self.paused_until = Some(Instant::now() + ACCEPT_PAUSE);
        self.make_room();
    }

    /// Closes what took too long; called once a second.
    fn inspect(&mut self) {
        self.seconds.advance();
        let patience = Patience {
            head: self.settings.header_timeout.as_secs(),
            idle: self.settings.idle_timeout.as_secs(),
            stall: self.settings.stall_timeout.as_secs(),
        };
        for link in self.links.values() {
            match link.judge(patience) {
                Order::Serve => {}
                order @ (Order::Retire | Order::Cut) => link.tell(order),
            }
        }
        if self.is_full() {
            self.make_room();
        }
    }

    /// Closes the one per cent of connections that have been idle the longest.
    fn make_room(&self) {
        let idle = self.links.values().filter_map(|link| Some((link.idle_for()?, link)));
        let mut idle: Vec<_> = idle.filter(|(seconds, _)| *seconds > 0).collect();
        idle.sort_unstable_by_key(|(seconds, _)| std::cmp::Reverse(*seconds));
        for (_, link) in idle.into_iter().take(self.settings.connections_max / 100 + 1) {
            link.tell(Order::Retire);
        }
    }

    fn forget(&mut self, ended: &Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => *id,
            Err(fault) => {
                tracing::error!(%fault, "a connection's task panicked; this is a bug");
                fault.id()
            }
        };
        self.links.remove(&id);
    }

    /// Lets requests under way finish; what is left at the deadline is cut off.
    async fn drain(&mut self) -> usize {
        let deadline = Instant::now() + self.settings.drain_timeout;
        for link in self.links.values() {
            link.tell(Order::Retire);
        }
        while let Ok(Some(ended)) = timeout_at(deadline, self.tasks.join_next_with_id()).await {
            self.forget(&ended);
        }
        let left = self.tasks.len();
        if left > 0 {
            tracing::warn!(connections = left, "requests did not end in time and were cut off");
        }
        self.tasks.shutdown().await;
        left
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None) // it would run between requests, too: see `link`
        .max_buf_size(HEAD_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(16 * 1024)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// Serves one connection to its end; with TLS, once the handshake is done.
async fn converse(
    builder: Arc<auto::Builder<TokioExecutor>>,
    app: App,
    socket: TcpStream,
    peer: SocketAddr,
    link: Arc<Link>,
) {
    let caller = Caller { peer, presented: None };
    let Some(access) = app.access().cloned() else {
        return speak(builder, app, socket, caller, link).await;
    };
    let Some(tls) = access.tls() else {
        let caller = Caller { presented: Some(Presented::None), ..caller };
        return speak(builder, app, socket, caller, link).await;
    };
    let secured = tokio::select! {
        secured = tls.secure(socket) => secured,
        // It is to make room for others, or the server ends: nothing was asked yet.
        _ = link.ordered() => return,
    };
    match secured {
        Ok((stream, presented)) => {
            let caller = Caller { presented: Some(presented), ..caller };
            speak(builder, app, stream, caller, link).await;
        }
        Err(HandshakeFault::Plain(socket)) => turn_away(socket, &link).await,
        Err(fault) => tracing::debug!(%peer, %fault, "a connection ended before it began"),
    }
}

/// Says that this port speaks TLS, to a client that does not.
async fn turn_away(socket: TcpStream, link: &Arc<Link>) {
    let mut stream = Stream::new(socket, Arc::clone(link));
    let answer = async {
        // What it asked is not looked at, but taken in: else it would lose the answer.
        let mut asked = [0; 2_048];
        let _size = stream.read(&mut asked).await?;
        stream.write_all(&tls_required()).await?;
        stream.shutdown().await
    };
    let _ended = tokio::time::timeout(TURN_AWAY_MAX, answer).await;
}

/// Who is on the other side of a connection.
struct Caller {
    peer: SocketAddr,
    /// What came of its certificate; none if nobody is asked who he is.
    presented: Option<Presented>,
}

impl Caller {
    /// Puts into a request what those need who answer it.
    fn sign(&self, request: &mut http::Request<Body>) {
        let is_admin = || request.uri().path().starts_with("/admin/");
        // For the audit, which keeps no reads, and for what only this machine may ask.
        if request.method() != http::Method::GET || is_admin() {
            request.extensions_mut().insert(Peer(self.peer));
        }
        if let Some(presented) = &self.presented {
            request.extensions_mut().insert(presented.clone());
        }
    }
}

async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    builder: Arc<auto::Builder<TokioExecutor>>,
    app: App,
    socket: S,
    caller: Caller,
    link: Arc<Link>,
) {
    let service = service_fn(|request: http::Request<Incoming>| {
        let busy = link.begin(request.version() == http::Version::HTTP_2);
        let mut request = request.map(Body::new);
        caller.sign(&mut request);
        let app = app.clone();
        async move {
            let answer = app.answer(request).await;
            drop(busy);
            Ok::<_, Infallible>(answer)
        }
    });
    let io = TokioIo::new(Stream::new(socket, Arc::clone(&link)));
    let mut connection = pin!(builder.serve_connection(io, service));
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(fault) = ended {
                    let peer = caller.peer;
                    tracing::debug!(%peer, fault = %fault, "a connection ended early");
                }
                return;
            }
            order = link.ordered() => match order {
                Order::Serve => {}
                Order::Retire => connection.as_mut().graceful_shutdown(),
                Order::Cut => return,
            },
        }
    }
}
