//! A throw-away PostgreSQL: its own data directory and port, gone when it is dropped. It can be
//! stopped, killed and started again, and copied into a standby.
//!
//! Needs the server's programs on this machine. As root it runs them as the user `postgres`,
//! because the server refuses root.
//!
//! Calls block: they are for a test's own thread.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::wait::until;

/// The server is up or down within so long, or something is wrong.
const DEADLINE: Duration = Duration::from_secs(30);
/// Part of the template's name: to be changed with what is in it.
const TEMPLATE: &str = "governance-testkit-1";
/// The superuser of every cluster, and its password.
pub const USER: &str = "postgres";
/// See [`USER`].
pub const PASSWORD: &str = "postgres";

/// A server with its data.
#[derive(Debug)]
pub struct Cluster {
    programs: Programs,
    directory: TempDir,
    port: u16,
    parameters: Vec<(String, String)>,
    server: Option<Child>,
}

/// How a server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Clients are disconnected, everything is written.
    Fast,
    /// As after a power failure, but in order: the next start recovers.
    Immediate,
    /// `kill -9`.
    Kill,
}

impl Cluster {
    /// Starts one that does not wait for the disk.
    pub fn start() -> Result<Self> {
        Self::start_with(&[("fsync", "off")])
    }

    /// Starts one with these parameters of the server.
    pub fn start_with(parameters: &[(&str, &str)]) -> Result<Self> {
        let programs = Programs::find()?;
        let template = programs.template()?;
        let directory = programs.directory()?;
        let data = directory.path().join("data");
        let copied =
            Command::new("cp").args(["-a", "--reflink=auto"]).arg(&template).arg(&data).status()?;
        ensure!(copied.success(), "cannot copy {}", template.display());
        Self::run(programs, directory, parameters)
    }

    /// Starts a standby that follows this one; it takes no writes until it is promoted.
    pub fn start_standby(&self) -> Result<Self> {
        let directory = self.programs.directory()?;
        let mut copy = self.programs.command("pg_basebackup");
        copy.args(["-h", "127.0.0.1", "-U", USER, "-R", "-X", "stream", "-c", "fast"])
            .args(["-p", &self.port.to_string()])
            .arg("-D")
            .arg(directory.path().join("data"))
            .env("PGPASSWORD", PASSWORD);
        run_quietly(&mut copy)?;
        Self::run(self.programs.clone(), directory, &[("fsync", "off")])
    }

    fn run(programs: Programs, directory: TempDir, parameters: &[(&str, &str)]) -> Result<Self> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut cluster = Self {
            programs,
            directory,
            port: free_port()?,
            parameters: parameters.iter().map(owned).collect(),
            server: None,
        };
        cluster.start_again()?;
        Ok(cluster)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Sets a parameter for the next start.
    pub fn set(&mut self, name: &str, value: &str) {
        self.parameters.retain(|(known, _)| known != name);
        self.parameters.push((name.to_owned(), value.to_owned()));
    }

    /// Starts it on the same port, after it was stopped or killed.
    pub fn start_again(&mut self) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        // What a killed server left behind holds its memory and its port for a moment.
        loop {
            let mut server = self.spawn()?;
            let mut has_ended = false;
            let _ = until(DEADLINE, || {
                has_ended = matches!(server.try_wait(), Ok(Some(_)));
                has_ended || self.is_ready(&server)
            });
            if !has_ended && self.is_ready(&server) {
                self.server = Some(server);
                return Ok(());
            }
            // It has ended, or it never will.
            let _ = server.kill();
            let _ = server.wait();
            if Instant::now() > deadline {
                bail!("the server does not start: {}", self.log());
            }
        }
    }

    fn spawn(&self) -> Result<Child> {
        let data = self.directory.path().join("data");
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.directory.path().join("log"))?;
        let mut command = self.programs.command("postgres");
        command
            .arg("-D")
            .arg(&data)
            .args(["-p", &self.port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "unix_socket_directories="])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        for (name, value) in &self.parameters {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.spawn().context("cannot start the server")
    }

    /// Whether this server says in its lock file that it takes connections.
    fn is_ready(&self, server: &Child) -> bool {
        let path = self.directory.path().join("data/postmaster.pid");
        let text = fs::read_to_string(path).unwrap_or_default();
        let is_its = text.lines().next() == Some(server.id().to_string().as_str());
        let state = text.lines().nth(7).map(str::trim_end);
        is_its && matches!(state, Some("ready" | "standby"))
    }

    /// Ends it; its data stays.
    pub fn stop(&mut self, how: Shutdown) -> Result<()> {
        let Some(mut server) = self.server.take() else {
            return Ok(());
        };
        let signal = match how {
            Shutdown::Fast => Signal::INT,
            Shutdown::Immediate => Signal::QUIT,
            Shutdown::Kill => Signal::KILL,
        };
        kill_process(Pid::from_child(&server), signal)?;
        let has_ended = until(DEADLINE, || matches!(server.try_wait(), Ok(Some(_))));
        if !has_ended {
            server.kill()?;
            server.wait()?;
        }
        Ok(())
    }

    /// Makes a standby take writes.
    pub fn promote(&self) -> Result<()> {
        let mut promote = self.programs.command("pg_ctl");
        promote.args(["promote", "-w", "-D"]).arg(self.directory.path().join("data"));
        run_quietly(&mut promote).map(|_| ())
    }

    /// Runs SQL as the superuser and returns the rows: columns parted by `|`.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String> {
        run_quietly(&mut self.psql(database, sql))
    }

    /// Runs SQL while the test goes on.
    pub fn sql_beside(&self, database: &str, sql: &str) -> JoinHandle<Result<String>> {
        let mut psql = self.psql(database, sql);
        std::thread::spawn(move || run_quietly(&mut psql))
    }

    fn psql(&self, database: &str, sql: &str) -> Command {
        let mut psql = self.programs.command("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
            .args(["-h", "127.0.0.1", "-U", USER, "-d", database, "-c", sql])
            .args(["-p", &self.port.to_string()])
            .env("PGPASSWORD", PASSWORD);
        psql
    }

    /// Writes a file into the data directory, for the server's eyes only.
    pub fn write_file(&self, name: &str, text: &str) -> Result<()> {
        let path = self.directory.path().join("data").join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        self.programs.give(&path)
    }

    /// What the server wrote to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A panic here would hide the one that led here.
        let _ = self.stop(Shutdown::Immediate);
    }
}

/// The server's programs, and as whom they run.
#[derive(Clone, Debug)]
struct Programs {
    bin: PathBuf,
    version: String,
    /// User and group, if not ours.
    identity: Option<(u32, u32)>,
}

impl Programs {
    fn find() -> Result<Self> {
        let versions =
            fs::read_dir("/usr/lib/postgresql").context("PostgreSQL is not installed")?;
        let mut found: Vec<(u32, PathBuf)> = versions
            .filter_map(Result::ok)
            .filter_map(|entry| {
                let version = entry.file_name().to_str()?.parse().ok()?;
                let bin = entry.path().join("bin");
                bin.join("postgres").exists().then_some((version, bin))
            })
            .collect();
        found.sort();
        let (version, bin) = found.pop().context("PostgreSQL is not installed")?;
        let identity = if rustix::process::geteuid().is_root() {
            Some((id_of("-u")?, id_of("-g")?))
        } else {
            None
        };
        let version = version.to_string();
        Ok(Self { bin, version, identity })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.current_dir("/").env("LC_ALL", "C").env_remove("PGHOST");
        if let Some((user, group)) = self.identity {
            command.uid(user).gid(group);
        }
        command
    }

    fn give(&self, path: &Path) -> Result<()> {
        let Some((user, group)) = self.identity else {
            return Ok(());
        };
        Ok(chown(path, Some(user), Some(group))?)
    }

    fn directory(&self) -> Result<TempDir> {
        let directory = tempfile::Builder::new().prefix("governance-pg-").tempdir()?;
        self.give(directory.path())?;
        Ok(directory)
    }

    /// A fresh data directory to be copied, made once per machine.
    fn template(&self) -> Result<PathBuf> {
        let user =
            self.identity.map_or_else(|| rustix::process::geteuid().as_raw(), |(user, _)| user);
        let name = format!("{TEMPLATE}-pg{}-{user}", self.version);
        let template = std::env::temp_dir().join(name);
        if template.exists() {
            return Ok(template);
        }
        let directory = self.directory()?;
        let password = directory.path().join("password");
        fs::write(&password, PASSWORD)?;
        self.give(&password)?;
        let data = directory.path().join("data");
        let mut initdb = self.command("initdb");
        initdb
            .args(["--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--wal-segsize=1"])
            .args(["--auth=scram-sha-256", "-U", USER])
            .arg("--pwfile")
            .arg(&password)
            .arg("-D")
            .arg(&data);
        run_quietly(&mut initdb)?;
        // Whoever is first wins; the others' copies are as good and go.
        let renamed = fs::rename(&data, &template);
        if !template.exists() {
            renamed?;
        }
        Ok(template)
    }
}

fn id_of(what: &str) -> Result<u32> {
    let text = run_quietly(Command::new("id").args([what, "postgres"]))?;
    text.trim().parse().context("`id` gives no number")
}

/// Runs a program to its end and returns what it wrote.
fn run_quietly(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} failed: {errors}", command.get_program().display());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}
