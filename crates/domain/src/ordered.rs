//! A persistent ordered set: cloning shares everything, changing copies little.
//!
//! Two levels: a spine of pointers to chunks of at most [`CHUNK_MAX`] entries. A clone copies one
//! pointer; a change after a clone copies the spine and one chunk. With n entries that is
//! n / [`CHUNK_MAX`] + [`CHUNK_MAX`] pointers, so the cost of publishing a registry does not
//! follow its size. The standard maps would copy every entry; general persistent maps exist as
//! libraries, but either without order or under a licence that asks for more than ours.
//!
//! Invariants: no chunk is empty; keys ascend strictly within and across chunks; `len` is the sum.

use std::borrow::Borrow;
use std::sync::Arc;

/// Entries in a chunk before it is split in two. Small, because every entry of a copied chunk
/// costs a reference count in memory that is probably not in the cache.
const CHUNK_MAX: usize = 32;

/// An entry that carries its own key.
pub trait Keyed: Clone {
    /// What entries are ordered by.
    type Key: Ord;
    /// The key; it must not change while the entry is in a set.
    fn key(&self) -> &Self::Key;
}

/// The set. See the module's text for its costs.
#[derive(Clone, Debug)]
pub struct OrderedSet<V> {
    /// Shared with every clone until one of them changes.
    chunks: Arc<Vec<Arc<Vec<V>>>>,
    len: usize,
}

impl<V> Default for OrderedSet<V> {
    fn default() -> Self {
        Self { chunks: Arc::new(Vec::new()), len: 0 }
    }
}

impl<V: Keyed> OrderedSet<V> {
    /// How many entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The entry with this key.
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        V::Key: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let chunk = self.chunks.get(self.chunk_for(key))?;
        chunk.get(position(chunk, key)?)
    }

    /// The first entry with a key of at least `key`, and all after it, in order.
    pub fn range_from<'a, Q>(&'a self, key: &Q) -> impl Iterator<Item = &'a V> + use<'a, V, Q>
    where
        V::Key: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let first = self.chunk_for(key);
        let skipped = self
            .chunks
            .get(first)
            .map_or(0, |chunk| chunk.partition_point(|entry| entry.key().borrow() < key));
        self.chunks.iter().skip(first).flat_map(|chunk| chunk.iter()).skip(skipped)
    }

    /// All entries in order.
    pub fn iter(&self) -> impl Iterator<Item = &V> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// Puts an entry in the place of the one with its key, which is returned.
    pub fn insert(&mut self, entry: V) -> Option<V> {
        let at = self.chunk_for(entry.key());
        let chunks = Arc::make_mut(&mut self.chunks);
        let Some(chunk) = chunks.get_mut(at) else {
            chunks.push(Arc::new(vec![entry]));
            self.len += 1;
            return None;
        };
        let chunk = Arc::make_mut(chunk);
        if let Some(found) = position(chunk, entry.key()) {
            return chunk.get_mut(found).map(|place| std::mem::replace(place, entry));
        }
        let gap = chunk.partition_point(|other| other.key() < entry.key());
        // Grows by what is needed: most sets are a handful of pods, for ever.
        chunk.reserve_exact(1);
        chunk.insert(gap, entry);
        self.len += 1;
        if chunk.len() > CHUNK_MAX {
            let upper = chunk.split_off(CHUNK_MAX / 2);
            chunks.insert(at + 1, Arc::new(upper));
        }
        None
    }

    /// Takes the entry with this key out.
    pub fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        V::Key: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.get(key)?; // an absent key must not copy anything
        let at = self.chunk_for(key);
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(chunks.get_mut(at)?);
        let entry = chunk.remove(position(chunk, key)?);
        self.len -= 1;
        if chunk.is_empty() {
            chunks.remove(at);
        } else {
            merge_small(chunks, at);
        }
        Some(entry)
    }

    /// The only chunk that may hold `key`; `0` when there is none.
    fn chunk_for<Q>(&self, key: &Q) -> usize
    where
        V::Key: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        if self.chunks.len() < 2 {
            return 0;
        }
        self.chunks
            .partition_point(|chunk| chunk.first().is_some_and(|e| e.key().borrow() <= key))
            .saturating_sub(1)
    }
}

/// Where the entry with this key is. One after the other rather than by halves: in a large registry
/// the entries are not in the processor's cache, and it fetches those of a walk together, while each
/// half waits for the one before.
fn position<V, Q>(chunk: &[V], key: &Q) -> Option<usize>
where
    V: Keyed,
    V::Key: Borrow<Q>,
    Q: Ord + ?Sized,
{
    chunk.iter().position(|entry| entry.key().borrow() == key)
}

/// Joins a chunk with the one after it when both are nearly empty, so that a set that shrank does
/// not keep a spine of single entries.
fn merge_small<V: Clone>(chunks: &mut Vec<Arc<Vec<V>>>, position: usize) {
    let size = |at: usize| chunks.get(at).map_or(CHUNK_MAX, |chunk| chunk.len());
    if size(position) + size(position + 1) > CHUNK_MAX / 2 {
        return;
    }
    let next = chunks.remove(position + 1);
    if let Some(chunk) = chunks.get_mut(position) {
        Arc::make_mut(chunk).extend(next.iter().cloned());
    }
}

impl<V: Keyed> FromIterator<V> for OrderedSet<V> {
    fn from_iter<I: IntoIterator<Item = V>>(entries: I) -> Self {
        let mut set = Self::default();
        for entry in entries {
            set.insert(entry);
        }
        set
    }
}

impl<V: Keyed + PartialEq> PartialEq for OrderedSet<V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Entry(u16, u8);

    impl Keyed for Entry {
        type Key = u16;
        fn key(&self) -> &u16 {
            &self.0
        }
    }

    fn assert_invariants(set: &OrderedSet<Entry>) {
        assert!(set.chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= CHUNK_MAX));
        assert!(set.iter().zip(set.iter().skip(1)).all(|(a, b)| a.0 < b.0));
        assert_eq!(set.iter().count(), set.len());
    }

    proptest! {
        #[test]
        fn behaves_like_a_standard_map_and_leaves_clones_alone(
            script in prop::collection::vec((any::<bool>(), 0_u16..300, any::<u8>()), 0..900),
        ) {
            let (mut set, mut model) = (OrderedSet::default(), BTreeMap::new());
            let mut earlier: Option<(OrderedSet<Entry>, Vec<Entry>)> = None;
            for (step, (inserts, key, value)) in script.into_iter().enumerate() {
                if step % 97 == 0 {
                    earlier = Some((set.clone(), set.iter().cloned().collect()));
                }
                if inserts {
                    let replaced = set.insert(Entry(key, value)).map(|entry| entry.1);
                    prop_assert_eq!(replaced, model.insert(key, value));
                } else {
                    prop_assert_eq!(set.remove(&key).map(|entry| entry.1), model.remove(&key));
                }
                prop_assert_eq!(set.get(&key).map(|entry| entry.1), model.get(&key).copied());
            }
            assert_invariants(&set);
            prop_assert!(set.iter().map(|e| (e.0, e.1)).eq(model.iter().map(|(k, v)| (*k, *v))));
            let from = set.range_from(&150).map(|e| e.0);
            prop_assert!(from.eq(model.range(150..).map(|(k, _)| *k)));
            if let Some((clone, content)) = earlier {
                prop_assert!(clone.iter().cloned().eq(content));
            }
        }
    }
}
