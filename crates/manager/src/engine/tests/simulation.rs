//! Many clients, a store that fails at random in every way it can, and a book of what everybody
//! was told. A failure prints its seed: `SIMULATION_SEED=… cargo test` runs that one alone.

use std::collections::BTreeSet;

use fastrand::Rng;
use governance_testkit::faulty_store::{Fault, Step};
use tokio::task::JoinSet;

use super::*;
use crate::telemetry::traces::TraceContext;

const SEEDS: u64 = 150;
const CLIENTS: usize = 8;
const PODS_PER_CLIENT: usize = 3;
const OPERATIONS: usize = 60;

/// What a pod is registered with: endpoint and place to be told; none if it is not.
type State = Option<(u16, u16)>;

/// What is known of one pod.
#[derive(Clone, Debug, Default)]
struct Entry {
    acknowledged: State,
    /// Asked for later, and nobody knows.
    possible: BTreeSet<State>,
}

impl Entry {
    fn allows(&self, state: State) -> bool {
        state == self.acknowledged || self.possible.contains(&state)
    }

    fn now(&mut self, state: State) {
        *self = Self { acknowledged: state, possible: BTreeSet::new() };
    }
}

type Book = BTreeMap<String, Entry>;

/// Everything that can go wrong, short of the data's being lost.
fn faults() -> Vec<(Step, Fault)> {
    let mut faults = Vec::new();
    for fault in [
        Fault::NotApplied,
        Fault::UnknownApplied,
        Fault::UnknownAppliedLater,
        Fault::UnknownNotApplied,
        Fault::Refused(None),
        Fault::Lost,
        Fault::HangBefore,
        Fault::HangAfter,
    ] {
        faults.push((Step::Commit, fault));
    }
    for step in [Step::Acquire, Step::WriteHealth, Step::PruneAudit, Step::Renew] {
        for fault in [
            Fault::NotApplied,
            Fault::UnknownApplied,
            Fault::UnknownNotApplied,
            Fault::Lost,
            Fault::HangBefore,
            Fault::HangAfter,
        ] {
            faults.push((step, fault));
        }
    }
    faults.push((Step::Load, Fault::NotApplied));
    faults
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_refused_is_there() {
    let chosen = std::env::var("SIMULATION_SEED").ok();
    let seeds = match chosen.map(|text| text.parse::<u64>().expect("a number")) {
        Some(seed) => seed..seed + 1,
        None => 0..SEEDS,
    };
    for seed in seeds {
        println!("SIMULATION_SEED={seed}");
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(simulate(seed));
    }
}

async fn simulate(seed: u64) {
    let mut random = Rng::with_seed(seed);
    let rig = Rig::start_with(|settings| settings.event_queue_size = 1 << random.u32(0..8)).await;
    rig.store.chance(seed, random.u64(5..50), faults());
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let pods = (0..PODS_PER_CLIENT).map(|pod| format!("pod-{client}-{pod}"));
        let book: Book = pods.map(|pod| (pod, Entry::default())).collect();
        clients.spawn(live(rig.handle.clone(), book, random.fork()));
    }
    let weather = tokio::spawn(weather(Arc::clone(&rig.store), random.fork()));
    let books = clients.join_all().await;
    weather.abort();
    rig.store.set_away(false);
    rig.store.chance(seed, 0, []);
    rig.until("it works again", || rig.handle.standing().phase == Phase::Active).await;
    let healed = async {
        let mut number = 0;
        while rig.register("healed", number).await.is_err() {
            number += 1;
        }
    };
    timeout(PATIENCE, healed).await.expect("it works again");

    let snapshot = rig.handle.snapshot();
    let mut known = 1;
    for (name, entry) in books.into_iter().flatten() {
        let state = state_of(&snapshot, &name);
        assert!(entry.allows(state), "{name} is {state:?}, told was {entry:?}");
        known += usize::from(state.is_some());
    }
    assert_eq!(snapshot.registry.pod_count(), known, "somebody registered whom nobody knows");
    rig.stop_and_compare().await;
}

/// The store is away now and then, for longer than a request may take, too.
async fn weather(store: Arc<FaultyStore>, mut random: Rng) {
    loop {
        sleep(Duration::from_millis(random.u64(0..20_000))).await;
        store.set_away(true);
        sleep(Duration::from_millis(random.u64(0..12_000))).await;
        store.set_away(false);
    }
}

/// One client with some pods of its own, which does one thing at a time.
async fn live(handle: EngineHandle, mut book: Book, mut random: Rng) -> Book {
    let names: Vec<String> = book.keys().cloned().collect();
    for _ in 0..OPERATIONS {
        sleep(Duration::from_millis(random.u64(0..400))).await;
        let name = &names[random.usize(0..names.len())];
        let entry = book.get_mut(name).unwrap();
        match random.u8(0..10) {
            0..5 => {
                let state = (random.u16(1..5), random.u16(0..3));
                register(&handle, name, state, entry, &mut random).await;
            }
            5 => {
                if let Some(state) = entry.acknowledged {
                    register(&handle, name, state, entry, &mut random).await;
                }
            }
            6..9 => unregister(&handle, name, entry, &mut random).await,
            _ => check(&handle, name, &mut random),
        }
        if handle.standing().phase == Phase::Active && entry.possible.is_empty() {
            let state = state_of(&handle.snapshot(), name);
            assert_eq!(state, entry.acknowledged, "{name} is not what readers see");
        }
    }
    book
}

async fn register(
    handle: &EngineHandle,
    name: &str,
    (number, wish): (u16, u16),
    entry: &mut Entry,
    random: &mut Rng,
) {
    let command = Register { key: key(name), content: content(number, wish) };
    let deadline = Instant::now() + Duration::from_millis(random.u64(1..8_000));
    let call = handle.register(command, Origin::default(), deadline);
    let wanted = Some((number, wish));
    match patience(call, random).await {
        Some(Ok(registered)) => {
            let seen = state_of(&registered.snapshot, name);
            assert_eq!(seen, wanted, "{name}: the answer's own state lacks it");
            entry.now(wanted);
        }
        Some(Err(error)) => note(entry, wanted, &error),
        None => drop(entry.possible.insert(wanted)),
    }
}

async fn unregister(handle: &EngineHandle, name: &str, entry: &mut Entry, random: &mut Rng) {
    let deadline = Instant::now() + Duration::from_millis(random.u64(1..8_000));
    let call = handle.unregister(removal(name), Origin::default(), deadline);
    match patience(call, random).await {
        Some(Ok(_)) => entry.now(None),
        Some(Err(SubmitError::Rejected(_))) => {
            assert!(entry.allows(None), "{name} was acknowledged and is gone: {entry:?}");
            entry.now(None);
        }
        Some(Err(error)) => note(entry, None, &error),
        None => drop(entry.possible.insert(None)),
    }
}

/// All errors but one say that nothing was done.
fn note(entry: &mut Entry, wanted: State, error: &SubmitError) {
    match error {
        SubmitError::OutcomeUnknown => drop(entry.possible.insert(wanted)),
        SubmitError::Refused
        | SubmitError::Busy
        | SubmitError::StoreUnavailable { .. }
        | SubmitError::NotActive(_) => {}
        SubmitError::Rejected(_) => panic!("the rules do not refuse this: {error}"),
    }
}

/// Some callers go away before they have an answer.
async fn patience<T>(call: impl Future<Output = T>, random: &mut Rng) -> Option<T> {
    if random.u8(0..12) > 0 {
        return Some(call.await);
    }
    timeout(Duration::from_millis(random.u64(0..6_000)), call).await.ok()
}

fn check(handle: &EngineHandle, name: &str, random: &mut Rng) {
    let snapshot = handle.snapshot();
    let Some(pod) = snapshot.registry.pod_by(&key(name)) else { return };
    let status = if random.bool() { Status::Healthy } else { Status::Unhealthy };
    let at = Timestamp::from_micros(random.i64(1..1_000_000));
    let observation = Observation {
        key: pod.key.clone(),
        registration_id: pod.registration_id,
        verdict: Verdict { status, at },
        reason: String::new(),
        trace: TraceContext::default(),
    };
    // A lane without room drops it; so would the prober.
    handle.observe(observation);
}

fn state_of(snapshot: &Snapshot, name: &str) -> State {
    let pod = snapshot.registry.pod_by(&key(name))?;
    let wish = pod.content.notification_url.rsplit('/').next().unwrap();
    Some((number_of(pod), wish.parse().unwrap()))
}
