//! Scratch.
use std::sync::Arc;
use std::time::Duration;
use governance_domain::*;
use governance_store::*;
use governance_store::postgres::*;
use governance_testkit::postgres::Cluster;

#[tokio::test]
async fn smoke() {
    let t = std::time::Instant::now();
    let cluster = Cluster::start().unwrap();
    eprintln!("started {:?}", t.elapsed());
    let settings = PostgresSettings { hosts: vec![("127.0.0.1".into(), cluster.address().port())], database: "governance_db".into(), user: "postgres".into(), password: "postgres".into(), ssl_mode: SslMode::Disable, ssl_root_cert: None, statement_timeout: Duration::from_secs(5) };
    let store = PostgresStore::new(settings);
    let owner = Owner { id: Uuid::new_v4(), address: "a:1".into() };
    let t = std::time::Instant::now();
    let tenure = store.acquire(&owner).await.unwrap();
    eprintln!("{tenure:?} {:?}", t.elapsed());
    let tenure = store.acquire(&owner).await.unwrap();
    eprintln!("{tenure:?}");
    let pod = Arc::new(Pod { key: PodKey::new(ServiceName::parse("eir").unwrap(), PodName::parse("eir-1").unwrap()), registration_id: RegistrationId::start_of(1).next(), content: Arc::new(Content { providers: Box::new([]), health_check_url: "http://a/".into(), notification_url: "http://a/".into(), subscriptions: Box::new([]), instance_id: None }), status: Status::Unknown, last_health_check: None, registered_at: Timestamp::from_micros(5), updated_at: Timestamp::from_micros(6) });
    let batch = Batch { epoch: tenure.epoch, sequence: 1, rows: vec![RowChange::Put { pod: pod.clone(), resets_health: true }], audit: vec![AuditEntry { at: Timestamp::from_micros(1), action: AuditAction::Register, result: AuditResult::Success, key: Some(pod.key.clone()), details: String::new(), previous_status: None, new_status: None, request_id: None, remote: None }] };
    store.commit(Arc::new(batch)).await.unwrap();
    let loaded = store.load().await.unwrap();
    eprintln!("{loaded:?}");
    assert_eq!(loaded.pods, [Pod::clone(&pod)]);
    store.write_health(&tenure, vec![HealthWrite { key: pod.key.clone(), registration_id: pod.registration_id, status: Status::Healthy, last_health_check: Timestamp::from_micros(77), status_changed_at: None }], vec![]).await.unwrap();
    eprintln!("{:?}", store.renew(&tenure).await.unwrap());
    eprintln!("{:?}", store.prune_audit(&tenure, Timestamp::from_micros(100), 10).await.unwrap());
    eprintln!("{}", cluster.sql("governance_db", "select * from services").unwrap());
    let id = store.rewrite(&tenure, vec![pod.clone()], vec![]).await.unwrap();
    eprintln!("{id}");
    let batch = Batch { epoch: tenure.epoch, sequence: 1, rows: vec![RowChange::Delete { key: pod.key.clone() }], audit: vec![] };
    store.commit(Arc::new(batch)).await.unwrap();
    store.release(&tenure).await.unwrap();
    eprintln!("{}", cluster.sql("governance_db", "select * from governance_pods").unwrap());
    eprintln!("{}", cluster.log());
}
