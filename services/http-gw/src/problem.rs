//! Errors as RFC 9457 problems with the `cause` of 3GPP TS 29.500 §5.2.7.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

/// An error for the client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) cause: &'static str,
    pub(crate) detail: &'static str,
}

impl Problem {
    /// No pod may be asked.
    pub(crate) const NO_POD: Self = Self {
        status: StatusCode::SERVICE_UNAVAILABLE,
        cause: "TARGET_NF_NOT_REACHABLE",
        detail: "no pod can take the request now",
    };
    /// Pods were asked and none answered.
    pub(crate) const NO_ANSWER: Self = Self {
        status: StatusCode::GATEWAY_TIMEOUT,
        cause: "TARGET_NF_NOT_REACHABLE",
        detail: "no pod answered in time",
    };
    /// Our own bound.
    pub(crate) const BUSY: Self = Self {
        status: StatusCode::SERVICE_UNAVAILABLE,
        cause: "NF_CONGESTION",
        detail: "too many requests are under way",
    };
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "title": self.status.canonical_reason().unwrap_or_default(),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "cause": self.cause,
        });
        let kind = HeaderValue::from_static("application/problem+json");
        let mut response =
            (self.status, [(header::CONTENT_TYPE, kind)], body.to_string()).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
