//! Watchers that go and come back.

use super::*;

#[tokio::test]
async fn a_watcher_that_comes_back_continues_behind_what_it_has_seen() {
    let world = World::start(100).await;
    let mut reader = world.open(None, None);
    reader.snapshot().await;
    let first = world.register("eir", "a", 1).await;
    reader.change().await;
    let last_id = reader.last_id;
    assert_eq!(last_id, Some(first));
    drop(reader);
    let second = world.register("eir", "b", 1).await;
    world.register("diam-gw", "b", 1).await;
    let mut all = world.open(None, last_id);
    assert_eq!(all.change().await.id, Some(second));
    assert_eq!(all.change().await.id, Some(second + 1));
    let mut one = world.open(Some("diam-gw"), last_id);
    assert_eq!(one.change().await.id, Some(second + 1));
    // Nothing was missed: there is nothing to send.
    let mut newest = world.open(None, Some(second + 1));
    let third = world.register("eir", "c", 1).await;
    assert_eq!(newest.change().await.id, Some(third));
}

#[tokio::test]
async fn what_cannot_be_resumed_begins_with_a_snapshot() {
    let world = World::start(5).await;
    let mut revisions = Vec::new();
    for port in 1..=10 {
        revisions.push(world.register("eir", "a", port).await);
    }
    // Still there: the five newest, and where they begin.
    for revision in &revisions[4..] {
        let mut reader = world.open(None, Some(*revision));
        if let Some(next) = revisions.iter().find(|other| *other > revision) {
            assert_eq!(reader.change().await.id, Some(*next));
        }
    }
    let newest = revisions[9];
    // Forgotten, of an earlier epoch, of a later one, not yet given, and nonsense.
    for unknown in [revisions[3], 7, newest + (1 << 32), newest + 1, 0, u64::MAX] {
        let (pods, revision) = world.open(None, Some(unknown)).snapshot().await;
        assert_eq!((pods.len(), revision), (1, newest), "{unknown}");
    }
}

/// Applies what was read to the pods known so far.
fn apply(pods: &mut BTreeMap<String, Value>, read: &Read) {
    let data = &read.data;
    let key = format!(
        "{}:{}",
        data["service_name"].as_str().unwrap(),
        data["pod_name"].as_str().unwrap()
    );
    if data["pod"].is_null() {
        pods.remove(&key);
    } else {
        pods.insert(key, data["pod"].clone());
    }
}

/// Follows until `last` was seen, leaving and coming back every few changes; tells what it saw.
async fn follow(
    world: &World,
    service: Option<&str>,
    patience: usize,
    last: impl Fn(&Read) -> bool,
) -> (Vec<u64>, BTreeMap<String, Value>) {
    let (mut ids, mut pods, mut last_id) = (Vec::new(), BTreeMap::new(), None);
    loop {
        let mut reader = world.open(service, last_id);
        if last_id.is_none() {
            pods = reader.snapshot().await.0;
        }
        for _ in 0..patience {
            let read = reader.change().await;
            ids.push(read.id.unwrap());
            apply(&mut pods, &read);
            if last(&read) {
                return (ids, pods);
            }
        }
        last_id = reader.last_id;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_and_comes_back_misses_nothing_and_sees_nothing_twice() {
    let world = World::start(100_000).await;
    let is_last = |read: &Read| read.data["pod_name"] == "last";
    let changes = async {
        let mut random = fastrand::Rng::with_seed(7);
        for port in 1..3_000 {
            let service = ["eir", "diam-gw", "http-gw"][random.usize(..3)];
            let pod = format!("p{}", random.usize(..20));
            if random.usize(..4) == 0
                && world.engine.snapshot().registry.pod(service, &pod).is_some()
            {
                world.unregister(service, &pod).await;
            } else {
                world.register(service, &pod, port).await;
            }
        }
        world.register("eir", "last", 1).await;
    };
    let steady = follow(&world, None, usize::MAX, is_last);
    let restless = follow(&world, None, 37, is_last);
    let nervous = follow(&world, None, 1, is_last);
    let one = follow(&world, Some("eir"), 11, is_last);
    let ((), steady, restless, nervous, one) =
        within(Box::pin(async { tokio::join!(changes, steady, restless, nervous, one) })).await;
    for (ids, pods) in [&steady, &restless, &nervous] {
        assert!(ids.windows(2).all(|pair| pair[0] + 1 == pair[1]), "each once, without a gap");
        assert_eq!(ids.last(), steady.0.last());
        assert_eq!(*pods, steady.1);
    }
    let of_one: BTreeMap<_, _> =
        steady.1.iter().filter(|(key, _)| key.starts_with("eir:")).collect();
    assert_eq!(one.1.iter().collect::<BTreeMap<_, _>>(), of_one);
    assert!(one.0.is_sorted_by(|a, b| a < b));
    let snapshot = world.engine.snapshot();
    assert_eq!(steady.1.len(), snapshot.registry.pod_count());
}
