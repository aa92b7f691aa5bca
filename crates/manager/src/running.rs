//! The only wiring: makes every part, gives each what it needs, and ends them in order.
//!
//! Bind early, spawn late: a port in use is found before anything is written. Every long-lived task
//! is in one named set; one that ends by itself or panics ends the process.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use governance_store::Owner;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::access::{Access, AccessFault};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, StorageChoice};
use crate::connect::{Dialer, Policy, SystemResolver, Trust, TrustFault};
use crate::datadir::{DataDir, DataDirError};
use crate::descriptors::{self, Descriptors};
use crate::engine::{Engine, EngineHandle, EngineSettings};
use crate::health::Health;
use crate::http::{self, App, BindFault, HttpState, ServerSettings};
use crate::notify::Notify;
use crate::parts::Parts;
use crate::storage::{self, Chosen};
use crate::telemetry::traces::Traces;
use crate::watch::Watch;

/// Connections of clients, however many files this process may open: each holds some 16 KiB.
const CONNECTIONS_MAX: usize = 10_000;
/// And however few.
const CONNECTIONS_MIN: usize = 16;

/// Why the manager did not start; with a hint what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Nothing can listen there.
    #[error(transparent)]
    Bind(#[from] BindFault),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The additional CAs cannot be read.
    #[error(transparent)]
    Trust(#[from] TrustFault),
    /// A file that should protect the API cannot be used.
    #[error(transparent)]
    Access(#[from] AccessFault),
}

impl StartError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Bind(fault) => fault.hint(),
            Self::DataDir(fault) => Some(fault.hint()),
            Self::Access(fault) => Some(fault.hint()),
            Self::Trust(fault) => Some(fault.hint()),
        }
    }
}

/// A manager that runs.
pub struct Running {
    /// Where it answers.
    pub address: SocketAddr,
    /// The way to its registry.
    pub engine: EngineHandle,
    parts: Parts,
    /// Cancelled first: tells clients to go elsewhere, while everything still works.
    draining: CancellationToken,
    shutdown_delay: Duration,
    /// Locked until the end.
    _data_dir: Option<Arc<DataDir>>,
}

/// Starts everything and returns when it listens; the registry is read behind that.
///
/// # Errors
/// When the port or the data directory cannot be had, or the storage cannot be chosen.
pub async fn start(config: Config) -> anyhow::Result<Running> {
    descriptors::raise_limit();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let access =
        Access::load(&config.access, Arc::clone(&clock)).map_err(StartError::from)?.map(Arc::new);
    let listeners =
        http::bind(config.server.host.as_deref(), config.server.port).map_err(StartError::from)?;
    let first = listeners.first().context("the API has no address")?;
    let address = first.local_addr()?;
    let data_dir = open_data_dir(&config)?;
    let Chosen { store, reason } = storage::choose(&config, data_dir.as_ref()).await?;
    let owner = owner(data_dir.as_deref(), address)?;
    announce(address, &store.describe(), &reason, access.as_deref());
    let (traces, trace_sender) =
        Traces::start(config.traces.as_ref(), &owner.address, Arc::clone(&clock))
            .map_err(StartError::from)?;
    let settings = EngineSettings {
        event_queue_size: config.engine.event_queue_size,
        max_pods_per_service: config.engine.max_pods_per_service,
        audit_retention: config.storage.audit_retention,
        owner,
    };
    let (mut engine, handle) = Engine::new(store, settings, Arc::clone(&clock));
    let policy = Policy::new(&config.targets);
    let trust = Trust::load("TARGET_CA_FILE", config.targets.ca_file.as_deref())
        .map_err(StartError::from)?;
    let dialer = Arc::new(Dialer::new(policy.clone(), Arc::new(SystemResolver::new()), trust));
    let (health, health_task) =
        Health::new(&config.health, handle.clone(), Arc::clone(&clock), Arc::clone(&dialer));
    let (told, notify_task) =
        Notify::new(&config.notification, handle.clone(), Arc::clone(&clock), dialer);
    engine.add_observer(health.observer());
    engine.add_observer(told);
    let watch = Watch::new(handle.clone());
    engine.add_observer(watch.observer());
    let draining = CancellationToken::new();
    let app = App::new(HttpState {
        check_soon: health.check_soon(),
        permits: Arc::new(move |address| policy.permits(address)),
        unhealthy_pods: config.notification.unhealthy_pods,
        health: Some(health.reader()),
        deliveries: Some(notify_task.reader()),
        watch: Some(watch.clone()),
        traces: traces.clone(),
        access: access.clone(),
        ..HttpState::new(handle.clone(), clock, config.server.request_timeout, draining.clone())
    });
    let mut parts = Parts::default();
    // First, because requests under way are waited for, and a stream ends only when it is told to.
    parts.spawn("watch", |stop| ending(watch.run(stop)));
    parts.spawn("http", |stop| serve(listeners, app, stop));
    if let Some(access) = access {
        parts.spawn("access", |stop| ending(access.watch(stop)));
    }
    let health_task = health_task.with_traces(traces);
    parts.spawn("health", |stop| ending(health_task.run(stop)));
    parts.spawn("notify", |stop| ending(notify_task.run(stop)));
    let inbox = handle.clone();
    parts.spawn("engine", |stop| write(engine, inbox, stop));
    if let Some(sender) = trace_sender {
        // Last, because what the others end with belongs to traces, too.
        parts.spawn("traces", |stop| ending(sender.run(stop)));
    }
    Ok(Running {
        address,
        engine: handle,
        parts,
        draining,
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
        let name = self.parts.next_end().await?;
        anyhow::bail!("{name} ended by itself")
    }

    /// Ends in order: says so, stops accepting, finishes what was accepted, tells subscribers what
    /// can be told, writes what is soft, gives the lease back.
    ///
    /// # Errors
    /// When a part broke on the way, or takes too long.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.draining.cancel();
        tokio::time::sleep(self.shutdown_delay).await;
        self.parts.stop_in_order().await?;
        info!("stopped");
        Ok(())
    }
}

/// Runs the writer; told to stop, it finishes what was accepted.
async fn write(engine: Engine, inbox: EngineHandle, stop: CancellationToken) -> anyhow::Result<()> {
    let mut running = pin!(engine.run());
    tokio::select! {
        ended = &mut running => return Ok(ended?),
        () = stop.cancelled() => inbox.close(),
    }
    Ok(running.await?)
}

async fn ending(task: impl Future<Output = ()>) -> anyhow::Result<()> {
    task.await;
    Ok(())
}

async fn serve(
    listeners: Vec<TcpListener>,
    app: App,
    closing: CancellationToken,
) -> anyhow::Result<()> {
    let settings = ServerSettings {
        connections_max: Descriptors::of_this_process()
            .connections
            .clamp(CONNECTIONS_MIN, CONNECTIONS_MAX),
        ..ServerSettings::default()
    };
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

/// Who this manager is to others.
fn owner(data_dir: Option<&DataDir>, address: SocketAddr) -> anyhow::Result<Owner> {
    let id = match data_dir {
        Some(dir) => dir.manager_id()?,
        None => Uuid::new_v4(),
    };
    Ok(Owner { id, address: advertised(address), last: None })
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
fn announce(
    address: SocketAddr,
    storage: &governance_store::Description,
    reason: &str,
    access: Option<&Access>,
) {
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
    let speaks_tls = access.is_some_and(|access| access.tls().is_some());
    let asks = access.is_some_and(Access::asks_for_identity);
    if !asks {
        warn!(
            "whoever reaches this port may register and unregister pods: API_TOKENS_FILE or \
             TLS_CLIENT_CA_FILE has callers say who they are"
        );
    } else if !speaks_tls {
        warn!(
            "tokens are sent in clear text: TLS_CERT_FILE and TLS_KEY_FILE hide them, unless \
             something in front of this port does"
        );
    }
    let (scheme, token) = (
        if speaks_tls { "https" } else { "http" },
        if asks { " -H 'Authorization: Bearer …'" } else { "" },
    );
    info!("try it: curl -s{token} {scheme}://{reached}/services");
}
