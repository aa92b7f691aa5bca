//! Names into addresses: `/etc/hosts`, then the name servers of `/etc/resolv.conf`, with a cache
//! that honours the records' times to live.
//!
//! Not the C library's resolver: that blocks a thread per look-up and caches nothing. The two
//! files are read again when they change.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::IntoName as _;
use tokio::time::Instant;
use tracing::{info, warn};

/// Answers kept, each until its time to live ends; the least used go first.
const CACHE_MAX: u64 = 65_536;
/// The longest that "there is no such name" is believed, so that a name that appears is found.
const ABSENCE_MAX: Duration = Duration::from_secs(5);
/// The longest wait for one name server, so that the next one gets its chance within a check.
const SERVER_WAIT_MAX: Duration = Duration::from_secs(2);
/// Look-ups under way on one connection to a name server.
const LOOKUPS_MAX: usize = 1_024;
/// How often the files are looked at.
const FILES_PAUSE: Duration = Duration::from_secs(5);
const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameFault {
    /// The name servers say that there is none.
    Unknown,
    /// They do not say anything.
    Unavailable(String),
}

/// Somebody who knows the addresses of names.
pub trait Resolve: Send + Sync {
    /// The addresses of a name, in the order in which to try them; never an empty list.
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, NameFault>>;
}

/// The resolver of this machine.
pub struct SystemResolver {
    current: ArcSwap<State>,
    started: Instant,
    /// Milliseconds after the start when the files are due to be looked at again.
    next_look: AtomicU64,
}

struct State {
    /// None: this machine has no usable configuration.
    resolver: Option<TokioResolver>,
    /// When the files were last changed.
    changed: [Option<SystemTime>; 2],
}

impl SystemResolver {
    /// As the files say.
    pub fn new() -> Self {
        Self {
            current: ArcSwap::from_pointee(State::read()),
            started: Instant::now(),
            next_look: AtomicU64::new(millis(FILES_PAUSE)),
        }
    }

    /// As somebody says, not the files, but for `/etc/hosts`.
    #[cfg(test)]
    pub(super) fn fixed(config: ResolverConfig, options: ResolverOpts) -> Self {
        let resolver = build(config, options);
        let state = State { resolver, changed: last_changes() };
        Self { current: ArcSwap::from_pointee(state), ..Self::new() }
    }

    /// Reads the files again if they changed. One caller every five seconds does so.
    fn refresh(&self) {
        let now = millis(self.started.elapsed());
        let due = self.next_look.load(Ordering::Relaxed);
        let next = now + millis(FILES_PAUSE);
        let is_mine = now >= due
            && self
                .next_look
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if is_mine && self.current.load().changed != last_changes() {
            self.current.store(Arc::new(State::read()));
            info!("the configuration of name resolution changed and was read again");
        }
    }
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    fn read() -> Self {
        let changed = last_changes();
        let resolver = match hickory_resolver::system_conf::read_system_conf() {
            Ok((config, options)) => build(config, options),
            Err(error) => {
                warn!(%error, "/etc/resolv.conf cannot be used: only /etc/hosts is");
                build(ResolverConfig::default(), ResolverOpts::default())
            }
        };
        Self { resolver, changed }
    }
}

fn build(config: ResolverConfig, options: ResolverOpts) -> Option<TokioResolver> {
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    let options = builder.options_mut();
    options.cache_size = CACHE_MAX;
    options.negative_max_ttl = Some(ABSENCE_MAX);
    options.timeout = options.timeout.min(SERVER_WAIT_MAX);
    options.max_active_requests = LOOKUPS_MAX;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder.build().inspect_err(|error| warn!(%error, "names cannot be resolved")).ok()
}

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, NameFault>> {
        async move {
            if is_localhost(name) {
                return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
            }
            self.refresh();
            let state = self.current.load_full();
            match &state.resolver {
                Some(resolver) => look_up(resolver, name).await,
                None => Err(NameFault::Unavailable("name resolution is not configured".to_owned())),
            }
        }
        .boxed()
    }
}

/// `localhost` and what ends in `.localhost` are this machine, whatever a name server says
/// (RFC 6761 section 6.3).
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or(name);
    last.eq_ignore_ascii_case("localhost")
}

async fn look_up(resolver: &TokioResolver, name: &str) -> Result<Vec<IpAddr>, NameFault> {
    // What is no name at all is asked of nobody.
    let name = name.into_name().map_err(|_| NameFault::Unknown)?;
    let found = resolver.lookup_ip(name).await.map_err(|error| judge(&error))?;
    let mut addresses: Vec<IpAddr> = found.iter().collect();
    // IPv4 first: most pods listen there, and a machine without IPv6 does not notice the rest.
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses.dedup();
    if addresses.is_empty() { Err(NameFault::Unknown) } else { Ok(addresses) }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "what is not named is treated alike")]
fn judge(error: &NetError) -> NameFault {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(absent))
            if matches!(absent.response_code, ResponseCode::NXDomain | ResponseCode::NoError) =>
        {
            NameFault::Unknown
        }
        NetError::Proto(fault) => {
            NameFault::Unavailable(format!("a name server said what is no answer: {fault}"))
        }
        NetError::Timeout => NameFault::Unavailable("no name server answered".to_owned()),
        other => NameFault::Unavailable(other.to_string()),
    }
}

fn last_changes() -> [Option<SystemTime>; 2] {
    FILES.map(|file| Path::new(file).metadata().and_then(|metadata| metadata.modified()).ok())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
