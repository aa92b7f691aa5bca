//! The pods of services that were asked for lately, as text.
//!
//! Who reads services reads the same ones again and again, and between two changes of a service
//! its text stays the same; writing it is a third of what such a read costs. A text belongs to one
//! version of a service, so it is never stale: another version is another object. Nothing tells
//! this place of changes, so a registration pays nothing for it.
//!
//! Bounded: [`SLOTS`] services of at most [`SIZE_MAX`] bytes each, some megabytes at the very most.
//! A service takes a slot from another only when it was asked for twice in a row there, so that a
//! walk through a large registry does not fill the memory with texts that nobody reads again.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use governance_domain::{Pod, Service};

use crate::wire;

/// How many services are kept.
const SLOTS: usize = 512;
/// Longer texts are not kept.
const SIZE_MAX: usize = 16 * 1024;

/// Texts by service.
pub struct Rendered {
    slots: Box<[ArcSwapOption<Kept>]>,
}

struct Kept {
    /// Held, so that its address is not given to another version.
    service: Arc<Service>,
    /// None at first: it was asked for once.
    text: Option<Box<[u8]>>,
}

impl Default for Rendered {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| ArcSwapOption::empty()).collect() }
    }
}

impl Rendered {
    /// Writes `[…]` with all pods of a service.
    pub(super) fn write_pods(&self, out: &mut Vec<u8>, service: &Arc<Service>) {
        let Some(slot) = self.slots.get(slot_of(service)) else {
            return write(out, service);
        };
        let kept = slot.load();
        let same = kept.as_ref().filter(|kept| Arc::ptr_eq(&kept.service, service));
        if let Some(text) = same.and_then(|kept| kept.text.as_deref()) {
            return out.extend_from_slice(text);
        }
        let begin = out.len();
        write(out, service);
        let text = same.and_then(|_| out.get(begin..)).map(Box::from);
        if out.len() - begin <= SIZE_MAX {
            slot.store(Some(Arc::new(Kept { service: Arc::clone(service), text })));
        }
    }
}

fn write(out: &mut Vec<u8>, service: &Service) {
    wire::fetch_ahead(&service.pods);
    wire::write_list(out, service.pods.iter(), |out, pod: &Arc<Pod>| wire::write_pod(out, pod));
}

fn slot_of(service: &Service) -> usize {
    let mut hasher = DefaultHasher::new();
    service.name.hash(&mut hasher);
    usize::try_from(hasher.finish() % SLOTS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use governance_domain::ordered::OrderedSet;
    use governance_domain::{
        Content, PodKey, PodName, RegistrationId, ServiceName, Status, Timestamp,
    };

    use super::*;

    fn service(name: &str, pods: usize, status: Status) -> Arc<Service> {
        let at = Timestamp::from_micros(0);
        let content = Arc::new(Content {
            providers: Box::default(),
            health_check_url: "http://127.0.0.1:1/health".into(),
            notification_url: "http://127.0.0.1:1/notify".into(),
            subscriptions: Box::default(),
            instance_id: None,
        });
        let mut set = OrderedSet::default();
        for number in 0..pods {
            let pod = PodName::stored(&format!("pod-{number:05}"));
            set.insert(Arc::new(Pod {
                key: PodKey::new(ServiceName::stored(name), pod),
                content: Arc::clone(&content),
                registration_id: RegistrationId::from_u64(1),
                status,
                last_health_check: None,
                registered_at: at,
                updated_at: at,
            }));
        }
        Arc::new(Service { name: ServiceName::stored(name), pods: set })
    }

    fn text(rendered: &Rendered, service: &Arc<Service>) -> Vec<u8> {
        let mut out = b"before".to_vec();
        rendered.write_pods(&mut out, service);
        out
    }

    fn kept(rendered: &Rendered, service: &Arc<Service>) -> bool {
        let kept = rendered.slots[slot_of(service)].load();
        kept.as_ref().is_some_and(|k| Arc::ptr_eq(&k.service, service) && k.text.is_some())
    }

    #[test]
    fn text_is_kept_from_the_second_time_and_is_that_of_the_version_asked_for() {
        let rendered = Rendered::default();
        let (old, new) = (service("a", 3, Status::Unknown), service("a", 3, Status::Healthy));
        let first = text(&rendered, &old);
        assert!(!kept(&rendered, &old));
        assert_eq!(text(&rendered, &old), first);
        assert!(kept(&rendered, &old));
        assert_eq!(text(&rendered, &old), first);
        let changed = text(&rendered, &new);
        assert_ne!(changed, first);
        assert_eq!(text(&rendered, &new), changed);
        assert_eq!(text(&rendered, &old), first, "an older version may still be asked for");
    }

    #[test]
    fn long_text_is_not_kept() {
        let rendered = Rendered::default();
        let large = service("a", 200, Status::Unknown);
        let first = text(&rendered, &large);
        assert_eq!(text(&rendered, &large), first);
        assert!(!kept(&rendered, &large) && rendered.slots.iter().all(|s| s.load().is_none()));
    }
}
