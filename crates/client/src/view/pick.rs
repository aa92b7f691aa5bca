//! Choosing one endpoint: which are eligible, whose turn it is, and how long a choice counts.

use std::fmt;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use governance_api::Provider;

use super::View;
use super::group::{Candidate, Candidates, Group};
use super::pod::Pod;

/// Least-outstanding looks at so many endpoints, from whose turn it is on. With more pods than
/// that the least of a sample is as good, and a pick's cost does not follow the fleet's size.
const COMPARED_MAX: usize = 64;

/// How one of several endpoints is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Order {
    #[default]
    RoundRobin,
    LeastOutstanding,
}

/// A lookup that is being described; [`pick`](Select::pick) ends it.
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
/// let peer = view.select("eir").protocol("diameter").least_outstanding().pick().unwrap();
/// assert_eq!((peer.provider().protocol.as_str(), peer.port()), ("diameter", 3868));
/// assert!(view.select("eir").provider_id("nobody").pick().is_none());
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is chosen before `pick`"]
pub struct Select<'a> {
    view: &'a View,
    service: &'a str,
    protocol: Option<&'a str>,
    provider_id: Option<&'a str>,
    only_healthy: bool,
    order: Order,
}

impl<'a> Select<'a> {
    pub(super) fn new(view: &'a View, service: &'a str) -> Self {
        let order = Order::RoundRobin;
        Self { view, service, protocol: None, provider_id: None, only_healthy: false, order }
    }

    /// Only endpoints that speak this.
    pub fn protocol(self, protocol: &'a str) -> Self {
        Self { protocol: Some(protocol), ..self }
    }

    /// Only endpoints with this id.
    pub fn provider_id(self, provider_id: &'a str) -> Self {
        Self { provider_id: Some(provider_id), ..self }
    }

    /// Only endpoints of pods whose last check succeeded; else those whose first check is still to
    /// come are taken when nobody is healthy, and any when there is nobody else.
    pub fn only_healthy(self) -> Self {
        Self { only_healthy: true, ..self }
    }

    /// Of the eligible, the pod with the fewest [`Pick`]s alive instead of the next in turn. With
    /// more than 64 eligible, the least of 64.
    pub fn least_outstanding(self) -> Self {
        Self { order: Order::LeastOutstanding, ..self }
    }

    /// The choice; none if nobody is eligible, or the service is not subscribed to.
    pub fn pick(self) -> Option<Pick> {
        let snapshot = self.view.snapshot();
        let group = snapshot.groups.get(self.service)?;
        let candidates = self.candidates(group)?;
        let tiers = [&candidates.healthy, &candidates.unknown, &candidates.all];
        let tiers = if self.only_healthy { tiers.get(..1) } else { tiers.get(..) };
        let chosen = tiers?.iter().find_map(|tier| self.choose(tier, candidates))?;
        Some(Pick::new(chosen.clone()))
    }

    fn candidates(self, group: &Group) -> Option<&Candidates> {
        match (self.provider_id, self.protocol) {
            (Some(id), _) => group.by_provider_id.get(id),
            (None, Some(protocol)) => group.by_protocol.get(protocol),
            (None, None) => Some(&group.any),
        }
    }

    fn choose<'c>(self, tier: &'c [Candidate], of: &Candidates) -> Option<&'c Candidate> {
        if tier.is_empty() {
            return None;
        }
        let first = of.turn.fetch_add(1, Ordering::Relaxed) % tier.len();
        let (before, from) = tier.split_at_checked(first)?;
        let mut rest = from.iter().chain(before).filter(|candidate| self.speaks(candidate));
        match self.order {
            Order::RoundRobin => rest.next(),
            // Of equals the first, which is another one each time.
            Order::LeastOutstanding => {
                rest.take(COMPARED_MAX).min_by_key(|candidate| candidate.pod.outstanding())
            }
        }
    }

    /// Lists by id hold every protocol.
    fn speaks(self, candidate: &Candidate) -> bool {
        self.provider_id.is_none()
            || self.protocol.is_none_or(|protocol| candidate.provider().protocol == protocol)
    }
}

/// A chosen endpoint. While it lives, it counts as outstanding at its pod.
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
/// let pick = view.select("eir").provider_id("eir-d").pick().unwrap();
/// assert_eq!((pick.address(), pick.pod().outstanding()), ("[2001:db8::1]:3868".to_owned(), 1));
/// let pod = pick.pod().clone();
/// drop(pick);
/// assert_eq!(pod.outstanding(), 0);
/// ```
#[derive(Debug)]
#[must_use = "dropped, it no longer counts as outstanding"]
pub struct Pick(Candidate);

impl Pick {
    fn new(candidate: Candidate) -> Self {
        candidate.pod.counter().fetch_add(1, Ordering::Relaxed);
        Self(candidate)
    }

    /// The pod.
    pub fn pod(&self) -> &Arc<Pod> {
        &self.0.pod
    }

    /// The endpoint: the one that was asked for, else the pod's first.
    pub fn provider(&self) -> &Provider {
        self.0.provider()
    }

    /// The endpoint's IP address or host name, without brackets.
    pub fn host(&self) -> &str {
        &self.provider().ip
    }

    /// The endpoint's port.
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// `host:port` as URLs and connectors take it: IPv6 in brackets.
    pub fn address(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host();
        if host.parse::<Ipv6Addr>().is_ok() {
            write!(f, "[{host}]:{}", self.port())
        } else {
            write!(f, "{host}:{}", self.port())
        }
    }
}

impl Drop for Pick {
    fn drop(&mut self) {
        self.0.pod.counter().fetch_sub(1, Ordering::Relaxed);
    }
}
