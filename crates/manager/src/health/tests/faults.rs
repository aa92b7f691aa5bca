//! Faults of this machine, which are no verdict about any pod.

use std::sync::Arc;
use std::time::Duration;

use governance_domain::Status;
use tokio::time::sleep;

use super::world::{Way, World, key, settings};
use crate::config;
use crate::health::limits::Places;

const SECOND: Duration = Duration::from_secs(1);

fn count_of(world: &World, kind: &str) -> u64 {
    let figures = world.health.figures();
    figures.own_faults.iter().find(|(name, _)| *name == kind).map_or(0, |(_, count)| *count)
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_ours_changes_no_status_but_is_counted_shown_and_late() {
    let world = World::new(config::Health { retry: 0, ..settings() }).await;
    world.register("well").await;
    world.until_status("well", Status::Healthy).await;
    world.sets("sick", Way::Refuse);
    world.register("sick").await;
    world.until_status("sick", Status::Unhealthy).await;
    world.sets("well", Way::Ours);
    world.sets("sick", Way::Ours);
    world.sets("new", Way::Ours);
    world.register("new").await;
    sleep(SECOND * 300).await;
    assert_eq!(world.status("well"), Some(Status::Healthy));
    assert_eq!(world.status("sick"), Some(Status::Unhealthy));
    assert_eq!(world.status("new"), Some(Status::Unknown));
    assert!(count_of(&world, "descriptors") > 10);
    assert!(world.health.figures().lag_max >= SECOND * 100, "{:?}", world.health.figures());
    let history = world.health.history(&key("new")).unwrap();
    assert_eq!(history.last_failure.unwrap().reason, "no descriptor");

    // It is over: the checks that were due are made soon, not an interval later.
    for pod in ["well", "sick", "new"] {
        world.sets(pod, Way::Pass);
    }
    for pod in ["sick", "new"] {
        assert!(world.until_status(pod, Status::Healthy).await <= SECOND * 32);
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_that_could_not_be_made_are_no_attempts_of_the_round() {
    let world = World::new(config::Health { retry: 1, ..settings() }).await;
    world.register("a").await;
    world.until_status("a", Status::Healthy).await;
    world.sets("a", Way::Refuse);
    world.forget_asked();
    world.until("one failed attempt", || world.asked("a").len() == 1).await;
    world.sets("a", Way::Ours);
    sleep(SECOND * 100).await;
    assert_eq!(world.status("a"), Some(Status::Healthy));
    world.sets("a", Way::Pass);
    sleep(SECOND * 31).await;
    assert_eq!(world.status("a"), Some(Status::Healthy));
}

#[tokio::test(start_paused = true)]
async fn a_defect_in_one_attempt_harms_no_other_check() {
    let world = World::new(settings()).await;
    world.sets("broken", Way::Panic);
    world.register("broken").await;
    world.register("well").await;
    world.until_status("well", Status::Healthy).await;
    world.until("counted", || count_of(&world, "defect") >= 2).await;
    assert_eq!(world.status("broken"), Some(Status::Unknown));
    world.sets("broken", Way::Pass);
    world.until_status("broken", Status::Healthy).await;
}

#[tokio::test(start_paused = true)]
async fn more_checks_than_places_are_all_made_a_little_later() {
    let world = World::on(Arc::default(), settings(), Places::new(2)).await;
    for number in 0..20 {
        let pod = format!("pod-{number}");
        world.sets(&pod, Way::Slow(SECOND * 4));
        world.register(&pod).await;
    }
    // Each takes a place for 4 s, and there are two: a turn of all takes 40 s, not 30.
    sleep(SECOND * 400).await;
    world.forget_asked();
    sleep(SECOND * 400).await;
    for number in 0..20 {
        let asked = world.asked(&format!("pod-{number}"));
        assert!((8..=11).contains(&asked.len()), "pod-{number}: {asked:?}");
        assert_eq!(world.status(&format!("pod-{number}")), Some(Status::Healthy));
    }
    assert!(world.health.figures().lag_p99 >= SECOND);
}
