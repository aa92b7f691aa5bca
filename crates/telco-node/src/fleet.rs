//! A service as a part of the fleet: where it listens, how it registers, which peers governance
//! names, and the order of its end.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use governance_client::{Member, Provider, Status, View};
use telco_codec::Identity;
use telco_codec::peer::Capabilities;
use tokio::net::{TcpListener, lookup_host};
use tokio_util::sync::CancellationToken;

use crate::credentials::Credentials;
use crate::diameter::{Node, Target, Trunk, state_id};
use crate::settings::Settings;

/// The realm of a test network (3GPP TS 23.003 §19.2), until another is set.
const REALM: &str = "epc.mnc001.mcc001.3gppnetwork.org";
/// How long a name may take to be resolved.
const LOOKUP_MAX: Duration = Duration::from_secs(2);
/// After so long names are looked up again, in case they moved.
const LOOKUP_AGAIN: Duration = Duration::from_secs(5);

/// What every service is told.
#[derive(Clone, Debug)]
pub struct Place {
    /// This pod.
    pub pod: String,
    /// Where HTTP is served.
    pub http: SocketAddr,
    /// Connections at once.
    pub connections_max: usize,
    /// The address others reach us at.
    pub advertised: String,
    /// Where managers are.
    pub managers: Vec<String>,
    /// Who we are to them.
    pub credentials: Credentials,
    /// How often the manager is asked whether it knows us.
    pub heartbeat: Duration,
    /// How long requests are taken after unregistering.
    pub drain: Duration,
    /// Where the view of the fleet is kept for a start while no manager answers.
    pub view_file: Option<PathBuf>,
}

impl Place {
    /// Reads the settings that every service has.
    pub fn read(settings: &mut Settings) -> Self {
        let host = settings.address("HTTP_HOST", Ipv4Addr::UNSPECIFIED.into());
        let port = settings.port("HTTP_PORT", 8080);
        let certain = Some(host).filter(|host| !host.is_unspecified()).map(|host| host.to_string());
        let advertised = settings.text("POD_IP").or(certain).unwrap_or_else(|| {
            settings
                .wrong("POD_IP", "set it to the address others reach this pod at, or HTTP_HOST");
            String::new()
        });
        let pod = settings.text("POD_NAME").or_else(|| settings.text("HOSTNAME"));
        let pod = pod.unwrap_or_else(|| settings.needed("POD_NAME", "it names this pod"));
        let managers = settings.text("GOVERNANCE_MANAGER_URL").unwrap_or_default();
        let managers = managers.split(',').map(str::trim).filter(|url| !url.is_empty());
        let second = Duration::from_secs(1);
        Self {
            pod,
            http: SocketAddr::new(host, port),
            connections_max: settings.number("HTTP_CONNECTIONS_MAX", 1_000, 1..=100_000),
            advertised,
            managers: managers.map(str::to_owned).collect(),
            credentials: Credentials::read(settings),
            heartbeat: settings.duration(
                "HEARTBEAT_INTERVAL",
                30 * second,
                second / 10..=3_600 * second,
            ),
            drain: settings.duration("DRAIN", second, Duration::ZERO..=60 * second),
            view_file: settings.text("VIEW_FILE").map(PathBuf::from),
        }
    }

    /// A listener for HTTP.
    ///
    /// # Errors
    /// When the address cannot be had; it is named.
    pub async fn bind(&self) -> anyhow::Result<TcpListener> {
        bind(self.http).await
    }

    /// Registers and stays registered, with `/health` and `/notify` at `http_port`, which the
    /// service serves with the member's router.
    ///
    /// # Errors
    /// What is wrong with the description; an absent manager is no error.
    pub async fn join(
        &self,
        service: &str,
        http_port: u16,
        providers: Vec<Provider>,
        subscriptions: &[&str],
        health: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> anyhow::Result<Member> {
        let host = &self.advertised;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let mut builder = Member::builder(service)
            .pod(&self.pod)
            .advertise(&self.advertised)
            .health_check_url(format!("http://{host}:{http_port}/health"))
            .notification_url(format!("http://{host}:{http_port}/notify"))
            .heartbeat(self.heartbeat)
            .health(health);
        builder = self.credentials.show(builder);
        if let Some(file) = &self.view_file {
            builder = builder.keep_view_in(file);
        }
        for manager in &self.managers {
            builder = builder.manager(manager);
        }
        for provider in providers {
            builder = builder.provider(provider);
        }
        for subscription in subscriptions {
            builder = builder.subscribe(*subscription);
        }
        builder.start().await.with_context(|| format!("{service} cannot register"))
    }

    /// The first half of the end: unregister, then take what still comes for a moment.
    pub async fn leave(&self, member: &Member) {
        if let Err(error) = member.leave().await {
            tracing::warn!(%error, "ending without having unregistered");
        }
        tokio::time::sleep(self.drain).await;
    }
}

/// What a service with Diameter is told besides.
#[derive(Clone, Debug)]
pub struct DiameterPlace {
    /// Where peers connect.
    pub listen: SocketAddr,
    /// Who we are.
    pub identity: Identity,
    /// Tw of RFC 3539.
    pub watchdog: Duration,
    /// Peers at once.
    pub peers_max: usize,
}

impl DiameterPlace {
    /// Reads the settings that every service with Diameter has.
    ///
    /// # Panics
    /// Never: the identity that stands in for a wrong one is right.
    pub fn read(settings: &mut Settings, place: &Place) -> Self {
        let host = settings.address("DIAMETER_HOST", place.http.ip());
        let port = settings.port("DIAMETER_PORT", 3868);
        let realm = settings.text("DIAMETER_REALM").unwrap_or_else(|| REALM.to_owned());
        let name = settings.text("DIAMETER_IDENTITY");
        let name = name.unwrap_or_else(|| format!("{}.{realm}", place.pod));
        let identity = Identity::new(&name, &realm).unwrap_or_else(|fault| {
            settings.wrong("DIAMETER_IDENTITY or DIAMETER_REALM", fault);
            Identity::new("localhost", REALM).expect("two names")
        });
        let second = Duration::from_secs(1);
        Self {
            listen: SocketAddr::new(host, port),
            identity,
            // RFC 3539 allows no less than 6 s on the open network; within one host less is of use.
            watchdog: settings.duration("DIAMETER_WATCHDOG", 30 * second, second..=600 * second),
            peers_max: settings.number("DIAMETER_PEERS_MAX", 100, 1..=10_000),
        }
    }

    /// Who we are to our peers.
    pub fn node(&self, place: &Place, product: &str, applications: Vec<u32>) -> Arc<Node> {
        let advertised: Option<IpAddr> = place.advertised.parse().ok();
        let address = advertised.unwrap_or_else(|| self.listen.ip());
        Arc::new(Node {
            capabilities: Capabilities {
                identity: self.identity.clone(),
                addresses: vec![address],
                vendor: 0,
                product: product.to_owned(),
                state: Some(state_id()),
                applications,
            },
            watchdog: self.watchdog,
        })
    }
}

/// A listener, or an error that names the address.
///
/// # Errors
/// When the address cannot be had.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

/// The pods of a service that requests may go to: the healthy ones; if there is none, those whose
/// first check is still to come; never one that is known to be unhealthy.
pub fn wanted(view: &View, service: &str) -> impl Fn(Status) -> bool + use<> {
    let has_healthy = view.pods(service).iter().any(|pod| pod.status() == Status::Healthy);
    move |status| match status {
        Status::Healthy => true,
        Status::Unknown => !has_healthy,
        Status::Unhealthy => false,
    }
}

/// Keeps a trunk aimed at a service's pods as governance names them, until `stop`. A notification
/// takes effect as soon as it is here.
pub async fn aim_at(view: View, service: &'static str, trunk: Arc<Trunk>, stop: CancellationToken) {
    let mut changes = view.changes();
    let mut names = Names::default();
    loop {
        let targets = targets(&view, service, &mut names).await;
        trunk.aim(&targets);
        tokio::select! {
            () = stop.cancelled() => return,
            change = changes.next() => if change.is_none() { return },
            () = tokio::time::sleep(LOOKUP_AGAIN), if !names.0.is_empty() => names.0.clear(),
        }
    }
}

/// Host names and where they lead, for a while.
#[derive(Default)]
struct Names(BTreeMap<String, Option<IpAddr>>);

impl Names {
    async fn resolve(&mut self, host: &str) -> Option<IpAddr> {
        if let Ok(address) = host.parse() {
            return Some(address);
        }
        if let Some(known) = self.0.get(host) {
            return *known;
        }
        let found = tokio::time::timeout(LOOKUP_MAX, lookup_host((host, 0))).await;
        let found = found.ok().and_then(Result::ok).and_then(|mut all| all.next());
        if found.is_none() {
            tracing::warn!(host, "a pod's host name is not known here");
        }
        let address = found.map(|address| address.ip());
        self.0.insert(host.to_owned(), address);
        address
    }
}

async fn targets(view: &View, service: &str, names: &mut Names) -> Vec<Target> {
    let is_wanted = wanted(view, service);
    let mut targets = Vec::new();
    for pod in view.pods(service) {
        let speaks = |provider: &&Provider| matches!(&*provider.protocol, "tcp" | "diameter");
        let Some(provider) = pod.providers().iter().find(speaks) else { continue };
        let Some(address) = names.resolve(&provider.ip).await else { continue };
        let Ok(port) = u16::try_from(provider.port) else { continue };
        targets.push(Target {
            name: pod.name().to_owned(),
            address: SocketAddr::new(address, port),
            is_wanted: is_wanted(pod.status()),
        });
    }
    targets
}
