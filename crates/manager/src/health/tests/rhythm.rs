//! When pods are checked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use governance_domain::{Status, StreakRules};
use tokio::time::sleep;

use super::world::{Way, World, assert_near, key, settings};
use crate::config;
use crate::health::entry::Entry;
use crate::health::limits::{Places, Rhythm};
use crate::health::schedule::Schedule;
use crate::health::tick::Tick;

const SECOND: Duration = Duration::from_secs(1);

fn gaps(asked: &[Duration]) -> Vec<Duration> {
    asked.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[track_caller]
fn assert_even(gaps: &[Duration], expected: Duration) {
    for gap in gaps {
        assert_near(*gap, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_pod_is_checked_at_once_and_then_at_its_phase_every_interval() {
    let world = World::new(settings()).await;
    sleep(SECOND).await;
    let registered = world.now();
    world.register("a").await;
    assert_near(world.until_status("a", Status::Healthy).await, Duration::ZERO);
    sleep(SECOND * 200).await;
    let asked = world.asked("a");
    assert_near(asked[0], registered);
    let gaps = gaps(&asked);
    assert!(gaps[0] <= SECOND * 30, "the first turn comes within an interval: {gaps:?}");
    assert!(gaps.len() >= 6);
    assert_even(&gaps[1..], SECOND * 30);
}

#[tokio::test(start_paused = true)]
async fn checks_do_not_drift_however_long_answers_take() {
    let world = World::new(settings()).await;
    world.sets("a", Way::Slow(SECOND * 4));
    world.register("a").await;
    sleep(SECOND * 3_000).await;
    let asked = world.asked("a");
    assert_near(asked[99] - asked[1], SECOND * 30 * 98);
}

#[tokio::test(start_paused = true)]
async fn a_changed_registration_is_checked_at_once_and_unknown_until_then() {
    let world = World::new(settings()).await;
    let first = world.register("a").await;
    world.until_status("a", Status::Healthy).await;
    sleep(SECOND * 2).await;
    world.forget_asked();
    let url = format!("{}?2", super::world::url("a"));
    world.pods_do(&url, Way::Slow(SECOND));
    let changed = world.now();
    assert_ne!(world.register_at("a", &url).await, first);
    assert_eq!(world.status("a"), Some(Status::Unknown));
    assert_near(world.until_status("a", Status::Healthy).await, SECOND);
    assert_near(world.asked("a")[0], changed);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_registers_anew_all_the_time_is_checked_four_times_at_once_then_once_a_second() {
    let world = World::new(settings()).await;
    let name = |number: u32| format!("{}?{number}", super::world::url("a"));
    world.register_at("a", &name(0)).await;
    world.until_status("a", Status::Healthy).await;
    sleep(SECOND * 40).await;
    world.forget_asked();
    let begun = world.now();
    for number in 1..=100 {
        world.register_at("a", &name(number)).await;
        sleep(SECOND / 20).await;
    }
    let asked: Vec<Duration> = world.asked("a").iter().map(|at| *at - begun).collect();
    assert_eq!(asked.len(), 8, "{asked:?}");
    for (at, expected) in asked.iter().zip([0, 50, 100, 150, 1_150, 2_150, 3_150, 4_150]) {
        assert_near(*at, Duration::from_millis(expected));
    }
    assert_eq!(world.status("a"), Some(Status::Unknown));
    world.until_status("a", Status::Healthy).await;
    assert_eq!(world.asked("a").len(), 9, "the newest is checked");
}

#[tokio::test(start_paused = true)]
async fn other_wishes_of_the_same_registration_ask_for_no_check() {
    let world = World::new(settings()).await;
    let first = world.register("a").await;
    world.until_status("a", Status::Healthy).await;
    let count = world.asked("a").len();
    assert_eq!(world.amend("a").await, first);
    sleep(SECOND / 2).await;
    assert_eq!(world.asked("a").len(), count);
    assert_eq!(world.status("a"), Some(Status::Healthy));
}

#[tokio::test(start_paused = true)]
async fn a_pod_never_healthy_is_checked_every_five_seconds_in_its_first_minute() {
    let world = World::new(config::Health { retry: 0, ..settings() }).await;
    world.sets("a", Way::Refuse);
    let registered = world.now();
    world.register("a").await;
    sleep(SECOND * 200).await;
    let asked: Vec<Duration> = world.asked("a").iter().map(|at| *at - registered).collect();
    for (number, at) in (0_u32..=12).zip(&asked) {
        assert_near(*at, SECOND * 5 * number);
    }
    let later = gaps(&asked[13..]);
    assert!(asked[13] - asked[12] <= SECOND * 30 && !later.is_empty());
    assert_even(&later, SECOND * 30);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_was_healthy_once_waits_for_its_turn_also_in_its_first_minute() {
    let world = World::new(config::Health { retry: 0, ..settings() }).await;
    world.register("a").await;
    world.until_status("a", Status::Healthy).await;
    world.sets("a", Way::Refuse);
    world.until_status("a", Status::Unhealthy).await;
    world.forget_asked();
    let unhealthy = world.now();
    sleep(SECOND * 29).await;
    assert!(world.asked("a").is_empty(), "since {unhealthy:?}");
}

#[tokio::test(start_paused = true)]
async fn an_interval_below_five_seconds_holds_in_the_first_minute_too() {
    let interval = SECOND * 2;
    let world = World::new(config::Health { interval, retry: 0, ..settings() }).await;
    world.sets("a", Way::Refuse);
    world.register("a").await;
    sleep(SECOND * 60).await;
    assert_even(&gaps(&world.asked("a"))[1..], interval);
}

#[tokio::test(start_paused = true)]
async fn a_round_longer_than_the_interval_is_followed_by_the_next_phase() {
    let world = World::new(config::Health { interval: SECOND * 4, ..settings() }).await;
    world.register("a").await;
    world.until_status("a", Status::Healthy).await;
    sleep(SECOND * 10).await;
    let phase = *world.asked("a").last().unwrap();
    world.forget_asked();
    // A round: 5 s, 1 s, 5 s, 2 s, 5 s, 4 s, 5 s.
    world.sets("a", Way::Hang);
    world.until_status("a", Status::Unhealthy).await;
    sleep(SECOND * 30).await;
    let asked = world.asked("a");
    assert_near(asked[3] - asked[0], SECOND * 22);
    for at in &asked[4..] {
        let turns = (*at - phase).as_secs_f64() / 4.0;
        assert!((turns - turns.round()).abs() < 0.02, "{turns} turns");
    }
    assert_near(asked[4] - asked[0], SECOND * 28);
    assert_near(asked[5] - asked[4], SECOND * 8);
    assert!(world.health.figures().skipped >= 7, "{:?}", world.health.figures());
}

#[tokio::test(start_paused = true)]
async fn a_registration_while_an_attempt_hangs_stops_it_and_is_checked_at_once() {
    let world = World::new(settings()).await;
    world.sets("a", Way::Hang);
    world.register("a").await;
    sleep(SECOND).await;
    let again = world.now();
    world.register_at("a", &format!("{}?2", super::world::url("a"))).await;
    // The pods themselves fail the test when two attempts overlap.
    assert_near(world.until_status("a", Status::Healthy).await, Duration::ZERO);
    assert_near(world.asked("a")[1], again);
}

#[tokio::test(start_paused = true)]
async fn a_removed_pod_is_never_asked_again_and_its_attempt_is_dropped() {
    let world = World::new(settings()).await;
    for (pod, way) in [("resting", Way::Pass), ("hanging", Way::Hang), ("pausing", Way::Refuse)] {
        world.sets(pod, way);
        world.register(pod).await;
    }
    sleep(SECOND / 2).await;
    for pod in ["resting", "hanging", "pausing"] {
        world.unregister(pod).await;
    }
    world.until("forgotten", || world.health.figures().pods == 0).await;
    world.until("nothing in flight", || world.health.figures().in_flight == 0).await;
    world.forget_asked();
    sleep(SECOND * 120).await;
    for pod in ["resting", "hanging", "pausing"] {
        assert!(world.asked(pod).is_empty());
        assert_eq!(world.health.history(&key(pod)), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_says_it_lives_is_checked_at_once_but_only_once_a_second() {
    let world = World::new(config::Health { retry: 0, ..settings() }).await;
    world.register("a").await;
    world.until_status("a", Status::Healthy).await;
    world.sets("a", Way::Refuse);
    world.until_status("a", Status::Unhealthy).await;
    sleep(SECOND * 5).await;
    world.forget_asked();
    let begun = world.now();
    for _ in 0..500 {
        world.sooner.check_soon(&key("a"));
        sleep(SECOND / 100).await;
    }
    let asked = world.asked("a");
    assert_near(asked[0], begun);
    assert!((5..=7).contains(&asked.len()), "{asked:?}");
    world.sooner.check_soon(&key("nobody"));
}

#[tokio::test(start_paused = true)]
async fn a_wish_during_a_check_that_fails_is_kept_until_its_end() {
    let world = World::new(config::Health { retry: 0, ..settings() }).await;
    world.register("a").await;
    world.until_status("a", Status::Healthy).await;
    world.sets("a", Way::Hang);
    world.until("asked", || world.asked("a").len() == 2).await;
    world.sets("a", Way::Pass);
    world.sooner.check_soon(&key("a"));
    let changes = || world.health.history(&key("a")).unwrap().changes;
    world.until("well again", || changes().len() == 3).await;
    assert_eq!(changes()[1].to, Status::Unhealthy);
    let between = changes()[2].at.as_micros() - changes()[1].at.as_micros();
    assert!(between < 20_000, "{between} microseconds");
}

#[tokio::test(start_paused = true)]
async fn after_a_start_statuses_are_as_stored_and_the_first_checks_are_spread_over_the_interval() {
    let world = World::new(settings()).await;
    world.sets("sick", Way::Refuse);
    for pod in (0..600).map(|number| format!("pod-{number}")).chain(["sick".to_owned()]) {
        world.register(&pod).await;
    }
    world.until_status("sick", Status::Unhealthy).await;
    sleep(SECOND * 3).await;
    let store = Arc::clone(&world.store);
    let revision = |world: &World| world.engine.snapshot().revision();
    drop(world);

    let world = World::on(store, settings(), Places::new(1_000)).await;
    world.sets("sick", Way::Refuse);
    assert_eq!(world.status("sick"), Some(Status::Unhealthy));
    assert_eq!(world.status("pod-599"), Some(Status::Healthy));
    let first = revision(&world);
    let begun = world.now();
    sleep(SECOND * 30 + SECOND / 20).await;
    assert_eq!(revision(&world), first, "no change is announced that did not happen");
    let mut per_second: BTreeMap<u64, usize> = BTreeMap::new();
    for pod in (0..600).map(|number| format!("pod-{number}")) {
        let asked = world.asked(&pod);
        assert!(asked.len() == 1 || asked[1] - begun >= SECOND * 30, "{pod}: {asked:?}");
        assert!(asked[0] - begun <= SECOND * 30 + SECOND / 20, "{pod}: {asked:?}");
        *per_second.entry((asked[0] - begun).as_secs()).or_default() += 1;
    }
    // 20 a second on average.
    let most = per_second.values().max().unwrap();
    assert!(per_second.len() >= 29 && *most <= 40, "{per_second:?}");
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_lost_its_office_asks_nobody() {
    let world = World::new(settings()).await;
    world.sets("hanging", Way::Hang);
    world.register("a").await;
    world.register("hanging").await;
    world.until_status("a", Status::Healthy).await;
    world.observer.lost();
    world.until("forgotten", || world.health.figures().pods == 0).await;
    world.forget_asked();
    sleep(SECOND * 120).await;
    assert!(world.asked("a").is_empty() && world.asked("hanging").is_empty());
    world.observer.loaded(&world.engine.snapshot());
    sleep(SECOND * 31).await;
    assert_eq!(world.asked("a").len(), 1, "it checks again after a take-over");
}

#[tokio::test(start_paused = true)]
async fn pods_that_hang_delay_nobody_else() {
    // Of the 16 places 12 may be taken by pods whose last attempt failed.
    let world = World::on(Arc::default(), settings(), Places::new(16)).await;
    for number in 0..5 {
        world.register(&format!("well-{number}")).await;
    }
    for number in 0..100 {
        let pod = format!("hanging-{number}");
        world.sets(&pod, Way::Hang);
        world.register(&pod).await;
    }
    // Once all of them are known to hang, only their own checks are late.
    world
        .until("all unhealthy", || {
            (0..100).all(|n| world.status(&format!("hanging-{n}")) == Some(Status::Unhealthy))
        })
        .await;
    world.forget_asked();
    sleep(SECOND * 300).await;
    for number in 0..5 {
        let asked = world.asked(&format!("well-{number}"));
        assert!(asked.len() >= 9, "{asked:?}");
        assert_even(&gaps(&asked), SECOND * 30);
    }
    let counts: Vec<usize> =
        (0..100).map(|number| world.asked(&format!("hanging-{number}")).len()).collect();
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(*least >= 6 && most - least <= 2, "what is too much is stretched evenly: {counts:?}");
    assert!(world.health.figures().lag_max >= SECOND, "and shows");
}

#[test]
fn a_hundred_thousand_pods_take_less_than_200_bytes_each() {
    // A change of status, the place in the queue (with the slack of a B-tree), and the index.
    let change = size_of::<super::super::entry::Change>();
    let place = size_of::<(Tick, u32)>() * 3 / 2;
    let bytes = size_of::<Option<Entry>>() + change + place + 8;
    assert!(bytes <= 210, "{bytes}");
}

#[test]
fn phases_of_many_pods_are_even() {
    let rules = StreakRules { retry: 3, failure_limit: 0 };
    let mut schedule = Schedule::new(Rhythm::new(&settings()), rules, Places::new(100_000));
    let pods: Vec<_> =
        (0..30_000).map(|number| super::world::pod(&format!("pod-{number}"))).collect();
    schedule.load(pods.iter(), Tick::default());
    let mut due = Vec::new();
    for second in 1..=30 {
        let now = Tick::default().after(SECOND * second);
        let mut count = 0;
        while schedule.take_due(now).is_some() {
            count += 1;
        }
        due.push(count);
    }
    assert_eq!(due.iter().sum::<usize>(), 30_000);
    assert!(due.iter().all(|count| (850..=1_150).contains(count)), "{due:?}");
    assert_eq!(schedule.next_wake(), None, "who is being asked waits for nothing");
}
