//! One pod of another service, as the manager last described it. Immutable but for the count of
//! picks that are still held, which outlives the description.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use governance_api::{PodSummary, Provider, Status};

/// A pod of a service that is subscribed to.
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
/// let pod = &view.pods("eir")[1];
/// assert_eq!((pod.service(), pod.name(), pod.status()), ("eir", "eir-2", Status::Unhealthy));
/// assert_eq!(pod.providers()[0].port, 8080);
/// ```
#[derive(Clone, Debug)]
pub struct Pod {
    service: Arc<str>,
    summary: PodSummary,
    /// Shared by all descriptions of this pod, so that a change of health does not lose the count.
    outstanding: Arc<AtomicUsize>,
}

impl Pod {
    pub(super) fn new(
        service: &Arc<str>,
        summary: PodSummary,
        outstanding: Arc<AtomicUsize>,
    ) -> Self {
        Self { service: Arc::clone(service), summary, outstanding }
    }

    /// The service it belongs to.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Its name within the service.
    pub fn name(&self) -> &str {
        &self.summary.pod_name
    }

    /// What the manager's last check found.
    pub fn status(&self) -> Status {
        self.summary.status
    }

    /// Its endpoints, as far as the subscription shows them.
    pub fn providers(&self) -> &[Provider] {
        &self.summary.providers
    }

    /// How many picks of it this process holds.
    pub fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }

    pub(super) fn summary(&self) -> &PodSummary {
        &self.summary
    }

    pub(super) fn counter(&self) -> &Arc<AtomicUsize> {
        &self.outstanding
    }
}

impl PartialEq for Pod {
    /// Equal when the manager says the same of both; the count of picks is ours.
    fn eq(&self, other: &Self) -> bool {
        self.service == other.service && self.summary == other.summary
    }
}

impl Eq for Pod {}
