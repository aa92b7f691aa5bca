//! What this process knows of the services it subscribes to: read without locks, changed by what
//! the manager answers and sends, kept while the manager is away.
//!
//! `feed` says what changes the view and what does not, `group` arranges a service's pods for
//! lookups, `pick` chooses one, `changes` tells differences, `keep` puts it on disk.

mod changes;
mod feed;
mod group;
pub(crate) mod keep;
mod pick;
mod pod;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arc_swap::Guard;

pub use changes::{Change, Changes};
pub(crate) use feed::{Fed, Feed, PODS_MAX};
pub use pick::{Pick, Select};
pub use pod::Pod;

use feed::Snapshot;

/// The local view of the fleet. Cheap to clone; every read is of one consistent state, takes no
/// lock and never waits, whatever the manager does.
///
/// ```no_run
/// # async fn f(member: &governance_client::Member) {
/// let view = member.view();
/// if let Some(pick) = view.pick("eir") {
///     println!("eir is at {}", pick.address());
/// }
/// for pod in view.pods("eir") {
///     println!("{} is {:?}", pod.name(), pod.status());
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct View(Arc<Feed>);

impl View {
    pub(crate) fn new(feed: Arc<Feed>) -> Self {
        Self(feed)
    }

    fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.0.snapshot()
    }

    /// All pods of a service, whatever their status, by name. Empty also for a service that is not
    /// subscribed to, or not known yet: [`revision`](View::revision) tells them apart.
    pub fn pods(&self, service: &str) -> Vec<Arc<Pod>> {
        let snapshot = self.snapshot();
        snapshot.groups.get(service).map(|group| group.pods.clone()).unwrap_or_default()
    }

    /// One endpoint of a healthy pod; if there is none, of one whose first check is still to come;
    /// else of any. In turn. The same as `select(service).pick()`.
    pub fn pick(&self, service: &str) -> Option<Pick> {
        self.select(service).pick()
    }

    /// One endpoint of a healthy pod, in turn.
    pub fn pick_healthy(&self, service: &str) -> Option<Pick> {
        self.select(service).only_healthy().pick()
    }

    /// A lookup by protocol, provider id, or fewest outstanding.
    pub fn select<'a>(&'a self, service: &'a str) -> Select<'a> {
        Select::new(self, service)
    }

    /// The revision of a service's list; none if it is not subscribed to or not known yet.
    pub fn revision(&self, service: &str) -> Option<u64> {
        self.snapshot().groups.get(service).map(|group| group.revision)
    }

    /// The registry that the view shows; none before the first registration and without a kept
    /// view. Revisions compare only within one.
    pub fn registry_id(&self) -> Option<Arc<str>> {
        self.snapshot().registry_id.clone()
    }

    /// What changes from now on, beginning with a [`Change::Created`] for every pod there is.
    ///
    /// A reader that is slow is never cut off and never holds anybody up: it gets the difference
    /// between what it saw last and what is now, so it may miss steps, never outcomes.
    ///
    /// ```no_run
    /// # use governance_client::{Change, View};
    /// # async fn f(view: View) {
    /// let mut changes = view.changes();
    /// while let Some(change) = changes.next().await {
    ///     match change {
    ///         Change::Created(pod) => println!("{} came", pod.name()),
    ///         Change::Updated { now, .. } => println!("{} is {:?}", now.name(), now.status()),
    ///         Change::Removed(pod) => println!("{} left", pod.name()),
    ///     }
    /// }
    /// # }
    /// ```
    pub fn changes(&self) -> Changes {
        Changes::of(&self.0)
    }

    /// The view as `GET /subscribed-services` shows it.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(&keep::Kept::of(&self.snapshot()))
            .expect("texts and numbers always have a JSON form")
    }
}
