//! The steps that are cargo commands: formatting, lints, tests, supply chain.
//!
//! INVARIANT: everything runs with `--locked`; the gate never edits `Cargo.lock`.

use std::path::Path;

use anyhow::{Context, Result};

use crate::gate::Verdict;
use crate::process;

/// The feature that brings traces into the manager.
const TRACES: &str = "governance-manager/traces";

/// Every file is formatted as `rustfmt.toml` says.
pub(crate) fn fmt(root: &Path) -> Result<Verdict> {
    process::run(&mut process::cargo(root, &["fmt", "--all", "--check"]))
        .context("not formatted: run `cargo fmt --all`")?;
    Ok(Verdict::Passed("every file is formatted".to_owned()))
}

/// The lints of the workspace, warnings as errors.
pub(crate) fn clippy(root: &Path) -> Result<Verdict> {
    const ARGUMENTS: &[&str] =
        &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    process::run(&mut process::cargo(root, ARGUMENTS))?;
    Ok(Verdict::Passed("no warnings".to_owned()))
}

/// Licences, banned crates and sources; cargo-deny is not required to contribute.
pub(crate) fn deny(root: &Path) -> Result<Verdict> {
    const ARGUMENTS: &[&str] = &["deny", "--locked", "check", "bans", "licenses", "sources"];
    if process::which("cargo-deny").is_none() {
        let why = "cargo-deny is not installed (`cargo install --locked cargo-deny`)";
        return Ok(Verdict::Skipped(why.to_owned()));
    }
    process::run(&mut process::cargo(root, ARGUMENTS))?;
    Ok(Verdict::Passed("bans, licences, sources".to_owned()))
}

/// The optional traces of the manager: lints and tests with the feature that brings them in.
///
/// Everything else of the workspace is selected, too, so that what the manager depends on has the
/// features that it has in the other steps, and is compiled once.
pub(crate) fn traces(root: &Path) -> Result<Verdict> {
    let with = |words: &[&str]| -> Result<()> {
        let mut arguments = words.to_vec();
        let at = arguments.iter().position(|word| *word == "--").unwrap_or(arguments.len());
        arguments.splice(at..at, ["--workspace", "--features", TRACES, "--locked"]);
        process::run(&mut process::cargo(root, &arguments))
    };
    with(&["clippy", "--all-targets", "--", "-D", "warnings"])?;
    let runner = if process::which("cargo-nextest").is_some() {
        let wanted = "package(governance-manager) & (binary(traces) | test(traces))";
        with(&["nextest", "run", "--lib", "--test", "traces", "-E", wanted])
            .context("a test failed")?;
        "cargo-nextest"
    } else {
        with(&["test", "--test", "traces"]).context("a test failed")?;
        with(&["test", "--lib", "--", "traces"]).context("a test failed")?;
        "cargo test"
    };
    Ok(Verdict::Passed(format!("no warnings, and all tests of traces passed under {runner}")))
}

/// Builds every program and every test.
pub(crate) fn build(root: &Path) -> Result<()> {
    // The same selection as the test run, so that nothing is compiled twice.
    const BUILD: &[&str] = &["build", "--workspace", "--bins", "--tests", "--locked"];
    process::run(&mut process::cargo(root, BUILD))
}

/// Builds the binaries that end-to-end tests start, then runs doctests and tests.
///
/// With `filters` only tests whose names contain one of them run, and no doctests. A filter
/// that matches nothing is a failure under nextest: it would prove nothing.
pub(crate) fn run(root: &Path, filters: &[String]) -> Result<Verdict> {
    const DOCTESTS: &[&str] = &["test", "--workspace", "--doc", "--locked"];
    build(root)?;
    if filters.is_empty() {
        process::run(&mut process::cargo(root, DOCTESTS)).context("a doctest failed")?;
    }
    let (mut arguments, runner) = if process::which("cargo-nextest").is_some() {
        let words = ["nextest", "run", "--workspace", "--locked"];
        (words.to_vec(), "cargo-nextest")
    } else {
        eprintln!("cargo-nextest is not installed: the tests run under `cargo test`");
        (cargo_test_words().to_vec(), "cargo test")
    };
    arguments.extend(filters.iter().map(String::as_str));
    process::run(&mut process::cargo(root, &arguments)).context("a test failed")?;
    Ok(Verdict::Passed(format!("all tests passed under {runner}")))
}

/// Naming the targets leaves out the doctests, which ran already; filters follow the `--`.
fn cargo_test_words() -> [&'static str; 8] {
    ["test", "--workspace", "--bins", "--lib", "--tests", "--locked", "--no-fail-fast", "--"]
}
