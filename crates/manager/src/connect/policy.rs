//! Which addresses may be connected to. Decided on the address itself, after resolving, so that
//! neither a name, nor a redirect, nor a notation gets around it.
//!
//! An IPv6 address that stands for an IPv4 address (mapped, compatible, NAT64, 6to4, Teredo) is
//! judged as both. Decimal, octal and hexadecimal notations never get here: `Target::parse`
//! refuses them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use governance_domain::target::{Host, Target};
use ipnet::IpNet;

use crate::config::Targets;

/// The operator's lists.
#[derive(Clone, Debug)]
pub struct Policy {
    deny: Vec<IpNet>,
    allow: Vec<IpNet>,
}

impl Policy {
    /// From the configuration.
    pub fn new(targets: &Targets) -> Self {
        Self { deny: targets.deny.clone(), allow: targets.allow.clone() }
    }

    /// Everything may be connected to: for targets that the operator names.
    #[cfg_attr(not(feature = "traces"), expect(dead_code, reason = "only traces go there"))]
    pub(crate) fn unlimited() -> Self {
        Self { deny: Vec::new(), allow: Vec::new() }
    }

    /// Whether this address may be connected to: an exception wins over a denial.
    pub fn permits(&self, address: IpAddr) -> bool {
        let forms = forms(address);
        let here = forms.iter().flatten().any(IpAddr::is_unspecified).then_some(HERE);
        let holds = |networks: &[IpNet]| {
            let mut forms = forms.iter().flatten().chain(here.iter().flatten());
            forms.any(|form| networks.iter().any(|network| network.contains(form)))
        };
        holds(&self.allow) || !holds(&self.deny)
    }

    /// Judges a target whose host is a literal address; a name is judged when it is resolved.
    ///
    /// # Errors
    /// A text for people that names fault and cure.
    pub fn check_literal(&self, target: &Target) -> Result<(), String> {
        match target.host {
            Host::Address(address) if !self.permits(address) => Err(format!(
                "names the address {address}, which TARGET_DENY forbids to connect to: use another \
                 address, or have the operator add it to TARGET_ALLOW"
            )),
            Host::Address(_) | Host::Name(_) => Ok(()),
        }
    }
}

/// What a connection to the unspecified address leads to.
const HERE: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// All addresses that an address stands for: itself, and what it carries.
fn forms(address: IpAddr) -> [Option<IpAddr>; 3] {
    match address {
        IpAddr::V4(v4) => [Some(address), Some(v4.to_ipv6_mapped().into()), None],
        IpAddr::V6(v6) => {
            let [first, second] = carried(v6);
            [Some(address), first.map(IpAddr::V4), second.map(IpAddr::V4)]
        }
    }
}

/// The IPv4 addresses that an IPv6 address carries.
fn carried(address: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let bits = address.to_bits();
    let (low, second) = (v4(bits), v4(bits >> 64));
    match bits >> 96 {
        // ::/96 compatible and ::ffff:0:0/96 mapped (RFC 4291), ::ffff:0:0:0/96 translated (2765)
        0 if matches!(bits >> 32, 0 | 0xffff | 0xffff_0000) => [Some(low), None],
        // NAT64: 64:ff9b::/96 (RFC 6052), 64:ff9b:1::/48 for local use (RFC 8215)
        0x0064_ff9b => [Some(low), None],
        // Teredo: 2001::/32, server and, inverted, client (RFC 4380)
        0x2001_0000 => [Some(second), Some(v4(!bits))],
        // 6to4: 2002::/16 (RFC 3056)
        prefix if prefix >> 16 == 0x2002 => [Some(v4(bits >> 80)), None],
        _ => [None, None],
    }
}

/// The lowest 32 bits as an address.
fn v4(bits: u128) -> Ipv4Addr {
    #[expect(clippy::cast_possible_truncation, reason = "the lowest bits are what is wanted")]
    Ipv4Addr::from_bits(bits as u32)
}

#[cfg(test)]
mod tests {
    use governance_domain::target::Purpose;

    use super::*;
    use crate::config::Config;

    fn policy(deny: &[&str], allow: &[&str]) -> Policy {
        let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Policy { deny: networks(deny), allow: networks(allow) }
    }

    fn default_policy() -> Policy {
        Policy::new(&Config::default().targets)
    }

    #[test]
    fn the_metadata_address_is_denied_in_every_notation() {
        for address in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "::ffff:a9fe:a9fe",
            "::ffff:0:a9fe:a9fe",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "2001:0:a9fe:a9fe::1",
            "2001:0:a00:1:0:0:5601:5601",
        ] {
            assert!(!default_policy().permits(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn link_local_multicast_and_broadcast_are_denied_by_default() {
        for address in
            ["fe80::1", "febf::1", "ff02::1", "224.0.0.1", "239.1.2.3", "255.255.255.255"]
        {
            assert!(!default_policy().permits(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn loopback_unspecified_and_private_addresses_are_allowed_by_default() {
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "10.0.0.1",
            "192.168.1.1",
            "172.16.0.1",
            "100.64.0.1",
            "::1",
            "::",
            "fd00::1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(default_policy().permits(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn an_unspecified_address_is_denied_with_loopback_because_it_leads_there() {
        for address in ["0.0.0.0", "::", "::ffff:0.0.0.0", "64:ff9b::0.0.0.0"] {
            let address = address.parse().unwrap();
            assert!(!policy(&["127.0.0.0/8"], &[]).permits(address), "{address}");
            assert!(!policy(&["::1/128"], &[]).permits(address), "{address}");
            assert!(policy(&["127.0.0.0/8"], &["127.0.0.1/32"]).permits(address), "{address}");
        }
    }

    #[test]
    fn an_exception_wins_over_a_denial_in_every_notation() {
        let policy = policy(&["169.254.0.0/16"], &["169.254.7.0/24"]);
        assert!(policy.permits("169.254.7.1".parse().unwrap()));
        assert!(policy.permits("::ffff:169.254.7.1".parse().unwrap()));
        assert!(!policy.permits("169.254.8.1".parse().unwrap()));
    }

    #[test]
    fn a_denied_mapped_network_denies_the_plain_addresses_too() {
        let policy = policy(&["::ffff:10.0.0.0/104"], &[]);
        assert!(!policy.permits("10.1.2.3".parse().unwrap()));
        assert!(policy.permits("11.1.2.3".parse().unwrap()));
    }

    #[test]
    fn a_literal_denied_address_is_refused_with_its_cure_and_a_name_is_not_judged_yet() {
        let check = |url| {
            let target = Target::parse(url, Purpose::HealthCheck).unwrap();
            default_policy().check_literal(&target)
        };
        let fault = check("http://169.254.169.254/latest").unwrap_err();
        assert!(fault.contains("169.254.169.254") && fault.contains("TARGET_ALLOW"), "{fault}");
        assert!(check("http://[::ffff:169.254.169.254]/").is_err());
        assert!(check("tcp://[64:ff9b::a9fe:a9fe]:80").is_err());
        assert!(check("http://metadata.internal/").is_ok());
        assert!(check("http://127.0.0.1/").is_ok());
    }
}
