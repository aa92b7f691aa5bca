//! What the tests of the PostgreSQL store share.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic says that the test failed"
)]
#![allow(dead_code, reason = "each test crate uses a part")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use governance_domain::{
    Content, Pod, PodKey, PodName, RegistrationId, ServiceName, Status, Timestamp,
};
use governance_store::postgres::{PostgresSettings, SslMode};
use governance_store::{AcquireError, Batch, Loaded, Owner, PostgresStore, RowChange, Store, Uuid};
use governance_testkit::postgres::{PASSWORD, USER};

/// The database of the tests.
pub(crate) const DATABASE: &str = "governance_db";

/// How to reach a throw-away server.
pub(crate) fn settings(address: SocketAddr) -> PostgresSettings {
    PostgresSettings {
        hosts: vec![(address.ip().to_string(), address.port())],
        database: DATABASE.to_owned(),
        user: USER.to_owned(),
        password: PASSWORD.to_owned(),
        ssl_mode: SslMode::Disable,
        ssl_root_cert: None,
        statement_timeout: Duration::from_secs(10),
    }
}

/// A manager of its own.
pub(crate) fn owner(address: &str) -> Owner {
    Owner { id: Uuid::new_v4(), address: address.to_owned(), last: None }
}

/// A store that never acquired fails with this text.
pub(crate) async fn refusal(settings: PostgresSettings) -> String {
    match PostgresStore::new(settings).acquire(&owner("a:1")).await {
        Ok(tenure) => panic!("got the lease: {tenure:?}"),
        Err(AcquireError::Held { address, .. }) => panic!("held by {address}"),
        Err(AcquireError::Unavailable(fault)) => format!("unavailable: {fault}"),
        Err(AcquireError::Unusable(fault)) => format!("unusable: {fault}"),
    }
}

/// The key of two names, whatever they are.
pub(crate) fn key(service: &str, pod: &str) -> PodKey {
    PodKey::new(ServiceName::stored(service), PodName::stored(pod))
}

/// A pod that just registered.
pub(crate) fn pod(service: &str, name: &str, registration: u64) -> Arc<Pod> {
    let at = Timestamp::from_micros(1_767_323_045_678_000);
    Arc::new(Pod {
        key: key(service, name),
        registration_id: RegistrationId::from_u64(registration),
        content: Arc::new(Content {
            providers: Box::new([]),
            health_check_url: "http://10.0.0.1/health".into(),
            notification_url: "http://10.0.0.1/notify".into(),
            subscriptions: Box::new([]),
            instance_id: None,
        }),
        status: Status::Unknown,
        last_health_check: None,
        registered_at: at,
        updated_at: at,
    })
}

/// A batch that stores one new registration.
pub(crate) fn batch(epoch: u32, sequence: u64, pod: Arc<Pod>) -> Arc<Batch> {
    let put = RowChange::Put { pod, resets_health: true };
    changes(epoch, sequence, vec![put])
}

/// A batch without audit.
pub(crate) fn changes(epoch: u32, sequence: u64, rows: Vec<RowChange>) -> Arc<Batch> {
    Arc::new(Batch { epoch, sequence, rows, audit: Vec::new() })
}

/// The pods' keys as text, sorted.
pub(crate) fn names(loaded: &Loaded) -> Vec<String> {
    let mut names: Vec<String> = loaded.pods.iter().map(|pod| pod.key.to_string()).collect();
    names.sort();
    names
}
