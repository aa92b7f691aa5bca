//! Pods as the manager meets them: each answers health checks and takes notifications on a port of
//! loopback, as well or as badly as a test says, and everything they were told stands in one book,
//! in the order in which it arrived.
//!
//! The pods run on a thread of the fleet; its methods are for the test's own thread. Not here: what
//! a pod registers with; see [`FakePod::health_url`] and [`FakePod::notification_url`].

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::certificates::ServerCertificate;
use crate::fleet::conversation::converse;

mod conversation;

pub use conversation::{Health, Reception};

/// A notification as it arrived, whole.
#[derive(Clone, Debug)]
pub struct Told {
    /// The name of the pod it came to, as the test gave it.
    pub to: String,
    /// The time of its last byte.
    pub at: Instant,
    /// When it was answered with success; none if it was not.
    pub received: Option<Instant>,
    /// The connection that brought it, counted per pod.
    pub connection: usize,
    /// Where it belongs, in the words of its header `traceparent`.
    pub traceparent: Option<String>,
    /// The body.
    pub body: Value,
}

impl Told {
    /// The service it is about.
    pub fn service(&self) -> &str {
        self.body.get("service_name").and_then(Value::as_str).unwrap_or_default()
    }

    /// Its kind.
    pub fn event(&self) -> &str {
        self.body.get("event_type").and_then(Value::as_str).unwrap_or_default()
    }

    /// Its revision.
    pub fn revision(&self) -> u64 {
        self.body.get("revision").and_then(Value::as_u64).unwrap_or_default()
    }

    /// The pods it lists.
    pub fn pods(&self) -> &[Value] {
        self.body.get("pods").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}

/// What all pods write down.
type Book = Arc<Mutex<Vec<Told>>>;

/// Pods on one thread, with one book.
#[derive(Debug)]
pub struct Fleet {
    runtime: Runtime,
    book: Book,
}

/// One pod; gone when it is dropped.
#[derive(Debug)]
pub struct FakePod {
    /// Its name in the book.
    pub name: String,
    /// Where it listens while it lives.
    pub address: SocketAddr,
    state: Arc<State>,
    runtime: tokio::runtime::Handle,
    listener: Mutex<Option<AbortHandle>>,
}

/// What a pod's connections share.
struct State {
    name: String,
    book: Book,
    conduct: Mutex<Conduct>,
    checks: AtomicUsize,
    connections: AtomicUsize,
    tls: Option<TlsAcceptor>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.name, self.conduct)
    }
}

#[derive(Clone, Debug)]
struct Conduct {
    health: Health,
    reception: Reception,
}

impl Fleet {
    /// A fleet without pods.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn new() -> Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Self { runtime, book: Book::default() })
    }

    /// A pod on a free port of 127.0.0.1 that is well and takes everything.
    ///
    /// # Errors
    /// When no port is free.
    pub fn pod(&self, name: &str) -> Result<FakePod> {
        self.pod_at(name, Ipv4Addr::LOCALHOST.into())
    }

    /// The same on another address of this machine.
    ///
    /// # Errors
    /// When that is none, or no port is free.
    pub fn pod_at(&self, name: &str, address: IpAddr) -> Result<FakePod> {
        self.open(name, (address, 0).into(), None)
    }

    /// The same over TLS.
    ///
    /// # Errors
    /// When the certificate cannot be used, or no port is free.
    pub fn secured_pod(&self, name: &str, certificate: &ServerCertificate) -> Result<FakePod> {
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(certificate.certificate.as_bytes()).collect();
        let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain?, key)?;
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        self.open(name, address, Some(TlsAcceptor::from(Arc::new(config))))
    }

    fn open(&self, name: &str, at: SocketAddr, tls: Option<TlsAcceptor>) -> Result<FakePod> {
        let conduct = Conduct { health: Health::Answer(200), reception: Reception::Answer(200) };
        let state = Arc::new(State {
            name: name.to_owned(),
            book: Arc::clone(&self.book),
            conduct: Mutex::new(conduct),
            checks: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            tls,
        });
        let runtime = self.runtime.handle().clone();
        let (address, listener) = listen(&runtime, at, &state)?;
        let (name, listener) = (name.to_owned(), Mutex::new(Some(listener)));
        Ok(FakePod { name, address, state, runtime, listener })
    }

    /// Everything that arrived so far.
    pub fn told(&self) -> Vec<Told> {
        lock(&self.book).clone()
    }

    /// What arrived at one pod.
    pub fn told_to(&self, name: &str) -> Vec<Told> {
        lock(&self.book).iter().filter(|told| told.to == name).cloned().collect()
    }
}

impl FakePod {
    /// What it registers as `health_check_url`.
    pub fn health_url(&self) -> String {
        format!("{}://{}/health", self.scheme(), self.address)
    }

    /// What it registers as `notification_url`.
    pub fn notification_url(&self) -> String {
        format!("{}://{}/notify", self.scheme(), self.address)
    }

    fn scheme(&self) -> &'static str {
        if self.state.tls.is_some() { "https" } else { "http" }
    }

    /// How it answers health checks from now on.
    pub fn set_health(&self, health: Health) {
        lock(&self.state.conduct).health = health;
    }

    /// How it answers notifications from now on.
    pub fn set_reception(&self, reception: Reception) {
        lock(&self.state.conduct).reception = reception;
    }

    /// Health checks it got so far.
    pub fn checks(&self) -> usize {
        self.state.checks.load(Ordering::SeqCst)
    }

    /// Ends: its port and all its connections are closed.
    pub fn die(&self) {
        if let Some(listener) = lock(&self.listener).take() {
            listener.abort();
        }
    }

    /// Listens again on the same port.
    ///
    /// # Errors
    /// When somebody else took it.
    pub fn rise(&self) -> Result<()> {
        self.die();
        let (_, listener) = listen(&self.runtime, self.address, &self.state)?;
        *lock(&self.listener) = Some(listener);
        Ok(())
    }
}

impl Drop for FakePod {
    fn drop(&mut self) {
        self.die();
    }
}

fn listen(
    runtime: &tokio::runtime::Handle,
    at: SocketAddr,
    state: &Arc<State>,
) -> Result<(SocketAddr, AbortHandle)> {
    let bind = || runtime.block_on(TcpListener::bind(at));
    // The listener before it may need a moment to be gone.
    let mut listener = bind();
    crate::wait::until(std::time::Duration::from_secs(5), || {
        listener.is_ok() || {
            listener = bind();
            listener.is_ok()
        }
    });
    let listener = listener.with_context(|| format!("cannot listen on {at}"))?;
    let address = listener.local_addr()?;
    let task = runtime.spawn(accept(listener, Arc::clone(state)));
    Ok((address, task.abort_handle()))
}

/// The connections end with it.
async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let number = state.connections.fetch_add(1, Ordering::SeqCst) + 1;
        connections.spawn(serve(stream, number, Arc::clone(&state)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, number: usize, state: Arc<State>) {
    // Whoever goes away in the middle is not this side's concern.
    match &state.tls {
        None => drop(converse(stream, number, &state).await),
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                drop(converse(stream, number, &state).await);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
