//! Reading a request's body: its type, its size, its time.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use tokio::time::{Instant, timeout_at};

use super::problem::Problem;

/// The largest body that is read.
pub(super) const BODY_MAX: usize = 64 * 1024;
/// How much of a body that is too large is still taken in, so that the answer reaches a caller
/// that sends first and reads then.
const DISCARD_MAX: usize = 1024 * 1024;
/// How long a body may take in all.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Refuses a body that says it is not JSON. One that says nothing is taken for JSON.
pub(super) fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    if let Some(kind) = headers.get(CONTENT_TYPE) {
        let essence = kind.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        if !essence.trim_ascii().eq_ignore_ascii_case(b"application/json") {
            let given = String::from_utf8_lossy(kind.as_bytes());
            let given: String = given.chars().take(80).collect();
            return Err(unsupported(format!(
                "the Content-Type {given:?} is not supported: send application/json, or none"
            )));
        }
    }
    match headers.get(CONTENT_ENCODING) {
        Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"identity") => Err(unsupported(
            "compressed bodies are not supported: send the body without Content-Encoding"
                .to_owned(),
        )),
        _ => Ok(()),
    }
}

fn unsupported(detail: String) -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
}

/// Reads the whole body.
pub(super) async fn read(headers: &HeaderMap, mut body: Body) -> Result<Bytes, Problem> {
    let declared =
        headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let waits_for_leave = headers.contains_key(EXPECT);
    if declared.is_some_and(|length: u64| length > DISCARD_MAX as u64 || waits_for_leave)
        && declared.is_some_and(|length| length > BODY_MAX as u64)
    {
        return Err(too_large());
    }
    let deadline = Instant::now() + BODY_TIMEOUT;
    let mut whole = Bytes::new();
    let mut size = 0_usize;
    while let Some(frame) = timeout_at(deadline, body.frame()).await.map_err(|_| too_slow())? {
        let Ok(data) = frame.map_err(|_| cut_off())?.into_data() else { continue };
        size += data.len();
        if size > DISCARD_MAX {
            return Err(too_large());
        }
        if size <= BODY_MAX {
            whole = joined(whole, data);
        }
    }
    if size > BODY_MAX { Err(too_large()) } else { Ok(whole) }
}

/// Takes in a body that means nothing, within the same bounds, so that the connection can be used
/// again.
pub(super) async fn ignore(headers: &HeaderMap, body: Body) -> Result<(), Problem> {
    if body.is_end_stream() {
        return Ok(());
    }
    read(headers, body).await.map(drop)
}

/// Most bodies come in one piece, which is then not copied.
fn joined(whole: Bytes, data: Bytes) -> Bytes {
    if whole.is_empty() {
        return data;
    }
    let mut whole = BytesMut::from(whole);
    whole.extend_from_slice(&data);
    whole.freeze()
}

fn too_large() -> Problem {
    let detail = "the body is larger than 65536 bytes: send less";
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
}

fn too_slow() -> Problem {
    let detail = "the body did not arrive within 30 s; nothing was changed: send it again";
    Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail)
}

fn cut_off() -> Problem {
    let detail = "the body ended before its announced length, or is not well-formed";
    Problem::new(StatusCode::BAD_REQUEST, "malformed_request", detail)
}
