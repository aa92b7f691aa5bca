//! The promise on PostgreSQL: what was answered 200 is stored, what was answered 503 is not. Kept
//! under load while the manager is killed, while the server is killed or ends at once, and while
//! the connection between them is cut before, within and after a commit.
//!
//! `GOVERNANCE_MANAGER_KILLS`, `GOVERNANCE_SERVER_KILLS` (of each kind) and `GOVERNANCE_CUTS` ask
//! for more of them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod postgres_common;

use governance_testkit::postgres::{Cluster, Shutdown};
use governance_testkit::proxy::Fate;
use postgres_common::{Clients, Gate, manager, revision, times};
use rustix::process::Signal;

const CONNECTIONS: usize = 48;
/// Acknowledged changes between two faults: enough that many batches were committed.
const CHANGES_BETWEEN: usize = 300;

#[test]
fn what_was_acknowledged_survives_kills_of_the_manager_under_load() {
    let cluster = Cluster::start().unwrap();
    let mut builder = manager(cluster.address());
    let mut clients = Clients::new(CONNECTIONS);
    let kills = times("GOVERNANCE_MANAGER_KILLS", 5);
    let mut last = None;
    for round in 0..kills {
        let manager = builder.start();
        clients.compare(&manager, &cluster);
        let (now, registry_id) = revision(&manager);
        if let Some((before, known)) = &last {
            assert!(now > *before, "round {round}: revisions went back");
            assert_eq!(registry_id, *known, "round {round}");
        }
        clients.work_during(manager.address(), |progress| {
            progress.wait_for_more(CHANGES_BETWEEN + round * 7, &manager);
            last = Some(revision(&manager));
            manager.signal(Signal::KILL);
        });
        builder = manager.sigkill();
    }
    let manager = builder.start();
    clients.compare(&manager, &cluster);
    assert!(clients.unknown() > kills, "the kills did not hit anything under way");
}

#[track_caller]
fn assert_survives(how: Shutdown) {
    let mut cluster = Cluster::start().unwrap();
    let manager = manager(cluster.address()).start();
    let mut clients = Clients::new(CONNECTIONS);
    let (_, registry_id) = revision(&manager);
    for _ in 0..times("GOVERNANCE_SERVER_KILLS", 3) {
        clients.work_during(manager.address(), |progress| {
            progress.wait_for_more(CHANGES_BETWEEN, &manager);
            cluster.stop(how).unwrap();
            cluster.start_again().unwrap();
            progress.wait_for_more(CHANGES_BETWEEN, &manager);
        });
        clients.compare(&manager, &cluster);
    }
    assert_eq!(revision(&manager).1, registry_id, "nothing was lost, it is the same registry");
}

#[test]
fn what_was_acknowledged_survives_kills_of_the_server_under_load() {
    assert_survives(Shutdown::Kill);
}

#[test]
fn what_was_acknowledged_survives_immediate_ends_of_the_server_under_load() {
    assert_survives(Shutdown::Immediate);
}

#[test]
fn a_connection_that_is_cut_around_a_commit_costs_no_answer_its_truth() {
    let cluster = Cluster::start().unwrap();
    let gate = Gate::before(&cluster);
    let manager = manager(gate.proxy.address).start();
    let mut clients = Clients::new(CONNECTIONS);
    let fates = [Some(Fate::CutBefore), Some(Fate::CutWithin), Some(Fate::CutAfter), None];
    let cuts = times("GOVERNANCE_CUTS", 12);
    let mut kinds = fates.iter().cycle();
    let mut done = 0;
    while done < cuts {
        clients.work_during(manager.address(), |progress| {
            for fate in kinds.by_ref().take(fates.len()) {
                progress.wait_for_more(CHANGES_BETWEEN / 4, &manager);
                match fate {
                    Some(fate) => gate.proxy.doom_next(*fate),
                    None => gate.proxy.cut(),
                }
                done += 1;
                progress.wait_for_more(CHANGES_BETWEEN / 4, &manager);
            }
        });
        clients.compare(&manager, &cluster);
    }
    assert_asked(&manager, cuts / 2);
}

#[test]
fn an_answer_that_never_comes_back_is_found_out() {
    let cluster = Cluster::start().unwrap();
    let gate = Gate::before(&cluster);
    let manager = manager(gate.proxy.address).start();
    let mut clients = Clients::new(CONNECTIONS);
    clients.work_during(manager.address(), |progress| {
        progress.wait_for_more(CHANGES_BETWEEN, &manager);
        gate.proxy.doom_next(Fate::SwallowAnswer);
        progress.wait_for_more(CHANGES_BETWEEN, &manager);
    });
    clients.compare(&manager, &cluster);
}

/// The faults met commits, and their outcomes were looked up.
#[track_caller]
fn assert_asked(manager: &governance_testkit::manager::ManagerProcess, least: usize) {
    let log = manager.log();
    let asked = log.iter().filter(|line| line["message"] == "the store was asked").count();
    assert!(asked >= least, "{asked} outcomes were looked up:\n{}", manager.log_text());
}
