//! What a pod says of itself when it registers, and when two such texts mean the same.

use crate::provider::Provider;
use crate::subscription::Subscription;

/// The content of a registration, parsed and normalised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Where the pod offers its service; no two are equal, the order is the pod's.
    pub providers: Box<[Provider]>,
    /// What is probed.
    pub health_check_url: Box<str>,
    /// Where notifications go.
    pub notification_url: Box<str>,
    /// What the pod wants to hear of; at most one entry per service, the order is the pod's.
    pub subscriptions: Box<[Subscription]>,
    /// New for every process of a pod, when the pod's library sends it.
    pub instance_id: Option<Box<str>>,
}

/// How a registration differs from the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// It says the same.
    None,
    /// Only what the pod wants to hear, and where: its health stays known.
    Wishes,
    /// It is another endpoint, another probe or another process: nothing is known of its health.
    Identity,
}

impl Content {
    /// Compares as sets: neither the order of providers nor that of subscriptions matters.
    pub fn difference(&self, newer: &Self) -> Difference {
        if self.health_check_url != newer.health_check_url
            || self.instance_id != newer.instance_id
            || !same_set(&self.providers, &newer.providers)
        {
            Difference::Identity
        } else if self.notification_url != newer.notification_url
            || !same_set(&self.subscriptions, &newer.subscriptions)
        {
            Difference::Wishes
        } else {
            Difference::None
        }
    }

    /// The fields in which a registration differs from this one before it, in the API's words.
    pub fn differing_fields(&self, newer: &Self) -> impl Iterator<Item = &'static str> {
        let fields = [
            ("providers", !same_set(&self.providers, &newer.providers)),
            ("health_check_url", self.health_check_url != newer.health_check_url),
            ("notification_url", self.notification_url != newer.notification_url),
            ("subscriptions", !same_set(&self.subscriptions, &newer.subscriptions)),
            ("instance_id", self.instance_id != newer.instance_id),
        ];
        fields.into_iter().filter(|(_, is_different)| *is_different).map(|(name, _)| name)
    }

    /// Whether subscribers see the same of both.
    pub fn offers_same(&self, other: &Self) -> bool {
        same_set(&self.providers, &other.providers)
    }
}

/// Whether two lists without repetition hold the same elements.
fn same_set<T: Ord>(left: &[T], right: &[T]) -> bool {
    if left == right {
        return true;
    }
    if left.len() != right.len() {
        return false;
    }
    let sorted = |list| {
        let mut refs: Vec<&T> = Vec::from_iter(list);
        refs.sort_unstable();
        refs
    };
    sorted(left) == sorted(right)
}

/// Removes repetitions and keeps the order of first appearance.
pub fn distinct(providers: Vec<Provider>) -> Box<[Provider]> {
    let mut kept: Vec<Provider> = Vec::with_capacity(providers.len());
    for provider in providers {
        if !kept.contains(&provider) {
            kept.push(provider);
        }
    }
    kept.into()
}
