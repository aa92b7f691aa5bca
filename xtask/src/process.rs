//! Child processes: started visibly, without a terminal to read from, judged by exit code.
//!
//! Output goes straight to ours, so that a tool's own summary is seen as it wrote it.
//! INVARIANT: a child never waits for input, with or without `CI=true`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A cargo command in `root`, the same cargo that runs us.
///
/// The variables cargo sets about *this* package are taken away: build scripts of
/// dependencies watch some of them and would be run again for nothing.
pub(crate) fn cargo(root: &Path, arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let is_about_us = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        });
        if is_about_us {
            command.env_remove(name);
        }
    }
    command.current_dir(root).args(arguments);
    command
}

/// Runs to the end and fails unless the exit code is 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = shown(command);
    eprintln!("$ {line}");
    let status =
        command.stdin(Stdio::null()).status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    Ok(())
}

/// Runs to the end and returns what it wrote to stdout; stderr stays visible.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>> {
    let line = shown(command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` ended with {}", output.status);
    }
    Ok(output.stdout)
}

/// True if it could be started and ended with 0; nothing is shown.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Where `PATH` has a file of that name.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// The command as a person would type it: the program's bare name, then the arguments.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(command.get_program());
    let mut line = name.to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_child_is_an_error_that_names_the_command() {
        let fault = run(Command::new("/bin/sh").args(["-c", "exit 3"])).unwrap_err();
        let text = fault.to_string();
        assert!(text.contains("sh -c exit 3"), "{text}");
        assert!(text.contains('3'), "{text}");
    }

    #[test]
    fn a_child_that_reads_its_input_meets_the_end_at_once() {
        let read = output(&mut Command::new("cat")).unwrap();
        assert!(read.is_empty());
    }

    #[test]
    fn a_program_that_is_nowhere_is_an_error_and_not_a_success() {
        let mut command = Command::new("no-such-program-anywhere");
        assert!(run(&mut command).is_err());
        assert!(!succeeds(&mut command));
        assert!(which("no-such-program-anywhere").is_none());
    }
}
