//! Accepting peers: bounded in number, each with a connection of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use telco_codec::Message;
use telco_codec::peer::Capabilities;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{Connection, Outbox, Owner, Service, outbox};
use super::watchdog::Watchdog;
use super::{FAREWELL_MAX, Node, handshake, shown};

/// How long nothing is accepted after the system refused a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The bounds of a server.
#[derive(Clone, Copy, Debug)]
pub struct ServerSettings {
    /// Peers at once; more wait in the system's queue.
    pub peers_max: usize,
}

/// Serves until `stop`, then says farewell to every peer.
pub async fn serve(
    listener: TcpListener,
    node: Arc<Node>,
    service: Arc<dyn Service>,
    settings: ServerSettings,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(settings.peers_max));
    let tasks = TaskTracker::new();
    loop {
        let place = Arc::clone(&places).acquire_owned();
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = async { (place.await, listener.accept().await) } => accepted,
        };
        let (place, (stream, address)) = match accepted {
            (place, Ok(accepted)) => (place, accepted),
            (_, Err(error)) => {
                tracing::warn!(%error, "a peer cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (node, service, stop) = (Arc::clone(&node), Arc::clone(&service), stop.clone());
        tasks.spawn(async move {
            converse(stream, address, &node, service, &stop).await;
            drop(place);
        });
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(2 * FAREWELL_MAX, tasks.wait()).await.is_err() {
        tracing::warn!(peers = tasks.len(), "peers did not take our farewell in time");
    }
}

async fn converse(
    stream: TcpStream,
    address: SocketAddr,
    node: &Node,
    service: Arc<dyn Service>,
    stop: &CancellationToken,
) {
    let met = tokio::select! {
        met = handshake::accept(stream, node) => met,
        () = stop.cancelled() => return,
    };
    let met = match met {
        Ok(met) => met,
        Err(fault) => {
            let cause = std::error::Error::source(&fault).map(ToString::to_string);
            tracing::info!(%address, %fault, cause, "a connection is not accepted");
            return;
        }
    };
    let peer = Arc::new(met.peer);
    tracing::info!(peer = shown(&peer, address), product = peer.product, "a peer is here");
    let owner = Caller { peer: Arc::clone(&peer), service };
    let (outbox, queue) = outbox();
    let connection = Connection {
        stream: met.stream,
        splitter: met.splitter,
        node,
        owner: &owner,
        outbox,
        watchdog: Watchdog::fresh(),
    };
    let why = connection.run(queue, stop).await;
    tracing::info!(peer = shown(&peer, address), why, "a peer is gone");
}

/// A peer that asks.
struct Caller {
    peer: Arc<Capabilities>,
    service: Arc<dyn Service>,
}

impl Owner for Caller {
    fn request(&self, message: &Message<'_>, outbox: &Outbox) {
        self.service.take(message, &self.peer, outbox.reply());
    }

    fn answer(&self, _message: &Message<'_>) {
        tracing::debug!(peer = self.peer.identity.host(), "an answer to what was never asked");
    }

    fn trust(&self, _is_trusted: bool) {}
}
