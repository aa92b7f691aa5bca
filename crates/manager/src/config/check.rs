//! The text of `--check-config`: the effective configuration with the origin of each value, as
//! YAML that can be used as a configuration file again: what nobody set is a comment, or the file
//! would make `STORAGE=auto` believe that somebody chose a database. Secrets are hidden.

use std::fmt::Write;

use super::setting::{Described, Secrecy};
use super::source::{CONFIG_FILE, Effective, Origin, Reader};
use super::table;

/// The complete text for stdout.
pub(super) fn text(reader: &Reader<'_>) -> String {
    let mut text = String::from(
        "# Effective configuration; behind each value, where it comes from. Defaults are comments.\n",
    );
    for warning in &reader.warnings {
        push(&mut text, format_args!("# warning: {}", one_line(warning)));
    }
    for section in table::SECTIONS {
        push(&mut text, format_args!("\n# {}", section.title));
        for setting in section.settings {
            let card = setting.card();
            let Some(line) = reader.effective.iter().find(|line| line.card.name == card.name)
            else {
                continue;
            };
            let assignment = assignment(line);
            push(
                &mut text,
                format_args!("{assignment:<48} # {}", one_line(&line.origin.to_string())),
            );
        }
    }
    text
}

/// The effective configuration in words for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveText {
    /// Every setting with its value.
    pub all: String,
    /// Those that are not a default, with where they come from.
    pub chosen: String,
}

/// The same for the log: names and values, in the order of the table.
pub(super) fn line(reader: &Reader<'_>) -> EffectiveText {
    let (mut all, mut chosen) = (Vec::new(), Vec::new());
    for card in table::settings().map(Described::card) {
        let found = reader.effective.iter().find(|line| line.card.name == card.name);
        let Some(Effective { shown, origin, .. }) = found else { continue };
        let shown = if card.secrecy == Secrecy::Secret { "(hidden)" } else { shown };
        let assignment = format!("{}={}", card.name, one_line(shown));
        if *origin != Origin::Default {
            chosen.push(format!("{assignment} ({})", one_line(&origin.to_string())));
        }
        all.push(assignment);
    }
    EffectiveText { all: all.join(" "), chosen: chosen.join(", ") }
}

fn assignment(line: &Effective) -> String {
    let Effective { card, shown, origin } = line;
    let is_hidden = card.secrecy == Secrecy::Secret;
    // A file cannot name itself, and what stands for a secret must not become one.
    let is_remark = is_hidden || *origin == Origin::Default || card.name == CONFIG_FILE.card.name;
    let mark = if is_remark { "# " } else { "" };
    let value = if is_hidden { shown.clone() } else { quoted(shown) };
    format!("{mark}{}: {value}", card.name)
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a string does not fail");
}

/// A comment must not end early: the path of a file may hold a line end.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// As it is where YAML reads that as one text, else as a JSON string, which YAML reads too.
fn quoted(value: &str) -> String {
    let is_plain = value.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.'))
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-,=+".contains(&b));
    if is_plain && !is_null_word(value) {
        value.to_owned()
    } else {
        serde_json::json!(value).to_string()
    }
}

fn is_null_word(value: &str) -> bool {
    value.eq_ignore_ascii_case("null")
}
