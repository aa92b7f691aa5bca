//! Where the HTTP server listens and how long it takes over a request and over stopping.

use std::time::Duration;

use super::rule::{Reason, Span, Text, Whole, is_host};
use super::setting::{Described, Setting};
use super::source::Reader;

/// The HTTP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The address to listen on; `None` stands for all addresses, IPv6 and IPv4.
    pub host: Option<String>,
    /// The port to listen on; 0 lets the system pick a free one.
    pub port: u16,
    /// How long a command may wait for room and for the store before it is answered 503 or 504.
    pub request_timeout: Duration,
    /// How long to go on serving, as "not ready", after the signal to stop.
    pub shutdown_delay: Duration,
}

static SERVER_HOST: Setting<Text<String>> = Setting::new(
    "SERVER_HOST",
    "",
    "Address the HTTP API listens on; unset: all addresses (`::`, else `0.0.0.0`)",
    Text { allowed: "an IP address or a host name", parse: parse_host, show: String::clone },
)
.earlier_keys(&["server.host"]);

static SERVER_PORT: Setting<Whole<u16>> = Setting::new(
    "SERVER_PORT",
    "8080",
    "HTTP API port; 0 picks a free one, which the start-up log names",
    Whole::between("a port", 0, u16::MAX),
)
.earlier_keys(&["server.port"]);

static REQUEST_TIMEOUT: Setting<Span> = Setting::new(
    "REQUEST_TIMEOUT",
    "8s",
    "How long a register or unregister may wait for the queue and the store before 503 or 504",
    Span::between(Duration::from_millis(10), Duration::from_mins(10)),
);

static SHUTDOWN_DELAY: Setting<Span> = Setting::new(
    "SHUTDOWN_DELAY",
    "0s",
    "How long to go on serving with `/ready` at 503 after SIGTERM, for load balancers to notice",
    Span::between(Duration::ZERO, Duration::from_mins(10)),
);

pub(super) static SETTINGS: &[&dyn Described] =
    &[&SERVER_HOST, &SERVER_PORT, &REQUEST_TIMEOUT, &SHUTDOWN_DELAY];

fn parse_host(text: &str) -> Result<String, Reason> {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if is_host(inner) { Ok(inner.to_owned()) } else { Err(None) }
}

impl Server {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            host: reader.read_optional(&SERVER_HOST),
            port: reader.read(&SERVER_PORT),
            request_timeout: reader.read(&REQUEST_TIMEOUT),
            shutdown_delay: reader.read(&SHUTDOWN_DELAY),
        }
    }
}
