//! The answers to the three paths, as values: for the own listener, for axum, and for any other
//! server that a service may have.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use governance_api::Notification;
use http::{Method, StatusCode};
use serde_json::json;
use tokio::sync::mpsc;

use crate::session::{Renewal, cut};
use crate::view::{Fed, Feed, PODS_MAX, View};

/// The user's verdict on the own health.
pub(crate) type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Where the three answers are, below the own address. Each begins with a slash.
///
/// ```
/// let paths = governance_client::Paths { notify: "/fleet/notify".into(), ..Default::default() };
/// assert_eq!((&*paths.health, &*paths.subscribed_services), ("/health", "/subscribed-services"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// `POST`: the manager's notifications.
    pub notify: String,
    /// `GET`: the manager's health check.
    pub health: String,
    /// `GET`: the view, for people.
    pub subscribed_services: String,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            notify: "/notify".to_owned(),
            health: "/health".to_owned(),
            subscribed_services: "/subscribed-services".to_owned(),
        }
    }
}

impl Paths {
    /// What is wrong with them.
    pub(crate) fn faults(&self) -> Vec<String> {
        let all = [&self.notify, &self.health, &self.subscribed_services];
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-~".contains(c);
        let wrong = all.iter().filter(|path| !path.starts_with('/') || !path.chars().all(is_plain));
        let mut faults: Vec<String> = wrong
            .map(|path| {
                format!("path {path:?} is not allowed: begin with / and use A-Z a-z 0-9 / . _ - ~")
            })
            .collect();
        if all[0] == all[1] || all[1] == all[2] || all[0] == all[2] {
            faults.push("two of the three paths are the same: give each its own".to_owned());
        }
        faults
    }
}

/// An answer to be written: JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The body, `application/json`.
    pub body: Bytes,
    /// The value of `Allow`, with a 405.
    pub allow: Option<&'static str>,
}

impl Reply {
    fn new(status: StatusCode, body: &serde_json::Value) -> Self {
        Self { status, body: Bytes::from(body.to_string()), allow: None }
    }

    fn fault(status: StatusCode, code: &str, detail: &str) -> Self {
        Self::new(status, &json!({"status": status.as_u16(), "error": code, "detail": detail}))
    }

    /// The body did not come, or not whole.
    #[cfg(feature = "listener")]
    pub(crate) fn unfinished() -> Self {
        Self::fault(StatusCode::BAD_REQUEST, "body_unfinished", "the body did not come whole")
    }
}

/// What the answers are made of.
pub(crate) struct Desk {
    pub(crate) feed: Arc<Feed>,
    pub(crate) renewals: mpsc::Sender<Renewal>,
    pub(crate) check: Check,
    pub(crate) paths: Paths,
    pub(crate) body_max: usize,
    /// So that a manager that is not understood fills no log.
    pub(crate) has_complained: AtomicBool,
}

/// Answers what the manager asks of this pod. Cheap to clone.
///
/// The own listener and the axum router are built on it; with another HTTP library, hand it the
/// requests:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), governance_client::Error> {
/// # use governance_client::Member;
/// # let member = Member::builder("http-gw").pod("http-gw-1").manager("http://127.0.0.1:1")
/// #     .provides("http", 8080).subscribe("eir").listen("127.0.0.1:0").start().await?;
/// use governance_client::Method;
///
/// let reply = member.receiver().answer(&Method::GET, "/health", b"");
/// assert_eq!((reply.status.as_u16(), &*reply.body), (200, br#"{"status":"healthy"}"#.as_slice()));
/// let reply = member.receiver().answer(&Method::POST, "/notify", b"no notification");
/// assert_eq!(reply.status.as_u16(), 400);
/// # member.shutdown().await
/// # }
/// ```
#[derive(Clone)]
pub struct Receiver(Arc<Desk>);

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("paths", &self.0.paths).finish_non_exhaustive()
    }
}

impl Receiver {
    pub(crate) fn new(desk: Desk) -> Self {
        Self(Arc::new(desk))
    }

    /// Where the three answers are.
    pub fn paths(&self) -> &Paths {
        &self.0.paths
    }

    /// The largest body that may be handed in.
    pub fn body_max(&self) -> usize {
        self.0.body_max
    }

    /// The answer to a request; `path` without its query. 404 for any other path.
    pub fn answer(&self, method: &Method, path: &str, body: &[u8]) -> Reply {
        let Paths { notify, health, subscribed_services } = &self.0.paths;
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        if path == notify {
            match *method {
                Method::POST => self.notified(body),
                _ => not_allowed("POST"),
            }
        } else if path == health {
            if is_read { self.health() } else { not_allowed("GET, HEAD") }
        } else if path == subscribed_services {
            if is_read { self.subscribed_services() } else { not_allowed("GET, HEAD") }
        } else {
            Reply::fault(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path")
        }
    }

    /// A notification: 2xx when it need not be sent again.
    pub fn notified(&self, body: &[u8]) -> Reply {
        if body.len() > self.0.body_max {
            return self.too_large();
        }
        let notification: Notification = match serde_json::from_slice(body) {
            Ok(notification) => notification,
            Err(fault) => return self.not_understood(&fault),
        };
        let service = notification.service_name.clone();
        let fed = self.0.feed.notified(notification);
        tracing::debug!(service, ?fed, "notified");
        match fed {
            Fed::Applied | Fed::Older => Reply::new(StatusCode::OK, &json!({"status": "ok"})),
            Fed::Foreign => {
                // Full means that renewals are on their way already.
                let _ = self.0.renewals.try_send(Renewal::RegistryChanged);
                Reply::new(StatusCode::OK, &json!({"status": "ok"}))
            }
            // Of a registration before this one: nothing to be sent again.
            Fed::NotSubscribed => Reply::new(StatusCode::OK, &json!({"status": "not_subscribed"})),
            Fed::TooLarge => {
                tracing::warn!(
                    service,
                    "the services subscribed to have more than {PODS_MAX} pods: a notification is \
                     not taken; subscribe to fewer services or with filters"
                );
                let detail = "this pod holds no more pods than it does";
                Reply::fault(StatusCode::INSUFFICIENT_STORAGE, "view_full", detail)
            }
        }
    }

    /// The body exceeds what is read.
    pub(crate) fn too_large(&self) -> Reply {
        let max = self.0.body_max;
        tracing::warn!(
            max,
            "a request's body is too large: if it is a notification, raise notification_max() or \
             subscribe with filters"
        );
        let detail = format!("the body is larger than {max} bytes");
        Reply::fault(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", &detail)
    }

    fn not_understood(&self, fault: &serde_json::Error) -> Reply {
        if !self.0.has_complained.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                fault = cut(&fault.to_string()),
                "a notification has another shape than this version of governance-client knows: \
                 update it if the manager is newer; this is said once"
            );
        }
        Reply::fault(StatusCode::BAD_REQUEST, "not_a_notification", "this is not a notification")
    }

    fn health(&self) -> Reply {
        match (self.0.check)() {
            Ok(()) => Reply::new(StatusCode::OK, &json!({"status": "healthy"})),
            Err(reason) => {
                let body = json!({"status": "unhealthy", "reason": reason});
                Reply::new(StatusCode::SERVICE_UNAVAILABLE, &body)
            }
        }
    }

    fn subscribed_services(&self) -> Reply {
        let body = View::new(Arc::clone(&self.0.feed)).to_json();
        Reply { status: StatusCode::OK, body: Bytes::from(body), allow: None }
    }
}

fn not_allowed(allow: &'static str) -> Reply {
    let detail = format!("this path takes {allow} only");
    let fault = Reply::fault(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &detail);
    Reply { allow: Some(allow), ..fault }
}
