//! The rules by which a setting's text becomes its value, and the words that say what is allowed.
//!
//! Which setting follows which rule, with which limits, is declared in the sections' files.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use super::duration::{self, go_form, short_form};

/// Why a rule refused a text, beyond "it is not what is allowed"; `None` if that says it all.
pub(super) type Reason = Option<String>;

/// How one setting's text becomes its value.
pub(super) trait Rule {
    type Value;
    /// What is allowed, to complete "must be …".
    fn allowed(&self) -> String;
    /// `text` is never empty, and trimmed unless the setting is a secret.
    fn parse(&self, text: &str) -> Result<Self::Value, Reason>;
    /// The value as `--check-config` prints it: a text that `parse` reads as the same value.
    fn show(&self, value: &Self::Value) -> String;
}

/// A duration within limits.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) min: Duration,
    pub(super) max: Duration,
    /// What 0 means, for settings that allow it below `min`.
    pub(super) zero_means: Option<&'static str>,
}

impl Span {
    pub(super) const fn between(min: Duration, max: Duration) -> Self {
        Self { min, max, zero_means: None }
    }
}

impl Rule for Span {
    type Value = Duration;

    fn allowed(&self) -> String {
        let range = format!("a duration from {} to {}", short_form(self.min), short_form(self.max));
        match self.zero_means {
            Some(meaning) => format!("0 ({meaning}) or {range}"),
            None => range,
        }
    }

    fn parse(&self, text: &str) -> Result<Duration, Reason> {
        let value = duration::parse(text).map_err(|error| Some(error.to_string()))?;
        let is_allowed_zero = value.is_zero() && self.zero_means.is_some();
        if is_allowed_zero || (self.min..=self.max).contains(&value) {
            Ok(value)
        } else {
            Err(None)
        }
    }

    fn show(&self, value: &Duration) -> String {
        go_form(*value)
    }
}

/// A whole number within limits.
#[derive(Debug)]
pub(super) struct Whole<N> {
    /// What it counts or is, such as `a port` or `a number of pods`.
    pub(super) what: &'static str,
    pub(super) min: N,
    pub(super) max: N,
    /// What 0 means, where that is not obvious.
    pub(super) zero_means: Option<&'static str>,
}

impl<N> Whole<N> {
    pub(super) const fn between(what: &'static str, min: N, max: N) -> Self
    where
        N: Copy,
    {
        Self { what, min, max, zero_means: None }
    }
}

impl<N: Copy + Display + PartialOrd + TryFrom<u64>> Rule for Whole<N> {
    type Value = N;

    fn allowed(&self) -> String {
        let Self { what, min, max, zero_means } = self;
        match zero_means {
            Some(meaning) => format!("{what}, {min} ({meaning}) to {max}"),
            None => format!("{what}, {min} to {max}"),
        }
    }

    fn parse(&self, text: &str) -> Result<N, Reason> {
        let number: u64 = text.parse().map_err(|_| None)?;
        let number = N::try_from(number).map_err(|_| None)?;
        if number < self.min || number > self.max { Err(None) } else { Ok(number) }
    }

    fn show(&self, value: &N) -> String {
        value.to_string()
    }
}

/// One of a few words, in either case.
#[derive(Debug)]
pub(super) struct Choice<T: 'static> {
    /// The words the documentation names, one for each value.
    pub(super) words: &'static [(&'static str, T)],
    /// Further words that are understood.
    pub(super) aliases: &'static [(&'static str, T)],
}

impl<T: Copy + PartialEq> Rule for Choice<T> {
    type Value = T;

    fn allowed(&self) -> String {
        let words: Vec<_> = self.words.iter().map(|(word, _)| *word).collect();
        match words.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            _ => words.concat(),
        }
    }

    fn parse(&self, text: &str) -> Result<T, Reason> {
        let mut all = self.words.iter().chain(self.aliases);
        all.find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, value)| *value).ok_or(None)
    }

    fn show(&self, value: &T) -> String {
        let word = self.words.iter().find(|(_, other)| other == value);
        word.map(|(word, _)| (*word).to_owned()).unwrap_or_default()
    }
}

/// Anything with a grammar of its own.
#[derive(Debug)]
pub(super) struct Text<T> {
    /// Completes "must be …".
    pub(super) allowed: &'static str,
    pub(super) parse: fn(&str) -> Result<T, Reason>,
    pub(super) show: fn(&T) -> String,
}

impl<T> Rule for Text<T> {
    type Value = T;

    fn allowed(&self) -> String {
        self.allowed.to_owned()
    }

    fn parse(&self, text: &str) -> Result<T, Reason> {
        (self.parse)(text)
    }

    fn show(&self, value: &T) -> String {
        (self.show)(value)
    }
}

/// The path of a file or a directory; whether it exists is found out where it is used.
pub(super) const PATH: Text<PathBuf> = Text {
    allowed: "a path",
    parse: |text| plain(text, 4096).map(PathBuf::from),
    show: |path| path.display().to_string(),
};

/// A text without control characters, of at most `limit` bytes.
pub(super) fn plain(text: &str, limit: usize) -> Result<String, Reason> {
    if text.chars().any(char::is_control) {
        return Err(Some("it holds a control character".to_owned()));
    }
    if text.len() > limit {
        return Err(Some(format!("it is longer than {limit} bytes")));
    }
    Ok(text.to_owned())
}

/// Whether a text is a host name or an address, as far as its characters go. Numbers
/// with dots between them are an address with a slip in it (RFC 1123, section 2.1).
pub(super) fn is_host(text: &str) -> bool {
    let is_address = text.parse::<std::net::IpAddr>().is_ok();
    let is_slip = text.contains('.') && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let is_name = !is_slip
        && (1..=253).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    is_address || is_name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_holds_its_limits_and_zero_only_where_it_has_a_meaning() {
        let range = || Span::between(Duration::from_millis(100), Duration::from_hours(24));
        assert_eq!(range().allowed(), "a duration from 100ms to 24h");
        assert_eq!(range().parse("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(range().parse("24h"), Ok(Duration::from_hours(24)));
        for outside in ["99ms", "24h0m0.000000001s", "0"] {
            assert_eq!(range().parse(outside), Err(None), "{outside}");
        }
        let or_off = Span { zero_means: Some("off"), ..range() };
        assert_eq!(or_off.allowed(), "0 (off) or a duration from 100ms to 24h");
        assert_eq!(or_off.parse("0s"), Ok(Duration::ZERO));
        assert_eq!(or_off.parse("1ns"), Err(None));
    }

    #[test]
    fn a_whole_number_is_refused_outside_its_limits_and_outside_its_type() {
        let port = Whole::<u16>::between("a port", 0, 65535);
        assert_eq!(port.allowed(), "a port, 0 to 65535");
        assert_eq!(port.parse("65535"), Ok(65535));
        for wrong in ["65536", "-1", "1.5", "0x10", "99999999999999999999999", "８０"] {
            assert_eq!(port.parse(wrong), Err(None), "{wrong}");
        }
        assert_eq!(Whole::<u32>::between("a number", 1, 10).parse("0"), Err(None));
    }

    #[test]
    fn hosts_are_names_or_addresses_and_never_urls() {
        for host in ["localhost", "db-1.example.com", "my_db", "10.0.0.1", "::1", "fe80::1"] {
            assert!(is_host(host), "{host}");
        }
        let long = "a".repeat(254);
        for other in ["", "a b", "http://x", "a/b", "[::1]", "a:1", "-x", "*", "é", &long] {
            assert!(!is_host(other), "{other}");
        }
    }
}
