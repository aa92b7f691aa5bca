//! What the rooms inside the manager may see of each other.
//!
//! A room is a module directly below `src`. `lib.rs` wires them and `main.rs` starts them;
//! both see everything. Test modules (`#[cfg(test)]`, files called `tests.rs`) are free.

use super::paths::{self, NamedPath};
use super::{Violation, tokens};

/// Where the manager's source lives, relative to the root.
pub(super) const FOLDER: &str = "crates/manager/src";

/// The files that may see every room.
const WIRING: &[&str] = &["lib", "main", "running"];
/// Rooms that stand on top: nobody but the wiring may name them.
const TOP: &[&str] = &["http", "health", "notify"];
/// Rooms that must not know that there is a store; the engine alone talks to it.
const WITHOUT_STORE: &[&str] = &["http", "health", "notify", "watch", "access", "config"];
/// The one room that may name no other room.
const ALONE: &str = "config";

/// Judges one file; `inside` is its path below [`FOLDER`].
pub(super) fn violations(inside: &str, source: &str) -> Vec<Violation> {
    let module = module_of(inside);
    let Some(room) = module.first() else {
        return Vec::new();
    };
    if WIRING.contains(room) || module.contains(&"tests") {
        return Vec::new();
    }
    let judge = |path: &NamedPath| {
        Some(Violation {
            file: format!("{FOLDER}/{inside}"),
            line: path.line,
            rule: broken_rule(room, &module, path)?,
        })
    };
    paths::named_paths(&tokens::production(source)).iter().filter_map(judge).collect()
}

/// `http/register.rs` is `[http, register]`; `http.rs` and `http/mod.rs` are `[http]`.
fn module_of(inside: &str) -> Vec<&str> {
    let name = inside.strip_suffix(".rs").unwrap_or(inside);
    let name = name.strip_suffix("/mod").unwrap_or(name);
    name.split('/').collect()
}

/// The rule that `path`, written in `module`, breaks.
fn broken_rule(room: &str, module: &[&str], path: &NamedPath) -> Option<String> {
    let written = path.text();
    if path.segments.first()? == "governance_store" {
        return WITHOUT_STORE.contains(&room).then(|| {
            format!("`{room}` must not see the store (`{written}`): ask the engine through a trait")
        });
    }
    let target = target_room(module, path)?;
    if target == "*" {
        return Some(format!(
            "`{room}` must not import everything from the crate's root: name the room"
        ));
    }
    if target == room {
        return None;
    }
    if room == ALONE {
        return Some(format!("`{ALONE}` must not use any other room (`{written}`)"));
    }
    if target == "store" && WITHOUT_STORE.contains(&room) {
        return Some(format!("`{room}` must not see the store (`{written}`)"));
    }
    TOP.contains(&target).then(|| {
        format!("`{room}` must not use `{target}` (`{written}`): only lib.rs brings them together")
    })
}

/// The room a path leads to, if it starts at the crate's root or climbs up to it.
fn target_room<'a>(module: &[&'a str], path: &'a NamedPath) -> Option<&'a str> {
    let mut segments = path.segments.iter().map(String::as_str).peekable();
    if segments.next_if_eq(&"crate").is_some() {
        return segments.next();
    }
    segments.next_if_eq(&"self");
    let mut climbed = 0;
    while segments.next_if_eq(&"super").is_some() {
        climbed += 1;
    }
    if climbed == 0 {
        return None;
    }
    let depth = module.len() + path.inline_depth;
    if climbed < depth {
        return module.first().copied();
    }
    segments.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(inside: &str, source: &str) -> Vec<String> {
        let found = violations(inside, source);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_sideways_import_is_named_with_file_line_and_rule() {
        let source = "//! Routes.\n\nuse crate::notify::Dispatch;\n";
        let expected = "crates/manager/src/http/register.rs:3: `http` must not use `notify` \
                        (`crate::notify::Dispatch`): only lib.rs brings them together";
        assert_eq!(broken("http/register.rs", source), [expected]);
    }

    #[test]
    fn every_way_to_write_a_forbidden_edge_is_found() {
        for (inside, source) in [
            ("http/mod.rs", "use crate::{engine::Inbox, health};"),
            ("http.rs", "use super::notify::Dispatch;"),
            ("health/probe.rs", "use super::super::notify;"),
            ("health/probe.rs", "fn f() { crate::http::serve() }"),
            ("health/probe.rs", "mod a { use super::super::super::http::x; }"),
            ("notify/delivery.rs", "use governance_store::Store;"),
            ("notify/delivery.rs", "use crate::store::Store;"),
            ("engine/writer.rs", "use crate::{\n    notify::{Notice as N},\n};"),
            ("engine/writer.rs", "use crate::health::*;"),
            ("config/mod.rs", "use crate::engine::LIMIT;"),
            ("config/health.rs", "use governance_store::Choice;"),
            ("telemetry/metrics.rs", "use crate::http::Route;"),
            ("engine/writer.rs", "use crate::*;"),
        ] {
            assert_eq!(broken(inside, source).len(), 1, "{inside}: {source}");
        }
    }

    #[test]
    fn edges_that_point_down_or_stay_inside_pass() {
        for (inside, source) in [
            ("http/register.rs", "use crate::engine::Inbox; use super::problem::Problem;"),
            ("http/register.rs", "use crate::http::problem; use governance_api::Problem;"),
            ("health/probe.rs", "use super::*; use crate::{config, telemetry};"),
            ("engine/writer.rs", "use governance_store::Store; use crate::config::Engine;"),
            ("config/health.rs", "use crate::config::duration; use super::super::config::x;"),
            ("health/mod.rs", "mod a { use super::http; }"),
            ("health/mod.rs", "use http::StatusCode; use axum::http::Uri;"),
        ] {
            assert!(broken(inside, source).is_empty(), "{inside}: {source}");
        }
    }

    #[test]
    fn comments_texts_and_tests_are_free() {
        let source = "// use crate::notify\n/// [`crate::health`]\nconst A: &str = \"crate::notify\";\n\
                      #[cfg(test)]\nmod tests { use crate::notify::x; }\n";
        assert!(broken("http/register.rs", source).is_empty());
        assert!(broken("http/tests.rs", "use crate::notify::x;").is_empty());
    }

    #[test]
    fn the_wiring_sees_every_room() {
        let source = "mod http; use crate::{health, notify}; use governance_store::Store;";
        assert!(broken("lib.rs", source).is_empty());
        assert!(broken("main.rs", source).is_empty());
    }
}
