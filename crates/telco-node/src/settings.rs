//! Settings from environment variables: read once, all faults named at once.
//!
//! An empty value counts as unset. Not here: which settings a service has.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// Exit code of wrong usage or configuration (`EX_USAGE` of sysexits.h).
pub const EXIT_USAGE: u8 = 64;

/// Everything that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsFault(Vec<String>);

impl Display for SettingsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the settings are wrong: {}", self.0.join("; "))
    }
}

impl std::error::Error for SettingsFault {}

/// A reader of variables. Ask for all of them, then [`Settings::finish`].
#[derive(Debug)]
pub struct Settings {
    values: BTreeMap<String, String>,
    faults: Vec<String>,
}

impl Settings {
    /// Of this process.
    pub fn from_environment() -> Self {
        Self::new(std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        }))
    }

    /// Of these variables.
    pub fn new(values: impl IntoIterator<Item = (String, String)>) -> Self {
        let values = values.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        Self { values, faults: Vec::new() }
    }

    /// A text, if it is set.
    pub fn text(&self, name: &str) -> Option<String> {
        self.values.get(name).cloned()
    }

    /// A text that must be set.
    pub fn needed(&mut self, name: &str, why: &str) -> String {
        self.text(name).unwrap_or_else(|| {
            self.faults.push(format!("{name} is not set: {why}"));
            String::new()
        })
    }

    /// A value that can be read from text.
    pub fn value<T: FromStr>(&mut self, name: &str, default: T, allowed: &str) -> T {
        let Some(text) = self.values.get(name) else { return default };
        text.parse().unwrap_or_else(|_| {
            self.faults.push(format!("{name} is {text:?}, allowed is {allowed}"));
            default
        })
    }

    /// An address to listen on.
    pub fn address(&mut self, name: &str, default: IpAddr) -> IpAddr {
        self.value(name, default, "an IPv4 or IPv6 address")
    }

    /// A port; 0 takes a free one.
    pub fn port(&mut self, name: &str, default: u16) -> u16 {
        // Container platforms set such variables for services of that name.
        if self.values.get(name).is_some_and(|text| text.starts_with("tcp://")) {
            return default;
        }
        self.value(name, default, "0 to 65535")
    }

    /// A number within a range.
    pub fn number(&mut self, name: &str, default: usize, range: RangeInclusive<usize>) -> usize {
        let allowed = format!("{} to {}", range.start(), range.end());
        let value = self.value(name, default, &allowed);
        if range.contains(&value) {
            return value;
        }
        self.faults.push(format!("{name} is {value}, allowed is {allowed}"));
        default
    }

    /// A duration such as `500ms`, `30s` or `2m`, within a range.
    pub fn duration(
        &mut self,
        name: &str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let Some(text) = self.values.get(name) else { return default };
        match parse_duration(text).filter(|duration| range.contains(duration)) {
            Some(duration) => duration,
            None => {
                let (least, most) = (range.start(), range.end());
                self.faults.push(format!(
                    "{name} is {text:?}, allowed is a number with ms, s or m, from {least:?} to {most:?}"
                ));
                default
            }
        }
    }

    /// Adds what a service itself found wrong.
    pub fn wrong(&mut self, name: &str, fault: impl Display) {
        self.faults.push(format!("{name}: {fault}"));
    }

    /// # Errors
    /// Everything that was wrong.
    pub fn finish(self) -> Result<(), SettingsFault> {
        if self.faults.is_empty() { Ok(()) } else { Err(SettingsFault(self.faults)) }
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(values: &[(&str, &str)]) -> Settings {
        Settings::new(values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let mut settings =
            settings(&[("PORT", "x"), ("LIMIT", "0"), ("WAIT", "5d"), ("EMPTY", "")]);
        assert_eq!(settings.port("PORT", 1), 1);
        settings.number("LIMIT", 10, 1..=100);
        let second = Duration::from_secs(1);
        settings.duration("WAIT", second, second..=second);
        settings.needed("EMPTY", "it names the file");
        let text = settings.finish().unwrap_err().to_string();
        for name in ["PORT is \"x\"", "LIMIT is 0", "WAIT is \"5d\"", "EMPTY is not set"] {
            assert!(text.contains(name), "{text}");
        }
    }

    #[test]
    fn a_port_that_a_platform_injected_is_ignored() {
        let mut settings = settings(&[("EIR_PORT", "tcp://10.0.0.1:80")]);
        assert_eq!(settings.port("EIR_PORT", 8080), 8080);
        assert_eq!(settings.finish(), Ok(()));
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("2m"), Some(Duration::from_mins(2)));
        for text in ["", "5", "s", "1.5s", "-1s", "18446744073709551615m"] {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
    }
}
