//! The JSON of the column `subscriptions`: always an array; a plain subscription is a string, a
//! filtered one `{"service_name","provider_ids"?,"healthy_only"?}`.

use std::borrow::Cow;
use std::collections::BTreeSet;

use governance_domain::{ProviderFilter, ServiceName, Subscription};
use serde_json::{Map, Value};

use super::providers::plain_text;
use super::write_json_string;

/// The JSON text of a list of subscriptions.
pub fn subscriptions_json(subscriptions: &[Subscription]) -> String {
    let mut json = String::with_capacity(2 + subscriptions.len() * 24);
    write_subscriptions(&mut json, subscriptions);
    json
}

/// Appends the JSON text of a list of subscriptions.
pub fn write_subscriptions(json: &mut String, subscriptions: &[Subscription]) {
    json.push('[');
    for (position, subscription) in subscriptions.iter().enumerate() {
        if position > 0 {
            json.push(',');
        }
        let service = subscription.service.as_str();
        if subscription.is_plain() {
            write_json_string(json, service);
        } else {
            write_filtered(json, service, subscription);
        }
    }
    json.push(']');
}

fn write_filtered(json: &mut String, service: &str, subscription: &Subscription) {
    json.push_str("{\"service_name\":");
    write_json_string(json, service);
    if let ProviderFilter::Only(ids) = &subscription.filter {
        json.push_str(",\"provider_ids\":[");
        for (position, id) in ids.iter().enumerate() {
            if position > 0 {
                json.push(',');
            }
            write_json_string(json, id);
        }
        json.push(']');
    }
    if subscription.healthy_only {
        json.push_str(",\"healthy_only\":true");
    }
    json.push('}');
}

/// The subscriptions that a JSON text tells of, and what is odd about it. `null`, which earlier
/// managers wrote for "none", is not odd.
pub fn read_subscriptions(text: &str) -> (Vec<Subscription>, Option<String>) {
    if matches!(text, "[]" | "null") {
        return (Vec::new(), None);
    }
    if let Ok(plain) = serde_json::from_str::<Vec<Cow<'_, str>>>(text) {
        let mut read = Read::default();
        for name in plain {
            read.plain(&name);
        }
        return (read.subscriptions, read.oddity);
    }
    let value = match serde_json::from_str::<Value>(text) {
        Ok(value) => value,
        Err(fault) => return (Vec::new(), Some(format!("is not JSON: {fault}"))),
    };
    let mut read = Read::default();
    match &value {
        Value::Null => {}
        Value::Array(items) => items.iter().for_each(|item| read.item(item)),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            read.note("is not an array");
            read.item(&value);
        }
    }
    (read.subscriptions, read.oddity)
}

/// What was read so far, and the first oddity.
#[derive(Default)]
struct Read {
    subscriptions: Vec<Subscription>,
    oddity: Option<String>,
}

impl Read {
    fn note(&mut self, oddity: impl Into<String>) {
        self.oddity.get_or_insert_with(|| oddity.into());
    }

    fn name(&mut self, text: &str) -> ServiceName {
        ServiceName::parse(text).unwrap_or_else(|fault| {
            self.note(format!("service_name {fault}"));
            ServiceName::stored(text)
        })
    }

    fn plain(&mut self, text: &str) {
        let service = self.name(text);
        self.subscriptions.push(Subscription::to_all_of(service));
    }

    fn item(&mut self, item: &Value) {
        match item {
            Value::String(text) => self.plain(text),
            Value::Object(fields) => self.filtered(fields),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                self.note(format!("holds an entry that names no service: {item}"));
            }
        }
    }

    fn filtered(&mut self, fields: &Map<String, Value>) {
        let field = |name: &str| {
            fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
        let Some(Value::String(service)) = field("service_name") else {
            self.note("holds an entry that names no service");
            return;
        };
        let service = self.name(service);
        let ids = match field("provider_ids") {
            None | Some(Value::Null) => BTreeSet::new(),
            Some(Value::Array(ids)) => ids.iter().map(plain_text).map(Into::into).collect(),
            Some(other) => {
                self.note("provider_ids is not an array");
                BTreeSet::from([plain_text(other).into()])
            }
        };
        let healthy_only = match field("healthy_only") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(wish)) => *wish,
            Some(_) => {
                self.note("healthy_only is neither true nor false");
                false
            }
        };
        self.subscriptions.push(Subscription {
            service,
            filter: ProviderFilter::from_ids(ids),
            healthy_only,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(service: &str, ids: &[&str], healthy_only: bool) -> Subscription {
        Subscription {
            service: ServiceName::stored(service),
            filter: ProviderFilter::from_ids(ids.iter().map(|id| (*id).into()).collect()),
            healthy_only,
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let subscriptions = vec![
            subscription("eir", &[], false),
            subscription("diam-gw", &["b", "a\"\\"], false),
            subscription("http-gw", &[], true),
            subscription("x", &["y"], true),
        ];
        let json = subscriptions_json(&subscriptions);
        assert_eq!(
            json,
            r#"["eir",{"service_name":"diam-gw","provider_ids":["a\"\\","b"]},{"service_name":"http-gw","healthy_only":true},{"service_name":"x","provider_ids":["y"],"healthy_only":true}]"#
        );
        assert_eq!(read_subscriptions(&json), (subscriptions, None));
        assert_eq!(subscriptions_json(&[]), "[]");
    }

    #[test]
    fn the_forms_of_earlier_managers_are_read() {
        let eir = subscription("eir", &[], false);
        let cases = [
            ("null", vec![], false),
            (" null ", vec![], false),
            ("[]", vec![], false),
            (r#"["eir"]"#, vec![eir.clone()], false),
            (
                r#"["eir",{"service_name":"x","provider_ids":null}]"#,
                vec![eir.clone(), subscription("x", &[], false)],
                false,
            ),
            (
                r#"[{"ServiceName":"x"},{"service_name":"y","provider_ids":["1",2]}]"#,
                vec![subscription("y", &["1", "2"], false)],
                true,
            ),
            (r#""eir""#, vec![eir.clone()], true),
            (r#"{"service_name":"eir"}"#, vec![eir.clone()], true),
            (r#"["eir",null,7,[]]"#, vec![eir.clone()], true),
            (r#"["a b"]"#, vec![subscription("a b", &[], false)], true),
            (
                r#"[{"service_name":"eir","healthy_only":"yes","provider_ids":"p"}]"#,
                vec![subscription("eir", &["p"], false)],
                true,
            ),
            ("[", vec![], true),
        ];
        for (text, expected, is_odd) in cases {
            let (subscriptions, oddity) = read_subscriptions(text);
            assert_eq!(subscriptions, expected, "{text}");
            assert_eq!(oddity.is_some(), is_odd, "{text}: {oddity:?}");
        }
    }
}
