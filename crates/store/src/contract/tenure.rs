//! Who may write.

use std::sync::Arc;

use governance_domain::Status;

use uuid::Uuid;

use super::Site;
use super::fixture::{InUse, assert_lost, delete, entry, health, owner, pod, put};
use crate::{LastTenure, Owner, Tenure};

/// A site is empty at first.
pub async fn a_new_store_is_empty_and_begins_with_epoch_one(site: &impl Site) {
    let used = InUse::open(site).await;
    assert_eq!((used.tenure.epoch, used.tenure.sequence), (1, 0));
    assert!(!used.tenure.registry_id.is_nil());
    used.assert_holds(&[]).await;
}

/// Epochs never repeat, the registry stays the same.
pub async fn each_acquisition_is_the_next_epoch_of_the_same_registry(site: &impl Site) {
    let mut used = InUse::open(site).await;
    let first = used.tenure;
    for step in 1..4 {
        used.acquire_again().await;
        assert_eq!(used.tenure, Tenure { epoch: first.epoch + step, ..first });
    }
}

/// What was restored while nobody wrote is another registry, whose revisions are all new.
pub async fn a_store_from_before_a_remembered_tenure_begins_a_new_registry(site: &impl Site) {
    let mut used = InUse::open(site).await;
    used.commit(vec![put(&pod("a", 1))]).await;
    let first = Tenure { sequence: 1, ..used.tenure };
    let remembering = |registry_id, epoch, sequence| {
        let last = Some(LastTenure { registry_id, epoch, sequence });
        Owner { last, ..owner() }
    };
    let registry_id = first.registry_id;
    let acquire = async |owner: Owner| used.store.acquire(&owner).await.expect("it is ours");
    let known = acquire(remembering(registry_id, first.epoch, 1)).await;
    assert_eq!(known, Tenure { epoch: first.epoch + 1, ..first }, "this tenure it knows");
    let elsewhere = acquire(remembering(Uuid::from_u128(9), 90, 9)).await;
    assert_eq!(elsewhere, Tenure { epoch: first.epoch + 2, ..first }, "not this registry's");
    let restored = acquire(remembering(registry_id, 40, 0)).await;
    assert_ne!(restored.registry_id, registry_id);
    assert_eq!(restored.epoch, 41);
    let after = acquire(remembering(registry_id, 40, 0)).await;
    assert_eq!(after, Tenure { epoch: 42, ..restored }, "it is another registry by now");
    let lacking = acquire(remembering(restored.registry_id, 42, 2)).await;
    assert_ne!(lacking.registry_id, restored.registry_id, "the second batch of that epoch is gone");
    assert_eq!(lacking.epoch, 43);
}

/// Whatever an earlier epoch still tries is refused and changes nothing.
pub async fn an_ended_epoch_writes_nothing(site: &impl Site) {
    let mut used = InUse::open(site).await;
    let here = pod("here", 1);
    used.commit(vec![put(&here)]).await;
    let ended = used.tenure;
    let late = used.batch(used.sequence + 1, vec![put(&pod("late", 2)), delete(&here)]);
    used.acquire_again().await;
    let store = &used.store;
    assert_lost(store.commit(late).await);
    let writes = vec![health(&here, Status::Healthy, 5)];
    assert_lost(store.write_health(&ended, writes, vec![entry(0, None)]).await);
    assert_lost(store.rewrite(&ended, vec![Arc::new(pod("late", 2))], Vec::new()).await);
    assert_lost(store.prune_audit(&ended, super::fixture::at(1_000), 10).await);
    used.assert_holds(&[&here]).await;
    let pruned = store.prune_audit(&used.tenure, super::fixture::at(1_000), 10).await;
    assert_eq!(pruned.expect("this epoch writes"), 1, "only the first batch left an entry");
}

/// Neither can be done with a right that somebody else holds now.
pub async fn renewing_and_releasing_prove_the_epoch(site: &impl Site) {
    let mut used = InUse::open(site).await;
    let ended = used.tenure;
    used.acquire_again().await;
    assert_lost(used.store.renew(&ended).await);
    assert_lost(used.store.release(&ended).await);
    let renewal = used.store.renew(&used.tenure).await.expect("the holder may renew");
    assert!(!renewal.standby_is_alive, "nobody else asked");
    used.commit(vec![put(&pod("a", 1))]).await;
    used.store.release(&used.tenure).await.expect("the holder may release");
    let epoch = used.tenure.epoch;
    used.acquire_again().await;
    assert_eq!(used.tenure.epoch, epoch + 1);
}
