//! The manager under measurement: started here on a data directory of its own, or a running one.
//!
//! Knows its environment, `/ready`, and where its rows can be counted; ending its process is
//! `process`'s work. Invariants: a started manager listens on loopback only and its data directory
//! is new and removed afterwards; rows are counted over the API and, for SQLite, also in the file,
//! by a reader that cannot write.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context as _, bail};
use governance_testkit::postgres::Cluster;
use rusqlite::OpenFlags;
use serde::Serialize;
use tempfile::TempDir;
use tokio::time::{Instant, interval, sleep, timeout};

use crate::{
    cli::{ManagerOptions, StoreKind},
    process::{Server, Usage, WATCH_STEP, log_path, usage_of},
    report::progress,
    wire::{self, Connection},
};

/// The database that a measured manager makes for itself.
const DATABASE: &str = "governance_bench";
const READY_LIMIT: Duration = Duration::from_mins(2);
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// A manager is at rest when it takes less CPU than this in half a second …
const REST_CPU: Duration = Duration::from_millis(20);
const REST_STEP: Duration = Duration::from_millis(500);
/// … and is waited for this long; after that the measurement goes on and says so.
const REST_LIMIT: Duration = Duration::from_mins(2);

/// Rows that a registry holds after the work, by each way to count them.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Rows {
    pub(crate) registered: u64,
    /// What `GET /services` counts.
    pub(crate) api: u64,
    /// What stands in the `services` table; `None` when the store has none that can be opened.
    pub(crate) database: Option<u64>,
    /// Whether others may have registered pods there too.
    pub(crate) is_shared: bool,
}

impl Rows {
    /// What is wrong with them, if anything.
    pub(crate) fn fault(&self) -> Option<String> {
        let Self { registered, api, database, is_shared } = self;
        if let Some(database) = database
            && database != api
        {
            return Some(format!("{database} rows in the database, {api} over the API"));
        }
        let as_expected = if *is_shared { api >= registered } else { api == registered };
        (!as_expected).then(|| format!("{registered} pods registered, {api} found"))
    }
}

/// A started manager and the directories it lives in. The process goes before its directory.
pub(crate) struct Manager {
    server: Option<Server>,
    /// The PostgreSQL it writes to, if it does; ends after the manager.
    database: Option<Cluster>,
    home: Option<TempDir>,
    program: PathBuf,
    store: StoreKind,
    log_level: String,
    /// Further settings, which win over those that every measured manager has.
    settings: Vec<(&'static str, String)>,
    starts: usize,
    pub(crate) address: SocketAddr,
    pub(crate) pid: Option<u32>,
}

impl Manager {
    /// Starts a manager with an empty registry and waits until it is ready.
    pub(crate) async fn start(options: &ManagerOptions) -> anyhow::Result<(Self, Duration)> {
        Self::start_with(options, Vec::new()).await
    }

    /// The same, with further settings.
    pub(crate) async fn start_with(
        options: &ManagerOptions,
        settings: Vec<(&'static str, String)>,
    ) -> anyhow::Result<(Self, Duration)> {
        let database = match options.store {
            StoreKind::Postgres => Some(tokio::task::spawn_blocking(new_database).await??),
            StoreKind::Sqlite | StoreKind::Memory => None,
        };
        let program = find_program(options.manager_bin.as_deref())?;
        let mut manager = Self {
            server: None,
            database,
            home: Some(new_directory(options.data_dir.as_deref())?),
            program,
            store: options.store,
            log_level: options.log_level.clone(),
            settings,
            starts: 0,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            pid: None,
        };
        let ready_after = manager.start_again().await?;
        Ok((manager, ready_after))
    }

    /// Uses a manager that somebody else runs.
    pub(crate) async fn attach(address: SocketAddr, pid: Option<u32>) -> anyhow::Result<Self> {
        if let Some(pid) = pid {
            usage_of(pid)?;
        }
        let manager = Self {
            server: None,
            database: None,
            home: None,
            program: PathBuf::new(),
            store: StoreKind::Memory,
            log_level: String::new(),
            settings: Vec::new(),
            starts: 0,
            address,
            pid,
        };
        let status = ready_status(address).await.context("no manager answers there")?;
        if status != 200 {
            bail!("the manager at {address} is not ready: /ready answers {status}");
        }
        Ok(manager)
    }

    /// Starts the program on the present data directory; returns the time from spawn to ready.
    pub(crate) async fn start_again(&mut self) -> anyhow::Result<Duration> {
        let home = self.home.as_ref().context("a manager run by others is not started here")?;
        self.starts += 1;
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("SERVER_HOST", "127.0.0.1")
            .env("SERVER_PORT", "0")
            .env("DATA_DIR", home.path().join("data"))
            .env("STORAGE", self.store.name())
            .env("LOG_FORMAT", "json")
            .env("LOG_LEVEL", &self.log_level)
            .env("HEALTH_CHECK_INTERVAL", "24h")
            .env("NOTIFICATION_INTERVAL", "0")
            .envs(self.database.iter().flat_map(database_settings))
            .envs(self.settings.iter().map(|(name, value)| (*name, value)))
            .current_dir(home.path());
        let mut server = Server::spawn(command, log_path(home.path(), "manager", self.starts))
            .context("the manager cannot be measured")?;
        self.pid = Some(server.pid());
        self.address = server.address().await.context("the manager did not start")?;
        let ready_after = wait_until_ready(&mut server, self.address).await?;
        self.server = Some(server);
        Ok(ready_after)
    }

    /// Ends the process in order; returns how long that took.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<(Duration, ExitStatus)> {
        let server = self.server.take().context("the manager is not running")?;
        self.pid = None;
        server.stop().await
    }

    pub(crate) fn usage(&self) -> anyhow::Result<Option<Usage>> {
        self.pid.map(usage_of).transpose()
    }

    /// Counts over the API and in the database.
    pub(crate) async fn count_rows(&self, registered: u64) -> anyhow::Result<Rows> {
        let body = body_of(self.address, "/services?limit=1").await?;
        let body: serde_json::Value =
            serde_json::from_slice(&body).context("GET /services does not answer JSON")?;
        let api = body
            .get("count")
            .and_then(serde_json::Value::as_u64)
            .context("GET /services answers no count")?;
        let database = match (&self.home, &self.database) {
            (Some(_), Some(database)) => {
                let count = database.sql(DATABASE, "SELECT count(*) FROM services")?;
                Some(count.trim().parse().context("PostgreSQL counts no rows")?)
            }
            (Some(home), None) if self.store == StoreKind::Sqlite => {
                Some(count_in_file(&home.path().join("data/governance.db"))?)
            }
            _ => None,
        };
        Ok(Rows { registered, api, database, is_shared: self.home.is_none() })
    }

    /// Waits until the checks and writes that follow the filling are done, so that they are not
    /// measured. Says so when they do not end.
    pub(crate) async fn rest(&self, label: &str) -> anyhow::Result<()> {
        let Some(mut before) = self.usage()? else {
            return Ok(());
        };
        let began = Instant::now();
        let mut ticks = interval(REST_STEP);
        ticks.tick().await;
        while began.elapsed() < REST_LIMIT {
            ticks.tick().await;
            let Some(now) = self.usage()? else {
                return Ok(());
            };
            let used = now.cpu.saturating_sub(before.cpu);
            if used <= REST_CPU {
                return Ok(());
            }
            before = now;
            progress(&format!("{label}: waiting for rest, {used:?} of CPU in {REST_STEP:?}"));
        }
        progress(&format!("{label}: not at rest after {REST_LIMIT:?}, measuring all the same"));
        Ok(())
    }
}

/// A server of its own on this machine, which waits for the disk as one in earnest does.
pub(crate) fn new_database() -> anyhow::Result<Cluster> {
    Cluster::start_with(&[("fsync", "on"), ("synchronous_commit", "on")]).context(
        "no PostgreSQL can be started to measure on; it needs the server's package, for example \
         `apt-get install postgresql`",
    )
}

fn database_settings(database: &Cluster) -> [(&'static str, String); 5] {
    let address = database.address();
    [
        ("DB_HOST", address.ip().to_string()),
        ("DB_PORT", address.port().to_string()),
        ("DB_NAME", DATABASE.to_owned()),
        ("DB_USER", governance_testkit::postgres::USER.to_owned()),
        ("DB_PASSWORD", governance_testkit::postgres::PASSWORD.to_owned()),
    ]
}

/// A new directory that goes with its value, in `parent` or the system's temporary directory.
pub(crate) fn new_directory(parent: Option<&Path>) -> anyhow::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("governance-bench-");
    let made = match parent {
        Some(parent) => builder.tempdir_in(parent),
        None => builder.tempdir(),
    };
    made.context("no directory can be made for the data")
}

/// Polls `/ready` of a child until it answers 200; returns the time since its spawn.
pub(crate) async fn wait_until_ready(
    server: &mut Server,
    address: SocketAddr,
) -> anyhow::Result<Duration> {
    let mut last = String::from("nothing");
    loop {
        match ready_status(address).await {
            Ok(200) => return Ok(server.spawned.elapsed()),
            Ok(status) => last = format!("status {status}"),
            Err(error) => last.clone_from(&error.to_string()),
        }
        server.check_alive()?;
        if server.spawned.elapsed() > READY_LIMIT {
            bail!("not ready within {READY_LIMIT:?}; /ready gave {last}");
        }
        sleep(WATCH_STEP).await;
    }
}

async fn ready_status(address: SocketAddr) -> anyhow::Result<u16> {
    let mut connection = Connection::open(address).await?;
    let request = wire::get("/ready");
    Ok(timeout(ANSWER_LIMIT, connection.exchange(&request)).await??.status)
}

async fn body_of(address: SocketAddr, path: &str) -> anyhow::Result<Vec<u8>> {
    let mut connection = Connection::open(address).await?;
    fetch(&mut connection, path).await
}

/// The body of a GET that must be answered 200.
pub(crate) async fn fetch(connection: &mut Connection, path: &str) -> anyhow::Result<Vec<u8>> {
    let request = wire::get(path);
    let answer = timeout(ANSWER_LIMIT, connection.exchange(&request))
        .await
        .with_context(|| format!("GET {path} is not answered"))?
        .with_context(|| format!("GET {path} failed"))?;
    if answer.status != 200 {
        let body = String::from_utf8_lossy(&answer.body);
        bail!("GET {path} answers {}: {body}", answer.status);
    }
    Ok(answer.body.into_owned())
}

fn count_in_file(path: &Path) -> anyhow::Result<u64> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let count = || -> rusqlite::Result<i64> {
        let database = rusqlite::Connection::open_with_flags(path, flags)?;
        database.busy_timeout(ANSWER_LIMIT)?;
        database.query_row("SELECT count(*) FROM services", [], |row| row.get(0))
    };
    let count =
        count().with_context(|| format!("the rows in {} cannot be counted", path.display()))?;
    Ok(count.unsigned_abs())
}

fn find_program(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let program = match given {
        Some(given) => given.to_owned(),
        None => std::env::current_exe()
            .context("this program cannot find itself")?
            .with_file_name("governance-manager"),
    };
    // Absolute, because the manager is started in a directory of its own.
    program.canonicalize().with_context(|| {
        format!(
            "there is no manager at {}\nhint: build it with `cargo build --release -p \
             governance-manager`, or name it with --manager-bin",
            program.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(registered: u64, api: u64, database: Option<u64>, is_shared: bool) -> Option<String> {
        Rows { registered, api, database, is_shared }.fault()
    }

    #[test]
    fn rows_that_agree_are_no_fault() {
        assert_eq!(rows(10, 10, Some(10), false), None);
        assert_eq!(rows(10, 10, None, false), None);
        assert_eq!(rows(10, 12, None, true), None);
    }

    #[test]
    fn missing_surplus_or_contradicting_rows_are_faults() {
        assert!(rows(10, 9, Some(9), false).is_some());
        assert!(rows(10, 11, Some(11), false).is_some());
        assert!(rows(10, 10, Some(9), false).is_some());
        assert!(rows(10, 9, None, true).is_some());
    }

    #[test]
    fn rows_are_counted_while_a_writer_has_the_file_open() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("governance.db");
        let writer = rusqlite::Connection::open(&path).unwrap();
        writer
            .execute_batch(
                "PRAGMA journal_mode = WAL; CREATE TABLE services (k TEXT);
                 INSERT INTO services VALUES ('a'), ('b');",
            )
            .unwrap();
        assert_eq!(count_in_file(&path).unwrap(), 2);
        assert!(count_in_file(&directory.path().join("other.db")).is_err());
    }

    #[test]
    fn a_missing_program_is_an_error_that_says_how_to_build_it() {
        let error = find_program(Some(Path::new("/nowhere/governance-manager"))).unwrap_err();
        assert!(error.to_string().contains("cargo build"), "{error}");
    }
}
