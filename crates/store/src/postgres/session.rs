//! One connection: opening it on the first server that takes writes, its settings, and ending it
//! for good when it can no longer be trusted.
//!
//! Not here: what is asked over it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Client, Config, NoTls, Socket, Statement};

use super::fault::{Place, Trouble};
use super::settings::{PostgresSettings, SslMode};
use super::{statements, tls};
use crate::StoreFault;

/// One server has so long to take a connection, TLS and log-in included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A machine that is gone does not even say no: so long until the next one is asked.
const TCP_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A peer that acknowledges nothing for so long is gone.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);
/// Silence before the first keep-alive probe, and between probes.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);
const KEEPALIVE_RETRIES: u32 = 3;
/// A statement that reads the audit may take so long: longer, and nobody waits for the answer.
const READING_TIMEOUT: Duration = Duration::from_secs(8);
/// Databases that are there on any server, to create ours from.
const MAINTENANCE: [&str; 2] = ["postgres", "yugabyte"];

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Many small statements by key.
    Writing,
    /// Few statements that may touch everything: they get more time.
    Bulk,
    /// Questions that people ask, which must not hold anything up.
    Reading,
}

impl Purpose {
    /// So long the server may work on one statement.
    pub(super) fn timeout(self, settings: &PostgresSettings) -> Duration {
        match self {
            Self::Writing => settings.statement_timeout,
            Self::Bulk => settings.statement_timeout.max(Duration::from_mins(1)),
            Self::Reading => READING_TIMEOUT,
        }
    }
}

/// A connection with its driver task. Dropping it closes the socket at once, whatever was under
/// way: the server finishes or gives up a statement that it has, without us.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) place: Place,
    /// Which of the settings' hosts it is.
    pub(super) host_index: usize,
    driver: AbortHandle,
    is_abandoned: AtomicBool,
    /// Prepared when first used; a connection's own.
    pub(super) commit: OnceLock<Statement>,
    pub(super) health: OnceLock<Statement>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    /// Whether something may be sent.
    pub(super) fn is_usable(&self) -> bool {
        !self.client.is_closed() && !self.is_abandoned.load(Ordering::Relaxed)
    }

    /// Sends nothing over it any more.
    pub(super) fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::Relaxed);
    }
}

/// Opens a connection to the first server that takes writes, asking the one at `first` first.
/// Creates the database where the server lets us in but the database is missing.
pub(super) async fn open(
    settings: &PostgresSettings,
    purpose: Purpose,
    first: usize,
) -> Result<Session, Trouble> {
    let mut troubles: Vec<Trouble> = Vec::new();
    for offset in 0..settings.hosts.len() {
        let index = (first + offset) % settings.hosts.len();
        match open_only(settings, purpose, index).await {
            Ok(session) => return Ok(session),
            Err(trouble) => troubles.push(trouble),
        }
    }
    Err(united(troubles))
}

/// Whether one of the servers takes writes and lets us in, or would if the database were there.
pub(super) async fn probe(settings: &PostgresSettings) -> Result<(), Trouble> {
    let mut troubles = Vec::new();
    for index in 0..settings.hosts.len() {
        let address = address(settings, index)?;
        let outcome = match connect(settings, address, &settings.database, index).await {
            Ok(session) => set_up(&session, settings, Purpose::Bulk).await,
            Err(Refusal::Database) => Ok(()),
            Err(Refusal::Other(trouble)) => Err(trouble),
        };
        match outcome {
            Ok(()) => return Ok(()),
            Err(trouble) => troubles.push(trouble),
        }
    }
    Err(united(troubles))
}

fn address(settings: &PostgresSettings, index: usize) -> Result<(&str, u16), Trouble> {
    let found = settings.hosts.get(index);
    let (host, port) = found.ok_or_else(|| Trouble::lasting(StoreFault::new("no host given")))?;
    Ok((host, *port))
}

/// One trouble of several: it lasts only if all of them do.
fn united(mut troubles: Vec<Trouble>) -> Trouble {
    if troubles.len() == 1
        && let Some(only) = troubles.pop()
    {
        return only;
    }
    let is_lasting = !troubles.is_empty() && troubles.iter().all(|trouble| trouble.is_lasting);
    let messages: Vec<&str> = troubles.iter().map(|t| t.fault.message.as_str()).collect();
    let message = format!("no server takes writes: {}", messages.join("; "));
    let fault = StoreFault::new(message);
    Trouble { fault, is_lasting }
}

/// Opens a connection to one server, if it takes writes.
pub(super) async fn open_only(
    settings: &PostgresSettings,
    purpose: Purpose,
    index: usize,
) -> Result<Session, Trouble> {
    let address = address(settings, index)?;
    let place = Place::new(settings, address.0, address.1);
    let opened = match connect(settings, address, &settings.database, index).await {
        Err(Refusal::Database) => {
            create_database(settings, address, index, &place).await?;
            connect(settings, address, &settings.database, index).await
        }
        other => other,
    };
    let session = opened.map_err(|refusal| refusal.explain(&place))?;
    let set_up = set_up(&session, settings, purpose);
    match tokio::time::timeout(CONNECT_TIMEOUT, set_up).await {
        Ok(done) => done.map(|()| session),
        Err(_) => Err(silent(&place)),
    }
}

fn silent(place: &Place) -> Trouble {
    let message = format!("PostgreSQL at {} does not answer", place.host);
    Trouble::passing(StoreFault::new(message))
}

/// Why a connection was not made.
enum Refusal {
    /// All is well but for the database, which is missing.
    Database,
    Other(Trouble),
}

impl Refusal {
    fn explain(self, place: &Place) -> Trouble {
        match self {
            Self::Database => {
                let message = format!("PostgreSQL at {} lost the database", place.host);
                Trouble::passing(StoreFault::new(message))
            }
            Self::Other(trouble) => trouble,
        }
    }
}

/// Connects and logs in, no more.
async fn connect(
    settings: &PostgresSettings,
    address: (&str, u16),
    database: &str,
    index: usize,
) -> Result<Session, Refusal> {
    let place = &Place::new(settings, address.0, address.1);
    let config = config(settings, address, database);
    let connected = async {
        match tls::connector(settings).map_err(|fault| Refusal::Other(Trouble::lasting(fault)))? {
            Some(tls) => connect_with(&config, tls, place, index).await,
            None => connect_with(&config, NoTls, place, index).await,
        }
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, connected).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Refusal::Other(silent(place))),
    }
}

fn config(settings: &PostgresSettings, (host, port): (&str, u16), database: &str) -> Config {
    let mut config = Config::new();
    config
        .host(host)
        .port(port)
        .dbname(database)
        .user(&settings.user)
        .password(&settings.password)
        .application_name("telco-governance-manager")
        .connect_timeout(TCP_CONNECT_TIMEOUT)
        .tcp_user_timeout(TCP_USER_TIMEOUT)
        .keepalives(true)
        .keepalives_idle(KEEPALIVE_IDLE)
        .keepalives_interval(KEEPALIVE_INTERVAL)
        .keepalives_retries(KEEPALIVE_RETRIES)
        .ssl_mode(match settings.ssl_mode {
            SslMode::Disable => tokio_postgres::config::SslMode::Disable,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
                tokio_postgres::config::SslMode::Require
            }
        });
    config
}

async fn connect_with<T>(
    config: &Config,
    tls: T,
    place: &Place,
    host_index: usize,
) -> Result<Session, Refusal>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    let (client, connection) = config.connect(tls).await.map_err(|error| {
        let is_missing = error.code().is_some_and(|code| code.code() == "3D000");
        if is_missing { Refusal::Database } else { Refusal::Other(place.explain(error)) }
    })?;
    let drive = async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to PostgreSQL ended");
        }
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "it ends with its session, which aborts it when it is dropped"
    )]
    let driver = tokio::spawn(drive).abort_handle();
    Ok(Session {
        client,
        place: place.clone(),
        host_index,
        driver,
        is_abandoned: AtomicBool::new(false),
        commit: OnceLock::new(),
        health: OnceLock::new(),
    })
}

/// Makes sure that the server takes writes, and sets what our promises rest on.
async fn set_up(
    session: &Session,
    settings: &PostgresSettings,
    purpose: Purpose,
) -> Result<(), Trouble> {
    let Session { client, place, .. } = session;
    let explain = |error| place.explain(error);
    let row = client.query_one(statements::INSPECT_SERVER, &[]).await;
    let row = row.map_err(explain)?;
    let is_standby: bool = row.try_get(0).map_err(explain)?;
    let is_read_only: Option<bool> = row.try_get(1).map_err(explain)?;
    if is_standby || is_read_only.unwrap_or(false) {
        let what = if is_standby { "is a standby" } else { "is set read-only" };
        let message = format!("PostgreSQL at {} takes no writes: it {what}", place.host);
        return Err(Trouble::passing(StoreFault::new(message)));
    }
    let is_fsync_off: Option<bool> = row.try_get(2).map_err(explain)?;
    if is_fsync_off.unwrap_or(false) && purpose == Purpose::Writing {
        tracing::warn!(
            server = place.host,
            "PostgreSQL runs with fsync off: what it confirms is lost when its machine fails"
        );
    }
    let timeout = purpose.timeout(settings);
    let required = statements::required_settings(timeout);
    client.batch_execute(&required).await.map_err(explain)?;
    let by_key = match purpose {
        Purpose::Writing => &statements::WRITING_WISHES[..],
        Purpose::Bulk => &[],
        Purpose::Reading => &statements::READING_WISHES[..],
    };
    for setting in statements::WISHES.iter().chain(by_key) {
        if let Err(error) = client.batch_execute(setting).await {
            tracing::debug!(%error, setting, "the server does not take a setting");
        }
    }
    Ok(())
}

async fn create_database(
    settings: &PostgresSettings,
    address: (&str, u16),
    index: usize,
    place: &Place,
) -> Result<(), Trouble> {
    let mut last = None;
    for name in MAINTENANCE {
        match connect(settings, address, name, index).await {
            Ok(session) => return create_from(&session, settings, name).await,
            Err(Refusal::Database) => {}
            Err(Refusal::Other(trouble)) => last = Some(trouble),
        }
    }
    let database = &settings.database;
    let message = format!(
        "PostgreSQL at {} has no database {database:?}, nor one to create it from: create it \
         with createdb",
        place.host
    );
    Err(last.unwrap_or_else(|| Trouble::lasting(StoreFault::new(message))))
}

async fn create_from(
    session: &Session,
    settings: &PostgresSettings,
    from: &str,
) -> Result<(), Trouble> {
    let database = &settings.database;
    let text = statements::create_database(database);
    let Err(error) = session.client.batch_execute(&text).await else {
        tracing::info!(database, "created the database, which was missing");
        return Ok(());
    };
    match error.code().map(tokio_postgres::error::SqlState::code) {
        // Somebody else created it at the same moment.
        Some("42P04" | "23505") => Ok(()),
        Some("42501") => {
            let message = format!(
                "PostgreSQL at {} has no database {database:?} and {:?} may not create it: \
                 create it as an administrator (CREATE DATABASE {} OWNER {})",
                session.place.host,
                settings.user,
                statements::quoted(database),
                statements::quoted(&settings.user),
            );
            Err(Trouble::lasting(StoreFault::because(message, error)))
        }
        _ => {
            tracing::debug!(from, "the database cannot be created");
            Err(session.place.explain(error))
        }
    }
}
