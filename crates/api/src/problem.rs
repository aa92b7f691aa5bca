//! What every error looks like: a problem of RFC 9457, with a stable code for programs.

use serde::{Deserialize, Serialize};

/// The media type of every error.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// RFC 9457 section 3.1.1; `about:blank`, the kind stands in `error`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The phrase of the status.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong and what to do about it, for people.
    pub detail: String,
    /// Names the request in the manager's log.
    pub request_id: String,
    /// The stable code that programs compare, in `snake_case`.
    pub error: String,
    /// The text of `detail`, where older clients look for it.
    pub message: String,
    /// Every fault of the input; empty unless the input is at fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
    /// Where the active manager answers (`host:port`), when this one is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<String>,
}

/// One fault of the input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Fault {
    /// Where: a JSON pointer (RFC 6901) into the body; for a query parameter, `/` and its name.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub message: String,
}
