//! Connections that wait for the next notification to the same subscriber.
//!
//! Each costs a descriptor on both sides and some 16 KiB here, so there are only so many,
//! and none waits longer than [`IDLE_TIME`]. When there is no room, a connection is closed
//! instead: with more subscribers than places, exchanging old ones for new ones would serve none.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governance_domain::PodKey;
use governance_domain::target::{Host, Scheme, Target};
use tokio::time::Instant;

use super::connection::Connection;

/// How long one waits. Long enough for changes that follow one another, and shorter than servers
/// commonly leave a connection open.
const IDLE_TIME: Duration = Duration::from_secs(4);

/// Where a connection leads.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    scheme: Scheme,
    host: Host,
    port: u16,
}

impl Place {
    fn of(target: &Target) -> Self {
        Self { scheme: target.scheme, host: target.host.clone(), port: target.port }
    }
}

struct Idle {
    place: Place,
    since: Instant,
    connection: Connection,
}

/// The connections. The lock is held for one operation on the map.
pub(super) struct Pool {
    idle_max: usize,
    idle: Mutex<HashMap<PodKey, Idle>>,
}

impl Pool {
    /// A pool for so many connections.
    pub(super) fn new(idle_max: usize) -> Self {
        Self { idle_max, idle: Mutex::default() }
    }

    /// Takes the connection to a subscriber, if it leads where the subscriber is now.
    pub(super) fn take(&self, subscriber: &PodKey, target: &Target) -> Option<Connection> {
        let idle = self.lock().remove(subscriber)?;
        let is_usable = idle.since.elapsed() < IDLE_TIME && idle.place == Place::of(target);
        is_usable.then_some(idle.connection)
    }

    /// Keeps a connection, if there is room.
    pub(super) fn put(&self, subscriber: PodKey, target: &Target, connection: Connection) {
        let idle = Idle { place: Place::of(target), since: Instant::now(), connection };
        let mut kept = self.lock();
        if kept.len() < self.idle_max {
            kept.insert(subscriber, idle);
        }
    }

    /// Closes those that waited too long.
    pub(super) fn tidy(&self) {
        self.lock().retain(|_, idle| idle.since.elapsed() < IDLE_TIME);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PodKey, Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
