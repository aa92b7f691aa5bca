//! From the JSON of `POST /register` to a command, or all that is wrong with it at once.
//!
//! The grammar of each value is the domain's; here is which fields there are, which may be absent,
//! and where a fault is. Unknown fields are ignored.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use governance_api::Fault;
use governance_domain::content::distinct;
use governance_domain::limits::{
    FILTER_IDS_MAX, INSTANCE_ID_MAX, KEY_MAX, PROVIDERS_MAX, SUBSCRIPTIONS_MAX,
};
use governance_domain::provider::{parse_host, parse_port, parse_provider_id};
use governance_domain::subscription::unite;
use governance_domain::target::{Host, Purpose, Target};
use governance_domain::{
    Content, PodKey, PodName, Protocol, Provider, ProviderFilter, Register, ServiceName,
    Subscription,
};

use super::json::Json;
use super::place::{Faults, Place};

/// Whether a literal address may be connected to.
type Permits<'a> = &'a dyn Fn(IpAddr) -> bool;

/// Reads a registration.
pub(super) fn read(document: &Json<'_>, permits: Permits<'_>) -> Result<Register, Vec<Fault>> {
    let mut faults = Faults::default();
    let root = Place::ROOT;
    let Some(body) = Fields::of(document, &root, &mut faults) else { return Err(faults.0) };
    let key = read_key(&body, &mut faults);
    let providers = read_providers(&body, &mut faults);
    let health_check_url =
        read_url(&body, "health_check_url", Purpose::HealthCheck, permits, &mut faults);
    let notification_url =
        read_url(&body, "notification_url", Purpose::Notification, permits, &mut faults);
    let subscriptions = read_subscriptions(&body, &mut faults);
    let instance_id = read_instance_id(&body, &mut faults);
    match (key, health_check_url, notification_url) {
        (Some(key), Some(health_check_url), Some(notification_url)) if faults.0.is_empty() => {
            let content = Content {
                providers: distinct(providers),
                health_check_url,
                notification_url,
                subscriptions: unite(subscriptions),
                instance_id,
            };
            Ok(Register { key, content: Arc::new(content) })
        }
        _ => Err(faults.0),
    }
}

/// The fields of an object, and where it stands.
struct Fields<'a> {
    fields: &'a [(std::borrow::Cow<'a, str>, Json<'a>)],
    place: &'a Place<'a>,
}

impl<'a> Fields<'a> {
    fn of(value: &'a Json<'a>, place: &'a Place<'a>, faults: &mut Faults) -> Option<Self> {
        if let Json::Object(fields) = value {
            return Some(Self { fields, place });
        }
        faults.add(place, format!("must be an object, not {}", value.describe()));
        None
    }

    /// A field's value; `null` is the same as absent.
    fn value(&self, name: &str) -> Option<&'a Json<'a>> {
        let found = self.fields.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value).filter(|value| **value != Json::Null)
    }

    fn required(&self, name: &str, what: &str, faults: &mut Faults) -> Option<&'a Json<'a>> {
        let value = self.value(name);
        if value.is_none() {
            faults.add(&self.place.field(name), format!("is missing: give {what}"));
        }
        value
    }

    fn required_text(&self, name: &str, what: &str, faults: &mut Faults) -> Option<&'a str> {
        let value = self.required(name, what, faults)?;
        text(value, what, &self.place.field(name), faults)
    }

    /// A list that may be absent; one that is too long is a fault, and its elements are not read.
    fn list(&self, name: &str, max: usize, faults: &mut Faults) -> &'a [Json<'a>] {
        let place = self.place.field(name);
        match self.value(name) {
            None => &[],
            Some(Json::List(list)) if list.len() > max => {
                let count = list.len();
                faults.add(&place, format!("has {count} entries: at most {max} are allowed"));
                &[]
            }
            Some(Json::List(list)) => list,
            Some(other) => {
                faults.add(&place, format!("must be an array, not {}", other.describe()));
                &[]
            }
        }
    }
}

/// A text, or a fault noted.
fn text<'a>(
    value: &'a Json<'a>,
    what: &str,
    place: &Place<'_>,
    faults: &mut Faults,
) -> Option<&'a str> {
    if let Json::Text(text) = value {
        return Some(text);
    }
    faults.add(place, format!("must be a string, not {}: give {what}", value.describe()));
    None
}

fn read_key(body: &Fields<'_>, faults: &mut Faults) -> Option<PodKey> {
    let service = body
        .required_text("service_name", "the name of the service, such as eir", faults)
        .and_then(|text| faults.take(&body.place.field("service_name"), ServiceName::parse(text)));
    let pod = body
        .required_text("pod_name", "a name that is unique in the service", faults)
        .and_then(|text| faults.take(&body.place.field("pod_name"), PodName::parse(text)));
    let key = PodKey::new(service?, pod?);
    if key.fits() {
        return Some(key);
    }
    let length = key.service.as_str().len() + key.pod.as_str().len();
    let max = KEY_MAX - 1;
    faults.add(
        &body.place.field("pod_name"),
        format!(
            "and service_name are {length} characters long together: at most {max} are allowed"
        ),
    );
    None
}

/// Providers without fault; with a fault, some are missing, and the registration is refused.
fn read_providers(body: &Fields<'_>, faults: &mut Faults) -> Vec<Provider> {
    const WHAT: &str = "an array of 1 to 64 objects with protocol, ip and port";
    let place = body.place.field("providers");
    match body.required("providers", WHAT, faults) {
        None => return Vec::new(),
        Some(Json::List(list)) if list.is_empty() => {
            faults.add(&place, format!("must not be empty: give {WHAT}"));
        }
        Some(_) => {}
    }
    let list = body.list("providers", PROVIDERS_MAX, faults);
    let read = |(index, value)| read_provider(value, &place.item(index), faults);
    list.iter().enumerate().filter_map(read).collect()
}

fn read_provider(value: &Json<'_>, place: &Place<'_>, faults: &mut Faults) -> Option<Provider> {
    let provider = Fields::of(value, place, faults)?;
    let protocol = provider
        .required_text("protocol", "a token such as http, tcp or diameter", faults)
        .and_then(|text| faults.take(&place.field("protocol"), Protocol::parse(text)));
    let host = provider
        .required_text("ip", "an IP address or a host name", faults)
        .and_then(|text| faults.take(&place.field("ip"), parse_host(text)));
    let port = read_port(&provider, faults);
    let id = match provider.value("provider_id") {
        None => None,
        Some(value) => {
            text(value, "the provider's id, or leave it out", &place.field("provider_id"), faults)
                .and_then(|text| faults.take(&place.field("provider_id"), parse_provider_id(text)))
                .flatten()
        }
    };
    Some(Provider { protocol: protocol?, host: host?, port: port?, id })
}

fn read_port(provider: &Fields<'_>, faults: &mut Faults) -> Option<i64> {
    const WHAT: &str = "a whole number from 1 to 65535";
    let place = provider.place.field("port");
    let value = provider.required("port", WHAT, faults)?;
    match value {
        Json::Whole(number) => faults.take(&place, parse_port(*number)),
        Json::Fraction(number) => {
            // To JSON, 8080.0 is the same number as 8080.
            let whole =
                (1..=65_535_u16).find(|port| (f64::from(*port) - *number).abs() < f64::EPSILON);
            if whole.is_none() {
                faults.add(&place, format!("{number} is not a port: give {WHAT}"));
            }
            whole.map(i64::from)
        }
        Json::Null | Json::Bool(_) | Json::Text(_) | Json::List(_) | Json::Object(_) => {
            faults.add(&place, format!("must be a number, not {}: give {WHAT}", value.describe()));
            None
        }
    }
}

/// A URL as it was sent, once it is known to be one.
fn read_url(
    body: &Fields<'_>,
    name: &'static str,
    purpose: Purpose,
    permits: Permits<'_>,
    faults: &mut Faults,
) -> Option<Box<str>> {
    let text = body.required_text(name, "an absolute URL such as http://10.0.0.1:8080/", faults)?;
    let place = body.place.field(name);
    let target = faults.take(&place, Target::parse(text, purpose))?;
    match target.host {
        Host::Address(address) if !permits(address) => {
            faults.add(
                &place,
                format!("has the address {address}, which TARGET_DENY forbids: use another one"),
            );
            None
        }
        Host::Address(_) | Host::Name(_) => Some(text.into()),
    }
}

fn read_subscriptions(body: &Fields<'_>, faults: &mut Faults) -> Vec<Subscription> {
    let place = body.place.field("subscriptions");
    let list = body.list("subscriptions", SUBSCRIPTIONS_MAX, faults);
    let read = |(index, value)| read_subscription(value, &place.item(index), faults);
    list.iter().enumerate().filter_map(read).collect()
}

/// `"eir"`, or an object with a filter.
fn read_subscription(
    value: &Json<'_>,
    place: &Place<'_>,
    faults: &mut Faults,
) -> Option<Subscription> {
    match value {
        Json::Text(name) => {
            faults.take(place, ServiceName::parse(name)).map(Subscription::to_all_of)
        }
        Json::Object(_) => read_filtered(value, place, faults),
        Json::Null | Json::Bool(_) | Json::Whole(_) | Json::Fraction(_) | Json::List(_) => {
            let what = value.describe();
            faults.add(
                place,
                format!("must be a service name or an object with service_name, not {what}"),
            );
            None
        }
    }
}

fn read_filtered(value: &Json<'_>, place: &Place<'_>, faults: &mut Faults) -> Option<Subscription> {
    let entry = Fields::of(value, place, faults)?;
    let service = entry
        .required_text("service_name", "the name of a service", faults)
        .and_then(|text| faults.take(&place.field("service_name"), ServiceName::parse(text)));
    let ids_place = place.field("provider_ids");
    let mut ids = BTreeSet::new();
    for (index, value) in entry.list("provider_ids", FILTER_IDS_MAX, faults).iter().enumerate() {
        let place = ids_place.item(index);
        let Some(id) = text(value, "a provider's id", &place, faults) else { continue };
        match faults.take(&place, parse_provider_id(id)) {
            Some(Some(id)) => drop(ids.insert(id)),
            Some(None) => faults.add(&place, "must not be empty: give a provider's id"),
            None => {}
        }
    }
    let healthy_only = match entry.value("healthy_only") {
        None => false,
        Some(Json::Bool(healthy_only)) => *healthy_only,
        Some(other) => {
            let fault = format!("must be true or false, not {}", other.describe());
            faults.add(&place.field("healthy_only"), fault);
            false
        }
    };
    Some(Subscription { service: service?, filter: ProviderFilter::from_ids(ids), healthy_only })
}

fn read_instance_id(body: &Fields<'_>, faults: &mut Faults) -> Option<Box<str>> {
    let place = body.place.field("instance_id");
    let value = body.value("instance_id")?;
    let id = text(value, "an id that is new for every process, or leave it out", &place, faults)?;
    let check = || {
        let length = id.chars().count();
        if length > INSTANCE_ID_MAX {
            return Err(format!(
                "is {length} characters long: at most {INSTANCE_ID_MAX} are allowed"
            ));
        }
        match id.chars().find(|c| !c.is_ascii_graphic()) {
            Some(c) => Err(format!("contains {c:?}: only visible ASCII characters are allowed")),
            None => Ok((!id.is_empty()).then(|| Box::from(id))),
        }
    };
    faults.take(&place, check()).flatten()
}
