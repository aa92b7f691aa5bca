//! Times as RFC 3339, by hand: a list of pods has three of them in every pod.

use std::cell::Cell;

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;
/// 10000-01-01T00:00:00Z, which RFC 3339 cannot say any more.
const YEAR_10000: i64 = 253_402_300_800_000_000;

/// Writes a time in UTC, with as many digits below the second as it needs.
pub(super) fn write(out: &mut Vec<u8>, micros: i64) {
    if !(0..YEAR_10000).contains(&micros) {
        return write_odd(out, micros);
    }
    let (date, time) = (date(micros / DAY), micros % DAY);
    let (seconds, fraction) = (time / 1_000_000, time % 1_000_000);
    let mut text = *b"T00:00:00.000000Z";
    put(&mut text, 1, seconds / 3_600);
    put(&mut text, 4, seconds / 60 % 60);
    put(&mut text, 7, seconds % 60);
    put(&mut text, 10, fraction / 10_000);
    put(&mut text, 12, fraction / 100 % 100);
    put(&mut text, 14, fraction % 100);
    out.extend_from_slice(&date);
    out.extend_from_slice(&text);
    if fraction % 10 == 0 {
        shorten(out);
    }
}

/// Takes the zeros away that stand at the end of a fraction, and a fraction of nothing.
fn shorten(out: &mut Vec<u8>) {
    out.pop();
    while out.last() == Some(&b'0') {
        out.pop();
    }
    if out.last() == Some(&b'.') {
        out.pop();
    }
    out.push(b'Z');
}

thread_local! {
    /// The last day that was written: a list is mostly of one day.
    static LAST: Cell<(i64, [u8; 10])> = const { Cell::new((0, *b"1970-01-01")) };
}

/// A day since 1970-01-01 as `2026-01-02`.
fn date(days: i64) -> [u8; 10] {
    let (last, text) = LAST.get();
    if last == days {
        return text;
    }
    let (year, month, day) = civil(days);
    let mut text = *b"0000-00-00";
    put(&mut text, 0, year / 100);
    put(&mut text, 2, year % 100);
    put(&mut text, 5, month);
    put(&mut text, 8, day);
    LAST.set((days, text));
    text
}

/// Before 1970, as in rows that were never checked, or beyond the year 9999: the nearest time that
/// can be said.
fn write_odd(out: &mut Vec<u8>, micros: i64) {
    let nearest = if micros < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    let time = jiff::Timestamp::from_microsecond(micros).unwrap_or(nearest);
    out.extend_from_slice(time.to_string().as_bytes());
}

/// Year, month and day of a day since 1970-01-01, for days not before it: the algorithm
/// `civil_from_days` of Howard Hinnant's "chrono-compatible low-level date algorithms", which
/// counts years from March, so that the leap day is the last one.
const fn civil(days: i64) -> (i64, i64, i64) {
    let since_march_0000 = days + 719_468;
    let era = since_march_0000 / 146_097;
    let day_of_era = since_march_0000 % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + (month <= 2) as i64;
    (year, month, day)
}

/// Puts two digits there.
#[inline]
fn put(text: &mut [u8], at: usize, value: i64) {
    if let Some([tens, ones]) = text.get_mut(at..at + 2) {
        (*tens, *ones) = (digit(value / 10), digit(value % 10));
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is 0 to 9")]
const fn digit(value: i64) -> u8 {
    b'0' + value as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(micros: i64) -> String {
        let mut out = Vec::new();
        write(&mut out, micros);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn known_times_are_written_with_the_digits_they_need() {
        for (micros, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_767_323_045_678_000, "2026-01-02T03:04:05.678Z"),
            (1_709_164_799_000_001, "2024-02-28T23:59:59.000001Z"),
            (951_782_400_100_000, "2000-02-29T00:00:00.1Z"),
            (-62_135_596_800_000_000, "0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(text(micros), expected);
        }
    }

    #[test]
    fn times_beyond_the_calendar_are_written_as_the_nearest() {
        assert_eq!(text(i64::MAX), jiff::Timestamp::MAX.to_string());
        assert_eq!(text(i64::MIN), jiff::Timestamp::MIN.to_string());
    }

    proptest! {
        #[test]
        fn times_are_those_of_the_library(micros in 0..253_402_207_200_000_000_i64, step in 0..7_u32) {
            let micros = micros / 10_i64.pow(step) * 10_i64.pow(step);
            let expected = jiff::Timestamp::from_microsecond(micros).unwrap().to_string();
            prop_assert_eq!(text(micros), expected);
        }
    }
}
