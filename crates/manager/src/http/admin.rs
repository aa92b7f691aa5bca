//! `/admin/…`: what only somebody on this machine may do, or with the right `admin`.
//!
//! Without that right, a request that came over another address, or through a proxy on this
//! machine, is refused: who is behind a proxy cannot be told.

use axum::extract::{Request, State};
use governance_api::LogLevel;
use http::{Extensions, HeaderMap, StatusCode};

use super::problem::Problem;
use super::{Answer, Peer, Shared, body, json_answer};
use crate::access::{Caller, Right};
use crate::telemetry::logging::{self, LevelError};

/// Headers that a proxy adds.
const PROXIED: [&str; 3] = ["forwarded", "x-forwarded-for", "via"];

pub(super) async fn log_level(request: Request) -> Answer {
    check_local(request.extensions(), request.headers())?;
    let level = logging::level().ok_or_else(|| unchangeable(&LevelError::NotStarted))?;
    Ok(json_answer(to_json(&LogLevel { level })))
}

pub(super) async fn set_log_level(State(_state): Shared, request: Request) -> Answer {
    let (parts, sent) = request.into_parts();
    check_local(&parts.extensions, &parts.headers)?;
    body::require_json(&parts.headers)?;
    let sent = body::read(&parts.headers, sent).await?;
    let wanted: LogLevel = serde_json::from_slice(&sent).map_err(|_| {
        Problem::malformed_json("send an object with the new level: {\"level\":\"debug\"}")
    })?;
    let before = logging::level().unwrap_or_default();
    let level = logging::set_level(&wanted.level).map_err(|error| unchangeable(&error))?;
    tracing::warn!(before, level, "the log's level was changed until the next start");
    Ok(json_answer(to_json(&LogLevel { level })))
}

fn unchangeable(error: &LevelError) -> Problem {
    match error {
        LevelError::Invalid(why) => {
            let detail = format!(
                "{why}: use error, warn, info, debug, trace, or a list such as info,hyper=warn"
            );
            Problem::new(StatusCode::BAD_REQUEST, "invalid_request", detail)
        }
        LevelError::NotStarted => {
            Problem::new(StatusCode::CONFLICT, "log_not_started", error.to_string())
        }
    }
}

/// Whether a request certainly comes from this machine.
pub(super) fn is_local(extensions: &Extensions, headers: &HeaderMap) -> bool {
    let peer = extensions.get::<Peer>();
    let is_local = peer.is_some_and(|peer| peer.0.ip().to_canonical().is_loopback());
    is_local && !PROXIED.iter().any(|name| headers.contains_key(*name))
}

/// Refuses whoever is not certainly on this machine and has not the right either.
fn check_local(extensions: &Extensions, headers: &HeaderMap) -> Result<(), Problem> {
    let is_admin = extensions.get::<Caller>().is_some_and(|caller| caller.right >= Right::Admin);
    if is_admin || is_local(extensions, headers) {
        return Ok(());
    }
    let detail = "this is answered to the manager's own machine alone, and through no proxy: ask \
                  over 127.0.0.1 or ::1 there, or with the right admin where API_TOKENS_FILE \
                  grants it";
    Err(Problem::new(StatusCode::FORBIDDEN, "local_only", detail))
}

fn to_json(answer: &LogLevel) -> Vec<u8> {
    serde_json::to_vec(answer).expect("texts always have a JSON form")
}
