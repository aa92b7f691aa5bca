//! The log: one line per event on standard error, as text for people or JSON for machines; and how
//! much of it, which can be changed while the process runs.
//!
//! Lines are written by a thread of their own. Whoever reads them may be slow, stand still or be
//! gone, and the disk that they go to may be full: then lines are lost, and nothing else.

use std::fmt;
use std::io::IsTerminal;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::{self, Log, LogFormat};

/// Lines that wait to be written; beyond that they are lost.
const LINES_MAX: usize = 16_384;

/// What the program is built on and talks.
const LIBRARIES: [&str; 8] = [
    "h2",
    "hickory_net",
    "hickory_proto",
    "hickory_resolver",
    "hyper",
    "hyper_util",
    "rustls",
    "tokio_postgres",
];

/// The level of this process, once logging was started: the log is one per process.
static LEVEL: OnceLock<Level> = OnceLock::new();

type Reload = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// How much is logged.
struct Level {
    /// In the words of `LOG_LEVEL`.
    text: Mutex<String>,
    reload: Reload,
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Level").field("text", &self.text).finish_non_exhaustive()
    }
}

/// Why the level was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LevelError {
    /// It is none.
    #[error("{0}")]
    Invalid(String),
    /// This process does not log through [`start`].
    #[error("the log of this process cannot be changed")]
    NotStarted,
}

/// The log of this process. When it is dropped, what waits is written, as far as that is possible
/// within a second.
#[must_use = "lines that wait are lost without it"]
#[derive(Debug)]
pub struct Logging {
    _writer: WorkerGuard,
}

/// Starts logging for the whole process.
///
/// # Errors
/// When logging was started before, or the level cannot be read.
pub fn start(log: &Log) -> anyhow::Result<Logging> {
    let filter = filter(&log.level)?;
    let writer = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES_MAX);
    let (writer, guard) = writer.thread_name("log").finish(std::io::stderr());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .log_internal_errors(false) // they would go where nothing can be written
        .with_target(false);
    let (started, reload): (_, Reload) = match log.format {
        LogFormat::Text => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let builder = builder.with_ansi(colour).with_filter_reloading();
            let handle = builder.reload_handle();
            let reload = move |filter| handle.reload(filter).map_err(|fault| fault.to_string());
            (builder.try_init(), Box::new(reload))
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_current_span(false);
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            let reload = move |filter| handle.reload(filter).map_err(|fault| fault.to_string());
            (builder.try_init(), Box::new(reload))
        }
    };
    started.map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))?;
    let _ = LEVEL.set(Level { text: Mutex::new(log.level.clone()), reload });
    Ok(Logging { _writer: guard })
}

/// A level alone is about us: of the libraries below, each of which says a lot about every byte, only
/// warnings are shown. Who wants more names them.
fn filter(text: &str) -> Result<EnvFilter, ParseError> {
    if ["info", "debug", "trace"].contains(&text) {
        let libraries = LIBRARIES.map(|name| format!(",{name}=warn")).concat();
        return EnvFilter::try_new(format!("{text}{libraries}"));
    }
    EnvFilter::try_new(text)
}

/// How much is logged now, in the words of `LOG_LEVEL`; none before the start.
pub fn level() -> Option<String> {
    let level = LEVEL.get()?;
    Some(level.text.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

/// Changes how much is logged, from the next line on.
///
/// # Errors
/// When the text is no level.
pub fn set_level(text: &str) -> Result<String, LevelError> {
    let text = config::parse_log_level(text).map_err(LevelError::Invalid)?;
    let filter = filter(&text).map_err(|fault| LevelError::Invalid(fault.to_string()))?;
    let level = LEVEL.get().ok_or(LevelError::NotStarted)?;
    // Held over both, so that what is shown is what is in force.
    let mut shown = level.text.lock().unwrap_or_else(PoisonError::into_inner);
    (level.reload)(filter).map_err(LevelError::Invalid)?;
    shown.clone_from(&text);
    Ok(text)
}
