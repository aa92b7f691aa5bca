//! What the types of the wire cannot say: how long, how many, which characters. For what is sent to
//! the manager alone: what it answers may come from rows that earlier rules allowed, so a provider
//! and a subscription that are sent are types of their own here.

use governance_domain::limits::{
    FILTER_IDS_MAX, INSTANCE_ID_MAX, NAME_MAX, PROVIDER_ID_MAX, PROVIDERS_MAX, SUBSCRIPTIONS_MAX,
    URL_MAX,
};
use serde_json::{Value, json};

use super::operations::PROTOCOL;

/// The grammar of names.
const NAME: &str = "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$";
const PROVIDER_ID: &str = "^[A-Za-z0-9._:-]*$";
/// A host name. Its last label begins with a letter, so that nobody takes it for a number.
const HOST: &str = r"([A-Za-z0-9_]([A-Za-z0-9_-]{0,30}[A-Za-z0-9_])?\.){0,4}[A-Za-z_]([A-Za-z0-9_-]{0,30}[A-Za-z0-9_])?";
/// An IPv4 address that is no multicast one.
const IPV4: &str = r"([1-9]|[1-9][0-9]|1[0-9]{2}|2[01][0-9]|22[0-3])(\.(0|[1-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])){3}";
/// An IPv6 address in brackets; shortened forms are understood, too.
const IPV6: &str = r"\[(::1|2[0-9a-f]{3}(:[0-9a-f]{1,4}){7})\]";
const PORT: &str =
    "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])";
const PATH: &str = r"(/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?(\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?";

fn http_url() -> String {
    format!("[Hh][Tt][Tt][Pp][Ss]?://({HOST}|{IPV4}|{IPV6})(:{PORT})?{PATH}")
}

/// Documented forms of `LOG_LEVEL`.
const LEVEL: &str = "^([A-Za-z_][A-Za-z0-9_:]*=)?(error|warn|info|debug|trace)\
                     (,([A-Za-z_][A-Za-z0-9_:]*=)?(error|warn|info|debug|trace))*$";

/// Adds the limits to the schemas.
pub(super) fn tell(components: &mut Value) {
    let Some(schemas) = components.get_mut("schemas") else { return };
    part_from_answers(schemas);
    let notification_url = format!("^{}$", http_url());
    let tcp = format!("[Tt][Cc][Pp]://({HOST}|{IPV4}|{IPV6}):{PORT}");
    let check_url = format!("^({}|{tcp})$", http_url());
    let host = format!("^({HOST})$");
    let ip = json!({"maxLength": 253, "anyOf": [
        {"format": "ipv4"}, {"format": "ipv6"}, {"pattern": host},
    ]});
    let name = json!({"pattern": NAME, "maxLength": NAME_MAX});
    let subscription = json!({"oneOf": [
        {"type": "string", "pattern": NAME, "maxLength": NAME_MAX},
        {"$ref": "#/components/schemas/NewSubscription"},
    ]});
    let ids = json!({"type": "string", "pattern": PROVIDER_ID, "minLength": 1,
        "maxLength": PROVIDER_ID_MAX});
    for (schema, field, limits) in [
        ("RegisterRequest", "service_name", name.clone()),
        ("RegisterRequest", "pod_name", name.clone()),
        (
            "RegisterRequest",
            "health_check_url",
            json!({"pattern": check_url, "maxLength": URL_MAX}),
        ),
        (
            "RegisterRequest",
            "notification_url",
            json!({"pattern": notification_url, "maxLength": URL_MAX}),
        ),
        (
            "RegisterRequest",
            "instance_id",
            json!({"pattern": "^[!-~]*$", "maxLength": INSTANCE_ID_MAX}),
        ),
        (
            "RegisterRequest",
            "providers",
            json!({"minItems": 1, "maxItems": PROVIDERS_MAX,
                "items": {"$ref": "#/components/schemas/NewProvider"}}),
        ),
        (
            "RegisterRequest",
            "subscriptions",
            json!({"type": ["array", "null"], "maxItems": SUBSCRIPTIONS_MAX, "items": subscription}),
        ),
        ("NewProvider", "protocol", json!({"pattern": PROTOCOL})),
        ("NewProvider", "ip", ip),
        ("NewProvider", "port", json!({"minimum": 1, "maximum": 65_535})),
        (
            "NewProvider",
            "provider_id",
            json!({"pattern": PROVIDER_ID, "maxLength": PROVIDER_ID_MAX}),
        ),
        ("NewSubscription", "service_name", name),
        (
            "NewSubscription",
            "provider_ids",
            json!({"type": ["array", "null"], "maxItems": FILTER_IDS_MAX, "items": ids}),
        ),
        ("NewSubscription", "healthy_only", json!({"type": ["boolean", "null"]})),
        ("LogLevel", "level", json!({"pattern": LEVEL})),
    ] {
        let fields = schemas.get_mut(schema).and_then(|schema| schema.get_mut("properties"));
        let described =
            fields.and_then(|fields| fields.get_mut(field)).and_then(Value::as_object_mut);
        if let (Some(described), Some(limits)) = (described, limits.as_object()) {
            described.extend(limits.clone());
        }
    }
}

/// Makes types of their own of what is sent and answered in the same form.
fn part_from_answers(schemas: &mut Value) {
    for (new, known) in [("NewProvider", "Provider"), ("NewSubscription", "SubscriptionFilter")] {
        if let Some(schema) = schemas.get(known).cloned()
            && let Some(all) = schemas.as_object_mut()
        {
            all.insert(new.to_owned(), schema);
        }
    }
}
