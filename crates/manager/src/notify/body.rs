//! The beginning of a notification's body: all but the list, which is shared.

use bytes::Bytes;
use governance_domain::{ServiceName, Timestamp};

use super::subscriber::Cause;
use crate::engine::Snapshot;
use crate::wire;

/// Bytes of a head with short names; to reserve room once.
const HEAD_SIZE: usize = 224;

/// Everything up to the list, whose text ends the object.
pub(super) fn head(
    service: &ServiceName,
    cause: Cause,
    at: Timestamp,
    snapshot: &Snapshot,
) -> Bytes {
    let mut text = Vec::with_capacity(HEAD_SIZE);
    text.extend_from_slice(b"{\"service_name\":");
    wire::write_text(&mut text, service.as_str());
    wire::write_text_field(&mut text, "event_type", cause.as_str());
    text.extend_from_slice(b",\"timestamp\":");
    wire::write_time(&mut text, at);
    wire::write_number_field(&mut text, "revision", snapshot.revision().as_u64());
    let mut id = uuid::Uuid::encode_buffer();
    let id = snapshot.registry_id.hyphenated().encode_lower(&mut id);
    wire::write_text_field(&mut text, "registry_id", id);
    text.extend_from_slice(b",\"pods\":");
    text.into()
}
