//! What an answer of the manager means. Pure: status and bytes in, meaning out.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use governance_api::{Deliveries, Heartbeat, Problem, Registered};
use http::StatusCode;
use serde::de::DeserializeOwned;

use super::course::Call;
use super::url::ManagerUrl;

/// Characters of a text of the manager's that are repeated.
const TEXT_MAX: usize = 1_000;

/// An answer as it came.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Bytes,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Registered(Box<Registered>),
    /// The heartbeat was heard.
    Alive,
    /// Why notifications do not arrive, if the manager knows.
    Inspected(Option<String>),
    /// The manager does not know this pod.
    PodUnknown,
    /// The pod is not registered any more, or never was, or its successor is.
    Unregistered,
    /// A standby; with the address of the active one, if that can be used.
    NotActive {
        active: Option<ManagerUrl>,
        fault: String,
    },
    /// Certainly not applied: 503, 429, or the request never left.
    Unavailable {
        retry_after: Option<Duration>,
        fault: String,
    },
    /// Applied or not.
    Unknown(String),
    /// What time alone does not mend.
    Stuck(Trouble),
}

/// What a person has to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The manager understood and refused.
    Refused { manager: String, status: u16, text: String },
    /// The client does not understand the manager.
    NotUnderstood { manager: String, program: Option<String>, what: String },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { manager, status, text } => {
                write!(f, "the manager at {manager} refuses with status {status}: {text}")
            }
            Self::NotUnderstood { manager, program, what } => {
                let program = program.as_deref().unwrap_or("an unknown program");
                let version = env!("CARGO_PKG_VERSION");
                write!(
                    f,
                    "governance-client {version} does not understand the manager at {manager} \
                     ({program}): {what}; update governance-client if the manager is newer, or \
                     check that the URL is that of a governance manager"
                )
            }
        }
    }
}

/// What an answer to a call means. `url` is whom it came from, for texts.
pub(crate) fn read(call: Call, url: &ManagerUrl, answer: &Answer) -> Outcome {
    let problem: Option<Problem> = serde_json::from_slice(&answer.body).ok();
    let code = problem.as_ref().map(|problem| problem.error.as_str());
    let fault = || {
        let text = problem.as_ref().map_or_else(String::new, |problem| cut(&problem.detail));
        format!("the manager at {url} answered {}: {text}", answer.status)
    };
    match answer.status {
        status if status.is_success() => success(call, url, &answer.body),
        StatusCode::SERVICE_UNAVAILABLE if code == Some("not_active") => {
            let active = problem.as_ref().and_then(|problem| problem.active.as_deref());
            let active = active.and_then(ManagerUrl::of_active);
            Outcome::NotActive { active, fault: fault() }
        }
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            Outcome::Unavailable { retry_after: answer.retry_after, fault: fault() }
        }
        status if status.is_server_error() => Outcome::Unknown(fault()),
        // A detail that not every manager may have, and nothing hangs on it.
        _ if call == Call::Inspect && code != Some("pod_not_registered") => {
            Outcome::Inspected(None)
        }
        StatusCode::NOT_FOUND if code == Some("pod_not_registered") => match call {
            Call::Unregister(_) => Outcome::Unregistered,
            Call::Register | Call::Heartbeat | Call::Inspect => Outcome::PodUnknown,
        },
        // Only this call meets such: a later process of the same name took over, and keeps it.
        StatusCode::CONFLICT if matches!(call, Call::Unregister(_)) => Outcome::Unregistered,
        status if status.is_client_error() => match &problem {
            Some(problem) if !is_about_path(status) => {
                let (manager, status) = (url.to_string(), status.as_u16());
                Outcome::Stuck(Trouble::Refused { manager, status, text: cut(&problem.detail) })
            }
            _ => not_understood(url, format!("{} is answered {status}", name(call))),
        },
        status => not_understood(url, format!("{} is answered {status}", name(call))),
    }
}

/// It has not the path, or not the method: another contract.
fn is_about_path(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::GONE)
}

fn success(call: Call, url: &ManagerUrl, body: &[u8]) -> Outcome {
    fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
        serde_json::from_slice(body).map_err(|fault| fault.to_string())
    }
    let read = match call {
        Call::Register => parsed(body).map(Outcome::Registered),
        Call::Heartbeat => parsed::<Heartbeat>(body).map(|_| Outcome::Alive),
        Call::Inspect => Ok(Outcome::Inspected(parsed(body).ok().and_then(failing))),
        Call::Unregister(_) => Ok(Outcome::Unregistered),
    };
    read.unwrap_or_else(|fault| {
        not_understood(url, format!("the answer to {} has another shape: {fault}", name(call)))
    })
}

fn failing(seen: Deliveries) -> Option<String> {
    let found = seen.deliveries.into_iter().find(|one| one.failing_since.is_some())?;
    found.last_error.map(|error| cut(&error))
}

fn not_understood(url: &ManagerUrl, what: String) -> Outcome {
    Outcome::Stuck(Trouble::NotUnderstood { manager: url.to_string(), program: None, what })
}

fn name(call: Call) -> &'static str {
    match call {
        Call::Register => "POST /register",
        Call::Heartbeat => "POST /heartbeat",
        Call::Inspect => "GET /services/{service}/pods/{pod}",
        Call::Unregister(_) => "DELETE /unregister",
    }
}

/// Texts of others are bounded and stay in one line.
pub(crate) fn cut(text: &str) -> String {
    let tame = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(TEXT_MAX).map(tame).collect()
}
