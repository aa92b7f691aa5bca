//! `GET /sd/prometheus`: where the pods are, for Prometheus' service discovery over HTTP
//! (`http_sd_config`). One group per endpoint; what is known of it stands in labels, from which a
//! scrape configuration chooses.

use axum::extract::{RawQuery, State};
use governance_domain::{Pod, Protocol, Provider, Status};

use super::query::Query;
use super::{Answer, Shared, json_answer};
use crate::wire;

/// Endpoints that can be scraped, if the caller does not say which protocol.
const SCRAPED: [&str; 2] = ["http", "https"];

/// What is asked for.
#[derive(Default)]
struct Wanted {
    service: Option<String>,
    protocol: Option<Protocol>,
    status: Option<Status>,
}

impl Wanted {
    fn pod(&self, pod: &Pod) -> bool {
        self.service.as_deref().is_none_or(|name| pod.key.service.as_str() == name)
            && self.status.is_none_or(|status| pod.status == status)
    }

    /// Rows of earlier managers may hold ports that are none.
    fn provider(&self, provider: &Provider) -> bool {
        let protocol = provider.protocol.as_str();
        (1..=65_535).contains(&provider.port)
            && match &self.protocol {
                Some(wanted) => wanted.as_str() == protocol,
                None => SCRAPED.contains(&protocol),
            }
    }
}

pub(super) async fn prometheus(State(state): Shared, RawQuery(query): RawQuery) -> Answer {
    state.check_readable()?;
    let mut query = Query::new(query.as_deref());
    let wanted = Wanted {
        service: query.optional("service_name").map(Into::into),
        protocol: query.parsed("protocol", Protocol::parse),
        status: query.parsed("status", |text| {
            let words = Status::ALL.map(Status::as_str).join(", ");
            let unknown = || format!("{text:?} is not a status: use one of {words}");
            Status::parse(text).ok_or_else(unknown)
        }),
    };
    query.finish()?;
    let snapshot = state.engine.snapshot();
    let pods = snapshot.registry.pods().filter(|pod| wanted.pod(pod));
    let endpoints = pods.flat_map(|pod| {
        let wanted = &wanted;
        pod.content.providers.iter().filter(|p| wanted.provider(p)).map(move |p| (pod, p))
    });
    let mut out = Vec::with_capacity(4_096);
    wire::write_list(&mut out, endpoints, |out, (pod, provider)| write(out, pod, provider));
    Ok(json_answer(out))
}

fn write(out: &mut Vec<u8>, pod: &Pod, provider: &Provider) {
    let host = &provider.host;
    let target = if host.contains(':') {
        format!("[{host}]:{}", provider.port)
    } else {
        format!("{host}:{}", provider.port)
    };
    out.extend_from_slice(b"{\"targets\":[");
    wire::write_text(out, &target);
    out.extend_from_slice(b"],\"labels\":{\"__meta_governance_service\":");
    wire::write_text(out, pod.key.service.as_str());
    wire::write_text_field(out, "__meta_governance_pod", pod.key.pod.as_str());
    wire::write_text_field(out, "__meta_governance_protocol", provider.protocol.as_str());
    let id = provider.id.as_deref().unwrap_or_default();
    wire::write_text_field(out, "__meta_governance_provider_id", id);
    wire::write_text_field(out, "__meta_governance_status", pod.status.as_str());
    out.extend_from_slice(b"}}");
}
