//! Notifications: every subscriber comes to hold the newest state of what it subscribes to, in
//! order, however much changes and however badly some subscribers behave.
//!
//! `mailbox` takes what the writer publishes, `dispatch` knows who is owed what, `delivery` makes
//! one POST, `reconcile` says when the state is repeated, `task` runs it all. What subscribers
//! were told is kept in memory alone: after a start everyone is told again.
//!
//! Not here: what a registration is answered (that is `http`), and which addresses may be
//! connected to (the [`Connector`] decides).

mod body;
mod bucket;
mod connection;
mod courier;
mod delivery;
mod dispatch;
mod limits;
mod list;
mod mailbox;
mod pool;
mod reconcile;
mod slots;
mod subscriber;
mod task;
mod traced;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use fastrand::Rng;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::config::{Notification, UnhealthyPods};
use crate::engine::{EngineHandle, Observer};

pub use courier::{Courier, Failure, Fault, Parcel};
pub use delivery::{Attempts, Connector, HttpCourier, Stream};
pub use task::NotifyTask;

use dispatch::Dispatch;
use limits::Limits;
use mailbox::Mailbox;
use reconcile::Pace;

/// What notifications need of the engine, beside what it publishes.
pub trait Office: Send + Sync + 'static {
    /// Whether this manager is the one that may tell subscribers anything, at this very moment.
    fn may_send(&self) -> bool;

    /// Has an entry about a round of repeated notifications written into the audit.
    fn note_reconcile(&self, details: String);
}

impl Office for EngineHandle {
    fn may_send(&self) -> bool {
        self.may_act()
    }

    fn note_reconcile(&self, details: String) {
        Self::note_reconcile(self, details);
    }
}

/// Makes the two sides of notifications.
#[derive(Debug)]
pub struct Notify;

impl Notify {
    /// The observer for the engine, and the task that sends.
    #[expect(clippy::new_ret_no_self, reason = "the two sides are what is wanted")]
    pub fn new(
        settings: &Notification,
        engine: EngineHandle,
        clock: Arc<dyn Clock>,
        connector: Arc<dyn Connector>,
    ) -> (Arc<dyn Observer>, NotifyTask) {
        let office: Arc<dyn Office> = Arc::new(engine);
        let limits = Limits::of_this_process();
        let attempts = Attempts { timeout: settings.timeout, idle_max: limits.idle };
        let courier =
            HttpCourier::new(connector, Arc::clone(&clock), Arc::clone(&office), attempts);
        let (observer, task) =
            assemble(settings, limits, office, clock, Arc::new(courier), Rng::new());
        (observer, task)
    }
}

/// The same with every dependency given.
fn assemble(
    settings: &Notification,
    limits: Limits,
    office: Arc<dyn Office>,
    clock: Arc<dyn Clock>,
    courier: Arc<dyn Courier>,
    random: Rng,
) -> (Arc<Mailbox>, NotifyTask) {
    let pace = Pace { interval: settings.interval, min_interval: settings.min_interval };
    let hides_unhealthy = settings.unhealthy_pods == UnhealthyPods::Hide;
    let mailbox = Arc::new(Mailbox::default());
    let task = NotifyTask {
        mailbox: Arc::clone(&mailbox),
        dispatch: Arc::new(Mutex::new(Dispatch::new(pace, limits, hides_unhealthy, random))),
        courier,
        office,
        clock,
        interval: settings.interval,
        attempts: JoinSet::new(),
        tickets: HashMap::new(),
        handles: HashMap::new(),
        rested: Instant::now(),
        resume: None,
    };
    (mailbox, task)
}
