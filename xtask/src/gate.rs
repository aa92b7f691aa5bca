//! The gate: its steps in order, what is printed about each, and the verdict.
//!
//! Deliberately not here: how a step does its work. Cheap steps come first, and the tests
//! last, so that their own summary stands right above the gate's.
//! INVARIANT: a step that did not run is never reported as passed.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{docs, edges, fuzz, suite, tools, words};

/// How a step that found no fault ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It ran; the text says what was looked at.
    Passed(String),
    /// It could not run here and need not; the text says why.
    Skipped(String),
}

/// Whether the steps after a failed one still run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnFailure {
    /// The first failure ends the gate.
    Stop,
    /// Every step runs, then the verdict.
    KeepGoing,
}

struct Step {
    name: &'static str,
    about: &'static str,
    run: fn(&Path) -> Result<Verdict>,
}

const STEPS: &[Step] = &[
    Step {
        name: "tools",
        about: "programs the tests need, installed where that is possible",
        run: tools::provide,
    },
    Step { name: "fmt", about: "cargo fmt --all --check", run: suite::fmt },
    Step {
        name: "edges",
        about: "dependencies between crates and modules point down only",
        run: edges::check,
    },
    Step {
        name: "docs",
        about: "paths and links in the documents exist, each alert and ERROR has its entry",
        run: docs::check,
    },
    Step {
        name: "words",
        about: "no paths of one machine, no registry hosts, no huge files",
        run: words::check,
    },
    Step {
        name: "deny",
        about: "cargo deny check bans licenses sources (when installed)",
        run: suite::deny,
    },
    Step {
        name: "clippy",
        about: "cargo clippy --workspace --all-targets, warnings are errors",
        run: suite::clippy,
    },
    // Before the tests, whose programs must be the ones without traces.
    Step {
        name: "traces",
        about: "clippy and tests of the manager with its optional traces",
        run: suite::traces,
    },
    Step {
        name: "fuzz",
        about: "schemathesis against the manager and its OpenAPI document",
        run: fuzz::check,
    },
    Step {
        name: "test",
        about: "build the binaries, doctests, then every test",
        run: |root| suite::run(root, &[]),
    },
];

enum Ending {
    Ok,
    Skipped,
    Failed,
}

struct Ended {
    name: &'static str,
    ending: Ending,
    took: Duration,
}

/// True if a step of that name exists.
pub(crate) fn knows(name: &str) -> bool {
    STEPS.iter().any(|step| step.name == name)
}

/// Runs the chosen steps (all of them if `only` is empty); true if none failed.
pub(crate) fn run(root: &Path, only: &[String], on_failure: OnFailure) -> bool {
    let chosen: Vec<&Step> = STEPS
        .iter()
        .filter(|step| only.is_empty() || only.iter().any(|name| name == step.name))
        .collect();
    let mut ended: Vec<Ended> = Vec::new();
    for step in &chosen {
        let result = run_step(root, step);
        let has_failed = matches!(result.ending, Ending::Failed);
        ended.push(result);
        if has_failed && on_failure == OnFailure::Stop {
            break;
        }
    }
    let not_run: Vec<&str> = chosen.iter().skip(ended.len()).map(|step| step.name).collect();
    eprintln!("{}", summary(&ended, &not_run));
    ended.iter().all(|step| !matches!(step.ending, Ending::Failed))
}

fn run_step(root: &Path, step: &Step) -> Ended {
    eprintln!("== {}: {}", step.name, step.about);
    let started = Instant::now();
    let result = (step.run)(root);
    let took = started.elapsed();
    let (ending, word, text) = match result {
        Ok(Verdict::Passed(text)) => (Ending::Ok, "ok", text),
        Ok(Verdict::Skipped(text)) => (Ending::Skipped, "SKIPPED", text),
        Err(fault) => (Ending::Failed, "FAILED", format!("{fault:#}")),
    };
    eprintln!("== {}: {word} in {:.1} s: {text}", step.name, took.as_secs_f64());
    Ended { name: step.name, ending, took }
}

/// One line: the verdict, then every step with its own.
fn summary(ended: &[Ended], not_run: &[&str]) -> String {
    let has_failed = ended.iter().any(|step| matches!(step.ending, Ending::Failed));
    let total: Duration = ended.iter().map(|step| step.took).sum();
    let mut parts: Vec<String> = ended.iter().map(describe).collect();
    parts.extend(not_run.iter().map(|name| format!("{name} not run")));
    format!(
        "gate {} in {:.1} s: {}",
        if has_failed { "FAILED" } else { "passed" },
        total.as_secs_f64(),
        parts.join(", ")
    )
}

fn describe(step: &Ended) -> String {
    let word = match step.ending {
        Ending::Ok => "ok",
        Ending::Skipped => "skipped",
        Ending::Failed => "FAILED",
    };
    format!("{} {word} {:.1} s", step.name, step.took.as_secs_f64())
}

/// The usage text, with the steps as they really are.
pub(crate) fn help() -> String {
    let mut text = String::from(
        "cargo xtask check [--keep-going] [--only STEP[,STEP]]   the gate: what CI runs\n\
         cargo xtask test [FILTER...]                            tools, build, tests\n\
         cargo xtask docs                                        write generated documents anew\n\
         cargo xtask demo                                        the services at work, killed and hung\n\
         cargo xtask fuzz [SEED...]                              schemathesis, longer, with these seeds\n\
         cargo xtask help                                        this text\n\nsteps of the gate:\n",
    );
    for step in STEPS {
        text.push_str("  ");
        text.push_str(step.name);
        text.push_str(&" ".repeat(8_usize.saturating_sub(step.name.len())));
        text.push_str(step.about);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(name: &'static str, ending: Ending) -> Ended {
        Ended { name, ending, took: Duration::from_millis(1_200) }
    }

    #[test]
    fn the_summary_is_one_line_and_names_what_did_not_run() {
        let steps = [ended("fmt", Ending::Ok), ended("edges", Ending::Failed)];
        assert_eq!(
            summary(&steps, &["clippy", "test"]),
            "gate FAILED in 2.4 s: fmt ok 1.2 s, edges FAILED 1.2 s, clippy not run, test not run"
        );
    }

    #[test]
    fn a_skipped_step_does_not_fail_the_gate_and_is_not_called_ok() {
        let text = summary(&[ended("deny", Ending::Skipped)], &[]);
        assert_eq!(text, "gate passed in 1.2 s: deny skipped 1.2 s");
    }

    #[test]
    fn the_help_names_every_step() {
        let text = help();
        for step in STEPS {
            assert!(text.contains(step.about), "{} is missing", step.name);
        }
    }
}
