//! Request ids: the caller's if it is sane, else one of ours; on every answer and in every log line.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header, in requests and answers.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id that is taken over from a caller: it goes into the log and the audit.
const LENGTH_MAX: usize = 128;

/// Hexadecimal digits of the part that tells processes apart.
const PREFIX_SIZE: usize = 8;
/// The same, a hyphen, and ten digits of the count: a trillion requests.
const ID_SIZE: usize = PREFIX_SIZE + 1 + 10;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Tells the ids of this process from those of the one before it.
static PREFIX: OnceLock<u32> = OnceLock::new();
static COUNTER: AtomicU64 = AtomicU64::new(1);

/// The caller's id if there is exactly one of 1–128 visible ASCII characters, else a new one.
pub(super) fn of(headers: &HeaderMap) -> HeaderValue {
    let mut given = headers.get_all(HEADER).iter();
    match (given.next(), given.next()) {
        (Some(id), None) if is_sane(id.as_bytes()) => id.clone(),
        _ => fresh(),
    }
}

/// An id that was not given before.
pub(super) fn fresh() -> HeaderValue {
    let prefix = PREFIX.get_or_init(|| fastrand::u32(..));
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut text = [b'-'; ID_SIZE];
    let (before, after) = text.split_at_mut(PREFIX_SIZE);
    write_hex(before, u64::from(*prefix));
    write_hex(after.get_mut(1..).unwrap_or_default(), number);
    HeaderValue::from_bytes(&text).expect("hexadecimal digits are ASCII")
}

/// Fills the room with the last digits of a number. By hand: every answer has such an id.
fn write_hex(room: &mut [u8], number: u64) {
    let mut rest = number;
    for place in room.iter_mut().rev() {
        *place = HEX.get((rest % 16) as usize).copied().unwrap_or(b'0');
        rest /= 16;
    }
}

fn is_sane(id: &[u8]) -> bool {
    (1..=LENGTH_MAX).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sane_id_is_kept_and_any_other_is_replaced() {
        let taken = |ids: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for id in ids {
                headers.append(HEADER, HeaderValue::from_bytes(id).unwrap());
            }
            of(&headers).as_bytes() == *ids.first().unwrap_or(&&b""[..])
        };
        assert!(taken(&[b"a-1"]) && taken(&[&[b'x'; 128]]));
        for odd in [&b""[..], &[b'x'; 129], b"a b", b"\xff", b"\t"] {
            assert!(!taken(&[odd]), "{odd:?}");
        }
        assert!(!taken(&[b"a", b"b"]), "two ids name nothing");
    }

    #[test]
    fn fresh_ids_differ() {
        assert_ne!(fresh(), fresh());
    }
}
