//! How many lookups one core makes while notifications change the view.
//!
//! ```sh
//! cargo run --release -p governance-client --example pick_rate
//! ```
//!
//! One thread picks as fast as it can; another hands 100 notifications a second to the receiver,
//! each with another health of one of 100 pods. No manager is involved: the first notification is
//! taken because a kept view says which registry it belongs to. Prints one line for each kind of
//! lookup, and how far it is from a million a second.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use governance_client::{Member, Receiver, Status, View};
use http::Method;
use serde_json::{Value, json};

const PODS: usize = 100;
const CHANGES_PER_SECOND: u32 = 100;
const MEASURED: Duration = Duration::from_secs(2);
const GOAL: f64 = 1_000_000.0;
/// Lookups between two looks at the clock.
const BATCH: u64 = 1_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("pick_rate.{}.json", std::process::id()));
    let kept = json!({"format": 1, "registry_id": "r",
        "subscribed_services": {"eir": {"revision": 1, "pods": pods(0)}}});
    std::fs::write(&path, kept.to_string())?;
    let member = Member::builder("http-gw")
        .pod("pick-rate")
        // Nobody is there, and nobody is needed.
        .manager("http://127.0.0.1:1")
        .provides("http", 8080)
        .subscribe("eir")
        .listen("127.0.0.1:0")
        .keep_view_in(&path)
        .start()
        .await?;
    let changes = Arc::new(AtomicU64::new(0));
    let is_over = Arc::new(AtomicBool::new(false));
    let notifying = {
        let (receiver, changes, is_over) = (member.receiver(), changes.clone(), is_over.clone());
        std::thread::spawn(move || change(&receiver, &changes, &is_over))
    };
    let view = member.view();
    measure("pick", &changes, || view.pick("eir").is_some())?;
    measure("pick_healthy", &changes, || view.pick_healthy("eir").is_some())?;
    measure("by protocol", &changes, || picked(&view, |select| select.protocol("diameter")))?;
    measure("by provider id", &changes, || picked(&view, |select| select.provider_id("eir-d")))?;
    measure("least outstanding of 100", &changes, || {
        picked(&view, governance_client::Select::least_outstanding)
    })?;
    is_over.store(true, Ordering::Relaxed);
    notifying.join().map_err(|_| "the thread that changes the view panicked")?;
    member.shutdown().await?;
    std::fs::remove_file(path)?;
    Ok(())
}

fn picked<'a>(
    view: &'a View,
    describe: impl FnOnce(governance_client::Select<'a>) -> governance_client::Select<'a>,
) -> bool {
    describe(view.select("eir")).pick().is_some()
}

/// Looks up for a while, and prints how often.
fn measure(name: &str, changes: &AtomicU64, pick: impl Fn() -> bool) -> std::io::Result<()> {
    let (began, before) = (Instant::now(), changes.load(Ordering::Relaxed));
    let (mut picks, mut misses) = (0_u64, 0_u64);
    while began.elapsed() < MEASURED {
        misses += (0..BATCH).filter(|_| !pick()).count() as u64;
        picks += BATCH;
    }
    let seconds = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let (rate, pace) =
        (picks as f64 / seconds, (changes.load(Ordering::Relaxed) - before) as f64 / seconds);
    writeln!(
        std::io::stdout().lock(),
        "{name}: {:.2} million a second, {:.1} times the goal of one million; {misses} found \
         nobody; the view changed {pace:.0} times a second",
        rate / 1e6,
        rate / GOAL,
    )
}

/// Notifies at an even pace until told to end.
#[expect(clippy::disallowed_methods, reason = "a pace is what is wanted here")]
fn change(receiver: &Receiver, changes: &AtomicU64, is_over: &AtomicBool) {
    let began = Instant::now();
    let mut revision = 1_u32;
    while !is_over.load(Ordering::Relaxed) {
        revision += 1;
        let body = json!({"service_name": "eir", "event_type": "update", "timestamp": "",
            "revision": revision, "registry_id": "r", "pods": pods(revision as usize)});
        let reply = receiver.answer(&Method::POST, "/notify", body.to_string().as_bytes());
        assert!(reply.status.is_success(), "{reply:?}");
        changes.fetch_add(1, Ordering::Relaxed);
        let due = began + Duration::from_secs(1) * revision / CHANGES_PER_SECOND;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// The pods; which one is unhealthy depends on the number.
fn pods(turn: usize) -> Vec<Value> {
    let pod = |index: usize| {
        let status = if index == turn % PODS { Status::Unhealthy } else { Status::Healthy };
        json!({"pod_name": format!("eir-{index}"), "status": status, "providers": [
            {"protocol": "http", "ip": "192.0.2.1", "port": 8080},
            {"protocol": "diameter", "ip": "192.0.2.1", "port": 3868, "provider_id": "eir-d"},
        ]})
    };
    (0..PODS).map(pod).collect()
}
