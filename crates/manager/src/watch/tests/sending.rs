//! What a watcher is sent, and how streams end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use governance_domain::Status;
use serde_json::json;

use super::*;
use crate::engine::Observer as _;

#[tokio::test]
async fn a_watcher_sees_a_snapshot_and_then_every_change_in_order() {
    let world = World::start(100).await;
    let first = world.register("eir", "a", 1).await;
    let mut reader = world.open(None, None);
    let (pods, revision) = reader.snapshot().await;
    assert_eq!((pods.len(), revision), (1, first));
    world.register("diam-gw", "b", 1).await;
    world.observe("eir", "a", Status::Unhealthy, "HTTP status \"500\"");
    let told: Vec<_> = [reader.change().await, reader.change().await].into();
    world.register("eir", "a", 2).await;
    world.unregister("eir", "a").await;
    let told: Vec<_> =
        told.into_iter().chain([reader.change().await, reader.change().await]).collect();
    let seen: Vec<_> = told
        .iter()
        .map(|read| {
            let data = &read.data;
            let status = data["pod"]["status"].as_str().unwrap_or("gone");
            let text = |name: &str| data[name].as_str().unwrap().to_owned();
            (text("type"), text("pod_name"), status.to_owned(), text("reason"))
        })
        .collect();
    let expected = [
        ("register", "b", "unknown", "registered"),
        ("update", "a", "unhealthy", "HTTP status \"500\""),
        ("register", "a", "unknown", "registered again with other content"),
        ("unregister", "a", "gone", "unregistered"),
    ];
    let expected = expected.map(|(a, b, c, d)| (a.into(), b.into(), c.into(), d.into()));
    assert_eq!(seen, expected);
    let ids: Vec<_> = told.iter().map(|read| read.id.unwrap()).collect();
    assert_eq!(ids, [first + 1, first + 2, first + 3, first + 4]);
    let last = &told[3].data;
    assert_eq!(
        *last,
        json!({"revision": first + 4, "type": "unregister", "service_name": "eir",
            "pod_name": "a", "pod": null, "reason": "unregistered"})
    );
    assert_eq!(told[2].data["pod"]["service_key"], "eir:a");
}

#[tokio::test]
async fn a_filter_shows_one_service_and_no_other() {
    let world = World::start(10_000).await;
    world.register("eir", "a", 1).await;
    world.register("eir-2", "a", 1).await;
    let mut reader = world.open(Some("eir"), None);
    let (pods, _) = reader.snapshot().await;
    assert_eq!(pods.keys().collect::<Vec<_>>(), ["eir:a"]);
    for port in 2..300 {
        world.register("eir-2", "a", port).await;
    }
    let revision = world.unregister("eir", "a").await;
    world.register("diam-gw", "a", 2).await;
    let again = world.register("eir", "b", 2).await;
    assert_eq!(reader.change().await.id, Some(revision));
    assert_eq!(reader.change().await.id, Some(again));
    let mut nobody = world.open(Some("nobody"), None);
    assert!(nobody.snapshot().await.0.is_empty());
}

#[tokio::test(start_paused = true)]
async fn bookmarks_tell_how_far_everything_was_seen() {
    let world = World::start(100).await;
    let mut all = world.open(None, None);
    let mut one = world.open(Some("eir"), None);
    all.snapshot().await;
    one.snapshot().await;
    let mut revision = 0;
    for port in 1..5 {
        revision = world.register("diam-gw", "a", port).await;
    }
    for _ in 0..4 {
        all.change().await;
    }
    for reader in [&mut all, &mut one] {
        let before = Instant::now();
        let bookmark = reader.expect("bookmark").await;
        assert_eq!((bookmark.id, bookmark.data), (Some(revision), json!({})));
        assert!(before.elapsed() <= Duration::from_secs(10));
    }
}

#[tokio::test]
async fn a_large_snapshot_comes_in_pages_of_one_revision() {
    let world = World::start(10).await;
    for number in 0..150 {
        world.register("eir", &format!("p{number:03}"), 1).await;
    }
    let mut reader = world.open(None, None);
    let begin = reader.expect("snapshot-begin").await;
    assert_eq!(begin.data["count"], 150);
    let first = reader.expect("snapshot").await;
    world.register("eir", "late", 1).await;
    let mut count = first.data["pods"].as_array().unwrap().len();
    while count < 150 {
        count += reader.expect("snapshot").await.data["pods"].as_array().unwrap().len();
    }
    let end = reader.expect("snapshot-end").await;
    assert_eq!(end.data["revision"], begin.data["revision"]);
    assert_eq!(reader.change().await.data["pod_name"], "late");
}

#[tokio::test]
async fn a_watcher_that_falls_behind_is_cut_off_with_a_reason_and_others_are_not() {
    let world = World::start(50).await;
    let (mut slow, mut slow_one) = (world.open(None, None), world.open(Some("eir"), None));
    let mut fast = world.open(None, None);
    for reader in [&mut slow, &mut slow_one, &mut fast] {
        reader.snapshot().await;
    }
    for port in 1..=201 {
        let revision = world.register("eir", "a", port).await;
        assert_eq!(fast.change().await.id, Some(revision));
    }
    for reader in [&mut slow_one, &mut slow] {
        assert_eq!(reader.expect("end").await.data["error"], "too_slow");
        assert_eq!(within(reader.next()).await, None);
    }
    assert_eq!(world.watch.figures().cut_off, 2);
    let revision = world.register("eir", "b", 1).await;
    assert_eq!(fast.change().await.id, Some(revision));
}

#[tokio::test]
async fn closing_ends_every_stream_and_says_so() {
    let mut world = World::start(10).await;
    let mut readers = [world.open(None, None), world.open(Some("eir"), None)];
    for reader in &mut readers {
        reader.snapshot().await;
    }
    world.closing.cancel();
    for reader in &mut readers {
        assert_eq!(reader.expect("end").await.data["error"], "shutting_down");
        assert_eq!(within(reader.next()).await, None);
    }
    within(world.tasks.join_next()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_state_that_was_read_anew_is_sent_anew() {
    let world = World::start(10).await;
    let mut reader = world.open(None, None);
    reader.snapshot().await;
    let revision = world.register("eir", "a", 1).await;
    reader.change().await;
    world.watch.hub.loaded(&world.engine.snapshot());
    let (pods, again) = reader.snapshot().await;
    assert_eq!((pods.len(), again), (1, revision));
    world.watch.hub.lost();
    assert_eq!(reader.expect("end").await.data["error"], "not_active");
    assert_eq!(within(reader.next()).await, None);
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn watchers_of_a_quiet_service_are_not_woken() {
    let world = World::start(1_000).await;
    let mut quiet = world.open(Some("quiet"), None);
    quiet.snapshot().await;
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    while let Poll::Ready(piece) = quiet.stream.poll_next(&mut Context::from_waker(&waker)) {
        assert!(piece.is_some());
    }
    let mut busy = world.open(Some("busy"), None);
    busy.snapshot().await;
    for port in 1..50 {
        let revision = world.register("busy", "a", port).await;
        assert_eq!(busy.change().await.id, Some(revision));
    }
    assert_eq!(count.0.load(Ordering::SeqCst), 0);
    world.register("quiet", "a", 1).await;
    assert_eq!(quiet.change().await.data["service_name"], "quiet");
}

#[tokio::test]
async fn watchers_are_counted_and_bounded() {
    let world = World::start(10).await;
    let mut seats: Vec<_> = (0..super::super::hub::WATCHERS_MAX)
        .map(|number| world.open((number % 2 == 0).then_some("eir"), None))
        .collect();
    assert!(world.watch.open(None, None).is_err());
    assert_eq!(world.watch.figures().watchers, seats.len());
    seats.pop();
    assert!(world.watch.open(None, None).is_ok());
    drop(seats);
    assert_eq!(world.watch.figures().watchers, 0);
}
