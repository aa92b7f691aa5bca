//! Saying who one is, and starting: everything is checked here, and every fault named at once.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use governance_api::{Provider, Subscription};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use crate::address::{self, OwnEnvironment};
use crate::deadline::{self, Deadline};
use crate::error::Error;
use crate::member::{Member, Parts};
use crate::notice::{Check, Desk, Paths, Receiver};
use crate::profile::{OwnUrl, Profile};
use crate::session::{
    Course, CredentialFault, Credentials, Links, ManagerUrl, PATIENCE, Pauses, Rhythm, Session,
    Wire,
};
use crate::standing::Standing;
use crate::view::{Feed, keep};

/// Where a manager is when nothing says otherwise.
const MANAGER: &str = "http://localhost:8080";
/// Renewals that wait for the session; more add nothing, because one renewal serves all.
const RENEWALS_MAX: usize = 16;
/// How long heartbeats alone are trusted, in heartbeats.
const REFRESH_HEARTBEATS: u32 = 10;
/// Times that make sense, between a test's and an operator's.
const TIMES: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_hours(24);

/// How this pod is asked.
#[derive(Clone, Debug)]
enum Listening {
    /// By the own listener; none: on any free port.
    #[cfg_attr(not(feature = "listener"), expect(dead_code, reason = "there is no listener"))]
    Own(Option<String>),
    /// By a server of the service, at these URLs.
    Elsewhere { health_check_url: Option<String>, notification_url: Option<String> },
}

/// A membership that is being described. See [`Member::builder`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), governance_client::Error> {
/// use std::time::Duration;
/// use governance_client::{Member, Provider, SubscriptionFilter};
///
/// let member = Member::builder("http-gw")
///     .pod("http-gw-pod-1")
///     .manager("http://127.0.0.1:18080")
///     .manager("http://127.0.0.1:28080")
///     .provides("http", 8080)
///     .provides_as("gw-admin", "http", 8081)
///     .provider(Provider::new("tcp", "192.0.2.7", 3868))
///     .subscribe("diam-gw")
///     .subscribe(SubscriptionFilter::new("eir").only_healthy())
///     .listen("127.0.0.1:0")
///     .advertise("localhost")
///     .heartbeat(Duration::from_secs(20))
///     .retry(Duration::from_millis(100), Duration::from_secs(10))
///     .request_timeout(Duration::from_secs(12))
///     .notification_max(1024 * 1024)
///     .start()
///     .await?;
/// assert!(member.listens_on().is_some());
/// # member.shutdown().await
/// # }
/// ```
#[must_use = "nothing happens before `start`"]
pub struct Builder {
    service: String,
    pod: Option<String>,
    managers: Vec<String>,
    providers: Vec<Provider>,
    subscriptions: Vec<Subscription>,
    listening: Listening,
    host: Option<String>,
    paths: Paths,
    check: Check,
    heartbeat: Duration,
    pauses: Pauses,
    patience: Duration,
    notification_max: usize,
    kept_in: Option<PathBuf>,
    token: Option<String>,
    #[cfg(feature = "tls")]
    trusted: Option<Vec<u8>>,
    /// Certificates and key.
    #[cfg(feature = "tls")]
    certificate: Option<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Builder");
        shown.field("service", &self.service).field("pod", &self.pod);
        shown.field("managers", &self.managers).finish_non_exhaustive()
    }
}

impl Builder {
    pub(crate) fn new(service: String) -> Self {
        Self {
            service,
            pod: None,
            managers: Vec::new(),
            providers: Vec::new(),
            subscriptions: Vec::new(),
            listening: Listening::Own(None),
            host: None,
            paths: Paths::default(),
            check: Arc::new(|| Ok(())),
            heartbeat: Duration::from_secs(30),
            pauses: Pauses { first: Duration::from_millis(250), longest: Duration::from_secs(30) },
            patience: PATIENCE,
            notification_max: 8 * 1024 * 1024,
            kept_in: None,
            token: None,
            #[cfg(feature = "tls")]
            trusted: None,
            #[cfg(feature = "tls")]
            certificate: None,
        }
    }

    /// The pod's name within the service. Default: `POD_NAME`, else `HOSTNAME`, else the host's
    /// name.
    pub fn pod(self, name: impl Into<String>) -> Self {
        Self { pod: Some(name.into()), ..self }
    }

    /// A manager, as `http://host:port`, or `https` with the feature `tls`. Name all of them, active and standby: the one that is
    /// active is found. Default: those in `GOVERNANCE_MANAGER_URL`, separated by commas, else
    /// `http://localhost:8080`.
    pub fn manager(mut self, url: impl Into<String>) -> Self {
        self.managers.push(url.into());
        self
    }

    /// Says who this pod is, to managers that ask: sent as `Authorization: Bearer TOKEN` with every
    /// request, in clear text unless the manager's URL is `https`.
    pub fn token(self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), ..self }
    }

    /// The CAs, as PEM, that sign the certificates of managers. Default: the system's.
    #[cfg(feature = "tls")]
    pub fn trust(self, cas: impl Into<Vec<u8>>) -> Self {
        Self { trusted: Some(cas.into()), ..self }
    }

    /// The own certificate (with those between it and its CA) and its private key, as PEM, for
    /// managers that ask for one.
    #[cfg(feature = "tls")]
    pub fn certificate(self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        Self { certificate: Some((chain.into(), key.into())), ..self }
    }

    /// An endpoint at the own address.
    pub fn provides(self, protocol: impl Into<String>, port: u16) -> Self {
        self.provider(Provider::new(protocol, "", port))
    }

    /// An endpoint at the own address with an id, which others may select by.
    pub fn provides_as(
        self,
        provider_id: impl Into<String>,
        protocol: impl Into<String>,
        port: u16,
    ) -> Self {
        self.provider(Provider::new(protocol, "", port).with_id(provider_id))
    }

    /// An endpoint anywhere; an empty `ip` means the own address.
    pub fn provider(mut self, provider: Provider) -> Self {
        self.providers.push(provider);
        self
    }

    /// A service to hear of: its name, or a [`SubscriptionFilter`](crate::SubscriptionFilter).
    ///
    /// ```
    /// use governance_client::{Member, SubscriptionFilter};
    ///
    /// let diameter = SubscriptionFilter::new("eir").only_provider("eir-diameter");
    /// let builder = Member::builder("http-gw").subscribe("diam-gw").subscribe(diameter);
    /// ```
    pub fn subscribe(mut self, subscription: impl Into<Subscription>) -> Self {
        self.subscriptions.push(subscription.into());
        self
    }

    /// Where the own listener takes notifications and health checks, as `host:port`. Default: any
    /// free port of every address.
    #[cfg(feature = "listener")]
    pub fn listen(self, address: impl Into<String>) -> Self {
        Self { listening: Listening::Own(Some(address.into())), ..self }
    }

    /// The URL that the manager checks, answered by a server of the service itself, with
    /// [`Member::receiver`] or on its own. There is no own listener then.
    pub fn health_check_url(mut self, url: impl Into<String>) -> Self {
        let given = Some(url.into());
        if let Listening::Elsewhere { health_check_url, .. } = &mut self.listening {
            *health_check_url = given;
            return self;
        }
        let notification_url = None;
        Self {
            listening: Listening::Elsewhere { health_check_url: given, notification_url },
            ..self
        }
    }

    /// The URL that the manager notifies, answered by a server of the service itself with
    /// [`Member::receiver`]. There is no own listener then.
    ///
    /// ```
    /// let builder = governance_client::Member::builder("http-gw")
    ///     .health_check_url("http://gw-1.example:8080/health")
    ///     .notification_url("http://gw-1.example:8080/notify");
    /// ```
    pub fn notification_url(mut self, url: impl Into<String>) -> Self {
        let given = Some(url.into());
        if let Listening::Elsewhere { notification_url, .. } = &mut self.listening {
            *notification_url = given;
            return self;
        }
        let health_check_url = None;
        Self {
            listening: Listening::Elsewhere { health_check_url, notification_url: given },
            ..self
        }
    }

    /// The own address as others reach it: an IP address or a host name. Default: the address
    /// listened on if it is a certain one, else `POD_IP`, else the local end of the connection to
    /// the manager, which is followed when it changes.
    pub fn advertise(self, host: impl Into<String>) -> Self {
        Self { host: Some(host.into()), ..self }
    }

    /// Where the three answers are. Default: `/notify`, `/health`, `/subscribed-services`.
    pub fn paths(self, paths: Paths) -> Self {
        Self { paths, ..self }
    }

    /// What `/health` answers: 200, or 503 with the reason. Called for every check, on the thread
    /// that serves it, so it should only look. Default: always healthy.
    ///
    /// ```
    /// use governance_client::Member;
    ///
    /// let has_peers = || false;
    /// let builder = Member::builder("http-gw").health(move || {
    ///     if has_peers() { Ok(()) } else { Err("no Diameter peer is connected".to_owned()) }
    /// });
    /// ```
    pub fn health(self, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self { check: Arc::new(check), ..self }
    }

    /// The time between two heartbeats; each comes up to a tenth earlier. After about ten of them the pod
    /// registers again instead, which changes nothing and shows what was missed. Default: 30 s.
    pub fn heartbeat(self, interval: Duration) -> Self {
        Self { heartbeat: interval, ..self }
    }

    /// The pause after a failure: at most `first` after the first, then twice as much, never more
    /// than `longest`; a random part of that. Defaults: 250 ms and 30 s.
    pub fn retry(self, first: Duration, longest: Duration) -> Self {
        Self { pauses: Pauses { first, longest }, ..self }
    }

    /// How long the manager may take to answer. Default: 10 s; less than the manager's
    /// `REQUEST_TIMEOUT` (8 s) leaves registrations in doubt that would have been answered.
    pub fn request_timeout(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The largest notification that is read, in bytes. Default: 8 MiB, some 50,000 pods.
    pub fn notification_max(self, bytes: usize) -> Self {
        Self { notification_max: bytes, ..self }
    }

    /// Keeps the view in this file and starts with it, so that a process that starts while no
    /// manager answers knows the fleet as it last was. Default: not kept.
    ///
    /// ```
    /// let builder = governance_client::Member::builder("http-gw")
    ///     .keep_view_in("/var/lib/http-gw/fleet.json");
    /// ```
    pub fn keep_view_in(self, path: impl Into<PathBuf>) -> Self {
        Self { kept_in: Some(path.into()), ..self }
    }

    /// Checks everything, listens, and begins to register in the background: it does not wait for
    /// a manager, because a service should start also while there is none. See
    /// [`Member::registered`].
    ///
    /// # Errors
    /// [`Error::Invalid`] with every fault, [`Error::PortInUse`], [`Error::Listen`].
    pub async fn start(self) -> Result<Member, Error> {
        let managers = self.managers()?;
        // Before anything is opened, with any port in place of the one that is still unknown.
        let mut faults = self.profile(SocketAddr::from(([127, 0, 0, 1], 1)))?.faults();
        faults.extend(self.own_faults());
        let credentials = self.credentials(&managers).map_err(|fault| faults.push(fault));
        let Ok(credentials) = credentials else { return Err(Error::Invalid(faults)) };
        if !faults.is_empty() {
            return Err(Error::Invalid(faults));
        }
        let listener = self.bind().await?;
        let address = match &listener {
            Some(listener) => listener.local_addr().map_err(|fault| Error::Listen {
                address: "the address just taken".to_owned(),
                fault,
            })?,
            None => SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        let profile = self.profile(address)?;
        Ok(self.assemble(managers, credentials, profile, listener))
    }

    fn managers(&self) -> Result<Vec<ManagerUrl>, Error> {
        let mut urls = self.managers.clone();
        if urls.is_empty() {
            urls = address::managers(&OwnEnvironment);
        }
        if urls.is_empty() {
            urls.push(MANAGER.to_owned());
        }
        let (good, bad): (Vec<_>, Vec<_>) =
            urls.iter().map(|url| ManagerUrl::parse(url)).partition(Result::is_ok);
        let faults: Vec<String> = bad.into_iter().filter_map(Result::err).collect();
        if faults.is_empty() {
            Ok(good.into_iter().filter_map(Result::ok).collect())
        } else {
            Err(Error::Invalid(faults))
        }
    }

    #[cfg_attr(not(feature = "tls"), expect(unused_variables, reason = "none asks for TLS"))]
    fn credentials(&self, managers: &[ManagerUrl]) -> Result<Credentials, String> {
        let mut credentials = Credentials::default();
        if let Some(token) = &self.token {
            credentials = credentials.with_token(token).map_err(|fault| said(&fault))?;
        }
        #[cfg(feature = "tls")]
        if managers.iter().any(ManagerUrl::is_tls) {
            let own = self.certificate.as_ref().map(|(chain, key)| (&chain[..], &key[..]));
            let secured = credentials.with_tls(self.trusted.as_deref(), own);
            credentials = secured.map_err(|fault| said(&fault))?;
        }
        Ok(credentials)
    }

    fn own_faults(&self) -> Vec<String> {
        let mut faults = self.paths.faults();
        let times = [
            ("heartbeat", self.heartbeat),
            ("the first pause of retry", self.pauses.first),
            ("the longest pause of retry", self.pauses.longest),
            ("request_timeout", self.patience),
        ];
        let wrong = times.into_iter().filter(|(_, time)| !TIMES.contains(time));
        faults.extend(wrong.map(|(what, time)| {
            format!("{what} is {time:?}: give between {:?} and {:?}", TIMES.start(), TIMES.end())
        }));
        faults
    }

    fn profile(&self, listens: SocketAddr) -> Result<Profile, Error> {
        let pod =
            self.pod.clone().or_else(|| address::pod_name(&OwnEnvironment)).ok_or_else(|| {
                let fault = "there is no pod name: set POD_NAME or use pod()".to_owned();
                Error::Invalid(vec![fault])
            })?;
        let here = |path: &str| OwnUrl::Here { port: listens.port(), path: path.to_owned() };
        let (health_check_url, notification_url) = match &self.listening {
            Listening::Own(_) => (here(&self.paths.health), here(&self.paths.notify)),
            Listening::Elsewhere { health_check_url, notification_url } => {
                let (Some(health), Some(notify)) = (health_check_url, notification_url) else {
                    let fault = "only one of health_check_url() and notification_url() is given: \
                                 give both, or none and use listen()";
                    return Err(Error::Invalid(vec![fault.to_owned()]));
                };
                (OwnUrl::Given(health.clone()), OwnUrl::Given(notify.clone()))
            }
        };
        let is_certain = |ip: &IpAddr| !ip.is_unspecified();
        let bound = Some(listens.ip()).filter(is_certain).map(|ip| ip.to_string());
        Ok(Profile {
            service: self.service.clone(),
            pod,
            instance_id: Uuid::new_v4().to_string(),
            providers: self.providers.clone(),
            health_check_url,
            notification_url,
            subscriptions: self.subscriptions.clone(),
            host: self.host.clone().or(bound).or_else(|| address::pod_ip(&OwnEnvironment)),
        })
    }

    #[cfg(feature = "listener")]
    async fn bind(&self) -> Result<Option<TcpListener>, Error> {
        use crate::notice::listener::{bind, bind_anywhere};
        match &self.listening {
            Listening::Own(Some(address)) => bind(address).await.map(Some),
            Listening::Own(None) => bind_anywhere().await.map(Some),
            Listening::Elsewhere { .. } => Ok(None),
        }
    }

    #[cfg(not(feature = "listener"))]
    #[expect(clippy::unused_async, reason = "with the listener it waits")]
    async fn bind(&self) -> Result<Option<TcpListener>, Error> {
        match &self.listening {
            Listening::Own(_) => Err(Error::Invalid(vec![
                "there is no listener without the feature `listener`: give health_check_url() and \
                 notification_url(), or enable it"
                    .to_owned(),
            ])),
            Listening::Elsewhere { .. } => Ok(None),
        }
    }

    fn assemble(
        self,
        managers: Vec<ManagerUrl>,
        credentials: Credentials,
        profile: Profile,
        listener: Option<TcpListener>,
    ) -> Member {
        let feed = Arc::new(Feed::new(profile.services()));
        let mut tasks = JoinSet::new();
        let (renewals_tx, renewals) = mpsc::channel(RENEWALS_MAX);
        let (stop_tx, stop) = deadline::unset();
        let (close, closing) = deadline::unset();
        if let Some(path) = self.kept_in {
            keep::restore(&path, &feed);
            tasks.spawn(keep::keep(path, Arc::clone(&feed), closing.clone()));
        }
        let (standing_tx, standing) = watch::channel(Standing::beginning());
        let receiver = Receiver::new(Desk {
            feed: Arc::clone(&feed),
            renewals: renewals_tx.clone(),
            check: self.check,
            paths: self.paths,
            body_max: self.notification_max,
            has_complained: AtomicBool::new(false),
        });
        let listens = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        serve(&mut tasks, listener, &receiver, closing);
        // Of 128 random bits; the clock alone would be the same for pods that start together.
        let random = Rng::with_seed(Uuid::new_v4().as_u64_pair().0);
        let rhythm = Rhythm {
            heartbeat: self.heartbeat,
            refresh: self.heartbeat.saturating_mul(REFRESH_HEARTBEATS),
            pauses: self.pauses,
        };
        let course = Course::new(managers, rhythm, Instant::now(), random);
        let profile = Arc::new(Mutex::new(Arc::new(profile)));
        let links = Links {
            feed: Arc::clone(&feed),
            profile: Arc::clone(&profile),
            renewals,
            stop,
            standing: standing_tx,
        };
        tasks.spawn(Session::new(course, Wire::new(self.patience, credentials), links).run());
        let parts =
            Parts { feed, profile, renewals: renewals_tx, stop: stop_tx, close, standing, listens };
        Member::new(parts, receiver, tasks)
    }
}

/// A fault with the method that it came through.
fn said(fault: &CredentialFault) -> String {
    match fault {
        CredentialFault::Token => fault.to_string(),
        CredentialFault::Authorities(why) => format!("trust() {why}"),
        CredentialFault::NoAuthority => format!("{fault}: name one with trust()"),
        CredentialFault::Certificate(why) => format!("certificate() {why}"),
        CredentialFault::Key(why) => format!("the key of certificate() {why}"),
        CredentialFault::Pair(why) => format!("certificate() cannot be used: {why}"),
    }
}

#[cfg(feature = "listener")]
fn serve(
    tasks: &mut JoinSet<()>,
    listener: Option<TcpListener>,
    receiver: &Receiver,
    closing: Deadline,
) {
    if let Some(listener) = listener {
        tasks.spawn(crate::notice::listener::serve(listener, receiver.clone(), closing));
    }
}

#[cfg(not(feature = "listener"))]
fn serve(_: &mut JoinSet<()>, _: Option<TcpListener>, _: &Receiver, _: Deadline) {}
