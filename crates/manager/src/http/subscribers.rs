//! `GET /services/{service}/subscribers`: who wants to hear of a service, and who knows what of it.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use governance_domain::{PodKey, ProviderFilter};

use super::{Answer, Shared, insight, json_answer};
use crate::engine::{DeliveryState, Snapshot};
use crate::wire;

pub(super) async fn subscribers(State(state): Shared, Path(service): Path<String>) -> Answer {
    state.check_readable()?;
    let snapshot = state.engine.snapshot();
    let count = snapshot.registry.subscribers(&service).count();
    let mut out = Vec::with_capacity(256 + count * 256);
    out.extend_from_slice(b"{\"service_name\":");
    wire::write_text(&mut out, &service);
    wire::write_number_field(&mut out, "revision", snapshot.revision().as_u64());
    wire::write_uuid_field(&mut out, "registry_id", snapshot.registry_id);
    wire::write_number_field(&mut out, "count", count as u64);
    out.extend_from_slice(b",\"subscribers\":");
    let told: BTreeMap<PodKey, DeliveryState> = match &state.deliveries {
        Some(deliveries) => deliveries.deliveries_of(&service).into_iter().collect(),
        None => BTreeMap::new(),
    };
    wire::write_list(&mut out, snapshot.registry.subscribers(&service), |out, key| {
        write_subscriber(out, &snapshot, &service, key);
        if let Some(state) = told.get(key) {
            insight::write_delivery(out, state);
        }
        out.push(b'}');
    });
    out.push(b'}');
    Ok(json_answer(out))
}

/// Writes a subscriber without its closing brace.
fn write_subscriber(out: &mut Vec<u8>, snapshot: &Snapshot, service: &str, key: &PodKey) {
    let pod = snapshot.registry.pod_by(key);
    let content = pod.map(|pod| &pod.content);
    let wish = content
        .and_then(|content| content.subscriptions.iter().find(|w| w.service.as_str() == service));
    out.extend_from_slice(b"{\"service_name\":");
    wire::write_text(out, key.service.as_str());
    wire::write_text_field(out, "pod_name", key.pod.as_str());
    let url = content.map_or("", |content| &content.notification_url);
    wire::write_text_field(out, "notification_url", url);
    out.extend_from_slice(b",\"provider_ids\":");
    match wish.map(|wish| &wish.filter) {
        Some(ProviderFilter::Only(ids)) => {
            wire::write_list(out, ids.iter(), |out, id| wire::write_text(out, id));
        }
        Some(ProviderFilter::All) | None => out.extend_from_slice(b"[]"),
    }
    let healthy_only = wish.is_some_and(|wish| wish.healthy_only);
    out.extend_from_slice(b",\"healthy_only\":");
    out.extend_from_slice(if healthy_only { b"true" } else { b"false" });
}
