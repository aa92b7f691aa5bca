//! What is wrong with a message, in the words an answer needs. The answer itself: `refusal`.

use crate::avp::Avp;
use crate::dictionary::{Definition, Kind};
use crate::header::Serial;
use crate::result_code::ResultCode;
use crate::writer::AvpWriter;

/// Of an AVP longer than this only the header and a zero value go into Failed-AVP: an answer must
/// not grow with what a stranger sent.
const FAILED_MAX: usize = 4 * 1024;

/// One reason why a message is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct Fault {
    /// What the answer says.
    pub code: ResultCode,
    /// For the log; never sent.
    pub reason: &'static str,
    /// The contents of Failed-AVP, padded AVPs; may be empty.
    pub failed: Vec<u8>,
    /// The bytes after this message cannot be trusted to begin a new one: answer, then close.
    pub is_fatal: bool,
}

impl Fault {
    /// A fault that no single AVP is guilty of.
    pub const fn new(code: ResultCode, reason: &'static str) -> Self {
        Self { code, reason, failed: Vec::new(), is_fatal: false }
    }

    /// Nothing after this message can be trusted.
    #[must_use]
    pub const fn fatal(mut self) -> Self {
        self.is_fatal = true;
        self
    }

    /// Names the guilty AVP as it came, or as much of it as is fit to send back.
    #[must_use]
    pub fn with(mut self, avp: &Avp<'_>) -> Self {
        let mut writer = AvpWriter::default();
        if avp.data.len() > FAILED_MAX {
            writer.octets_as(avp.code, avp.vendor, avp.is_mandatory, least(avp.definition()));
        } else {
            writer.copy(avp);
        }
        self.failed = writer.into_bytes();
        self
    }

    /// Names an AVP that is not there, or whose length is wrong, by its header and the smallest
    /// value its type allows (RFC 6733 §7.1.5).
    #[must_use]
    pub fn with_example(mut self, code: u32, vendor: Option<u32>, is_mandatory: bool) -> Self {
        let mut writer = AvpWriter::default();
        let definition = crate::dictionary::definition(code, vendor);
        writer.octets_as(code, vendor, is_mandatory, least(definition));
        self.failed = writer.into_bytes();
        self
    }

    /// An AVP that is required and not there.
    pub fn missing(definition: &Definition) -> Self {
        Self::new(ResultCode::MISSING_AVP, "a required AVP is missing").with_example(
            definition.code,
            definition.vendor,
            definition.is_mandatory,
        )
    }

    /// Puts the guilty AVP into the group it stands in.
    #[must_use]
    pub fn within(mut self, group: &Definition) -> Self {
        let mut writer = AvpWriter::default();
        writer.octets(group, &self.failed);
        self.failed = writer.into_bytes();
        self
    }

    /// For the log: which message it was.
    pub fn about(&self, serial: Serial) -> String {
        format!("{self} (hop-by-hop {:#010x})", serial.hop_by_hop)
    }
}

/// Zeros of the least length a value of that type has.
fn least(definition: Option<&Definition>) -> &'static [u8] {
    const ZEROS: &[u8] = &[0; 8];
    let length = match definition.map(|definition| definition.kind) {
        Some(Kind::Unsigned32 | Kind::Time) => 4,
        Some(Kind::Address) => 6,
        Some(Kind::Identity) => 1,
        Some(Kind::OctetString | Kind::Utf8String | Kind::Grouped) | None => 0,
    };
    ZEROS.get(..length).unwrap_or_default()
}
