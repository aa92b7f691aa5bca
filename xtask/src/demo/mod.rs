//! `cargo xtask demo`: the whole composition as plain processes on loopback, with traffic, deaths
//! and hangs, a line a second of what happens, and a verdict.
//!
//! Here: the order of things. [`child`] is one process, [`fleet`] all of them
//! ([`database`] among them), [`traffic`] the
//! clients, [`script`] what is done to them, [`report`] what is shown. Nothing but loopback is used,
//! and nothing is kept but the logs under `target/demo`.

mod child;
mod database;
mod fleet;
mod report;
mod script;
mod traffic;
mod web;

use std::path::Path;

use anyhow::{Result, bail};

use crate::gate::Verdict;
use crate::process;
pub(crate) use child::Child;
use fleet::Fleet;
use report::Board;
use traffic::Traffic;

/// Builds what is needed, plays the script and judges it.
pub(crate) fn run(root: &Path) -> Result<Verdict> {
    const BUILD: &[&str] = &[
        "build",
        "--locked",
        "--bins",
        "-p",
        "governance-manager",
        "-p",
        "eir",
        "-p",
        "diam-gw",
        "-p",
        "http-gw",
    ];
    process::run(&mut process::cargo(root, BUILD))?;
    let mut fleet = Fleet::start(root)?;
    let traffic = Traffic::start(&fleet);
    let board = Board::start(&fleet, &traffic);
    let played = script::play(&mut fleet, &traffic, &board);
    board.stop();
    let counts = traffic.stop();
    let ended = fleet.stop();
    let mut checks = played?;
    checks.extend(report::judge_counts(&counts));
    checks.push(report::judge_ends(&ended));
    report::print_verdict(&checks, &counts);
    if checks.iter().any(|check| !check.holds) {
        bail!("not everything held; the logs are in target/demo");
    }
    Ok(Verdict::Passed("everything held".to_owned()))
}
