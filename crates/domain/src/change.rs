//! Facts: what a command was decided into, and what applying it means to others.

use std::sync::Arc;

use crate::content::Content;
use crate::name::{PodKey, ServiceName};
use crate::pod::Pod;
use crate::revision::{RegistrationId, Revision};
use crate::time::Timestamp;

/// A decided fact that is stored before anybody sees it.
///
/// Durable changes carry no health (a new registration is `unknown`, which says nothing), so they
/// commute with health transitions that are applied while a change is being stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A pod that was not there, or a new registration in place of its earlier one.
    PodRegistered {
        /// The new state.
        pod: Arc<Pod>,
    },
    /// The same registration with other wishes; its health is not touched.
    PodAmended {
        /// Which pod.
        key: PodKey,
        /// Which registration; a newer one is left alone.
        registration_id: RegistrationId,
        /// The new content.
        content: Arc<Content>,
        /// When it was decided.
        at: Timestamp,
    },
    /// A pod left.
    PodUnregistered {
        /// Which pod.
        key: PodKey,
        /// The registration that ended.
        registration_id: RegistrationId,
    },
    /// A pod was removed because it failed too many checks.
    PodEvicted {
        /// Which pod.
        key: PodKey,
        /// The registration that ended.
        registration_id: RegistrationId,
    },
}

impl Change {
    /// Whom it concerns.
    pub fn key(&self) -> &PodKey {
        match self {
            Self::PodRegistered { pod } => &pod.key,
            Self::PodAmended { key, .. }
            | Self::PodUnregistered { key, .. }
            | Self::PodEvicted { key, .. } => key,
        }
    }
}

/// What happened to a service, in the words of a notification's `event_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoticeKind {
    /// A pod came, or came back with other endpoints.
    Register,
    /// A pod left or was removed.
    Unregister,
    /// The health of a pod changed.
    Update,
}

/// A service changed in a way that its subscribers see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Which service.
    pub service: ServiceName,
    /// What happened to it.
    pub kind: NoticeKind,
    /// The revision that this change was given.
    pub revision: Revision,
}

/// What applying one change did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The revision that the change was given; unchanged if it no longer concerned anybody.
    pub revision: Revision,
    /// The pod before, if it was there.
    pub before: Option<Arc<Pod>>,
    /// The pod after, if it still is.
    pub after: Option<Arc<Pod>>,
    /// What subscribers are owed, if they see a difference.
    pub notice: Option<Notice>,
}
