//! The command line: one flag per setting that is not a secret, made from the table, and the few
//! flags that print something instead of starting.
//!
//! Values are passed on as they are; what they may be is not decided here. The help text does not
//! depend on the terminal or the environment, so that it can be compared.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, ColorChoice, Command};

use super::setting::Described;
use super::table;

/// What the command line asks for.
#[derive(Debug)]
pub(super) enum Request {
    /// Nothing but to start, with these settings.
    Start,
    /// `--check-config`.
    CheckConfig,
    /// `--print-config-reference`.
    PrintReference,
    /// `--print-openapi`.
    PrintOpenApi,
    /// `--hash-token`, with the beginning of the line.
    HashToken(String),
    /// `--help` or `--version`: the text itself.
    Print(String),
}

const CHECK_CONFIG: &str = "check-config";
const PRINT_REFERENCE: &str = "print-config-reference";
const PRINT_OPENAPI: &str = "print-openapi";
const HASH_TOKEN: &str = "hash-token";
const WIDTH: usize = 100;

const ABOUT: &str = "Keeps track of telco services: registration, discovery, health, notification.";

const AFTER_HELP: &str = "\
Every setting can be given as a flag, as an environment variable (--server-port is SERVER_PORT) or \
in the YAML file that CONFIG_FILE names; the first of these that has a value wins, and an empty \
value counts as none. Passwords are not flags: use DB_PASSWORD or DB_PASSWORD_FILE. Durations are \
written as 500ms, 30s, 1m30s, 1.5h.

Exit codes: 0 done, 1 failed, 64 wrong usage or configuration.";

/// Reads the command line; the error is the complete text for the user.
pub(super) fn parse(
    args: impl Iterator<Item = OsString>,
) -> Result<(Request, BTreeMap<&'static str, OsString>), String> {
    match command().try_get_matches_from(args) {
        Ok(mut matches) => {
            let request = if let Some(beginning) = matches.remove_one::<String>(HASH_TOKEN) {
                Request::HashToken(beginning)
            } else if matches.get_flag(PRINT_OPENAPI) {
                Request::PrintOpenApi
            } else if matches.get_flag(PRINT_REFERENCE) {
                Request::PrintReference
            } else if matches.get_flag(CHECK_CONFIG) {
                Request::CheckConfig
            } else {
                Request::Start
            };
            Ok((request, settings_in(&mut matches)))
        }
        Err(answer) if answer.use_stderr() => {
            Err(answer.render().to_string().trim_end().to_owned())
        }
        Err(answer) => Ok((Request::Print(answer.render().to_string()), BTreeMap::new())),
    }
}

fn settings_in(matches: &mut ArgMatches) -> BTreeMap<&'static str, OsString> {
    let names = table::settings().map(Described::card).filter(|card| card.flag().is_some());
    names.filter_map(|card| Some((card.name, matches.remove_one::<OsString>(card.name)?))).collect()
}

fn command() -> Command {
    let settings = table::SECTIONS.iter().flat_map(|section| {
        section
            .settings
            .iter()
            .filter_map(|setting| Some(argument(*setting)?.help_heading(section.title)))
    });
    Command::new("governance-manager")
        .bin_name("governance-manager")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(AFTER_HELP)
        .color(ColorChoice::Never)
        .term_width(WIDTH)
        .args(settings)
        .arg(
            Arg::new(CHECK_CONFIG).long(CHECK_CONFIG).action(ArgAction::SetTrue).help(
                "Print the effective configuration and where each value comes from, then exit",
            ),
        )
        .arg(Arg::new(HASH_TOKEN).long(HASH_TOKEN).value_name("NAME RIGHT …").help(
            "Read a token from stdin and print its line for API_TOKENS_FILE, which begins with \
             this value, such as 'eir-pods write services=eir', then exit",
        ))
        .arg(Arg::new(PRINT_REFERENCE).long(PRINT_REFERENCE).action(ArgAction::SetTrue).hide(true))
        .arg(Arg::new(PRINT_OPENAPI).long(PRINT_OPENAPI).action(ArgAction::SetTrue).hide(true))
}

fn argument(setting: &dyn Described) -> Option<Arg> {
    let card = setting.card();
    let default = match card.default {
        "" => String::new(),
        default => format!(", default {default}"),
    };
    let help = format!("{} [{}{default}]", card.about.replace('`', ""), setting.allowed());
    let argument = Arg::new(card.name)
        .long(card.flag()?)
        .value_name("VALUE")
        .value_parser(ValueParser::os_string())
        .help(help);
    Some(argument)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<(Request, BTreeMap<&'static str, OsString>), String> {
        parse(["governance-manager"].iter().chain(args).map(OsString::from))
    }

    #[test]
    fn the_command_is_one_that_clap_finds_no_fault_with() {
        command().debug_assert();
    }

    #[test]
    fn every_setting_but_the_secrets_can_be_given_as_a_flag() {
        for card in table::settings().map(Described::card) {
            let flag = format!("--{}=x", card.name.to_lowercase().replace('_', "-"));
            match parsed(&[&flag]) {
                Ok((_, values)) => assert_eq!(values.get(card.name), Some(&"x".into()), "{flag}"),
                Err(text) => {
                    assert!(["DB_PASSWORD", "OTEL_EXPORTER_OTLP_HEADERS"].contains(&card.name));
                    let name = flag.trim_end_matches("=x");
                    assert!(text.contains(&format!("unexpected argument '{name}'")), "{text}");
                    assert!(!text.contains("=x"), "{text}");
                }
            }
        }
    }

    #[test]
    fn the_help_text_names_every_flag_its_default_and_what_is_allowed() {
        let Ok((Request::Print(help), _)) = parsed(&["--help"]) else { panic!("no help") };
        let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for setting in table::settings().filter(|setting| setting.card().flag().is_some()) {
            let flag = format!("--{} ", setting.card().flag().unwrap());
            assert!(words.contains(&flag), "{flag} in {help}");
            assert!(words.contains(&setting.allowed()), "{flag} in {help}");
        }
        assert!(words.contains("default 8080") && !words.contains("print-config-reference"));
        assert!(help.lines().all(|line| line.chars().count() <= WIDTH));
    }

    #[test]
    fn a_value_that_begins_with_a_dash_can_be_given_after_an_equals_sign() {
        let (_, values) = parsed(&["--health-check-interval=-1s"]).unwrap();
        assert_eq!(values["HEALTH_CHECK_INTERVAL"], OsString::from("-1s"));
    }
}
