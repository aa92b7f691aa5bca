//! One fault at one step: what the caller is told, what is shown, what is stored.

use governance_store::AuditAction;
use governance_testkit::faulty_store::Fault;
use governance_testkit::faulty_store::Step;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_commit_that_was_not_applied_is_tried_again_until_it_is() {
    let rig = Rig::start().await;
    rig.store.script(Step::Commit, [Fault::NotApplied, Fault::NotApplied]);
    let registered = rig.register("a", 1).await.unwrap();
    assert!(registered.is_changed);
    assert_eq!(rig.store.count(Step::Commit).calls, 3);
    assert_eq!((rig.shown("a"), rig.stored("a")), (Some(1), Some(1)));
    assert!(rig.takes_writes());
    rig.stop_and_compare().await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_of_unknown_outcome_is_found_out_and_answered() {
    for fault in [Fault::UnknownApplied, Fault::UnknownAppliedLater, Fault::UnknownNotApplied] {
        let rig = Rig::start().await;
        let first = rig.register("a", 1).await.unwrap();
        rig.store.script(Step::Commit, [fault.clone()]);
        let second = rig.register("a", 2).await.unwrap();
        assert!(second.revision > first.revision, "{fault:?}");
        assert!(second.registration_id > first.registration_id, "{fault:?}");
        assert_eq!((rig.shown("a"), rig.stored("a")), (Some(2), Some(2)), "{fault:?}");
        let applied_once = if fault == Fault::UnknownNotApplied { 3 } else { 2 };
        assert_eq!(rig.store.count(Step::Commit).calls, applied_once, "{fault:?}");
        rig.stop_and_compare().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_removal_of_unknown_outcome_is_found_out_and_answered() {
    for fault in [Fault::UnknownApplied, Fault::UnknownAppliedLater, Fault::UnknownNotApplied] {
        let rig = Rig::start().await;
        rig.register("a", 1).await.unwrap();
        rig.store.script(Step::Commit, [fault.clone()]);
        rig.unregister("a").await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!((rig.shown("a"), rig.stored("a")), (None, None), "{fault:?}");
        rig.stop_and_compare().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_hangs_is_given_up_and_found_out() {
    for fault in [Fault::HangBefore, Fault::HangAfter] {
        let rig = Rig::start().await;
        rig.store.script(Step::Commit, [fault.clone()]);
        let begun = Instant::now();
        rig.register("a", 1).await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert!(begun.elapsed() < REQUEST_TIMEOUT, "{fault:?}");
        assert_eq!((rig.shown("a"), rig.stored("a")), (Some(1), Some(1)), "{fault:?}");
        rig.stop_and_compare().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_whose_time_runs_out_while_nobody_knows_is_told_so() {
    for fault in [Fault::UnknownApplied, Fault::UnknownNotApplied] {
        let rig = Rig::start().await;
        rig.store.script(Step::Commit, [fault.clone()]);
        rig.store.script(Step::Acquire, vec![Fault::NotApplied; 100]);
        assert_eq!(rig.register("a", 1).await.unwrap_err(), SubmitError::OutcomeUnknown);
        assert!(!rig.takes_writes(), "{fault:?}");
        rig.until("the store was asked", || rig.takes_writes()).await;
        let expected = if fault == Fault::UnknownApplied { Some(1) } else { None };
        assert_eq!((rig.shown("a"), rig.stored("a")), (expected, expected), "{fault:?}");
        rig.stop_and_compare().await;
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_writes_are_refused_and_reads_go_on() {
    let rig = Rig::start().await;
    let first = rig.register("a", 1).await.unwrap();
    rig.store.set_away(true);
    let refused = rig.register("a", 2).await.unwrap_err();
    assert!(matches!(refused, SubmitError::StoreUnavailable { .. }), "{refused}");
    let refused = rig.unregister("a").await.unwrap_err();
    assert!(matches!(refused, SubmitError::StoreUnavailable { .. }), "{refused}");
    assert_eq!(rig.shown("a"), Some(1));

    let same = rig.register("a", 1).await.unwrap();
    assert_eq!((same.is_changed, same.registration_id), (false, first.registration_id));
    rig.observe("a", first.registration_id, Status::Healthy);
    settle().await;
    let pod = rig.handle.snapshot().registry.pod_by(&key("a")).cloned().unwrap();
    assert_eq!(pod.status, Status::Healthy, "what checks find is shown meanwhile");

    rig.store.set_away(false);
    rig.register("b", 1).await.unwrap();
    assert_eq!(rig.shown("a"), Some(1), "what was refused does not come later");
    rig.stop_and_compare().await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_shorter_than_a_request_s_time_costs_nothing() {
    let rig = Rig::start().await;
    rig.store.set_away(true);
    let waiting: Vec<_> =
        (0..50).map(|number| rig.begin_register(&format!("pod-{number}"), 1)).collect();
    sleep(Duration::from_secs(5)).await;
    rig.store.set_away(false);
    for register in waiting {
        register.await.unwrap().unwrap();
    }
    rig.stop_and_compare().await;
}

#[tokio::test(start_paused = true)]
async fn only_the_command_whose_data_is_refused_fails() {
    for names_culprit in [true, false] {
        let rig = Rig::start().await;
        rig.store.refuse(key("pod-17"), names_culprit);
        // One commit is under way, so that the others come to stand in one batch.
        rig.store.script(Step::Commit, [Fault::HangBefore]);
        let first = rig.begin_register("first", 1);
        rig.store.until_hanging(1).await;
        let batch: Vec<_> =
            (0..40).map(|number| rig.begin_register(&format!("pod-{number}"), 1)).collect();
        settle().await;
        rig.store.release_hung();
        first.await.unwrap().unwrap();
        for (number, register) in batch.into_iter().enumerate() {
            match register.await.unwrap() {
                Err(SubmitError::Refused) => assert_eq!(number, 17, "{names_culprit}"),
                Err(error) => panic!("{number}: {error}"),
                Ok(_) => assert_ne!(number, 17, "{names_culprit}"),
            }
        }
        assert_eq!((rig.shown("pod-17"), rig.stored("pod-17")), (None, None));
        rig.stop_and_compare().await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_commands_of_one_pod_that_is_refused_both_fail() {
    let rig = Rig::start().await;
    rig.store.refuse(key("bad"), true);
    rig.store.script(Step::Commit, [Fault::HangBefore]);
    let first = rig.begin_register("first", 1);
    rig.store.until_hanging(1).await;
    let bad = [rig.begin_register("bad", 1), rig.begin_register("bad", 2)];
    let good = rig.begin_register("good", 1);
    settle().await;
    rig.store.release_hung();
    first.await.unwrap().unwrap();
    for register in bad {
        assert_eq!(register.await.unwrap().unwrap_err(), SubmitError::Refused);
    }
    good.await.unwrap().unwrap();
    rig.stop_and_compare().await;
}

#[tokio::test(start_paused = true)]
async fn a_culprit_that_is_not_in_the_batch_does_not_stop_the_engine() {
    let rig = Rig::start().await;
    rig.store.script(Step::Commit, [Fault::Refused(Some(key("somebody-else")))]);
    assert_eq!(rig.register("a", 1).await.unwrap_err(), SubmitError::Refused);
    rig.register("b", 1).await.unwrap();
    rig.stop_and_compare().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_right_to_write_is_taken_again_and_costs_nothing() {
    let rig = Rig::start().await;
    let epoch = rig.handle.standing().epoch;
    rig.store.script(Step::Commit, [Fault::Lost]);
    let registered = rig.register("a", 1).await.unwrap();
    assert!(rig.handle.standing().epoch > epoch);
    assert_eq!(registered.revision.epoch(), u64::from(rig.handle.standing().epoch));
    rig.stop_and_compare().await;
}

#[tokio::test(start_paused = true)]
async fn health_that_could_not_be_written_is_written_later() {
    for fault in [
        Fault::NotApplied,
        Fault::UnknownApplied,
        Fault::UnknownNotApplied,
        Fault::Lost,
        Fault::HangBefore,
        Fault::HangAfter,
    ] {
        let rig = Rig::start().await;
        let id = rig.register("a", 1).await.unwrap().registration_id;
        let written_before = rig.store.count(Step::WriteHealth).successes;
        rig.store.script(Step::WriteHealth, [fault.clone(), fault.clone()]);
        rig.observe("a", id, Status::Unhealthy);
        rig.until("it is shown", || {
            let snapshot = rig.handle.snapshot();
            snapshot.registry.pod_by(&key("a")).is_some_and(|pod| pod.status == Status::Unhealthy)
        })
        .await;
        rig.register("b", 1).await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        rig.until("it is written", || {
            let written = rig.store.count(Step::WriteHealth).successes > written_before;
            written && stored_pods(rig.store.inner())[&key("a")].status == Status::Unhealthy
        })
        .await;
        rig.stop_and_compare().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_of_an_earlier_registration_changes_nothing() {
    let rig = Rig::start().await;
    let old = rig.register("a", 1).await.unwrap();
    let new = rig.register("a", 2).await.unwrap();
    rig.observe("a", old.registration_id, Status::Unhealthy);
    rig.observe("nobody", old.registration_id, Status::Unhealthy);
    settle().await;
    let snapshot = rig.handle.snapshot();
    assert_eq!(snapshot.registry.pod_by(&key("a")).unwrap().status, Status::Unknown);
    assert_eq!(snapshot.revision(), new.revision);
    rig.stop_and_compare().await;
}

#[tokio::test(start_paused = true)]
async fn health_found_while_the_pod_registers_anew_does_not_reach_the_new_registration() {
    let rig = Rig::start().await;
    let old = rig.register("a", 1).await.unwrap();
    rig.store.script(Step::Commit, [Fault::HangAfter]);
    let renewal = rig.begin_register("a", 2);
    rig.store.until_hanging(1).await;
    rig.observe("a", old.registration_id, Status::Healthy);
    rig.until("it is shown", || {
        let snapshot = rig.handle.snapshot();
        snapshot.registry.pod_by(&key("a")).is_some_and(|pod| pod.status == Status::Healthy)
    })
    .await;
    assert_eq!(rig.shown("a"), Some(1), "the new registration is not published yet");
    rig.store.release_hung();
    let new = renewal.await.unwrap().unwrap();
    let pod = new.snapshot.registry.pod_by(&key("a")).cloned().unwrap();
    assert_eq!((pod.status, number_of(&pod)), (Status::Unknown, 2));
    rig.stop_and_compare().await;
}

#[tokio::test(start_paused = true)]
async fn each_change_has_its_entry_in_the_audit_once() {
    let memory = Arc::new(MemoryStore::default());
    let rig = Rig::launch(FaultyStore::new(Arc::clone(&memory) as Arc<dyn Store>), |_| {});
    rig.until("it is active", || rig.handle.standing().phase == Phase::Active).await;
    rig.store.script(
        Step::Commit,
        [Fault::UnknownNotApplied, Fault::UnknownApplied, Fault::NotApplied, Fault::Lost],
    );
    rig.register("a", 1).await.unwrap();
    rig.register("a", 1).await.unwrap();
    rig.register("a", 2).await.unwrap();
    rig.unregister("a").await.unwrap();
    rig.stop_and_compare().await;
    let actions: Vec<AuditAction> = memory.audit().iter().map(|entry| entry.action).collect();
    let count = |action| actions.iter().filter(|found| **found == action).count();
    assert_eq!(count(AuditAction::Register), 2, "{actions:?}");
    assert_eq!(count(AuditAction::Unregister), 1, "{actions:?}");
    assert_eq!(count(AuditAction::Takeover), 1, "{actions:?}");
}

#[tokio::test(start_paused = true)]
async fn the_audit_is_pruned_and_digested_although_there_is_always_health_to_write() {
    let rig = Rig::start().await;
    let id = rig.register("a", 1).await.unwrap().registration_id;
    rig.store.script(Step::WriteHealth, vec![Fault::NotApplied; 10_000]);
    rig.observe("a", id, Status::Unhealthy);
    rig.until("it was tried", || rig.store.count(Step::WriteHealth).faults > 0).await;
    let counts = |step| rig.store.count(step).successes;
    let before = [counts(Step::PruneAudit), counts(Step::DigestAudit)];
    rig.until("both were done twice", || {
        counts(Step::PruneAudit) > before[0] + 1 && counts(Step::DigestAudit) > before[1] + 1
    })
    .await;
    assert_eq!(rig.store.count(Step::WriteHealth).successes, 0);
}

#[tokio::test(start_paused = true)]
async fn an_audit_that_cannot_be_digested_is_no_fault_of_the_store() {
    for fault in [Fault::NotApplied, Fault::UnknownApplied, Fault::HangBefore] {
        let rig = Rig::start().await;
        rig.store.script(Step::DigestAudit, [fault.clone()]);
        rig.until("it was tried", || rig.store.count(Step::DigestAudit).calls == 1).await;
        rig.register("a", 1).await.unwrap();
        assert!(rig.takes_writes(), "{fault:?}");
        rig.until("it is tried again", || rig.store.count(Step::DigestAudit).successes == 1).await;
        assert!(rig.takes_writes(), "{fault:?}");
        rig.stop_and_compare().await;
    }
}

#[tokio::test(start_paused = true)]
async fn digesting_the_audit_does_not_tell_that_the_store_takes_writes() {
    let rig = Rig::start().await;
    rig.store.script(Step::WriteHealth, vec![Fault::NotApplied; 1_000]);
    rig.store.script(Step::PruneAudit, vec![Fault::NotApplied; 1_000]);
    rig.store.script(Step::Commit, vec![Fault::NotApplied; 1_000]);
    assert!(rig.register("a", 1).await.is_err());
    assert!(!rig.takes_writes());
    let digested = rig.store.count(Step::DigestAudit).successes;
    rig.until("it is digested", || rig.store.count(Step::DigestAudit).successes > digested + 1)
        .await;
    assert!(!rig.takes_writes());
}
