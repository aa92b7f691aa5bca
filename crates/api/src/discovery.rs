//! Where pods are, in the form of Prometheus' service discovery over HTTP.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One endpoint in the answer of `GET /sd/prometheus`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TargetGroup {
    /// `host:port`, one.
    pub targets: Vec<String>,
    /// What is known of it, under names that begin with `__meta_governance_`.
    pub labels: BTreeMap<String, String>,
}

/// The body and answer of `/admin/log-level`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogLevel {
    /// In the words of `LOG_LEVEL`.
    pub level: String,
}
