//! The reference document, `docs/configuration.md`, made from the table. What is not about a
//! single setting stands here as text.

use std::fmt::Write;

use super::setting::Described;
use super::table::{self, Section};

const INTRODUCTION: &str = "\
# Configuration

<!-- Generated from the settings' declarations by `cargo xtask docs`. Do not edit. -->

The manager runs without any configuration. Every setting below can be given in three ways; the
first that has a value wins:

1. as a flag: the name in lower case with dashes, `--server-port 8080`. `--help` lists them.
   Passwords are not flags, because other users of a machine can read command lines;
2. as an environment variable: `SERVER_PORT=8080`;
3. in the YAML file that `CONFIG_FILE` names.

An empty value counts as none. `governance-manager --check-config` prints the effective
configuration and where each value comes from, hides secrets, and exits. Wrong values stop the
start with exit code 64; the message names all of them at once, with what is allowed.

Durations are written as Go writes them: `500ms`, `30s`, `1m30s`, `1.5h`, `0`; the units are `ns`,
`us`, `ms`, `s`, `m` and `h`, and there is no unit for days. A `DB_PORT` or `SERVER_PORT` of the
form `tcp://…` in the environment is ignored with a warning: container platforms set such variables
for services that are called `db` or `server`.
";

const FILE_CHAPTER: &str = "\
## The configuration file

A file of at most 1 MiB. Keys are the names above, in any case and style: `SERVER_PORT`,
`server_port` and `serverPort` are one key. A list may be written as a YAML list. Unknown keys are
ignored with a warning. Values are taken as written, so `DB_PASSWORD: 007` needs no quotes; one that
contains `: ` or ` #`, or begins with a character that YAML gives a meaning, does.

```yaml
SERVER_PORT: 8080
HEALTH_CHECK_INTERVAL: 30s
DB_HOST: [db-1.example.com, \"db-2.example.com:5433\"]
DB_PASSWORD_FILE: /run/secrets/db-password
```

The sections of the earlier manager's file are understood as well:

| Key | Setting |
|-----|---------|
";

/// The complete document.
pub(super) fn text() -> String {
    let mut text = String::from(INTRODUCTION);
    for section in table::SECTIONS {
        push_section(&mut text, section);
    }
    text.push('\n');
    text.push_str(FILE_CHAPTER);
    for card in table::settings().map(Described::card) {
        for key in card.earlier_keys {
            push(&mut text, format_args!("| `{key}` | `{}` |", card.name));
        }
    }
    text
}

fn push_section(text: &mut String, section: &Section) {
    push(text, format_args!("\n## {}\n", section.title));
    push(text, format_args!("| Environment variable | Flag | Default | Allowed | Description |"));
    push(text, format_args!("|----------------------|------|---------|---------|-------------|"));
    for setting in section.settings {
        push_row(text, *setting);
    }
}

fn push_row(text: &mut String, setting: &dyn Described) {
    let card = setting.card();
    let flag = card.flag().map_or("none".to_owned(), |flag| format!("`--{flag}`"));
    let default = match card.default {
        "" => "unset".to_owned(),
        // An unbroken list would make the column as wide as the page.
        default => format!("`{}`", default.replace(',', "`, `")),
    };
    let names = match card.environment_alias {
        Some(alias) => format!("`{}`, else `{alias}`", card.name),
        None => format!("`{}`", card.name),
    };
    let allowed = setting.allowed();
    let row = [names, flag, default, allowed, card.about.to_owned()];
    push(text, format_args!("| {} |", row.map(|cell| cell.replace('|', "\\|")).join(" | ")));
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a string does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_in_the_repository_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        let stored = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            stored == text(),
            "docs/configuration.md is stale; regenerate it with `cargo xtask docs`, which stores \
             the output of `governance-manager --print-config-reference`"
        );
    }

    #[test]
    fn the_document_names_every_setting_and_every_earlier_key() {
        let document = text();
        for card in table::settings().map(Described::card) {
            assert!(document.contains(&format!("| `{}`", card.name)), "{}", card.name);
            for key in card.earlier_keys {
                assert!(document.contains(&format!("| `{key}` |")), "{key}");
            }
        }
    }
}
