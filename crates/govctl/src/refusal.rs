//! Answers of managers that are none of success, as faults with hints.

use governance_api::Problem;
use governance_client::StatusCode;
use governance_client::direct::{Address, Answer};

use crate::fault::{Fault, Kind};

/// What a refusal means.
pub(crate) fn of(from: &Address, answer: &Answer) -> Fault {
    let Ok(problem) = serde_json::from_slice::<Problem>(&answer.body) else {
        let what = format!("{from} answered {} and no problem of a manager", answer.status);
        let hint = "check that the URL is that of a governance manager and not of something else";
        return Fault::new(Kind::Failed, what, hint);
    };
    let kind = match answer.status {
        StatusCode::NOT_FOUND => Kind::NotFound,
        _ => Kind::Failed,
    };
    if problem.errors.is_empty() {
        return Fault::new(kind, problem.detail.clone(), hint(&problem, answer));
    }
    let mut fault = Fault::new(kind, "the manager refuses the request", hint(&problem, answer));
    for error in &problem.errors {
        let pointer = error.pointer.trim_start_matches('/');
        let place = if pointer.is_empty() { String::new() } else { format!("{pointer}: ") };
        fault = fault.caused_by(format!("{place}{}", error.message));
    }
    fault
}

/// Nobody who could answer did.
pub(crate) fn nobody(causes: Vec<String>) -> Fault {
    let what = "no active manager answers";
    let hint = "see that a manager runs there (`govctl status` asks each); say where others are \
                with --manager or GOVERNANCE_URL";
    causes.into_iter().fold(Fault::new(Kind::Unreachable, what, hint), Fault::caused_by)
}

/// What to do about it.
fn hint(problem: &Problem, answer: &Answer) -> String {
    let fixed = match problem.error.as_str() {
        "pod_not_registered" => {
            "`govctl pods` shows who is registered, `govctl explain SERVICE POD` what became of it"
        }
        "registration_superseded" | "instance_superseded" => {
            "the pod registered anew since: `govctl pod SERVICE POD` shows its registration id"
        }
        "service_full" => "remove pods that are gone, or raise MAX_PODS_PER_SERVICE",
        "audit_entry_not_found" => "entries are kept for AUDIT_RETENTION",
        "outcome_unknown" => "look with `govctl pod SERVICE POD` whether it was done",
        _ if !problem.errors.is_empty() => "correct what is named above and try again",
        _ => "",
    };
    if !fixed.is_empty() {
        return fixed.to_owned();
    }
    match answer.retry_after {
        Some(after) => format!("try again in {} s; nothing was changed", after.as_secs().max(1)),
        None => format!("the manager's log says more about request {}", problem.request_id),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn fault(status: u16, body: &serde_json::Value, retry_after: Option<u64>) -> Fault {
        let from = Address::parse("http://m:1").unwrap();
        let status = StatusCode::from_u16(status).unwrap();
        let retry_after = retry_after.map(Duration::from_secs);
        of(&from, &Answer { status, retry_after, body: body.to_string().into() })
    }

    fn problem(status: u16, code: &str) -> serde_json::Value {
        json!({"type": "about:blank", "title": "x", "status": status, "detail": "why",
            "request_id": "r-1", "error": code, "message": "why"})
    }

    #[test]
    fn every_refusal_has_a_kind_and_something_to_do() {
        let missing = fault(404, &problem(404, "pod_not_registered"), None);
        assert_eq!((missing.kind, missing.what.as_str()), (Kind::NotFound, "why"));
        let full = fault(429, &problem(429, "service_full"), Some(5));
        assert_eq!(full.hint, "remove pods that are gone, or raise MAX_PODS_PER_SERVICE");
        let away = fault(503, &problem(503, "store_unavailable"), Some(2));
        assert_eq!(away.hint, "try again in 2 s; nothing was changed");
        let bug = fault(500, &problem(500, "internal"), None);
        assert_eq!(bug.hint, "the manager's log says more about request r-1");
        let stranger = fault(502, &json!("bad gateway"), None);
        assert!(stranger.what.contains("502 Bad Gateway"), "{stranger:?}");
    }

    #[test]
    fn every_fault_of_the_input_is_named() {
        let mut body = problem(400, "invalid_request");
        body["errors"] = json!([{"pointer": "/providers/0/port", "message": "is 0"},
            {"pointer": "", "message": "is no object"}]);
        let fault = fault(400, &body, None);
        assert_eq!(fault.causes, ["providers/0/port: is 0", "is no object"]);
    }
}
