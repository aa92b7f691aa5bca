//! Whether a pod can be reached from where this program runs, which need not be what the manager
//! sees.
//!
//! A connection is opened and closed; nothing is said on it, so nothing can happen at the pod.

use std::net::SocketAddr;
use std::time::Duration;

use governance_api::Pod;
use serde::Serialize;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::text::bracketed;

/// How long a connection may take to open.
const PATIENCE: Duration = Duration::from_secs(2);
/// Addresses that are tried, of all that a pod has.
const TARGETS_MAX: usize = 16;
/// Protocols whose endpoints take TCP connections.
const OVER_TCP: &[&str] = &["http", "https", "tcp", "grpc", "diameter"];

/// A place that was tried, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Reach {
    /// `host:port`.
    pub(crate) address: String,
    /// What the pod uses it for.
    pub(crate) purpose: String,
    /// Whether it takes connections.
    pub(crate) is_open: bool,
    /// Why not; none if it does.
    pub(crate) reason: Option<String>,
}

/// Tries every address of a pod at once, each only once.
pub(crate) async fn try_all(pod: &Pod) -> Vec<Reach> {
    let mut attempts = JoinSet::new();
    for (index, (address, purpose)) in targets(pod).into_iter().enumerate() {
        attempts.spawn(async move {
            let reason = try_one(&address).await.err();
            (index, Reach { address, purpose, is_open: reason.is_none(), reason })
        });
    }
    let mut found = attempts.join_all().await;
    found.sort_by_key(|(index, _)| *index);
    found.into_iter().map(|(_, reach)| reach).collect()
}

async fn try_one(address: &str) -> Result<(), String> {
    let connected = timeout(PATIENCE, async {
        let found: Vec<SocketAddr> =
            lookup_host(address).await.map_err(|fault| plain(&fault))?.collect();
        TcpStream::connect(found.as_slice()).await.map_err(|fault| plain(&fault))
    });
    match connected.await {
        Ok(connected) => connected.map(drop),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

/// Without the number that the system has for it.
fn plain(fault: &std::io::Error) -> String {
    let known = [
        (std::io::ErrorKind::ConnectionRefused, "connection refused"),
        (std::io::ErrorKind::HostUnreachable, "no route to the host"),
        (std::io::ErrorKind::NetworkUnreachable, "no route to the network"),
    ];
    let found = known.into_iter().find(|(kind, _)| *kind == fault.kind());
    found.map_or_else(|| fault.to_string(), |(_, words)| words.to_owned())
}

/// Each address once, with all that it is for.
fn targets(pod: &Pod) -> Vec<(String, String)> {
    let urls = [
        ("health check", address_of(&pod.health_check_url)),
        ("notifications", address_of(&pod.notification_url)),
    ];
    let urls =
        urls.into_iter().filter_map(|(purpose, address)| Some((purpose.to_owned(), address?)));
    let endpoints = pod.providers.iter().filter(|one| OVER_TCP.contains(&one.protocol.as_str()));
    let endpoints =
        endpoints.map(|one| (one.protocol.clone(), format!("{}:{}", bracketed(&one.ip), one.port)));
    let mut found: Vec<(String, String)> = Vec::new();
    for (purpose, address) in urls.chain(endpoints) {
        if let Some((_, purposes)) = found.iter_mut().find(|(known, _)| *known == address) {
            purposes.push_str(", ");
            purposes.push_str(&purpose);
        } else if found.len() < TARGETS_MAX {
            found.push((address, purpose));
        }
    }
    found
}

/// `host:port` of a URL.
fn address_of(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().filter(|text| !text.is_empty())?;
    let has_port = authority.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
    });
    match (has_port, scheme) {
        (true, _) => Some(authority.to_owned()),
        (false, "http") => Some(format!("{authority}:80")),
        (false, "https") => Some(format!("{authority}:443")),
        (false, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_url_leads_to_an_address() {
        for (url, expected) in [
            ("http://a:1/x", Some("a:1")),
            ("http://a/x", Some("a:80")),
            ("https://[::1]?x", Some("[::1]:443")),
            ("http://[::1]:8080", Some("[::1]:8080")),
            ("tcp://a:5", Some("a:5")),
            ("tcp://a", None),
            ("nonsense", None),
        ] {
            assert_eq!(address_of(url).as_deref(), expected, "{url}");
        }
    }
}
