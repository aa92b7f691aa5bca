//! What is sent when all goes well: the sentences of the contract, one by one.

use std::time::Duration;

use governance_api::EventType;
use governance_domain::Status;

use super::world::{
    AT_ONCE, Reaction, Seen, World, content, filtered, key, provider, settings, wish,
};
use crate::config::{Notification, UnhealthyPods};

const MINUTE: Duration = Duration::from_mins(1);

fn every_minute() -> Notification {
    Notification { interval: Some(MINUTE), ..settings() }
}

fn slowly(ms: u64) -> Reaction {
    Reaction::Receive(Duration::from_millis(ms))
}

fn millis(seen: &[Seen]) -> Vec<u128> {
    seen.iter().map(|seen| seen.at.as_millis()).collect()
}

#[tokio::test(start_paused = true)]
async fn each_change_of_a_service_is_told_with_its_whole_list() {
    let mut world = World::new(&settings());
    world.register("gw:1", &["eir"]);
    world.settle().await;
    world.register("eir:1", &[]);
    world.pass_ms(10).await;
    world.observe("eir:1", Status::Healthy);
    world.pass_ms(10).await;
    world.register("eir:2", &[]);
    world.pass_ms(10).await;
    world.unregister("eir:1");
    world.pass_ms(500).await;
    let told = ["eir register 1", "eir update 1", "eir register 1,2", "eir unregister 2"];
    assert_eq!(world.told("gw:1"), told);
    let seen = world.seen();
    assert_eq!(seen.len(), 4, "nobody else was told anything");
    assert_eq!(seen[0].url, "http://gw-1.test/notify");
    assert_eq!(seen[3].body.revision, world.registry.revision().as_u64());
    assert_eq!(seen[3].body.registry_id, world.registry_id.to_string());
    assert!(seen[0].body.timestamp.starts_with("2026-01-02T03:04:0"), "{}", seen[0].body.timestamp);
    assert_eq!(seen[1].body.pods[0].status, governance_api::Status::Healthy);
}

#[tokio::test(start_paused = true)]
async fn the_last_pod_that_leaves_leaves_an_empty_list() {
    let mut world = World::new(&settings());
    world.register("gw:1", &["eir"]);
    world.register("eir:1", &[]);
    world.settle().await;
    world.unregister("eir:1");
    world.pass_ms(10).await;
    assert_eq!(world.told("gw:1"), ["eir unregister "]);
    let text = &world.seen()[0].list;
    assert_eq!(&text[..], b"[]}");
}

#[tokio::test(start_paused = true)]
async fn one_request_at_a_time_and_services_in_the_order_they_changed() {
    let mut world = World::new(&settings());
    world.register("gw:1", &["a", "b", "c"]);
    world.settle().await;
    world.habit("gw:1", slowly(100));
    for name in ["c:1", "a:1", "b:1", "a:2"] {
        world.register(name, &[]);
        world.pass_ms(1).await;
    }
    world.pass_ms(900).await;
    assert_eq!(world.told("gw:1"), ["c register 1", "a register 1,2", "b register 1"]);
    let seen = world.seen();
    for pair in seen.windows(2) {
        assert!(pair[1].at >= pair[0].end.unwrap().0, "two at once: {pair:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_piles_up_becomes_one_with_the_kind_of_the_newest_change() {
    let mut world = World::new(&settings());
    world.register("gw:1", &["eir"]);
    world.settle().await;
    world.script("gw:1", &[slowly(1_000)]);
    world.register("eir:1", &[]);
    world.pass_ms(10).await;
    for n in 2..50 {
        world.register(&format!("eir:{n}"), &[]);
        world.pass_ms(1).await;
    }
    world.observe("eir:7", Status::Unhealthy);
    world.pass_ms(3_000).await;
    let seen = world.seen_by("gw:1");
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[1].body.event_type, EventType::Update);
    assert_eq!(seen[1].body.pods.len(), 49);
}

#[tokio::test(start_paused = true)]
async fn four_at_once_then_one_per_interval_and_the_newest_always_follows() {
    let mut world = World::new(&settings());
    world.register("gw:1", &["eir", "other"]);
    world.settle().await;
    world.pass_ms(5_000).await;
    let begun = world.now().as_millis();
    for n in 0..1_000 {
        world.register(&format!("eir:{n}"), &[]);
        world.pass_ms(1).await;
    }
    world.register("other:1", &[]);
    world.pass_ms(400).await;
    let of_eir = |seen: &Seen| seen.body.service_name == "eir";
    let (eir, other): (Vec<Seen>, _) = world.seen().into_iter().partition(of_eir);
    let at: Vec<u128> = millis(&eir).iter().map(|at| at - begun).collect();
    assert_eq!(at, [0, 1, 2, 3, 250, 500, 750, 1_000]);
    assert_eq!(eir[7].body.pods.len(), 1_000);
    assert_eq!(millis(&other), [begun + 1_000], "each service has a pace of its own");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_before_the_answer_and_one_reconcile_a_second_later() {
    let mut world = World::new(&settings());
    world.register("eir:1", &[]);
    world.register("gw:1", &["eir", "none"]);
    world.pass_ms(100).await;
    world.observe("eir:1", Status::Healthy);
    world.pass_ms(100).await;
    assert!(world.seen().is_empty(), "its answer may still be on its way");
    world.pass_ms(2_000).await;
    assert_eq!(world.told("gw:1"), ["eir update 1", "eir reconcile 1", "none reconcile "]);
    let at = millis(&world.seen());
    assert!((250..300).contains(&at[0]) && (1_000..1_100).contains(&at[1]), "{at:?}");
    world.pass_ms(100_000).await;
    assert_eq!(world.seen().len(), 3, "NOTIFICATION_INTERVAL=0: nothing is repeated");
}

#[tokio::test(start_paused = true)]
async fn what_its_answer_said_is_not_told_again() {
    let mut world = World::new(&settings());
    world.register("eir:1", &["eir"]);
    world.pass_ms(900).await;
    assert!(world.seen().is_empty(), "its own registration is in its answer");
    world.pass_ms(600).await;
    assert_eq!(world.told("eir:1"), ["eir reconcile 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_pod_may_subscribe_to_its_own_service_and_only_subscribers_are_told() {
    let mut world = World::new(&settings());
    world.register("eir:1", &["eir"]);
    world.register("eir:2", &[]);
    world.settle().await;
    world.register("eir:3", &[]);
    world.observe("eir:1", Status::Healthy);
    world.pass_ms(10).await;
    assert_eq!(world.told("eir:1"), ["eir update 1,2,3"], "two changes at once are one");
    assert_eq!(world.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_amendment_that_nobody_sees_is_told_to_nobody() {
    let mut world = World::new(&settings());
    world.register("gw:1", &["eir"]);
    world.register("eir:1", &[]);
    world.settle().await;
    world.amend("eir:1", content("elsewhere", &[provider(80, None)], &[]));
    world.pass_ms(1_500).await;
    assert!(world.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_filtered_subscription_hears_only_of_what_it_shows() {
    let mut world = World::new(&settings());
    let wishes = [filtered("eir", &["x"], false)];
    world.register_with("gw:1", content("gw", &[provider(1, None)], &wishes));
    world.settle().await;
    world.register_with("eir:1", content("e1", &[provider(1, Some("y"))], &[]));
    world.pass_ms(400).await;
    assert!(world.seen().is_empty(), "no provider of that pod is wanted");
    let both = [provider(1, Some("y")), provider(2, Some("x"))];
    world.register_with("eir:2", content("e2", &both, &[]));
    world.observe("eir:1", Status::Healthy);
    world.pass_ms(400).await;
    assert_eq!(world.told("gw:1"), ["eir register 2"], "the newest change is not one it sees");
    assert_eq!(world.seen()[0].body.pods[0].providers.len(), 1);
    world.register_with("eir:2", content("e2", &both[..1], &[]));
    world.pass_ms(400).await;
    assert_eq!(world.told("gw:1")[1..], ["eir register "], "it lost the wanted provider");
}

#[tokio::test(start_paused = true)]
async fn healthy_only_leaves_out_the_unhealthy_and_is_not_told_of_their_changes() {
    let mut world = World::new(&settings());
    let wishes = [filtered("eir", &[], true)];
    world.register_with("gw:1", content("gw", &[provider(1, None)], &wishes));
    world.register("eir:1", &[]);
    world.register("eir:2", &[]);
    world.settle().await;
    world.observe("eir:1", Status::Unhealthy);
    world.pass_ms(10).await;
    world.unregister("eir:1");
    world.pass_ms(400).await;
    assert_eq!(world.told("gw:1"), ["eir update 2"]);
}

#[tokio::test(start_paused = true)]
async fn hide_leaves_unhealthy_pods_out_of_every_list() {
    let hide = Notification { unhealthy_pods: UnhealthyPods::Hide, ..every_minute() };
    let mut world = World::new(&hide);
    world.register("gw:1", &["eir"]);
    world.register("eir:1", &[]);
    world.settle().await;
    world.observe("eir:1", Status::Unhealthy);
    world.pass(MINUTE).await;
    world.observe("eir:1", Status::Healthy);
    world.pass_ms(10).await;
    assert_eq!(world.told("gw:1"), ["eir update ", "eir reconcile ", "eir update 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_was_undone_before_it_was_sent_is_not_sent() {
    let mut world = World::new(&settings());
    world.register("gw:1", &["eir"]);
    world.register("eir:1", &[]);
    world.observe("eir:1", Status::Healthy);
    world.settle().await;
    world.observe("eir:1", Status::Unhealthy);
    world.observe("eir:1", Status::Healthy);
    world.pass_ms(400).await;
    assert!(world.seen().is_empty());
    assert_eq!(world.delivery("gw:1", "eir").behind_since, None);
}

#[tokio::test(start_paused = true)]
async fn every_interval_each_service_is_repeated_also_one_without_pods() {
    let mut world = World::new(&every_minute());
    world.register("eir:1", &[]);
    for n in 0..20 {
        world.register(&format!("gw:{n}"), &["eir", "none"]);
    }
    world.settle().await;
    world.pass(MINUTE * 10).await;
    let mut firsts = std::collections::BTreeSet::new();
    for n in 0..20 {
        let name = format!("gw:{n}");
        let seen = world.seen_by(&name);
        let (eir, none): (Vec<_>, Vec<_>) =
            seen.into_iter().partition(|seen| seen.body.service_name == "eir");
        assert!((10..=11).contains(&eir.len()) && eir.len() == none.len(), "{name}");
        for turns in [eir, none] {
            for pair in turns.windows(2) {
                let apart = pair[1].at.saturating_sub(pair[0].at);
                assert!(apart.abs_diff(MINUTE) < Duration::from_millis(5), "{name}: {apart:?}");
            }
            assert!(turns.iter().all(|seen| seen.body.event_type == EventType::Reconcile));
            firsts.insert(turns[0].at.as_secs());
        }
    }
    assert!(firsts.len() >= 10, "spread over the interval: {firsts:?}");
    let notes = world.desk.notes.lock().unwrap();
    assert!((10..=11).contains(&notes.len()), "one entry per interval: {notes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_repetition_is_left_out_while_a_notification_is_on_its_way() {
    let mut world = World::new(&every_minute());
    world.register("gw:1", &["eir"]);
    world.settle().await;
    let first = world.now() + MINUTE;
    while world.seen().is_empty() {
        world.pass_ms(10).await;
    }
    let turn = world.seen()[0].at + MINUTE;
    assert!(turn < first + MINUTE);
    world.until(turn.saturating_sub(Duration::from_secs(1))).await;
    world.forget();
    world.script("gw:1", &[slowly(2_000)]);
    world.register("eir:1", &[]);
    world.pass_ms(3_000).await;
    assert_eq!(world.told("gw:1"), ["eir register 1"]);
    world.pass(MINUTE).await;
    assert_eq!(world.told("gw:1")[1..], ["eir reconcile 1"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_before_the_state_is_loaded_and_then_everyone_gets_it() {
    let mut world = World::unloaded(&settings());
    world.put("eir:1", content("eir", &[provider(1, None)], &[]));
    for n in 0..6_000 {
        let wishes = [wish("eir"), wish("none")];
        world.put(&format!("gw:{n}"), content("gw", &[provider(1, None)], &wishes));
    }
    world.pass_ms(60_000).await;
    assert!(world.seen().is_empty());
    world.load();
    world.pass_ms(7_000).await;
    let seen = world.seen();
    assert_eq!(seen.len(), 12_000);
    for window in seen.windows(2_001) {
        assert!(
            window[2_000].at.saturating_sub(window[0].at) >= Duration::from_secs(1),
            "2,000 a second"
        );
    }
    assert!(seen.iter().all(|seen| seen.body.event_type == EventType::Reconcile));
    assert_eq!(world.told("gw:77"), ["eir reconcile 1", "none reconcile "]);
}

#[tokio::test(start_paused = true)]
async fn a_change_after_a_start_does_not_wait_for_the_first_state_of_others() {
    let mut world = World::unloaded(&settings());
    for n in 0..8_000 {
        let wishes = [wish(if n == 7_999 { "late" } else { "eir" })];
        world.put(&format!("gw:{n:04}"), content("gw", &[provider(1, None)], &wishes));
    }
    world.load();
    world.pass_ms(10).await;
    world.register("late:1", &[]);
    world.pass_ms(10).await;
    assert_eq!(world.told("gw:7999"), ["late register 1"]);
    world.pass_ms(5_000).await;
    assert_eq!(world.told("gw:7999").len(), 1, "and it is not told twice");
}

#[tokio::test(start_paused = true)]
async fn everything_stops_when_the_right_to_write_is_lost_also_what_is_in_flight() {
    let mut world = World::new(&every_minute());
    world.register("gw:1", &["eir"]);
    world.settle().await;
    world.habit("gw:1", slowly(1_000));
    world.register("eir:1", &[]);
    world.pass_ms(10).await;
    world.observe("eir:1", Status::Healthy);
    world.lose();
    world.pass(MINUTE * 3).await;
    let seen = world.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].end, None, "it was broken off");
    world.load();
    world.pass_ms(5_000).await;
    assert_eq!(world.told("gw:1")[1..], ["eir reconcile 1"], "what waited was dropped");
}

#[tokio::test(start_paused = true)]
async fn while_the_lease_is_in_doubt_nothing_is_sent_and_then_the_newest_state() {
    let mut world = World::new(&settings());
    world.register("gw:1", &["eir"]);
    world.settle().await;
    *world.desk.patience.lock().unwrap() = Some(0);
    world.register("eir:1", &[]);
    world.pass_ms(5_000).await;
    world.register("eir:2", &[]);
    world.pass_ms(5_000).await;
    assert_eq!(world.told("gw:1"), Vec::<String>::new());
    *world.desk.patience.lock().unwrap() = None;
    world.pass_ms(200).await;
    assert_eq!(world.told("gw:1"), ["eir register 1,2"]);
}

#[tokio::test(start_paused = true)]
async fn another_notification_url_ends_what_is_in_flight_to_the_old_one() {
    let mut world = World::new(&settings());
    world.register("gw:1", &["eir"]);
    world.settle().await;
    world.script("gw:1", &[slowly(4_000)]);
    world.register("eir:1", &[]);
    world.pass_ms(10).await;
    world.amend("gw:1", content("elsewhere", &[provider(80, None)], &[wish("eir")]));
    world.pass_ms(2_000).await;
    let seen = world.seen();
    assert_eq!((seen.len(), seen[0].end), (2, None));
    assert_eq!(seen[1].url, "http://elsewhere.test/notify");
    assert!(seen[1].is_received());
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_leaves_is_told_nothing_more() {
    let mut world = World::new(&every_minute());
    world.register("gw:1", &["eir"]);
    world.settle().await;
    world.script("gw:1", &[slowly(1_000)]);
    world.register("eir:1", &[]);
    world.pass_ms(10).await;
    world.unregister("gw:1");
    world.register("eir:2", &[]);
    world.pass(MINUTE * 2).await;
    assert_eq!(world.seen().len(), 1);
    assert_eq!(world.seen()[0].end, None);
}

#[tokio::test(start_paused = true)]
async fn all_deliveries_of_one_state_share_one_list() {
    let mut world = World::new(&settings());
    for n in 0..50 {
        world.register(&format!("gw:{n}"), &["eir"]);
    }
    world.settle().await;
    world.register("eir:1", &[]);
    world.pass_ms(50).await;
    let seen = world.seen();
    assert_eq!(seen.len(), 50);
    assert!(seen.iter().all(|one| one.list.as_ptr() == seen[0].list.as_ptr()));
}

#[tokio::test(start_paused = true)]
async fn what_can_be_sent_is_sent_at_the_end_and_a_hanging_subscriber_is_waited_for_ten_seconds() {
    let mut world = World::new(&every_minute());
    world.register("gw:1", &["eir"]);
    world.register("gw:2", &["eir"]);
    world.settle().await;
    world.script("gw:1", &[slowly(200), slowly(200)]);
    world.register("eir:1", &[]);
    world.pass_ms(10).await;
    world.register("eir:2", &[]);
    let begun = world.now();
    world.stop().await;
    assert_eq!(world.told("gw:1"), ["eir register 1", "eir register 1,2"]);
    assert_eq!(world.told("gw:2"), ["eir register 1", "eir register 1,2"]);
    assert!(world.seen().iter().all(Seen::is_received));
    assert!(world.now().saturating_sub(begun) < Duration::from_secs(1));

    let mut world = World::new(&settings());
    world.register("gw:1", &["eir"]);
    world.settle().await;
    world.habit("gw:1", slowly(60_000));
    world.register("eir:1", &[]);
    let begun = world.now();
    world.stop().await;
    assert_eq!(world.now().saturating_sub(begun).as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn what_each_pod_was_told_can_be_read() {
    let mut world = World::new(&settings());
    world.register("eir:1", &[]);
    world.register("gw:1", &["eir"]);
    world.pass_ms(1).await;
    let answered = world.registry.revision();
    assert_eq!(world.delivery("gw:1", "eir").delivered, Some(answered));
    world.settle().await;
    world.script("gw:1", &[slowly(300), AT_ONCE]);
    world.observe("eir:1", Status::Unhealthy);
    world.pass_ms(100).await;
    let behind = world.delivery("gw:1", "eir");
    assert_eq!(behind.delivered, Some(answered));
    assert!(behind.behind_since.is_some());
    world.pass_ms(400).await;
    let state = world.delivery("gw:1", "eir");
    assert_eq!(state.delivered, Some(world.registry.revision()));
    assert_eq!((state.behind_since, state.failing_since, state.attempts), (None, None, 0));
    assert!(key("gw:1") < key("gw:2"));
}
