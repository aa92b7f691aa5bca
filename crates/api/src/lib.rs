//! The wire: what the governance manager and its clients say to each other, as types.
//!
//! Here: requests, answers, problems and paths, with serde and nothing else. Not here: rules (a
//! value of these types need not be valid), HTTP, and how the manager writes the same texts fast;
//! its tests hold both to each other.
//!
//! Unknown fields are ignored when reading, so that an older client understands a newer manager.

pub mod audit;
pub mod discovery;
pub mod insight;
pub mod notification;
pub mod paths;
pub mod problem;
pub mod registration;
pub mod service;
pub mod standing;
pub mod watch;

pub use audit::{AuditLog, AuditLogs};
pub use discovery::{LogLevel, TargetGroup};
pub use insight::{CheckFailure, HealthChange, PodDetails, PodHealth};
pub use notification::{EventType, Notification};
pub use problem::{Fault, Problem};
pub use registration::{
    Heartbeat, PodSummary, Provider, RegisterRequest, Registered, Subscription, SubscriptionFilter,
    Unregistered,
};
pub use service::{
    Deliveries, Delivery, Pod, ServiceList, ServicePods, Status, Subscriber, Subscribers,
};
pub use standing::{Health, Ready, Role, Storage, Version};
pub use watch::{Change, SnapshotBegin, SnapshotEnd, SnapshotPage, StreamEnd};
