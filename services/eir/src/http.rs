//! N5g-eir_EquipmentIdentityCheck (3GPP TS 29.511): one resource, one query.
//!
//! Errors are RFC 9457 problems with the `cause` that TS 29.500 §5.2.7 and TS 29.511 §6.1.7 name.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderValue, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde_json::json;
use telco_codec::Imei;

use crate::Current;

/// Longest value of `pei` that is looked at.
const PEI_MAX: usize = 128;

/// What requests need.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) list: Current,
    /// Requests taken over HTTP, and over S13.
    pub(crate) asked: Arc<AtomicU64>,
    pub(crate) asked_s13: Arc<AtomicU64>,
}

/// The routes; what is elsewhere gets a problem.
pub(crate) fn router(desk: Desk) -> Router {
    Router::new()
        .route("/stats", get(stats))
        .route(
            "/n5g-eir-eic/v1/equipment-status",
            get(status).fallback(|| async {
                let problem = problem(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "METHOD_NOT_ALLOWED",
                    "GET asks for a status",
                );
                ([(header::ALLOW, HeaderValue::from_static("GET, HEAD"))], problem)
            }),
        )
        .fallback(|| async {
            problem(
                StatusCode::NOT_FOUND,
                "RESOURCE_URI_STRUCTURE_NOT_FOUND",
                "there is nothing at this path",
            )
        })
        .with_state(desk)
}

async fn stats(State(desk): State<Desk>) -> Response {
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let counts = json!({"http": read(&desk.asked), "s13": read(&desk.asked_s13)});
    axum::Json(counts).into_response()
}

async fn status(State(desk): State<Desk>, RawQuery(query): RawQuery) -> Response {
    desk.asked.fetch_add(1, Ordering::Relaxed);
    let pei = match parameter(query.as_deref().unwrap_or_default(), "pei") {
        Ok(Some(pei)) => pei,
        Ok(None) => {
            return problem(
                StatusCode::BAD_REQUEST,
                "MANDATORY_QUERY_PARAM_MISSING",
                "the query has no pei",
            );
        }
        Err(detail) => return incorrect(detail),
    };
    let imei = match Equipment::parse(&pei) {
        Some(Equipment::Imei(imei)) => imei,
        // An address of a network card is an identity, but this register lists none.
        Some(Equipment::Other) => return unknown(),
        None => return incorrect("pei is imei- and 15 digits, or imeisv- and 16 digits"),
    };
    match desk.list.load().status(imei) {
        Some(status) => axum::Json(json!({"status": status.name()})).into_response(),
        None => unknown(),
    }
}

/// A permanent equipment identifier (TS 29.571 §5.3.2, Pei).
enum Equipment {
    Imei(Imei),
    /// `mac-…` or `eui-…`.
    Other,
}

impl Equipment {
    fn parse(pei: &str) -> Option<Self> {
        if let Some(digits) = pei.strip_prefix("imei-") {
            return Some(digits)
                .filter(|digits| digits.len() == 15)
                .and_then(|digits| Imei::parse(digits).ok())
                .map(Self::Imei);
        }
        if let Some(digits) = pei.strip_prefix("imeisv-") {
            return Some(digits)
                .filter(|digits| digits.len() == 16)
                .and_then(|digits| Imei::parse(digits).ok())
                .map(Self::Imei);
        }
        let octets = |text: &str, count: usize| {
            let mut parts = text.split('-');
            let is_octet =
                |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
            parts.by_ref().take(count).filter(|part| is_octet(part)).count() == count
                && parts.next().is_none()
        };
        let mac = pei.strip_prefix("mac-").map(|mac| mac.strip_suffix("-untrusted").unwrap_or(mac));
        let is_other = mac.is_some_and(|mac| octets(mac, 6))
            || pei.strip_prefix("eui-").is_some_and(|eui| octets(eui, 8));
        is_other.then_some(Self::Other)
    }
}

/// The value of a parameter that must not be there twice.
fn parameter(query: &str, name: &str) -> Result<Option<String>, &'static str> {
    let mut values = query.split('&').filter_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    });
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err("the query has more than one pei");
    }
    if value.len() > PEI_MAX {
        return Err("pei is longer than any identity");
    }
    let decoded = percent_decode_str(value).decode_utf8().map_err(|_| "pei is not UTF-8")?;
    Ok(Some(decoded.into_owned()))
}

fn unknown() -> Response {
    problem(StatusCode::NOT_FOUND, "ERROR_EQUIPMENT_UNKNOWN", "the register does not list it")
}

fn incorrect(detail: &str) -> Response {
    problem(StatusCode::BAD_REQUEST, "MANDATORY_QUERY_PARAM_INCORRECT", detail)
}

fn problem(status: StatusCode, cause: &str, detail: &str) -> Response {
    let body = json!({
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "detail": detail,
        "cause": cause,
    });
    let kind = HeaderValue::from_static("application/problem+json");
    (status, [(header::CONTENT_TYPE, kind)], body.to_string()).into_response()
}
