//! Answers of managers that are none of success, and answers that did not come, as faults with hints.

use governance_api::Problem;
use governance_client::StatusCode;
use governance_client::direct::{Address, Answer, ObstacleKind, Unanswered};

use crate::fault::{Fault, Kind};
use crate::identity::{Identity, Origin};

/// Why a manager that was asked did not answer the question, while another one may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Miss {
    pub(crate) kind: MissKind,
    text: String,
}

/// What kind of miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MissKind {
    /// It is a standby.
    NotActive,
    /// It speaks TLS, and was not spoken to so.
    TlsRequired,
    /// The token would go there in clear text.
    ClearText,
    /// There was no answer.
    Unanswered(ObstacleKind),
}

impl Miss {
    pub(crate) fn new(kind: MissKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    pub(crate) fn of(unanswered: &Unanswered) -> Self {
        let kind = MissKind::Unanswered(unanswered.obstacle().kind());
        Self::new(kind, unanswered.to_string())
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What to do about it; none where only the network or the manager's machine can tell.
    pub(crate) fn hint(&self, identity: &Identity) -> Option<String> {
        let fixed = match self.kind {
            MissKind::NotActive | MissKind::Unanswered(ObstacleKind::Other) => return None,
            MissKind::Unanswered(ObstacleKind::UnknownAuthority) => {
                return Some(match &identity.ca_file {
                    None => "name the CA that signed it with --ca-file or GOVERNANCE_CA_FILE; now \
                             the system's CAs are trusted"
                        .to_owned(),
                    Some(path) => format!(
                        "{} has the CAs that are trusted now: name the one that signed it with \
                         --ca-file or GOVERNANCE_CA_FILE",
                        path.display()
                    ),
                });
            }
            MissKind::Unanswered(ObstacleKind::WrongName) => {
                "write a name into --manager that stands in the certificate, or have the \
                 certificate made for this one, too"
            }
            MissKind::Unanswered(ObstacleKind::OutOfTime) => {
                "put a new certificate in place of the manager's TLS_CERT_FILE, which it takes by \
                 itself; if its time is right, set this machine's clock"
            }
            MissKind::Unanswered(ObstacleKind::CertificateDemanded) => {
                "name a client certificate with --cert-file and --key-file"
            }
            MissKind::Unanswered(ObstacleKind::CertificateRefused) => {
                "name a client certificate in its time, of a CA that is known there, with \
                 --cert-file and --key-file"
            }
            MissKind::Unanswered(ObstacleKind::NotTls) => {
                "write http:// into --manager or GOVERNANCE_URL if this manager does not speak TLS"
            }
            MissKind::TlsRequired => {
                "write https:// into --manager or GOVERNANCE_URL for a manager that speaks TLS"
            }
            MissKind::Unanswered(_) => {
                "write https:// into --manager or GOVERNANCE_URL if this manager speaks TLS"
            }
            MissKind::ClearText => {
                "name the active manager at https, or itself through a tunnel, in --manager; \
                 --plain-token sends the token all the same"
            }
        };
        Some(fixed.to_owned())
    }
}

/// What a refusal means.
pub(crate) fn of(from: &Address, answer: &Answer, identity: &Identity) -> Fault {
    let Ok(problem) = serde_json::from_slice::<Problem>(&answer.body) else {
        let what = format!("{from} answered {} and no problem of a manager", answer.status);
        let hint = "check that the URL is that of a governance manager and not of something else";
        return Fault::new(Kind::Failed, what, hint);
    };
    let kind = match answer.status {
        StatusCode::NOT_FOUND => Kind::NotFound,
        StatusCode::UNAUTHORIZED => {
            let what = format!("the manager at {from} does not know who asks");
            let fault = Fault::new(Kind::Unidentified, what, identify(identity));
            return fault.caused_by(problem.detail);
        }
        StatusCode::FORBIDDEN => Kind::Forbidden,
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
pub(crate) fn nobody(missed: Vec<Miss>, identity: &Identity) -> Fault {
    let what = "no active manager answers";
    let hint = missed.iter().find_map(|miss| miss.hint(identity));
    let hint = hint.unwrap_or_else(|| {
        "see that a manager runs there (`govctl status` asks each); say where others are with \
         --manager or GOVERNANCE_URL"
            .to_owned()
    });
    let causes = missed.into_iter().map(|miss| miss.text);
    causes.fold(Fault::new(Kind::Unreachable, what, hint), Fault::caused_by)
}

/// How to say who asks, after what was said was not enough. A manager judges by the token if it
/// gets one.
fn identify(identity: &Identity) -> String {
    match (&identity.token, &identity.cert_file) {
        (Some(origin), _) => {
            let place = match origin {
                Origin::Variable => "GOVERNANCE_TOKEN".to_owned(),
                Origin::File(path) => path.display().to_string(),
            };
            format!(
                "the token in {place} was sent: put one there that the manager knows; \
                 `governance-manager --hash-token` makes the line for a new one"
            )
        }
        (None, Some(path)) => format!(
            "the certificate in {} was shown: name one in its time, of a CA in the manager's \
             TLS_CLIENT_CA_FILE, or a token with --token-file",
            path.display()
        ),
        (None, None) => "name a file with a token with --token-file or GOVERNANCE_TOKEN_FILE, or \
                         a client certificate with --cert-file and --key-file"
            .to_owned(),
    }
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
        "forbidden" => {
            "ask with a token or certificate that may do this, or have its line in the manager's \
             API_TOKENS_FILE changed, which counts within two seconds"
        }
        "local_only" => {
            "do it on the manager's own machine, or with a token that has the right admin"
        }
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
        let answer = Answer { status, retry_after, body: body.to_string().into() };
        of(&from, &answer, &Identity::default())
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
        let nobody = fault(401, &problem(401, "unauthenticated"), None);
        assert_eq!(
            (nobody.kind, &nobody.causes[..]),
            (Kind::Unidentified, &["why".to_owned()][..])
        );
        let less = fault(403, &problem(403, "forbidden"), None);
        assert_eq!((less.kind, less.what.as_str()), (Kind::Forbidden, "why"));
        let away = fault(403, &problem(403, "local_only"), None);
        assert!(away.hint.contains("on the manager's own machine"), "{away:?}");
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
