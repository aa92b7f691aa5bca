//! Providers: the endpoints at which a pod offers its service.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::limits::{HOST_MAX, PROTOCOL_MAX, PROVIDER_ID_MAX};

/// The protocols that telco services use; any other lower-case token is kept as it is.
const KNOWN: [&str; 9] = ["http", "https", "tcp", "udp", "sctp", "diameter", "pfcp", "gtp", "grpc"];

/// A protocol token: one of the known ones without an allocation, or any other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(Cow<'static, str>);

impl Protocol {
    /// Parses a token: 1–32 characters, a lower-case letter first, then `[a-z0-9+.-]`
    /// (the grammar of a URI scheme, RFC 3986 section 3.1, in lower case).
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > PROTOCOL_MAX {
            return Err(format!(
                "must be 1 to {PROTOCOL_MAX} characters long, such as http, tcp or diameter"
            ));
        }
        let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+.-".contains(c);
        if !text.starts_with(|c: char| c.is_ascii_lowercase()) || !text.chars().all(rest) {
            return Err(format!(
                "{text:?} is not a lower-case token: use one of {}, or a-z 0-9 + . - beginning \
                 with a letter",
                KNOWN.join(", ")
            ));
        }
        Ok(Self::stored(text))
    }

    /// Takes a token as a database has it.
    pub fn stored(text: &str) -> Self {
        Self(match KNOWN.iter().find(|known| **known == text) {
            Some(known) => Cow::Borrowed(known),
            None => Cow::Owned(text.to_owned()),
        })
    }

    /// The token.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One endpoint of a pod. The fields are what the pod registered; rows written under older rules
/// may hold values that [`parse_host`] and [`parse_port`] refuse today, which is why `port` is
/// wider than a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Provider {
    /// How to speak to it.
    pub protocol: Protocol,
    /// IPv4, IPv6 (without brackets) or a host name; shown as `ip`.
    pub host: Box<str>,
    /// 1–65535 under today's rules.
    pub port: i64,
    /// What a filtered subscription selects by; absent and empty are the same.
    pub id: Option<Box<str>>,
}

/// Parses a provider's address: IPv4, IPv6 without brackets, or a host name (`_` allowed,
/// because container platforms generate such names).
pub fn parse_host(text: &str) -> Result<Box<str>, String> {
    const CURE: &str = "give an IPv4 address, an IPv6 address without brackets, or a host name";
    if text.is_empty() {
        return Err(format!("must not be empty: {CURE}"));
    }
    if text.len() > HOST_MAX {
        return Err(format!("is longer than {HOST_MAX} characters: {CURE}"));
    }
    if is_host(text) { Ok(text.into()) } else { Err(format!("{text:?} is not an address: {CURE}")) }
}

/// Whether `text` is an IP address or a host name of sane labels. A text of digits and dots that
/// is no IPv4 address (`10.0.0.256`) is refused: it is a typing error, not a name.
pub(crate) fn is_host(text: &str) -> bool {
    if text.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let last_is_numeric = name.rsplit('.').next().is_some_and(is_number);
    name.len() <= HOST_MAX && name.split('.').all(label) && !last_is_numeric
}

/// Whether some programs would read the label as part of an IPv4 address: decimal, octal or
/// hexadecimal digits.
fn is_number(label: &str) -> bool {
    match label.strip_prefix("0x").or_else(|| label.strip_prefix("0X")) {
        Some(hex) => hex.bytes().all(|b| b.is_ascii_hexdigit()),
        None => label.bytes().all(|b| b.is_ascii_digit()),
    }
}

/// Parses a port number.
pub fn parse_port(number: i64) -> Result<i64, String> {
    if (1..=65_535).contains(&number) {
        Ok(number)
    } else {
        Err(format!("{number} is not a port: give a whole number from 1 to 65535"))
    }
}

/// Parses a provider id; an empty one is the same as none.
pub fn parse_provider_id(text: &str) -> Result<Option<Box<str>>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() > PROVIDER_ID_MAX {
        return Err(format!("is longer than {PROVIDER_ID_MAX} characters: shorten it"));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
    match text.chars().find(|c| !allowed(*c)) {
        Some(c) => Err(format!("contains {c:?}: only A-Z a-z 0-9 . _ - : are allowed")),
        None => Ok(Some(text.into())),
    }
}

/// The address of a host text, where it is one and not a name.
pub fn literal_address(host: &str) -> Option<IpAddr> {
    host.parse::<Ipv4Addr>()
        .map(IpAddr::V4)
        .or_else(|_| host.parse::<Ipv6Addr>().map(IpAddr::V6))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_the_field_are_accepted() {
        for host in ["0.0.0.0", "localhost", "::1", "fe80::1", "eir_1.ns.svc.cluster.local", "a."] {
            assert!(parse_host(host).is_ok(), "{host}");
        }
        assert!(parse_host(&format!("{}.de", vec!["a".repeat(62); 3].join("."))).is_ok());
    }

    #[test]
    fn typing_errors_are_not_host_names() {
        for host in ["", "10.0.0.256", "1.2.3", "[::1]", "a b", "a\0", "-a", "a..b", "a/b", "ü"] {
            assert!(parse_host(host).is_err(), "{host}");
        }
        assert!(parse_host(&"a.".repeat(127)).is_err());
    }

    #[test]
    fn ports_end_at_65535() {
        assert!(parse_port(1).is_ok() && parse_port(65_535).is_ok());
        for port in [0, -1, 65_536, i64::MAX] {
            assert!(parse_port(port).unwrap_err().contains("1 to 65535"));
        }
    }

    #[test]
    fn unknown_protocols_are_kept_when_they_are_tokens() {
        for text in ["http", "ngap", "h2c", "coap+tcp"] {
            assert_eq!(Protocol::parse(text).unwrap().as_str(), text);
        }
        for text in ["", "HTTP", "1a", "a b", &"a".repeat(33)] {
            assert!(Protocol::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn empty_provider_id_is_none() {
        assert_eq!(parse_provider_id(""), Ok(None));
        assert_eq!(parse_provider_id("eir:s13"), Ok(Some("eir:s13".into())));
        assert!(parse_provider_id("a b").is_err() && parse_provider_id(&"a".repeat(129)).is_err());
    }
}
