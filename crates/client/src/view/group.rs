//! All pods of one service at one revision, arranged so that a lookup searches nothing: lists per
//! protocol and per provider id, each split by health. Immutable; a change makes a new one, which
//! takes over the pods that did not change, the counts, and whose turn it is.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use governance_api::{PodSummary, Provider, Status};

use super::pod::Pod;

/// One endpoint that may be picked.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) pod: Arc<Pod>,
    /// Which of the pod's providers.
    pub(super) provider: usize,
    /// The provider's port, which is in range.
    pub(super) port: u16,
}

impl Candidate {
    /// The endpoints of a pod, one for each provider; a port that no connection can have, which
    /// rows of earlier managers may hold, makes none.
    fn of(pod: &Arc<Pod>) -> impl Iterator<Item = Self> + '_ {
        pod.providers().iter().enumerate().filter_map(|(provider, found)| {
            let port = u16::try_from(found.port).ok().filter(|port| *port > 0)?;
            Some(Self { pod: Arc::clone(pod), provider, port })
        })
    }

    pub(super) fn provider(&self) -> &Provider {
        let provider = self.pod.providers().get(self.provider);
        provider.expect("made from the pod's own list, which never changes")
    }
}

/// The endpoints that one kind of lookup chooses from.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    pub(super) healthy: Vec<Candidate>,
    pub(super) unknown: Vec<Candidate>,
    pub(super) all: Vec<Candidate>,
    /// Whose turn it is; taken over by the next revision.
    pub(super) turn: Arc<AtomicUsize>,
}

impl Candidates {
    fn following(before: Option<&Self>) -> Self {
        let turn = before.map(|before| Arc::clone(&before.turn)).unwrap_or_default();
        Self { turn, ..Self::default() }
    }

    fn add(&mut self, candidate: Candidate) {
        match candidate.pod.status() {
            Status::Healthy => self.healthy.push(candidate.clone()),
            Status::Unknown => self.unknown.push(candidate.clone()),
            Status::Unhealthy => {}
        }
        self.all.push(candidate);
    }
}

/// A service's pods.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) revision: u64,
    /// In the order of their names, each name once.
    pub(super) pods: Vec<Arc<Pod>>,
    /// One endpoint of each pod: its first.
    pub(super) any: Candidates,
    pub(super) by_protocol: HashMap<String, Candidates>,
    pub(super) by_provider_id: HashMap<String, Candidates>,
}

impl Group {
    /// The pods as of a revision, following on what was known.
    pub(super) fn new(
        service: &Arc<str>,
        revision: u64,
        mut summaries: Vec<PodSummary>,
        before: Option<&Self>,
    ) -> Self {
        summaries.sort_by(|a, b| a.pod_name.cmp(&b.pod_name));
        summaries.dedup_by(|later, earlier| later.pod_name == earlier.pod_name);
        let adopt = |summary: PodSummary| match before.and_then(|b| b.pod(&summary.pod_name)) {
            Some(known) if *known.summary() == summary => Arc::clone(known),
            Some(known) => Arc::new(Pod::new(service, summary, Arc::clone(known.counter()))),
            None => Arc::new(Pod::new(service, summary, Arc::default())),
        };
        let pods: Vec<Arc<Pod>> = summaries.into_iter().map(adopt).collect();
        let mut group = Self {
            revision,
            any: Candidates::following(before.map(|b| &b.any)),
            ..Self::default()
        };
        for pod in &pods {
            group.arrange(pod, before);
        }
        Self { pods, ..group }
    }

    fn arrange(&mut self, pod: &Arc<Pod>, before: Option<&Self>) {
        let mut is_first = true;
        for candidate in Candidate::of(pod) {
            if std::mem::take(&mut is_first) {
                self.any.add(candidate.clone());
            }
            let provider = candidate.provider();
            let (protocol, id) = (provider.protocol.clone(), provider.provider_id.clone());
            if let Some(id) = id.filter(|id| !id.is_empty()) {
                let known = before.and_then(|b| b.by_provider_id.get(&id));
                let list = self.by_provider_id.entry(id);
                list.or_insert_with(|| Candidates::following(known)).add(candidate.clone());
            }
            let known = before.and_then(|b| b.by_protocol.get(&protocol));
            let list = self.by_protocol.entry(protocol);
            list.or_insert_with(|| Candidates::following(known)).add(candidate);
        }
    }

    pub(super) fn pod(&self, name: &str) -> Option<&Arc<Pod>> {
        let found = self.pods.binary_search_by(|pod| pod.name().cmp(name)).ok()?;
        self.pods.get(found)
    }
}
