//! Diameter over TCP: accepting peers ([`serve`]), and sending to a changing set of them
//! ([`Trunk`]).
//!
//! Connections exchange capabilities first and are watched (RFC 3539) ever after. Bounds: peers at
//! once, frames waiting to be written per connection (a peer that does not read is cut off),
//! requests under way in a trunk (then [`Undelivered::Busy`]), and every wait.

mod connection;
mod errand;
mod handshake;
mod line;
mod server;
mod trunk;
mod watchdog;

use std::net::SocketAddr;
use std::time::Duration;

use telco_codec::peer::Capabilities;

pub use connection::{Reply, Service};
pub use errand::Undelivered;
pub use server::{ServerSettings, serve};
pub use trunk::{Counts, Route, Target, Trunk, TrunkSettings};

/// Who we are to our peers, and how patient.
#[derive(Clone, Debug)]
pub struct Node {
    /// What we say of ourselves.
    pub capabilities: Capabilities,
    /// Tw of RFC 3539: silence after which a peer is asked whether it lives. Each wait varies by a
    /// fifteenth, so that peers do not ask in step.
    pub watchdog: Duration,
}

/// How long an exchange of capabilities may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// How long a write may take, and how long a farewell is waited for.
const WRITE_MAX: Duration = Duration::from_secs(5);
const FAREWELL_MAX: Duration = Duration::from_secs(2);
/// Frames, and bytes, that wait to be written on one connection.
const OUTBOX_MAX: usize = 4_096;
const OUTBOX_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of requests under way in one trunk.
const UNDER_WAY_BYTES: usize = 64 * 1024 * 1024;
/// Bytes read at once.
const CHUNK: usize = 16 * 1024;

/// A number for Origin-State-Id that grows with every start: seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "it must grow across restarts, which needs the wall")]
pub fn state_id() -> u32 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.ok().and_then(|since| u32::try_from(since.as_secs()).ok()).unwrap_or(1)
}

/// For the log.
fn shown(peer: &Capabilities, address: SocketAddr) -> String {
    format!("{} ({address})", peer.identity.host())
}
