//! Deciding: what a command means on top of the registry and the earlier changes of its batch.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::change::Change;
use crate::command::{Evict, Register, Unregister};
use crate::content::Difference;
use crate::name::{PodKey, ServiceName};
use crate::pod::{Pod, Status};
use crate::registry::Registry;
use crate::rejection::Rejection;
use crate::revision::RegistrationId;
use crate::time::Timestamp;

/// What a command was decided into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A fact to be stored.
    Changed(Change),
    /// All is already as the command wants it; this is the registration in force.
    Unchanged(RegistrationId),
}

/// The registry plus what a batch has decided so far. Nothing is written to the registry.
#[derive(Debug)]
pub struct Draft<'a> {
    registry: &'a Registry,
    /// Pods that this batch touched: their state after it, none if they left.
    touched: BTreeMap<PodKey, Option<Arc<Pod>>>,
    /// Change in the number of pods of a service.
    growth: BTreeMap<ServiceName, isize>,
    /// Services that this batch made, by folded name.
    founded: BTreeMap<Arc<str>, Vec<ServiceName>>,
    pods_per_service_max: usize,
    next_id: RegistrationId,
}

impl<'a> Draft<'a> {
    /// A draft without changes. `last_id` is the last registration id given.
    pub fn new(
        registry: &'a Registry,
        pods_per_service_max: usize,
        last_id: RegistrationId,
    ) -> Self {
        Self {
            registry,
            touched: BTreeMap::new(),
            growth: BTreeMap::new(),
            founded: BTreeMap::new(),
            pods_per_service_max,
            next_id: last_id.next(),
        }
    }

    /// The last registration id given, by this draft or before it.
    pub fn last_id(&self) -> RegistrationId {
        RegistrationId::from_u64(self.next_id.as_u64() - 1)
    }

    /// The state of a pod after this draft.
    pub fn pod(&self, key: &PodKey) -> Option<&Arc<Pod>> {
        match self.touched.get(key) {
            Some(touched) => touched.as_ref(),
            None => self.registry.pod_by(key),
        }
    }

    /// The pods that this draft touched, with their state after it.
    pub fn touched(&self) -> impl Iterator<Item = (&PodKey, Option<&Arc<Pod>>)> {
        self.touched.iter().map(|(key, pod)| (key, pod.as_ref()))
    }

    /// Decides a registration.
    pub fn register(&mut self, command: &Register, now: Timestamp) -> Result<Decision, Rejection> {
        let Register { key, content } = command;
        let Some(current) = self.pod(key).cloned() else {
            self.check_room(&key.service)?;
            self.check_case(&key.service)?;
            self.note_arrival(&key.service);
            return Ok(self.registered(command, now));
        };
        match current.content.difference(content) {
            Difference::None => Ok(Decision::Unchanged(current.registration_id)),
            Difference::Identity => Ok(self.registered(command, now)),
            Difference::Wishes => {
                let amended =
                    Pod { content: Arc::clone(content), updated_at: now, ..Pod::clone(&current) };
                self.touched.insert(key.clone(), Some(Arc::new(amended)));
                Ok(Decision::Changed(Change::PodAmended {
                    key: key.clone(),
                    registration_id: current.registration_id,
                    content: Arc::clone(content),
                    at: now,
                }))
            }
        }
    }

    /// Decides a removal.
    pub fn unregister(&mut self, command: &Unregister) -> Result<Change, Rejection> {
        let key = &command.key;
        let current =
            self.pod(key).ok_or_else(|| Rejection::PodUnknown(key.clone())).map(Arc::clone)?;
        if let Some(given) = command.registration_id
            && given != current.registration_id
        {
            let current = current.registration_id;
            return Err(Rejection::RegistrationSuperseded { key: key.clone(), given, current });
        }
        if let Some(given) = &command.instance_id
            && Some(given) != current.content.instance_id.as_ref()
        {
            return Err(Rejection::InstanceSuperseded { key: key.clone(), given: given.clone() });
        }
        let registration_id = current.registration_id;
        self.note_departure(key);
        Ok(Change::PodUnregistered { key: key.clone(), registration_id })
    }

    /// Decides a removal for failed checks; nothing, if the pod recovered or registered again.
    pub fn evict(&mut self, command: &Evict) -> Option<Change> {
        let Evict { key, registration_id } = command;
        let is_due = self.pod(key).is_some_and(|pod| {
            pod.registration_id == *registration_id && pod.status == Status::Unhealthy
        });
        if !is_due {
            return None;
        }
        self.note_departure(key);
        Some(Change::PodEvicted { key: key.clone(), registration_id: *registration_id })
    }

    fn registered(&mut self, command: &Register, now: Timestamp) -> Decision {
        let registration_id = self.next_id;
        self.next_id = registration_id.next();
        let pod = Arc::new(Pod {
            key: command.key.clone(),
            registration_id,
            content: Arc::clone(&command.content),
            status: Status::Unknown,
            last_health_check: None,
            registered_at: now,
            updated_at: now,
        });
        self.touched.insert(command.key.clone(), Some(Arc::clone(&pod)));
        Decision::Changed(Change::PodRegistered { pod })
    }

    /// How many pods the service has after this draft.
    fn pods_of(&self, service: &ServiceName) -> usize {
        let stored = self.registry.service(service.as_str()).map_or(0, |found| found.pods.len());
        let growth = self.growth.get(service).copied().unwrap_or(0);
        stored.saturating_add_signed(growth)
    }

    fn check_room(&self, service: &ServiceName) -> Result<(), Rejection> {
        let limit = self.pods_per_service_max;
        if self.pods_of(service) < limit {
            Ok(())
        } else {
            Err(Rejection::ServiceFull { service: service.clone(), limit })
        }
    }

    /// A service that exists may grow whatever its name; a new one must not fold to another's.
    fn check_case(&self, service: &ServiceName) -> Result<(), Rejection> {
        if self.pods_of(service) > 0 {
            return Ok(());
        }
        let folded = service.folded();
        let founded = self.founded.get(&folded).map_or(&[][..], Vec::as_slice);
        let stored = self.registry.services_folding_to(&folded);
        match stored.iter().chain(founded).find(|o| *o != service && self.pods_of(o) > 0) {
            Some(existing) => Err(Rejection::ServiceNameCollision {
                wanted: service.clone(),
                existing: existing.clone(),
            }),
            None => Ok(()),
        }
    }

    fn note_departure(&mut self, key: &PodKey) {
        self.touched.insert(key.clone(), None);
        *self.growth.entry(key.service.clone()).or_default() -= 1;
    }

    fn note_arrival(&mut self, service: &ServiceName) {
        if self.pods_of(service) == 0 {
            self.founded.entry(service.folded()).or_default().push(service.clone());
        }
        *self.growth.entry(service.clone()).or_default() += 1;
    }
}
