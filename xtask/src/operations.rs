//! `docs/operations.md` against what it is about: every alert, with a runbook that leads there, and
//! every ERROR line of the manager and its stores has an entry of its own.
//!
//! Deliberately not here: whether the entry is right. That is for readers.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::words;

const PAGE: &str = "docs/operations.md";
const RULES: &str = "deploy/prometheus/alerts.yml";
/// Where ERROR lines come from.
const SOURCES: &[&str] = &["crates/manager/src/", "crates/store/src/"];

/// Counts what was found; an error if an entry is missing.
pub(crate) fn check(root: &Path) -> Result<String> {
    let read = |name: &str| {
        std::fs::read_to_string(root.join(name)).with_context(|| format!("{name} cannot be read"))
    };
    let page = read(PAGE)?;
    let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let rules = read(RULES)?;
    let mut faults = alert_faults(&rules, &headings);
    let alerts = rules.matches("- alert: ").count();
    let mut errors = 0;
    for name in words::file_names(root)? {
        let is_source = SOURCES.iter().any(|folder| name.starts_with(folder));
        let is_rust = Path::new(&name).extension().is_some_and(|ending| ending == "rs");
        if !is_source || !is_rust || name.contains("/tests/") {
            continue;
        }
        for message in error_messages(&read(&name)?) {
            errors += 1;
            if !headings.iter().any(|heading| message.starts_with(heading)) {
                faults.push(format!("{name}: ERROR \"{message}\" has no entry in {PAGE}"));
            }
        }
    }
    if errors == 0 || alerts == 0 {
        bail!("{errors} ERROR lines and {alerts} alerts were found: the search is broken");
    }
    if faults.is_empty() {
        return Ok(format!("{alerts} alerts and {errors} ERROR lines have an entry"));
    }
    for fault in &faults {
        eprintln!("{fault}");
    }
    bail!("{} entries are missing in {PAGE}", faults.len())
}

/// Alerts without a heading or without a runbook that leads to it, and headings without an alert.
fn alert_faults(rules: &str, headings: &[&str]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut names = Vec::new();
    for rule in rules.split("- alert: ").skip(1) {
        let name = rule.lines().next().unwrap_or_default().trim();
        names.push(name);
        if !headings.contains(&name) {
            faults.push(format!("{RULES}: {name} has no entry in {PAGE}"));
        }
        let runbook = format!("runbook: {PAGE}#{}", name.to_ascii_lowercase());
        if !rule.lines().any(|line| line.trim() == runbook) {
            faults.push(format!("{RULES}: {name} has no `{runbook}`"));
        }
    }
    let stale = headings.iter().filter(|heading| {
        heading.starts_with("Governance") && !heading.contains(' ') && !names.contains(heading)
    });
    faults.extend(stale.map(|heading| format!("{PAGE}: there is no alert {heading}")));
    faults
}

/// The texts of `error!(…)`: the last literal of each, which is the message.
fn error_messages(source: &str) -> Vec<String> {
    source.split("error!(").skip(1).filter_map(message).collect()
}

/// The last literal before the parenthesis that closes the call.
fn message(call: &str) -> Option<String> {
    let mut last = None;
    let mut depth = 1_usize;
    let mut rest = call.chars();
    while let Some(next) = rest.next() {
        match next {
            '(' => depth += 1,
            ')' => depth -= 1,
            '"' => last = Some(literal(&mut rest)),
            _ => {}
        }
        if depth == 0 {
            return last;
        }
    }
    None
}

/// Up to the closing quote; a line that is continued is joined as the compiler does.
fn literal(rest: &mut std::str::Chars<'_>) -> String {
    let mut text = String::new();
    while let Some(next) = rest.next() {
        match next {
            '"' => break,
            '\\' => match rest.next() {
                Some('\n') => {
                    let trimmed = rest.as_str().trim_start();
                    *rest = trimmed.chars();
                }
                Some(escaped) => text.push(escaped),
                None => break,
            },
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_a_call_is_its_last_literal() {
        let source = "error!(why = chain(&fault), kind = \"x\", \"it (really) \\\n      broke\"); f(\"y\")\n\
                      tracing::error!(\"again\");\n#[error(\"no call\")]";
        assert_eq!(error_messages(source), ["it (really) broke", "again"]);
    }

    #[test]
    fn an_alert_needs_its_heading_and_its_runbook_and_a_heading_its_alert() {
        let rules = "- alert: GovernanceA\n  runbook: docs/operations.md#governancea\n- alert: GovernanceB\n";
        assert_eq!(alert_faults(rules, &["GovernanceA", "GovernanceB", "GovernanceC"]).len(), 2);
        assert_eq!(alert_faults(rules, &[]).len(), 3);
    }
}
