//! Every path that source names, written out: `a::{b::c, d}` is `a::b::c` and `a::d`.
//!
//! Works on [`tokens`](super::tokens); knows nothing of rooms or rules. A single word is a
//! path of one segment, also where it is a keyword: the rules do not mind.

use super::tokens::Token;

/// One path as far as it is plain names; a last segment `*` is a glob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NamedPath {
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
    /// How many inline `mod x { … }` stand around it.
    pub(super) inline_depth: usize,
}

impl NamedPath {
    /// The path as it would be written in one piece.
    pub(super) fn text(&self) -> String {
        self.segments.join("::")
    }
}

/// All paths, in the order of the text.
pub(super) fn named_paths(tokens: &[Token]) -> Vec<NamedPath> {
    let mut walk = Walk { rest: tokens, found: Vec::new(), braces: Vec::new() };
    let mut is_after_mod = false;
    let mut opens_module = false;
    while let Some((first, tail)) = walk.rest.split_first() {
        if first.is_word() {
            opens_module = is_after_mod;
            is_after_mod = first.text == "mod";
            walk.tree(&[]);
            continue;
        }
        match first.text.as_str() {
            "{" => walk.braces.push(opens_module),
            "}" => {
                walk.braces.pop();
            }
            _ => {}
        }
        (is_after_mod, opens_module) = (false, false);
        walk.rest = tail;
    }
    walk.found
}

struct Walk<'a> {
    rest: &'a [Token],
    found: Vec<NamedPath>,
    /// One entry per open brace: whether it is that of an inline module.
    braces: Vec<bool>,
}

impl Walk<'_> {
    /// Reads one path or one branch of a `use` tree; the next token is a word or `*`.
    fn tree(&mut self, prefix: &[String]) {
        let Some((first, tail)) = self.rest.split_first() else {
            return;
        };
        let line = first.line;
        let mut segments = prefix.to_vec();
        segments.push(first.text.clone());
        self.rest = tail;
        while let [colons, next, tail @ ..] = self.rest {
            if colons.text != "::" {
                break;
            }
            if next.text == "{" {
                self.rest = tail;
                self.group(&segments);
                return;
            }
            if !next.is_word() && next.text != "*" {
                break;
            }
            segments.push(next.text.clone());
            self.rest = tail;
        }
        let inline_depth = self.braces.iter().filter(|is_module| **is_module).count();
        self.found.push(NamedPath { segments, line, inline_depth });
    }

    /// Reads the branches of a group up to its closing brace.
    fn group(&mut self, prefix: &[String]) {
        while let Some((first, tail)) = self.rest.split_first() {
            match first.text.as_str() {
                "}" => {
                    self.rest = tail;
                    return;
                }
                // The new name of `a as b` is no path of its own.
                "as" => self.rest = tail.get(1..).unwrap_or_default(),
                "*" => self.tree(prefix),
                _ if first.is_word() => self.tree(prefix),
                _ => self.rest = tail,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tokens;
    use super::*;

    fn found(source: &str) -> Vec<String> {
        let paths = named_paths(&tokens::production(source));
        let long = paths.iter().filter(|path| path.segments.len() > 1);
        long.map(NamedPath::text).collect()
    }

    #[test]
    fn groups_are_written_out_in_full() {
        let source = "use crate::{a::{b, c::*}, d as e, self}; use x::y as z;";
        let expected = ["crate::a::b", "crate::a::c::*", "crate::d", "crate::self", "x::y"];
        assert_eq!(found(source), expected);
    }

    #[test]
    fn paths_in_expressions_types_and_attributes_are_found() {
        let source = "#[serde::x] fn f(a: ::std::fs::File) { b::<u8>::c(); d::E { f: g::h } }";
        assert_eq!(found(source), ["serde::x", "std::fs::File", "d::E", "g::h"]);
    }

    #[test]
    fn inline_modules_are_counted_and_other_braces_are_not() {
        let source = "mod a { fn f() { x::y(); } } fn g() { x::z(); }";
        let paths = named_paths(&tokens::production(source));
        let depths: Vec<usize> = paths
            .iter()
            .filter(|path| path.segments.len() > 1)
            .map(|path| path.inline_depth)
            .collect();
        assert_eq!(depths, [1, 0]);
    }

    #[test]
    fn a_group_over_several_lines_gives_each_its_own_line() {
        let paths = named_paths(&tokens::production("use a::{\n  b,\n  c,\n};"));
        let lines: Vec<usize> =
            paths.iter().filter(|path| path.segments.len() > 1).map(|path| path.line).collect();
        assert_eq!(lines, [2, 3]);
    }
}
