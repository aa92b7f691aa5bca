//! What is done to the fleet, one blow every five seconds, and what is measured meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::Value;

use super::fleet::{Fleet, Kind};
use super::report::{Board, Check};
use super::traffic::Traffic;

/// Between two blows.
const BEAT: Duration = Duration::from_secs(5);
/// How long what was killed stays away.
const AWAY: Duration = Duration::from_secs(2);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);
/// How long anything may take before it counts as never.
const NEVER: Duration = Duration::from_secs(15);
/// How long a hung pod may stay in rotation, and what a look may take.
const HUNG_MAX: Duration = Duration::from_millis(3_100);
/// The lease of five seconds, and a margin for the look at the state and the first checks.
const TAKE_OVER_MAX: Duration = Duration::from_secs(8);
/// How long a new pod may wait for its first request, and one that left may get more.
const TURN_MAX: Duration = Duration::from_millis(500);

const HTTP_GATEWAYS: [&str; 2] = ["http-gw-pod-1", "http-gw-pod-2"];
const DIAMETER_GATEWAYS: [&str; 2] = ["diam-gw-pod-1", "diam-gw-pod-2"];

/// Waits; the one place where the demonstration does.
#[expect(clippy::disallowed_methods, reason = "a demonstration takes its time")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Looks until the condition holds; false if it does not within the time.
pub(crate) fn wait_until(time: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + time;
    while !holds() {
        if Instant::now() >= deadline {
            return false;
        }
        pause(LOOK);
    }
    true
}

/// Plays it; what held and what did not.
pub(crate) fn play(fleet: &mut Fleet, traffic: &Traffic, board: &Board) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    board.say("all is well");
    pause(BEAT);
    kill_and_restart(fleet, board, Kind::Register, 1)?;
    kill_and_restart(fleet, board, Kind::DiameterGateway, 1)?;
    checks.push(hang(fleet, board)?);
    kill_and_restart(fleet, board, Kind::Register, 2)?;
    checks.extend(take_over(fleet, board)?);
    checks.push(without_manager(fleet, traffic, board)?);
    kill_and_restart(fleet, board, Kind::HttpGateway, 1)?;
    checks.push(newcomer(fleet, traffic, board)?);
    checks.extend(leaver(fleet, traffic, board)?);
    kill_and_restart(fleet, board, Kind::DiameterGateway, 2)?;
    board.say("all is well again");
    pause(AWAY);
    Ok(checks)
}

fn kill_and_restart(fleet: &mut Fleet, board: &Board, kind: Kind, number: u32) -> Result<()> {
    let name = format!("{}-pod-{number}", kind.service());
    board.say(&format!("SIGKILL {name}"));
    let began = Instant::now();
    fleet.take(&name)?.kill()?;
    pause(AWAY);
    fleet.start_pod(kind, number)?;
    board.say(&format!("{name} started again"));
    pause(BEAT.saturating_sub(began.elapsed()));
    Ok(())
}

/// A register that is there and does not answer.
fn hang(fleet: &mut Fleet, board: &Board) -> Result<Check> {
    let name = "eir-pod-1";
    let began = Instant::now();
    fleet.pod(name)?.signal(Signal::STOP);
    board.say(&format!("SIGSTOP {name}: it hangs"));
    let is_out =
        wait_until(NEVER, || DIAMETER_GATEWAYS.iter().all(|gw| usable(fleet, gw) == Some(1)));
    let took = began.elapsed();
    board.say(&format!("{name} is out of rotation after {} ms", took.as_millis()));
    pause(BEAT.saturating_sub(began.elapsed()));
    fleet.pod(name)?.signal(Signal::CONT);
    board.say(&format!("SIGCONT {name}"));
    let is_back =
        wait_until(NEVER, || DIAMETER_GATEWAYS.iter().all(|gw| usable(fleet, gw) == Some(2)));
    Ok(Check::new(
        "a hung pod is out of rotation within 3 s, and back when it recovers",
        is_out && is_back && took <= HUNG_MAX,
        format!("{} ms", took.as_millis()),
    ))
}

/// How many registers a Diameter gateway sends to.
fn usable(fleet: &Fleet, gateway: &str) -> Option<u64> {
    fleet.ask(gateway, "/stats").ok()?.get("usable_pods").and_then(Value::as_u64)
}

/// The active manager dies, and the one that stands by takes over; nothing without a second one.
fn take_over(fleet: &mut Fleet, board: &Board) -> Result<Option<Check>> {
    if fleet.addresses.len() < 2 {
        return Ok(None);
    }
    let active = fleet.active_manager().context("no manager is active")?;
    board.say(&format!("SIGKILL manager-{active}, which is active"));
    let began = Instant::now();
    fleet.kill_manager(active)?;
    let is_taken = wait_until(NEVER, || is_whole(fleet));
    let took = began.elapsed();
    board.say(&format!("the other one has taken over after {} ms", took.as_millis()));
    fleet.start_managers()?;
    pause(AWAY);
    Ok(Some(Check::new(
        "when the active manager dies the other one takes over, and knows every pod",
        is_taken && took <= TAKE_OVER_MAX,
        format!("{} ms", took.as_millis()),
    )))
}

/// Whether the registry has two healthy pods of each service.
fn is_whole(fleet: &Fleet) -> bool {
    let healthy = |service| {
        let pods = fleet.registry(service).unwrap_or_default();
        pods.iter().filter(|(_, status)| status == "healthy").count()
    };
    ["http-gw", "diam-gw", "eir"].iter().all(|service| healthy(service) == 2)
}

fn without_manager(fleet: &mut Fleet, traffic: &Traffic, board: &Board) -> Result<Check> {
    board.say("SIGKILL every manager");
    let before = traffic.answered();
    fleet.kill_managers()?;
    pause(BEAT);
    let answered = traffic.answered() - before;
    fleet.start_managers()?;
    board.say("managers are back, on what they stored");
    let is_whole = wait_until(NEVER, || is_whole(fleet));
    // Four fifths of the rate: this machine may be busy, but traffic does not stop.
    let expected = u64::from(super::traffic::RATE) * BEAT.as_secs() * 4 / 5;
    Ok(Check::new(
        "traffic goes on while no manager is there, and the registry is whole when one is back",
        answered >= expected && is_whole,
        format!("{answered} requests answered in 5 s without one"),
    ))
}

/// A third register comes: how soon everybody uses it.
fn newcomer(fleet: &mut Fleet, traffic: &Traffic, board: &Board) -> Result<Check> {
    // The log line that it listens comes before it registers.
    let name = fleet.start_pod(Kind::Register, 3)?;
    let is_there = wait_until(NEVER, || {
        fleet.registry("eir").is_ok_and(|pods| pods.iter().any(|(pod, _)| *pod == name))
    });
    let registered = Instant::now();
    board.say(&format!("{name} is new and registered"));
    let mut diameter = None;
    let is_used = wait_until(NEVER, || {
        if DIAMETER_GATEWAYS.iter().all(|gw| usable(fleet, gw) == Some(3)) {
            diameter.get_or_insert_with(|| registered.elapsed());
        }
        let is_asked = |gateway: &&str| traffic.shared.served(&name, gateway).is_some();
        diameter.is_some() && HTTP_GATEWAYS.iter().all(is_asked)
    });
    let first = |gateway: &str| {
        let served = traffic.shared.served(&name, gateway)?;
        Some(served.first_answered.saturating_duration_since(registered))
    };
    let http = HTTP_GATEWAYS.iter().filter_map(|gateway| first(gateway)).max().unwrap_or(NEVER);
    let took = http.max(diameter.unwrap_or(NEVER));
    board.say(&format!("{name} is used by all gateways after {} ms", took.as_millis()));
    pause(AWAY);
    Ok(Check::new(
        "a new pod is used by all gateways within 500 ms of its registration",
        is_there && is_used && took <= TURN_MAX,
        format!("{} ms", took.as_millis()),
    ))
}

/// It leaves again: nothing that begins 500 ms later reaches it.
fn leaver(fleet: &mut Fleet, traffic: &Traffic, board: &Board) -> Result<Vec<Check>> {
    let name = "eir-pod-3";
    let began = Instant::now();
    fleet.pod(name)?.signal(Signal::TERM);
    board.say(&format!("SIGTERM {name}: it unregisters, then drains for 2 s"));
    let is_gone = wait_until(NEVER, || {
        fleet.registry("eir").is_ok_and(|pods| pods.iter().all(|(pod, _)| pod != name))
    });
    let unregistered = Instant::now();
    pause(TURN_MAX);
    let count = |fleet: &Fleet| -> Option<u64> {
        let stats = fleet.ask(name, "/stats").ok()?;
        Some(stats.get("http")?.as_u64()? + stats.get("s13")?.as_u64()?)
    };
    let at_turn = count(fleet);
    pause(Duration::from_secs(1));
    let late = count(fleet).zip(at_turn).map(|(now, then)| now - then);
    let last = HTTP_GATEWAYS.iter().filter_map(|gateway| traffic.shared.served(name, gateway));
    let last = last.map(|served| served.last_began.saturating_duration_since(unregistered)).max();
    let status = fleet.take(name)?.wait()?;
    board.say(&format!("{name} ended {status} after {} ms", began.elapsed().as_millis()));
    pause(BEAT.saturating_sub(began.elapsed()));
    let last = last.unwrap_or(NEVER);
    Ok(vec![
        Check::new(
            "no request that begins 500 ms after a pod unregistered reaches it",
            is_gone && late == Some(0) && last <= TURN_MAX,
            format!("{} later, the last began {} ms after", shown(late), last.as_millis()),
        ),
        Check::new(
            "a pod that is asked to end drains and ends well",
            status.success(),
            format!("{status}"),
        ),
    ])
}

fn shown(count: Option<u64>) -> String {
    count.map_or_else(|| "unknown".to_owned(), |count| count.to_string())
}
