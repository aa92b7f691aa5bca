//! `GET /imei/{imei}/status?via=http|diameter`: one question, either way, one form of answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use telco_codec::s13::{CheckOutcome, CheckRequest};
use telco_codec::{Command, Identity, Imei, Message, ResultCode, Serial};
use telco_node::diameter::{Route, Trunk, Undelivered};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::Shared;
use crate::problem::Problem;

/// Before asking again when no gateway could deliver.
const PAUSE: Duration = Duration::from_millis(50);

/// The way to the register over S13.
pub(crate) struct S13 {
    pub(crate) us: Identity,
    pub(crate) realm: String,
    pub(crate) trunk: Arc<Trunk>,
    /// How long a question may take.
    pub(crate) total_max: Duration,
    /// Part of every session's name, so that names do not come again after a restart.
    pub(crate) start: u32,
    pub(crate) next: AtomicU32,
    pub(crate) requests: AtomicU64,
    pub(crate) failed: AtomicU64,
}

/// Answers `GET /imei/{imei}/status`.
pub(crate) async fn status(
    State(shared): State<Arc<Shared>>,
    Path(imei): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let wrong = |detail| Problem {
        status: StatusCode::BAD_REQUEST,
        cause: "MANDATORY_QUERY_PARAM_INCORRECT",
        detail,
    };
    let parsed = Imei::parse(&imei)
        .map_err(|_| wrong("an IMEI is 14 digits, 15 with its check digit, or 16 as an IMEISV"))?;
    let via = query.iter().find(|(name, _)| name == "via").map(|(_, value)| value.as_str());
    let status = match via.unwrap_or("http") {
        "http" => over_http(&shared, parsed).await?,
        "diameter" => shared.s13.ask(parsed).await?,
        _ => return Err(wrong("via is http or diameter")),
    };
    let via = via.unwrap_or("http");
    Ok(Json(json!({"imei": imei, "status": status, "via": via})).into_response())
}

const UNKNOWN: Problem = Problem {
    status: StatusCode::NOT_FOUND,
    cause: "ERROR_EQUIPMENT_UNKNOWN",
    detail: "the register does not list it",
};

const SENSELESS: Problem = Problem {
    status: StatusCode::BAD_GATEWAY,
    cause: "SYSTEM_FAILURE",
    detail: "the register's answer makes no sense",
};

async fn over_http(shared: &Shared, imei: Imei) -> Result<Value, Problem> {
    let pei = match imei.software() {
        Some(_) => format!("imeisv-{imei}"),
        None => format!("imei-{imei}0"),
    };
    let uri = format!("/n5g-eir-eic/v1/equipment-status?pei={pei}");
    let request = Request::builder().uri(uri).body(axum::body::Body::empty());
    let response = shared.forward.forward(request.map_err(|_| SENSELESS)?).await?;
    match response.status() {
        StatusCode::OK => {
            let body = response.into_body().collect().await.map_err(|_| SENSELESS)?;
            let body: Value = serde_json::from_slice(&body.to_bytes()).map_err(|_| SENSELESS)?;
            body.get("status").cloned().ok_or(SENSELESS)
        }
        StatusCode::NOT_FOUND => Err(UNKNOWN),
        _ => Err(SENSELESS),
    }
}

impl S13 {
    async fn ask(&self, imei: Imei) -> Result<Value, Problem> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let result = self.ask_until(imei, Instant::now() + self.total_max).await;
        if result.as_ref().is_err_and(|problem| problem.status.is_server_error()) {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// Asks, and again while nobody can deliver: the question may be repeated.
    async fn ask_until(&self, imei: Imei, deadline: Instant) -> Result<Value, Problem> {
        loop {
            let problem = match self.ask_once(imei).await {
                Ok(CheckOutcome::Known(status)) => return Ok(status.name().into()),
                Ok(CheckOutcome::Unknown) => return Err(UNKNOWN),
                Ok(CheckOutcome::Failed(code)) => {
                    if code != ResultCode::UNABLE_TO_DELIVER && code != ResultCode::TOO_BUSY {
                        tracing::warn!(%code, "the register refuses a question of ours");
                        return Err(SENSELESS);
                    }
                    Problem::NO_POD
                }
                Err(Undelivered::NoPeer) => Problem::NO_POD,
                Err(Undelivered::NoAnswer) => Problem::NO_ANSWER,
                Err(Undelivered::Busy) => return Err(Problem::BUSY),
                Err(Undelivered::TooLong) => return Err(SENSELESS),
            };
            if Instant::now() + PAUSE >= deadline {
                return Err(problem);
            }
            sleep(PAUSE).await;
        }
    }

    async fn ask_once(&self, imei: Imei) -> Result<CheckOutcome, Undelivered> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let session = format!("{};{};{number}", self.us.host(), self.start);
        let mut request = CheckRequest::new(&session, self.us.clone(), imei);
        request.destination_realm.clone_from(&self.realm);
        // Twelve bits of the start and a count, as RFC 6733 §3 proposes.
        let end_to_end = (self.start << 20) | (number & 0x000f_ffff);
        let frame = request
            .write(Serial { hop_by_hop: 0, end_to_end })
            .map_err(|_| Undelivered::TooLong)?;
        let message = Message::parse(&frame).map_err(|_| Undelivered::TooLong)?;
        let (tx, rx) = oneshot::channel();
        self.trunk.send(&message, Route::default(), move |ended| {
            // Whoever asked may be gone.
            let _ = tx.send(ended);
        });
        let answer = rx.await.map_err(|_| Undelivered::NoAnswer)??;
        let read = Message::parse(&answer).and_then(|message| {
            Command::check(&message)?;
            CheckOutcome::read(&message)
        });
        read.map_err(|fault| {
            tracing::warn!(%fault, "an answer makes no sense");
            Undelivered::NoAnswer
        })
    }
}
