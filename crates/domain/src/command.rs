//! What can be asked of the registry. Commands are imperative and carry parsed values only.

use std::sync::Arc;

use crate::content::Content;
use crate::name::PodKey;
use crate::revision::RegistrationId;

/// Register a pod, or replace its registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// Who registers.
    pub key: PodKey,
    /// With what.
    pub content: Arc<Content>,
}

/// Remove a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unregister {
    /// Who leaves; not bound to today's grammar, so that old rows can be removed.
    pub key: PodKey,
    /// Only if this is its current registration.
    pub registration_id: Option<RegistrationId>,
    /// Only if this is its current process.
    pub instance_id: Option<Box<str>>,
}

/// Remove a pod that failed too many checks in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evict {
    /// Who is removed.
    pub key: PodKey,
    /// Only if this is its current registration, and it is still unhealthy.
    pub registration_id: RegistrationId,
}
