//! The twenty bytes every message begins with (RFC 6733 §3). Not here: whether a command is known.

/// Bytes of the header.
pub const HEADER_LENGTH: usize = 20;
/// The only version there is.
pub(crate) const VERSION: u8 = 1;

/// The command flags. Reserved bits are kept as they came and otherwise ignored (RFC 6733 §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// R: a request, not an answer.
    pub const REQUEST: Self = Self(0x80);
    /// P: may be relayed; if clear it is for the peer itself.
    pub const PROXIABLE: Self = Self(0x40);
    /// E: an answer that says the protocol failed (result codes 3xxx).
    pub const ERROR: Self = Self(0x20);
    /// T: sent again after a connection broke; the receiver may have seen it before.
    pub const RETRANSMITTED: Self = Self(0x10);

    /// No flag.
    pub const fn none() -> Self {
        Self(0)
    }

    /// Both sets of flags.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every flag of `other` is set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These flags, as far as they are in `other`.
    #[must_use]
    pub const fn only(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// As on the wire.
    pub const fn bits(self) -> u8 {
        self.0
    }
}

/// What pairs an answer with its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serial {
    /// Unique among what is under way on one connection; an agent puts its own.
    pub hop_by_hop: u32,
    /// Unique per origin host for minutes; agents leave it alone.
    pub end_to_end: u32,
}

/// The header without version and length, which are always right here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The command flags.
    pub flags: Flags,
    /// The command code, 24 bits.
    pub command: u32,
    /// The application.
    pub application: u32,
    /// The identifiers.
    pub serial: Serial,
}

impl Header {
    /// Whether it is a request.
    pub const fn is_request(&self) -> bool {
        self.flags.has(Flags::REQUEST)
    }

    /// The header of an answer to this request: the same but for the flags, of which P stays
    /// (RFC 6733 §6.2).
    #[must_use]
    pub const fn answer(&self, with: Flags) -> Self {
        Self { flags: self.flags.only(Flags::PROXIABLE).with(with), ..*self }
    }

    /// Version, length as written, and the rest; nothing if there are less than twenty bytes.
    pub(crate) fn read(bytes: &[u8]) -> Option<(u8, u32, Self)> {
        let (first, rest) = word(bytes)?;
        let (second, rest) = word(rest)?;
        let (application, rest) = word(rest)?;
        let (hop_by_hop, rest) = word(rest)?;
        let (end_to_end, _) = word(rest)?;
        let [version, ..] = first.to_be_bytes();
        let [flags, ..] = second.to_be_bytes();
        let header = Self {
            flags: Flags(flags),
            command: second & 0x00ff_ffff,
            application,
            serial: Serial { hop_by_hop, end_to_end },
        };
        Some((version, first & 0x00ff_ffff, header))
    }

    /// Puts these flags and identifiers into a message that is written already.
    pub fn stamp(&self, frame: &mut [u8]) {
        let header = self.write();
        for range in [4..5, 12..HEADER_LENGTH] {
            if let (Some(place), Some(bytes)) = (frame.get_mut(range.clone()), header.get(range)) {
                place.copy_from_slice(bytes);
            }
        }
    }

    /// Twenty bytes with a length of zero, which is put in when it is known.
    pub(crate) fn write(&self) -> [u8; HEADER_LENGTH] {
        let mut bytes = [0; HEADER_LENGTH];
        let words = [
            u32::from_be_bytes([VERSION, 0, 0, 0]),
            u32::from_be_bytes([self.flags.0, 0, 0, 0]) | (self.command & 0x00ff_ffff),
            self.application,
            self.serial.hop_by_hop,
            self.serial.end_to_end,
        ];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }
}

/// The first four bytes as a number, and what follows.
pub(crate) fn word(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (first, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*first), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_as_it_was_written() {
        let header = Header {
            flags: Flags::REQUEST.with(Flags::PROXIABLE),
            command: 324,
            application: 16_777_252,
            serial: Serial { hop_by_hop: 0x0102_0304, end_to_end: 0xfffe_fdfc },
        };
        assert_eq!(Header::read(&header.write()), Some((1, 0, header)));
    }

    #[test]
    fn an_answer_keeps_p_and_the_identifiers_and_nothing_else() {
        let request = Header {
            flags: Flags::REQUEST.with(Flags::PROXIABLE).with(Flags::RETRANSMITTED),
            command: 324,
            application: 1,
            serial: Serial { hop_by_hop: 1, end_to_end: 2 },
        };
        let answer = request.answer(Flags::none());
        assert_eq!(answer.flags, Flags::PROXIABLE);
        assert_eq!(answer.serial, request.serial);
    }
}
