//! The way into the engine: full, withdrawn, abandoned, overtaken.

use governance_domain::Evict;
use governance_testkit::faulty_store::{Fault, Step};

use super::*;

/// A commit that hangs, with a command in it.
async fn hang(rig: &Rig) -> JoinHandle<Result<Registered, SubmitError>> {
    rig.store.script(Step::Commit, [Fault::HangBefore]);
    let held = rig.begin_register("held", 1);
    rig.store.until_hanging(1).await;
    held
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_makes_callers_wait_and_then_says_busy() {
    let rig = Rig::start_with(|settings| settings.event_queue_size = 2).await;
    let held = hang(&rig).await;
    let begin = |name: &str, time: u64| {
        let (handle, command) =
            (rig.handle.clone(), Register { key: key(name), content: content(1, 0) });
        let deadline = Instant::now() + Duration::from_millis(time);
        tokio::spawn(async move { handle.register(command, Origin::default(), deadline).await })
    };
    let fitting = [begin("a", 4_900), begin("b", 4_900)];
    settle().await;
    assert_eq!(rig.handle.queue_depth(), 2);
    let too_many = [begin("c", 100), begin("d", 200)];
    let patient = begin("e", 4_900);
    for register in too_many {
        assert_eq!(register.await.unwrap().unwrap_err(), SubmitError::Busy);
    }
    rig.store.release_hung();
    held.await.unwrap().unwrap();
    for register in fitting {
        register.await.unwrap().unwrap();
    }
    patient.await.unwrap().unwrap();
    for name in ["c", "d"] {
        assert_eq!((rig.shown(name), rig.stored(name)), (None, None), "{name} was refused");
    }
    rig.stop_and_compare().await;
}

#[tokio::test(start_paused = true)]
async fn a_command_whose_time_ran_out_in_the_queue_is_never_applied() {
    let rig = Rig::start().await;
    let held = hang(&rig).await;
    let command = Register { key: key("late"), content: content(1, 0) };
    let deadline = Instant::now() + Duration::from_secs(1);
    let error = rig.handle.register(command, Origin::default(), deadline).await.unwrap_err();
    assert_eq!(error, SubmitError::Busy);
    rig.store.release_hung();
    held.await.unwrap().unwrap();
    rig.register("after", 1).await.unwrap();
    assert_eq!((rig.shown("late"), rig.stored("late")), (None, None));
    rig.stop_and_compare().await;
}

#[tokio::test(start_paused = true)]
async fn a_command_whose_caller_went_away_is_not_applied_after_its_time() {
    let rig = Rig::start().await;
    rig.register("a", 1).await.unwrap();
    rig.store.script(Step::Commit, [Fault::UnknownNotApplied]);
    rig.store.script(Step::Acquire, vec![Fault::NotApplied; 40]);
    let stalled = rig.begin_register("stalled", 1);
    rig.until("the store is missed", || !rig.takes_writes()).await;
    let gone = rig.begin_unregister("a");
    settle().await;
    gone.abort();
    assert_eq!(stalled.await.unwrap().unwrap_err(), SubmitError::OutcomeUnknown);
    rig.until("the store is back", || rig.takes_writes()).await;
    rig.register("after", 1).await.unwrap();
    assert_eq!((rig.shown("a"), rig.stored("a")), (Some(1), Some(1)));
    rig.stop_and_compare().await;
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_registration_does_not_overtake_a_removal_that_waits() {
    let rig = Rig::start().await;
    let old = rig.register("a", 1).await.unwrap();
    rig.store.set_away(true);
    let removal = rig.begin_unregister("a");
    rig.until("the store is missed", || !rig.takes_writes()).await;
    let again = rig.begin_register("a", 1);
    sleep(Duration::from_secs(2)).await;
    assert!(!again.is_finished(), "it would be acknowledged and then removed");
    rig.store.set_away(false);
    removal.await.unwrap().unwrap();
    let new = again.await.unwrap().unwrap();
    assert!(new.is_changed && new.registration_id > old.registration_id);
    assert_eq!((rig.shown("a"), rig.stored("a")), (Some(1), Some(1)));
    rig.stop_and_compare().await;
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_registration_does_not_overtake_a_change_of_unknown_outcome() {
    let rig = Rig::start().await;
    rig.register("a", 1).await.unwrap();
    rig.store.script(Step::Commit, [Fault::UnknownApplied]);
    rig.store.script(Step::Acquire, vec![Fault::NotApplied; 30]);
    assert_eq!(rig.register("a", 2).await.unwrap_err(), SubmitError::OutcomeUnknown);
    assert_eq!(rig.shown("a"), Some(1), "nobody knows yet");
    let back = rig.register("a", 1).await.unwrap();
    assert!(back.is_changed, "the change was stored, so this is one, too");
    assert_eq!((rig.shown("a"), rig.stored("a")), (Some(1), Some(1)));
    rig.stop_and_compare().await;
}

#[tokio::test(start_paused = true)]
async fn commands_of_one_caller_are_applied_in_their_order() {
    let rig = Rig::start().await;
    let held = hang(&rig).await;
    let mut waiting = Vec::new();
    for number in 1..=100 {
        waiting.push(rig.begin_register("a", number));
        settle().await;
    }
    let removal = rig.begin_unregister("a");
    settle().await;
    let last = rig.begin_register("a", 7);
    settle().await;
    rig.store.script(Step::Commit, [Fault::NotApplied, Fault::UnknownNotApplied]);
    rig.store.release_hung();
    held.await.unwrap().unwrap();
    let mut revisions = Vec::new();
    for register in waiting {
        revisions.push(register.await.unwrap().unwrap().revision);
    }
    revisions.push(removal.await.unwrap().unwrap().revision);
    revisions.push(last.await.unwrap().unwrap().revision);
    assert!(revisions.is_sorted_by(|earlier, later| earlier < later), "{revisions:?}");
    assert_eq!((rig.shown("a"), rig.stored("a")), (Some(7), Some(7)));
    rig.stop_and_compare().await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_recovered_is_not_evicted() {
    let rig = Rig::start().await;
    let id = rig.register("a", 1).await.unwrap().registration_id;
    let evict = Evict { key: key("a"), registration_id: id };
    rig.observe("a", id, Status::Healthy);
    settle().await;
    assert!(rig.handle.evict(evict.clone(), TraceContext::default()));
    rig.register("b", 1).await.unwrap();
    assert_eq!(rig.shown("a"), Some(1));
    rig.observe("a", id, Status::Unhealthy);
    settle().await;
    assert!(rig.handle.evict(evict, TraceContext::default()));
    rig.until("it is removed", || rig.shown("a").is_none()).await;
    assert_eq!(rig.stored("a"), None);
    rig.stop_and_compare().await;
}

#[tokio::test(start_paused = true)]
async fn thousands_of_callers_share_few_commits() {
    let rig = Rig::start().await;
    let held = hang(&rig).await;
    let waiting: Vec<_> =
        (0..900).map(|number| rig.begin_register(&format!("pod-{number}"), 1)).collect();
    settle().await;
    let before = rig.store.count(Step::Commit).calls;
    rig.store.release_hung();
    held.await.unwrap().unwrap();
    for register in waiting {
        register.await.unwrap().unwrap();
    }
    let commits = rig.store.count(Step::Commit).calls - before;
    assert!(commits < 10, "{commits} commits for 900 commands");
    rig.stop_and_compare().await;
}
