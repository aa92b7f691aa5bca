//! `POST /heartbeat`: a pod says that it lives. It never sets the status, only hastens a check.

use axum::extract::{Request, State};
use governance_domain::{PodKey, PodName, ServiceName};
use governance_domain::{Rejection, Status};

use super::access::{self, Write};
use super::problem::Problem;
use super::query::Query;
use super::{Answer, Shared, body, json_answer};
use crate::engine::SubmitError;
use crate::wire;

pub(super) async fn heartbeat(State(state): Shared, request: Request) -> Answer {
    state.check_readable()?;
    let (parts, sent) = request.into_parts();
    body::ignore(&parts.headers, sent).await?;
    let mut query = Query::new(parts.uri.query());
    let (service, pod) = (query.required("service_name"), query.required("pod_name"));
    query.finish()?;
    let (service, pod) = (service.unwrap_or_default(), pod.unwrap_or_default());
    if state.access.is_some() {
        let key = PodKey::new(ServiceName::stored(&service), PodName::stored(&pod));
        access::check_service(&state, &parts, Write::Heartbeat, &key)?;
    }
    let snapshot = state.engine.snapshot();
    let Some(found) = snapshot.registry.pod(&service, &pod) else {
        let key = PodKey::new(ServiceName::stored(&service), PodName::stored(&pod));
        return Err(Problem::of(&SubmitError::Rejected(Rejection::PodUnknown(key))));
    };
    if found.status != Status::Healthy {
        state.check_soon.check_soon(&found.key);
    }
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(b"{\"status\":\"ok\",\"timestamp\":");
    wire::write_time(&mut out, state.clock.now());
    out.push(b'}');
    Ok(json_answer(out))
}
