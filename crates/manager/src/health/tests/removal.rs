//! Who is removed, and what holds it back.

use std::time::Duration;

use governance_domain::Status;
use governance_store::AuditAction;
use tokio::time::sleep;

use super::world::{Way, World, assert_near, settings};
use crate::config;

const SECOND: Duration = Duration::from_secs(1);

fn limit(failure_limit: u32) -> config::Health {
    config::Health { interval: SECOND * 10, retry: 0, failure_limit, ..settings() }
}

async fn fleet(world: &World, size: usize) -> Vec<String> {
    let pods: Vec<String> = (0..size).map(|number| format!("pod-{number}")).collect();
    for pod in &pods {
        world.register(pod).await;
    }
    // Long enough that all were healthy two intervals ago.
    sleep(SECOND * 45).await;
    assert!(pods.iter().all(|pod| world.status(pod) == Some(Status::Healthy)));
    pods
}

fn count(world: &World, pods: &[String], status: Option<Status>) -> usize {
    pods.iter().filter(|pod| world.status(pod) == status).count()
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_removed_after_so_many_failed_checks_in_a_row() {
    let world = World::new(limit(4)).await;
    let pods = fleet(&world, 10).await;
    world.sets(&pods[0], Way::Refuse);
    world.forget_asked();
    world.until("removed", || world.status(&pods[0]).is_none()).await;
    let asked = world.asked(&pods[0]);
    assert_eq!(asked.len(), 4);
    assert_near(world.now(), asked[3]);
    let audit = world.store.audit();
    assert!(audit.iter().any(|entry| entry.action == AuditAction::AutoCleanup));
    sleep(SECOND * 60).await;
    assert_eq!(world.asked(&pods[0]).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_success_in_between_begins_the_count_anew() {
    let world = World::new(limit(3)).await;
    let pods = fleet(&world, 10).await;
    world.sets(&pods[0], Way::Refuse);
    world.forget_asked();
    world.until("two failures", || world.asked(&pods[0]).len() == 2).await;
    world.sets(&pods[0], Way::Pass);
    world.until_status(&pods[0], Status::Healthy).await;
    world.sets(&pods[0], Way::Refuse);
    world.forget_asked();
    world.until("removed", || world.status(&pods[0]).is_none()).await;
    assert_eq!(world.asked(&pods[0]).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn with_a_limit_of_zero_nobody_is_removed() {
    let world = World::new(limit(0)).await;
    world.sets("a", Way::Refuse);
    world.register("a").await;
    sleep(SECOND * 20_000).await;
    assert_eq!(world.status("a"), Some(Status::Unhealthy));
}

#[tokio::test(start_paused = true)]
async fn when_more_than_half_the_fleet_is_cut_off_statuses_follow_and_nobody_is_removed() {
    let world = World::new(limit(3)).await;
    let pods = fleet(&world, 10).await;
    for pod in &pods[..6] {
        world.sets(pod, Way::Refuse);
    }
    sleep(SECOND * 600).await;
    assert_eq!(count(&world, &pods, Some(Status::Unhealthy)), 6);
    assert!(world.health.figures().is_removal_held);

    // Four come back: the two corpses that are left are few, and go.
    for pod in &pods[..4] {
        world.sets(pod, Way::Pass);
    }
    sleep(SECOND * 30).await;
    assert_eq!(count(&world, &pods, Some(Status::Healthy)), 8);
    assert_eq!(count(&world, &pods, None), 2);
    assert!(!world.health.figures().is_removal_held);
}

#[tokio::test(start_paused = true)]
async fn half_of_the_fleet_is_not_more_than_half_and_two_pods_are_not_three() {
    let world = World::new(limit(3)).await;
    let pods = fleet(&world, 6).await;
    for pod in &pods[..3] {
        world.sets(pod, Way::Refuse);
    }
    sleep(SECOND * 60).await;
    assert_eq!(count(&world, &pods, None), 3);

    let world = World::new(limit(3)).await;
    let pods = fleet(&world, 2).await;
    for pod in &pods {
        world.sets(pod, Way::Refuse);
    }
    sleep(SECOND * 60).await;
    assert_eq!(count(&world, &pods, None), 2);
}

#[tokio::test(start_paused = true)]
async fn pods_that_die_one_after_the_other_are_removed_until_few_are_left() {
    let world = World::new(limit(2)).await;
    let pods = fleet(&world, 10).await;
    for pod in &pods {
        world.sets(pod, Way::Refuse);
        sleep(SECOND * 60).await;
        assert_eq!(world.status(pod), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_starts_cut_off_from_its_fleet_removes_nobody() {
    let world = World::new(limit(3)).await;
    let pods = fleet(&world, 10).await;
    sleep(SECOND).await;
    let store = std::sync::Arc::clone(&world.store);
    drop(world);
    let places = crate::health::limits::Places::new(100);
    let world = World::on(store, limit(3), places).await;
    for pod in &pods {
        world.sets(pod, Way::Refuse);
    }
    sleep(SECOND * 600).await;
    assert_eq!(count(&world, &pods, Some(Status::Unhealthy)), 10);
}
