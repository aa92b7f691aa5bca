//! Documents that cannot go stale: what they name exists, what is generated is generated.
//!
//! Here: paths in ARCHITECTURE.md, relative links in every document, and writing
//! `docs/configuration.md`, `docs/openapi.json` and `docs/govctl.md`. That the generated texts on
//! disk are the current ones is a test of the program that prints them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::gate::Verdict;
use crate::{operations, process, words};

const ARCHITECTURE: &str = "ARCHITECTURE.md";
/// Documents, the programs that print them, and the word that makes them do so.
const GENERATED: [(&str, &str, &str); 3] = [
    ("docs/configuration.md", "governance-manager", "--print-config-reference"),
    ("docs/openapi.json", "governance-manager", "--print-openapi"),
    ("docs/govctl.md", "govctl", "reference"),
];
/// Endings that make a bare name in the text the name of a file.
const FILE_ENDINGS: &[&str] = &[".rs", ".md", ".toml", ".yml", ".yaml", ".sql", ".json"];
/// First halves of media types, which look like paths.
const MEDIA: &[&str] = &["application", "text"];

/// Everything that ARCHITECTURE.md and the links of all documents name must be there.
pub(crate) fn check(root: &Path) -> Result<Verdict> {
    let text = std::fs::read_to_string(root.join(ARCHITECTURE))
        .with_context(|| format!("{ARCHITECTURE} cannot be read"))?;
    let named = named_paths(&text);
    let mut faults: Vec<String> = named
        .iter()
        .filter(|named| !places(root, named).iter().any(|place| place.exists()))
        .map(|named| format!("{ARCHITECTURE}:{}: `{}` does not exist", named.line, named.path))
        .collect();
    let mut links = 0;
    for document in words::file_names(root)? {
        if Path::new(&document).extension().is_none_or(|ending| ending != "md") {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(root.join(&document)) else {
            continue;
        };
        for (line, target) in relative_links(&text) {
            links += 1;
            let folder = Path::new(&document).parent().unwrap_or(Path::new(""));
            if !root.join(folder).join(&target).exists() {
                faults.push(format!("{document}:{line}: the link to `{target}` is dead"));
            }
        }
    }
    if faults.is_empty() {
        let entries = operations::check(root)?;
        let text = format!("{} paths and {links} links exist, {entries}", named.len());
        return Ok(Verdict::Passed(text));
    }
    for fault in &faults {
        eprintln!("{fault}");
    }
    bail!("{} names lead nowhere", faults.len());
}

/// Writes every generated document anew; nothing is touched if generating fails.
pub(crate) fn regenerate(root: &Path) -> Result<Verdict> {
    let mut texts = Vec::new();
    for (document, program, word) in GENERATED {
        // Both packages are called as their programs.
        let arguments =
            ["run", "--quiet", "--locked", "--package", program, "--bin", program, "--", word];
        let text = process::output(&mut process::cargo(root, &arguments))?;
        if text.is_empty() {
            bail!("{program} printed nothing for {word}");
        }
        texts.push((document, text));
    }
    for (document, text) in &texts {
        std::fs::write(root.join(document), text)
            .with_context(|| format!("cannot write {document}"))?;
        eprintln!("wrote {document}");
    }
    Ok(Verdict::Passed(format!("wrote {} documents", texts.len())))
}

#[derive(Debug, PartialEq, Eq)]
struct Named {
    path: String,
    line: usize,
}

/// Where a name may stand: at the root, in a crate (`store/postgres`), or in the manager
/// (`engine/writer`); `src` and `.rs` are left out in prose.
fn places(root: &Path, named: &Named) -> Vec<PathBuf> {
    let path = named.path.trim_end_matches('/');
    let mut bases = vec![root.join(path), root.join("crates/manager/src").join(path)];
    let (crates, inside) = path.split_once("crates/").unwrap_or(("", path));
    if crates.is_empty() {
        bases.push(root.join("crates").join(inside));
        if let Some((room, rest)) = inside.split_once('/') {
            bases.push(root.join("crates").join(room).join("src").join(rest));
        }
    }
    let sources: Vec<PathBuf> =
        bases.iter().map(|base| PathBuf::from(format!("{}.rs", base.display()))).collect();
    bases.extend(sources);
    bases
}

/// Paths in `code spans` and at the start of lines in fenced blocks (a tree of folders).
fn named_paths(text: &str) -> Vec<Named> {
    let mut found = Vec::new();
    let mut is_fenced = false;
    // The folders that the tree's current line stands under: (indentation, path).
    let mut above: Vec<(usize, String)> = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        if content.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
            above.clear();
            continue;
        }
        let paths = if is_fenced {
            tree_line(content, &mut above)
        } else {
            let spans = content.split('`').skip(1).step_by(2);
            spans.filter(|span| is_path(span)).map(str::to_owned).collect()
        };
        found.extend(paths.into_iter().map(|path| Named { path, line }));
    }
    found
}

/// The names a line of a folder tree begins with, below the folder they are indented under.
fn tree_line(content: &str, above: &mut Vec<(usize, String)>) -> Vec<String> {
    let indentation = content.len() - content.trim_start().len();
    above.retain(|(outer, _)| *outer < indentation);
    let parent = above.last().map_or("", |(_, path)| path.as_str());
    let paths: Vec<String> = content
        .split_whitespace()
        .take_while(|word| is_path(word))
        .map(|word| format!("{parent}{word}"))
        .collect();
    if let Some(folder) = paths.first().filter(|path| path.ends_with('/')) {
        above.push((indentation, folder.clone()));
    }
    paths
}

/// Conservative: a route, an address, a media type or a pattern is no path.
fn is_path(word: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    if word.is_empty() || word.starts_with('/') || !word.chars().all(is_plain) {
        return false;
    }
    if MEDIA.iter().any(|kind| word.split('/').next() == Some(kind)) {
        return false;
    }
    // A fraction or a rate such as `1/2` or `requests/s` has no letter or no length.
    let is_folder = word.split_once('/').is_some_and(|(head, tail)| {
        head.len() > 1 && tail.len() != 1 && head.contains(|c: char| c.is_ascii_alphabetic())
    });
    is_folder || FILE_ENDINGS.iter().any(|ending| word.ends_with(ending))
}

/// Targets of `[text](target)` outside fenced blocks that are neither addresses nor anchors.
fn relative_links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut is_fenced = false;
    for (line, content) in (1..).zip(text.lines()) {
        if content.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        }
        if is_fenced {
            continue;
        }
        for piece in content.split("](").skip(1) {
            let target = piece.split([')', '#', ' ']).next().unwrap_or_default();
            let is_address = target.contains(':') || target.starts_with('/');
            if !target.is_empty() && !is_address {
                found.push((line, target.to_owned()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        named_paths(text).into_iter().map(|n| n.path).collect()
    }

    #[test]
    fn paths_in_code_spans_are_found_and_lookalikes_are_not() {
        let text = "See `engine/writer`, `Cargo.toml`, `/register`, `application/json`, `a::b`, \
                    `http://x/y`, `50 req/s`, `1/2` and engine/inbox.";
        assert_eq!(names(text), ["engine/writer", "Cargo.toml"]);
    }

    #[test]
    fn a_folder_tree_is_read_by_its_indentation() {
        let text = "```\nREADME.md  LICENSE.md\ncrates/manager/   the server\n  main.rs   starts\n  \
                    engine/  inbox, writer\n    inbox.rs\ncrates/api/  the wire\n```";
        let expected = [
            "README.md",
            "LICENSE.md",
            "crates/manager/",
            "crates/manager/main.rs",
            "crates/manager/engine/",
            "crates/manager/engine/inbox.rs",
            "crates/api/",
        ];
        assert_eq!(names(text), expected);
    }

    #[test]
    fn a_name_is_looked_for_where_prose_means_it() {
        let found = |path: &str| {
            let named = Named { path: path.to_owned(), line: 1 };
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
            places(root, &named).iter().any(|place| place.exists())
        };
        for path in ["xtask/src/docs", "Cargo.toml", "domain/lib", "crates/manager/main.rs"] {
            assert!(found(path), "{path}");
        }
        assert!(!found("engine/no-such-file"));
    }

    #[test]
    fn only_links_into_the_repository_are_followed() {
        let text = "[a](docs/a.md#top) [b](https://x.y/z) [c](#d) ![e](f.png)\n```\n[g](h.md)\n```";
        let expected = [(1, "docs/a.md".to_owned()), (1, "f.png".to_owned())];
        assert_eq!(relative_links(text), expected);
    }
}
