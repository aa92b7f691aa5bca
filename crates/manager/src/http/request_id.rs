//! Request ids: the caller's if it is sane, else one of ours; on every answer and in every log line.

use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header, in requests and answers.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id that is taken over from a caller: it goes into the log and the audit.
const LENGTH_MAX: usize = 128;

/// Room for the largest of our own: two numbers in hexadecimal and what stands between them.
const ID_SIZE: usize = 8 + 1 + 16;

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
    let mut text = [0; ID_SIZE];
    let mut rest = &mut text[..];
    write!(rest, "{prefix:08x}-{number:x}").expect("there is room for both numbers");
    let unused = rest.len();
    let id = text.get(..ID_SIZE - unused).unwrap_or_default();
    HeaderValue::from_bytes(id).expect("hexadecimal digits are ASCII")
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
