//! Which store is used and where the embedded one lives. How `auto` decides is not here: it needs
//! to ask the network.

use std::path::PathBuf;
use std::time::Duration;

use super::database;
use super::rule::{Choice, PATH, Span, Text};
use super::setting::{Described, Setting};
use super::source::Reader;

/// Where state is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// What the operator asks for.
    pub choice: StorageChoice,
    /// The directory of the embedded store, of the kept choice and of the lock.
    pub data_dir: PathBuf,
    /// Whether somebody set one of the six `DB_*` settings that point at a PostgreSQL, which
    /// makes `auto` mean `postgres`.
    pub any_db_setting: bool,
    /// How long audit rows are kept.
    pub audit_retention: Duration,
}

/// The value of `STORAGE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageChoice {
    /// PostgreSQL if it is configured or answers at its defaults, else the embedded store.
    Auto,
    /// PostgreSQL, or an engine that speaks its protocol.
    Postgres,
    /// The embedded store.
    Sqlite,
    /// Nothing is kept.
    Memory,
}

static STORAGE: Setting<Choice<StorageChoice>> = Setting::new(
    "STORAGE",
    "auto",
    "Where state is kept; auto: PostgreSQL if any `DB_*` is set or one answers, else SQLite",
    Choice {
        words: &[
            ("auto", StorageChoice::Auto),
            ("postgres", StorageChoice::Postgres),
            ("sqlite", StorageChoice::Sqlite),
            ("memory", StorageChoice::Memory),
        ],
        aliases: &[("postgresql", StorageChoice::Postgres)],
    },
);

static DATA_DIR: Setting<Text<PathBuf>> = Setting::new(
    "DATA_DIR",
    "./data",
    "Directory of the embedded store and of the lock that keeps a second manager out",
    PATH,
);

static AUDIT_RETENTION: Setting<Span> = Setting::new(
    "AUDIT_RETENTION",
    "720h",
    "How long audit rows are kept",
    Span::between(Duration::from_hours(1), Duration::from_hours(87_600)),
);

pub(super) static SETTINGS: &[&dyn Described] = &[&STORAGE, &DATA_DIR, &AUDIT_RETENTION];

impl Storage {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let storage = Self {
            choice: reader.read(&STORAGE),
            data_dir: reader.read(&DATA_DIR),
            any_db_setting: database::is_any_set(reader),
            audit_retention: reader.read(&AUDIT_RETENTION),
        };
        let is_database_unused = match storage.choice {
            StorageChoice::Sqlite | StorageChoice::Memory => storage.any_db_setting,
            StorageChoice::Auto | StorageChoice::Postgres => false,
        };
        if is_database_unused {
            let text = "DB_* settings are given but not used, because STORAGE names another store";
            reader.warnings.push(text.to_owned());
        }
        storage
    }
}
