//! One process: started with an environment, its log followed, ended by signals to its id.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::script::wait_until;

/// How long a start or an end may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process that runs. Dropped it is killed.
pub(crate) struct Child {
    pub(crate) name: String,
    process: Process,
    follower: Option<JoinHandle<()>>,
    /// The fields of the log line that says where it listens.
    listening: Value,
}

type Seen = Arc<(Mutex<Option<Value>>, Condvar)>;

impl Child {
    /// Starts a program and waits until it says where it listens.
    pub(crate) fn start(
        program: &Path,
        name: &str,
        settings: &BTreeMap<String, String>,
        log: &Path,
    ) -> Result<Self> {
        let mut process = Command::new(program)
            .env_clear()
            .envs(settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let stderr = process.stderr.take().context("the log is not there")?;
        let file = File::options().create(true).append(true).open(log)?;
        let seen: Seen = Arc::default();
        let told = Arc::clone(&seen);
        let follower = std::thread::spawn(move || follow(BufReader::new(stderr), file, &told));
        let mut child = Self {
            name: name.to_owned(),
            process,
            follower: Some(follower),
            listening: Value::Null,
        };
        child.listening = wait_for(&seen)
            .with_context(|| format!("{name} does not listen; its log is {}", log.display()))?;
        Ok(child)
    }

    /// An address from the line that says where it listens.
    pub(crate) fn address(&self, field: &str) -> Result<std::net::SocketAddr> {
        let text = self.listening.get(field).and_then(Value::as_str);
        let text = text.with_context(|| format!("{} does not say its {field}", self.name))?;
        Ok(text.parse()?)
    }

    /// Sends a signal; one that has ended gets none.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended a moment ago.
            let _ = kill_process(pid, signal);
        }
    }

    /// Ends it as a power failure would.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Waits until it ends, having been asked to: a second signal would not let it drain.
    pub(crate) fn wait(mut self) -> Result<ExitStatus> {
        self.end()
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(Some(_)))
    }

    fn end(&mut self) -> Result<ExitStatus> {
        let mut status = None;
        wait_until(PATIENCE, || {
            status = self.process.try_wait().ok().flatten();
            status.is_some()
        });
        match status {
            Some(status) => Ok(status),
            None => bail!("{} does not end", self.name),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended before; nothing to tell anybody here.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(follower) = self.follower.take() {
            let _ = follower.join();
        }
    }
}

fn follow(source: impl BufRead, mut file: File, seen: &Seen) {
    for line in source.lines().map_while(Result::ok) {
        // A full disk must not end the demonstration.
        let _ = writeln!(file, "{line}");
        let fields: Value = serde_json::from_str(&line).unwrap_or_default();
        if fields.get("message").and_then(Value::as_str) == Some("listening") {
            tell(seen, fields);
        }
    }
    // It ended without having listened.
    tell(seen, Value::Null);
}

fn tell(seen: &Seen, fields: Value) {
    let (slot, changed) = &**seen;
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    if slot.is_none() {
        *slot = Some(fields);
        changed.notify_all();
    }
}

fn wait_for(seen: &Seen) -> Option<Value> {
    let (slot, changed) = &**seen;
    let deadline = Instant::now() + PATIENCE;
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    while slot.is_none() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        let woken = changed.wait_timeout(slot, left);
        slot = woken.unwrap_or_else(PoisonError::into_inner).0;
    }
    slot.take().filter(|fields| !fields.is_null())
}
