//! What outlives the process, and what others wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use governance_domain::{Pod, RegistrationId, Status, Timestamp};

use super::fixture::{InUse, assert_lost, at, delete, health, key, pod, provider, put, wish};
use super::{DurableSite, Site};

/// All of it: pods, registry, sequence.
pub async fn what_was_committed_survives_reopening(site: &impl Site) {
    let (registry_id, sequence) = {
        let mut used = InUse::open(site).await;
        used.commit(vec![put(&pod("a", 1)), put(&pod("b", 2))]).await;
        used.commit(vec![delete(&pod("a", 1))]).await;
        used.write_health(vec![health(&pod("b", 2), Status::Healthy, 3)]).await.expect("there");
        (used.tenure.registry_id, used.sequence)
    };
    let used = InUse::open(site).await;
    assert_eq!(used.tenure.registry_id, registry_id);
    assert_eq!((used.tenure.epoch, used.tenure.sequence), (2, sequence));
    let checked = Pod {
        status: Status::Healthy,
        last_health_check: Some(at(3)),
        updated_at: at(3),
        ..pod("b", 2)
    };
    used.assert_holds(&[&checked]).await;
}

/// A manager that was restarted while its earlier self still runs.
pub async fn the_same_owner_opening_again_takes_over(site: &impl Site) {
    let mut earlier = InUse::open(site).await;
    earlier.commit(vec![put(&pod("a", 1))]).await;
    let mut later = InUse::open(site).await;
    assert_eq!(later.tenure.epoch, earlier.tenure.epoch + 1);
    let late = earlier.batch(earlier.sequence + 1, vec![delete(&pod("a", 1))]);
    assert_lost(earlier.store.commit(Arc::clone(&late)).await);
    assert_lost(earlier.store.renew(&earlier.tenure).await);
    later.commit(vec![put(&pod("b", 2))]).await;
    assert_lost(earlier.store.commit(late).await);
    later.assert_holds(&[&pod("a", 1), &pod("b", 2)]).await;
}

const COLUMNS: &str = "INSERT INTO services (service_key, service_name, pod_name, providers, \
    health_check_url, notification_url, subscriptions, status, last_health_check, registered_at, \
    updated_at) VALUES ";

/// A row as an earlier manager wrote it.
fn row(service: &str, pod: &str, providers: &str, url: &str, rest: &str) -> String {
    format!(
        "{COLUMNS} ('{service}:{pod}', '{service}', '{pod}', '{providers}', '{url}/health', \
         '{url}/notify', {rest}, '2025-01-02 03:04:05', '2025-01-02 03:04:06.5')"
    )
}

const PROVIDERS: &str = r#"[{"protocol":"http","ip":"10.0.0.1","port":80,"provider_id":""}]"#;
const URL: &str = "http://10.0.0.1";
const HEALTHY: &str = "'healthy', '2025-01-02 03:04:05.25'";
const NEVER: &str = "'unknown', '0001-01-01 00:00:00'";

/// Takes over a site that has the tables, with rows that earlier managers wrote into them.
async fn taken_over(site: &impl DurableSite, rows: &[String]) -> InUse {
    drop(InUse::open(site).await);
    for row in rows {
        site.execute(row).await;
    }
    InUse::open(site).await
}

/// Whatever is in the table is a pod; `null` is no subscription.
pub async fn rows_of_earlier_managers_are_kept_and_shown(site: &impl DurableSite) {
    let row = |pod: &str, subscriptions: &str, rest: &str| {
        row("eir", pod, PROVIDERS, URL, &format!("'{subscriptions}', {rest}"))
    };
    let odd_port = r#"[{"protocol":"HTTP","ip":"10.0.0.1","port":123456,"provider_id":"p"}]"#;
    let rows = [
        row("null", "null", HEALTHY),
        row("empty", "[]", NEVER),
        row("strings", r#"["diam-gw","http-gw"]"#, HEALTHY),
        row(
            "mixed",
            r#"["a",{"service_name":"b","provider_ids":["x"]},{"service_name":"c"}]"#,
            NEVER,
        ),
        row("odd wish", r#"{"service_name":"b","provider_ids":null}"#, HEALTHY),
        row("odd-status", "[]", "'starting', '2999-01-01 00:00:00'"),
        self::row("", "-", odd_port, "gopher://x", &format!("'[7]', {NEVER}")),
    ];
    let used = taken_over(site, &rows).await;
    let pods = used.load().await;
    let shown: BTreeMap<&str, Vec<_>> = pods
        .values()
        .map(|pod| (pod.key.pod.as_str(), pod.content.subscriptions.to_vec()))
        .collect();
    let all = |service| wish(service, &[], false);
    let expected = BTreeMap::from([
        ("null", vec![]),
        ("empty", vec![]),
        ("strings", vec![all("diam-gw"), all("http-gw")]),
        ("mixed", vec![all("a"), wish("b", &["x"], false), all("c")]),
        ("odd wish", vec![all("b")]),
        ("odd-status", vec![]),
        ("-", vec![]),
    ]);
    assert_eq!(shown, expected);
    let first = &pods["eir:null"];
    assert_eq!(*first.content.providers, [provider("http", "10.0.0.1", 80, None)]);
    assert_eq!(first.status, Status::Healthy);
    assert_eq!(first.registered_at.as_micros(), 1_735_787_045_000_000);
    assert_eq!(first.updated_at.as_micros(), 1_735_787_046_500_000);
    assert_eq!(first.last_health_check.map(Timestamp::as_micros), Some(1_735_787_045_250_000));
    assert_eq!(pods["eir:empty"].last_health_check, None);
    assert_eq!(pods["eir:odd-status"].status, Status::Unknown);
    assert_eq!(*pods[":-"].content.providers, [provider("HTTP", "10.0.0.1", 123_456, Some("p"))]);
    let loaded = used.store.load().await.expect("the store can be read");
    assert_eq!((loaded.odd_count, loaded.oddities.len()), (3, 3), "{:?}", loaded.oddities);
}

/// They have registrations of their own, below those of the first epoch, that stay.
pub async fn rows_of_earlier_managers_live_on_like_others(site: &impl DurableSite) {
    let row = |pod: &str| row("eir", pod, PROVIDERS, URL, &format!("'null', {HEALTHY}"));
    let mut used = taken_over(site, &[row("a"), row("b"), row("c")]).await;
    let pods = used.load().await;
    let ids: BTreeSet<RegistrationId> = pods.values().map(|pod| pod.registration_id).collect();
    assert_eq!(ids.len(), 3, "each its own");
    assert!(ids.iter().all(|id| *id < RegistrationId::start_of(1)), "{ids:?}");
    assert_eq!(used.load().await, pods, "and the same each time");
    let a = &pods["eir:a"];
    used.write_health(vec![health(a, Status::Unhealthy, 5)]).await.expect("it is there");
    let a = Pod {
        status: Status::Unhealthy,
        last_health_check: Some(at(5)),
        updated_at: at(5),
        ..a.clone()
    };
    let b = pod("b", RegistrationId::start_of(2).next().as_u64());
    used.commit(vec![put(&b), delete(&pods["eir:c"])]).await;
    used.assert_holds(&[&a, &b]).await;
    drop(used);
    InUse::open(site).await.assert_holds(&[&a, &b]).await;
}

/// Put in by hand while the manager runs, in place of a pod that left.
pub async fn an_operators_row_is_read_at_the_next_start(site: &impl DurableSite) {
    let mut used = InUse::open(site).await;
    let left = pod("a", RegistrationId::start_of(1).next().as_u64());
    used.commit(vec![put(&left)]).await;
    used.commit(vec![delete(&left)]).await;
    site.execute(&row("eir", "a", PROVIDERS, URL, &format!("'[]', {NEVER}"))).await;
    drop(used);
    let used = InUse::open(site).await;
    let pods = used.load().await;
    let found = &pods["eir:a"];
    assert_eq!(found.key, key("eir", "a"));
    assert_ne!(found.registration_id, left.registration_id, "it is another registration");
    used.write_health(vec![health(found, Status::Healthy, 5)]).await.expect("it is there");
    assert_eq!(used.load().await["eir:a"].status, Status::Healthy);
}
