//! Every error as `application/problem+json` (RFC 9457), from every source of errors.
//!
//! A [`Problem`] travels inside a response until `router` gives it the request's id and its bytes.
//! Its text is written for the caller: what the system, the store or a driver said stays in the log.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use governance_api::Fault;
use governance_domain::Rejection;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

use crate::engine::{Phase, SubmitError};

/// Faults that are named one by one; a last entry counts the others.
const FAULTS_MAX: usize = 256;
/// Faults that are repeated in `detail`, for callers that show only that.
const FAULTS_IN_DETAIL: usize = 5;
/// How a caller can say who it is (RFC 6750 §3).
const CHALLENGE: &str = "Bearer realm=\"governance-manager\"";

/// An error answer that lacks only the request's id.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    faults: Vec<Fault>,
    active: Option<String>,
    /// Seconds.
    retry_after: Option<u32>,
}

impl Problem {
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        let detail = detail.into();
        Self { status, code, detail, faults: Vec::new(), active: None, retry_after: None }
    }

    pub(super) fn unavailable(code: &'static str, retry_after: u32, detail: &'static str) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail);
        Self { retry_after: Some(retry_after), ..problem }
    }

    /// The input is at fault, in these places.
    pub(super) fn invalid(mut faults: Vec<Fault>) -> Self {
        let count = faults.len();
        let spoken = |fault: &Fault| match fault.pointer.as_str() {
            "" => fault.message.clone(),
            pointer => format!("{pointer} {}", fault.message),
        };
        let mut detail: Vec<String> = faults.iter().take(FAULTS_IN_DETAIL).map(spoken).collect();
        if count > FAULTS_IN_DETAIL {
            detail.push(format!("and {} more, see errors", count - FAULTS_IN_DETAIL));
        }
        if count > FAULTS_MAX {
            faults.truncate(FAULTS_MAX);
            let message = format!("{} more faults are not listed", count - FAULTS_MAX);
            faults.push(Fault { pointer: String::new(), message });
        }
        let problem = Self::new(StatusCode::BAD_REQUEST, "invalid_request", detail.join("; "));
        Self { faults, ..problem }
    }

    /// The body is not JSON.
    pub(super) fn malformed_json(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed_json", detail)
    }

    /// This manager does not answer now.
    pub(super) fn not_active(phase: &Phase) -> Self {
        match phase {
            Phase::Loading { .. } => Self::unavailable(
                "loading",
                1,
                "the manager has not read its state from the store yet: try again in a moment",
            ),
            Phase::Standby { active } => {
                let detail = format!(
                    "this manager is a standby: ask the active one at {active}, or try again, \
                     because this one takes over when that one is gone"
                );
                let problem = Self::unavailable("not_active", 1, "");
                Self { detail: detail.into(), active: Some(active.clone()), ..problem }
            }
            Phase::Stopping | Phase::Active => Self::unavailable(
                "shutting_down",
                5,
                "the manager is shutting down and takes no more changes: try again when it is back",
            ),
        }
    }

    fn refused(rejection: &Rejection) -> Self {
        let status = match rejection {
            Rejection::PodUnknown(_) => StatusCode::NOT_FOUND,
            Rejection::RegistrationSuperseded { .. }
            | Rejection::InstanceSuperseded { .. }
            | Rejection::ServiceNameCollision { .. } => StatusCode::CONFLICT,
            Rejection::ServiceFull { .. } => StatusCode::TOO_MANY_REQUESTS,
        };
        let retry_after = (status == StatusCode::TOO_MANY_REQUESTS).then_some(60);
        let problem = Self::new(status, rejection.code(), rejection.to_string());
        Self { retry_after, ..problem }
    }

    /// Why a command failed. What only an operator may read goes into the log.
    pub(super) fn of(error: &SubmitError) -> Self {
        match error {
            SubmitError::Rejected(rejection) => Self::refused(rejection),
            SubmitError::Refused => Self::unavailable(
                "store_refused",
                30,
                "the store refused to keep this data; nothing was changed. The manager's log says \
                 why",
            ),
            SubmitError::Busy => Self::unavailable(
                "overloaded",
                1,
                "the manager is overloaded and the request did not get its turn in time; nothing \
                 was changed: try again",
            ),
            SubmitError::StoreUnavailable { why } => {
                tracing::debug!(why, "a command was turned away because the store is away");
                Self::unavailable(
                    "store_unavailable",
                    5,
                    "the store cannot be reached, and nothing was changed: try again",
                )
            }
            SubmitError::NotActive(phase) => Self::not_active(phase),
            SubmitError::OutcomeUnknown => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "outcome_unknown",
                "the store did not answer in time: the change may or may not be stored. Look it \
                 up, or send it again, which is safe",
            ),
        }
    }

    /// For errors that were answered without a problem: by the router, by the HTTP library.
    pub(super) fn of_status(status: StatusCode) -> Self {
        let (code, detail) = match status {
            StatusCode::NOT_FOUND => ("not_found", "there is nothing at this path"),
            StatusCode::METHOD_NOT_ALLOWED => (
                "method_not_allowed",
                "this path does not take this method: the Allow header names those it takes",
            ),
            StatusCode::URI_TOO_LONG => {
                ("uri_too_long", "the request's path and query are too long")
            }
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => (
                "headers_too_large",
                "the request has more than 100 headers, or more than 16 KiB of them: send fewer",
            ),
            status if status.is_server_error() => {
                ("internal", "an internal error; the manager's log has it under the request's id")
            }
            _ => ("malformed_request", "this is not a well-formed HTTP request"),
        };
        Self::new(status, code, detail)
    }

    /// The headers and bytes of the answer, in place of what `response` has.
    pub(super) fn write(self, mut response: Response, request_id: &str, is_head: bool) -> Response {
        let body = self.body(request_id);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(governance_api::problem::MEDIA_TYPE));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        *response.body_mut() = if is_head { axum::body::Body::empty() } else { body.into() };
        response
    }

    /// The JSON text.
    pub(super) fn body(&self, request_id: &str) -> Vec<u8> {
        let problem = governance_api::Problem {
            kind: "about:blank".to_owned(),
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail.clone().into_owned(),
            request_id: request_id.to_owned(),
            error: self.code.to_owned(),
            message: self.detail.clone().into_owned(),
            errors: self.faults.clone(),
            active: self.active.clone(),
        };
        serde_json::to_vec(&problem).expect("texts and numbers always have a JSON form")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::default();
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self);
        response
    }
}
