//! What readers see: the registry as of one revision, replaced as a whole.

use std::sync::Arc;

use arc_swap::ArcSwap;
use governance_domain::{Registry, Revision};
use governance_store::Uuid;

/// The registry as of one revision. Never changes; a newer one takes its place.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Revisions compare only within one registry.
    pub registry_id: Uuid,
    /// All pods.
    pub registry: Registry,
}

impl Snapshot {
    /// The revision of the last change it contains.
    pub fn revision(&self) -> Revision {
        self.registry.revision()
    }
}

/// The one pointer that is published per commit. Written by the writer alone.
#[derive(Debug)]
pub(super) struct Published(ArcSwap<Snapshot>);

impl Published {
    pub(super) fn empty() -> Self {
        let registry = Registry::new(Revision::from_u64(0));
        Self(ArcSwap::from_pointee(Snapshot { registry_id: Uuid::nil(), registry }))
    }

    pub(super) fn load(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    pub(super) fn store(&self, snapshot: Arc<Snapshot>) {
        self.0.store(snapshot);
    }
}
