//! Which trace a notification belongs to when it tells of many changes, or of one for long.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

use super::world::{Reaction, World, content, filtered, provider, settings};
use crate::clock::SystemClock;
use crate::config;
use crate::notify::courier::Fault;
use crate::telemetry::traces::{TraceContext, Traces};

/// Records everything; nobody sends it.
fn traces() -> Traces {
    let config = config::Traces {
        url: "http://127.0.0.1:9/v1/traces".to_owned(),
        headers: Vec::new(),
        ca_file: None,
        sampler: config::Sampler::AlwaysOn,
        ratio: config::Ratio { millionths: 0 },
        service_name: "manager".to_owned(),
        attributes: Vec::new(),
    };
    Traces::start(Some(&config), "here", std::sync::Arc::new(SystemClock)).unwrap().0
}

/// A change of its own trace.
fn traced() -> TraceContext {
    let place = traces().beginning(Instant::now()).begin("change").context();
    assert!(place.is_recorded());
    place
}

/// The trace's id.
fn id(place: &TraceContext) -> String {
    let mut headers = HeaderMap::new();
    place.write(&mut headers);
    headers["traceparent"].to_str().unwrap()[3..35].to_owned()
}

/// The ids of the traces that a subscriber's notifications belonged to.
fn ids(world: &World, name: &str) -> Vec<Option<String>> {
    let seen = world.seen_by(name);
    seen.into_iter().map(|seen| Some(seen.traceparent?[3..35].to_owned())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_notification_belongs_to_the_newest_traced_change_that_its_receiver_sees() {
    let mut world = World::new(&settings());
    world.register("gw:1", &["eir"]);
    let wish = filtered("eir", &["a"], false);
    world.register_with("gw:2", content("gw:2", &[], &[wish]));
    world.settle().await;
    let pod = |id: &str, port| content("eir:1", &[provider(port, Some(id))], &[]);
    // All in one look.
    let [first, second] = [traced(), traced()];
    world.trace = first.clone();
    world.register_with("eir:1", pod("a", 1));
    world.trace = second.clone();
    world.register_with("eir:2", pod("b", 2));
    world.trace = TraceContext::default();
    world.register_with("eir:3", pod("c", 3));
    world.pass_ms(100).await;
    assert_eq!(ids(&world, "gw:1"), [Some(id(&second))]);
    assert_eq!(ids(&world, "gw:2"), [Some(id(&first))], "the others it does not see");
    world.forget();
    world.register_with("eir:4", pod("a", 4));
    world.pass_ms(100).await;
    assert_eq!(ids(&world, "gw:1"), [None]);
    assert_eq!(ids(&world, "gw:2"), [None]);
}

#[tokio::test(start_paused = true)]
async fn what_fails_keeps_its_trace_for_some_attempts_and_then_none() {
    let mut world = World::new(&settings());
    world.register("gw:1", &["eir"]);
    world.settle().await;
    world.habit("gw:1", Reaction::Fail(Duration::ZERO, Fault::Refused, None));
    let place = traced();
    world.trace = place.clone();
    world.register("eir:1", &[]);
    world.trace = TraceContext::default();
    world.pass(Duration::from_mins(15)).await;
    let ids_of = ids(&world, "gw:1");
    assert!(ids_of.len() > 10, "{ids_of:?}");
    let (kept, rest) = ids_of.split_at(8);
    assert!(kept.iter().all(|found| *found == Some(id(&place))), "{ids_of:?}");
    assert!(rest.iter().all(Option::is_none), "{ids_of:?}");
    // A change that is traced is so also when it meets a subscriber that failed before.
    world.forget();
    let later = traced();
    world.trace = later.clone();
    world.unregister("eir:1");
    world.pass(Duration::from_mins(2)).await;
    assert_eq!(ids(&world, "gw:1").first(), Some(&Some(id(&later))));
    assert_eq!(ids(&world, "gw:1").get(1), Some(&None));
}

#[tokio::test(start_paused = true)]
async fn what_was_on_its_way_while_something_newer_came_keeps_its_trace_if_the_newer_has_none() {
    let mut world = World::new(&settings());
    world.register("gw:1", &["eir"]);
    world.settle().await;
    world.script("gw:1", &[Reaction::Hang]);
    let place = traced();
    world.trace = place.clone();
    world.register("eir:1", &[]);
    world.pass_ms(100).await;
    world.trace = TraceContext::default();
    world.register("eir:2", &[]);
    world.pass(Duration::from_secs(10)).await;
    let told = Some(id(&place));
    assert_eq!(ids(&world, "gw:1"), [told.clone(), told], "the second tells of both");
}
