//! Times as the tables hold them in text: `YYYY-MM-DD HH:MM:SS.ffffff`, UTC, so that they sort as
//! they read and a shell's date functions know them.

use governance_domain::Timestamp;

/// `last_health_check` of a pod that was never checked.
pub const NEVER_CHECKED: &str = "0001-01-01 00:00:00";

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;
/// 0001-01-01, and 9999-12-31T23:59:59.999999: beyond them the text would have another width.
const EARLIEST: i64 = -719_162 * MICROS_PER_DAY;
const LATEST: i64 = 2_932_897 * MICROS_PER_DAY - 1;

/// The text of a time; one outside the years 1 to 9999 becomes the nearest inside.
pub fn time_text(time: Timestamp) -> String {
    let mut text = String::with_capacity(26);
    write_time(&mut text, time);
    text
}

/// Appends the text of a time.
pub fn write_time(text: &mut String, time: Timestamp) {
    let micros = time.as_micros().clamp(EARLIEST, LATEST);
    let (year, month, day) = civil_from_days(micros.div_euclid(MICROS_PER_DAY));
    let of_day = micros.rem_euclid(MICROS_PER_DAY);
    let seconds = of_day / MICROS_PER_SECOND;
    let parts = [
        (year, 4, '-'),
        (month, 2, '-'),
        (day, 2, ' '),
        (seconds / 3600, 2, ':'),
        (seconds / 60 % 60, 2, ':'),
        (seconds % 60, 2, '.'),
        (of_day % MICROS_PER_SECOND, 6, '\0'),
    ];
    for (value, width, end) in parts {
        let mut unit = 10_i64.pow(width - 1);
        while unit > 0 {
            let digit = u32::try_from(value / unit % 10).unwrap_or(0);
            text.push(char::from_digit(digit, 10).unwrap_or('0'));
            unit /= 10;
        }
        if end != '\0' {
            text.push(end);
        }
    }
}

/// The time of a text: date and time with a blank or a `T` between, at most nine digits of a
/// second, an offset from UTC or none.
pub fn read_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let date = text.get(..10)?;
    let rest = text.get(10..)?;
    let rest = rest.strip_prefix([' ', 'T', 't']).unwrap_or(rest);
    let days = read_date(date)?;
    if rest.is_empty() {
        return Some(Timestamp::from_micros(days * MICROS_PER_DAY));
    }
    let end = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (clock, offset) = rest.split_at(end);
    let of_day = read_clock(clock.trim_end())? - read_offset(offset)?;
    Some(Timestamp::from_micros(days * MICROS_PER_DAY + of_day))
}

/// Whether a stored `last_health_check` means "never": the year 1 or before.
pub fn is_never(time: Timestamp) -> bool {
    time.as_micros() < EARLIEST + 365 * MICROS_PER_DAY
}

fn read_date(text: &str) -> Option<i64> {
    let mut parts = text.split('-');
    let (year, month, day) =
        (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let is_date = (1..=12).contains(&month) && (1..=31).contains(&day) && parts.next().is_none();
    is_date.then(|| days_from_civil(year, month, day))
}

/// `HH:MM[:SS[.ffffff]]` in microseconds.
fn read_clock(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, ':');
    let (hours, minutes) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let (seconds, micros) = match parts.next() {
        None => (0, 0),
        Some(text) => {
            let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
            (number(whole, 2)?, read_fraction(fraction)?)
        }
    };
    let is_clock = hours < 24 && minutes < 60 && seconds <= 60;
    is_clock.then(|| ((hours * 60 + minutes) * 60 + seconds) * MICROS_PER_SECOND + micros)
}

fn read_fraction(text: &str) -> Option<i64> {
    if text.len() > 9 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digit = |position| text.as_bytes().get(position).map_or(0, |b| i64::from(b - b'0'));
    Some((0..6).fold(0, |micros, position| micros * 10 + digit(position)))
}

/// `Z`, `+HH`, `+HHMM`, `+HH:MM` or nothing, in microseconds.
fn read_offset(text: &str) -> Option<i64> {
    let (sign, digits) = match text.bytes().next() {
        None | Some(b'Z' | b'z') => return (text.len() <= 1).then_some(0),
        Some(b'-') => (-1, text.get(1..)?),
        Some(_) => (1, text.get(1..)?),
    };
    let (hours, minutes) = (digits.get(..2)?, digits.get(2..)?);
    let minutes = minutes.strip_prefix(':').unwrap_or(minutes);
    let minutes = if minutes.is_empty() { 0 } else { number(minutes, 2)? };
    Some(sign * (number(hours, 2)? * 60 + minutes) * 60 * MICROS_PER_SECOND)
}

fn number(text: &str, width: usize) -> Option<i64> {
    let is_number = text.len() == width && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// Year, month and day of a count of days since 1970-01-01 in the proleptic Gregorian calendar
/// (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// The inverse of [`civil_from_days`].
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let shifted_year = year - i64::from(month <= 2);
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    era * 146_097 + of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> Option<i64> {
        read_time(text).map(Timestamp::as_micros)
    }

    #[test]
    fn times_are_written_as_another_implementation_writes_them() {
        let step = MICROS_PER_DAY * 97 + 12_345_678_901;
        let mut time = EARLIEST;
        while time <= LATEST {
            let expected = jiff::Timestamp::from_microsecond(time)
                .unwrap()
                .strftime("%Y-%m-%d %H:%M:%S.%6f")
                .to_string();
            let text = time_text(Timestamp::from_micros(time));
            assert_eq!(text, expected);
            assert_eq!(micros(&text), Some(time));
            time += step;
        }
    }

    #[test]
    fn the_edges_of_the_calendar_keep_their_width() {
        let text = |micros| time_text(Timestamp::from_micros(micros));
        assert_eq!(text(0), "1970-01-01 00:00:00.000000");
        assert_eq!(text(-1), "1969-12-31 23:59:59.999999");
        assert_eq!(text(i64::MIN), "0001-01-01 00:00:00.000000");
        assert_eq!(text(i64::MAX), "9999-12-31 23:59:59.999999");
    }

    #[test]
    fn other_notations_of_the_same_moment_are_read() {
        let noon = Some(1_772_366_400_000_000);
        for text in [
            "2026-03-01 12:00:00",
            "2026-03-01T12:00:00Z",
            "2026-03-01 12:00",
            "2026-03-01 12:00:00.000000000",
            "2026-03-01T19:00:00+07:00",
            "2026-03-01 19:00:00+07",
            "2026-03-01 06:30:00.0-0530",
        ] {
            assert_eq!(micros(text), noon, "{text}");
        }
        assert_eq!(micros("2026-03-01"), Some(1_772_323_200_000_000));
        assert_eq!(micros("1970-01-01 00:00:00.0000019"), Some(1));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "now",
            "2026-13-01 00:00:00",
            "2026-01-01 25:00:00",
            "2026-01-01 1:00:00",
            "2026-01-01 00:00:00.1234567890",
            "2026-01-01 00:00:00+x",
            "2026-01-01é00:00:00",
            "2026-01-01 00:00:00Zulu",
        ] {
            assert_eq!(micros(text), None, "{text}");
        }
    }

    #[test]
    fn never_checked_is_recognised_in_any_zone() {
        assert!(read_time(NEVER_CHECKED).is_some_and(is_never));
        assert!(read_time("0001-01-01 00:00:00+07").is_some_and(is_never));
        assert!(!is_never(Timestamp::from_micros(0)));
    }
}
