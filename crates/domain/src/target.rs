//! The addresses that the manager is asked to connect to: health-check and notification URLs.
//!
//! Parsed at registration and again when used, by the same code, so that what was accepted can be
//! connected to. Which addresses may be connected to is policy and lives elsewhere.

use std::net::{IpAddr, Ipv6Addr};

use crate::limits::URL_MAX;
use crate::provider::is_host;

/// What speaks at the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP/1.1 in the clear.
    Http,
    /// HTTP/1.1 over TLS.
    Https,
    /// A connection that opens is enough.
    Tcp,
}

/// Host part of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A literal address.
    Address(IpAddr),
    /// A name to be resolved.
    Name(Box<str>),
}

/// A parsed target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// How to speak.
    pub scheme: Scheme,
    /// Whom to connect to.
    pub host: Host,
    /// Where; the scheme's default if the URL has none.
    pub port: u16,
    /// `host[:port]` as the `Host` header wants it, IPv6 in brackets.
    pub authority: Box<str>,
    /// Path and query, beginning with `/`; empty for `tcp`.
    pub path: Box<str>,
}

/// What a URL is for: they admit different schemes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `health_check_url`: http, https or tcp.
    HealthCheck,
    /// `notification_url`: http or https.
    Notification,
}

/// Protocols that a health check may one day speak.
const LATER: [&str; 5] = ["sctp", "diameter", "pfcp", "gtp", "grpc"];

impl Target {
    /// Parses an absolute URL (RFC 3986) of at most 512 characters without user information.
    ///
    /// A bare IPv6 address before the port (`http://::1:8080/health`) is read as bracketed,
    /// because services in the field write it so.
    ///
    /// # Errors
    /// A text for people that names fault and cure.
    pub fn parse(url: &str, purpose: Purpose) -> Result<Self, String> {
        check_text(url)?;
        let example = match purpose {
            Purpose::HealthCheck => "http://10.0.0.1:8080/health",
            Purpose::Notification => "http://10.0.0.1:8080/notify",
        };
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| format!("{url:?} is not an absolute URL: write it like {example}"))?;
        let scheme = parse_scheme(scheme, purpose)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err("must not contain user information (the part before @): remove it".into());
        }
        let (host, port) = parse_authority(authority)?;
        let port = match (port, scheme) {
            (Some(port), _) => port,
            (None, Scheme::Http) => 80,
            (None, Scheme::Https) => 443,
            (None, Scheme::Tcp) => {
                return Err("needs a port: write it like tcp://10.0.0.1:3868".into());
            }
        };
        if scheme == Scheme::Tcp && !matches!(path, "" | "/") {
            return Err("a tcp URL has no path: write it like tcp://10.0.0.1:3868".into());
        }
        let authority = authority_text(&host, port, scheme);
        Ok(Self { scheme, host, port, authority, path: origin_form(path, scheme) })
    }
}

fn check_text(url: &str) -> Result<(), String> {
    if url.is_empty() {
        return Err("must not be empty: give an absolute URL".into());
    }
    let length = url.chars().count();
    if length > URL_MAX {
        return Err(format!("is {length} characters long: at most {URL_MAX} are allowed"));
    }
    match url.chars().find(|c| !c.is_ascii_graphic()) {
        Some(c) => Err(format!(
            "contains {c:?}: spaces, control and non-ASCII characters must be percent-encoded"
        )),
        None => Ok(()),
    }
}

fn parse_scheme(scheme: &str, purpose: Purpose) -> Result<Scheme, String> {
    let lower = scheme.to_ascii_lowercase();
    match (lower.as_str(), purpose) {
        ("http", _) => Ok(Scheme::Http),
        ("https", _) => Ok(Scheme::Https),
        ("tcp", Purpose::HealthCheck) => Ok(Scheme::Tcp),
        (later, Purpose::HealthCheck) if LATER.contains(&later) => {
            Err(format!("{later} health checks are not supported yet: use http, https or tcp"))
        }
        (_, Purpose::HealthCheck) => {
            Err(format!("has the scheme {scheme:?}: use http, https or tcp"))
        }
        (_, Purpose::Notification) => Err(format!("has the scheme {scheme:?}: use http or https")),
    }
}

/// Host and port of an authority without user information.
fn parse_authority(authority: &str) -> Result<(Host, Option<u16>), String> {
    let fault = || {
        format!(
            "{authority:?} is not a host: give an IPv4 address, an IPv6 address in brackets or a \
             host name, then : and the port"
        )
    };
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or_else(fault)?;
        let address = address.parse::<Ipv6Addr>().map_err(|_| fault())?;
        let port = match port {
            "" => None,
            port => Some(parse_port(port.strip_prefix(':').ok_or_else(fault)?)?),
        };
        return Ok((Host::Address(address.into()), port));
    }
    if authority.matches(':').count() > 1 {
        return bare_ipv6(authority).ok_or_else(fault);
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(parse_port(port)?)),
        None => (authority, None),
    };
    match host.parse::<IpAddr>() {
        Ok(address) => Ok((Host::Address(address), port)),
        Err(_) if is_host(host) => Ok((Host::Name(host.into()), port)),
        Err(_) => Err(numeric_form(host).unwrap_or_else(fault)),
    }
}

/// `::1:8080` and `fe80::1`: what follows the last colon is a port if the rest is an address.
fn bare_ipv6(authority: &str) -> Option<(Host, Option<u16>)> {
    let with_port = authority.rsplit_once(':').and_then(|(address, port)| {
        let address = address.parse::<Ipv6Addr>().ok()?;
        let port = parse_port(port).ok()?;
        Some((Host::Address(address.into()), Some(port)))
    });
    with_port.or_else(|| {
        let address = authority.parse::<Ipv6Addr>().ok()?;
        Some((Host::Address(address.into()), None))
    })
}

/// Decimal, octal and hexadecimal notations that some programs read as IPv4 addresses.
fn numeric_form(host: &str) -> Option<String> {
    let numeric = |part: &str| part.chars().next().is_some_and(|c| c.is_ascii_digit());
    host.rsplit('.').next().is_some_and(numeric).then(|| {
        format!("{host:?} is not an IPv4 address: write four decimal numbers, such as 10.0.0.1")
    })
}

fn parse_port(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if digits && port > 0 => Ok(port),
        _ => Err(format!("has the port {text:?}: give a whole number from 1 to 65535")),
    }
}

fn authority_text(host: &Host, port: u16, scheme: Scheme) -> Box<str> {
    let host = match host {
        Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
        Host::Address(IpAddr::V4(address)) => address.to_string(),
        Host::Name(name) => name.to_string(),
    };
    match (scheme, port) {
        (Scheme::Http, 80) | (Scheme::Https, 443) => host.into(),
        _ => format!("{host}:{port}").into(),
    }
}

/// The request target of RFC 9112 section 3.2.1: path and query without fragment.
fn origin_form(path: &str, scheme: Scheme) -> Box<str> {
    let path = path.split('#').next().unwrap_or_default();
    match (scheme, path.starts_with('/')) {
        (Scheme::Tcp, _) => "".into(),
        (_, true) => path.into(),
        (_, false) => format!("/{path}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(url: &str) -> Result<Target, String> {
        Target::parse(url, Purpose::HealthCheck)
    }

    #[test]
    fn urls_of_the_field_are_read() {
        for (url, authority, path) in [
            ("http://192.168.1.10:8080/health", "192.168.1.10:8080", "/health"),
            ("http://localhost:8080/health?a=b#c", "localhost:8080", "/health?a=b"),
            ("http://::1:8080/health", "[::1]:8080", "/health"),
            ("http://fe80::1:2:8080", "[fe80::1:2]:8080", "/"),
            ("http://[2001:db8::1]/x", "[2001:db8::1]", "/x"),
            ("HTTP://eir_1.svc?x", "eir_1.svc", "/?x"),
            ("https://eir:443/", "eir", "/"),
            ("tcp://10.0.0.1:3868", "10.0.0.1:3868", ""),
        ] {
            let target = health(url).unwrap_or_else(|fault| panic!("{url}: {fault}"));
            assert_eq!((&*target.authority, &*target.path), (authority, path), "{url}");
        }
    }

    #[test]
    fn each_fault_is_named_with_its_cure() {
        for (url, part) in [
            ("", "must not be empty"),
            ("/health", "not an absolute URL"),
            ("10.0.0.1:8080/health", "not an absolute URL"),
            ("ftp://a/b", "use http, https or tcp"),
            ("sctp://a:1", "not supported yet"),
            ("http://user:pw@a/", "user information"),
            ("http://", "is not a host"),
            ("http://a:0/", "1 to 65535"),
            ("http://a:65536/", "1 to 65535"),
            ("http://a:+80/", "1 to 65535"),
            ("http://a:/", "1 to 65535"),
            ("http://2852039166/", "not an IPv4 address"),
            ("http://0251.0376.0251.0376/", "not an IPv4 address"),
            ("http://0xa9fea9fe/", "not an IPv4 address"),
            ("http://[::1/", "is not a host"),
            ("http://a b/", "percent-encoded"),
            ("http://a/\u{7f}", "percent-encoded"),
            ("tcp://a", "needs a port"),
            ("tcp://a:1/x", "no path"),
        ] {
            let fault = health(url).expect_err(url);
            assert!(fault.contains(part), "{url}: {fault}");
        }
        assert!(Target::parse("tcp://a:1", Purpose::Notification).is_err());
    }

    #[test]
    fn url_of_512_characters_is_accepted_and_one_more_is_not() {
        let url = |length: usize| format!("http://a/{}", "x".repeat(length - 9));
        assert!(health(&url(512)).is_ok());
        assert!(health(&url(513)).unwrap_err().contains("513"));
    }
}
