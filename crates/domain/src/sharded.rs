//! A persistent map by service name without order: cloning shares everything, and a change copies
//! little that is not in the cache.
//!
//! Two levels of pointers above small lists: [`FAN_OUT`]² lists in all. A clone copies one pointer
//! per group; a change after a clone copies one group and one list. An ordered set would copy a
//! chunk of entries per change and compare names to find it, and each entry touched costs a visit
//! to memory that is probably not in the cache: measured at 100,000 pods, that was most of what a
//! registration cost.
//!
//! Which list a name falls into depends on a seed: a caller that can choose names must not be able
//! to choose names that all fall into one.

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use crate::name::ServiceName;
use crate::ordered::Keyed;

/// Groups in the map, and lists in a group.
const FAN_OUT: usize = 64;

/// Names that hash alike, with their hashes so that most others are told apart without a visit.
type List<V> = Arc<Vec<(u64, V)>>;
type Group<V> = Arc<Vec<List<V>>>;

/// The map. See the module's text for its costs.
#[derive(Clone, Debug)]
pub(crate) struct Sharded<V> {
    groups: Vec<Group<V>>,
    len: usize,
    seed: u64,
}

impl<V: Keyed<Key = ServiceName>> Sharded<V> {
    /// An empty map.
    pub(crate) fn new(seed: u64) -> Self {
        let list: List<V> = Arc::default();
        let group: Group<V> = Arc::new(vec![list; FAN_OUT]);
        Self { groups: vec![group; FAN_OUT], len: 0, seed }
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, name: &str) -> Option<&V> {
        let hash = self.hash(name);
        let (group, list) = places(hash);
        let list = self.groups.get(group)?.get(list)?;
        list.iter().find(|entry| matches(entry, hash, name)).map(|(_, value)| value)
    }

    /// Puts a value in the place of the one with its name.
    pub(crate) fn insert(&mut self, value: V) {
        let hash = self.hash(value.key().as_str());
        let Some(list) = self.list_mut(hash) else { return };
        let found = list.iter().position(|entry| matches(entry, hash, value.key().as_str()));
        match found.and_then(|at| list.get_mut(at)) {
            Some(entry) => entry.1 = value,
            None => {
                list.push((hash, value));
                self.len += 1;
            }
        }
    }

    /// Takes the value with this name out, if there is one.
    pub(crate) fn remove(&mut self, name: &str) {
        if self.get(name).is_none() {
            return; // an absent name must not copy anything
        }
        let hash = self.hash(name);
        let Some(list) = self.list_mut(hash) else { return };
        list.retain(|entry| !matches(entry, hash, name));
        self.len -= 1;
    }

    /// The list of a hash, as a copy of its own if a clone shares it.
    fn list_mut(&mut self, hash: u64) -> Option<&mut Vec<(u64, V)>> {
        let (group, list) = places(hash);
        let group = Arc::make_mut(self.groups.get_mut(group)?);
        Some(Arc::make_mut(group.get_mut(list)?))
    }

    fn hash(&self, name: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        hasher.write(name.as_bytes());
        hasher.finish()
    }
}

fn matches<V: Keyed<Key = ServiceName>>(entry: &(u64, V), hash: u64, name: &str) -> bool {
    entry.0 == hash && entry.1.key().as_str() == name
}

/// Group and list of a hash.
fn places(hash: u64) -> (usize, usize) {
    let place = |shift: u32| usize::try_from((hash >> shift) % FAN_OUT as u64).unwrap_or(0);
    (place(0), place(32))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Entry(ServiceName, u8);

    impl Keyed for Entry {
        type Key = ServiceName;
        fn key(&self) -> &ServiceName {
            &self.0
        }
    }

    proptest! {
        #[test]
        fn behaves_like_a_standard_map_and_leaves_clones_alone(
            script in prop::collection::vec((any::<bool>(), 0_u16..200, any::<u8>()), 0..600),
            seed in any::<u64>(),
        ) {
            let name = |key: u16| ServiceName::stored(&format!("service-{key}"));
            let (mut map, mut model) = (Sharded::new(seed), BTreeMap::new());
            let mut earlier: Option<(Sharded<Entry>, BTreeMap<u16, u8>)> = None;
            for (step, (inserts, key, value)) in script.into_iter().enumerate() {
                if step % 97 == 0 {
                    earlier = Some((map.clone(), model.clone()));
                }
                if inserts {
                    map.insert(Entry(name(key), value));
                    model.insert(key, value);
                } else {
                    map.remove(name(key).as_str());
                    model.remove(&key);
                }
                prop_assert_eq!(map.len(), model.len());
            }
            for (map, model) in earlier.into_iter().chain([(map, model)]) {
                for key in 0..200 {
                    let found = map.get(name(key).as_str()).map(|entry| entry.1);
                    prop_assert_eq!(found, model.get(&key).copied());
                }
            }
        }
    }
}
