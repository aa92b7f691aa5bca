//! The pod lists that are sent: written once per service, content and filter, and shared by all
//! deliveries that carry them.
//!
//! Bounds: at most [`CACHED_MAX`] bytes wait for another use, and [`Lists::is_crowded`] tells when
//! the lists in flight are so large that no more should be started.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use governance_domain::{ProviderFilter, Service, ServiceName, Subscription};

use super::mailbox::Step;
use crate::engine::Snapshot;
use crate::wire::{self, View};

/// Bytes of lists that are kept for another use. Beyond, all are forgotten.
const CACHED_MAX: usize = 16 * 1024 * 1024;
/// Lists that are kept for another use, whatever their size.
const CACHED_COUNT_MAX: usize = 4_096;
/// Bytes of lists in flight and kept; more than any registry of sane filters needs.
const LIVE_MAX: usize = 64 * 1024 * 1024;

/// A list as it is sent: `[…]}`, the end of a notification.
#[derive(Clone, Debug)]
pub(super) struct List {
    pub(super) bytes: Bytes,
    /// Equal for equal lists, within this process.
    pub(super) hash: u64,
}

#[derive(Debug)]
struct Kept {
    /// The state it was written from.
    source: Option<Arc<Service>>,
    list: List,
}

/// What makes two subscriptions to one service see the same.
type Sight = (bool, ProviderFilter);

/// The lists. Used by the dispatch alone.
#[derive(Debug)]
pub(super) struct Lists {
    hides_unhealthy: bool,
    kept: BTreeMap<ServiceName, BTreeMap<Sight, Kept>>,
    kept_bytes: usize,
    kept_count: usize,
    live: Arc<AtomicUsize>,
    hasher: RandomState,
}

impl Lists {
    pub(super) fn new(hides_unhealthy: bool) -> Self {
        Self {
            hides_unhealthy,
            kept: BTreeMap::new(),
            kept_bytes: 0,
            kept_count: 0,
            live: Arc::default(),
            hasher: RandomState::new(),
        }
    }

    /// The list that a subscription shows.
    pub(super) fn get(&mut self, snapshot: &Snapshot, subscription: &Subscription) -> List {
        let source = snapshot.registry.service(subscription.service.as_str());
        let sight = self.sight(subscription);
        let kept = self.kept.get(&subscription.service).and_then(|of| of.get(&sight));
        if let Some(kept) = kept
            && same(kept.source.as_ref(), source)
        {
            return kept.list.clone();
        }
        let view = View::of(subscription, self.hides_unhealthy);
        let mut list = self.write(source, view);
        if let Some(kept) = kept
            && kept.list.bytes == list.bytes
        {
            // What changed is not seen here, such as the time of a check: keep sharing.
            list = kept.list.clone();
        }
        self.keep(&subscription.service, sight, source.cloned(), list.clone());
        list
    }

    /// Whether so much is in flight that no more should be built.
    pub(super) fn is_crowded(&mut self) -> bool {
        if self.live.load(Ordering::Relaxed) <= LIVE_MAX {
            return false;
        }
        self.forget();
        self.live.load(Ordering::Relaxed) > LIVE_MAX
    }

    /// What two subscriptions must share to see the same.
    pub(super) fn sight(&self, subscription: &Subscription) -> Sight {
        let hides_unhealthy = self.hides_unhealthy || subscription.healthy_only;
        (hides_unhealthy, subscription.filter.clone())
    }

    /// Whether a subscription sees a change.
    pub(super) fn sees(&self, subscription: &Subscription, step: &Step) -> bool {
        let view = View::of(subscription, self.hides_unhealthy);
        let seen = |pod| {
            let mut text = Vec::new();
            wire::write_summaries(&mut text, Option::into_iter(pod), view);
            text
        };
        seen(step.before.as_ref()) != seen(step.after.as_ref())
    }

    fn write(&self, source: Option<&Arc<Service>>, view: View<'_>) -> List {
        let count = source.map_or(0, |service| service.pods.len());
        let mut text = Vec::with_capacity(16 + count * wire::SUMMARY_SIZE);
        let pods = source.into_iter().flat_map(|service| service.pods.iter());
        wire::write_summaries(&mut text, pods, view);
        text.push(b'}');
        text.shrink_to_fit();
        let hash = self.hasher.hash_one(&text);
        self.live.fetch_add(text.len(), Ordering::Relaxed);
        let bytes = Bytes::from_owner(Counted { text, live: Arc::clone(&self.live) });
        List { bytes, hash }
    }

    fn keep(
        &mut self,
        service: &ServiceName,
        sight: Sight,
        source: Option<Arc<Service>>,
        list: List,
    ) {
        if self.kept_bytes > CACHED_MAX || self.kept_count >= CACHED_COUNT_MAX {
            self.forget();
        }
        self.kept_bytes += list.bytes.len();
        self.kept_count += 1;
        let of_service = self.kept.entry(service.clone()).or_default();
        if let Some(earlier) = of_service.insert(sight, Kept { source, list }) {
            self.kept_bytes -= earlier.list.bytes.len();
            self.kept_count -= 1;
        }
    }

    /// Keeps nothing for another use.
    pub(super) fn forget(&mut self) {
        self.kept.clear();
        self.kept_bytes = 0;
        self.kept_count = 0;
    }
}

/// Whether it is the very same state.
fn same(kept: Option<&Arc<Service>>, source: Option<&Arc<Service>>) -> bool {
    match (kept, source) {
        (Some(kept), Some(source)) => Arc::ptr_eq(kept, source),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// A text that is counted as long as it lives.
struct Counted {
    text: Vec<u8>,
    live: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.live.fetch_sub(self.text.len(), Ordering::Relaxed);
    }
}
