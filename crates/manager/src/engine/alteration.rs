//! What an audit entry says of a pod that registered again: which fields changed, from what to what,
//! in one sentence of bounded length.

use std::fmt::{Display, Write as _};

use governance_domain::{Content, Pod, Provider, ProviderFilter, RegistrationId, Subscription};

/// Bytes of a value before it is cut off; a URL of the usual length is whole.
const VALUE_MAX: usize = 160;

/// `registration_id 7 replaces 5: notification_url changed from http://a/ to http://b/`.
pub(super) fn sentence(
    id: RegistrationId,
    replaced: Option<RegistrationId>,
    from: &Pod,
    to: &Content,
) -> String {
    let mut text = Text(String::with_capacity(256));
    text.put(format_args!("registration_id {id}"));
    if let Some(replaced) = replaced {
        text.put(format_args!(" replaces {replaced}"));
    }
    let mut joint = ": ";
    for field in from.content.differing_fields(to) {
        text.put(format_args!("{joint}{field} changed from "));
        text.value(&from.content, field);
        text.put(" to ");
        text.value(to, field);
        joint = ", ";
    }
    text.0
}

struct Text(String);

impl Text {
    fn put(&mut self, part: impl Display) {
        write!(self.0, "{part}").expect("writing to memory cannot fail");
    }

    /// A field's value, cut off where it is long.
    fn value(&mut self, content: &Content, field: &str) {
        let begun = self.0.len();
        match field {
            "providers" => self.list(&content.providers, Self::provider),
            "health_check_url" => self.0.push_str(&content.health_check_url),
            "notification_url" => self.0.push_str(&content.notification_url),
            "subscriptions" => self.list(&content.subscriptions, Self::subscription),
            _ => self.0.push_str(content.instance_id.as_deref().unwrap_or("none")),
        }
        if self.0.len() > begun + VALUE_MAX {
            let end = self.0.floor_char_boundary(begun + VALUE_MAX);
            self.0.truncate(end);
            self.0.push('…');
        }
    }

    fn list<T>(&mut self, items: &[T], put: impl Fn(&mut Self, &T)) {
        self.0.push('[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.0.push_str(", ");
            }
            put(self, item);
        }
        self.0.push(']');
    }

    fn provider(&mut self, provider: &Provider) {
        let Provider { protocol, host, port, id } = provider;
        self.put(format_args!("{} {host} {port}", protocol.as_str()));
        if let Some(id) = id {
            self.put(format_args!(" {id}"));
        }
    }

    fn subscription(&mut self, subscription: &Subscription) {
        self.0.push_str(subscription.service.as_str());
        if subscription.filter != ProviderFilter::All {
            self.0.push_str(" in part");
        }
        if subscription.healthy_only {
            self.0.push_str(" healthy");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_cut_off_between_two_characters() {
        let content = Content {
            providers: [].into(),
            health_check_url: "ä".repeat(200).into(),
            notification_url: "http://a/".into(),
            subscriptions: [].into(),
            instance_id: None,
        };
        let mut text = Text("x".to_owned());
        text.value(&content, "health_check_url");
        assert_eq!(text.0.chars().count(), 1 + VALUE_MAX / 2 + 1);
        let mut text = Text(String::new());
        text.value(&content, "providers");
        text.value(&content, "instance_id");
        assert_eq!(text.0, "[]none");
    }
}
