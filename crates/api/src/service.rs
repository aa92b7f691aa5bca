//! Reading: services, pods and subscribers.

use serde::{Deserialize, Serialize};

use crate::registration::{Provider, Subscription};

/// What the last check of a pod found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It succeeded.
    Healthy,
    /// It failed, with all its retries.
    Unhealthy,
    /// None has ended since the pod registered. Also what an older client takes a status for that
    /// it does not know.
    #[serde(other)]
    Unknown,
}

/// A pod with all that it registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Pod {
    /// `service_name:pod_name`, for people.
    pub service_key: String,
    /// The service it belongs to.
    pub service_name: String,
    /// Its name within the service.
    pub pod_name: String,
    /// Its endpoints.
    pub providers: Vec<Provider>,
    /// What is probed.
    pub health_check_url: String,
    /// Where notifications go.
    pub notification_url: String,
    /// What it wants to hear of.
    pub subscriptions: Vec<Subscription>,
    /// What the last check found.
    pub status: Status,
    /// When the last check ended (RFC 3339); none before the first.
    pub last_health_check: Option<String>,
    /// When it registered (RFC 3339).
    pub registered_at: String,
    /// When its content or status last changed (RFC 3339).
    pub updated_at: String,
    /// Names its registration.
    pub registration_id: u64,
}

/// What a pod was told of one of its subscriptions: a part of the answer of
/// `GET /services/{service}/pods/{pod}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Delivery {
    /// The service it subscribes to.
    pub service_name: String,
    /// The last revision that it received.
    pub delivered_revision: Option<u64>,
    /// When that was (RFC 3339).
    #[serde(default)]
    pub delivered_at: Option<String>,
    /// Since when there is something that it should know and does not (RFC 3339).
    #[serde(default)]
    pub behind_since: Option<String>,
    /// Since when every attempt has failed (RFC 3339).
    pub failing_since: Option<String>,
    /// Failed attempts since then.
    pub attempts: u32,
    /// Why the last one failed.
    pub last_error: Option<String>,
}

/// That part of the answer, alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Deliveries {
    /// One for each subscription that was ever due.
    pub deliveries: Vec<Delivery>,
}

/// The answer of `GET /services`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceList {
    /// How many pods match, on all pages.
    pub count: usize,
    /// The state that is shown.
    pub revision: u64,
    /// Revisions compare only within one registry.
    pub registry_id: String,
    /// The pods, in order of service and name.
    pub services: Vec<Pod>,
    /// Where the next page begins; none on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// The answer of `GET /services/{service}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServicePods {
    /// Which service.
    pub service_name: String,
    /// The state that is shown.
    pub revision: u64,
    /// Revisions compare only within one registry.
    pub registry_id: String,
    /// How many pods match, on all pages.
    pub count: usize,
    /// The pods, in order of their names.
    pub pods: Vec<Pod>,
    /// Where the next page begins; none on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// The answer of `GET /services/{service}/subscribers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Subscribers {
    /// Which service.
    pub service_name: String,
    /// The state that is shown.
    pub revision: u64,
    /// Revisions compare only within one registry.
    pub registry_id: String,
    /// How many.
    pub count: usize,
    /// The pods that subscribe, in order of service and name.
    pub subscribers: Vec<Subscriber>,
}

/// A pod that subscribes to a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Subscriber {
    /// The service it belongs to.
    pub service_name: String,
    /// Its name within that.
    pub pod_name: String,
    /// Where it is told.
    pub notification_url: String,
    /// Only these providers; empty means all.
    pub provider_ids: Vec<String>,
    /// Whether unhealthy pods are left out for it.
    pub healthy_only: bool,
    /// The last revision that it received; this and what follows are absent before it was told
    /// anything by this manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_revision: Option<u64>,
    /// When that was (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<String>,
    /// Since when there is something that it should know and does not (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind_since: Option<String>,
    /// Since when every attempt has failed (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<String>,
    /// Failed attempts since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// Why the last one failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}
