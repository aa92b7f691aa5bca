//! Which store, and why: the meaning of `STORAGE`.
//!
//! `auto` decides once and keeps the decision in the data directory, so that a database that is
//! away at one start never turns into an empty registry beside it.

use std::sync::Arc;
use std::time::Duration;

use governance_store::postgres::{PostgresSettings, PostgresStore, SslMode};
use governance_store::{MemoryStore, SqliteStore, Store, StoreFault};

use crate::config::{self, Config, StorageChoice};
use crate::datadir::DataDir;
use crate::remembering::RememberingStore;

/// How long a PostgreSQL at the default address may take to answer at the first start.
const PROBE_MAX: Duration = Duration::from_secs(2);
/// How long the database may work on one statement; below what callers wait for.
const STATEMENT_MAX: Duration = Duration::from_secs(4);
/// Before the first epoch of a registry in memory come so many at most: revisions then stay below
/// 2⁵³, which every reader of JSON can hold.
const EPOCHS_SKIPPED_MAX: u32 = 1 << 20;
/// The file in the data directory that keeps the decision of `auto`.
const CHOICE_FILE: &str = "storage-choice";

/// The store to use.
pub struct Chosen {
    /// The store; nothing was read yet.
    pub store: Arc<dyn Store>,
    /// Why this one, for the log of the start.
    pub reason: String,
}

/// Decides and makes the store. `data_dir` is there unless the choice is memory.
///
/// # Errors
/// When the choice cannot be carried out or kept.
pub async fn choose(config: &Config, data_dir: Option<&Arc<DataDir>>) -> anyhow::Result<Chosen> {
    let Some(data_dir) = data_dir else {
        let reason = "STORAGE=memory: nothing outlives this process".to_owned();
        let store = MemoryStore::beginning_after(fastrand::u32(..EPOCHS_SKIPPED_MAX));
        return Ok(Chosen { store: Arc::new(store), reason });
    };
    let Chosen { store, reason } = durable(config, data_dir).await?;
    let store = Arc::new(RememberingStore::new(store, Arc::clone(data_dir)));
    Ok(Chosen { store, reason })
}

async fn durable(config: &Config, data_dir: &DataDir) -> anyhow::Result<Chosen> {
    match config.storage.choice {
        StorageChoice::Memory => {
            let reason = "STORAGE=memory: nothing outlives this process".to_owned();
            Ok(Chosen { store: Arc::new(MemoryStore::default()), reason })
        }
        StorageChoice::Sqlite => sqlite(data_dir, "STORAGE=sqlite".to_owned()),
        StorageChoice::Postgres => Ok(postgres(config, "STORAGE=postgres".to_owned())),
        StorageChoice::Auto if config.storage.any_db_setting => {
            Ok(postgres(config, "a DB_* setting is given".to_owned()))
        }
        StorageChoice::Auto => match data_dir.read(CHOICE_FILE).as_deref() {
            Some("postgres") => Ok(postgres(config, kept("postgres"))),
            Some("sqlite") => sqlite(data_dir, kept("sqlite")),
            _ => first_choice(config, data_dir).await,
        },
    }
}

fn kept(kind: &str) -> String {
    format!("chosen at the first start and kept in {CHOICE_FILE}; STORAGE={kind} makes it explicit")
}

/// A PostgreSQL that answers at the defaults is what the documented first steps start.
async fn first_choice(config: &Config, data_dir: &DataDir) -> anyhow::Result<Chosen> {
    let chosen = match probe(config).await {
        Ok(()) => {
            let reason = "a PostgreSQL answers at the default address; STORAGE=sqlite would use a \
                          file instead";
            data_dir.write(CHOICE_FILE, "postgres")?;
            postgres(config, reason.to_owned())
        }
        Err(_) => {
            let reason = "no DB_* setting is given and no PostgreSQL answers at the default \
                          address; STORAGE=postgres or a DB_* setting would use PostgreSQL";
            data_dir.write(CHOICE_FILE, "sqlite")?;
            sqlite(data_dir, reason.to_owned())?
        }
    };
    Ok(chosen)
}

fn sqlite(data_dir: &DataDir, reason: String) -> anyhow::Result<Chosen> {
    let store = Arc::new(SqliteStore::open(data_dir.path())?);
    Ok(Chosen { store, reason })
}

fn postgres(config: &Config, reason: String) -> Chosen {
    Chosen { store: Arc::new(PostgresStore::new(settings(config))), reason }
}

async fn probe(config: &Config) -> Result<(), StoreFault> {
    governance_store::postgres::probe(&settings(config), PROBE_MAX).await
}

fn settings(config: &Config) -> PostgresSettings {
    let database = &config.database;
    PostgresSettings {
        hosts: database.hosts.clone(),
        database: database.name.clone(),
        user: database.user.clone(),
        password: database.password.expose().to_owned(),
        ssl_mode: match database.ssl_mode {
            config::SslMode::Disable => SslMode::Disable,
            config::SslMode::Require => SslMode::Require,
            config::SslMode::VerifyCa => SslMode::VerifyCa,
            config::SslMode::VerifyFull => SslMode::VerifyFull,
        },
        ssl_root_cert: database.ssl_root_cert.clone(),
        statement_timeout: STATEMENT_MAX,
    }
}
