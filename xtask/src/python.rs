//! Programs that come as Python packages: each in an environment of its own under `target/tools`, of
//! exactly the versions that a file in `xtask/python` names.
//!
//! Deliberately not here: what they are for. INVARIANT: nothing outside `target` is touched.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;

/// The environment of a program, made or renewed if it is not of these versions.
pub(crate) fn provide(root: &Path, name: &str) -> Result<PathBuf> {
    let list = root.join("xtask/python").join(format!("{name}.txt"));
    let wanted = std::fs::read_to_string(&list)
        .with_context(|| format!("{} cannot be read", list.display()))?;
    let folder = root.join("target/tools").join(name);
    // Written last: an installation that was cut short is begun again.
    let mark = folder.join("installed.txt");
    if std::fs::read_to_string(&mark).is_ok_and(|installed| installed == wanted) {
        return Ok(folder);
    }
    let by_hand =
        "it needs python3 with venv and pip (Debian package python3-venv) and a package index";
    process::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))
        .context(by_hand)?;
    process::run(
        Command::new(folder.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(["--no-input", "--requirement"])
            .arg(&list),
    )
    .context(by_hand)?;
    std::fs::write(&mark, wanted)?;
    Ok(folder)
}
