//! The configuration: one typed value made from flags, environment, configuration file and
//! defaults, or all that is wrong with them at once.
//!
//! One file per section declares that section's settings and makes its part of [`Config`];
//! `table.rs` lists them, and flags, help, reference and `--check-config` follow from the list.
//! Nothing here reads global state: arguments and environment are passed in, and the only files
//! touched are those that a setting names. What a value does is not decided here; neither is the
//! exit code, nor where the texts are printed.

mod access;
mod check;
mod database;
pub mod duration;
mod engine;
mod fault;
mod file;
mod flags;
mod health;
mod logging;
mod notification;
mod reference;
mod rule;
mod server;
mod setting;
mod source;
mod storage;
mod table;
mod targets;
mod traces;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;

pub use access::{Access, TlsFiles};
pub use check::EffectiveText;
pub use database::{Database, Secret, SslMode};
pub use engine::Engine;
pub use fault::{ConfigError, Fault};
pub use health::Health;
pub use logging::{Log, LogFormat, parse_log_level};
pub use notification::{Notification, UnhealthyPods};
pub use server::Server;
pub use source::Origin;
pub use storage::{Storage, StorageChoice};
pub use targets::Targets;
pub use traces::{Ratio, Sampler, Traces};

use source::{Reader, Values};

/// Everything that can be configured. [`Default`] gives the documented defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The HTTP server.
    pub server: Server,
    /// Who may use it.
    pub access: Access,
    /// Where state is kept.
    pub storage: Storage,
    /// How to reach PostgreSQL, if that is where.
    pub database: Database,
    /// The single writer's bounds.
    pub engine: Engine,
    /// Health checks.
    pub health: Health,
    /// Notifications.
    pub notification: Notification,
    /// Where checks and notifications may go.
    pub targets: Targets,
    /// The log.
    pub log: Log,
    /// Where traces go; none if nothing is traced.
    pub traces: Option<Traces>,
    /// What the operator should be told at the start, one WARN each.
    pub warnings: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self::read(&mut Reader::new(&Values::default()))
    }
}

impl Config {
    fn read(reader: &mut Reader<'_>) -> Self {
        let mut config = Self {
            server: Server::read(reader),
            access: Access::read(reader),
            storage: Storage::read(reader),
            database: Database::read(reader),
            engine: Engine::read(reader),
            health: Health::read(reader),
            notification: Notification::read(reader),
            targets: Targets::read(reader),
            log: Log::read(reader),
            traces: Traces::read(reader),
            warnings: Vec::new(),
        };
        reader.read_optional(&source::CONFIG_FILE); // for `--check-config` only
        config.warnings.clone_from(&reader.warnings);
        config
    }
}

/// What a command line and an environment ask the process to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invocation {
    /// Start the manager. With the configuration comes its text for the log, secrets hidden: all
    /// of it, and what is not a default.
    Run(Box<Config>, EffectiveText),
    /// Print this to stdout and exit 0.
    Print(String),
    /// Print the `OpenAPI` document to stdout and exit 0.
    PrintOpenApi,
    /// Read a token from stdin, print this beginning of a line of `API_TOKENS_FILE` with its hash
    /// at the end, and exit 0.
    HashToken(String),
}

/// Interprets the arguments (the first is the program's name) and the environment.
pub fn invocation(
    args: impl Iterator<Item = OsString>,
    env: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Invocation, ConfigError> {
    let (request, flags) = flags::parse(args).map_err(ConfigError::Usage)?;
    let is_check = match request {
        flags::Request::Print(text) => return Ok(Invocation::Print(text)),
        flags::Request::PrintReference => return Ok(Invocation::Print(reference::text())),
        flags::Request::PrintOpenApi => return Ok(Invocation::PrintOpenApi),
        flags::Request::HashToken(beginning) => return Ok(Invocation::HashToken(beginning)),
        flags::Request::CheckConfig => true,
        flags::Request::Start => false,
    };
    let environment: BTreeMap<_, _> = env.collect();
    let values = Values::merge(flags, &environment);
    let mut reader = Reader::new(&values);
    let config = Config::read(&mut reader);
    if !reader.faults.is_empty() {
        return Err(ConfigError::Settings(in_table_order(reader.faults)));
    }
    if is_check {
        return Ok(Invocation::Print(check::text(&reader)));
    }
    Ok(Invocation::Run(Box::new(config), check::line(&reader)))
}

fn in_table_order(mut faults: Vec<Fault>) -> Vec<Fault> {
    faults.sort_by_key(|fault| table::settings().position(|s| s.card().name == fault.setting()));
    faults
}
