//! What a pod says of itself, with its own address perhaps still open; and the rules it has to
//! keep, so that a mistake is named at the start and not by the manager later.
//!
//! INVARIANT: what is refused here, the manager would refuse too; the tests hold that. What is not
//! refused here, the manager may still refuse: its rules are stricter in places.

use std::collections::BTreeSet;

use governance_api::{Provider, RegisterRequest, Subscription};

/// The manager's bounds on a registration.
const NAME_MAX: usize = 128;
const KEY_MAX: usize = 255;
const PROVIDERS_MAX: usize = 64;
const PROTOCOL_MAX: usize = 32;
const HOST_MAX: usize = 253;
const SUBSCRIPTIONS_MAX: usize = 256;
const URL_MAX: usize = 512;

/// A URL of this pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OwnUrl {
    /// Written out.
    Given(String),
    /// At the own address.
    Here { port: u16, path: String },
}

impl OwnUrl {
    fn at(&self, host: &str) -> String {
        match self {
            Self::Given(url) => url.clone(),
            Self::Here { port, path } if host.contains(':') => {
                format!("http://[{host}]:{port}{path}")
            }
            Self::Here { port, path } => format!("http://{host}:{port}{path}"),
        }
    }
}

/// The registration, but for the own address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) service: String,
    pub(crate) pod: String,
    pub(crate) instance_id: String,
    /// An empty `ip` stands for the own address.
    pub(crate) providers: Vec<Provider>,
    pub(crate) health_check_url: OwnUrl,
    pub(crate) notification_url: OwnUrl,
    pub(crate) subscriptions: Vec<Subscription>,
    /// The own address as given; none is found out by how a manager is reached.
    pub(crate) host: Option<String>,
}

impl Profile {
    /// What is sent, when this is the own address.
    pub(crate) fn request(&self, host: &str) -> RegisterRequest {
        let here = |provider: &Provider| match provider.ip.as_str() {
            "" => Provider { ip: host.to_owned(), ..provider.clone() },
            _ => provider.clone(),
        };
        RegisterRequest {
            service_name: self.service.clone(),
            pod_name: self.pod.clone(),
            providers: self.providers.iter().map(here).collect(),
            health_check_url: self.health_check_url.at(host),
            notification_url: self.notification_url.at(host),
            subscriptions: self.subscriptions.clone(),
            instance_id: Some(self.instance_id.clone()),
        }
    }

    /// The services subscribed to.
    pub(crate) fn services(&self) -> BTreeSet<String> {
        self.subscriptions.iter().map(|one| one.service_name().to_owned()).collect()
    }

    /// Every fault, each with what would be right.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut note = |fault: Option<String>| faults.extend(fault);
        note(name_fault("service name", &self.service));
        note(name_fault("pod name", &self.pod));
        let key = self.service.len() + self.pod.len() + 1;
        note((key > KEY_MAX).then(|| {
            format!(
                "service and pod name are too long together: at most {} characters",
                KEY_MAX - 1
            )
        }));
        let count = self.providers.len();
        note((count == 0 || count > PROVIDERS_MAX).then(|| {
            format!("there are {count} providers: give 1 to {PROVIDERS_MAX}, with provides() or provider()")
        }));
        self.providers.iter().for_each(|provider| note(provider_fault(provider)));
        let count = self.subscriptions.len();
        note((count > SUBSCRIPTIONS_MAX).then(|| {
            format!("there are {count} subscriptions: at most {SUBSCRIPTIONS_MAX} are allowed")
        }));
        for subscription in &self.subscriptions {
            note(name_fault("subscription", subscription.service_name()));
        }
        note(url_fault("health check URL", &self.health_check_url, &["http", "https", "tcp"]));
        note(url_fault("notification URL", &self.notification_url, &["http", "https"]));
        note(self.host.as_deref().and_then(host_fault));
        faults
    }
}

fn name_fault(what: &str, name: &str) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let is_edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let is_right = name.len() <= NAME_MAX
        && name.chars().all(is_plain)
        && is_edge(name.chars().next())
        && is_edge(name.chars().next_back());
    (!is_right).then(|| {
        format!(
            "{what} {name:?} is not allowed: give 1 to {NAME_MAX} characters of A-Z a-z 0-9 . _ - \
             that begin and end with a letter or a digit"
        )
    })
}

fn provider_fault(provider: &Provider) -> Option<String> {
    let Provider { protocol, ip, port, provider_id } = provider;
    // The grammar of a URI scheme (RFC 3986 section 3.1) in lower case.
    let is_token =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '.' | '-');
    let begins = protocol.starts_with(|c: char| c.is_ascii_lowercase());
    if protocol.len() > PROTOCOL_MAX || !begins || !protocol.chars().all(is_token) {
        return Some(format!(
            "protocol {protocol:?} is not allowed: give a lower-case token such as http or diameter"
        ));
    }
    if !(1..=i64::from(u16::MAX)).contains(port) {
        return Some(format!("port {port} of the {protocol} provider is not one of 1 to 65535"));
    }
    let id = provider_id.as_deref().unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
    if id.len() > NAME_MAX || !id.chars().all(is_plain) {
        return Some(format!(
            "provider id {id:?} is not allowed: give at most {NAME_MAX} characters of \
             A-Z a-z 0-9 . _ - :"
        ));
    }
    if ip.is_empty() { None } else { host_fault(ip) }
}

fn host_fault(host: &str) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '%');
    let is_right = !host.is_empty() && host.len() <= HOST_MAX && host.chars().all(is_plain);
    (!is_right).then(|| {
        format!("{host:?} is no address: give an IPv4 address, an IPv6 address without brackets, or a host name")
    })
}

fn url_fault(what: &str, url: &OwnUrl, schemes: &[&str]) -> Option<String> {
    let OwnUrl::Given(url) = url else { return None };
    let scheme =
        url.split_once("://").filter(|(_, rest)| !rest.is_empty()).map(|(scheme, _)| scheme);
    let is_known = |scheme: &str| schemes.iter().any(|known| known.eq_ignore_ascii_case(scheme));
    let is_right = url.len() <= URL_MAX && scheme.is_some_and(is_known);
    (!is_right).then(|| {
        format!(
            "{what} {url:?} is not allowed: give an absolute URL of at most {URL_MAX} characters \
             that begins with {}",
            schemes.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use governance_domain::provider::{Protocol, parse_host, parse_port, parse_provider_id};
    use governance_domain::target::{Purpose, Target};
    use governance_domain::{PodKey, PodName, ServiceName};

    use super::*;

    fn profile() -> Profile {
        Profile {
            service: "eir".to_owned(),
            pod: "eir-1".to_owned(),
            instance_id: "x".to_owned(),
            providers: vec![Provider::new("http", "", 8080)],
            health_check_url: OwnUrl::Given("http://127.0.0.1:1/health".to_owned()),
            notification_url: OwnUrl::Given("http://127.0.0.1:1/notify".to_owned()),
            subscriptions: Vec::new(),
            host: None,
        }
    }

    /// Texts that look like what is asked for, mostly with a fault.
    fn texts() -> Vec<String> {
        let mut random = fastrand::Rng::with_seed(1);
        let alphabet: Vec<char> = "aAz09._-:+/%[] @ü\0".chars().collect();
        let mut texts: Vec<String> = (0..20_000)
            .map(|_| {
                let length = random.usize(..8);
                (0..length).map(|_| alphabet[random.usize(..alphabet.len())]).collect()
            })
            .collect();
        for length in [1, 32, 33, 63, 64, 127, 128, 129, 253, 254, 512, 513] {
            texts.push("a".repeat(length));
        }
        for text in ["::1", "fe80::1", "h2c", "coap+tcp", "eir:s13", "eir_1.ns.svc", "0.0.0.0"] {
            texts.push(text.to_owned());
        }
        texts
    }

    #[test]
    fn nothing_is_refused_that_the_manager_would_accept() {
        let mut accepted = 0;
        for text in texts() {
            let provider = |protocol: &str, ip: &str, id: &str| {
                provider_fault(&Provider::new(protocol, ip, 1).with_id(id)).is_none()
            };
            for (is_ours, is_theirs) in [
                (name_fault("", &text).is_none(), ServiceName::parse(&text).is_ok()),
                (provider(&text, "", ""), Protocol::parse(&text).is_ok()),
                (provider("http", &text, ""), parse_host(&text).is_ok()),
                (provider("http", "", &text), parse_provider_id(&text).is_ok()),
            ] {
                assert!(is_ours || !is_theirs, "{text:?} would be accepted");
                accepted += usize::from(is_theirs);
            }
            for scheme in ["http", "HTTP", "https", "tcp", "sctp", ""] {
                let url = format!("{scheme}://{text}");
                let given = OwnUrl::Given(url.clone());
                let ours = url_fault("", &given, &["http", "https", "tcp"]).is_none();
                let theirs = Target::parse(&url, Purpose::HealthCheck).is_ok();
                assert!(ours || !theirs, "{url:?} would be accepted");
            }
        }
        assert!(accepted > 1_000, "only {accepted} of the texts were good ones");
        for port in [0, 1, 65_535, 65_536, -1, i64::MAX] {
            let provider = Provider { port, ..Provider::new("http", "", 1) };
            assert_eq!(provider_fault(&provider).is_none(), parse_port(port).is_ok(), "{port}");
        }
    }

    #[test]
    fn names_that_are_too_long_together_are_refused_as_the_manager_does() {
        for length in 120..=128 {
            let (service, pod) = ("s".repeat(128), "p".repeat(length));
            let key = PodKey::new(ServiceName::stored(&service), PodName::stored(&pod));
            let profile = Profile { service, pod, ..profile() };
            assert_eq!(profile.faults().is_empty(), key.fits(), "{length}");
        }
    }

    #[test]
    fn the_own_address_is_put_where_it_was_left_open() {
        let mut profile = profile();
        profile.providers.push(Provider::new("tcp", "192.0.2.1", 1));
        profile.notification_url = OwnUrl::Here { port: 7, path: "/notify".to_owned() };
        for (host, url) in [
            ("192.0.2.7", "http://192.0.2.7:7/notify"),
            ("2001:db8::7", "http://[2001:db8::7]:7/notify"),
            ("eir-1.ns", "http://eir-1.ns:7/notify"),
        ] {
            let request = profile.request(host);
            let hosts: Vec<_> = request.providers.iter().map(|one| one.ip.as_str()).collect();
            assert_eq!((hosts, request.notification_url.as_str()), (vec![host, "192.0.2.1"], url));
        }
    }
}
