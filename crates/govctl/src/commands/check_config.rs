//! `govctl check-config`: has the manager's own program check what it would start with.
//!
//! The rules are the manager's, so its program is asked; this one only finds it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cli::CheckConfigOptions;
use crate::fault::{Fault, Kind, Outcome};
use crate::identity::TOKEN_VARIABLE;

const PROGRAM: &str = "governance-manager";

pub(crate) fn run(options: &CheckConfigOptions) -> Outcome {
    let program = match &options.program {
        Some(program) => program.clone(),
        None => find()?,
    };
    let mut command = Command::new(&program);
    // Who asks managers is nothing to that program.
    command.arg("--check-config").env_remove(TOKEN_VARIABLE);
    if let Some(file) = &options.file {
        command.env("CONFIG_FILE", file);
    }
    // It prints to the same stdout and stderr.
    let status = command.status().map_err(|error| {
        let what = format!("{} cannot be started", program.display());
        let hint = "name the manager's program with --program";
        Fault::new(Kind::Usage, what, hint).caused_by(error.to_string())
    })?;
    if status.success() {
        return Ok(());
    }
    let what = "a manager would not start with this configuration";
    let hint = "correct what is named above; docs/configuration.md has every setting, and \
                `governance-manager --help` its flag";
    Err(Fault::new(Kind::Failed, what, hint).into())
}

/// Beside this program, else in PATH.
fn find() -> Result<PathBuf, Fault> {
    let beside = std::env::current_exe().ok().and_then(|own| own.parent().map(Path::to_owned));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = beside.into_iter().chain(std::env::split_paths(&path));
    let name = format!("{PROGRAM}{}", std::env::consts::EXE_SUFFIX);
    let found = folders.map(|folder| folder.join(&name)).find(|program| program.is_file());
    found.ok_or_else(|| {
        let what = format!("the manager's program, {name}, is not here to check its configuration");
        let hint = "run this where the manager is installed, or name its program with --program";
        Fault::new(Kind::Usage, what, hint)
            .caused_by("it is neither beside govctl nor in a folder of PATH")
    })
}
