//! Registering, living, leaving: requests and answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::service::Status;

/// The body of `POST /register`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RegisterRequest {
    /// The service the pod belongs to.
    pub service_name: String,
    /// The pod within it.
    pub pod_name: String,
    /// Where the pod offers its service: 1–64.
    pub providers: Vec<Provider>,
    /// What is probed.
    pub health_check_url: String,
    /// Where notifications go.
    pub notification_url: String,
    /// What the pod wants to hear of.
    #[serde(default)]
    pub subscriptions: Vec<Subscription>,
    /// New for every process of a pod; [`Unregistered`] then never hits a successor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
}

/// One endpoint of a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Provider {
    /// How to speak to it: a lower-case token such as `http` or `diameter`.
    pub protocol: String,
    /// IPv4, IPv6 without brackets, or a host name.
    pub ip: String,
    /// 1–65535; rows of earlier managers may hold other numbers.
    pub port: i64,
    /// What a filtered subscription selects by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
}

impl Provider {
    /// An endpoint without an id.
    ///
    /// ```
    /// # use governance_api::Provider;
    /// let provider = Provider::new("diameter", "192.0.2.7", 3868).with_id("eir-diameter");
    /// assert_eq!((provider.port, provider.provider_id.as_deref()), (3868, Some("eir-diameter")));
    /// ```
    #[must_use]
    pub fn new(protocol: impl Into<String>, ip: impl Into<String>, port: u16) -> Self {
        let (protocol, ip) = (protocol.into(), ip.into());
        Self { protocol, ip, port: i64::from(port), provider_id: None }
    }

    /// The same endpoint with an id.
    #[must_use]
    pub fn with_id(self, id: impl Into<String>) -> Self {
        Self { provider_id: Some(id.into()), ..self }
    }
}

/// One service a pod wants to hear of: its name alone, or with a filter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum Subscription {
    /// All of it.
    All(String),
    /// A part of it.
    Filtered(SubscriptionFilter),
}

/// A subscription to a part of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SubscriptionFilter {
    /// The service.
    pub service_name: String,
    /// Only these providers, and only pods that have one; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub provider_ids: Vec<String>,
    /// Leave out pods that are unhealthy.
    #[serde(default, skip_serializing_if = "is_false")]
    pub healthy_only: bool,
}

impl Subscription {
    /// The service that is subscribed to.
    pub fn service_name(&self) -> &str {
        match self {
            Self::All(name) => name,
            Self::Filtered(filter) => &filter.service_name,
        }
    }
}

impl From<&str> for Subscription {
    fn from(service_name: &str) -> Self {
        Self::All(service_name.to_owned())
    }
}

impl From<String> for Subscription {
    fn from(service_name: String) -> Self {
        Self::All(service_name)
    }
}

impl From<SubscriptionFilter> for Subscription {
    fn from(filter: SubscriptionFilter) -> Self {
        Self::Filtered(filter)
    }
}

impl SubscriptionFilter {
    /// All of a service, to be narrowed.
    ///
    /// ```
    /// # use governance_api::SubscriptionFilter;
    /// let filter = SubscriptionFilter::new("eir").only_provider("eir-diameter").only_healthy();
    /// assert!(filter.healthy_only);
    /// ```
    #[must_use]
    pub fn new(service_name: impl Into<String>) -> Self {
        let service_name = service_name.into();
        Self { service_name, provider_ids: Vec::new(), healthy_only: false }
    }

    /// Only this provider and those named before; pods that have none of them are left out.
    #[must_use]
    pub fn only_provider(mut self, provider_id: impl Into<String>) -> Self {
        self.provider_ids.push(provider_id.into());
        self
    }

    /// Leaves out pods that are unhealthy.
    #[must_use]
    pub fn only_healthy(self) -> Self {
        Self { healthy_only: true, ..self }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature belongs to serde")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// The answer to a registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Registered {
    /// `success`.
    pub status: String,
    /// For people.
    pub message: String,
    /// As registered.
    pub service_name: String,
    /// As registered.
    pub pod_name: String,
    /// Names this registration; stays when the same is registered again.
    pub registration_id: u64,
    /// The revision of the change, or of the state if nothing changed.
    pub revision: u64,
    /// Revisions compare only within one registry.
    pub registry_id: String,
    /// All pods of the registered service.
    pub pods: Vec<PodSummary>,
    /// The pods of each service subscribed to, as the subscription shows them.
    pub subscribed_services: BTreeMap<String, Vec<PodSummary>>,
}

/// A pod as other pods see it, here and in notifications.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PodSummary {
    /// Its name within the service.
    pub pod_name: String,
    /// What the last check found.
    pub status: Status,
    /// Its endpoints, as far as the subscription shows them.
    pub providers: Vec<Provider>,
}

/// The answer to a removal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Unregistered {
    /// `success`.
    pub status: String,
    /// For people.
    pub message: String,
    /// Who left.
    pub service_name: String,
    /// Who left.
    pub pod_name: String,
    /// The registration that ended.
    pub registration_id: u64,
    /// The revision of the change.
    pub revision: u64,
    /// Revisions compare only within one registry.
    pub registry_id: String,
}

/// The answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Heartbeat {
    /// `ok`.
    pub status: String,
    /// The manager's time, RFC 3339.
    pub timestamp: String,
}
