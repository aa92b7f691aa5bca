//! Rows whose `service_key` is not `service_name:pod_name`, as other hands left them. They are
//! shown and removed by their names, so the key under which they stand must be remembered.
//!
//! Filled by a load, which follows every start and take-over; between loads only we write.

use std::collections::HashMap;

use governance_domain::PodKey;

/// What a load found. Empty in all but the oldest databases.
#[derive(Debug, Default)]
pub(super) struct OddKeys {
    by_pod: HashMap<PodKey, Vec<String>>,
    by_key: HashMap<String, PodKey>,
}

impl OddKeys {
    /// Remembers a row if its key is odd; says whether it is.
    pub(super) fn note(&mut self, service_key: &str, pod: &PodKey) -> bool {
        let is_odd = pod.to_string() != service_key;
        if is_odd {
            let keys = self.by_pod.entry(pod.clone()).or_default();
            keys.push(service_key.to_owned());
            self.by_key.insert(service_key.to_owned(), pod.clone());
        }
        is_odd
    }

    /// The keys beside its regular one under which rows of a pod stand.
    pub(super) fn of(&self, pod: &PodKey) -> &[String] {
        self.by_pod.get(pod).map_or(&[], Vec::as_slice)
    }

    /// Whose row stands under a key, if it is another pod's than the key says.
    pub(super) fn owner(&self, service_key: &str) -> Option<&PodKey> {
        self.by_key.get(service_key)
    }

    /// A batch that touched these pods is stored: none of their odd rows is there any more, and a
    /// regular row stands where another pod's odd one stood.
    pub(super) fn forget<'a>(&mut self, pods: impl IntoIterator<Item = &'a PodKey>) {
        if self.by_key.is_empty() {
            return;
        }
        for pod in pods {
            for key in self.by_pod.remove(pod).unwrap_or_default() {
                self.by_key.remove(&key);
            }
            let regular = pod.to_string();
            let Some(other) = self.by_key.remove(&regular) else {
                continue;
            };
            if let Some(keys) = self.by_pod.get_mut(&other) {
                keys.retain(|key| *key != regular);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use governance_domain::{PodName, ServiceName};

    use super::*;

    fn pod(service: &str, pod: &str) -> PodKey {
        PodKey::new(ServiceName::stored(service), PodName::stored(pod))
    }

    #[test]
    fn odd_keys_are_known_until_their_pod_is_stored_again() {
        let mut odd = OddKeys::default();
        assert!(!odd.note("a:b", &pod("a", "b")));
        assert!(odd.note("x", &pod("a", "b")));
        assert!(odd.note("y", &pod("a", "b")));
        assert_eq!(odd.of(&pod("a", "b")), ["x", "y"]);
        odd.forget([&pod("a", "b")]);
        assert!(odd.of(&pod("a", "b")).is_empty());
    }

    #[test]
    fn a_regular_row_takes_the_place_of_another_pods_odd_one() {
        let mut odd = OddKeys::default();
        odd.note("c:d", &pod("a", "b"));
        odd.forget([&pod("c", "d")]);
        assert!(odd.of(&pod("a", "b")).is_empty());
    }
}
