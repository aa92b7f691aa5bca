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
            let active = active.and_then(|active| ManagerUrl::of_active(active, url));
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_as(call: Call, status: u16, body: &str) -> Outcome {
        let status = StatusCode::from_u16(status).unwrap();
        let retry_after = Some(Duration::from_secs(5));
        let body = Bytes::from(body.to_owned());
        let url = ManagerUrl::parse("http://m:1").unwrap();
        read(call, &url, &Answer { status, retry_after, body })
    }

    fn problem(status: u16, code: &str) -> String {
        let body = json!({"type": "about:blank", "title": "x", "status": status, "error": code,
            "detail": "why\nnot", "message": "why not", "request_id": "r", "active": "m2:8080"});
        body.to_string()
    }

    const ALL: [Call; 4] =
        [Call::Register, Call::Heartbeat, Call::Inspect, Call::Unregister(Some(1))];

    #[test]
    fn what_is_certainly_not_applied_is_told_from_what_may_be() {
        for call in [Call::Register, Call::Heartbeat, Call::Unregister(None)] {
            for code in ["loading", "overloaded", "store_unavailable", "shutting_down"] {
                let outcome = read_as(call, 503, &problem(503, code));
                let retry_after = Some(Duration::from_secs(5));
                let text = "the manager at http://m:1 answered 503 Service Unavailable: why not";
                let fault = text.to_owned();
                assert_eq!(outcome, Outcome::Unavailable { retry_after, fault });
            }
            for status in [500, 502, 504] {
                let outcome = read_as(call, status, &problem(status, "outcome_unknown"));
                assert!(matches!(outcome, Outcome::Unknown(_)), "{call:?} {status}");
                // Not ours, but a proxy's.
                let outcome = read_as(call, status, "<html>");
                assert!(matches!(outcome, Outcome::Unknown(_)), "{call:?} {status}");
            }
        }
    }

    #[test]
    fn a_standby_says_who_is_active() {
        for call in ALL {
            let outcome = read_as(call, 503, &problem(503, "not_active"));
            let Outcome::NotActive { active, .. } = outcome else { panic!("{outcome:?}") };
            assert_eq!(active, ManagerUrl::parse("http://m2:8080").ok());
        }
    }

    #[test]
    fn an_unknown_pod_has_left_or_must_register() {
        let body = problem(404, "pod_not_registered");
        assert_eq!(read_as(Call::Heartbeat, 404, &body), Outcome::PodUnknown);
        assert_eq!(read_as(Call::Inspect, 404, &body), Outcome::PodUnknown);
        assert_eq!(read_as(Call::Unregister(None), 404, &body), Outcome::Unregistered);
    }

    #[test]
    fn a_successor_that_took_over_is_as_good_as_gone() {
        for code in ["registration_superseded", "instance_superseded"] {
            let outcome = read_as(Call::Unregister(Some(1)), 409, &problem(409, code));
            assert_eq!(outcome, Outcome::Unregistered);
        }
        let outcome = read_as(Call::Register, 409, &problem(409, "service_name_collision"));
        assert!(matches!(outcome, Outcome::Stuck(Trouble::Refused { status: 409, .. })));
    }

    #[test]
    fn what_has_another_shape_is_not_understood() {
        for (call, status, body) in [
            (Call::Register, 200, "{}"),
            (Call::Register, 200, ""),
            (Call::Register, 404, "not found"),
            (Call::Register, 405, "{}"),
            (Call::Register, 301, ""),
            (Call::Heartbeat, 200, "ok"),
            (Call::Heartbeat, 400, "what?"),
            (Call::Unregister(None), 410, ""),
        ] {
            let outcome = read_as(call, status, body);
            let is_so = matches!(outcome, Outcome::Stuck(Trouble::NotUnderstood { .. }));
            assert!(is_so, "{call:?} {status}: {outcome:?}");
        }
    }

    #[test]
    fn a_detail_that_is_missing_stops_nothing() {
        for (status, body) in [(200, "{}"), (200, "x"), (404, "not found"), (405, ""), (400, "{}")]
        {
            assert_eq!(read_as(Call::Inspect, status, body), Outcome::Inspected(None), "{status}");
        }
        let body = json!({"deliveries": [
            {"service_name": "a", "delivered_revision": 1, "failing_since": null, "attempts": 0,
             "last_error": null},
            {"service_name": "b", "delivered_revision": null, "failing_since": "2026", "attempts": 2,
             "last_error": "refused"},
        ]});
        let outcome = read_as(Call::Inspect, 200, &body.to_string());
        assert_eq!(outcome, Outcome::Inspected(Some("refused".to_owned())));
    }
}
