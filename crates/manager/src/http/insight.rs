//! What is known of a pod beside its registration: how its checks went, and what it was told.
//! Read through the traits of `engine`; who implements them is the wiring's business.

use governance_domain::{PodKey, Timestamp};

use crate::engine::{DeliveryReader, DeliveryState, HealthHistory, HealthReader};
use crate::wire;

/// Writes `,"health":{…}`, if the pod is checked here.
pub(super) fn write_health(out: &mut Vec<u8>, reader: &dyn HealthReader, key: &PodKey) {
    let Some(history) = reader.history(key) else { return };
    let HealthHistory { changes, last_failure, consecutive_failures, next_attempt } = history;
    out.extend_from_slice(b",\"health\":{\"consecutive_failures\":");
    wire::write_number(out, u64::from(consecutive_failures));
    write_moment(out, "next_attempt", next_attempt);
    out.extend_from_slice(b",\"last_failure\":");
    match last_failure {
        Some(failure) => {
            out.extend_from_slice(b"{\"at\":");
            wire::write_time(out, failure.at);
            wire::write_text_field(out, "reason", &failure.reason);
            out.push(b'}');
        }
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"changes\":");
    wire::write_list(out, changes.iter(), |out, change| {
        out.extend_from_slice(b"{\"at\":");
        wire::write_time(out, change.at);
        wire::write_text_field(out, "from", change.from.as_str());
        wire::write_text_field(out, "to", change.to.as_str());
        wire::write_text_field(out, "reason", &change.reason);
        out.push(b'}');
    });
    out.push(b'}');
}

/// Writes `,"deliveries":[…]`: what the pod was told, per subscription.
pub(super) fn write_deliveries(out: &mut Vec<u8>, reader: &dyn DeliveryReader, key: &PodKey) {
    out.extend_from_slice(b",\"deliveries\":");
    let states = reader.deliveries(key);
    wire::write_list(out, states.iter(), |out, state| {
        out.extend_from_slice(b"{\"service_name\":");
        wire::write_text(out, state.service.as_str());
        write_delivery(out, state);
        out.push(b'}');
    });
}

/// Writes the fields of a delivery, each after a comma.
pub(super) fn write_delivery(out: &mut Vec<u8>, state: &DeliveryState) {
    out.extend_from_slice(b",\"delivered_revision\":");
    match state.delivered {
        Some(revision) => wire::write_number(out, revision.as_u64()),
        None => out.extend_from_slice(b"null"),
    }
    write_moment(out, "delivered_at", state.delivered_at);
    write_moment(out, "behind_since", state.behind_since);
    write_moment(out, "failing_since", state.failing_since);
    wire::write_number_field(out, "attempts", u64::from(state.attempts));
    match &state.last_error {
        Some(error) => wire::write_text_field(out, "last_error", error),
        None => out.extend_from_slice(b",\"last_error\":null"),
    }
}

/// Writes `,"name":"…"` with a time, or `null`.
fn write_moment(out: &mut Vec<u8>, name: &'static str, at: Option<Timestamp>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    match at {
        Some(at) => wire::write_time(out, at),
        None => out.extend_from_slice(b"null"),
    }
}
