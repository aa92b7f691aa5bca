//! SHA-256 of a token: what is kept of it, and compared.
//!
//! A plain hash is enough for secrets that nobody can guess, and that is why short ones are
//! refused where lines are made.

use std::fmt;

use aws_lc_rs::{constant_time, digest};

/// Bytes of a digest.
const SIZE: usize = 32;
/// What stands before the digits in a line.
const PREFIX: &str = "sha256:";

/// A digest. Compared in constant time, and only so: it has no `PartialEq`.
#[derive(Clone, Copy)]
pub(super) struct Digest([u8; SIZE]);

impl Digest {
    /// Of these bytes.
    pub(super) fn of(secret: &[u8]) -> Self {
        let hashed = digest::digest(&digest::SHA256, secret);
        let mut bytes = [0; SIZE];
        bytes.iter_mut().zip(hashed.as_ref()).for_each(|(to, from)| *to = *from);
        Self(bytes)
    }

    /// Reads `sha256:` and 64 hexadecimal digits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?;
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if digits.len() != 2 * SIZE || !is_hex {
            return None;
        }
        let mut bytes = [0; SIZE];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// Whether both are the same; takes as long either way.
    pub(super) fn is(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(…)")
    }
}
