//! Which pod a request goes to: one that governance finds healthy, with the fewest requests of ours
//! under way, and not one that failed us a moment ago while there is another.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governance_client::{Pod, Provider, View};
use telco_node::fleet::wanted;
use tokio::time::Instant;

/// How long a pod that failed is passed over: about as long as governance needs to notice.
const AVOIDED: Duration = Duration::from_secs(1);

/// The pods of one service and what becomes of our requests to them.
pub(crate) struct Pods {
    view: View,
    service: &'static str,
    /// By pod; only those with something to remember.
    records: Mutex<HashMap<String, Record>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Record {
    under_way: usize,
    failed: Option<Instant>,
}

impl Record {
    fn is_avoided(&self, now: Instant) -> bool {
        self.failed.is_some_and(|at| now.duration_since(at) < AVOIDED)
    }
}

/// A chosen pod; while it lives, a request is under way there.
pub(crate) struct Choice {
    pods: Arc<Pods>,
    pub(crate) name: String,
    /// `host:port` as a URL has it.
    pub(crate) address: String,
}

impl Pods {
    pub(crate) fn new(view: View, service: &'static str) -> Arc<Self> {
        Arc::new(Self { view, service, records: Mutex::default() })
    }

    /// The best pod: not tried, not failed, least busy, in this order; none if there is no pod that
    /// may be asked.
    pub(crate) fn choose(self: &Arc<Self>, tried: &[String]) -> Option<Choice> {
        let is_wanted = wanted(&self.view, self.service);
        let pods = self.view.pods(self.service);
        let now = Instant::now();
        let mut records = self.records();
        let rank = |pod: &Arc<Pod>| {
            let record = records.get(pod.name()).copied().unwrap_or_default();
            let is_tried = tried.iter().any(|name| name == pod.name());
            // The last: whose turn it is among equals.
            (is_tried, record.is_avoided(now), record.under_way, fastrand::u32(..))
        };
        let eligible = pods.iter().filter(|pod| is_wanted(pod.status()));
        let eligible = eligible.filter_map(|pod| Some((pod, provider(pod)?)));
        let (pod, provider) = eligible.min_by_key(|(pod, _)| rank(pod))?;
        records.entry(pod.name().to_owned()).or_default().under_way += 1;
        let host = match provider.ip.parse::<Ipv6Addr>() {
            Ok(address) => format!("[{address}]"),
            Err(_) => provider.ip.clone(),
        };
        Some(Choice {
            pods: Arc::clone(self),
            name: pod.name().to_owned(),
            address: format!("{host}:{}", provider.port),
        })
    }

    fn records(&self) -> MutexGuard<'_, HashMap<String, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn provider(pod: &Pod) -> Option<&Provider> {
    pod.providers().iter().find(|provider| provider.protocol == "http")
}

impl Choice {
    /// It failed us.
    pub(crate) fn failed(&self) {
        let mut records = self.pods.records();
        records.entry(self.name.clone()).or_default().failed = Some(Instant::now());
    }
}

impl Drop for Choice {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut records = self.pods.records();
        if let Some(record) = records.get_mut(&self.name) {
            record.under_way = record.under_way.saturating_sub(1);
        }
        // Pods come and go; what is remembered of them does not pile up.
        records.retain(|_, record| record.under_way > 0 || record.is_avoided(now));
    }
}
