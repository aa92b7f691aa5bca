//! Why the rules say no to a well-formed command.

use crate::name::{PodKey, ServiceName};
use crate::revision::RegistrationId;

/// An expected refusal; the state is as if the command had never come.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Nobody of that name is registered.
    #[error("pod {0} is not registered")]
    PodUnknown(PodKey),
    /// The registration to remove was replaced by a newer one.
    #[error(
        "pod {key} is registered with registration_id {current}, not {given}: it registered again, \
         nothing was removed"
    )]
    RegistrationSuperseded {
        /// Which pod.
        key: PodKey,
        /// What the caller holds.
        given: RegistrationId,
        /// What is registered.
        current: RegistrationId,
    },
    /// The process to remove was replaced by a newer one.
    #[error("pod {key} is registered by another instance than {given:?}: nothing was removed")]
    InstanceSuperseded {
        /// Which pod.
        key: PodKey,
        /// What the caller holds.
        given: Box<str>,
    },
    /// A new service would differ from an existing one in case alone.
    #[error(
        "service {wanted} differs from the existing service {existing} only in upper and lower \
         case: use the existing name or a different one"
    )]
    ServiceNameCollision {
        /// The new name.
        wanted: ServiceName,
        /// The name that is there.
        existing: ServiceName,
    },
    /// The service holds as many pods as it may.
    #[error(
        "service {service} already holds {limit} pods: unregister some or raise \
         MAX_PODS_PER_SERVICE"
    )]
    ServiceFull {
        /// Which service.
        service: ServiceName,
        /// The bound in force.
        limit: usize,
    },
}

impl Rejection {
    /// The stable code that programs compare.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::PodUnknown(_) => "pod_not_registered",
            Self::RegistrationSuperseded { .. } => "registration_superseded",
            Self::InstanceSuperseded { .. } => "instance_superseded",
            Self::ServiceNameCollision { .. } => "service_name_collision",
            Self::ServiceFull { .. } => "service_full",
        }
    }
}
