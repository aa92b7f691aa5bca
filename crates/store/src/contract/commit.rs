//! Batches: wholly or not at all, one after the other.

use std::sync::Arc;

use futures_util::FutureExt;
use governance_domain::{Content, Pod, RegistrationId, Status};

use super::Site;
use super::fixture::{
    InUse, assert_lost, at, delete, health, key, pod, provider, put, put_keeping_health, wish,
};

/// A pod with something in every field.
fn rich() -> Pod {
    Pod {
        key: key("diam-gw", "Diam_gw.pod-1"),
        registration_id: RegistrationId::from_u64((7 << 32) + 9),
        content: Arc::new(Content {
            providers: [
                provider("diameter", "fe80::1", 3868, Some("eir-diameter:1")),
                provider("x-own", "host_name.example", 65_535, None),
            ]
            .into(),
            health_check_url: "http://[fe80::1]:8080/health?a=%22b%22&c='d'".into(),
            notification_url: "https://host_name.example/notify".into(),
            subscriptions: [
                wish("eir", &[], false),
                wish("http-gw", &["b", "a"], false),
                wish("self", &[], true),
                wish("udm", &["x"], true),
            ]
            .into(),
            instance_id: Some("8c1f \"quoted\" é".into()),
        }),
        status: Status::Unhealthy,
        last_health_check: Some(at(3)),
        registered_at: at(-1),
        updated_at: at(999_999),
    }
}

/// Every field comes back as it was.
pub async fn what_is_committed_is_loaded_unchanged(site: &impl Site) {
    let mut used = InUse::open(site).await;
    let (plain, rich) = (pod("plain", 1), rich());
    used.commit(vec![put(&plain), put(&rich)]).await;
    used.assert_holds(&[&plain, &rich]).await;
    let loaded = used.store.load().await.expect("the store can be read");
    assert_eq!((loaded.odd_count, loaded.oddities), (0, Vec::new()));
}

/// A batch that does not follow the last one is refused whole.
pub async fn sequences_follow_one_another_without_gap_or_repetition(site: &impl Site) {
    let mut used = InUse::open(site).await;
    let here = pod("here", 1);
    used.commit(vec![put(&here)]).await;
    for sequence in [used.sequence, used.sequence + 2, 0, u64::MAX >> 1] {
        let batch = used.batch(sequence, vec![put(&pod("wrong", 2)), delete(&here)]);
        assert_lost(used.store.commit(batch).await);
    }
    used.assert_holds(&[&here]).await;
    used.commit(vec![delete(&here)]).await;
    used.assert_holds(&[]).await;
}

/// This is how a manager finds out about a batch of unknown outcome.
pub async fn acquiring_tells_the_last_batch(site: &impl Site) {
    let mut used = InUse::open(site).await;
    for number in 1..4 {
        used.commit(vec![put(&pod("a", number))]).await;
        let sequence = used.sequence;
        used.acquire_again().await;
        assert_eq!(used.tenure.sequence, sequence);
    }
    let wrong = used.batch(used.sequence + 5, Vec::new());
    assert_lost(used.store.commit(wrong).await);
    let sequence = used.sequence;
    used.acquire_again().await;
    assert_eq!(used.tenure.sequence, sequence);
}

/// A batch without rows takes a number too.
pub async fn an_empty_batch_counts(site: &impl Site) {
    let mut used = InUse::open(site).await;
    used.commit(Vec::new()).await;
    used.commit(Vec::new()).await;
    used.acquire_again().await;
    assert_eq!(used.tenure.sequence, 2);
}

/// A new registration of a pod replaces all of the earlier one.
pub async fn putting_again_replaces_the_row(site: &impl Site) {
    let mut used = InUse::open(site).await;
    let rich = rich();
    let replaced = Pod { key: rich.key.clone(), ..pod("", (7 << 32) + 10) };
    used.commit(vec![put(&rich), put(&pod("other", 1))]).await;
    used.commit(vec![put(&replaced)]).await;
    used.assert_holds(&[&replaced, &pod("other", 1)]).await;
}

/// Health is written on its own path; a batch must not bring back what it was decided on.
pub async fn putting_without_reset_leaves_health_alone(site: &impl Site) {
    let mut used = InUse::open(site).await;
    let first = pod("a", 1);
    used.commit(vec![put(&first)]).await;
    used.write_health(vec![health(&first, Status::Healthy, 7)]).await.expect("it is there");
    let amended = Pod {
        content: Arc::new(Content {
            subscriptions: [wish("udm", &[], false)].into(),
            ..Content::clone(&first.content)
        }),
        updated_at: at(9),
        ..first.clone()
    };
    let absent = Pod { status: Status::Unhealthy, last_health_check: Some(at(4)), ..pod("b", 2) };
    used.commit(vec![put_keeping_health(&amended), put_keeping_health(&absent)]).await;
    let kept = Pod { status: Status::Healthy, last_health_check: Some(at(7)), ..amended };
    used.assert_holds(&[&kept, &absent]).await;
    used.commit(vec![put(&first)]).await;
    used.assert_holds(&[&first, &absent]).await;
}

/// Also of a row that is not there, which is no fault.
pub async fn deleting_removes_the_row_and_only_it(site: &impl Site) {
    let mut used = InUse::open(site).await;
    let (a, ab, same_pod) = (pod("a", 1), pod("a-b", 2), rich());
    used.commit(vec![put(&a), put(&ab), put(&same_pod)]).await;
    used.commit(vec![delete(&a), delete(&pod("nobody", 9))]).await;
    used.assert_holds(&[&ab, &same_pod]).await;
    used.commit(vec![delete(&a)]).await;
    used.assert_holds(&[&ab, &same_pod]).await;
}

/// What remained of it must not shine through.
pub async fn a_deleted_pod_can_come_back(site: &impl Site) {
    let mut used = InUse::open(site).await;
    let before = rich();
    let after = Pod { key: before.key.clone(), ..pod("", 3) };
    used.commit(vec![put(&before)]).await;
    used.commit(vec![delete(&before)]).await;
    used.write_health(vec![health(&before, Status::Healthy, 5)]).await.expect("nobody is told");
    used.assert_holds(&[]).await;
    used.commit(vec![put(&after)]).await;
    used.assert_holds(&[&after]).await;
}

/// A batch may be as large as the engine's queue.
pub async fn a_batch_of_thousands_is_stored_whole(site: &impl Site) {
    let mut used = InUse::open(site).await;
    let pods: Vec<Pod> = (0..3_000).map(|number| pod(&format!("p{number}"), number)).collect();
    used.commit(pods.iter().map(put).collect()).await;
    let all: Vec<&Pod> = pods.iter().collect();
    used.assert_holds(&all).await;
    let (gone, kept) = pods.split_at(2_000);
    let mut changes: Vec<_> = gone.iter().map(delete).collect();
    changes.extend(kept.iter().map(put));
    used.commit(changes).await;
    let kept: Vec<&Pod> = kept.iter().collect();
    used.assert_holds(&kept).await;
}

/// A caller that stopped waiting finds out by acquiring.
pub async fn a_dropped_commit_is_stored_wholly_or_not_at_all(site: &impl Site) {
    let mut used = InUse::open(site).await;
    let mut last: Option<Pod> = None;
    for number in 1..20 {
        let next = pod(&format!("p{number}"), number);
        let mut rows = vec![put(&next)];
        rows.extend(last.iter().map(delete));
        let sequence = used.sequence + 1;
        let mut commit = used.store.commit(used.batch(sequence, rows));
        // Polled once at most: begun, and not waited for.
        if number % 3 > 0 {
            let _ = (&mut commit).now_or_never();
        }
        drop(commit);
        used.acquire_again().await;
        assert!([sequence - 1, sequence].contains(&used.tenure.sequence));
        if used.tenure.sequence == sequence {
            last = Some(next);
        }
        let expected: Vec<&Pod> = last.iter().collect();
        used.assert_holds(&expected).await;
    }
}
