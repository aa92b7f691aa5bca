//! Lists of pods: filtered, paged, and written piece by piece, because a list of all pods may be
//! larger than what should be held for one slow reader.
//!
//! A list shows one snapshot from its first byte to its last.

use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use governance_domain::{Pod, PodKey, PodName, Protocol, ServiceName, Status};
use hyper::body::{Frame, SizeHint};

use crate::engine::Snapshot;
use crate::wire;

/// Lists up to this many pods are written at once, with their length.
const WHOLE_MAX: usize = 500;
/// How large a piece of a longer list is, about.
const PIECE_SIZE: usize = 64 * 1024;

/// Which pods.
#[derive(Debug, Default)]
pub(super) struct Filter {
    pub(super) service: Option<String>,
    pub(super) status: Option<Status>,
    pub(super) protocol: Option<Protocol>,
    pub(super) provider_id: Option<Box<str>>,
}

impl Filter {
    fn admits(&self, pod: &Pod) -> bool {
        let providers = &pod.content.providers;
        self.status.is_none_or(|status| pod.status == status)
            && self.protocol.as_ref().is_none_or(|p| providers.iter().any(|x| x.protocol == *p))
            && self
                .provider_id
                .as_ref()
                .is_none_or(|id| providers.iter().any(|x| x.id.as_ref() == Some(id)))
    }

    fn admits_all_of_a_service(&self) -> bool {
        self.status.is_none() && self.protocol.is_none() && self.provider_id.is_none()
    }

    /// The pods behind `after`, in order.
    fn pods<'a>(
        &'a self,
        snapshot: &'a Snapshot,
        after: Option<&'a PodKey>,
    ) -> impl Iterator<Item = &'a Arc<Pod>> {
        let (service, pod) = after.map_or(("", ""), |key| (key.service.as_str(), key.pod.as_str()));
        let registry = &snapshot.registry;
        let named = self.service.as_deref().filter(|name| *name >= service);
        let of_one = named.and_then(|name| registry.service(name)).into_iter().flat_map(move |s| {
            s.pods.range_from(if s.name.as_str() == service { pod } else { "" })
        });
        let of_all = self.service.is_none().then(|| registry.pods_from(service, pod));
        of_one
            .chain(of_all.into_iter().flatten())
            .filter(move |pod| after != Some(&pod.key) && self.admits(pod))
    }

    fn count(&self, snapshot: &Snapshot) -> usize {
        if !self.admits_all_of_a_service() {
            return self.pods(snapshot, None).count();
        }
        match &self.service {
            None => snapshot.registry.pod_count(),
            Some(name) => snapshot.registry.service(name).map_or(0, |found| found.pods.len()),
        }
    }
}

/// Which part of the list.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// All pods if there is none.
    pub(super) limit: Option<usize>,
    /// The last pod of the page before.
    pub(super) after: Option<PodKey>,
}

impl Page {
    /// Reads a cursor that [`cursor`] wrote.
    pub(super) fn position(cursor: &str) -> Option<PodKey> {
        let (service, pod) = cursor.split_once('-')?;
        let service = ServiceName::stored(&unhex(service)?);
        Some(PodKey::new(service, PodName::stored(&unhex(pod)?)))
    }
}

/// Names of old rows may hold any character, so both are written in hexadecimal.
fn cursor(last: &PodKey) -> String {
    let mut cursor = String::new();
    for byte in last.service.as_str().bytes() {
        write!(cursor, "{byte:02x}").expect("writing to memory cannot fail");
    }
    cursor.push('-');
    for byte in last.pod.as_str().bytes() {
        write!(cursor, "{byte:02x}").expect("writing to memory cannot fail");
    }
    cursor
}

fn unhex(text: &str) -> Option<String> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |[high, low]: &[u8; 2]| Some(digit(*high)? << 4 | digit(*low)?);
    let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    rest.is_empty().then(|| String::from_utf8(bytes?).ok())?
}

/// A list that is being written.
pub(super) struct Listing {
    snapshot: Arc<Snapshot>,
    filter: Filter,
    count: usize,
    /// How many pods may still be written.
    left: usize,
    /// The last pod written, or of the page before.
    last: Option<PodKey>,
    is_first: bool,
    /// What is written but not sent; the head, at first.
    out: Vec<u8>,
    is_done: bool,
}

impl Listing {
    pub(super) fn new(snapshot: Arc<Snapshot>, filter: Filter, page: Page) -> Self {
        let count = filter.count(&snapshot);
        let left = page.limit.unwrap_or(usize::MAX);
        let room = (count.min(left) * wire::POD_SIZE + 256).min(PIECE_SIZE + wire::POD_SIZE * 4);
        let out = Vec::with_capacity(room);
        Self {
            snapshot,
            filter,
            count,
            left,
            last: page.after,
            is_first: true,
            out,
            is_done: false,
        }
    }

    /// The answer of `GET /services`.
    pub(super) fn into_services(mut self) -> Body {
        self.out.extend_from_slice(b"{\"count\":");
        wire::write_number(&mut self.out, self.count as u64);
        self.write_state();
        self.out.extend_from_slice(b",\"services\":[");
        self.into_body()
    }

    /// The answer of `GET /services/{service}`.
    pub(super) fn into_pods(mut self) -> Body {
        self.out.extend_from_slice(b"{\"service_name\":");
        wire::write_text(&mut self.out, self.filter.service.as_deref().unwrap_or_default());
        self.write_state();
        wire::write_number_field(&mut self.out, "count", self.count as u64);
        self.out.extend_from_slice(b",\"pods\":[");
        self.into_body()
    }

    fn write_state(&mut self) {
        let revision = self.snapshot.revision().as_u64();
        wire::write_number_field(&mut self.out, "revision", revision);
        let registry_id = self.snapshot.registry_id;
        wire::write_uuid_field(&mut self.out, "registry_id", registry_id);
    }

    fn into_body(mut self) -> Body {
        if self.count.min(self.left) > WHOLE_MAX {
            return Body::new(self);
        }
        self.write_on(usize::MAX);
        self.out.into()
    }

    /// Writes pods until there are `enough` bytes, and the end behind the last one.
    fn write_on(&mut self, enough: usize) {
        let mut last = None;
        let mut is_cut = false;
        let mut is_done = true;
        for pod in self.filter.pods(&self.snapshot, self.last.as_ref()) {
            is_cut = self.left == 0;
            if is_cut {
                break;
            }
            if self.out.len() >= enough {
                is_done = false;
                break;
            }
            if !std::mem::take(&mut self.is_first) {
                self.out.push(b',');
            }
            wire::write_pod(&mut self.out, pod);
            last = Some(pod);
            self.left -= 1;
        }
        if let Some(last) = last.map(|pod| pod.key.clone()) {
            self.last = Some(last);
        }
        if !is_done {
            return;
        }
        self.is_done = true;
        self.out.push(b']');
        if let (true, Some(last)) = (is_cut, &self.last) {
            wire::write_text_field(&mut self.out, "next_cursor", &cursor(last));
        }
        self.out.push(b'}');
    }
}

impl hyper::body::Body for Listing {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _ctx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.is_done {
            return Poll::Ready(None);
        }
        self.write_on(PIECE_SIZE);
        let empty = Vec::with_capacity(PIECE_SIZE + wire::POD_SIZE * 4);
        let piece = std::mem::replace(&mut self.out, empty);
        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_done
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursor_leads_back_to_its_pod() {
        let key = PodKey::new(ServiceName::stored("a-b:ü"), PodName::stored(""));
        assert_eq!(Page::position(&cursor(&key)), Some(key));
        for odd in ["", "zz-00", "0-00", "ff-00", "00", "é-é"] {
            assert_eq!(Page::position(odd), None, "{odd}");
        }
    }
}
