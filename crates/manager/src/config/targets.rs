//! Which addresses checks and notifications may connect to, and whom https trusts. Applying the
//! lists, to every notation of an address, is the business of those who connect.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use super::rule::{PATH, Reason, Text};
use super::setting::{Described, Setting};
use super::source::Reader;

/// The most networks one list may hold: each connection is compared with all of them.
const MAX_NETWORKS: usize = 256;

/// Where checks and notifications may go. An address in `allow` is permitted even if `deny`
/// holds it too; one in neither is permitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Targets {
    /// Networks that are not connected to.
    pub deny: Vec<IpNet>,
    /// Exceptions from `deny`.
    pub allow: Vec<IpNet>,
    /// A PEM file with further CAs for https.
    pub ca_file: Option<PathBuf>,
}

const NETWORKS: Text<Vec<IpNet>> = Text {
    allowed: "a list of networks such as 10.0.0.0/8,fd00::/8, or none",
    parse: parse_networks,
    show: show_networks,
};

static TARGET_DENY: Setting<Text<Vec<IpNet>>> = Setting::new(
    "TARGET_DENY",
    "169.254.0.0/16,fe80::/10,224.0.0.0/4,ff00::/8,255.255.255.255/32",
    "Networks that checks and notifications never connect to (the default: link-local, \
     multicast, broadcast); a value replaces the default, `none` denies nothing",
    NETWORKS,
);

static TARGET_ALLOW: Setting<Text<Vec<IpNet>>> = Setting::new(
    "TARGET_ALLOW",
    "none",
    "Exceptions from `TARGET_DENY`: networks that may be connected to although it holds them",
    NETWORKS,
);

static TARGET_CA_FILE: Setting<Text<PathBuf>> = Setting::new(
    "TARGET_CA_FILE",
    "",
    "PEM file with CAs that https checks and notifications trust besides the system's",
    PATH,
);

pub(super) static SETTINGS: &[&dyn Described] = &[&TARGET_DENY, &TARGET_ALLOW, &TARGET_CA_FILE];

fn parse_networks(text: &str) -> Result<Vec<IpNet>, Reason> {
    if text.eq_ignore_ascii_case("none") {
        return Ok(Vec::new());
    }
    let items: Vec<&str> = text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
    if items.len() > MAX_NETWORKS {
        return Err(Some(format!("at most {MAX_NETWORKS} networks")));
    }
    let networks: Result<Vec<_>, Reason> = items.into_iter().map(parse_network).collect();
    networks.and_then(|networks| if networks.is_empty() { Err(None) } else { Ok(networks) })
}

/// A network, or an address for the network that holds it alone. Host bits are cleared.
fn parse_network(item: &str) -> Result<IpNet, Reason> {
    let alone = item.parse::<IpAddr>().map(IpNet::from);
    let network = alone.or_else(|_| item.parse::<IpNet>());
    let network = network.map_err(|_| Some(format!("{item:?} is not a network")))?;
    Ok(network.trunc())
}

#[expect(clippy::ptr_arg, reason = "the signature belongs to the rule for values of this type")]
fn show_networks(networks: &Vec<IpNet>) -> String {
    if networks.is_empty() {
        return "none".to_owned();
    }
    networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

impl Targets {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let ca_file = reader.read_optional(&TARGET_CA_FILE);
        if let Some(path) = &ca_file {
            reader.require_authorities(&TARGET_CA_FILE.card, path);
        }
        Self { deny: reader.read(&TARGET_DENY), allow: reader.read(&TARGET_ALLOW), ca_file }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_address_is_the_network_of_that_address() {
        let networks = parse_networks("10.1.2.3, ::1 ,10.0.0.9/8,").unwrap();
        assert_eq!(show_networks(&networks), "10.1.2.3/32,::1/128,10.0.0.0/8");
        assert_eq!(parse_networks("NONE"), Ok(vec![]));
    }

    #[test]
    fn the_network_that_cannot_be_read_is_named() {
        let refusal = |text: &str| parse_networks(text).unwrap_err();
        assert_eq!(
            refusal("10.0.0.0/8,10.0.0.0/33"),
            Some("\"10.0.0.0/33\" is not a network".into())
        );
        assert_eq!(refusal("localhost"), Some("\"localhost\" is not a network".into()));
        assert_eq!(refusal(","), None);
        assert_eq!(refusal(&"::1,".repeat(257)), Some("at most 256 networks".into()));
    }
}
