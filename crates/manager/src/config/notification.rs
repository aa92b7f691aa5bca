//! How often, how patiently and what subscribers are told.

use std::time::Duration;

use super::rule::{Choice, Span};
use super::setting::{Described, Setting};
use super::source::Reader;

/// Notifications.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// The time between two reconciliations of one subscription; `None` stands for never.
    pub interval: Option<Duration>,
    /// The limit of a single delivery.
    pub timeout: Duration,
    /// The pace of deliveries for one subscriber and service after the first four.
    pub min_interval: Duration,
    /// Whether pod lists that are sent to pods hold the unhealthy ones.
    pub unhealthy_pods: UnhealthyPods,
}

/// The value of `UNHEALTHY_PODS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnhealthyPods {
    /// They are listed, with their status.
    List,
    /// They are left out of everything that is sent to pods.
    Hide,
}

static NOTIFICATION_INTERVAL: Setting<Span> = Setting::new(
    "NOTIFICATION_INTERVAL",
    "60s",
    "How often to send reconciliation notifications",
    Span {
        zero_means: Some("off"),
        ..Span::between(Duration::from_millis(100), Duration::from_hours(24))
    },
)
.earlier_keys(&["manager.notification_interval"]);

static NOTIFICATION_TIMEOUT: Setting<Span> = Setting::new(
    "NOTIFICATION_TIMEOUT",
    "5s",
    "Timeout for one notification request",
    Span::between(Duration::from_millis(10), Duration::from_mins(10)),
)
.earlier_keys(&["manager.notification_timeout"]);

static NOTIFICATION_MIN_INTERVAL: Setting<Span> = Setting::new(
    "NOTIFICATION_MIN_INTERVAL",
    "250ms",
    "After four at once, a subscriber hears of one service at most once per this time",
    Span::between(Duration::from_millis(100), Duration::from_hours(24)),
);

static UNHEALTHY_PODS: Setting<Choice<UnhealthyPods>> = Setting::new(
    "UNHEALTHY_PODS",
    "list",
    "Whether unhealthy pods are in the pod lists sent to pods; hide leaves them out",
    Choice { words: &[("list", UnhealthyPods::List), ("hide", UnhealthyPods::Hide)], aliases: &[] },
);

pub(super) static SETTINGS: &[&dyn Described] =
    &[&NOTIFICATION_INTERVAL, &NOTIFICATION_TIMEOUT, &NOTIFICATION_MIN_INTERVAL, &UNHEALTHY_PODS];

impl Notification {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            interval: Some(reader.read(&NOTIFICATION_INTERVAL)).filter(|every| !every.is_zero()),
            timeout: reader.read(&NOTIFICATION_TIMEOUT),
            min_interval: reader.read(&NOTIFICATION_MIN_INTERVAL),
            unhealthy_pods: reader.read(&UNHEALTHY_PODS),
        }
    }
}
