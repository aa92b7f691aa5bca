//! Opening a connection: resolve, filter, connect to that very address, speak TLS if asked to.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use governance_domain::target::{Host, Scheme, Target};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::fault::{Fault, OwnFaultKind};
use super::policy::Policy;
use super::resolver::{NameFault, Resolve};
use super::stream::Stream;
use super::trust::Trust;

/// Addresses of one name that are tried; more would only share the time into slivers.
const ADDRESSES_MAX: usize = 4;

/// Opens connections as the operator's policy allows.
pub struct Dialer {
    policy: Policy,
    names: Arc<dyn Resolve>,
    trust: Trust,
}

impl Dialer {
    /// A dialer that asks `names` for addresses and believes what `trust` believes.
    pub fn new(policy: Policy, names: Arc<dyn Resolve>, trust: Trust) -> Self {
        Self { policy, names, trust }
    }

    /// Opens a connection to the target within `limit`.
    ///
    /// # Errors
    /// Why not; see [`Fault::is_ours`].
    pub async fn dial(&self, target: &Target, limit: Duration) -> Result<Stream, Fault> {
        let deadline = Instant::now() + limit;
        let stream = match &target.host {
            Host::Address(address) => {
                if !self.policy.permits(*address) {
                    return Err(Fault::Denied(*address));
                }
                connect_until(SocketAddr::new(*address, target.port), deadline, limit).await?
            }
            Host::Name(name) => {
                let addresses = self.resolve(name, deadline, limit).await?;
                self.connect_any(&addresses, target.port, deadline, limit).await?
            }
        };
        match target.scheme {
            Scheme::Http | Scheme::Tcp => Ok(Stream::Plain(stream)),
            Scheme::Https => {
                let secured = timeout_at(deadline, self.trust.secure(stream, &target.host)).await;
                let secured = secured.map_err(|_elapsed| Fault::NoAnswer(limit))??;
                Ok(Stream::Tls(Box::new(secured)))
            }
        }
    }

    async fn resolve(
        &self,
        name: &str,
        deadline: Instant,
        limit: Duration,
    ) -> Result<Vec<IpAddr>, Fault> {
        match timeout_at(deadline, self.names.resolve(name)).await {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(NameFault::Unknown)) => Err(Fault::Unresolved(name.to_owned())),
            Ok(Err(NameFault::Unavailable(why))) => Err(Fault::ours(
                OwnFaultKind::Resolver,
                format!("name {name} could not be looked up: {why}"),
            )),
            Err(_elapsed) => Err(Fault::ours(
                OwnFaultKind::Resolver,
                format!(
                    "name {name} could not be looked up: no name server answered within {}",
                    super::spell(limit)
                ),
            )),
        }
    }

    /// Tries the addresses of a name in turn, each with its share of the time that is left. A
    /// verdict about one of them outweighs a fault of ours with another: with IPv6 switched off,
    /// a refused IPv4 address says all there is to say.
    async fn connect_any(
        &self,
        addresses: &[IpAddr],
        port: u16,
        deadline: Instant,
        limit: Duration,
    ) -> Result<TcpStream, Fault> {
        let permitted: Vec<IpAddr> = addresses
            .iter()
            .copied()
            .filter(|address| self.policy.permits(*address))
            .take(ADDRESSES_MAX)
            .collect();
        let mut worst = addresses.first().map(|denied| Fault::Denied(*denied));
        for (position, address) in permitted.iter().enumerate() {
            let now = Instant::now();
            let left = u32::try_from(permitted.len() - position).unwrap_or(u32::MAX);
            let share = now + deadline.saturating_duration_since(now) / left;
            match connect_until(SocketAddr::new(*address, port), share, limit).await {
                Ok(stream) => return Ok(stream),
                Err(fault) => {
                    let is_first = position == 0;
                    if is_first || !fault.is_ours() {
                        worst = Some(fault);
                    }
                }
            }
        }
        Err(worst.unwrap_or_else(|| Fault::Other("the name has no address".to_owned())))
    }
}

async fn connect_until(
    address: SocketAddr,
    deadline: Instant,
    limit: Duration,
) -> Result<TcpStream, Fault> {
    timeout_at(deadline, connect(address)).await.unwrap_or(Err(Fault::NoAnswer(limit)))
}

/// Connects, and notices whether the system call itself failed. tokio makes the call when its
/// future is first polled; what fails then has not left this machine.
async fn connect(address: SocketAddr) -> Result<TcpStream, Fault> {
    let mut connecting = pin!(TcpStream::connect(address));
    let mut is_immediate = true;
    let connected: io::Result<TcpStream> = poll_fn(|context| {
        let polled = connecting.as_mut().poll(context);
        if polled.is_pending() {
            is_immediate = false;
        }
        match polled {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    connected.map_err(|error| Fault::of_connect(&error, address.ip(), is_immediate))
}
