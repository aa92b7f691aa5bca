//! The only wiring: makes every part, gives each what it needs, and ends them in order.
//!
//! Bind early, spawn late: a port in use is found before anything is written. Every long-lived task
//! is in one named set; one that ends by itself or panics ends the process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use governance_store::Owner;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::clock::{Clock, SystemClock};
use crate::config::{Config, StorageChoice};
use crate::datadir::{DataDir, DataDirError};
use crate::engine::{Engine, EngineHandle, EngineSettings};
use crate::storage::{self, Chosen};
use crate::http::{self, App, BindFault, HttpState, ServerSettings};

/// How long requests under way may take once no new ones are accepted.
const DRAIN_MAX: Duration = Duration::from_secs(15);
/// How long the store may take to keep what was accepted, once no more comes.
const FAREWELL_MAX: Duration = Duration::from_secs(12);

/// Why the manager did not start; with a hint what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Nothing can listen there.
    #[error(transparent)]
    Bind(#[from] BindFault),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
}

impl StartError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Bind(fault) => fault.hint(),
            Self::DataDir(fault) => Some(fault.hint()),
        }
    }
}

/// A part that ended, by name, and how.
type Ended = (&'static str, anyhow::Result<()>);

/// A manager that runs.
pub struct Running {
    /// Where it answers.
    pub address: SocketAddr,
    /// The way to its registry.
    pub engine: EngineHandle,
    tasks: JoinSet<Ended>,
    /// Cancelled first: tells clients to go elsewhere, while everything still works.
    draining: CancellationToken,
    /// Cancelled when no more requests are accepted.
    closing: CancellationToken,
    shutdown_delay: Duration,
    /// Locked until the end.
    _data_dir: Option<Arc<DataDir>>,
}

/// Starts everything and returns when it listens; the registry is read behind that.
///
/// # Errors
/// When the port or the data directory cannot be had, or the storage cannot be chosen.
pub async fn start(config: Config) -> anyhow::Result<Running> {
    raise_file_limit();
    let listeners = http::bind(config.server.host.as_deref(), config.server.port)
        .map_err(StartError::from)?;
    let first = listeners.first().context("the API has no address")?;
    let address = first.local_addr()?;
    let data_dir = open_data_dir(&config)?;
    let Chosen { store, reason } = storage::choose(&config, data_dir.as_deref()).await?;
    let owner = Owner {
        id: match &data_dir {
            Some(dir) => dir.manager_id()?,
            None => Uuid::new_v4(),
        },
        address: advertised(address),
    };
    announce(address, &store.describe(), &reason);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let settings = EngineSettings {
        event_queue_size: config.engine.event_queue_size,
        max_pods_per_service: config.engine.max_pods_per_service,
        audit_retention: config.storage.audit_retention,
        owner,
    };
    let (engine, handle) = Engine::new(store, settings, Arc::clone(&clock));
    let (draining, closing) = (CancellationToken::new(), CancellationToken::new());
    let app = App::new(HttpState {
        unhealthy_pods: config.notification.unhealthy_pods,
        ..HttpState::new(
            handle.clone(),
            clock,
            config.server.request_timeout,
            draining.clone(),
        )
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(named("engine", async move { Ok(engine.run().await?) }));
    tasks.spawn(named("http", serve(listeners, app, closing.clone())));
    Ok(Running {
        address,
        engine: handle,
        tasks,
        draining,
        closing,
        shutdown_delay: config.server.shutdown_delay,
        _data_dir: data_dir,
    })
}

impl Running {
    /// Waits until a part ends that should not; that ends the process.
    ///
    /// # Errors
    /// Always: which part ended, and why.
    pub async fn failed(&mut self) -> anyhow::Result<()> {
        match self.tasks.join_next().await {
            None => anyhow::bail!("nothing is running"),
            Some(Err(panic)) => Err(anyhow::Error::new(panic).context("a part of the manager broke")),
            Some(Ok((name, Ok(())))) => anyhow::bail!("{name} ended by itself"),
            Some(Ok((name, Err(error)))) => Err(error.context(format!("{name} cannot go on"))),
        }
    }

    /// Ends in order: says so, stops accepting, finishes what was accepted, writes what is soft.
    ///
    /// # Errors
    /// When a part broke on the way.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.draining.cancel();
        tokio::time::sleep(self.shutdown_delay).await;
        self.closing.cancel();
        while let Some(ended) = self.next_end().await? {
            let (name, result) = ended?;
            result?;
            if name == "http" {
                self.engine.close();
            }
        }
        info!("stopped");
        Ok(())
    }
}

impl Running {
    /// The next part that ends; none when all did.
    async fn next_end(&mut self) -> anyhow::Result<Option<Result<Ended, tokio::task::JoinError>>> {
        let part = self.tasks.join_next();
        match tokio::time::timeout(DRAIN_MAX + FAREWELL_MAX, part).await {
            Ok(ended) => Ok(ended),
            Err(_elapsed) => anyhow::bail!(
                "not everything accepted could be finished in time: the store does not answer"
            ),
        }
    }
}

async fn named(
    name: &'static str,
    task: impl Future<Output = anyhow::Result<()>>,
) -> (&'static str, anyhow::Result<()>) {
    (name, task.await)
}

async fn serve(
    listeners: Vec<TcpListener>,
    app: App,
    closing: CancellationToken,
) -> anyhow::Result<()> {
    let settings = ServerSettings::default();
    let cut_off = http::serve(listeners, app, closing, settings).await;
    if cut_off > 0 {
        warn!(connections = cut_off, "some requests did not end in time and were cut off");
    }
    Ok(())
}

fn open_data_dir(config: &Config) -> Result<Option<Arc<DataDir>>, StartError> {
    if config.storage.choice == StorageChoice::Memory {
        return Ok(None);
    }
    Ok(Some(Arc::new(DataDir::open(&config.storage.data_dir)?)))
}

/// An address that another machine can be told: a wildcard says nothing, the host's name does.
fn advertised(address: SocketAddr) -> String {
    if !address.ip().is_unspecified() {
        return address.to_string();
    }
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{name}:{}", address.port())
}

/// What a newcomer needs: where it is, where the data is and why, and a line that works.
fn announce(address: SocketAddr, storage: &governance_store::Description, reason: &str) {
    let reached = if address.ip().is_unspecified() {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    };
    info!(version = env!("CARGO_PKG_VERSION"), "Telco Governance Manager");
    info!(%address, "listening");
    info!(kind = storage.kind, location = storage.location, reason, "storage");
    if !storage.is_durable {
        warn!("STORAGE=memory keeps nothing: all registrations are gone when this process ends");
    }
    info!("try it: curl -s http://{reached}/services");
}

/// Raises the number of open files as far as this process may: one per connection is needed.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, limit = limit.current, "the limit of open files could not be raised");
    }
}
