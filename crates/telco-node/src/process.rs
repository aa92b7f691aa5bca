//! The frame of a service's program: its arguments, settings, log, runtime, signals and exit code.
//!
//! Exit codes: 0 done, 1 failed, 64 wrong usage or settings.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::log::LogSettings;
use crate::settings::{EXIT_USAGE, Settings};
use crate::stop;

/// How long `--check-health` waits for each step.
const CHECK_MAX: Duration = Duration::from_secs(2);

/// What a program is.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What `--help` says of it and its settings.
    pub help: &'static str,
}

impl Program {
    /// Runs it: `read` takes the settings, `serve` works until its token is cancelled.
    pub fn run<C, F>(
        self,
        read: impl FnOnce(&mut Settings) -> C,
        serve: impl FnOnce(C, CancellationToken) -> F,
    ) -> ExitCode
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        match words.as_slice() {
            [] => self.start(read, serve),
            ["--help" | "-h"] => print(&format!("{}\n\n{}\n{COMMON}", self.name, self.help)),
            ["--version" | "-V"] => print(&format!("{} {}\n", self.name, self.version)),
            ["--check-health"] => check_health(&own_health()),
            ["--check-health", url] => check_health(url),
            other => {
                let shown = other.join(" ");
                complain(&format!("error: unknown arguments: {shown}\nhint: see --help"));
                ExitCode::from(EXIT_USAGE)
            }
        }
    }

    fn start<C, F>(
        self,
        read: impl FnOnce(&mut Settings) -> C,
        serve: impl FnOnce(C, CancellationToken) -> F,
    ) -> ExitCode
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let mut settings = Settings::from_environment();
        let log = LogSettings::read(&mut settings);
        let config = read(&mut settings);
        if let Err(fault) = settings.finish() {
            complain(&format!("error: {fault}\nhint: {} --help names every setting", self.name));
            return ExitCode::from(EXIT_USAGE);
        }
        let run = || -> anyhow::Result<()> {
            log.start()?;
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(async { serve(config, stop::on_signal()?).await })
        };
        match run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&format!("error: {error}"));
                for cause in error.chain().skip(1) {
                    complain(&format!("  caused by: {cause}"));
                }
                ExitCode::FAILURE
            }
        }
    }
}

/// What every service understands.
const COMMON: &str = "\
every service:
  HTTP_HOST (0.0.0.0), HTTP_PORT (8080)   where HTTP is served, /health and /notify among it
  HTTP_CONNECTIONS_MAX (1000)     connections at once
  GOVERNANCE_MANAGER_URL (http://localhost:8080)   managers, separated by commas
  GOVERNANCE_TOKEN_FILE, GOVERNANCE_TOKEN   who we are, to managers that ask for a token
  GOVERNANCE_CA_FILE (the system's CAs)     who signs the certificates of managers at https URLs
  GOVERNANCE_CERT_FILE, GOVERNANCE_KEY_FILE our own certificate, to managers that ask for one
  POD_NAME (the host's name)      this pod; POD_IP (HTTP_HOST if it is one address) where it is reached
  HEARTBEAT_INTERVAL (30s)        how often the manager is asked whether it knows us
  DRAIN (1s)                      how long requests are taken after unregistering
  VIEW_FILE                       keeps what is known of other services, for a start while no
                                  manager answers; without it nothing is kept
  LOG_LEVEL (info), LOG_FORMAT (text | json)
options:
  --check-health [URL]            asks /health of the local service, or URL; exit code 0 if it is well
  --help, --version
";

fn own_health() -> String {
    let settings = Settings::from_environment();
    let port = settings.text("HTTP_PORT").unwrap_or_else(|| "8080".to_owned());
    let host = settings.text("HTTP_HOST").filter(|host| host != "0.0.0.0" && host != "::");
    format!("http://{}:{port}/health", host.unwrap_or_else(|| "127.0.0.1".to_owned()))
}

/// For containers without a client of their own: one request, judged by its status.
fn check_health(url: &str) -> ExitCode {
    match health_status(url) {
        Ok(200) => ExitCode::SUCCESS,
        Ok(status) => {
            complain(&format!("{url} answers {status}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            complain(&format!("error: {url}: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn health_status(url: &str) -> anyhow::Result<u16> {
    let rest = url.strip_prefix("http://").context("only http:// is understood")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address = host.to_socket_addrs()?.next().context("no such host")?;
    let mut stream = TcpStream::connect_timeout(&address, CHECK_MAX)?;
    stream.set_read_timeout(Some(CHECK_MAX))?;
    stream.set_write_timeout(Some(CHECK_MAX))?;
    write!(stream, "GET /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    let head = std::str::from_utf8(&head)?;
    head.strip_prefix("HTTP/1.1 ").context("no HTTP/1.1")?.parse().context("no status")
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn complain(text: &str) {
    // Nobody is left to be told that standard error is gone.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
