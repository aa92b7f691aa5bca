//! What is asked: names of services and pods, registrations that always carry new content, reads.
//!
//! Sending and counting live in `load`. Invariants: pods are dealt out so that each belongs to one
//! connection, and a connection has one request in flight, hence so has a pod; two registrations
//! of a run never have the same content, so each one is a change that must be stored.

use std::{
    io::Write as _,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use clap::ValueEnum;

/// Ports 1–65535.
const PORTS: u64 = 65_535;
/// Addresses of 10.0.0.0/8.
const ADDRESSES: u64 = 1 << 24;

/// Where the requests of one connection come from.
pub(crate) trait Requests: Send + 'static {
    /// Writes the next request over `request`; false when there is none left.
    fn write_next(&mut self, request: &mut Vec<u8>) -> bool;
}

/// Which part of a registration is new each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ChangedField {
    /// The provider's address: a new registration id, and the manager checks the pod at once.
    Provider,
    /// The notification URL: stored like any change, but no check follows.
    NotificationUrl,
}

/// The registry that a workload fills and changes.
#[derive(Debug, Clone)]
pub(crate) struct Fleet {
    pub(crate) pods: u32,
    pub(crate) pods_per_service: u32,
    /// Each pod subscribes to this many other services.
    pub(crate) subscriptions: u32,
    /// `http://ADDRESS:PORT` of health checks and notifications.
    pub(crate) pod_base_url: String,
    pub(crate) changed: ChangedField,
}

impl Fleet {
    pub(crate) fn services(&self) -> u32 {
        self.pods.div_ceil(self.pods_per_service)
    }

    /// All but the last service are full.
    pub(crate) fn pods_in(&self, service: u32) -> u32 {
        self.pods
            .saturating_sub(service.saturating_mul(self.pods_per_service))
            .min(self.pods_per_service)
    }

    /// Appends the registration of a pod; different `content` gives a different registration.
    fn write_registration(&self, pod: u32, content: u64, body: &mut Vec<u8>) {
        let service = pod / self.pods_per_service;
        let name = service_name(service);
        let number = pod % self.pods_per_service;
        let base = &self.pod_base_url;
        let (ip, port, path) = match self.changed {
            ChangedField::Provider => {
                let (ip, port) = endpoint(content);
                (ip, port, String::new())
            }
            ChangedField::NotificationUrl => {
                (Ipv4Addr::new(10, 0, 0, 1), 8080, format!("/{content}"))
            }
        };
        write!(
            body,
            "{{\"service_name\":\"{name}\",\"pod_name\":\"{name}-pod-{number}\",\
             \"providers\":[{{\"protocol\":\"http\",\"ip\":\"{ip}\",\"port\":{port}}}],\
             \"health_check_url\":\"{base}/health\",\"notification_url\":\"{base}/notify{path}\",\
             \"subscriptions\":["
        )
        .expect("writing to memory cannot fail");
        for step in 1..=self.subscriptions {
            let other = service_name((service + step) % self.services());
            let comma = if step == 1 { "" } else { "," };
            write!(body, "{comma}\"{other}\"").expect("writing to memory cannot fail");
        }
        body.extend_from_slice(b"]}");
    }
}

/// `svc-000123`.
pub(crate) fn service_name(service: u32) -> String {
    format!("svc-{service:06}")
}

/// Distinct for `PORTS × ADDRESSES` (10¹²) successive contents.
fn endpoint(content: u64) -> (Ipv4Addr, u64) {
    let [_, a, b, c] = u32::try_from((content / PORTS) % ADDRESSES)
        .expect("the remainder is below 2²⁴")
        .to_be_bytes();
    (Ipv4Addr::new(10, a, b, c), 1 + content % PORTS)
}

/// Numbers the contents of a run. Begins at a random place, so that a manager that was measured
/// before and still holds those pods does not see the old contents again.
pub(crate) struct Contents(AtomicU64);

impl Contents {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(fastrand::u64(..1 << 38))))
    }

    fn fresh(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// How a connection goes through its pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// Each pod once, then the end: fills a registry.
    Once,
    /// Random pods without end: changes a filled registry.
    Endless,
}

/// Registrations of the pods that belong to one connection.
pub(crate) struct Registrations {
    fleet: Arc<Fleet>,
    contents: Arc<Contents>,
    pods: Vec<u32>,
    pass: Pass,
    next: usize,
    random: fastrand::Rng,
    body: Vec<u8>,
}

impl Registrations {
    /// Deals the pods out to at most `connections` sources, none of them empty.
    pub(crate) fn deal(
        fleet: &Arc<Fleet>,
        contents: &Arc<Contents>,
        connections: u32,
        pass: Pass,
    ) -> Vec<Self> {
        let connections = connections.min(fleet.pods);
        let step = usize::try_from(connections).unwrap_or(usize::MAX).max(1);
        (0..connections)
            .map(|first| Self {
                fleet: Arc::clone(fleet),
                contents: Arc::clone(contents),
                pods: (first..fleet.pods).step_by(step).collect(),
                pass,
                next: 0,
                random: fastrand::Rng::new(),
                body: Vec::with_capacity(1024),
            })
            .collect()
    }

    fn next_pod(&mut self) -> Option<u32> {
        match self.pass {
            Pass::Once => {
                self.next += 1;
                self.pods.get(self.next - 1).copied()
            }
            Pass::Endless => self.pods.get(self.random.usize(..self.pods.len())).copied(),
        }
    }
}

impl Requests for Registrations {
    fn write_next(&mut self, request: &mut Vec<u8>) -> bool {
        let Some(pod) = self.next_pod() else {
            return false;
        };
        self.body.clear();
        self.fleet.write_registration(pod, self.contents.fresh(), &mut self.body);
        request.clear();
        write!(
            request,
            "POST /register HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            self.body.len()
        )
        .expect("writing to memory cannot fail");
        request.extend_from_slice(&self.body);
        true
    }
}

/// Endless reads of random services.
pub(crate) struct Reads {
    services: u32,
    random: fastrand::Rng,
}

impl Reads {
    pub(crate) fn deal(fleet: &Fleet, connections: u32) -> Vec<Self> {
        let services = fleet.services();
        (0..connections).map(|_| Self { services, random: fastrand::Rng::new() }).collect()
    }
}

impl Requests for Reads {
    fn write_next(&mut self, request: &mut Vec<u8>) -> bool {
        let service = self.random.u32(..self.services);
        request.clear();
        write!(request, "GET /services/svc-{service:06} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            .expect("writing to memory cannot fail");
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::{HashMap, HashSet};

    fn fleet(pods: u32, subscriptions: u32, changed: ChangedField) -> Arc<Fleet> {
        let pod_base_url = "http://127.0.0.1:9".to_owned();
        Arc::new(Fleet { pods, pods_per_service: 10, subscriptions, pod_base_url, changed })
    }

    fn body(request: &[u8]) -> Value {
        let text = str::from_utf8(request).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
        serde_json::from_str(body).unwrap()
    }

    #[test]
    fn a_filling_pass_registers_every_pod_exactly_once_under_its_service() {
        let fleet = fleet(105, 0, ChangedField::Provider);
        let mut pods = HashSet::new();
        let mut request = Vec::new();
        for mut source in Registrations::deal(&fleet, &Contents::new(), 16, Pass::Once) {
            while source.write_next(&mut request) {
                let body = body(&request);
                let service = body["service_name"].as_str().unwrap().to_owned();
                let pod = body["pod_name"].as_str().unwrap().to_owned();
                assert!(pod.starts_with(&format!("{service}-pod-")), "{pod} of {service}");
                assert!(pods.insert(pod));
            }
        }
        assert_eq!(pods.len(), 105);
        assert!(pods.contains("svc-000010-pod-4"));
        assert_eq!(fleet.services(), 11);
        assert_eq!([0, 9, 10, 11].map(|service| fleet.pods_in(service)), [10, 10, 5, 0]);
    }

    #[test]
    fn content_never_repeats_and_no_pod_belongs_to_two_connections() {
        for changed in [ChangedField::Provider, ChangedField::NotificationUrl] {
            let fleet = fleet(50, 0, changed);
            let contents = Contents::new();
            let mut sources = Registrations::deal(&fleet, &contents, 7, Pass::Endless);
            let (mut seen, mut owners) = (HashSet::new(), HashMap::new());
            let mut request = Vec::new();
            for _ in 0..2_000 {
                for (connection, source) in sources.iter_mut().enumerate() {
                    assert!(source.write_next(&mut request));
                    let body = body(&request);
                    let pod = body["pod_name"].as_str().unwrap().to_owned();
                    assert_eq!(*owners.entry(pod).or_insert(connection), connection);
                    let content = format!("{} {}", body["providers"], body["notification_url"]);
                    assert!(seen.insert(content.clone()), "{content} occurred twice");
                }
            }
            assert_eq!(owners.len(), 50, "every pod has its turn");
        }
    }

    #[test]
    fn endpoints_differ_within_and_across_the_ports() {
        let mut seen = HashSet::new();
        for content in (0..200_000).chain(PORTS * 65_536 - 2..PORTS * 65_536 + 2) {
            let (ip, port) = endpoint(content);
            assert!((1..=65_535).contains(&port));
            assert!(seen.insert((ip, port)), "{ip}:{port} occurred twice");
        }
    }

    #[test]
    fn there_are_never_more_connections_than_pods() {
        let fleet = fleet(3, 0, ChangedField::Provider);
        let sources = Registrations::deal(&fleet, &Contents::new(), 256, Pass::Endless);
        assert_eq!(sources.len(), 3);
    }

    #[test]
    fn subscriptions_name_other_services() {
        let fleet = fleet(40, 3, ChangedField::Provider);
        let mut body = Vec::new();
        fleet.write_registration(39, 1, &mut body);
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["service_name"], "svc-000003");
        assert_eq!(
            body["subscriptions"],
            serde_json::json!(["svc-000000", "svc-000001", "svc-000002"])
        );
    }

    #[test]
    fn reads_stay_within_the_registry() {
        let fleet = fleet(30, 0, ChangedField::Provider);
        let mut source = Reads::deal(&fleet, 1).remove(0);
        let mut paths = HashSet::new();
        let mut request = Vec::new();
        for _ in 0..500 {
            source.write_next(&mut request);
            let text = str::from_utf8(&request).unwrap();
            paths.insert(text.split(' ').nth(1).unwrap().to_owned());
        }
        assert_eq!(paths.len(), 3);
        assert!(paths.contains("/services/svc-000002"));
    }
}
