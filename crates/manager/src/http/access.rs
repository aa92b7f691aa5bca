//! The door: which path needs which right, and what becomes of a request that lacks it.
//!
//! Who somebody is and what that allows is known in `crate::access`. A refusal is counted; one of a
//! command also goes into the audit, a bounded number of them a second.

use std::sync::Arc;

use axum::extract::Request;
use governance_api::paths;
use governance_domain::PodKey;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};

use super::problem::Problem;
use super::{HttpState, admin, origin_of, refusal, unregister};
use crate::access::{Access, Caller, Denial, Presented, Right};
use crate::engine::{AuditAction, AuditResult, Origin, Refusal};

/// What everybody may ask: what orchestrators and load balancers need, and texts that are the same
/// for every manager.
const OPEN: [&str; 5] = [paths::HEALTH, paths::READY, paths::VERSION, paths::OPENAPI, paths::DOCS];
/// What needs the right `admin`, or to come from this machine.
const ADMIN: &str = "/admin/";

/// What a request would change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Write {
    Register,
    Unregister,
    /// Kept by no audit.
    Heartbeat,
}

impl Write {
    fn of(path: &str) -> Option<Self> {
        match path {
            paths::REGISTER => Some(Self::Register),
            paths::UNREGISTER => Some(Self::Unregister),
            paths::HEARTBEAT => Some(Self::Heartbeat),
            _ => None,
        }
    }

    fn action(self) -> Option<AuditAction> {
        match self {
            Self::Register => Some(AuditAction::Register),
            Self::Unregister => Some(AuditAction::Unregister),
            Self::Heartbeat => None,
        }
    }
}

/// Whether everybody may ask for a path.
pub(super) fn is_open(path: &str) -> bool {
    OPEN.contains(&path)
}

/// What a request needs; none if everybody may send it. What is not known here needs a right, too.
fn needed(method: &Method, path: &str) -> Option<Right> {
    let is_reading = matches!(*method, Method::GET | Method::HEAD);
    if path.starts_with(ADMIN) {
        Some(Right::Admin)
    } else if !is_reading {
        Some(Right::Write)
    } else if is_open(path) {
        None
    } else {
        Some(Right::Read)
    }
}

/// Lets a request in, with who sent it in its extensions, or says why not.
pub(super) fn admit(
    state: &HttpState,
    access: &Access,
    request: &mut Request,
) -> Result<(), Problem> {
    if !access.asks_for_identity() {
        return Ok(());
    }
    let Some(needs) = needed(request.method(), request.uri().path()) else { return Ok(()) };
    let denial = match identify(access, request) {
        Ok(caller) => {
            let (name, has) = (Arc::clone(&caller.name), caller.right);
            request.extensions_mut().insert(caller);
            if has >= needs {
                return Ok(());
            }
            Denial::TooLittle { name, has, needs }
        }
        Err(denial) => denial,
    };
    if needs == Right::Admin && admin::is_local(request.extensions(), request.headers()) {
        return Ok(());
    }
    let write = Write::of(request.uri().path()).filter(|_| needs == Right::Write);
    let origin = origin_of(request.headers(), request.extensions());
    // A registration names its pod in a body that nobody reads for a stranger.
    let key = write.filter(|write| *write == Write::Unregister);
    let key = key.and_then(|_| unregister::named(request.uri().query()));
    Err(refuse(state, access, &denial, write, key.as_ref(), origin))
}

fn identify(access: &Access, request: &Request) -> Result<Caller, Denial> {
    let mut sent = request.headers().get_all(AUTHORIZATION).iter();
    let authorization = sent.next().map(HeaderValue::as_bytes);
    if sent.next().is_some() {
        return Err(Denial::Malformed);
    }
    access.identify(authorization, request.extensions().get::<Presented>())
}

/// Refuses a caller that is tied to other services than that of the pod.
pub(super) fn check_service(
    state: &HttpState,
    parts: &Parts,
    write: Write,
    key: &PodKey,
) -> Result<(), Problem> {
    let Some(access) = &state.access else { return Ok(()) };
    let Some(caller) = parts.extensions.get::<Caller>() else { return Ok(()) };
    let service = key.service.as_str();
    if caller.may_write(service) {
        return Ok(());
    }
    let (name, service) = (Arc::clone(&caller.name), service.to_owned());
    let denial = Denial::OtherService { name, service };
    let origin = origin_of(&parts.headers, &parts.extensions);
    Err(refuse(state, access, &denial, Some(write), Some(key), origin))
}

/// Counts a refusal, tells the audit of it, and says it to the caller.
fn refuse(
    state: &HttpState,
    access: &Access,
    denial: &Denial,
    write: Option<Write>,
    key: Option<&PodKey>,
    origin: Origin,
) -> Problem {
    access.refusals().count(denial);
    tracing::debug!(
        reason = denial.reason(),
        request_id = origin.request_id,
        remote = origin.remote,
        "a request was refused"
    );
    let detail = denial.detail();
    if let Some(action) = write.and_then(Write::action)
        && let Some(untold) = access.refusals().tell()
    {
        let details = refusal::with_untold(detail.clone(), untold);
        let (at, result, key) = (state.clock.now(), AuditResult::Denied, key.cloned());
        state.engine.note_refusal(Refusal { at, action, result, key, details, origin });
    }
    if denial.is_identified() {
        Problem::new(StatusCode::FORBIDDEN, "forbidden", detail)
    } else {
        Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_needs_a_right_and_only_a_few_paths_need_none() {
        let right = |method: Method, path: &str| needed(&method, path);
        for path in OPEN {
            assert_eq!(right(Method::GET, path), None, "{path}");
            assert_eq!(right(Method::HEAD, path), None, "{path}");
            assert_eq!(right(Method::POST, path), Some(Right::Write), "{path}");
        }
        for path in ["/services", "/metrics", "/watch", "/audit/logs", "/nothing", "/health/", ""] {
            assert_eq!(right(Method::GET, path), Some(Right::Read), "{path}");
        }
        for method in [Method::POST, Method::DELETE, Method::PUT, Method::PATCH, Method::OPTIONS] {
            assert_eq!(right(method, "/register"), Some(Right::Write));
        }
        assert_eq!(right(Method::GET, paths::LOG_LEVEL), Some(Right::Admin));
    }
}
