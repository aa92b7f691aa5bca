//! Random histories: whatever happens, in the end every subscriber holds what the registry says.
//!
//! The checker knows nothing of the code under test: it replays what the peer received as a
//! receiver in the field does, and compares that with what the contract says of the registry.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use governance_api::Notification;
use governance_domain::{Pod, ProviderFilter, Status, Subscription};

use super::world::{AT_ONCE, Reaction, World, content, filtered, key, provider, settings, wish};
use crate::config;
use crate::notify::courier::Fault;

const SERVICES: [&str; 4] = ["a", "b", "c", "d"];
const PODS: usize = 6;
const STEPS: usize = 1_500;

fn reaction(random: &mut Rng) -> Reaction {
    let pause = Duration::from_millis(random.u64(0..3_000));
    match random.u8(0..8) {
        0 => Reaction::Hang,
        1 => Reaction::Fail(pause, Fault::Unreachable, None),
        2 => Reaction::Fail(pause, Fault::Refused, None),
        3 => Reaction::Fail(pause, Fault::Overloaded, Some(Duration::from_secs(random.u64(0..40)))),
        4 | 5 => Reaction::Receive(pause),
        _ => AT_ONCE,
    }
}

fn wishes(random: &mut Rng) -> Vec<Subscription> {
    let mut wishes = Vec::new();
    for service in SERVICES {
        match random.u8(0..6) {
            0 => wishes.push(wish(service)),
            1 => wishes.push(filtered(service, &["x"], false)),
            2 => wishes.push(filtered(service, &[], true)),
            _ => {}
        }
    }
    wishes
}

/// One random thing that happens.
fn step(world: &mut World, random: &mut Rng) {
    let service = SERVICES[random.usize(0..SERVICES.len())];
    let name = format!("{service}:{}", random.usize(0..PODS));
    let is_there = world.registry.pod_by(&key(&name)).is_some();
    match random.u8(0..100) {
        0..30 => {
            let ids = [Some("x"), Some("y"), None];
            let count = random.usize(1..3);
            let providers: Vec<_> =
                (0..count).map(|_| provider(random.i64(1..4), ids[random.usize(0..3)])).collect();
            let host = format!("host-{}", random.u8(0..3));
            world.register_with(&name, content(&host, &providers, &wishes(random)));
        }
        30..40 if is_there => world.unregister(&name),
        40..75 if is_there => {
            let status = [Status::Healthy, Status::Unhealthy][random.usize(0..2)];
            world.observe(&name, status);
        }
        75..80 if is_there => {
            let pod = world.registry.pod_by(&key(&name)).unwrap();
            let providers = pod.content.providers.clone();
            let health_check_url = pod.content.health_check_url.clone();
            let mut amended = content("moved", &providers, &wishes(random));
            amended.health_check_url = health_check_url;
            world.amend(&name, amended);
        }
        80..98 => world.habit(&name, reaction(random)),
        98 => {
            world.lose();
            world.load();
        }
        _ => world.load(),
    }
}

/// What the contract says that a subscription shows.
fn expected(world: &World, wish: &Subscription) -> Vec<(String, String, Vec<i64>)> {
    let service = world.registry.service(wish.service.as_str());
    let shown = |pod: &Pod| -> Option<(String, String, Vec<i64>)> {
        if wish.healthy_only && pod.status == Status::Unhealthy {
            return None;
        }
        let wanted = |id: Option<&str>| match &wish.filter {
            ProviderFilter::All => true,
            ProviderFilter::Only(ids) => id.is_some_and(|id| ids.contains(id)),
        };
        let providers = pod.content.providers.iter();
        let ports: Vec<i64> =
            providers.filter(|p| wanted(p.id.as_deref())).map(|p| p.port).collect();
        let is_shown = !ports.is_empty();
        is_shown.then(|| (pod.key.pod.to_string(), pod.status.to_string(), ports))
    };
    service.iter().flat_map(|service| service.pods.iter()).filter_map(|pod| shown(pod)).collect()
}

fn held(body: &Notification) -> Vec<(String, String, Vec<i64>)> {
    let pods = body.pods.iter();
    pods.map(|pod| {
        let status = serde_json::to_value(pod.status).unwrap().as_str().unwrap().to_owned();
        let ports = pod.providers.iter().map(|provider| provider.port).collect();
        (pod.pod_name.clone(), status, ports)
    })
    .collect()
}

/// No revision goes back, and never two at once.
fn check_order(world: &World, seed: u64) {
    let mut last: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut busy: BTreeMap<String, Duration> = BTreeMap::new();
    for seen in world.seen() {
        let of = (seen.to.clone(), seen.body.service_name.clone());
        let before = last.insert(of, seen.body.revision).unwrap_or(0);
        assert!(before <= seen.body.revision, "seed {seed}: went back: {seen:?}");
        // What was broken off ended when its successor began, at the latest.
        let until = seen.end.map_or(seen.at, |(end, _)| end);
        let before = busy.insert(seen.to.clone(), until).unwrap_or_default();
        assert!(before <= seen.at, "seed {seed}: two at once: {seen:?}");
    }
}

fn check_holdings(world: &World, seed: u64) {
    let mut holdings: BTreeMap<(String, String), Notification> = BTreeMap::new();
    for seen in world.seen() {
        if seen.is_received() {
            holdings.insert((seen.to, seen.body.service_name.clone()), seen.body);
        }
    }
    for pod in world.registry.pods() {
        for wish in &pod.content.subscriptions {
            let of = (pod.key.to_string(), wish.service.to_string());
            let body = holdings.get(&of).unwrap_or_else(|| panic!("seed {seed}: {of:?} not told"));
            assert_eq!(held(body), expected(world, wish), "seed {seed}: {of:?}");
            let state = world.delivery(&of.0, &of.1);
            assert_eq!((state.behind_since, state.failing_since), (None, None), "seed {seed}");
        }
    }
}

/// Nobody is told of what it never asked for, nor after it left.
fn check_wishes(world: &World, asked: &BTreeMap<String, Vec<(Duration, Vec<String>)>>, seed: u64) {
    for seen in world.seen() {
        let history = asked.get(&seen.to).map_or(&[][..], Vec::as_slice);
        let current = history.iter().rev().find(|(since, _)| *since <= seen.at);
        let is_asked =
            current.is_some_and(|(_, services)| services.contains(&seen.body.service_name));
        assert!(is_asked, "seed {seed}: not asked for: {seen:?}");
    }
}

async fn history(seed: u64) {
    // Every other history has no repetition that would heal what was missed.
    let is_repeated = seed % 2 == 1;
    let interval = is_repeated.then_some(Duration::from_mins(1));
    let settings = config::Notification { interval, ..settings() };
    let mut world = World::new(&settings);
    let mut random = Rng::with_seed(seed);
    let mut asked: BTreeMap<String, Vec<(Duration, Vec<String>)>> = BTreeMap::new();
    for _ in 0..STEPS {
        step(&mut world, &mut random);
        let now = world.now();
        for service in SERVICES {
            for pod in 0..PODS {
                let name = format!("{service}:{pod}");
                let pod = world.registry.pod_by(&key(&name));
                let wishes = pod.map_or(&[][..], |pod| &pod.content.subscriptions);
                let wishes: Vec<_> = wishes.iter().map(|wish| wish.service.to_string()).collect();
                let history = asked.entry(name).or_default();
                if history.last().is_none_or(|(_, last)| *last != wishes) {
                    history.push((now, wishes));
                }
            }
        }
        if random.u8(0..3) > 0 {
            world.pass_ms(random.u64(1..700)).await;
        }
    }
    for service in SERVICES {
        for pod in 0..PODS {
            let name = format!("{service}:{pod}");
            world.habit(&name, AT_ONCE);
            if world.registry.pod_by(&key(&name)).is_some() && (!is_repeated || random.bool()) {
                world.observe(&name, Status::Healthy);
            }
        }
    }
    // The longest pause before a retry, and a turn of the reconciliation for the unhealthy.
    world.pass(Duration::from_secs(125)).await;
    check_order(&world, seed);
    check_wishes(&world, &asked, seed);
    check_holdings(&world, seed);
}

#[tokio::test(start_paused = true)]
async fn whatever_happened_every_subscriber_comes_to_hold_what_the_registry_says() {
    for seed in 0..6 {
        history(seed).await;
    }
}

#[tokio::test(start_paused = true)]
#[ignore = "takes minutes; the same with many more histories"]
async fn the_same_with_many_more_histories() {
    for seed in 1_000..1_200 {
        history(seed).await;
    }
}
