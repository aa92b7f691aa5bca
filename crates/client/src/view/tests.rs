//! The view: what changes it and what does not, lookups, differences, the file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fastrand::Rng;
use governance_api::{EventType, Notification, PodSummary, Provider, Status};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};

use super::feed::{Fed, Feed};
use super::{Change, PODS_MAX, View, keep};
use crate::deadline;

type Pods = Vec<PodSummary>;

fn feed() -> Arc<Feed> {
    let subscribed = ["eir", "diam-gw"].map(str::to_owned);
    Arc::new(Feed::new(BTreeSet::from(subscribed)))
}

/// A registration that was answered with these pods of `eir`.
fn registered(feed: &Feed, registry_id: &str, revision: u64, pods: Pods) -> Fed {
    let services = BTreeMap::from([("eir".to_owned(), pods), ("diam-gw".to_owned(), Vec::new())]);
    feed.registered(registry_id, revision, services)
}

fn notified(feed: &Feed, registry_id: &str, revision: u64, pods: Pods) -> Fed {
    feed.notified(Notification {
        service_name: "eir".to_owned(),
        event_type: EventType::Update,
        timestamp: String::new(),
        revision,
        registry_id: registry_id.to_owned(),
        pods,
    })
}

fn pod(name: &str, status: Status) -> PodSummary {
    let providers = vec![
        Provider::new("http", "192.0.2.1", 8080),
        Provider::new("diameter", "192.0.2.1", 3868).with_id("eir-d"),
    ];
    PodSummary { pod_name: name.to_owned(), status, providers }
}

fn names(view: &View) -> Vec<String> {
    view.pods("eir").iter().map(|pod| format!("{} {:?}", pod.name(), pod.status())).collect()
}

fn picked(view: &View) -> Option<String> {
    view.pick("eir").map(|pick| pick.pod().name().to_owned())
}

use Status::{Healthy, Unhealthy, Unknown};

#[test]
fn a_late_older_body_changes_nothing() {
    let feed = feed();
    let view = View::new(Arc::clone(&feed));
    assert_eq!(registered(&feed, "a", 10, vec![pod("1", Healthy)]), Fed::Applied);
    let before = feed.snapshot_owned();
    for (registry_id, revision, fed) in [
        ("a", 9, Fed::Older),
        ("a", 10, Fed::Older),
        ("b", 9, Fed::Foreign),
        ("b", u64::MAX, Fed::Foreign),
    ] {
        assert_eq!(notified(&feed, registry_id, revision, vec![pod("2", Healthy)]), fed);
        assert!(Arc::ptr_eq(&before, &feed.snapshot_owned()), "{registry_id} {revision}");
    }
    assert_eq!(notified(&feed, "a", 11, vec![pod("2", Unknown)]), Fed::Applied);
    assert_eq!(names(&view), ["2 Unknown"]);
    // An answer that was on its way when that came.
    assert_eq!(registered(&feed, "a", 10, vec![pod("1", Healthy)]), Fed::Applied);
    assert_eq!((names(&view), view.revision("eir")), (vec!["2 Unknown".to_owned()], Some(11)));
}

#[test]
fn before_the_first_answer_no_notification_counts() {
    let feed = feed();
    assert_eq!(notified(&feed, "a", 10, vec![pod("1", Healthy)]), Fed::Foreign);
    assert_eq!(View::new(feed).revision("eir"), None);
}

#[test]
fn an_answer_of_another_registry_replaces_everything() {
    let feed = feed();
    let view = View::new(Arc::clone(&feed));
    registered(&feed, "a", 1_000, vec![pod("1", Healthy)]);
    registered(&feed, "b", 3, vec![pod("2", Unknown)]);
    assert_eq!((names(&view), view.revision("eir")), (vec!["2 Unknown".to_owned()], Some(3)));
    assert_eq!(notified(&feed, "a", 1_001, vec![pod("1", Healthy)]), Fed::Foreign);
    assert_eq!(notified(&feed, "b", 4, Vec::new()), Fed::Applied);
    assert!(view.pods("eir").is_empty());
}

#[test]
fn services_that_nobody_asked_for_are_not_taken() {
    let feed = feed();
    registered(&feed, "a", 1, Vec::new());
    feed.subscribe(BTreeSet::from(["diam-gw".to_owned()]));
    assert_eq!(notified(&feed, "a", 2, vec![pod("1", Healthy)]), Fed::NotSubscribed);
}

#[test]
fn the_view_is_bounded_and_keeps_what_it_has() {
    let feed = feed();
    let view = View::new(Arc::clone(&feed));
    registered(&feed, "a", 1, vec![pod("1", Healthy)]);
    let many = |index| PodSummary { providers: Vec::new(), ..pod(&format!("{index}"), Healthy) };
    let pods = (0..=PODS_MAX).map(many).collect();
    assert_eq!(notified(&feed, "a", 2, pods), Fed::TooLarge);
    assert_eq!((names(&view), view.revision("eir")), (vec!["1 Healthy".to_owned()], Some(1)));
}

#[test]
fn a_healthy_pod_is_picked_else_an_unknown_one_else_any() {
    let feed = feed();
    let view = View::new(Arc::clone(&feed));
    assert!(view.pick("eir").is_none() && view.pick("nobody").is_none());
    for (revision, pods, expected, healthy) in [
        (1, vec![pod("1", Unhealthy), pod("2", Unknown), pod("3", Healthy)], "3", true),
        (2, vec![pod("1", Unhealthy), pod("2", Unknown)], "2", false),
        (3, vec![pod("1", Unhealthy)], "1", false),
    ] {
        registered(&feed, "a", revision, pods);
        assert!((0..5).all(|_| picked(&view).as_deref() == Some(expected)), "{revision}");
        assert_eq!(view.pick_healthy("eir").is_some(), healthy, "{revision}");
    }
}

#[test]
fn picks_take_turns_also_across_revisions() {
    let feed = feed();
    let view = View::new(Arc::clone(&feed));
    let pods: Pods = ["1", "2", "3"].map(|name| pod(name, Healthy)).into();
    let mut counts = BTreeMap::new();
    for revision in 1..=300 {
        registered(&feed, "a", revision, pods.clone());
        *counts.entry(picked(&view).unwrap()).or_insert(0) += 1;
        // Another kind of lookup has a turn of its own.
        drop(view.select("eir").protocol("http").pick());
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [100, 100, 100]);
}

#[test]
fn the_fewest_outstanding_are_picked_and_a_pick_counts_as_long_as_it_lives() {
    let feed = feed();
    let view = View::new(Arc::clone(&feed));
    registered(&feed, "a", 1, vec![pod("1", Healthy), pod("2", Healthy)]);
    let least = || view.select("eir").least_outstanding().pick().unwrap();
    let held: Vec<_> = (0..6).map(|_| least()).collect();
    let outstanding = || view.pods("eir").iter().map(|pod| pod.outstanding()).collect::<Vec<_>>();
    assert_eq!(outstanding(), [3, 3]);
    let (first, second): (Vec<_>, Vec<_>) =
        held.into_iter().partition(|pick| pick.pod().name() == "1");
    drop(first);
    // The count stays with the pod when it is described anew.
    notified(&feed, "a", 2, vec![pod("1", Healthy), pod("2", Unknown)]);
    notified(&feed, "a", 3, vec![pod("1", Healthy), pod("2", Healthy)]);
    assert_eq!(outstanding(), [0, 3]);
    let more: Vec<_> = (0..3).map(|_| least()).collect();
    assert!(more.iter().all(|pick| pick.pod().name() == "1"));
    drop((second, more));
    assert_eq!(outstanding(), [0, 0]);
}

#[test]
fn endpoints_are_found_by_protocol_and_provider_id() {
    let feed = feed();
    let view = View::new(Arc::clone(&feed));
    let other = Provider::new("diameter", "2001:db8::1", 3869).with_id("other");
    let second = PodSummary { providers: vec![other], ..pod("2", Healthy) };
    registered(&feed, "a", 1, vec![pod("1", Healthy), second]);
    let address = |select: super::Select<'_>| select.pick().map(|pick| pick.address());
    let eir = || view.select("eir");
    assert_eq!(address(eir().protocol("http")).as_deref(), Some("192.0.2.1:8080"));
    assert_eq!(address(eir().provider_id("other")).as_deref(), Some("[2001:db8::1]:3869"));
    assert_eq!(address(eir().provider_id("eir-d")).as_deref(), Some("192.0.2.1:3868"));
    assert_eq!(address(eir().protocol("sctp")), None);
    assert_eq!(address(eir().provider_id("nobody")), None);
    assert_eq!(address(eir().provider_id("eir-d").protocol("http")), None);
    assert!(address(eir().provider_id("eir-d").protocol("diameter").only_healthy()).is_some());
    let ports: BTreeSet<u16> =
        (0..4).map(|_| eir().protocol("diameter").pick().unwrap().port()).collect();
    assert_eq!(ports, BTreeSet::from([3868, 3869]));
}

#[test]
fn a_port_that_cannot_be_is_shown_and_never_picked() {
    let feed = feed();
    let view = View::new(Arc::clone(&feed));
    let odd = |port| Provider { port, ..Provider::new("http", "192.0.2.1", 1) };
    let providers = vec![odd(0), odd(-1), odd(65_536)];
    registered(&feed, "a", 1, vec![PodSummary { providers, ..pod("1", Healthy) }]);
    assert_eq!(view.pods("eir").len(), 1);
    assert!(view.pick("eir").is_none() && view.select("eir").protocol("http").pick().is_none());
}

/// A registry and the way from it, which loses, doubles, delays and swaps; now and then another
/// registry takes its place.
#[test]
fn the_view_converges_whatever_is_lost_doubled_or_late() {
    for seed in 0..300 {
        let mut random = Rng::with_seed(seed);
        let feed = feed();
        let view = View::new(Arc::clone(&feed));
        let (mut registry, mut revision, mut pods) = (0_u32, 1_u64, Pods::new());
        let mut under_way: Vec<(String, u64, Pods)> = Vec::new();
        let mut must_register = true;
        for turn in 0..200 {
            match random.u8(..10) {
                0 if turn > 20 => (registry, revision, pods) = (registry + 1, 1, Pods::new()),
                1..=5 => {
                    let name = format!("{}", random.u8(..5));
                    pods.retain(|pod| pod.pod_name != name);
                    if random.bool() {
                        pods.push(pod(&name, [Healthy, Unhealthy, Unknown][random.usize(..3)]));
                    }
                    revision += 1;
                    under_way.push((registry.to_string(), revision, pods.clone()));
                }
                _ => {}
            }
            if !under_way.is_empty() && random.bool() {
                let index = random.usize(..under_way.len());
                // Often it stays under way, and comes again.
                let (from, at, told) = match random.u8(..3) {
                    0 => under_way[index].clone(),
                    _ => under_way.swap_remove(index),
                };
                let (before, held) = (view.registry_id(), view.revision("eir"));
                if random.u8(..3) > 0 {
                    must_register |= notified(&feed, &from, at, told) == Fed::Foreign;
                }
                assert_eq!(view.registry_id(), before, "seed {seed}: not by a notification");
                assert!(view.revision("eir") >= held, "seed {seed}: it went back");
            }
            if must_register && random.u8(..4) == 0 {
                registered(&feed, &registry.to_string(), revision, pods.clone());
                must_register = false;
            }
        }
        // The periodic repetition, and what it makes the session do.
        if notified(&feed, &registry.to_string(), revision, pods.clone()) == Fed::Foreign {
            registered(&feed, &registry.to_string(), revision, pods.clone());
        }
        while let Some((from, at, told)) = under_way.pop() {
            if notified(&feed, &from, at, told) == Fed::Foreign {
                registered(&feed, &registry.to_string(), revision, pods.clone());
            }
        }
        pods.sort_by(|a, b| a.pod_name.cmp(&b.pod_name));
        let seen: Pods = view.pods("eir").iter().map(|pod| pod.summary().clone()).collect();
        assert_eq!(seen, pods, "seed {seed}");
    }
}

async fn next(changes: &mut super::Changes) -> String {
    let change = tokio::time::timeout(Duration::from_secs(20), changes.next()).await;
    match change.unwrap().unwrap() {
        Change::Created(pod) => format!("+{}", pod.name()),
        Change::Updated { before, now } => {
            format!("{} {:?}->{:?}", now.name(), before.status(), now.status())
        }
        Change::Removed(pod) => format!("-{}", pod.name()),
    }
}

#[tokio::test]
async fn changes_are_told_and_a_slow_reader_gets_the_difference() {
    let feed = feed();
    registered(&feed, "a", 1, vec![pod("1", Unknown), pod("2", Healthy)]);
    let mut changes = View::new(Arc::clone(&feed)).changes();
    assert_eq!((next(&mut changes).await, next(&mut changes).await), ("+1".into(), "+2".into()));
    notified(&feed, "a", 2, vec![pod("1", Healthy), pod("2", Healthy)]);
    assert_eq!(next(&mut changes).await, "1 Unknown->Healthy");
    // Nothing anybody can see.
    notified(&feed, "a", 3, vec![pod("2", Healthy), pod("1", Healthy)]);
    // Meanwhile much happens; only the outcome is told.
    notified(&feed, "a", 4, vec![pod("1", Unhealthy), pod("2", Healthy), pod("3", Unknown)]);
    notified(&feed, "a", 5, vec![pod("1", Unknown), pod("4", Unknown)]);
    let told = [next(&mut changes).await, next(&mut changes).await, next(&mut changes).await];
    assert_eq!(told, ["-2", "1 Healthy->Unknown", "+4"]);
    // A service that is subscribed to no more.
    feed.registered("a", 6, BTreeMap::new());
    let told = BTreeSet::from([next(&mut changes).await, next(&mut changes).await]);
    assert_eq!(told, BTreeSet::from(["-1".to_owned(), "-4".to_owned()]));
    drop(feed);
    assert_eq!(changes.next().await, None);
}

#[tokio::test]
async fn what_is_kept_is_there_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep").join("view.json");
    let first = feed();
    let mut tasks = JoinSet::new();
    let (close, closing) = deadline::unset();
    tasks.spawn(keep::keep(path.clone(), Arc::clone(&first), closing));
    registered(&first, "a", 7, vec![pod("1", Healthy)]);
    close.send_replace(Some(Instant::now()));
    tasks.join_next().await.unwrap().unwrap();
    let left: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing is left beside it: {left:?}");

    let second = feed();
    keep::restore(&path, &second);
    let view = View::new(Arc::clone(&second));
    assert_eq!((names(&view), view.revision("eir")), (vec!["1 Healthy".to_owned()], Some(7)));
    assert_eq!(notified(&second, "a", 8, vec![pod("2", Healthy)]), Fed::Applied);

    let other = Arc::new(Feed::new(BTreeSet::from(["diam-gw".to_owned()])));
    keep::restore(&path, &other);
    assert_eq!(View::new(other).revision("eir"), None, "it is not subscribed to");
}

#[test]
fn a_file_that_cannot_be_read_is_no_reason_not_to_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("view.json");
    let newer = r#"{"format":2,"registry_id":"a","subscribed_services":{}}"#;
    let halved = r#"{"format":1,"registry_id":"a","subscribed_ser"#;
    for text in ["", "null", newer, halved, "\u{0}\u{1}"] {
        std::fs::write(&path, text).unwrap();
        let feed = feed();
        keep::restore(&path, &feed);
        assert_eq!(View::new(feed).registry_id(), None, "{text}");
    }
    let feed = feed();
    keep::restore(folder.path(), &feed);
    keep::restore(&folder.path().join("absent"), &feed);
    assert_eq!(View::new(feed).registry_id(), None);
}
