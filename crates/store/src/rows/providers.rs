//! The JSON of the column `providers`: `[{"protocol","ip","port","provider_id"?}]`.

use std::borrow::Cow;
use std::fmt::Write as _;

use governance_domain::provider::{parse_host, parse_port, parse_provider_id};
use governance_domain::{Protocol, Provider};
use serde::Deserialize;
use serde_json::Value;

use super::write_json_string;

/// The JSON text of a list of providers.
pub fn providers_json(providers: &[Provider]) -> String {
    let mut json = String::with_capacity(2 + providers.len() * 80);
    write_providers(&mut json, providers);
    json
}

/// Appends the JSON text of a list of providers.
pub fn write_providers(json: &mut String, providers: &[Provider]) {
    json.push('[');
    for (position, provider) in providers.iter().enumerate() {
        json.push_str(if position == 0 { "{\"protocol\":" } else { ",{\"protocol\":" });
        write_json_string(json, provider.protocol.as_str());
        json.push_str(",\"ip\":");
        write_json_string(json, &provider.host);
        // Writing to a `String` cannot fail.
        let _ = write!(json, ",\"port\":{}", provider.port);
        if let Some(id) = &provider.id {
            json.push_str(",\"provider_id\":");
            write_json_string(json, id);
        }
        json.push('}');
    }
    json.push(']');
}

/// The providers that a JSON text tells of, and what is odd about it.
pub fn read_providers(text: &str) -> (Vec<Provider>, Option<String>) {
    if let Ok(plain) = serde_json::from_str::<Vec<PlainProvider<'_>>>(text) {
        let providers: Vec<Provider> = plain.into_iter().map(Provider::from).collect();
        let oddity = oddity(&providers);
        return (providers, oddity);
    }
    let value = match serde_json::from_str::<Value>(text) {
        Ok(value) => value,
        Err(fault) => return (Vec::new(), Some(format!("is not JSON: {fault}"))),
    };
    let (items, shape) = match value {
        Value::Array(items) => (items, "holds a provider in another form"),
        Value::Null => (Vec::new(), "is null"),
        single @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
            (vec![single], "is not an array")
        }
    };
    let providers = items.iter().map(read_leniently).collect();
    (providers, Some(shape.to_owned()))
}

/// The form that is written today, and that earlier managers wrote.
#[derive(Deserialize)]
struct PlainProvider<'a> {
    #[serde(borrow)]
    protocol: Cow<'a, str>,
    #[serde(borrow)]
    ip: Cow<'a, str>,
    port: i64,
    #[serde(borrow, default)]
    provider_id: Option<Cow<'a, str>>,
}

impl From<PlainProvider<'_>> for Provider {
    fn from(plain: PlainProvider<'_>) -> Self {
        Self {
            protocol: Protocol::stored(&plain.protocol),
            host: plain.ip.into(),
            port: plain.port,
            id: plain.provider_id.filter(|id| !id.is_empty()).map(Into::into),
        }
    }
}

/// As much of a provider as can be made out; what cannot is empty or 0.
fn read_leniently(value: &Value) -> Provider {
    let field = |name: &str| {
        let mut fields = value.as_object()?.iter();
        fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    };
    let host = if value.is_object() {
        field("ip").map(plain_text).unwrap_or_default()
    } else {
        plain_text(value)
    };
    let port = field("port").map(plain_text).unwrap_or_default();
    let id = field("provider_id").map(plain_text).unwrap_or_default();
    Provider {
        protocol: Protocol::stored(&field("protocol").map(plain_text).unwrap_or_default()),
        host: host.into(),
        port: port.trim().parse().unwrap_or(0),
        id: (!id.is_empty()).then(|| id.into()),
    }
}

/// A string as it is, nothing for null, anything else as its JSON.
pub(super) fn plain_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// What today's rules would say.
fn oddity(providers: &[Provider]) -> Option<String> {
    if providers.is_empty() {
        return Some("is empty".to_owned());
    }
    providers.iter().find_map(|provider| {
        let protocol = Protocol::parse(provider.protocol.as_str()).err();
        let fault = protocol.map(|fault| format!("protocol {fault}"));
        let host = || Some(format!("ip {}", parse_host(&provider.host).err()?));
        let port = || Some(format!("port {}", parse_port(provider.port).err()?));
        let id = || {
            let fault = parse_provider_id(provider.id.as_deref()?).err()?;
            Some(format!("provider_id {fault}"))
        };
        fault.or_else(host).or_else(port).or_else(id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(protocol: &str, host: &str, port: i64, id: Option<&str>) -> Provider {
        Provider {
            protocol: Protocol::stored(protocol),
            host: host.into(),
            port,
            id: id.map(Into::into),
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let providers = vec![
            provider("http", "10.0.0.1", 80, None),
            provider("diameter", "fe80::1", 3868, Some("eir:diameter")),
            provider("x\"\\\n", "h", -1, Some("\u{1}é")),
        ];
        let json = providers_json(&providers);
        assert_eq!(read_providers(&json).0, providers);
        assert_eq!(
            providers_json(&providers[..2]),
            r#"[{"protocol":"http","ip":"10.0.0.1","port":80},{"protocol":"diameter","ip":"fe80::1","port":3868,"provider_id":"eir:diameter"}]"#
        );
        assert_eq!(read_providers(&providers_json(&providers[..2])).1, None);
    }

    #[test]
    fn an_empty_or_null_provider_id_is_none() {
        for id in ["\"\"", "null"] {
            let json =
                format!(r#"[{{"protocol":"http","ip":"::1","port":80,"provider_id":{id},"z":1}}]"#);
            let expected = vec![provider("http", "::1", 80, None)];
            assert_eq!(read_providers(&json), (expected, None));
        }
    }

    #[test]
    fn odd_texts_are_kept_as_well_as_can_be() {
        let cases = [
            ("null", vec![], "is null"),
            ("[]", vec![], "is empty"),
            ("", vec![], "is not JSON"),
            (
                r#"[{"protocol":"HTTP","ip":"h","port":1}]"#,
                vec![provider("HTTP", "h", 1, None)],
                "protocol ",
            ),
            (
                r#"[{"protocol":"http","ip":"h","port":99999}]"#,
                vec![provider("http", "h", 99_999, None)],
                "port ",
            ),
            (
                r#"[{"Protocol":"http","IP":"h","Port":"81"}]"#,
                vec![provider("http", "h", 81, None)],
                "holds a provider in another form",
            ),
            (
                r#"{"protocol":"tcp","ip":"h","port":8.5,"provider_id":7}"#,
                vec![provider("tcp", "h", 0, Some("7"))],
                "is not an array",
            ),
            (
                r#"["10.0.0.1:80", 5, null]"#,
                vec![
                    provider("", "10.0.0.1:80", 0, None),
                    provider("", "5", 0, None),
                    provider("", "", 0, None),
                ],
                "holds a provider in another form",
            ),
        ];
        for (text, expected, sentence) in cases {
            let (providers, oddity) = read_providers(text);
            assert_eq!(providers, expected, "{text}");
            assert!(oddity.as_ref().is_some_and(|o| o.starts_with(sentence)), "{text}: {oddity:?}");
        }
    }
}
