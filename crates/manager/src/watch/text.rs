//! What a watcher reads: events of `text/event-stream` (WHATWG HTML, section 9.2). Each is one
//! line per field; the data is JSON without a line break inside.

use std::sync::Arc;

use governance_domain::{Pod, Revision};

use super::ring::{Change, Kind};
use crate::engine::Snapshot;
use crate::wire;

/// Bytes of a change of a pod with one provider, rounded up.
pub(super) const CHANGE_SIZE: usize = wire::POD_SIZE + 192;

/// Why a stream ends, in its last event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The watcher is further behind than what is kept.
    TooSlow,
    /// The manager stops.
    ShuttingDown,
    /// Another manager is active now.
    NotActive,
}

pub(super) fn write_begin(out: &mut Vec<u8>, snapshot: &Snapshot, count: usize) {
    out.extend_from_slice(b"event: snapshot-begin\ndata: {\"revision\":");
    wire::write_number(out, snapshot.revision().as_u64());
    wire::write_uuid_field(out, "registry_id", snapshot.registry_id);
    wire::write_number_field(out, "count", count as u64);
    out.extend_from_slice(b"}\n\n");
}

pub(super) fn write_page<'p>(out: &mut Vec<u8>, pods: impl Iterator<Item = &'p Arc<Pod>>) {
    out.extend_from_slice(b"event: snapshot\ndata: {\"pods\":");
    wire::write_list(out, pods, |out, pod| wire::write_pod(out, pod));
    out.extend_from_slice(b"}\n\n");
}

/// From here on the stream can be resumed.
pub(super) fn write_end(out: &mut Vec<u8>, snapshot: &Snapshot) {
    write_head(out, "snapshot-end", snapshot.revision());
    out.extend_from_slice(b"data: {\"revision\":");
    wire::write_number(out, snapshot.revision().as_u64());
    wire::write_uuid_field(out, "registry_id", snapshot.registry_id);
    out.extend_from_slice(b"}\n\n");
}

pub(super) fn write_change(out: &mut Vec<u8>, change: &Change) {
    write_head(out, "change", change.revision);
    out.extend_from_slice(b"data: {\"revision\":");
    wire::write_number(out, change.revision.as_u64());
    wire::write_text_field(out, "type", change.kind.as_str());
    wire::write_text_field(out, "service_name", change.service());
    wire::write_text_field(out, "pod_name", change.pod.key.pod.as_str());
    out.extend_from_slice(b",\"pod\":");
    match change.kind {
        Kind::Unregister => out.extend_from_slice(b"null"),
        Kind::Register | Kind::Update => wire::write_pod(out, &change.pod),
    }
    wire::write_text_field(out, "reason", &change.reason);
    out.extend_from_slice(b"}\n\n");
}

/// Says how far the watcher has seen everything; the id alone carries it.
pub(super) fn write_bookmark(out: &mut Vec<u8>, seen: Revision) {
    write_head(out, "bookmark", seen);
    out.extend_from_slice(b"data: {}\n\n");
}

pub(super) fn write_ending(out: &mut Vec<u8>, ending: Ending) {
    let (code, text) = match ending {
        Ending::TooSlow => (
            "too_slow",
            "this watcher fell behind what is kept and was cut off: connect again for a new snapshot",
        ),
        Ending::ShuttingDown => ("shutting_down", "the manager is shutting down: connect again"),
        Ending::NotActive => (
            "not_active",
            "another manager is active now: connect again, and ask /ready for its address",
        ),
    };
    out.extend_from_slice(b"event: end\ndata: {\"error\":");
    wire::write_text(out, code);
    wire::write_text_field(out, "message", text);
    out.extend_from_slice(b"}\n\n");
}

fn write_head(out: &mut Vec<u8>, event: &str, id: Revision) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(event.as_bytes());
    out.extend_from_slice(b"\nid: ");
    wire::write_number(out, id.as_u64());
    out.push(b'\n');
}
