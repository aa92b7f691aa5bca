//! From the start to the end of a tenure: a store that is away at first, a standby, a store that
//! went back, the end of the process.

use std::path::Path;

use governance_domain::Revision;
use governance_store::SqliteStore;
use governance_testkit::faulty_store::{Fault, Step};
use tempfile::TempDir;

use super::restorable::Restorable;
use super::*;

#[tokio::test(start_paused = true)]
async fn an_engine_waits_for_its_store_and_answers_nothing_before() {
    let store = FaultyStore::new(Arc::new(MemoryStore::default()));
    store.set_away(true);
    let rig = Rig::launch(store, |_| {});
    sleep(Duration::from_mins(1)).await;
    assert!(matches!(rig.handle.standing().phase, Phase::Loading { .. }));
    let refused = rig.register("a", 1).await.unwrap_err();
    assert!(matches!(refused, SubmitError::NotActive(Phase::Loading { .. })), "{refused}");
    rig.store.set_away(false);
    rig.until("it is active", || rig.handle.standing().phase == Phase::Active).await;
    rig.register("a", 1).await.unwrap();
    rig.stop_and_compare().await;
}

#[tokio::test(start_paused = true)]
async fn an_acquisition_that_hangs_is_tried_again() {
    for fault in [Fault::HangBefore, Fault::HangAfter, Fault::UnknownApplied] {
        let store = FaultyStore::new(Arc::new(MemoryStore::default()));
        store.script(Step::Acquire, [fault.clone(), fault.clone()]);
        let rig = Rig::launch(store, |_| {});
        rig.until("it is active", || rig.handle.standing().phase == Phase::Active).await;
        assert_eq!(rig.store.count(Step::Acquire).calls, 3, "{fault:?}");
        rig.register("a", 1).await.unwrap();
        rig.stop_and_compare().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_read_is_no_empty_registry() {
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let first = Rig::launch(FaultyStore::new(Arc::clone(&memory)), |_| {});
    first.until("it is active", || first.handle.standing().phase == Phase::Active).await;
    let old = first.register("a", 1).await.unwrap();
    first.stop_and_compare().await;

    let store = FaultyStore::new(memory);
    store.script(Step::Load, vec![Fault::NotApplied; 3]);
    let second = Rig::launch(store, |_| {});
    second.until("it is active", || second.handle.standing().phase == Phase::Active).await;
    assert_eq!(second.store.count(Step::Load).calls, 4);
    assert_eq!(second.shown("a"), Some(1));
    let same = second.register("a", 1).await.unwrap();
    assert_eq!((same.is_changed, same.registration_id), (false, old.registration_id));
    let new = second.register("b", 1).await.unwrap();
    assert!(new.revision > old.revision && new.registration_id > old.registration_id);
    second.stop_and_compare().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_can_never_be_used_ends_the_engine() {
    let store = FaultyStore::new(Arc::new(MemoryStore::default()));
    store.script(Step::Acquire, [Fault::Refused(None)]);
    let rig = Rig::launch(store, |_| {});
    let ended = timeout(PATIENCE, rig.engine).await.unwrap().unwrap();
    assert!(ended.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_standby_takes_over_when_the_other_is_gone() {
    let store = FaultyStore::new(Arc::new(MemoryStore::default()));
    store.script(Step::Acquire, vec![Fault::Lost; 20]);
    let rig = Rig::launch(store, |_| {});
    rig.until("it is standby", || matches!(rig.handle.standing().phase, Phase::Standby { .. }))
        .await;
    let refused = rig.register("a", 1).await.unwrap_err();
    assert!(matches!(refused, SubmitError::NotActive(Phase::Standby { .. })), "{refused}");
    assert_eq!(rig.store.count(Step::Load).calls, 0, "a standby reads nothing");
    rig.until("it is active", || rig.handle.standing().phase == Phase::Active).await;
    rig.register("a", 1).await.unwrap();
    rig.stop_and_compare().await;
}

#[tokio::test(start_paused = true)]
async fn an_active_one_that_was_deposed_stops_and_comes_back() {
    let rig = Rig::start().await;
    rig.register("a", 1).await.unwrap();
    rig.store.script(Step::Commit, [Fault::Lost]);
    rig.store.script(Step::Acquire, vec![Fault::Lost; 10]);
    let error = rig.register("b", 1).await.unwrap_err();
    assert!(matches!(error, SubmitError::NotActive(Phase::Standby { .. })), "{error}");
    assert_eq!(rig.witness.seen.lock().unwrap().losses, 1);
    assert!(rig.register("a", 1).await.is_err(), "not even what it knows");
    rig.until("it is active", || rig.handle.standing().phase == Phase::Active).await;
    assert_eq!((rig.shown("a"), rig.shown("b")), (Some(1), None));
    assert_eq!(rig.witness.seen.lock().unwrap().loads, 2);
    rig.register("b", 1).await.unwrap();
    rig.stop_and_compare().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_unknown_outcome_in_another_s_hands_is_unknown_to_its_callers() {
    let rig = Rig::start().await;
    rig.store.script(Step::Commit, [Fault::UnknownApplied]);
    rig.store.script(Step::Acquire, [Fault::Lost]);
    assert_eq!(rig.register("a", 1).await.unwrap_err(), SubmitError::OutcomeUnknown);
    rig.until("it is active", || rig.handle.standing().phase == Phase::Active).await;
    assert_eq!((rig.shown("a"), rig.stored("a")), (Some(1), Some(1)), "it was stored");
    rig.stop_and_compare().await;
}

#[tokio::test(start_paused = true)]
async fn what_another_wrote_is_read_before_anything_is_answered() {
    let rig = Rig::start().await;
    rig.register("a", 1).await.unwrap();
    // Somebody else takes the store, writes, and ends.
    let other = Rig::launch(FaultyStore::new(Arc::clone(rig.store.inner())), |_| {});
    other.until("it is active", || other.handle.standing().phase == Phase::Active).await;
    other.unregister("a").await.unwrap();
    other.register("b", 5).await.unwrap();
    other.stop_and_compare().await;
    let error = rig.register("c", 1).await;
    assert!(matches!(error, Err(SubmitError::NotActive(_))), "{error:?}");
    rig.until("it is active", || rig.handle.standing().phase == Phase::Active).await;
    assert_eq!((rig.shown("a"), rig.shown("b"), rig.shown("c")), (None, Some(5), None));
    rig.register("c", 1).await.unwrap();
    rig.stop_and_compare().await;
}

#[tokio::test(start_paused = true)]
async fn the_end_finishes_what_was_accepted() {
    let rig = Rig::start().await;
    rig.store.script(Step::Commit, [Fault::HangBefore]);
    let held = rig.begin_register("held", 1);
    rig.store.until_hanging(1).await;
    let accepted: Vec<_> =
        (0..100).map(|number| rig.begin_register(&format!("pod-{number}"), 1)).collect();
    settle().await;
    rig.handle.close();
    let late = rig.begin_register("late", 1);
    settle().await;
    rig.store.script(Step::Commit, [Fault::NotApplied, Fault::UnknownNotApplied]);
    rig.store.release_hung();
    held.await.unwrap().unwrap();
    for register in accepted {
        register.await.unwrap().unwrap();
    }
    late.await.unwrap().unwrap_err();
    assert_eq!(rig.shown("late"), None);
    rig.stop_and_compare().await;
}

#[tokio::test(start_paused = true)]
async fn the_end_writes_the_health_that_is_not_written_yet_and_gives_the_lease_back() {
    let rig = Rig::start().await;
    let id = rig.register("a", 1).await.unwrap().registration_id;
    rig.store.script(Step::WriteHealth, [Fault::HangBefore]);
    rig.observe("a", id, Status::Healthy);
    rig.store.until_hanging(1).await;
    rig.observe("a", id, Status::Unhealthy);
    settle().await;
    rig.handle.close();
    settle().await;
    rig.store.release_hung();
    let store = Arc::clone(&rig.store);
    rig.stop_and_compare().await;
    assert_eq!(store.count(Step::Release).successes, 1);
}

#[tokio::test(start_paused = true)]
async fn the_end_comes_although_the_store_is_away_or_hangs() {
    for step in [Step::Load, Step::WriteHealth, Step::Release, Step::Acquire] {
        let store = FaultyStore::new(Arc::new(MemoryStore::default()));
        store.script(step, vec![Fault::HangBefore; 10]);
        let rig = Rig::launch(store, |_| {});
        sleep(Duration::from_secs(1)).await;
        rig.handle.close();
        let ended = timeout(PATIENCE, rig.engine).await;
        ended.unwrap_or_else(|_| panic!("{step:?}")).unwrap().unwrap();
    }
    let rig = Rig::start().await;
    rig.store.set_away(true);
    let refused = rig.begin_register("a", 1);
    settle().await;
    rig.handle.close();
    assert!(refused.await.unwrap().is_err());
    timeout(PATIENCE, rig.engine).await.expect("it ends").unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_in_another_registry_s_hands_is_one_that_went_back() {
    let restorable = Restorable::new(Arc::new(MemoryStore::default()));
    let rig = Rig::launch(FaultyStore::new(Arc::clone(&restorable) as Arc<dyn Store>), |_| {});
    rig.until("it is active", || rig.handle.standing().phase == Phase::Active).await;
    rig.register("a", 1).await.unwrap();
    let old = rig.register("b", 2).await.unwrap();
    rig.observe("a", rig.register("a", 1).await.unwrap().registration_id, Status::Healthy);
    settle().await;
    let registry_id = rig.handle.snapshot().registry_id;

    restorable.replace(Arc::new(MemoryStore::default()));
    let new = rig.register("c", 3).await.unwrap();
    let snapshot = rig.handle.snapshot();
    assert_ne!(snapshot.registry_id, registry_id, "revisions do not compare with those before");
    assert!(new.revision > old.revision);
    for (name, number) in [("a", 1), ("b", 2), ("c", 3)] {
        assert_eq!((rig.shown(name), rig.stored(name)), (Some(number), Some(number)), "{name}");
    }
    assert_eq!(rig.witness.seen.lock().unwrap().losses, 0, "nobody was told of a loss");
    rig.stop_and_compare().await;
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_fails_half_way_is_done_again() {
    for fault in [Fault::NotApplied, Fault::UnknownApplied, Fault::UnknownNotApplied, Fault::Lost] {
        let restorable = Restorable::new(Arc::new(MemoryStore::default()));
        let rig = Rig::launch(FaultyStore::new(Arc::clone(&restorable) as Arc<dyn Store>), |_| {});
        rig.until("it is active", || rig.handle.standing().phase == Phase::Active).await;
        for number in 0..20 {
            rig.register(&format!("pod-{number}"), number).await.unwrap();
        }
        restorable.replace(Arc::new(MemoryStore::default()));
        rig.store.script(Step::Rewrite, [fault.clone(), fault.clone()]);
        rig.unregister("pod-3").await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        for number in 0..20 {
            let expected = (number != 3).then_some(number);
            let name = format!("pod-{number}");
            assert_eq!((rig.shown(&name), rig.stored(&name)), (expected, expected), "{fault:?}");
        }
        rig.stop_and_compare().await;
    }
}

/// In real time: the file is read by a thread of its own.
#[tokio::test]
async fn a_file_that_was_replaced_by_an_older_copy_is_written_anew() {
    let directory = TempDir::new().unwrap();
    let (now, then) = (directory.path().join("now"), directory.path().join("then"));
    std::fs::create_dir(&now).unwrap();
    std::fs::create_dir(&then).unwrap();
    let file = || Arc::new(SqliteStore::open(&now).unwrap());
    let restorable = Restorable::new(file());
    let rig = Rig::launch(FaultyStore::new(Arc::clone(&restorable) as Arc<dyn Store>), |_| {});
    rig.witness.compares.store(false, Ordering::Relaxed);
    rig.until("it is active", || rig.handle.standing().phase == Phase::Active).await;
    rig.register("old", 1).await.unwrap();
    rig.register("doomed", 1).await.unwrap();
    copy_files(&now, &then);
    rig.register("new", 2).await.unwrap();
    rig.unregister("doomed").await.unwrap();
    let last = rig.register("old", 3).await.unwrap();

    restorable.replace(Arc::new(SqliteStore::open(&then).unwrap()));
    let after = rig.register("after", 4).await.unwrap();
    assert!(after.revision > last.revision && after.registration_id > last.registration_id);
    let expected = [("after", Some(4)), ("doomed", None), ("new", Some(2)), ("old", Some(3))];
    for (name, number) in expected {
        assert_eq!(rig.shown(name), number, "{name}");
    }
    rig.handle.close();
    rig.engine.await.unwrap().unwrap();
    let loaded = SqliteStore::open(&then).unwrap().load().await.unwrap();
    let mut stored: Vec<_> =
        loaded.pods.iter().map(|pod| (pod.key.pod.as_str(), Some(number_of(pod)))).collect();
    stored.sort_unstable();
    let there = expected.into_iter().filter(|(_, number)| number.is_some());
    assert_eq!(stored, there.collect::<Vec<_>>());
}

fn copy_files(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn revisions_and_ids_of_a_later_tenure_are_above_all_before() {
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let mut last = (Revision::from_u64(0), RegistrationId::from_u64(0));
    for number in 1..5 {
        let rig = Rig::launch(FaultyStore::new(Arc::clone(&memory)), |_| {});
        rig.until("it is active", || rig.handle.standing().phase == Phase::Active).await;
        let registered = rig.register("a", number).await.unwrap();
        let next = (registered.revision, registered.registration_id);
        assert!(next.0 > last.0 && next.1 > last.1, "{next:?} after {last:?}");
        last = next;
        rig.stop_and_compare().await;
    }
}
