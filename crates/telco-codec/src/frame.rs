//! From a stream of bytes to whole messages.
//!
//! Invariant: the buffer never holds more than one message and one pushed piece, and grows with
//! what has come, never with what a length field promises.

use crate::header::{HEADER_LENGTH, word};

/// The longest message taken, in bytes. The protocol allows 16 MiB; what travels here is below two
/// KiB, and a stranger should not be able to make us hold more than this per connection.
pub const MESSAGE_MAX: usize = 64 * 1024;

/// Why a stream cannot be cut into messages any more; the connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    /// A length below a header's.
    #[error("a message of {0} bytes cannot be: its header has 20")]
    TooShort(usize),
    /// A length beyond the bound.
    #[error("a message of {0} bytes is longer than the {MESSAGE_MAX} that are taken")]
    TooLong(usize),
}

/// Collects bytes and gives whole messages.
#[derive(Debug, Default)]
pub struct Splitter {
    buffer: Vec<u8>,
    /// Where the next message begins.
    start: usize,
}

impl Splitter {
    /// An empty one; allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what was received. Take the messages out before adding more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message; none until more has come.
    ///
    /// # Errors
    /// A length that cannot be. Every later call says the same.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameFault> {
        let waiting = self.buffer.get(self.start..).unwrap_or_default();
        let Some((first, _)) = word(waiting) else {
            return Ok(None);
        };
        let length = usize::try_from(first & 0x00ff_ffff).unwrap_or(usize::MAX);
        if length < HEADER_LENGTH {
            return Err(FrameFault::TooShort(length));
        }
        if length > MESSAGE_MAX {
            return Err(FrameFault::TooLong(length));
        }
        if waiting.len() < length {
            return Ok(None);
        }
        let begin = self.start;
        self.start += length;
        Ok(self.buffer.get(begin..self.start))
    }

    /// Bytes that wait to become a message.
    pub fn waiting(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Bytes it has allocated.
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: u32) -> Vec<u8> {
        let mut bytes = vec![7; usize::try_from(length).unwrap()];
        bytes[..4].copy_from_slice(&(0x0100_0000 | length).to_be_bytes());
        bytes
    }

    #[test]
    fn messages_come_out_whole_however_they_were_cut() {
        let stream: Vec<u8> = [20, 24, 400, 20].into_iter().flat_map(message).collect();
        for piece in 1..60 {
            let mut splitter = Splitter::new();
            let mut lengths = Vec::new();
            for bytes in stream.chunks(piece) {
                splitter.push(bytes);
                while let Some(frame) = splitter.next_frame().unwrap() {
                    lengths.push(frame.len());
                }
            }
            assert_eq!(lengths, [20, 24, 400, 20], "in pieces of {piece}");
            assert_eq!(splitter.waiting(), 0);
        }
    }

    #[test]
    fn a_length_that_cannot_be_ends_the_stream_before_anything_is_allocated_for_it() {
        let mut splitter = Splitter::new();
        splitter.push(&[1, 0xff, 0xff, 0xfc]);
        assert_eq!(splitter.next_frame(), Err(FrameFault::TooLong(0xff_fffc)));
        assert!(splitter.capacity() < 64);
        let mut splitter = Splitter::new();
        splitter.push(&[1, 0, 0, 19]);
        assert_eq!(splitter.next_frame(), Err(FrameFault::TooShort(19)));
        assert_eq!(splitter.next_frame(), Err(FrameFault::TooShort(19)));
    }
}
