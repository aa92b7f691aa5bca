//! A process that may open few files serves everyone with what it has: checks, notifications and
//! clients each keep to their share, and who finds no place is late, all alike.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod fleet_common;

use std::net::TcpStream;

use fleet_common::{await_status, manager, register, registration, shown, unregister};
use governance_testkit::fleet::{FakePod, Fleet, Health, Reception};
use governance_testkit::manager::PATIENCE;
use governance_testkit::wait::until;

/// More of everything than there are files.
const HANGING: usize = 150;
const IDLE: usize = 300;

#[test]
fn with_few_files_everyone_is_served_a_little_later_and_no_check_fails_for_want_of_one() {
    let manager = manager()
        .set("HEALTH_CHECK_INTERVAL", "500ms")
        .set("HEALTH_CHECK_TIMEOUT", "1s")
        .set("NOTIFICATION_TIMEOUT", "1s")
        .set("NOTIFICATION_INTERVAL", "1s")
        .set("LOG_LEVEL", "info")
        .wrapped_by(&["sh", "-c", "ulimit -n 256 && exec \"$0\" \"$@\""])
        .start();
    let mut client = manager.client();
    let fleet = Fleet::new().unwrap();
    let hanging: Vec<FakePod> =
        (0..HANGING).map(|number| fleet.pod(&format!("hangs-{number}")).unwrap()).collect();
    for pod in &hanging {
        pod.set_health(Health::Hang);
        pod.set_reception(Reception::Hang);
        register(&mut client, &registration("gw", pod, 1, &["eir"]));
    }
    let connect = || TcpStream::connect(manager.address());
    let idle: Vec<TcpStream> = (0..IDLE).map(|_| connect().unwrap()).collect();

    let well = fleet.pod("well").unwrap();
    register(&mut manager.client(), &registration("gw", &well, 1, &["eir"]));
    let eir = fleet.pod("eir-1").unwrap();
    register(&mut manager.client(), &registration("eir", &eir, 80, &[]));
    for (service, pod) in [("gw", &well), ("eir", &eir)] {
        await_status(&mut manager.client(), service, &pod.name, "healthy");
        let seen = pod.checks();
        assert!(until(PATIENCE, || pod.checks() > seen + 3));
    }
    unregister(&mut manager.client(), "eir", "eir-1");
    let is_told = || fleet.told_to("well").last().is_some_and(|told| told.pods().is_empty());
    assert!(until(PATIENCE, is_told), "{:?}", fleet.told_to("well").last());

    let shown = shown(&mut manager.client(), "gw", "hangs-0");
    assert_eq!(shown["status"], "unhealthy", "{shown}");
    let late = |line: &&serde_json::Value| {
        line["message"].as_str().is_some_and(|text| text.starts_with("health checks begin late"))
    };
    manager.wait_for_log(|line| late(&line));
    let log = manager.log();
    assert_eq!(log.iter().filter(late).count(), 1, "{}", manager.log_text());
    assert!(!log.iter().any(|line| line["kind"] == "descriptors"), "{}", manager.log_text());
    drop(idle);
}
