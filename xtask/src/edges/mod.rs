//! The room edges: dependencies point down only.
//!
//! Three checks, one file each: [`crates`] (what a Cargo.toml may name), [`modules`] (what
//! the rooms inside the manager may see of each other), [`purity`] (what the domain may
//! touch of the outside world). [`tokens`] and [`paths`] read Rust source for them.
//!
//! Limits, known and accepted: a path that a macro puts together, a re-export at the crate
//! root under another name, and `#[path]` attributes are not seen.

mod crates;
mod modules;
mod paths;
mod purity;
mod tokens;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::gate::Verdict;

/// One broken rule at one place.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    /// Relative to the root, with `/`.
    file: String,
    line: usize,
    rule: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.rule)
    }
}

/// Runs the three checks over the workspace at `root`.
pub(crate) fn check(root: &Path) -> Result<Verdict> {
    let mut violations = crates::check(root)?;
    let mut files = 0;
    for (folder, judge) in [
        (modules::FOLDER, modules::violations as Judge),
        (purity::FOLDER, purity::violations as Judge),
    ] {
        for (inside, source) in sources(&root.join(folder))? {
            files += 1;
            violations.extend(judge(&inside, &source));
        }
    }
    if violations.is_empty() {
        let text = format!("crates and {files} source files point down only");
        return Ok(Verdict::Passed(text));
    }
    for violation in &violations {
        eprintln!("{violation}");
    }
    bail!("{} edges point the wrong way", violations.len());
}

/// Judges one file by its path inside the room's folder and its text.
type Judge = fn(&str, &str) -> Vec<Violation>;

/// Every Rust file below `folder`: its path relative to it, and its text, in a fixed order.
fn sources(folder: &Path) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![folder.to_path_buf()];
    while let Some(current) = folders.pop() {
        let entries =
            std::fs::read_dir(&current).with_context(|| format!("{}", current.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path)
                    .with_context(|| format!("{}", path.display()))?;
                let inside = path.strip_prefix(folder)?.to_string_lossy();
                found.push((inside.replace('\\', "/"), text));
            }
        }
    }
    // A folder that moved away would otherwise pass for ever without being looked at.
    if found.is_empty() {
        bail!("no Rust source in {}", folder.display());
    }
    found.sort();
    Ok(found)
}
