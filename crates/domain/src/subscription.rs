//! Subscriptions: a pod's wish to hear of a service, wholly or in part.

use std::collections::BTreeSet;

use crate::name::ServiceName;
use crate::pod::{Pod, Status};
use crate::provider::Provider;

/// Which providers of a service a subscriber wants to see.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProviderFilter {
    /// All providers of all pods.
    All,
    /// Only providers with one of these ids, and only pods that have one. Never empty.
    Only(BTreeSet<Box<str>>),
}

impl ProviderFilter {
    /// A filter from a list of ids; none means all.
    pub fn from_ids(ids: BTreeSet<Box<str>>) -> Self {
        if ids.is_empty() { Self::All } else { Self::Only(ids) }
    }

    /// Whether a provider passes.
    pub fn admits(&self, provider: &Provider) -> bool {
        match self {
            Self::All => true,
            Self::Only(ids) => provider.id.as_ref().is_some_and(|id| ids.contains(id)),
        }
    }

    fn unite(&mut self, other: Self) {
        match (&mut *self, other) {
            (Self::All, _) => {}
            (Self::Only(_), Self::All) => *self = Self::All,
            (Self::Only(mine), Self::Only(theirs)) => mine.extend(theirs),
        }
    }
}

/// One service a pod wants to hear of. A pod holds at most one per service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subscription {
    /// The service; it need not have pods.
    pub service: ServiceName,
    /// Which of its providers.
    pub filter: ProviderFilter,
    /// Leave out pods that are unhealthy.
    pub healthy_only: bool,
}

impl Subscription {
    /// Everything of a service.
    pub fn to_all_of(service: ServiceName) -> Self {
        Self { service, filter: ProviderFilter::All, healthy_only: false }
    }

    /// Whether this subscription shows the pod at all.
    pub fn shows(&self, pod: &Pod) -> bool {
        (!self.healthy_only || pod.status != Status::Unhealthy)
            && match &self.filter {
                ProviderFilter::All => true,
                ProviderFilter::Only(_) => {
                    pod.content.providers.iter().any(|p| self.filter.admits(p))
                }
            }
    }

    /// Whether it shows nothing less than the whole service.
    pub fn is_plain(&self) -> bool {
        self.filter == ProviderFilter::All && !self.healthy_only
    }
}

/// Unites several entries for one service: the wider wish wins. The order of first appearance is
/// kept, because it is what the operator sees.
pub fn unite(entries: Vec<Subscription>) -> Box<[Subscription]> {
    let mut positions = std::collections::BTreeMap::new();
    let mut united: Vec<Subscription> = Vec::with_capacity(entries.len());
    for entry in entries {
        let position = *positions.entry(entry.service.clone()).or_insert(united.len());
        match united.get_mut(position) {
            Some(earlier) => {
                earlier.filter.unite(entry.filter);
                earlier.healthy_only &= entry.healthy_only;
            }
            None => united.push(entry),
        }
    }
    united.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(service: &str, ids: &[&str], healthy_only: bool) -> Subscription {
        let filter = ProviderFilter::from_ids(ids.iter().map(|id| (*id).into()).collect());
        Subscription { service: ServiceName::stored(service), filter, healthy_only }
    }

    #[test]
    fn all_wins_over_a_filter_in_either_order() {
        for entries in [
            vec![entry("a", &["x"], false), entry("a", &[], false)],
            vec![entry("a", &[], false), entry("a", &["x"], false)],
        ] {
            assert_eq!(unite(entries).as_ref(), [entry("a", &[], false)]);
        }
    }

    #[test]
    fn filters_of_one_service_are_united_and_order_is_kept() {
        let united = unite(vec![
            entry("b", &["x"], true),
            entry("a", &[], false),
            entry("b", &["y"], false),
        ]);
        assert_eq!(united.as_ref(), [entry("b", &["x", "y"], false), entry("a", &[], false)]);
    }
}
