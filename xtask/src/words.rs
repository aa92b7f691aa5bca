//! What no file of the repository may hold: paths of one machine, hosts of package
//! registries or mirrors, files too big to read.
//!
//! Deliberately not here: spelling, style. The patterns are put together at run time, so
//! that this file does not trip over itself.
//! INVARIANT: every file git knows or would add is looked at; ignored ones are not.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::gate::Verdict;
use crate::process;

const FILE_LIMIT_BYTES: u64 = 1024 * 1024;

/// Looks at every committed file, and at those about to be.
pub(crate) fn check(root: &Path) -> Result<Verdict> {
    if !root.join(".git").exists() {
        return Ok(Verdict::Skipped("not a git clone".to_owned()));
    }
    let names = file_names(root)?;
    let patterns = patterns();
    let mut faults = Vec::new();
    for name in &names {
        faults.extend(faults_in_file(root, name, &patterns)?);
    }
    if faults.is_empty() {
        return Ok(Verdict::Passed(format!("{} files", names.len())));
    }
    for fault in &faults {
        eprintln!("{fault}");
    }
    bail!("{} faults in committed files", faults.len());
}

/// Tracked and new files, relative to the root; ignored ones are left out.
pub(crate) fn file_names(root: &Path) -> Result<Vec<String>> {
    // A clone made by another user (a CI volume) is read only; the exception is safe here.
    let listed = process::output(Command::new("git").current_dir(root).args([
        "-c",
        "safe.directory=*",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let listed = String::from_utf8(listed).context("a file name is not UTF-8")?;
    let names = listed.split('\0').filter(|name| !name.is_empty());
    Ok(names.map(str::to_owned).collect())
}

fn faults_in_file(root: &Path, name: &str, patterns: &[String]) -> Result<Vec<String>> {
    let path = root.join(name);
    // A tracked file that is deleted but not yet committed, a link, a submodule.
    let Ok(metadata) = path.symlink_metadata() else {
        return Ok(Vec::new());
    };
    if !metadata.is_file() {
        return Ok(Vec::new());
    }
    if metadata.len() > FILE_LIMIT_BYTES {
        let fault = format!("{name}: {} bytes, the limit is 1 MiB", metadata.len());
        return Ok(vec![fault]);
    }
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {name}"))?;
    // What is not UTF-8 is an image or an archive, not text.
    Ok(String::from_utf8(bytes)
        .map(|text| faults_in_text(name, &text, patterns))
        .unwrap_or_default())
}

fn faults_in_text(name: &str, text: &str, patterns: &[String]) -> Vec<String> {
    let mut faults = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        for pattern in patterns {
            if stands_alone(line, pattern) {
                faults.push(format!("{name}:{number}: `{pattern}` must not be named"));
            }
        }
    }
    faults
}

/// True if `pattern` occurs where a path or host begins: `docs/work/x` names no machine.
fn stands_alone(line: &str, pattern: &str) -> bool {
    line.match_indices(pattern).any(|(at, _)| {
        let before = line.get(..at).and_then(|head| head.chars().next_back());
        before.is_none_or(|c| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-' | '.' | '}'))
    })
}

/// Assembled from pieces: no line of this file contains one whole.
fn patterns() -> Vec<String> {
    let folders = ["work", "root", "Users"].map(|folder| format!("/{folder}/"));
    let hosts = [
        ("static.crates", "io"),
        ("index.crates", "io"),
        ("registry.npmjs", "org"),
        ("registry.yarnpkg", "com"),
        ("pypi", "org"),
        ("files.pythonhosted", "org"),
        ("proxy.golang", "org"),
    ];
    let hosts = hosts.map(|(name, domain)| format!("{name}.{domain}"));
    let mirror = format!("/{}{}/", "artifact", "ory");
    folders.into_iter().chain(hosts).chain([mirror]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        faults_in_text("notes.md", text, &patterns())
    }

    #[test]
    fn a_path_of_one_machine_is_found_with_its_line() {
        let text = format!("fine\nsee /{}/main/src\n", "work");
        let expected = format!("notes.md:2: `/{}/` must not be named", "work");
        assert_eq!(faults(&text), [expected]);
    }

    #[test]
    fn a_registry_host_is_found_inside_an_address() {
        let text = format!("\"resolved\": \"https://registry.{}.org/x\"", "npmjs");
        assert_eq!(faults(&text).len(), 1);
    }

    #[test]
    fn a_folder_inside_the_repository_is_no_fault() {
        assert!(faults("docs/work/plan.md and ${TMP}/root/x, ./root/y").is_empty());
    }

    #[test]
    fn the_lock_file_of_cargo_is_no_fault() {
        let line = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
        assert!(faults(line).is_empty());
    }

    #[test]
    fn this_very_file_is_clean() {
        assert!(faults(include_str!("words.rs")).is_empty());
    }
}
