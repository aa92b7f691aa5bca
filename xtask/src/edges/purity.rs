//! What the domain may touch of the outside world: nothing.
//!
//! No runtime, no wire format, no sockets, files, clocks, threads, environment. Tests are
//! free. What its Cargo.toml may name of ours is judged in [`crates`](super::crates).

use super::paths::{self, NamedPath};
use super::{Violation, tokens};

/// Where the domain's source lives, relative to the root.
pub(super) const FOLDER: &str = "crates/domain/src";

/// Crates that bring a runtime, a wire format or a clock.
const CRATES: &[&str] = &["tokio", "serde", "serde_json", "jiff"];
/// Parts of the standard library; a last segment matches whatever begins with it.
const STD: &[&[&str]] = &[
    &["env"],
    &["fs"],
    &["net", "Tcp"],
    &["net", "Udp"],
    &["os"],
    &["process"],
    &["thread"],
    &["time", "Instant"],
    &["time", "SystemTime"],
];

/// Judges one file; `inside` is its path below [`FOLDER`].
pub(super) fn violations(inside: &str, source: &str) -> Vec<Violation> {
    let judge = |path: &NamedPath| {
        let written = path.text();
        is_impure(&path.segments).then(|| Violation {
            file: format!("{FOLDER}/{inside}"),
            line: path.line,
            rule: format!("the domain is pure and must not use `{written}`"),
        })
    };
    paths::named_paths(&tokens::production(source)).iter().filter_map(judge).collect()
}

fn is_impure(segments: &[String]) -> bool {
    let Some((first, rest)) = segments.split_first() else {
        return false;
    };
    if first == "std" {
        return !rest.is_empty() && STD.iter().any(|forbidden| leads_to(rest, forbidden));
    }
    CRATES.contains(&first.as_str())
}

/// True if the path is inside `forbidden`, or stops short of it in a way that hides the
/// rest: `std::time`, `std::time::self`, `std::time::*` could all become `time::Instant`.
fn leads_to(path: &[String], forbidden: &[&str]) -> bool {
    for (index, wanted) in forbidden.iter().enumerate() {
        let is_last = index + 1 == forbidden.len();
        match path.get(index).map(String::as_str) {
            None | Some("self" | "*") => return true,
            Some(name) if name == *wanted => {}
            Some(name) if is_last && index > 0 && name.starts_with(wanted) => {}
            Some(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_impure_import_is_named_with_file_line_and_rule() {
        let found =
            violations("registry.rs", "use std::{\n  fmt,\n  time::{Duration, Instant},\n};");
        let text: Vec<String> = found.iter().map(ToString::to_string).collect();
        let expected = "crates/domain/src/registry.rs:3: the domain is pure and must not use \
                        `std::time::Instant`";
        assert_eq!(text, [expected]);
    }

    #[test]
    fn every_door_to_the_outside_is_shut() {
        for source in [
            "use serde::Serialize;",
            "#[derive(serde::Serialize)] struct A;",
            "async fn f() { tokio::spawn(g()); }",
            "let s = std::net::TcpStream::connect(a);",
            "use std::net::TcpListener;",
            "use std::fs;",
            "let t = ::std::time::SystemTime::now();",
            "use std::time;",
            "use std::time::{self, Duration};",
            "use std::time::*;",
            "use std::*;",
            "std::env::var(a);",
        ] {
            assert_eq!(violations("x.rs", source).len(), 1, "{source}");
        }
    }

    #[test]
    fn values_without_side_effects_are_fine() {
        let source = "use std::collections::BTreeMap; use std::{fmt, net::{IpAddr, Ipv4Addr}}; \
                      use std::time::Duration; use thiserror::Error; fn f() -> std::fmt::Result {} \
                      #[cfg(test)] mod tests { use std::time::Instant; }";
        assert_eq!(violations("x.rs", source), []);
    }
}
