//! Pods, batches and a store in use, for the suite.

use std::collections::BTreeMap;
use std::sync::Arc;

use governance_domain::{
    Content, Pod, PodKey, PodName, Protocol, Provider, ProviderFilter, RegistrationId, ServiceName,
    Status, Subscription, Timestamp,
};
use uuid::Uuid;

use super::Site;
use crate::{
    AuditAction, AuditEntry, AuditResult, Batch, CommitError, HealthWrite, Owner, RowChange, Store,
    Tenure,
};

/// 2026-01-02T03:04:05.678901Z.
pub(super) const NOW: i64 = 1_767_323_045_678_901;

pub(super) fn at(offset: i64) -> Timestamp {
    Timestamp::from_micros(NOW + offset)
}

pub(super) fn owner() -> Owner {
    Owner { id: Uuid::from_u128(7), address: "127.0.0.1:8080".to_owned(), last: None }
}

pub(super) fn key(service: &str, pod: &str) -> PodKey {
    PodKey::new(ServiceName::stored(service), PodName::stored(pod))
}

pub(super) fn provider(protocol: &str, host: &str, port: i64, id: Option<&str>) -> Provider {
    Provider {
        protocol: Protocol::stored(protocol),
        host: host.into(),
        port,
        id: id.map(Into::into),
    }
}

pub(super) fn wish(service: &str, ids: &[&str], healthy_only: bool) -> Subscription {
    Subscription {
        service: ServiceName::stored(service),
        filter: ProviderFilter::from_ids(ids.iter().map(|id| (*id).into()).collect()),
        healthy_only,
    }
}

/// A plain pod of service `eir`.
pub(super) fn pod(name: &str, registration: u64) -> Pod {
    Pod {
        key: key("eir", name),
        registration_id: RegistrationId::from_u64(registration),
        content: Arc::new(Content {
            providers: [provider("http", "192.168.1.30", 8080, None)].into(),
            health_check_url: "http://192.168.1.30:8080/health".into(),
            notification_url: "http://192.168.1.30:8080/notify".into(),
            subscriptions: [].into(),
            instance_id: None,
        }),
        status: Status::Unknown,
        last_health_check: None,
        registered_at: at(0),
        updated_at: at(1),
    }
}

pub(super) fn put(pod: &Pod) -> RowChange {
    RowChange::Put { pod: Arc::new(pod.clone()), resets_health: true }
}

pub(super) fn put_keeping_health(pod: &Pod) -> RowChange {
    RowChange::Put { pod: Arc::new(pod.clone()), resets_health: false }
}

pub(super) fn delete(pod: &Pod) -> RowChange {
    RowChange::Delete { key: pod.key.clone() }
}

pub(super) fn entry(offset: i64, key: Option<PodKey>) -> AuditEntry {
    AuditEntry {
        at: at(offset),
        action: AuditAction::Register,
        result: AuditResult::Success,
        key,
        details: "said 'so', \"twice\"".to_owned(),
        previous_status: None,
        new_status: Some(Status::Unknown),
        request_id: Some("request".to_owned()),
        remote: None,
    }
}

pub(super) fn health(pod: &Pod, status: Status, checked: i64) -> HealthWrite {
    HealthWrite {
        key: pod.key.clone(),
        registration_id: pod.registration_id,
        status,
        last_health_check: at(checked),
        status_changed_at: Some(at(checked)),
    }
}

/// A store whose right to write was taken, and where its batches are.
pub(super) struct InUse {
    pub(super) store: Arc<dyn Store>,
    pub(super) tenure: Tenure,
    pub(super) sequence: u64,
}

impl InUse {
    pub(super) async fn open(site: &impl Site) -> Self {
        let store = site.open().await;
        let tenure = store.acquire(&owner()).await.expect("the store is there and free");
        Self { store, tenure, sequence: tenure.sequence }
    }

    pub(super) fn batch(&self, sequence: u64, rows: Vec<RowChange>) -> Arc<Batch> {
        let audit = rows.iter().map(|row| entry(0, Some(row.key().clone()))).collect();
        Arc::new(Batch { epoch: self.tenure.epoch, sequence, rows, audit })
    }

    /// Commits the next batch.
    pub(super) async fn commit(&mut self, rows: Vec<RowChange>) {
        self.sequence += 1;
        let batch = self.batch(self.sequence, rows);
        self.store.commit(batch).await.expect("the next batch of this epoch is stored");
    }

    pub(super) async fn write_health(&self, writes: Vec<HealthWrite>) -> Result<(), CommitError> {
        self.store.write_health(&self.tenure, writes, Vec::new()).await
    }

    pub(super) async fn acquire_again(&mut self) {
        self.tenure = self.store.acquire(&owner()).await.expect("the holder may take it again");
        self.sequence = self.tenure.sequence;
    }

    /// All pods by key; each key must be there once.
    pub(super) async fn load(&self) -> BTreeMap<String, Pod> {
        let loaded = self.store.load().await.expect("the store can be read");
        let count = loaded.pods.len();
        let pods: BTreeMap<String, Pod> =
            loaded.pods.into_iter().map(|pod| (pod.key.to_string(), pod)).collect();
        assert_eq!(pods.len(), count, "a key was loaded twice");
        pods
    }

    pub(super) async fn assert_holds(&self, expected: &[&Pod]) {
        let expected: BTreeMap<String, Pod> =
            expected.iter().map(|pod| (pod.key.to_string(), (*pod).clone())).collect();
        assert_eq!(self.load().await, expected);
    }
}

/// That a call was refused because the right to write is elsewhere.
#[track_caller]
pub(super) fn assert_lost<T>(outcome: Result<T, CommitError>) {
    match outcome {
        Ok(_) => panic!("it was done without the right to write"),
        Err(CommitError::Lost(_)) => {}
        Err(other) => panic!("not lost: {other}"),
    }
}
