//! A PostgreSQL for the demonstration, on a free port of loopback, thrown away at the end.
//!
//! Debian's server does not run as root: then it runs as the user that the package made.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::script::wait_until;

/// Where Debian keeps the server's programs, one folder per major version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// How long a start or an end may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that runs. Dropped it is stopped, and its data is gone.
pub(crate) struct Database {
    server: Child,
    directory: PathBuf,
    pub(crate) port: u16,
}

impl Database {
    /// Starts one; none where PostgreSQL is not installed.
    pub(crate) fn start() -> Result<Option<Self>> {
        let Some(programs) = programs() else { return Ok(None) };
        let directory =
            std::env::temp_dir().join(format!("governance-demo-{}", std::process::id()));
        fs::create_dir(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let started = Self::start_in(&programs, &directory);
        if started.is_err() {
            // The fault that led here is the one to tell.
            let _ = fs::remove_dir_all(&directory);
        }
        started.map(Some)
    }

    fn start_in(programs: &Path, directory: &Path) -> Result<Self> {
        let owner = owner()?;
        if let Some((user, group)) = owner {
            chown(directory, Some(user), Some(group))?;
        }
        let data = directory.join("data");
        let command = |program: &str| {
            let mut command = Command::new(programs.join(program));
            command.current_dir("/").env("LC_ALL", "C").stdin(Stdio::null());
            if let Some((user, group)) = owner {
                command.uid(user).gid(group);
            }
            command
        };
        let made = command("initdb")
            .args(["--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "-U", "postgres", "-D"])
            .arg(&data)
            .output()?;
        let complaint = String::from_utf8_lossy(&made.stderr).into_owned();
        ensure!(made.status.success(), "initdb failed: {complaint}");
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = File::create(directory.join("log"))?;
        let mut server = command("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "unix_socket_directories="])
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start PostgreSQL")?;
        let is_ready = wait_until(PATIENCE, || {
            let text = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
            text.lines().nth(7).map(str::trim_end) == Some("ready")
        });
        if !is_ready {
            let _ = server.kill();
            let _ = server.wait();
            let log = fs::read_to_string(directory.join("log")).unwrap_or_default();
            anyhow::bail!("PostgreSQL does not start: {log}");
        }
        Ok(Self { server, directory: directory.to_path_buf(), port })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // "Fast": connections are cut, and it ends in order. Nothing to tell anybody here.
        let _ = kill_process(Pid::from_child(&self.server), Signal::INT);
        if !wait_until(PATIENCE, || matches!(self.server.try_wait(), Ok(Some(_)))) {
            let _ = self.server.kill();
            let _ = self.server.wait();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The newest version's programs.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir(VERSIONS).ok()?.filter_map(|entry| {
        let entry = entry.ok()?;
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        let programs = entry.path().join("bin");
        programs.join("initdb").is_file().then_some((version, programs))
    });
    versions.max().map(|(_, programs)| programs)
}

/// As whom the server runs, if not as ourselves.
fn owner() -> Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let id = |what: &str| -> Result<u32> {
        let output = Command::new("id").args([what, "postgres"]).output()?;
        let text = String::from_utf8(output.stdout)?;
        text.trim().parse().context("there is no user postgres")
    };
    Ok(Some((id("-u")?, id("-g")?)))
}
