//! `POST /register`: a pod joins, or replaces its registration.

use axum::extract::{Request, State};
use governance_domain::{ProviderFilter, Register};

use super::access::{self, Write};
use super::problem::Problem;
use super::{Answer, HttpState, Shared, body, json, json_answer, origin, refusal, registration};
use crate::config::UnhealthyPods;
use crate::engine::{AuditAction, Registered, Snapshot};
use crate::wire::{self, View};

pub(super) async fn register(State(state): Shared, request: Request) -> Answer {
    state.check_writable()?;
    let (parts, sent) = request.into_parts();
    body::require_json(&parts.headers)?;
    let sent = body::read(&parts.headers, sent).await?;
    let command = {
        let document = json::parse(&sent)?;
        registration::read(&document, &*state.permits).map_err(Problem::invalid)?
    };
    drop(sent);
    access::check_service(&state, &parts, Write::Register, &command.key)?;
    let asked = Register { key: command.key.clone(), content: command.content.clone() };
    let registered = state.engine.register(command, origin(&parts), state.deadline()).await;
    let registered = match registered {
        Ok(registered) => registered,
        Err(error) => {
            let (action, origin) = (AuditAction::Register, origin(&parts));
            return Err(refusal::unapplied(&state, action, asked.key, origin, &error));
        }
    };
    if !registered.is_changed {
        state.check_soon.check_soon(&asked.key);
    }
    Ok(json_answer(answer(&state, &asked, &registered)))
}

/// What a pod needs to begin its work: who it is, its peers, and those it asked for.
fn answer(state: &HttpState, asked: &Register, registered: &Registered) -> Vec<u8> {
    let snapshot = &registered.snapshot;
    let hides_unhealthy = state.unhealthy_pods == UnhealthyPods::Hide;
    let service = asked.key.service.as_str();
    let mut out = Vec::with_capacity(answer_size(asked, snapshot));
    out.extend_from_slice(b"{\"status\":\"success\",\"message\":\"");
    out.extend_from_slice(if registered.is_changed {
        b"the pod is registered"
    } else {
        b"the pod was registered with the same content: nothing changed"
    });
    out.push(b'"');
    wire::write_text_field(&mut out, "service_name", service);
    wire::write_text_field(&mut out, "pod_name", asked.key.pod.as_str());
    wire::write_number_field(&mut out, "registration_id", registered.registration_id.as_u64());
    wire::write_number_field(&mut out, "revision", registered.revision.as_u64());
    wire::write_uuid_field(&mut out, "registry_id", snapshot.registry_id);
    out.extend_from_slice(b",\"pods\":");
    write_service(&mut out, snapshot, service, View::whole(hides_unhealthy));
    out.extend_from_slice(b",\"subscribed_services\":{");
    for (index, subscription) in asked.content.subscriptions.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        wire::write_text(&mut out, subscription.service.as_str());
        out.push(b':');
        let view = View::of(subscription, hides_unhealthy);
        write_service(&mut out, snapshot, subscription.service.as_str(), view);
    }
    out.extend_from_slice(b"}}");
    out
}

fn write_service(out: &mut Vec<u8>, snapshot: &Snapshot, service: &str, view: View<'_>) {
    let found = snapshot.registry.service(service);
    if let Some(found) = found {
        wire::fetch_ahead(&found.pods, snapshot.registry.pod_count());
    }
    wire::write_summaries(out, found.into_iter().flat_map(|found| found.pods.iter()), view);
}

/// About how many bytes the answer takes, so that it is written without growing.
fn answer_size(asked: &Register, snapshot: &Snapshot) -> usize {
    let count = |service: &str| snapshot.registry.service(service).map_or(0, |s| s.pods.len());
    let wishes = asked.content.subscriptions.iter();
    let shown = wishes.filter(|wish| wish.filter == ProviderFilter::All);
    let others: usize = shown.map(|wish| count(wish.service.as_str())).sum();
    let pods = count(asked.key.service.as_str()) + others;
    512 + pods * wire::SUMMARY_SIZE + asked.content.subscriptions.len() * 64
}
