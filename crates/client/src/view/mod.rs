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

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::Guard;
use governance_api::PodSummary;

pub use changes::{Change, Changes};
pub(crate) use feed::{Fed, Feed, PODS_MAX};
pub use pick::{Pick, Select};
pub use pod::Pod;

use feed::Snapshot;

/// The local view of the fleet. Cheap to clone; every read is of one consistent state, takes no
/// lock and never waits, whatever the manager does.
///
/// ```
/// # use governance_client::{PodSummary, Provider, Status, View};
/// # let pod = |name: &str, status| PodSummary {
/// #     pod_name: name.into(),
/// #     status,
/// #     providers: vec![
/// #         Provider::new("http", "192.0.2.1", 8080),
/// #         Provider::new("diameter", "2001:db8::1", 3868).with_id("eir-d"),
/// #     ],
/// # };
/// # let pods = vec![pod("eir-1", Status::Healthy), pod("eir-2", Status::Unhealthy)];
/// # let view = View::fixed([("eir", pods)]);
/// // let view = member.view();
/// if let Some(pick) = view.pick("eir") {
///     assert_eq!(pick.address(), "192.0.2.1:8080");
/// }
/// for pod in view.pods("eir") {
///     println!("{} is {:?}", pod.name(), pod.status());
/// }
/// ```
#[derive(Clone, Debug)]
pub struct View(Arc<Feed>);

impl View {
    pub(crate) fn new(feed: Arc<Feed>) -> Self {
        Self(feed)
    }

    /// A view that never changes, for the tests of a service.
    ///
    /// ```
    /// use governance_client::{PodSummary, Provider, Status, View};
    ///
    /// let view = View::fixed([(
    ///     "eir",
    ///     vec![PodSummary {
    ///         pod_name: "eir-1".into(),
    ///         status: Status::Healthy,
    ///         providers: vec![Provider::new("diameter", "192.0.2.1", 3868)],
    ///     }],
    /// )]);
    /// assert_eq!(view.pick("eir").unwrap().address(), "192.0.2.1:3868");
    /// ```
    pub fn fixed<S: Into<String>>(
        services: impl IntoIterator<Item = (S, Vec<PodSummary>)>,
    ) -> Self {
        let feed = Feed::new(BTreeSet::new());
        let services = services.into_iter().map(|(name, pods)| (name.into(), pods));
        feed.registered("fixed", 1, services.collect());
        Self::new(Arc::new(feed))
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
    ///
    /// ```
    /// # use governance_client::{PodSummary, Provider, Status, View};
    /// # let pod = |name: &str, status| PodSummary {
    /// #     pod_name: name.into(),
    /// #     status,
    /// #     providers: vec![
    /// #         Provider::new("http", "192.0.2.1", 8080),
    /// #         Provider::new("diameter", "2001:db8::1", 3868).with_id("eir-d"),
    /// #     ],
    /// # };
    /// # let pods = vec![pod("eir-1", Status::Healthy), pod("eir-2", Status::Unhealthy)];
    /// # let view = View::fixed([("eir", pods)]);
    /// assert_eq!(view.pick("eir").unwrap().pod().name(), "eir-1");
    /// assert!(view.pick("nobody").is_none());
    /// ```
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
    /// ```
    /// # use governance_client::Change;
    /// # use governance_client::{PodSummary, Provider, Status, View};
    /// # let pod = |name: &str, status| PodSummary {
    /// #     pod_name: name.into(),
    /// #     status,
    /// #     providers: vec![
    /// #         Provider::new("http", "192.0.2.1", 8080),
    /// #         Provider::new("diameter", "2001:db8::1", 3868).with_id("eir-d"),
    /// #     ],
    /// # };
    /// # let pods = vec![pod("eir-1", Status::Healthy), pod("eir-2", Status::Unhealthy)];
    /// # let view = View::fixed([("eir", pods)]);
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let mut changes = view.changes();
    /// # drop(view);
    /// # let mut created = 0;
    /// while let Some(change) = changes.next().await {
    ///     match change {
    ///         Change::Created(pod) => println!("{} came", pod.name()),
    ///         Change::Updated { now, .. } => println!("{} is {:?}", now.name(), now.status()),
    ///         Change::Removed(pod) => println!("{} left", pod.name()),
    ///     }
    /// # created += 1;
    /// # if created == 2 { break }
    /// }
    /// # });
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
