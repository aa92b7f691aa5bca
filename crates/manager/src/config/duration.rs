//! Durations the way Go's `time` package reads and prints them, because that is what the
//! existing deployments' environment variables contain.
//!
//! Parity is exact, including what is refused (`1d`, `1h 30m`), what is accepted (`.5s`, `1.s`,
//! both signs for "micro") and where a value overflows (a Go duration is a signed 64-bit number
//! of nanoseconds). Negative values are parsed, so that the fault can say "negative" and not
//! "unreadable"; no setting accepts one. Ranges are not this file's business.

use std::fmt;
use std::time::Duration;

/// One past the largest number of nanoseconds a Go duration holds (2^63, about 292 years).
const LIMIT: u64 = 1 << 63;

/// Why a text is not a duration. The wording completes "must be a duration …: ".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DurationError {
    /// Nothing that begins with a number, or a stray character.
    Unreadable,
    /// A number without a unit after it, such as `30`.
    UnitMissing(String),
    /// A unit that Go does not have, such as `d`.
    UnitUnknown(String),
    /// Beyond what Go's signed 64 bits of nanoseconds hold.
    TooLong,
    /// Below zero: a Go duration, but no setting's.
    Negative,
}

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable => f.write_str("not a number with a unit"),
            Self::UnitMissing(number) => {
                write!(f, "the unit is missing, did you mean {number}s?")
            }
            Self::UnitUnknown(unit) => {
                write!(f, "unknown unit {unit:?}, units are ns, us, ms, s, m, h")
            }
            Self::TooLong => f.write_str("longer than a duration can be"),
            Self::Negative => f.write_str("negative"),
        }
    }
}

/// Reads a duration of zero or more, as Go's `time.ParseDuration` does.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let nanos = parse_nanos(text)?;
    let nanos = u64::try_from(nanos).map_err(|_| DurationError::Negative)?;
    Ok(Duration::from_nanos(nanos))
}

/// Go's `time.ParseDuration`, in nanoseconds.
fn parse_nanos(text: &str) -> Result<i64, DurationError> {
    let (is_negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(DurationError::Unreadable);
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (term, after) = parse_term(rest)?;
        total =
            total.checked_add(term).filter(|sum| *sum <= LIMIT).ok_or(DurationError::TooLong)?;
        rest = after;
    }
    if is_negative {
        // 2^63 itself is allowed here, and only here: it is Go's smallest duration.
        return Ok(0i64.checked_sub_unsigned(total).expect("the sum is at most 2^63"));
    }
    i64::try_from(total).map_err(|_| DurationError::TooLong)
}

/// One number with its unit, such as `1.5h`, in nanoseconds, and what follows it.
fn parse_term(text: &str) -> Result<(u64, &str), DurationError> {
    if !text.starts_with(|c: char| c == '.' || c.is_ascii_digit()) {
        return Err(DurationError::Unreadable);
    }
    let (whole_digits, after) = split_while(text, |c| c.is_ascii_digit());
    let (fraction_digits, after) = match after.strip_prefix('.') {
        Some(after) => split_while(after, |c| c.is_ascii_digit()),
        None => ("", after),
    };
    if whole_digits.is_empty() && fraction_digits.is_empty() {
        return Err(DurationError::Unreadable);
    }
    let whole = leading_integer(whole_digits)?;
    let (unit_text, rest) = split_while(after, |c| c != '.' && !c.is_ascii_digit());
    if unit_text.is_empty() {
        let number = text.get(..text.len() - after.len()).unwrap_or(text);
        return Err(DurationError::UnitMissing(number.to_owned()));
    }
    let unit =
        nanos_of(unit_text).ok_or_else(|| DurationError::UnitUnknown(unit_text.to_owned()))?;
    let nanos = whole
        .checked_mul(unit)
        .and_then(|n| n.checked_add(fraction_of(fraction_digits, unit)))
        .filter(|n| *n <= LIMIT)
        .ok_or(DurationError::TooLong)?;
    Ok((nanos, rest))
}

fn split_while(text: &str, keep: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c: char| !keep(c)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

fn leading_integer(digits: &str) -> Result<u64, DurationError> {
    if digits.is_empty() {
        return Ok(0);
    }
    let number: u64 = digits.parse().map_err(|_| DurationError::TooLong)?;
    if number > LIMIT { Err(DurationError::TooLong) } else { Ok(number) }
}

/// The fraction's share of one unit, rounded down as Go does: digits that no longer fit into
/// 63 bits are ignored, and the product is taken in floating point.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "this is the arithmetic of Go's ParseDuration, whose results we must reproduce"
)]
fn fraction_of(digits: &str, unit: u64) -> u64 {
    let mut value: u64 = 0;
    let mut scale: f64 = 1.0;
    for digit in digits.bytes().map(|b| u64::from(b - b'0')) {
        match value.checked_mul(10).and_then(|v| v.checked_add(digit)) {
            Some(next) if next <= LIMIT => value = next,
            _ => break,
        }
        scale *= 10.0;
    }
    if value == 0 { 0 } else { (value as f64 * (unit as f64 / scale)) as u64 }
}

fn nanos_of(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        // The second is U+00B5 (micro sign), the third U+03BC (Greek mu): both are in use.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// Go's way of printing: `1m30s`, `5m0s`, `1.5s`, `300ms`, `100µs`, `0s`.
pub fn go_form(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}\u{b5}s", decimal(nanos, 1_000, 3)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(nanos, 1_000_000, 6)),
        _ => {
            let seconds = decimal(nanos % 60_000_000_000, 1_000_000_000, 9);
            let minutes = nanos / 60_000_000_000;
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// [`go_form`] without the zeros at its end: `24h`, `5m`. For texts that state a limit.
pub fn short_form(duration: Duration) -> String {
    let full = go_form(duration);
    let full = full.strip_suffix("m0s").map_or(full.clone(), |rest| format!("{rest}m"));
    full.strip_suffix("h0m").map_or(full.clone(), |rest| format!("{rest}h"))
}

/// `nanos / unit` with up to `places` decimals, without zeros at the end.
fn decimal(nanos: u128, unit: u128, places: usize) -> String {
    let (whole, rest) = (nanos / unit, nanos % unit);
    if rest == 0 {
        return whole.to_string();
    }
    let digits = format!("{rest:0places$}");
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NS: i64 = 1;
    const US: i64 = 1_000;
    const MS: i64 = 1_000_000;
    const S: i64 = 1_000_000_000;
    const M: i64 = 60 * S;
    const H: i64 = 60 * M;

    #[test]
    fn what_go_accepts_is_read_as_go_reads_it() {
        let golden = [
            ("0", 0),
            ("+0", 0),
            ("-0", 0),
            ("0s", 0),
            ("5s", 5 * S),
            ("30s", 30 * S),
            ("1478s", 1478 * S),
            ("-5s", -5 * S),
            ("-1s", -S),
            ("+5s", 5 * S),
            ("5.0s", 5 * S),
            ("5.6s", 5 * S + 600 * MS),
            ("5.s", 5 * S),
            (".5s", 500 * MS),
            ("1.0s", S),
            ("1.00s", S),
            ("1.004s", S + 4 * MS),
            ("1.0040s", S + 4 * MS),
            ("100.00100s", 100 * S + MS),
            ("10ns", 10 * NS),
            ("11us", 11 * US),
            ("100\u{b5}s", 100 * US),
            ("100\u{3bc}s", 100 * US),
            ("13ms", 13 * MS),
            ("14s", 14 * S),
            ("15m", 15 * M),
            ("16h", 16 * H),
            ("3h30m", 3 * H + 30 * M),
            ("10.5s4m", 4 * M + 10 * S + 500 * MS),
            ("-2m3.4s", -(2 * M + 3 * S + 400 * MS)),
            ("1h2m3s4ms5us6ns", H + 2 * M + 3 * S + 4 * MS + 5 * US + 6 * NS),
            ("39h9m14.425s", 39 * H + 9 * M + 14 * S + 425 * MS),
            ("1m30s", 90 * S),
            ("1.5h", H + 30 * M),
            ("1s1s", 2 * S),
            ("52763797000ns", 52_763_797_000),
            ("0.3333333333333333333h", 20 * M),
            ("9007199254740993ns", (1 << 53) + 1),
            ("9223372036854775807ns", i64::MAX),
            ("9223372036854775.807us", i64::MAX),
            ("9223372036s854ms775us807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
            ("0.100000000000000000000h", 6 * M),
            ("0.830103483285477580700h", 49 * M + 48 * S + 372_539_827),
        ];
        for (text, nanos) in golden {
            assert_eq!(parse_nanos(text), Ok(nanos), "{text:?}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused_with_the_reason() {
        let unit = |unit: &str| DurationError::UnitUnknown(unit.to_owned());
        let missing = |number: &str| DurationError::UnitMissing(number.to_owned());
        let golden = [
            ("", DurationError::Unreadable),
            ("-", DurationError::Unreadable),
            ("s", DurationError::Unreadable),
            (".", DurationError::Unreadable),
            ("-.", DurationError::Unreadable),
            (".s", DurationError::Unreadable),
            ("+.s", DurationError::Unreadable),
            ("abc", DurationError::Unreadable),
            (" 30s", DurationError::Unreadable),
            ("--1s", DurationError::Unreadable),
            ("3", missing("3")),
            ("00", missing("00")),
            ("1h30", missing("30")),
            ("1d", unit("d")),
            ("1h 30m", unit("h ")),
            ("30 s", unit(" s")),
            ("30S", unit("S")),
            ("1e3s", unit("e")),
            ("\u{85}85", DurationError::Unreadable),
            ("9223372036854775808ns", DurationError::TooLong),
            ("9223372036854775.808us", DurationError::TooLong),
            ("9223372036854ms775us808ns", DurationError::TooLong),
            ("3000000h", DurationError::TooLong),
            ("99999999999999999999h", DurationError::TooLong),
            ("-9223372036854775809ns", DurationError::TooLong),
        ];
        for (text, reason) in golden {
            assert_eq!(parse_nanos(text), Err(reason), "{text:?}");
        }
        assert_eq!(parse("-1s"), Err(DurationError::Negative));
    }

    #[test]
    fn durations_print_in_gos_form() {
        let golden = [
            (0, "0s", "0s"),
            (1, "1ns", "1ns"),
            (1_100, "1.1\u{b5}s", "1.1\u{b5}s"),
            (250_000_000, "250ms", "250ms"),
            (2_200_000, "2.2ms", "2.2ms"),
            (3_300_000_000, "3.3s", "3.3s"),
            (8_000_000_000, "8s", "8s"),
            (20_000_000_000, "20s", "20s"),
            (60_000_000_000, "1m0s", "1m"),
            (90_000_000_000, "1m30s", "1m30s"),
            (245_001_000_000, "4m5.001s", "4m5.001s"),
            (600_000_000_000, "10m0s", "10m"),
            (86_400_000_000_000, "24h0m0s", "24h"),
            (18_367_001_000_000, "5h6m7.001s", "5h6m7.001s"),
            (3_605_000_000_000, "1h0m5s", "1h0m5s"),
            (72_000_000_000_000, "20h0m0s", "20h"),
        ];
        for (nanos, full, short) in golden {
            assert_eq!(go_form(Duration::from_nanos(nanos)), full);
            assert_eq!(short_form(Duration::from_nanos(nanos)), short);
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back_as_the_same_value(nanos in 0..=i64::MAX) {
            let duration = Duration::from_nanos(nanos.unsigned_abs());
            prop_assert_eq!(parse(&go_form(duration)), Ok(duration));
            prop_assert_eq!(parse(&short_form(duration)), Ok(duration));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[-+0-9.hmsuµn ]{0,40}|.{0,40}") {
            let _ = parse_nanos(&text);
        }
    }
}
