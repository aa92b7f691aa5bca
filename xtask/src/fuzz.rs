//! schemathesis against the real manager: every operation of its own `/openapi.json`, with what the
//! document allows and what it does not; an answer that the document does not promise is a fault.
//!
//! What is registered is made up, so its addresses are, too, and the manager would connect to them.
//! INVARIANT: manager and schemathesis run in a network namespace that has nothing but a loopback
//! interface; where none can be made, they do not run.
//! Deliberately not here: `/watch`, whose answer has no end.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use crate::demo::Child;
use crate::gate::Verdict;
use crate::{process, python, suite};

/// The same cases at each run of the gate.
const SEED: u64 = 1;
/// Cases for each operation in the gate; beside them come those of a fixed number.
const CASES: u32 = 30;
/// Cases for each operation where seeds are given.
const CASES_LONG: u32 = 200;
/// Fewer would mean that the document was not read.
const CASES_MIN: usize = 500;
/// For this run alone; it guards nothing.
const TOKEN: &str = "f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0";
const NAMESPACE: [&str; 4] = ["--user", "--map-root-user", "--net", "--"];

/// How the manager is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum World {
    /// Nothing is kept, everybody may do everything.
    Open,
    /// In a file, and only for those who send a token.
    Guarded,
}

impl World {
    const ALL: [Self; 2] = [Self::Open, Self::Guarded];

    const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Guarded => "guarded",
        }
    }

    /// The one of that name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|world| world.name() == name)
    }
}

/// One run against one manager.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) world: World,
    pub(crate) seed: u64,
    pub(crate) cases: u32,
}

/// The gate's step: one seed, a few cases. Skipped where schemathesis cannot be had, because a package
/// index that is away says nothing about the manager; and where there is no network namespace,
/// unless CI asks.
pub(crate) fn check(root: &Path) -> Result<Verdict> {
    if let Err(fault) = python::provide(root, "schemathesis") {
        return Ok(Verdict::Skipped(format!("schemathesis is not there: {fault:#}")));
    }
    if has_namespaces() {
        return run(root, &[]);
    }
    let lack = "this system allows no network of its own";
    ensure!(std::env::var_os("CI").is_none(), "CI must run it, yet {lack}");
    Ok(Verdict::Skipped(lack.to_owned()))
}

/// Runs with each seed; without one as the gate does.
pub(crate) fn run(root: &Path, seeds: &[u64]) -> Result<Verdict> {
    python::provide(root, "schemathesis")?;
    ensure!(has_namespaces(), "this system allows no network of its own (unshare --user --net)");
    suite::build(root)?;
    let (seeds, cases) = if seeds.is_empty() { (&[SEED][..], CASES) } else { (seeds, CASES_LONG) };
    let itself = copy_of_itself(root)?;
    for seed in seeds {
        for world in World::ALL {
            let words = [seed.to_string(), cases.to_string()];
            process::run(
                Command::new("unshare")
                    .args(NAMESPACE)
                    .arg(&itself)
                    .args(["fuzz-inside", world.name()])
                    .args(words),
            )
            .with_context(|| {
                format!("an answer of the {} manager is not as documented", world.name())
            })?;
        }
    }
    let count = seeds.len() * World::ALL.len();
    Ok(Verdict::Passed(format!("schemathesis finds nothing in {count} runs")))
}

/// This program, where no build puts another one in its place meanwhile.
fn copy_of_itself(root: &Path) -> Result<PathBuf> {
    let folder = root.join("target/fuzz");
    fs::create_dir_all(&folder)?;
    let copy = folder.join("xtask");
    // Its own path may be that of its successor already, or of nothing.
    fs::copy("/proc/self/exe", &copy)
        .with_context(|| format!("cannot write {}", copy.display()))?;
    Ok(copy)
}

fn has_namespaces() -> bool {
    process::succeeds(Command::new("unshare").args(NAMESPACE).arg("true"))
}

/// What runs in the namespace; refuses to run elsewhere.
pub(crate) fn inside(root: &Path, run: &Run) -> Result<Verdict> {
    only_loopback()?;
    process::run(Command::new("ip").args(["link", "set", "dev", "lo", "up"]))?;
    let folder = root.join("target/fuzz").join(run.world.name());
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let program = root.join("target/debug/governance-manager");
    let mut settings = BTreeMap::from(
        [
            ("SERVER_HOST", "127.0.0.1"),
            ("SERVER_PORT", "0"),
            ("LOG_FORMAT", "json"),
            ("STORAGE", if run.world == World::Open { "memory" } else { "sqlite" }),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    settings.insert("DATA_DIR".to_owned(), folder.join("data").display().to_string());
    if run.world == World::Guarded {
        let file = folder.join("tokens");
        fs::write(&file, token_line(&program)?)?;
        settings.insert("API_TOKENS_FILE".to_owned(), file.display().to_string());
    }
    let log = folder.join("manager.log");
    let manager = Child::start(&program, "the manager", &settings, &log)?;
    let generated = schemathesis(root, run, manager.address("address")?, &folder)?;
    manager.signal(Signal::TERM);
    let status = manager.wait()?;
    ensure!(status.success(), "the manager ended with {status}; its log is {}", log.display());
    ensure!(generated >= CASES_MIN, "only {generated} cases were tried");
    Ok(Verdict::Passed(format!("{generated} cases")))
}

/// In a namespace that was just made nothing but `lo` is up.
fn only_loopback() -> Result<()> {
    let up = process::output(Command::new("ip").args(["-oneline", "link", "show", "up"]))?;
    let up = String::from_utf8_lossy(&up);
    let ways_out = ways_out(&up);
    ensure!(ways_out.is_empty(), "there is a way out: {ways_out:?}");
    Ok(())
}

/// From lines like `1: lo: <LOOPBACK,UP> mtu 65536 …`.
fn ways_out(up: &str) -> Vec<&str> {
    let names = up.lines().map(|line| line.split(':').nth(1).unwrap_or(line).trim());
    names.filter(|name| *name != "lo").collect()
}

fn token_line(program: &Path) -> Result<Vec<u8>> {
    let mut child = Command::new(program)
        .args(["--hash-token", "fuzz admin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("piped above")?.write_all(TOKEN.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "--hash-token ended with {}", output.status);
    Ok(output.stdout)
}

/// Runs it to its end; how many cases it tried.
fn schemathesis(
    root: &Path,
    run: &Run,
    manager: std::net::SocketAddr,
    folder: &Path,
) -> Result<usize> {
    let program: PathBuf = root.join("target/tools/schemathesis/bin/schemathesis");
    let mut command = Command::new(&program);
    command
        .args(["--no-color", "run", "--exclude-path", "/watch", "--generation-database", "none"])
        .args(["--seed", &run.seed.to_string(), "--max-examples", &run.cases.to_string()])
        // A proxy of this machine's is not for loopback.
        .env("NO_PROXY", "*")
        .current_dir(folder);
    if run.world == World::Guarded {
        command.arg("--header").arg(format!("Authorization: Bearer {TOKEN}"));
    }
    command.arg(format!("http://{manager}/openapi.json"));
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    eprintln!("{text}");
    if !output.status.success() {
        bail!("schemathesis has findings: seed {}, see above", run.seed);
    }
    generated(&text).context("schemathesis does not say how many cases it tried")
}

/// From `  1237 generated, 1237 passed`.
fn generated(text: &str) -> Option<usize> {
    text.lines().find_map(|line| line.trim().split_once(" generated")?.0.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_cases_is_read() {
        let text = "Test cases:\n  1237 generated, 1237 passed\n\nSeed: 1\n";
        assert_eq!(generated(text), Some(1237));
        assert_eq!(generated("No test cases were generated"), None);
    }

    #[test]
    fn every_world_is_found_by_its_name() {
        for world in World::ALL {
            assert_eq!(World::parse(world.name()), Some(world));
        }
        assert_eq!(World::parse("other"), None);
    }

    #[test]
    fn an_interface_beside_loopback_is_a_way_out() {
        let lo = "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN\n";
        assert!(ways_out(lo).is_empty() && ways_out("").is_empty());
        let two = format!("{lo}2: eth0@if7: <BROADCAST,UP> mtu 1500\n");
        assert_eq!(ways_out(&two), ["eth0@if7"]);
    }
}
