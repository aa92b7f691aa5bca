//! Writing everything anew, and forgetting the audit.

use std::sync::Arc;

use governance_domain::{Pod, Status};

use super::Site;
use super::fixture::{InUse, at, entry, health, pod, put};
use crate::{Batch, Tenure};

/// The manager's memory wins over a store that went back, under a new registry id.
pub async fn rewriting_makes_the_store_hold_exactly_these_pods(site: &impl Site) {
    let mut used = InUse::open(site).await;
    used.commit(vec![put(&pod("gone", 1)), put(&pod("both", 2))]).await;
    let both = Pod { status: Status::Healthy, last_health_check: Some(at(4)), ..pod("both", 5) };
    let new = pod("new", 3);
    let pods = vec![Arc::new(both.clone()), Arc::new(new.clone())];
    let rewritten = used.store.rewrite(&used.tenure, pods, vec![entry(0, None)]).await;
    let registry_id = rewritten.expect("the holder may rewrite");
    assert_ne!(registry_id, used.tenure.registry_id);
    used.assert_holds(&[&both, &new]).await;
    used.write_health(vec![health(&new, Status::Healthy, 6)]).await.expect("it is there");
    assert_eq!(used.load().await["eir:new"].status, Status::Healthy);
    used.acquire_again().await;
    assert_eq!(used.tenure.registry_id, registry_id);
}

/// The sequence becomes the one that the manager knows to be committed.
pub async fn batches_go_on_after_a_rewrite(site: &impl Site) {
    let mut used = InUse::open(site).await;
    used.commit(vec![put(&pod("old", 1))]).await;
    let known = Tenure { sequence: 41, ..used.tenure };
    used.store.rewrite(&known, Vec::new(), Vec::new()).await.expect("the holder may rewrite");
    used.assert_holds(&[]).await;
    used.sequence = 41;
    used.commit(vec![put(&pod("old", 1))]).await;
    used.assert_holds(&[&pod("old", 1)]).await;
    used.acquire_again().await;
    assert_eq!(used.tenure.sequence, 42);
}

/// The oldest go first, at most so many at once.
pub async fn pruning_the_audit_is_bounded_and_spares_the_young(site: &impl Site) {
    let used = InUse::open(site).await;
    let batch = Batch {
        epoch: used.tenure.epoch,
        sequence: 1,
        rows: Vec::new(),
        audit: (0..10).map(|offset| entry(offset, None)).collect(),
    };
    used.store.commit(Arc::new(batch)).await.expect("the next batch is stored");
    for (before, limit, expected) in
        [(0, 10, 0), (7, 4, 4), (7, 0, 0), (7, 4, 3), (7, 4, 0), (100, 100, 3), (100, 100, 0)]
    {
        let pruned = used.store.prune_audit(&used.tenure, at(before), limit).await;
        assert_eq!(pruned.expect("the holder may prune"), expected, "before {before}");
    }
}
