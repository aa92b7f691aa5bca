//! `cargo xtask`: the one command that CI runs and a person runs.
//!
//! Here: the command line only. What the steps are stands in [`gate`], what each does in
//! its own file. Deliberately not here: anything the product needs at run time.
//! Ends with 0 when everything passed, 1 when something failed, 2 on a usage error.

mod arguments;
mod demo;
#[cfg(test)]
mod deploy;
mod docs;
mod edges;
mod fuzz;
mod gate;
mod operations;
mod process;
mod python;
mod suite;
mod tools;
mod words;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use arguments::Task;

fn main() -> ExitCode {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let task = match arguments::parse(&given) {
        Ok(task) => task,
        Err(fault) => {
            eprintln!("error: {fault}\nhint: `cargo xtask help` lists what there is");
            return ExitCode::from(2);
        }
    };
    let root = workspace_root();
    let outcome = match task {
        Task::Help => {
            eprint!("{}", gate::help());
            return ExitCode::SUCCESS;
        }
        Task::Check { only, on_failure } => {
            return if gate::run(&root, &only, on_failure) {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            };
        }
        Task::Test { filters } => tools::provide(&root).and_then(|_| suite::run(&root, &filters)),
        Task::Docs => docs::regenerate(&root),
        Task::Demo => demo::run(&root),
        Task::Fuzz { seeds } => tools::provide(&root).and_then(|_| fuzz::run(&root, &seeds)),
        Task::FuzzInside(run) => fuzz::inside(&root, &run),
    };
    match outcome {
        Ok(_) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("error: {fault:#}");
            ExitCode::FAILURE
        }
    }
}

/// The folder that holds the workspace: the parent of this package, wherever the clone is.
fn workspace_root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or_else(|| package.clone(), Path::to_path_buf)
}
