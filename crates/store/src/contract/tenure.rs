//! Who may write.

use std::sync::Arc;

use governance_domain::Status;

use super::Site;
use super::fixture::{InUse, assert_lost, delete, entry, health, pod, put};
use crate::Tenure;

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
