//! Domain values as the wire shows them, written straight into bytes.
//!
//! Written by hand because these texts are the bulk of what the manager says: to every registering
//! pod, to every subscriber, to every list. Shapes are those of `governance-api`; the tests of
//! `http` hold both to each other. Not here: which pods are shown to whom at which moment.

mod rfc3339;

use std::sync::Arc;

use governance_domain::ordered::OrderedSet;
use governance_domain::{Pod, Provider, ProviderFilter, Status, Subscription, Timestamp};

/// Bytes of a pod with one provider in a summary, rounded up: to reserve room once.
pub const SUMMARY_SIZE: usize = 192;
/// Bytes of a whole pod with one provider, rounded up.
pub const POD_SIZE: usize = 640;

/// What of a service's pods is shown.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Which providers; pods without one of them are left out.
    pub filter: &'a ProviderFilter,
    /// Whether unhealthy pods are left out.
    pub hides_unhealthy: bool,
}

impl<'a> View<'a> {
    /// All providers of all pods.
    pub const fn whole(hides_unhealthy: bool) -> View<'static> {
        View { filter: &ProviderFilter::All, hides_unhealthy }
    }

    /// What a subscription shows. `hides_unhealthy` is the operator's wish for all pod lists.
    pub fn of(subscription: &'a Subscription, hides_unhealthy: bool) -> Self {
        let hides_unhealthy = hides_unhealthy || subscription.healthy_only;
        Self { filter: &subscription.filter, hides_unhealthy }
    }

    fn shows(self, pod: &Pod) -> bool {
        if self.hides_unhealthy && pod.status == Status::Unhealthy {
            return false;
        }
        match self.filter {
            ProviderFilter::All => true,
            ProviderFilter::Only(_) => pod.content.providers.iter().any(|p| self.filter.admits(p)),
        }
    }
}

/// Pods whose memory is visited ahead of writing them.
const AHEAD_MAX: usize = 32;
/// Pods of a registry that has no room in the processor's cache; a smaller one does without visits.
const AHEAD_FROM: usize = 10_000;

/// Visits what the first pods consist of, layer by layer, so that the processor fetches the pods of
/// a layer from memory together. In a large registry nothing of a service is in the cache, and
/// writing pod after pod would wait for each piece of each pod in turn: measured at 100,000 pods,
/// that was half of what reading a service costs.
pub fn fetch_ahead(pods: &OrderedSet<Arc<Pod>>, registry_size: usize) {
    if registry_size < AHEAD_FROM {
        return;
    }
    let ahead = || pods.iter().take(AHEAD_MAX);
    let visit = |addresses: usize| _ = std::hint::black_box(addresses);
    visit(ahead().fold(0, |seen, pod| seen ^ Arc::as_ptr(&pod.content).addr()));
    visit(ahead().fold(0, |seen, pod| {
        let content = &pod.content;
        let names = first_byte(pod.key.pod.as_str()) ^ first_byte(pod.key.service.as_str());
        seen ^ names ^ content.providers.as_ptr().addr() ^ content.notification_url.len()
    }));
    visit(ahead().fold(0, |seen, pod| {
        let content = &pod.content;
        let urls = first_byte(&content.health_check_url) ^ first_byte(&content.notification_url);
        let hosts = content.providers.iter().fold(0, |seen, p| seen ^ p.host.as_ptr().addr());
        seen ^ urls ^ hosts
    }));
    visit(ahead().fold(0, |seen, pod| {
        seen ^ pod.content.providers.iter().fold(0, |seen, p| seen ^ first_byte(&p.host))
    }));
}

fn first_byte(text: &str) -> usize {
    text.as_bytes().first().map_or(0, |byte| usize::from(*byte))
}

/// Writes `[…]` with each pod as other pods see it: name, status, providers.
pub fn write_summaries<'p>(
    out: &mut Vec<u8>,
    pods: impl Iterator<Item = &'p Arc<Pod>>,
    view: View<'_>,
) {
    write_list(out, pods.filter(|pod| view.shows(pod)), |out, pod| {
        out.extend_from_slice(b"{\"pod_name\":");
        write_text(out, pod.key.pod.as_str());
        out.extend_from_slice(b",\"status\":\"");
        out.extend_from_slice(pod.status.as_str().as_bytes());
        out.extend_from_slice(b"\",\"providers\":");
        let shown = pod.content.providers.iter().filter(|p| view.filter.admits(p));
        write_list(out, shown, write_provider);
        out.push(b'}');
    });
}

/// Writes a pod with all that is known of its registration.
pub fn write_pod(out: &mut Vec<u8>, pod: &Pod) {
    out.extend_from_slice(b"{\"service_key\":");
    write_key(out, pod);
    write_text_field(out, "service_name", pod.key.service.as_str());
    write_text_field(out, "pod_name", pod.key.pod.as_str());
    out.extend_from_slice(b",\"providers\":");
    write_list(out, pod.content.providers.iter(), write_provider);
    write_text_field(out, "health_check_url", &pod.content.health_check_url);
    write_text_field(out, "notification_url", &pod.content.notification_url);
    out.extend_from_slice(b",\"subscriptions\":");
    write_list(out, pod.content.subscriptions.iter(), write_subscription);
    out.extend_from_slice(b",\"status\":\"");
    out.extend_from_slice(pod.status.as_str().as_bytes());
    out.extend_from_slice(b"\",\"last_health_check\":");
    match pod.last_health_check {
        Some(at) => write_time(out, at),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"registered_at\":");
    write_time(out, pod.registered_at);
    out.extend_from_slice(b",\"updated_at\":");
    write_time(out, pod.updated_at);
    write_number_field(out, "registration_id", pod.registration_id.as_u64());
    out.push(b'}');
}

/// Writes `[…]` with commas between what `write` writes.
pub fn write_list<T>(
    out: &mut Vec<u8>,
    items: impl Iterator<Item = T>,
    write: impl Fn(&mut Vec<u8>, T),
) {
    out.push(b'[');
    let mut is_first = true;
    for item in items {
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

/// Writes `,"name":"text"`.
#[inline]
pub fn write_text_field(out: &mut Vec<u8>, name: &'static str, text: &str) {
    write_name(out, name);
    write_text(out, text);
}

/// Writes `,"name":number`.
#[inline]
pub fn write_number_field(out: &mut Vec<u8>, name: &'static str, number: u64) {
    write_name(out, name);
    write_scalar(out, &number);
}

/// Writes `,"name":"uuid"`.
pub fn write_uuid_field(out: &mut Vec<u8>, name: &'static str, id: uuid::Uuid) {
    write_name(out, name);
    out.push(b'"');
    let mut text = uuid::Uuid::encode_buffer();
    out.extend_from_slice(id.hyphenated().encode_lower(&mut text).as_bytes());
    out.push(b'"');
}

/// Writes a number.
pub fn write_number(out: &mut Vec<u8>, number: u64) {
    write_scalar(out, &number);
}

/// Writes a text in quotes, with what JSON wants escaped.
#[inline]
pub fn write_text(out: &mut Vec<u8>, text: &str) {
    if has_special(text) {
        return write_scalar(out, text);
    }
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// Whether JSON wants something of this text escaped, which hardly ever is so. Looking at all bytes
/// without leaving early is several at a time for the processor, which matters: most of an answer
/// is texts.
fn has_special(text: &str) -> bool {
    let is_special = |byte: &u8| *byte < b' ' || *byte == b'"' || *byte == b'\\';
    text.as_bytes().iter().fold(false, |found, byte| found | is_special(byte))
}

/// Writes a time in quotes.
pub fn write_time(out: &mut Vec<u8>, at: Timestamp) {
    out.push(b'"');
    rfc3339::write(out, at.as_micros());
    out.push(b'"');
}

/// A time as RFC 3339 in UTC, with as many digits below the second as it needs.
pub fn time_text(at: Timestamp) -> String {
    let mut out = Vec::with_capacity(32);
    rfc3339::write(&mut out, at.as_micros());
    String::from_utf8_lossy(&out).into_owned()
}

#[inline]
fn write_name(out: &mut Vec<u8>, name: &'static str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn write_scalar<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("a text or a number in memory always has a JSON form");
}

fn write_key(out: &mut Vec<u8>, pod: &Pod) {
    let (service, pod) = (pod.key.service.as_str(), pod.key.pod.as_str());
    if has_special(service) || has_special(pod) {
        return write_scalar(out, &format_args!("{service}:{pod}"));
    }
    out.push(b'"');
    out.extend_from_slice(service.as_bytes());
    out.push(b':');
    out.extend_from_slice(pod.as_bytes());
    out.push(b'"');
}

fn write_provider(out: &mut Vec<u8>, provider: &Provider) {
    out.extend_from_slice(b"{\"protocol\":");
    write_text(out, provider.protocol.as_str());
    write_text_field(out, "ip", &provider.host);
    write_name(out, "port");
    write_scalar(out, &provider.port);
    if let Some(id) = &provider.id {
        write_text_field(out, "provider_id", id);
    }
    out.push(b'}');
}

/// A name alone where there is no filter, as it was before there were filters.
fn write_subscription(out: &mut Vec<u8>, subscription: &Subscription) {
    if subscription.is_plain() {
        return write_text(out, subscription.service.as_str());
    }
    out.extend_from_slice(b"{\"service_name\":");
    write_text(out, subscription.service.as_str());
    if let ProviderFilter::Only(ids) = &subscription.filter {
        out.extend_from_slice(b",\"provider_ids\":");
        write_list(out, ids.iter(), |out, id| write_text(out, id));
    }
    if subscription.healthy_only {
        out.extend_from_slice(b",\"healthy_only\":true");
    }
    out.push(b'}');
}
