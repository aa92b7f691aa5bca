//! Child processes: start, wait for the address, read CPU and memory, end for certain.
//!
//! Knows nothing of what the child serves. The child's log goes to a file: a pipe would have to be
//! drained by the load generator, at its cost. Linux only, as /proc and pidfds are.
//!
//! Invariant: a child that was started is ended and waited for when its [`Server`] goes, by its own
//! pid and nothing else; the pid cannot have been reused, because nobody else waits for it.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};
use std::os::unix::process::CommandExt as _;
use tokio::time::{Instant, sleep};

/// A child must say where it listens within this time.
const START_LIMIT: Duration = Duration::from_mins(1);
/// A child that was asked to end is killed after this time.
const STOP_LIMIT: Duration = Duration::from_mins(1);
/// The same when the tool itself is ending because of an error or a signal.
const ABANDON_LIMIT: Duration = Duration::from_secs(10);
/// How closely a start is watched; bounds the error of a measured start.
pub(crate) const WATCH_STEP: Duration = Duration::from_millis(1);
/// The line that names the address is looked for in this much of the log.
const LOG_HEAD: u64 = 1024 * 1024;
const LOG_TAIL: u64 = 4 * 1024;

/// What a process has used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    pub(crate) rss_bytes: u64,
    /// The highest `rss_bytes` since its start.
    pub(crate) peak_bytes: u64,
}

/// Reads `/proc/PID/stat` and `/proc/PID/status`.
pub(crate) fn usage_of(pid: u32) -> anyhow::Result<Usage> {
    let read = |file: &str| {
        fs::read_to_string(format!("/proc/{pid}/{file}"))
            .with_context(|| format!("process {pid} cannot be watched, it may have ended"))
    };
    let ticks = cpu_ticks(&read("stat")?).context("/proc/PID/stat is not as documented")?;
    let status = read("status")?;
    let cpu = Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second().max(1));
    Ok(Usage {
        cpu,
        rss_bytes: kilobytes(&status, "VmRSS:").unwrap_or(0) * 1024,
        peak_bytes: kilobytes(&status, "VmHWM:").unwrap_or(0) * 1024,
    })
}

/// utime + stime, the fields 14 and 15; the name in field 2 may hold spaces and parentheses.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn kilobytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A child process that listens somewhere.
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
    /// When the child was spawned.
    pub(crate) spawned: Instant,
}

impl Server {
    /// Spawns the command in a process group of its own, so that a Ctrl-C in the terminal reaches
    /// this tool only, which then ends its children in order.
    pub(crate) fn spawn(mut command: Command, log: PathBuf) -> anyhow::Result<Self> {
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdout(Stdio::null()).stderr(file).process_group(0);
        let spawned = Instant::now();
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
        Ok(Self { child, log, spawned })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the log line `{"message":"listening","address":"IP:PORT",…}`.
    pub(crate) async fn address(&mut self) -> anyhow::Result<SocketAddr> {
        loop {
            let mut head = String::new();
            // A line may be half written or cut inside a character: looked at again next time.
            let _incomplete = File::open(&self.log)?.take(LOG_HEAD).read_to_string(&mut head);
            if let Some(address) = head.lines().find_map(listening_address) {
                return Ok(address);
            }
            self.check_alive()?;
            if self.spawned.elapsed() > START_LIMIT {
                bail!("no address in the log within {START_LIMIT:?}{}", self.log_tail());
            }
            sleep(WATCH_STEP).await;
        }
    }

    /// An error with the end of its log when the child has ended.
    pub(crate) fn check_alive(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("the server ended by itself: {status}{}", self.log_tail()),
            None => Ok(()),
        }
    }

    /// SIGTERM, and SIGKILL if it takes longer than `STOP_LIMIT`, which is an error.
    pub(crate) async fn stop(mut self) -> anyhow::Result<(Duration, ExitStatus)> {
        self.check_alive()?;
        let asked = Instant::now();
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok((asked.elapsed(), status));
            }
            if asked.elapsed() > STOP_LIMIT {
                self.child.kill()?;
                bail!("the server did not end within {STOP_LIMIT:?} after SIGTERM");
            }
            sleep(WATCH_STEP).await;
        }
    }

    fn log_tail(&self) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(&self.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))?;
            let mut tail = Vec::new();
            file.take(LOG_TAIL).read_to_end(&mut tail)?;
            Ok(tail)
        };
        let tail = read().unwrap_or_default();
        format!("\nits log ends with:\n{}", String::from_utf8_lossy(&tail).trim_end())
    }
}

impl Drop for Server {
    /// The way out for errors and signals; blocks, because the tool is ending. Errors have nowhere
    /// to go: what can be done then is to kill, and that is done.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let pid = Pid::from_child(&self.child);
        let ended = kill_process(pid, Signal::TERM).is_ok() && wait_for_end(pid, ABANDON_LIMIT);
        if !ended {
            let _already_gone = self.child.kill();
        }
        let _reaped = self.child.wait();
    }
}

/// A pidfd becomes readable when its process ends.
fn wait_for_end(pid: Pid, limit: Duration) -> bool {
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else {
        return false;
    };
    let limit = Timespec::try_from(limit).ok();
    let mut handles = [PollFd::new(&handle, PollFlags::IN)];
    poll(&mut handles, limit.as_ref()).is_ok_and(|ready| ready > 0)
}

fn listening_address(line: &str) -> Option<SocketAddr> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    if line.get("message")?.as_str()? != "listening" {
        return None;
    }
    line.get("address")?.as_str()?.parse().ok()
}

/// Where the log of the `number`th start of `name` goes.
pub(crate) fn log_path(directory: &Path, name: &str, number: usize) -> PathBuf {
    directory.join(format!("{name}-{number}.log"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, directory: &tempfile::TempDir) -> Server {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        Server::spawn(command, directory.path().join("log")).unwrap()
    }

    #[test]
    fn cpu_time_is_found_behind_a_name_with_spaces_and_parentheses() {
        let stat = "42 (a) (b c) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 4 0 1 1 1";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("42 (short) S 1"), None);
    }

    #[test]
    fn memory_is_read_by_name() {
        let status = "Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n";
        assert_eq!(kilobytes(status, "VmRSS:"), Some(1024));
        assert_eq!(kilobytes(status, "VmHWM:"), Some(2048));
        assert_eq!(kilobytes(status, "VmSwap:"), None);
    }

    #[test]
    fn the_usage_of_this_process_is_readable() {
        let usage = usage_of(std::process::id()).unwrap();
        assert!(usage.rss_bytes > 0 && usage.peak_bytes >= usage.rss_bytes);
    }

    #[test]
    fn only_the_listening_line_gives_an_address() {
        let line = r#"{"level":"INFO","message":"listening","address":"127.0.0.1:81","x":1}"#;
        assert_eq!(listening_address(line), Some("127.0.0.1:81".parse().unwrap()));
        assert_eq!(listening_address(r#"{"message":"peer","address":"127.0.0.1:81"}"#), None);
        assert_eq!(listening_address(r#"{"message":"listening","addr"#), None);
    }

    #[tokio::test]
    async fn the_address_is_taken_from_the_log_and_sigterm_ends_the_child() {
        let directory = tempfile::tempdir().unwrap();
        let script = r#"echo noise >&2; echo '{"message":"listening","address":"127.0.0.1:7"}' >&2
            trap 'exit 3' TERM; while :; do sleep 0.01; done"#;
        let mut server = shell(script, &directory);
        assert_eq!(server.address().await.unwrap(), "127.0.0.1:7".parse().unwrap());
        let (_, status) = server.stop().await.unwrap();
        assert!(status.code() == Some(3) || status.code().is_none(), "{status}");
    }

    #[tokio::test]
    async fn a_child_that_ends_early_is_an_error_with_its_last_words() {
        let directory = tempfile::tempdir().unwrap();
        let mut server = shell("echo 'no such store' >&2; exit 64", &directory);
        let error = server.address().await.unwrap_err().to_string();
        assert!(error.contains("64") && error.contains("no such store"), "{error}");
    }

    #[test]
    fn a_dropped_server_leaves_no_process() {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::spawn(
            {
                let mut command = Command::new("/bin/sleep");
                command.arg("1000");
                command
            },
            directory.path().join("log"),
        )
        .unwrap();
        let pid = server.pid();
        assert!(usage_of(pid).is_ok());
        drop(server);
        assert!(usage_of(pid).is_err());
    }
}
