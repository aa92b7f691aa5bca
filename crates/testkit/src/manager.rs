//! The real manager as a process of its own: started with a known environment, watched through its
//! log, ended by its process id.
//!
//! A test crate passes the path of the program in (`env!("CARGO_BIN_EXE_governance-manager")`). The
//! environment is empty but for what a test sets, so that a test means the same on every machine.
//! Not here: what the manager answers; see [`crate::http`].

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::http::Client;
use crate::wait::until;

/// How long a start, an end or a line of the log may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What a manager is started with.
#[derive(Clone, Debug)]
pub struct ManagerBuilder {
    program: PathBuf,
    settings: BTreeMap<String, String>,
    arguments: Vec<String>,
    /// A program and its arguments that starts ours in its own place (`exec`).
    wrapper: Vec<String>,
    /// Kept as long as anything may still run on it.
    directory: Arc<TempDir>,
}

impl ManagerBuilder {
    /// Sets an environment variable.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.insert(name.to_owned(), value.into());
        self
    }

    /// Takes one of the variables away that are set for every manager.
    #[must_use]
    pub fn unset(mut self, name: &str) -> Self {
        self.settings.remove(name);
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Starts another copy of the program.
    #[must_use]
    pub fn with_program(mut self, program: PathBuf) -> Self {
        self.program = program;
        self
    }

    /// Starts the manager through another program, which must end up being the manager (`exec`),
    /// so that the process id is the manager's.
    #[must_use]
    pub fn wrapped_by(mut self, words: &[&str]) -> Self {
        self.wrapper = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// The program that is started.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The directory of this test; removed with the last manager and builder of it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The data directory.
    ///
    /// # Panics
    /// When the test took it away.
    pub fn data_dir(&self) -> PathBuf {
        PathBuf::from(self.settings.get("DATA_DIR").expect("DATA_DIR is set"))
    }

    /// Starts it and waits until it can answer.
    ///
    /// # Panics
    /// When it ends or stays silent instead; the message has its log.
    #[track_caller]
    pub fn start(&self) -> ManagerProcess {
        let mut manager = self.launch();
        manager.wait_until_ready();
        manager
    }

    /// Starts it and waits until it listens, not until it can answer.
    ///
    /// # Panics
    /// When it ends or stays silent instead.
    #[track_caller]
    pub fn launch(&self) -> ManagerProcess {
        let mut child = self.command().spawn().expect("the program can be started");
        let log = Log::default();
        let stderr = child.stderr.take().expect("piped below");
        let reader = log.follow(stderr);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut manager =
            ManagerProcess { builder: self.clone(), child, log, reader: Some(reader), address };
        let line = manager.wait_for_log(|line| line["message"] == "listening");
        let address =
            line.get("address").and_then(Value::as_str).and_then(|text| text.parse().ok());
        manager.address = address.unwrap_or_else(|| panic!("no address in {line}"));
        manager
    }

    /// Starts it and waits until it ends by itself.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn run_to_end(&self) -> Ended {
        let mut child = self.command().stdout(Stdio::piped()).spawn().expect("it can be started");
        let mut stdout = child.stdout.take().expect("piped above");
        let mut stderr = child.stderr.take().expect("piped below");
        let read = |source: &mut dyn Read| {
            let mut text = String::new();
            source.read_to_string(&mut text).expect("output in UTF-8");
            text
        };
        std::thread::scope(|scope| {
            let out = scope.spawn(|| read(&mut stdout));
            let err = scope.spawn(|| read(&mut stderr));
            let status = wait_for_end(&mut child);
            if status.is_none() {
                child.kill().expect("it is ours");
                child.wait().expect("it is ours");
            }
            let (stdout, stderr) = (out.join().expect("read"), err.join().expect("read"));
            let status = status.unwrap_or_else(|| panic!("it did not end: {stderr}"));
            Ended { code: status.code(), stdout, stderr }
        })
    }

    fn command(&self) -> Command {
        let words = self.wrapper.iter().map(PathBuf::from);
        let mut words = words.chain([self.program.clone()]);
        let mut command = Command::new(words.next().expect("there is at least the program"));
        command
            .args(words)
            .args(&self.arguments)
            .env_clear()
            .envs(&self.settings)
            .current_dir(self.directory())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }
}

/// A program that ended by itself.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it logged and complained of.
    pub stderr: String,
}

/// A manager that runs. Dropped, it is killed.
#[derive(Debug)]
pub struct ManagerProcess {
    builder: ManagerBuilder,
    child: Child,
    log: Log,
    reader: Option<JoinHandle<()>>,
    address: SocketAddr,
}

impl ManagerProcess {
    /// A manager with the embedded store in a directory of its own, on a free port of loopback.
    ///
    /// # Panics
    /// When there is no room for the directory.
    pub fn builder(program: &str) -> ManagerBuilder {
        let directory = TempDir::new().expect("a temporary directory");
        let data_dir = directory.path().join("data");
        let builder = ManagerBuilder {
            program: PathBuf::from(program),
            settings: BTreeMap::new(),
            arguments: Vec::new(),
            wrapper: Vec::new(),
            directory: Arc::new(directory),
        };
        builder
            .set("SERVER_HOST", "127.0.0.1")
            .set("SERVER_PORT", "0")
            .set("LOG_FORMAT", "json")
            .set("STORAGE", "sqlite")
            .set("DATA_DIR", data_dir.display().to_string())
    }

    /// The same with the program that was built beside the running test, for crates other than the
    /// manager's own.
    ///
    /// # Panics
    /// When it was not built.
    #[track_caller]
    pub fn built() -> ManagerBuilder {
        let test = std::env::current_exe().expect("a test knows its own program");
        // …/target/PROFILE/deps/test-HASH
        let folder = test.ancestors().nth(2).expect("tests are two folders down");
        let program = folder.join(format!("governance-manager{}", std::env::consts::EXE_SUFFIX));
        let hint = "build it first: cargo build -p governance-manager";
        assert!(program.is_file(), "{} is not there: {hint}", program.display());
        Self::builder(program.to_str().expect("a path in UTF-8"))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it was started with; `builder().start()` starts another one on the same data.
    pub fn settings(&self) -> &ManagerBuilder {
        &self.builder
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it can answer reads.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn wait_until_ready(&mut self) {
        let mut last = String::new();
        let is_ready = until(PATIENCE, || {
            let answer = Client::new(self.address).call("GET", "/ready", None);
            last = format!("{answer:?}");
            answer.is_ok_and(|answer| answer.status == 200)
        });
        assert!(is_ready, "not ready: {last}\n{}", self.log.text());
    }

    /// Every line of its log so far; lines that are no JSON object as text.
    pub fn log(&self) -> Vec<Value> {
        self.log.lines().iter().map(|line| parsed(line)).collect()
    }

    /// The whole log so far, for messages.
    pub fn log_text(&self) -> String {
        self.log.text()
    }

    /// Waits for a line of the log; one that is there already counts.
    ///
    /// # Panics
    /// When it does not come.
    #[track_caller]
    pub fn wait_for_log(&self, is_wanted: impl Fn(&Value) -> bool) -> Value {
        match self.log.wait_for(&is_wanted) {
            Some(line) => line,
            None => panic!("the awaited line is not in the log:\n{}", self.log.text()),
        }
    }

    /// Asks it to end.
    pub fn sigterm(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends a signal; one that has ended gets none.
    ///
    /// # Panics
    /// Never: the process id of a child is positive.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // It may have ended a moment ago.
        let _ = kill_process(pid.expect("a child has a positive id"), signal);
    }

    /// Ends it at once, as a power failure of the process would, and waits for that.
    ///
    /// # Panics
    /// When the system does not let us.
    #[track_caller]
    pub fn sigkill(mut self) -> ManagerBuilder {
        self.child.kill().expect("the child is ours");
        self.child.wait().expect("the child is ours");
        self.finish_log();
        self.builder.clone()
    }

    /// Asks it to end and waits for that.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.sigterm();
        self.wait()
    }

    /// Waits until it ends.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        match wait_for_end(&mut self.child) {
            Some(status) => {
                self.finish_log();
                status
            }
            None => panic!("it does not end:\n{}", self.log.text()),
        }
    }

    /// Whether it has ended.
    ///
    /// # Panics
    /// When the system does not tell.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("the child is ours").is_some()
    }

    fn finish_log(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader of the log does not panic");
        }
    }
}

impl Drop for ManagerProcess {
    fn drop(&mut self) {
        // It may have ended before; nothing to tell anybody here.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn wait_for_end(child: &mut Child) -> Option<ExitStatus> {
    let mut status = None;
    until(PATIENCE, || {
        status = child.try_wait().expect("the child is ours");
        status.is_some()
    });
    status
}

/// The lines a process wrote, and a way to wait for the next.
#[derive(Clone, Debug, Default)]
struct Log(Arc<(Mutex<Lines>, Condvar)>);

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    is_complete: bool,
}

impl Log {
    fn follow(&self, source: impl Read + Send + 'static) -> JoinHandle<()> {
        let log = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(source).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                log.change(|lines| lines.lines.push(line));
            }
            log.change(|lines| lines.is_complete = true);
        })
    }

    fn change(&self, change: impl FnOnce(&mut Lines)) {
        let (lines, changed) = &*self.0;
        change(&mut lines.lock().unwrap_or_else(PoisonError::into_inner));
        changed.notify_all();
    }

    fn lines(&self) -> Vec<String> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).lines.clone()
    }

    fn text(&self) -> String {
        self.lines().join("\n")
    }

    fn wait_for(&self, is_wanted: &dyn Fn(&Value) -> bool) -> Option<Value> {
        let (lines, changed) = &*self.0;
        let deadline = Instant::now() + PATIENCE;
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = 0;
        loop {
            let found = lines.lines.iter().skip(seen).map(|line| parsed(line)).find(is_wanted);
            seen = lines.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if found.is_some() || lines.is_complete || left.is_zero() {
                return found;
            }
            let woken = changed.wait_timeout(lines, left);
            lines = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|_| Value::String(line.to_owned()))
}
