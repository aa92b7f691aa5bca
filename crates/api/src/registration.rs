//! Registering, living, leaving: requests and answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::service::Status;

/// The body of `POST /register`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// One service a pod wants to hear of: its name alone, or with a filter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Subscription {
    /// All of it.
    All(String),
    /// A part of it.
    Filtered(SubscriptionFilter),
}

/// A subscription to a part of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature belongs to serde")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// The answer to a registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
pub struct Heartbeat {
    /// `ok`.
    pub status: String,
    /// The manager's time, RFC 3339.
    pub timestamp: String,
}
