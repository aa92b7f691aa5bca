//! The rules by which the view changes, and the one place where a new state is published.
//!
//! Revisions compare only within one registry. A body of the same registry counts when its revision
//! is higher than what is held; one of another registry counts never by itself, because nobody can
//! say which of two registries is the later one: it makes the session register again, and the
//! answer to that, which nobody can have sent before, is taken whole.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use governance_api::{Notification, PodSummary};
use tokio::sync::watch;

use super::group::Group;

/// Pods in the whole view. A body that would go beyond is not taken.
pub(crate) const PODS_MAX: usize = 200_000;

/// The view at one moment.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// None before the first answer.
    pub(super) registry_id: Option<Arc<str>>,
    /// One for each service that is subscribed to and known.
    pub(super) groups: HashMap<Arc<str>, Arc<Group>>,
}

/// What became of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fed {
    /// It is the newest state now.
    Applied,
    /// As new or newer is held; nothing changed.
    Older,
    /// Of another registry than the one registered with: time to register again.
    Foreign,
    /// Nobody asked for this service.
    NotSubscribed,
    /// The view would hold more than [`PODS_MAX`] pods.
    TooLarge,
}

/// Holds the view and changes it.
#[derive(Debug)]
pub(crate) struct Feed {
    published: ArcSwap<Snapshot>,
    /// The services subscribed to; held while a new state is made, so that there is one writer.
    subscribed: Mutex<BTreeSet<String>>,
    version: watch::Sender<u64>,
    /// Notifications of subscribed services that were understood.
    heard: AtomicU64,
}

impl Feed {
    pub(crate) fn new(subscribed: BTreeSet<String>) -> Self {
        Self {
            published: ArcSwap::default(),
            subscribed: Mutex::new(subscribed),
            version: watch::Sender::new(0),
            heard: AtomicU64::new(0),
        }
    }

    pub(super) fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.published.load()
    }

    pub(crate) fn snapshot_owned(&self) -> Arc<Snapshot> {
        self.published.load_full()
    }

    /// Changes with every new state.
    pub(crate) fn versions(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// How many notifications have come.
    pub(crate) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// From now on these services are wanted; others are forgotten with the next registration.
    pub(crate) fn subscribe(&self, services: BTreeSet<String>) {
        *self.subscribed.lock().unwrap_or_else(PoisonError::into_inner) = services;
    }

    /// A notification came.
    pub(crate) fn notified(&self, notification: Notification) -> Fed {
        let subscribed = self.subscribed.lock().unwrap_or_else(PoisonError::into_inner);
        if !subscribed.contains(&notification.service_name) {
            return Fed::NotSubscribed;
        }
        self.heard.fetch_add(1, Ordering::Relaxed);
        let Notification { service_name, revision, registry_id, pods, .. } = notification;
        let before = self.snapshot();
        if before.registry_id.as_deref() != Some(&registry_id) {
            return Fed::Foreign;
        }
        let known = before.groups.get(service_name.as_str());
        if known.is_some_and(|known| known.revision >= revision) {
            return Fed::Older;
        }
        let mut groups = before.groups.clone();
        put(&mut groups, &service_name, revision, pods);
        self.publish(Snapshot { registry_id: before.registry_id.clone(), groups })
    }

    /// A registration was answered. The answer shows every service subscribed to.
    pub(crate) fn registered(
        &self,
        registry_id: &str,
        revision: u64,
        services: BTreeMap<String, Vec<PodSummary>>,
    ) -> Fed {
        let _one_writer = self.subscribed.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.snapshot();
        let is_same = before.registry_id.as_deref() == Some(registry_id);
        let mut groups = before.groups.clone();
        groups.retain(|service, _| services.contains_key(&**service));
        for (service, pods) in services {
            let known = groups.get(service.as_str()).filter(|_| is_same);
            // The same revision through another filter is another list.
            if known.is_none_or(|known| known.revision <= revision) {
                put(&mut groups, &service, revision, pods);
            }
        }
        self.publish(Snapshot { registry_id: Some(registry_id.into()), groups })
    }

    /// What an earlier process kept, of services still subscribed to; only before anything else.
    pub(crate) fn restored(
        &self,
        registry_id: &str,
        services: BTreeMap<String, (u64, Vec<PodSummary>)>,
    ) -> Fed {
        let subscribed = self.subscribed.lock().unwrap_or_else(PoisonError::into_inner);
        if self.snapshot().registry_id.is_some() {
            return Fed::Older;
        }
        let mut groups = HashMap::new();
        for (service, (revision, pods)) in services {
            if subscribed.contains(&service) {
                put(&mut groups, &service, revision, pods);
            }
        }
        self.publish(Snapshot { registry_id: Some(registry_id.into()), groups })
    }

    /// INVARIANT: called with the lock held, so that states follow one another.
    fn publish(&self, snapshot: Snapshot) -> Fed {
        let pods: usize = snapshot.groups.values().map(|group| group.pods.len()).sum();
        if pods > PODS_MAX {
            return Fed::TooLarge;
        }
        self.published.store(Arc::new(snapshot));
        self.version.send_modify(|version| *version += 1);
        Fed::Applied
    }
}

fn put(
    groups: &mut HashMap<Arc<str>, Arc<Group>>,
    service: &str,
    revision: u64,
    pods: Vec<PodSummary>,
) {
    let known = groups.get_key_value(service);
    let name = known.map_or_else(|| Arc::from(service), |(name, _)| Arc::clone(name));
    let group = Group::new(&name, revision, pods, known.map(|(_, group)| &**group));
    groups.insert(name, Arc::new(group));
}
