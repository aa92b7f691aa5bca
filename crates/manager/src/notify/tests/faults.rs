//! What is sent when subscribers fail, hang or answer slowly.

use std::time::Duration;

use governance_api::EventType;
use governance_domain::Status;

use super::world::{AT_ONCE, Reaction, World, settings};
use crate::config::Notification;
use crate::notify::courier::Fault;

fn every(seconds: u64) -> Notification {
    Notification { interval: Some(Duration::from_secs(seconds)), ..settings() }
}

fn fails(fault: Fault) -> Reaction {
    Reaction::Fail(Duration::ZERO, fault, None)
}

/// A subscriber `gw:1` to `eir`, and nothing seen yet.
async fn subscribed(settings: &Notification) -> World {
    let mut world = World::new(settings);
    world.register("gw:1", &["eir"]);
    world.settle().await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_failed_notification_is_tried_again_until_it_is_received() {
    for fault in [Fault::Refused, Fault::Overloaded, Fault::Unreachable] {
        let mut world = subscribed(&settings()).await;
        let reactions = vec![fails(fault); 12];
        world.script("gw:1", &reactions);
        world.register("eir:1", &[]);
        world.pass(Duration::from_mins(15)).await;
        let seen = world.seen_by("gw:1");
        assert_eq!(seen.len(), 13, "{fault:?}");
        assert!(seen[12].is_received());
        assert!(seen.iter().all(|seen| seen.body.event_type == EventType::Register));
        for (failures, pair) in (0..).zip(seen.windows(2)) {
            let bound = Duration::from_millis(250 << failures).min(Duration::from_mins(1));
            let bound = bound.max(Duration::from_millis(255));
            assert!(
                pair[1].at.saturating_sub(pair[0].at) <= bound,
                "{fault:?} {failures}: {pair:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_carries_the_newest_state_and_failures_can_be_read() {
    let mut world = subscribed(&settings()).await;
    world.script("gw:1", &[fails(Fault::Refused), fails(Fault::Refused)]);
    world.register("eir:1", &[]);
    world.pass_ms(1).await;
    let state = world.delivery("gw:1", "eir");
    assert_eq!((state.attempts, state.last_error.as_deref()), (1, Some("as the script says")));
    assert!(state.failing_since.is_some() && state.behind_since.is_some());
    world.unregister("eir:1");
    world.register("eir:2", &[]);
    world.pass_ms(5_000).await;
    let told = world.told("gw:1");
    assert_eq!(told[0], "eir register 1");
    assert!(told[1..].iter().all(|told| told == "eir register 2"), "{told:?}");
    assert_eq!(world.delivery("gw:1", "eir").failing_since, None);
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_the_state_is_sent_even_if_it_is_the_one_before() {
    // The failed attempt may have arrived: only sending again makes certain what is held.
    let mut world = subscribed(&settings()).await;
    world.script("gw:1", &[fails(Fault::Unreachable)]);
    world.register("eir:1", &[]);
    world.pass_ms(1).await;
    world.unregister("eir:1");
    world.pass_ms(5_000).await;
    assert_eq!(world.told("gw:1").last().unwrap(), "eir unregister ");
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured() {
    let mut world = subscribed(&settings()).await;
    let wish = Some(Duration::from_secs(20));
    world.script("gw:1", &[Reaction::Fail(Duration::ZERO, Fault::Overloaded, wish)]);
    world.register("eir:1", &[]);
    world.pass_ms(10_000).await;
    world.register("eir:2", &[]);
    world.pass_ms(9_900).await;
    assert_eq!(world.seen().len(), 1, "also for what is newer");
    world.pass_ms(1_000).await;
    assert_eq!(world.told("gw:1")[1..], ["eir register 1,2"]);
}

#[tokio::test(start_paused = true)]
async fn one_service_that_is_refused_does_not_keep_others_waiting() {
    let mut world = World::new(&settings());
    world.register("gw:1", &["a", "b"]);
    world.settle().await;
    let wish = Some(Duration::from_mins(1));
    world.script("gw:1", &[Reaction::Fail(Duration::ZERO, Fault::Refused, wish)]);
    world.register("a:1", &[]);
    world.pass_ms(1).await;
    world.register("b:1", &[]);
    world.pass_ms(10).await;
    assert_eq!(world.told("gw:1"), ["a register 1", "b register 1"]);
}

#[tokio::test(start_paused = true)]
async fn an_unhealthy_subscriber_is_told_only_at_the_pace_of_the_reconciliation() {
    let mut world = subscribed(&every(60)).await;
    world.observe("gw:1", Status::Unhealthy);
    world.habit("gw:1", fails(Fault::Unreachable));
    for n in 0..600 {
        world.register(&format!("eir:{n}"), &[]);
        world.pass_ms(1_000).await;
    }
    let seen = world.seen();
    assert!((9..=11).contains(&seen.len()), "{}", seen.len());
    // It recovers: told at once.
    world.habit("gw:1", AT_ONCE);
    world.forget();
    world.observe("gw:1", Status::Healthy);
    world.pass_ms(10).await;
    assert_eq!(world.seen().len(), 1);
    assert_eq!(world.seen()[0].body.pods.len(), 600);
}

#[tokio::test(start_paused = true)]
async fn an_unhealthy_subscriber_that_answers_still_gets_every_repetition() {
    let mut world = subscribed(&every(60)).await;
    world.observe("gw:1", Status::Unhealthy);
    world.pass_ms(1).await;
    world.register("eir:1", &[]);
    world.pass(Duration::from_mins(5)).await;
    let told = world.told("gw:1");
    assert!((4..=6).contains(&told.len()) && told[0] == "eir register 1", "{told:?}");
    assert!(told[1..].iter().all(|told| told == "eir reconcile 1"));
}

#[tokio::test(start_paused = true)]
async fn a_registration_ends_all_pauses() {
    let mut world = subscribed(&settings()).await;
    let wish = Some(Duration::from_mins(4));
    world.script("gw:1", &[Reaction::Fail(Duration::ZERO, Fault::Overloaded, wish)]);
    world.register("eir:1", &[]);
    world.pass_ms(10).await;
    world.observe("gw:1", Status::Unhealthy);
    world.pass_ms(10).await;
    world.register("gw:1", &["eir"]);
    world.pass_ms(1_500).await;
    assert_eq!(world.told("gw:1")[1..], ["eir reconcile 1"]);
}

#[tokio::test(start_paused = true)]
async fn subscribers_that_hang_delay_nobody() {
    // More hang than places for deliveries that just began, and for those that take long.
    let mut world = World::new(&settings());
    for n in 0..1_400 {
        world.register(&format!("hang:{n:04}"), &["eir"]);
    }
    for n in 0..100 {
        world.register(&format!("well:{n:04}"), &["eir"]);
    }
    world.settle().await;
    world.pass_ms(10_000).await;
    for n in 0..1_400 {
        world.habit(&format!("hang:{n:04}"), Reaction::Hang);
    }
    for round in 0..5 {
        world.forget();
        let begun = world.now();
        world.register(&format!("eir:{round}"), &[]);
        world.pass_ms(20_000).await;
        let seen = world.seen();
        let well = seen.iter().filter(|seen| seen.to.starts_with("well"));
        let waits = well
            .filter(|seen| seen.body.pods.len() == round + 1)
            .map(|seen| seen.at.saturating_sub(begun));
        let waits: Vec<Duration> = waits.collect();
        assert_eq!(waits.len(), 100, "round {round}");
        let longest = waits.iter().max().unwrap();
        // The first time nobody knows who hangs; from then on they have a share of their own.
        let bound = Duration::from_millis(if round == 0 { 1_500 } else { 50 });
        assert!(*longest < bound, "round {round}: {longest:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_subscriber_gets_few_and_current_bodies_in_order() {
    let mut world = subscribed(&settings()).await;
    world.habit("gw:1", Reaction::Receive(Duration::from_millis(4_900)));
    for n in 0..6_000 {
        let status = if n % 2 == 0 { Status::Healthy } else { Status::Unhealthy };
        if n % 100 == 0 {
            world.register(&format!("eir:{n}"), &[]);
        } else {
            world.observe("eir:0", status);
        }
        world.pass_ms(10).await;
    }
    world.pass_ms(20_000).await;
    let seen = world.seen_by("gw:1");
    assert!((12..=15).contains(&seen.len()), "{}", seen.len());
    for pair in seen.windows(2) {
        assert!(pair[0].body.revision < pair[1].body.revision);
        assert!(pair[0].end.unwrap().0 <= pair[1].at);
    }
    assert_eq!(seen.last().unwrap().body.pods.len(), 60);
}
