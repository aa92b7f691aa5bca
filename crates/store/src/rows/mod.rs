//! What a row of the tables says in text, and what a pod makes of it: shared by all stores.
//!
//! Here: the JSON of `providers` and `subscriptions`, times as text, and reading a whole row
//! leniently. Not here: any statement or driver.
//!
//! Reading never fails. A row that an earlier manager or a person wrote under other rules is kept
//! and shown as well as can be, with one sentence on what is odd about it. What this module wrote
//! itself reads back as the same value.

mod providers;
mod subscriptions;
mod times;

use std::sync::Arc;

use governance_domain::content::distinct;
use governance_domain::subscription::unite;
use governance_domain::target::{Purpose, Target};
use governance_domain::{
    Content, Pod, PodKey, PodName, RegistrationId, ServiceName, Status, Timestamp,
};

pub use providers::{providers_json, read_providers, write_providers};
pub use subscriptions::{read_subscriptions, subscriptions_json, write_subscriptions};
pub use times::{NEVER_CHECKED, is_never, read_time, time_text, write_time};

/// Sentences about odd rows that a load keeps; all are counted.
pub const ODDITIES_KEPT: usize = 10;

/// A stored row with its texts borrowed from the driver.
#[derive(Clone, Copy, Debug)]
pub struct StoredRow<'a> {
    /// Column of `services`.
    pub service_name: &'a str,
    /// Column of `services`.
    pub pod_name: &'a str,
    /// JSON text.
    pub providers: &'a str,
    /// Column of `services`.
    pub health_check_url: &'a str,
    /// Column of `services`.
    pub notification_url: &'a str,
    /// JSON text.
    pub subscriptions: &'a str,
    /// Column of `services`.
    pub status: &'a str,
    /// None if it was never checked.
    pub last_health_check: Option<Timestamp>,
    /// Column of `services`.
    pub registered_at: Timestamp,
    /// Column of `services`.
    pub updated_at: Timestamp,
    /// From `governance_pods`.
    pub registration_id: RegistrationId,
    /// From `governance_pods`.
    pub instance_id: Option<&'a str>,
}

impl StoredRow<'_> {
    /// The pod, and what today's rules would say against the row.
    pub fn read(&self) -> (Pod, Option<String>) {
        let (providers, providers_fault) = read_providers(self.providers);
        let (subscriptions, subscriptions_fault) = read_subscriptions(self.subscriptions);
        let status = Status::parse(self.status);
        let key =
            PodKey::new(ServiceName::stored(self.service_name), PodName::stored(self.pod_name));
        let oddity = providers_fault
            .map(|fault| format!("providers: {fault}"))
            .or_else(|| subscriptions_fault.map(|fault| format!("subscriptions: {fault}")))
            .or_else(|| self.column_fault(&key, status))
            .map(|fault| format!("{key}: {fault}"));
        let pod = Pod {
            key,
            registration_id: self.registration_id,
            content: Arc::new(Content {
                providers: distinct(providers),
                health_check_url: self.health_check_url.into(),
                notification_url: self.notification_url.into(),
                subscriptions: unite(subscriptions),
                instance_id: self.instance_id.map(Into::into),
            }),
            status: status.unwrap_or(Status::Unknown),
            last_health_check: self.last_health_check,
            registered_at: self.registered_at,
            updated_at: self.updated_at,
        };
        (pod, oddity)
    }

    fn column_fault(&self, key: &PodKey, status: Option<Status>) -> Option<String> {
        if let Err(fault) = ServiceName::parse(self.service_name) {
            return Some(format!("service_name {fault}"));
        }
        if let Err(fault) = PodName::parse(self.pod_name) {
            return Some(format!("pod_name {fault}"));
        }
        if !key.fits() {
            return Some("service_key is too long".to_owned());
        }
        let Some(_) = status else {
            return Some(format!("status is {:?}", self.status));
        };
        let url = |name, url, purpose| {
            let fault = Target::parse(url, purpose).err()?;
            Some(format!("{name} {fault}"))
        };
        url("health_check_url", self.health_check_url, Purpose::HealthCheck)
            .or_else(|| url("notification_url", self.notification_url, Purpose::Notification))
    }
}

/// Writes a JSON string (RFC 8259 section 7).
fn write_json_string(json: &mut String, text: &str) {
    json.push('"');
    let mut start = 0;
    for (position, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        json.push_str(text.get(start..position).unwrap_or_default());
        start = position + 1;
        match byte {
            b'"' => json.push_str("\\\""),
            b'\\' => json.push_str("\\\\"),
            control => {
                json.push_str("\\u00");
                for digit in [control >> 4, control & 0xf] {
                    json.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
                }
            }
        }
    }
    json.push_str(text.get(start..).unwrap_or_default());
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: StoredRow<'_> = StoredRow {
        service_name: "eir",
        pod_name: "eir-1",
        providers: r#"[{"protocol":"http","ip":"10.0.0.1","port":80}]"#,
        health_check_url: "http://10.0.0.1/health",
        notification_url: "http://10.0.0.1/notify",
        subscriptions: "[]",
        status: "healthy",
        last_health_check: None,
        registered_at: Timestamp::from_micros(1),
        updated_at: Timestamp::from_micros(2),
        registration_id: RegistrationId::from_u64(3),
        instance_id: Some("i"),
    };

    #[test]
    fn a_regular_row_reads_without_oddity() {
        let (pod, oddity) = ROW.read();
        assert_eq!(oddity, None);
        assert_eq!(pod.key.to_string(), "eir:eir-1");
        assert_eq!(pod.status, Status::Healthy);
        assert_eq!(pod.content.instance_id.as_deref(), Some("i"));
        assert_eq!(pod.content.providers.len(), 1);
    }

    #[test]
    fn every_odd_column_is_kept_and_told() {
        let odd = [
            (StoredRow { service_name: "a:b", ..ROW }, "a:b:eir-1: service_name contains ':'"),
            (StoredRow { pod_name: "", ..ROW }, "eir:: pod_name must not be empty"),
            (StoredRow { status: "Healthy", ..ROW }, "eir:eir-1: status is \"Healthy\""),
            (StoredRow { health_check_url: "nonsense", ..ROW }, "eir:eir-1: health_check_url "),
            (
                StoredRow { notification_url: "tcp://10.0.0.1:1", ..ROW },
                "eir:eir-1: notification_url ",
            ),
            (StoredRow { providers: "{", ..ROW }, "eir:eir-1: providers: is not JSON"),
            (StoredRow { subscriptions: "7", ..ROW }, "eir:eir-1: subscriptions: "),
        ];
        for (row, sentence) in odd {
            let (pod, oddity) = row.read();
            let oddity = oddity.unwrap_or_default();
            assert!(oddity.starts_with(sentence), "{oddity:?} for {sentence:?}");
            assert_eq!(&*pod.content.health_check_url, row.health_check_url);
        }
    }

    #[test]
    fn json_strings_are_what_a_json_parser_reads_back() {
        let texts = ["", "a", "\"\\/\u{8}\n\r\t\u{1f}\u{7f}\0", "é€😀", "\\u0041"];
        for text in texts {
            let mut json = String::new();
            write_json_string(&mut json, text);
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}
