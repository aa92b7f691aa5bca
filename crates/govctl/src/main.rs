//! `govctl`: what a person on call asks a governance manager.
//!
//! This file parses, runs and turns the outcome into lines and an exit code. Not here: rules of the
//! registry; everything is asked of a running manager, over the API that everybody has.

mod cli;
mod commands;
mod documents;
mod events;
mod explain;
mod fault;
mod identity;
mod managers;
mod reach;
mod refusal;
mod screen;
mod table;
mod text;

use std::ffi::OsStr;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

use crate::cli::Arguments;
use crate::fault::{Fault, Kind, Outcome, Stop};

fn main() -> ExitCode {
    // For docs/govctl.md alone, so it is no command that is completed or listed.
    if std::env::args_os().skip(1).eq(["reference"]) {
        return ended(commands::reference());
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return unparsed(&error),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(commands::run(arguments)),
        Err(error) => Err(Fault::new(
            Kind::Failed,
            "the system gives no room to work in",
            "see how many files and processes may be open (ulimit -n, ulimit -u)",
        )
        .caused_by(error.to_string())
        .into()),
    };
    ended(outcome)
}

fn ended(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(()) | Err(Stop::ReaderGone) => ExitCode::SUCCESS,
        Err(Stop::Fault(fault)) => complain(&fault),
    }
}

/// Help is a result; anything else is wrong usage, told like every other fault.
fn unparsed(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return ended(error.print().map_err(Stop::from));
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return complain(&Fault::new(Kind::Usage, "no command is given", commands::usage_hint()));
    }
    if std::env::args_os().any(|word| is_token(&word)) {
        // Not a word of what clap says: it may repeat the token.
        let what = "a token is not taken from the command line, where `ps` shows it to everybody";
        let hint = "write it into a file for --token-file, or into GOVERNANCE_TOKEN; one that was \
                    typed here may have been seen, so have it replaced";
        return complain(&Fault::new(Kind::Usage, what, hint));
    }
    let text = error.render().to_string();
    let what = text.strip_prefix("error: ").unwrap_or(&text);
    // What stands behind the first empty line is usage and tips; the help has it all.
    let what = what.split("\n\n").next().unwrap_or_default();
    let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
    complain(&Fault::new(Kind::Usage, what, commands::usage_hint()))
}

/// `--token` or `--token=…`.
fn is_token(word: &OsStr) -> bool {
    let word = word.as_encoded_bytes();
    word == b"--token" || word.starts_with(b"--token=")
}

fn complain(fault: &Fault) -> ExitCode {
    // If stderr is gone there is nobody to tell.
    let _ = std::io::stderr().lock().write_all(fault.lines().as_bytes());
    ExitCode::from(fault.kind.exit_code())
}
