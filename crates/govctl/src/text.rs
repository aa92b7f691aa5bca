//! Words for people: times, ages, and texts of others that must not act on a terminal.

use std::fmt::Write as _;

use governance_api::{AuditLog, Provider, Subscription};
use jiff::{SignedDuration, Timestamp};

/// Now. Everything that shows an age is given this once, so that one answer has one time.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this program that looks at the clock"
)]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// Control characters become blanks (line ends) or nothing, so that a name or a reason stays what
/// it is: text in one line. The marks that turn the direction of a line go, too.
pub(crate) fn tame(text: &str) -> String {
    let mut tame = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => tame.push(' '),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            c if c.is_control() => {}
            c => tame.push(c),
        }
    }
    tame
}

/// A time of the manager's; none if it is none.
pub(crate) fn moment(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// `3s ago`, `in 2m`, `just now`.
pub(crate) fn ago(at: Timestamp, now: Timestamp) -> String {
    let distance = now.duration_since(at);
    let seconds = distance.as_secs();
    match seconds {
        0 => "just now".to_owned(),
        1.. => format!("{} ago", span(distance)),
        _ => format!("in {}", span(-distance)),
    }
}

/// The same of a text, or the text itself if it is no time.
pub(crate) fn ago_of(text: &str, now: Timestamp) -> String {
    moment(text).map_or_else(|| tame(text), |at| ago(at, now))
}

/// `2026-01-02T03:04:05Z (3m ago)`.
pub(crate) fn at(text: &str, now: Timestamp) -> String {
    match moment(text) {
        Some(time) => format!("{} ({})", seconds(text), ago(time, now)),
        None => tame(text),
    }
}

/// A time in whole seconds.
pub(crate) fn seconds(text: &str) -> String {
    match moment(text).and_then(|at| Timestamp::from_second(at.as_second()).ok()) {
        Some(at) => at.to_string(),
        None => tame(text),
    }
}

/// The largest unit and the next: `59s`, `3m`, `2h5m`, `3d4h`.
pub(crate) fn span(length: SignedDuration) -> String {
    let seconds = length.as_secs().unsigned_abs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m"),
        (0, hours, minutes) => format!("{hours}h{}m", minutes % 60),
        (days, hours, _) => format!("{days}d{}h", hours % 24),
    }
}

/// Who did something, if it was somebody: `oncall (10.0.0.7:1234)`, or the address alone where
/// nobody is asked who he is.
pub(crate) fn who(log: &AuditLog) -> Option<String> {
    match (&log.identity, &log.remote) {
        (Some(name), Some(remote)) => Some(format!("{name} ({remote})")),
        (one, other) => one.clone().or_else(|| other.clone()),
    }
}

/// `1 pod`, `2 pods`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// `http://127.0.0.1:8080 (id)`, for each.
pub(crate) fn endpoints(providers: &[Provider]) -> String {
    let mut text = String::new();
    for provider in providers {
        let separator = if text.is_empty() { "" } else { ", " };
        let Provider { protocol, port, .. } = provider;
        // Writing to a text does not fail.
        let _ = write!(text, "{separator}{protocol}://{}:{port}", bracketed(&provider.ip));
        if let Some(id) = provider.provider_id.as_deref().filter(|id| !id.is_empty()) {
            let _ = write!(text, " ({id})");
        }
    }
    text
}

/// IPv6 in brackets, everything else as it is.
pub(crate) fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

/// `eir, diam-gw (only a, b; healthy)`.
pub(crate) fn wishes(subscriptions: &[Subscription]) -> String {
    let wish = |wish: &Subscription| match wish {
        Subscription::All(name) => name.clone(),
        Subscription::Filtered(filter) => {
            let seen = seen_by(&filter.provider_ids, filter.healthy_only);
            format!("{} ({seen})", filter.service_name)
        }
    };
    subscriptions.iter().map(wish).collect::<Vec<_>>().join(", ")
}

/// What a filter lets through: `all`, `only a, b`, `healthy`.
pub(crate) fn seen_by(provider_ids: &[String], healthy_only: bool) -> String {
    match (provider_ids, healthy_only) {
        ([], false) => "all".to_owned(),
        ([], true) => "healthy".to_owned(),
        (ids, false) => format!("only {}", ids.join(", ")),
        (ids, true) => format!("only {}; healthy", ids.join(", ")),
    }
}

/// A part of a path or a query, percent-encoded.
pub(crate) fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_in_the_largest_unit_and_the_next() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        for (at, expected) in [
            ("2026-01-02T03:04:05Z", "just now"),
            ("2026-01-02T03:04:04Z", "1s ago"),
            ("2026-01-02T03:01:00Z", "3m ago"),
            ("2026-01-02T01:00:00Z", "2h4m ago"),
            ("2025-12-30T00:00:00Z", "3d3h ago"),
            ("2026-01-02T03:04:15Z", "in 10s"),
            ("soon", "soon"),
        ] {
            assert_eq!(ago_of(at, now), expected, "{at}");
        }
    }

    #[test]
    fn texts_of_others_stay_in_one_line_and_cannot_act() {
        assert_eq!(tame("a\r\nb\u{7}\u{1b}[31m\u{202e}c"), "a  b[31mc");
    }

    #[test]
    fn endpoints_and_wishes_are_short_words() {
        let endpoints_of = [
            Provider::new("http", "::1", 80),
            Provider::new("diameter", "10.0.0.1", 3868).with_id("d"),
        ];
        assert_eq!(endpoints(&endpoints_of), "http://[::1]:80, diameter://10.0.0.1:3868 (d)");
        let filter =
            governance_api::SubscriptionFilter::new("eir").only_provider("d").only_healthy();
        assert_eq!(wishes(&["x".into(), filter.into()]), "x, eir (only d; healthy)");
    }
}
