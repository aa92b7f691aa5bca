//! `GET /services`, `GET /services/{service}` and `GET /services/{service}/pods/{pod}`.

use std::borrow::Cow;

use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use governance_domain::{PodKey, PodName, Protocol, Rejection, ServiceName, Status};

use super::list::{Filter, Listing, Page};
use super::problem::Problem;
use super::query::Query;
use super::{Answer, Shared, insight, json_answer};
use crate::engine::SubmitError;
use crate::wire;

/// The most pods of one page.
const LIMIT_MAX: usize = 10_000;

pub(super) async fn list(State(state): Shared, RawQuery(query): RawQuery) -> Answer {
    state.check_readable()?;
    let mut query = Query::new(query.as_deref());
    let service = query.optional("service_name").map(Cow::into_owned);
    let (filter, page) = read_query(query, service)?;
    let listing = Listing::new(state.engine.snapshot(), filter, page);
    Ok(answer(listing.into_services()))
}

pub(super) async fn service(
    State(state): Shared,
    Path(service): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer {
    state.check_readable()?;
    let query = Query::new(query.as_deref());
    let (filter, page) = read_query(query, Some(service))?;
    let snapshot = state.engine.snapshot();
    if let Some(found) = snapshot.registry.service(filter.service.as_deref().unwrap_or_default()) {
        wire::fetch_ahead(&found.pods, snapshot.registry.pod_count());
    }
    Ok(answer(Listing::new(snapshot, filter, page).into_pods()))
}

pub(super) async fn pod(
    State(state): Shared,
    Path((service, pod)): Path<(String, String)>,
) -> Answer {
    state.check_readable()?;
    let snapshot = state.engine.snapshot();
    let Some(found) = snapshot.registry.pod(&service, &pod) else {
        let key = PodKey::new(ServiceName::stored(&service), PodName::stored(&pod));
        return Err(Problem::of(&SubmitError::Rejected(Rejection::PodUnknown(key))));
    };
    let mut out = Vec::with_capacity(wire::POD_SIZE);
    wire::write_pod(&mut out, found);
    out.pop(); // the closing brace: more is known of one pod than of each in a list
    if let Some(health) = &state.health {
        insight::write_health(&mut out, &**health, &found.key);
    }
    if let Some(deliveries) = &state.deliveries {
        insight::write_deliveries(&mut out, &**deliveries, &found.key);
    }
    out.push(b'}');
    Ok(json_answer(out))
}

fn answer(body: axum::body::Body) -> Response {
    let mut answer = json_answer(Vec::new());
    *answer.body_mut() = body;
    answer
}

fn read_query(mut query: Query<'_>, service: Option<String>) -> Result<(Filter, Page), Problem> {
    let status = query.parsed("status", |text| {
        let words = Status::ALL.map(Status::as_str).join(", ");
        Status::parse(text).ok_or_else(|| format!("{text:?} is not a status: use one of {words}"))
    });
    let protocol = query.parsed("protocol", Protocol::parse);
    let provider_id = query.optional("provider_id").map(|id| Box::from(&*id));
    let limit = query.parsed("limit", |text| match text.parse() {
        Ok(limit @ 1..=LIMIT_MAX) => Ok(limit),
        _ => Err(format!("{text:?} is not a limit: give a whole number from 1 to {LIMIT_MAX}")),
    });
    let after = query.parsed("cursor", |text| {
        Page::position(text)
            .ok_or_else(|| "is not a cursor: give the next_cursor of the page before".to_owned())
    });
    query.finish()?;
    Ok((Filter { service, status, protocol, provider_id }, Page { limit, after }))
}
