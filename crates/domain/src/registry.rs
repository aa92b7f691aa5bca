//! The registry: which pods exist. The one place where the rules of registration stand.
//!
//! A command is decided on a [`Draft`] (the registry plus the earlier changes of the same batch),
//! the changes are stored by somebody else, and then applied here. Applying cannot fail: what was
//! stored is true. Kept: all pods, by service and name, and who subscribes to what. Not kept:
//! history, timers, what anybody was told.
//!
//! A clone is a snapshot: it shares all but what changes afterwards, and never moves. Services are
//! found through a map without order, and listed through the names in order.
//!
//! Invariants, held by [`Registry::assert_consistent`]: no service is empty; `pod_count` is the
//! number of pods; each subscription of a pod stands in the index of subscribers, and nothing else
//! does; the revision never goes back.

use std::sync::Arc;

use crate::change::{Applied, Change, Notice, NoticeKind};
use crate::content::Content;
use crate::name::{PodKey, PodName, ServiceName};
use crate::ordered::{Keyed, OrderedSet};
use crate::pod::{Pod, Status};
use crate::revision::{RegistrationId, Revision};
use crate::sharded::Sharded;
use crate::time::Timestamp;

/// A service and its pods; there is no empty one.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// Its pods, by name.
    pub pods: OrderedSet<Arc<Pod>>,
}

impl Keyed for Arc<Service> {
    type Key = ServiceName;

    fn key(&self) -> &ServiceName {
        &self.name
    }
}

impl Keyed for ServiceName {
    type Key = Self;

    fn key(&self) -> &Self {
        self
    }
}

impl Keyed for PodKey {
    type Key = Self;

    fn key(&self) -> &Self {
        self
    }
}

/// Who wants to hear of one service, whether it has pods or not.
#[derive(Clone, Debug, PartialEq)]
struct Audience {
    service: ServiceName,
    subscribers: OrderedSet<PodKey>,
}

impl Keyed for Arc<Audience> {
    type Key = ServiceName;

    fn key(&self) -> &ServiceName {
        &self.service
    }
}

/// The existing services whose names are the same in lower case: one, unless old rows say more.
#[derive(Clone, Debug, PartialEq)]
struct Fold {
    folded: Arc<str>,
    names: Vec<ServiceName>,
}

impl Keyed for Fold {
    type Key = Arc<str>;

    fn key(&self) -> &Arc<str> {
        &self.folded
    }
}

/// All pods, as of one revision.
#[derive(Clone, Debug)]
pub struct Registry {
    services: Sharded<Arc<Service>>,
    /// The names of all services in order; touched only when one appears or vanishes.
    names: OrderedSet<ServiceName>,
    folds: OrderedSet<Fold>,
    audiences: OrderedSet<Arc<Audience>>,
    pod_count: usize,
    revision: Revision,
}

impl Registry {
    /// An empty registry that gives its first change the revision after `revision`.
    pub fn new(revision: Revision) -> Self {
        Self::seeded(revision, 0)
    }

    /// The same, with a seed for where names are kept: one that callers cannot know keeps them
    /// from choosing names that slow down one another. It shows in nothing that is returned.
    pub fn seeded(revision: Revision, seed: u64) -> Self {
        Self {
            services: Sharded::new(seed),
            names: OrderedSet::default(),
            folds: OrderedSet::default(),
            audiences: OrderedSet::default(),
            pod_count: 0,
            revision,
        }
    }

    /// Takes stored pods in, without giving revisions. Later ones replace earlier ones of the
    /// same key.
    pub fn load(&mut self, pods: impl IntoIterator<Item = Arc<Pod>>) {
        for pod in pods {
            self.put(&pod);
        }
    }

    /// The revision of the last change.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Continues in a later epoch; an earlier one changes nothing.
    pub fn advance_to(&mut self, revision: Revision) {
        self.revision = self.revision.max(revision);
    }

    /// How many pods are registered.
    pub fn pod_count(&self) -> usize {
        self.pod_count
    }

    /// How many services have pods.
    pub fn service_count(&self) -> usize {
        self.services.len()
    }

    /// The service of that name, if it has pods.
    pub fn service(&self, name: &str) -> Option<&Arc<Service>> {
        self.services.get(name)
    }

    /// One pod.
    pub fn pod(&self, service: &str, pod: &str) -> Option<&Arc<Pod>> {
        self.service(service)?.pods.get(pod)
    }

    /// One pod by its key.
    pub fn pod_by(&self, key: &PodKey) -> Option<&Arc<Pod>> {
        self.pod(key.service.as_str(), key.pod.as_str())
    }

    /// All services in order of their names.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.names.iter().filter_map(|name| self.service(name.as_str()))
    }

    /// All pods in order of service and name.
    pub fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.services().flat_map(|service| service.pods.iter())
    }

    /// The pods at and after a key, in order: what a page of a list continues with.
    pub fn pods_from<'a>(
        &'a self,
        service: &'a str,
        pod: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Pod>> {
        let names = self.names.range_from(service);
        names.filter_map(|name| self.service(name.as_str())).flat_map(move |found| {
            let start = if found.name.as_str() == service { pod } else { "" };
            found.pods.range_from(start)
        })
    }

    /// The pods that subscribe to a service, in order; the service need not exist.
    pub fn subscribers(&self, service: &str) -> impl Iterator<Item = &PodKey> {
        self.audiences.get(service).into_iter().flat_map(|audience| audience.subscribers.iter())
    }

    /// Another existing service with the same name but for case.
    pub(crate) fn services_folding_to(&self, folded: &str) -> &[ServiceName] {
        self.folds.get(folded).map_or(&[], |fold| fold.names.as_slice())
    }

    /// Applies a stored change and gives it its revision. A change that concerns a registration
    /// that is no longer there does nothing and takes no revision.
    pub fn apply(&mut self, change: &Change) -> Applied {
        match change {
            Change::PodRegistered { pod } => self.replace(Arc::clone(pod), NoticeKind::Register),
            Change::PodAmended { key, registration_id, content, at } => {
                match self.registered_as(key, *registration_id) {
                    Some(pod) => {
                        let content = Arc::clone(content);
                        let amended = Pod { content, updated_at: *at, ..Pod::clone(pod) };
                        self.replace(Arc::new(amended), NoticeKind::Register)
                    }
                    None => self.unconcerned(),
                }
            }
            Change::PodUnregistered { key, registration_id }
            | Change::PodEvicted { key, registration_id } => {
                if self.registered_as(key, *registration_id).is_none() {
                    return self.unconcerned();
                }
                let before = self.take(key);
                self.applied(&key.service, before, None, Some(NoticeKind::Unregister))
            }
        }
    }

    /// Applies what a check found; a result for an earlier registration does nothing. A status
    /// that stays is not a change: it only moves `last_health_check` and takes no revision.
    pub fn observe(
        &mut self,
        key: &PodKey,
        registration_id: RegistrationId,
        verdict: Verdict,
    ) -> Applied {
        let Some(pod) = self.registered_as(key, registration_id) else { return self.unconcerned() };
        let Verdict { status, at } = verdict;
        let mut observed = Pod { status, last_health_check: Some(at), ..Pod::clone(pod) };
        if pod.status == status {
            self.put(&Arc::new(observed));
            return self.unconcerned();
        }
        observed.updated_at = at.max(pod.updated_at);
        self.replace(Arc::new(observed), NoticeKind::Update)
    }

    /// The pod, if this is its registration.
    fn registered_as(&self, key: &PodKey, id: RegistrationId) -> Option<&Arc<Pod>> {
        self.pod_by(key).filter(|pod| pod.registration_id == id)
    }

    /// Puts a pod in its place; subscribers are owed a notice if they see a difference.
    fn replace(&mut self, pod: Arc<Pod>, kind: NoticeKind) -> Applied {
        let before = self.put(&pod);
        let is_seen = before.as_ref().is_none_or(|before| {
            before.status != pod.status || !before.content.offers_same(&pod.content)
        });
        let service = pod.key.service.clone();
        self.applied(&service, before, Some(pod), is_seen.then_some(kind))
    }

    fn applied(
        &mut self,
        service: &ServiceName,
        before: Option<Arc<Pod>>,
        after: Option<Arc<Pod>>,
        kind: Option<NoticeKind>,
    ) -> Applied {
        self.revision = self.revision.next();
        let revision = self.revision;
        let notice = kind.map(|kind| Notice { service: service.clone(), kind, revision });
        Applied { revision, before, after, notice }
    }

    fn unconcerned(&self) -> Applied {
        Applied { revision: self.revision, before: None, after: None, notice: None }
    }

    /// Puts a pod in its place and returns the one that was there.
    fn put(&mut self, pod: &Arc<Pod>) -> Option<Arc<Pod>> {
        let name = &pod.key.service;
        let mut service = match self.services.get(name.as_str()) {
            Some(service) => Service::clone(service),
            None => {
                self.note_name(name);
                Service { name: name.clone(), pods: OrderedSet::default() }
            }
        };
        let earlier = service.pods.insert(Arc::clone(pod));
        self.services.insert(Arc::new(service));
        if earlier.is_none() {
            self.pod_count += 1;
        }
        let kept: &[_] = earlier.as_ref().map_or(&[], |pod| &pod.content.subscriptions);
        if kept != &*pod.content.subscriptions {
            if let Some(earlier) = &earlier {
                self.forget_wishes(&pod.key, &earlier.content);
            }
            self.note_wishes(&pod.key, &pod.content);
        }
        earlier
    }

    /// Takes a pod out, and its service with the last one.
    fn take(&mut self, key: &PodKey) -> Option<Arc<Pod>> {
        let mut service = Service::clone(self.services.get(key.service.as_str())?);
        let pod = service.pods.remove::<PodName>(&key.pod)?;
        if service.pods.is_empty() {
            self.services.remove(key.service.as_str());
            self.forget_name(&key.service);
        } else {
            self.services.insert(Arc::new(service));
        }
        self.forget_wishes(key, &pod.content);
        self.pod_count -= 1;
        Some(pod)
    }

    fn note_name(&mut self, name: &ServiceName) {
        self.names.insert(name.clone());
        let folded = name.folded();
        let mut names = self.services_folding_to(&folded).to_vec();
        names.push(name.clone());
        self.folds.insert(Fold { folded, names });
    }

    fn forget_name(&mut self, name: &ServiceName) {
        self.names.remove(name.as_str());
        let folded = name.folded();
        let mut names = self.services_folding_to(&folded).to_vec();
        names.retain(|other| other != name);
        if names.is_empty() {
            self.folds.remove(&*folded);
        } else {
            self.folds.insert(Fold { folded, names });
        }
    }

    fn note_wishes(&mut self, key: &PodKey, content: &Content) {
        for wish in &content.subscriptions {
            let mut audience = match self.audiences.get(wish.service.as_str()) {
                Some(audience) => Audience::clone(audience),
                None => {
                    Audience { service: wish.service.clone(), subscribers: OrderedSet::default() }
                }
            };
            audience.subscribers.insert(key.clone());
            self.audiences.insert(Arc::new(audience));
        }
    }

    fn forget_wishes(&mut self, key: &PodKey, content: &Content) {
        for wish in &content.subscriptions {
            let Some(audience) = self.audiences.get(wish.service.as_str()) else {
                continue;
            };
            let mut audience = Audience::clone(audience);
            audience.subscribers.remove(key);
            if audience.subscribers.is_empty() {
                self.audiences.remove(wish.service.as_str());
            } else {
                self.audiences.insert(Arc::new(audience));
            }
        }
    }

    /// Recounts everything and compares. For tests and self-audits; it visits every pod.
    ///
    /// # Panics
    /// When an invariant of this module does not hold.
    pub fn assert_consistent(&self) {
        let mut rebuilt = Self::seeded(self.revision, self.services.seed());
        rebuilt.load(self.pods().cloned());
        assert_eq!(self.pod_count, self.pods().count(), "pod_count");
        assert!(self.services().all(|service| !service.pods.is_empty()), "an empty service");
        assert!(self.names == rebuilt.names, "names of services");
        assert_eq!(self.services.len(), self.names.len(), "as many services as names");
        assert!(self.services().eq(rebuilt.services()), "services");
        assert!(self.audiences == rebuilt.audiences, "index of subscribers");
        let names = |registry: &Self| -> Vec<(Arc<str>, Vec<ServiceName>)> {
            let sorted = |fold: &Fold| {
                let mut names = fold.names.clone();
                names.sort();
                (Arc::clone(&fold.folded), names)
            };
            registry.folds.iter().map(sorted).collect()
        };
        assert_eq!(names(self), names(&rebuilt), "index of names");
    }
}

/// What a check found: soft state, applied at once and stored when the store is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What the check found.
    pub status: Status,
    /// When it ended.
    pub at: Timestamp,
}
