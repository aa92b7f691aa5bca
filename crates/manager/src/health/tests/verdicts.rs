//! What results mean for the status, and what is remembered of them.

use std::time::Duration;

use governance_domain::Status;
use governance_store::AuditAction;
use tokio::time::sleep;

use super::world::{Way, World, assert_near, key, settings};
use crate::config;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_healthy_pod_that_refuses_is_unhealthy_seven_seconds_after_its_check_began() {
    let world = World::new(settings()).await;
    world.register("a").await;
    world.until_status("a", Status::Healthy).await;
    world.sets("a", Way::Refuse);
    world.forget_asked();
    world.until_status("a", Status::Unhealthy).await;
    let asked = world.asked("a");
    assert_eq!(asked.len(), 4);
    assert_near(world.now() - asked[0], SECOND * 7);
    for (attempt, seconds) in [(1, 1), (2, 3), (3, 7)] {
        assert_near(asked[attempt] - asked[0], SECOND * seconds);
    }
}

#[tokio::test(start_paused = true)]
async fn without_retries_a_pod_that_refuses_is_unhealthy_at_once() {
    let world = World::new(config::Health { retry: 0, ..settings() }).await;
    world.sets("a", Way::Refuse);
    world.register("a").await;
    assert_near(world.until_status("a", Status::Unhealthy).await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_recovers_between_two_attempts_stays_healthy_and_nobody_hears_of_it() {
    let world = World::new(settings()).await;
    world.register("a").await;
    world.until_status("a", Status::Healthy).await;
    let revision = world.engine.snapshot().revision();
    world.sets("a", Way::Refuse);
    world.forget_asked();
    world.until("asked twice", || world.asked("a").len() == 2).await;
    world.sets("a", Way::Pass);
    sleep(SECOND * 60).await;
    assert_eq!(world.status("a"), Some(Status::Healthy));
    assert_eq!(world.engine.snapshot().revision(), revision);
}

#[tokio::test(start_paused = true)]
async fn an_unhealthy_pod_is_asked_once_an_interval_and_one_success_makes_it_healthy() {
    let world = World::new(settings()).await;
    world.register("a").await;
    world.until_status("a", Status::Healthy).await;
    world.sets("a", Way::Refuse);
    world.until_status("a", Status::Unhealthy).await;
    world.forget_asked();
    sleep(SECOND * 150).await;
    let asked = world.asked("a");
    assert_eq!(asked.len(), 5);
    assert_near(asked[1] - asked[0], SECOND * 30);
    world.sets("a", Way::Pass);
    world.until_status("a", Status::Healthy).await;
    assert_near(world.now(), world.asked("a")[5]);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_hangs_is_unhealthy_after_four_timeouts_and_the_pauses_between() {
    let world = World::new(settings()).await;
    world.register("a").await;
    world.until_status("a", Status::Healthy).await;
    world.sets("a", Way::Hang);
    world.forget_asked();
    world.until_status("a", Status::Unhealthy).await;
    assert_near(world.now() - world.asked("a")[0], SECOND * 27);
}

#[tokio::test(start_paused = true)]
async fn the_history_tells_what_happened_in_an_operators_words() {
    let world = World::new(config::Health { retry: 0, ..settings() }).await;
    world.register("a").await;
    world.until_status("a", Status::Healthy).await;
    world.sets("a", Way::Refuse);
    world.until_status("a", Status::Unhealthy).await;
    sleep(SECOND * 40).await;
    let history = world.health.history(&key("a")).unwrap();
    let told: Vec<_> =
        history.changes.iter().map(|change| (change.to, change.reason.as_str())).collect();
    let expected = [(Status::Healthy, "HTTP 200"), (Status::Unhealthy, "connection refused")];
    assert_eq!(told, expected);
    assert_eq!(history.changes[1].from, Status::Healthy);
    assert_eq!(history.last_failure.as_ref().unwrap().reason, "connection refused");
    assert_eq!(history.consecutive_failures, 2);
    let pod = world.engine.snapshot().registry.pod_by(&key("a")).cloned().unwrap();
    assert_eq!(history.last_failure.unwrap().at, pod.last_health_check.unwrap());
    assert!(history.next_attempt.unwrap() > pod.last_health_check.unwrap());
    world
        .until("in the audit", || {
            world.store.audit().iter().any(|entry| {
                entry.action == AuditAction::HealthStatusChange
                    && entry.details == "connection refused"
                    && entry.new_status == Some(Status::Unhealthy)
            })
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_history_is_short_and_survives_a_new_registration() {
    let world = World::new(config::Health { retry: 0, ..settings() }).await;
    world.register("a").await;
    world.until_status("a", Status::Healthy).await;
    for _ in 0..10 {
        world.sets("a", Way::Refuse);
        world.until_status("a", Status::Unhealthy).await;
        world.sets("a", Way::Pass);
        world.until_status("a", Status::Healthy).await;
    }
    world.register_at("a", &format!("{}?2", super::world::url("a"))).await;
    world.until_status("a", Status::Healthy).await;
    let history = world.health.history(&key("a")).unwrap();
    assert_eq!(history.changes.len(), 8);
    assert_eq!(history.changes[6].reason, "registered again");
    assert_eq!(
        (history.changes[7].from, history.changes[7].to),
        (Status::Unknown, Status::Healthy)
    );
}
