//! Where things are. The templates in braces are those of an `OpenAPI` document.

/// `POST`: registers a pod.
pub const REGISTER: &str = "/register";
/// `DELETE`: removes a pod.
pub const UNREGISTER: &str = "/unregister";
/// `POST`: a pod says that it lives.
pub const HEARTBEAT: &str = "/heartbeat";
/// `GET`: all pods.
pub const SERVICES: &str = "/services";
/// `GET`: the pods of one service.
pub const SERVICE: &str = "/services/{service}";
/// `GET`: one pod.
pub const POD: &str = "/services/{service}/pods/{pod}";
/// `GET`: who subscribes to a service.
pub const SUBSCRIBERS: &str = "/services/{service}/subscribers";
/// `GET`: whether the process lives.
pub const HEALTH: &str = "/health";
/// `GET`: whether it can answer reads.
pub const READY: &str = "/ready";
/// `GET`: how it is doing, for Prometheus.
pub const METRICS: &str = "/metrics";
/// `GET`: where the pods are, for Prometheus' service discovery over HTTP.
pub const SD_PROMETHEUS: &str = "/sd/prometheus";
/// `GET`: this interface as an `OpenAPI` document.
pub const OPENAPI: &str = "/openapi.json";
/// `GET`: the same as a page for people.
pub const DOCS: &str = "/docs";
/// `GET` and `PUT`: how much is logged; on the manager's own machine alone.
pub const LOG_LEVEL: &str = "/admin/log-level";
/// `GET`: which program it is.
pub const VERSION: &str = "/version";
/// `GET`: what happens, as Server-Sent Events.
pub const WATCH: &str = "/watch";
/// `GET`: what was done, newest first.
pub const AUDIT_LOGS: &str = "/audit/logs";
/// `GET`: one entry of it.
pub const AUDIT_LOG: &str = "/audit/logs/by-id";
