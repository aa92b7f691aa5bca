//! One whole message, borrowed: its header and its AVPs, each of which is where its length says.
//!
//! [`Message::parse`] proves the outer row of AVPs only, which is all a relay may care for; what a
//! command must hold, and the inside of groups, is `grammar`'s.

use crate::avp::{Avp, Avps};
use crate::dictionary::{Definition, avps};
use crate::fault::Fault;
use crate::header::{Flags, HEADER_LENGTH, Header, VERSION};
use crate::identity::Identity;
use crate::result_code::ResultCode;
use crate::writer::{MessageWriter, TooLong};

/// A message whose header and outer AVPs are sound.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    header: Header,
    body: &'a [u8],
    frame: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads one frame.
    ///
    /// # Errors
    /// 5011 for another version, 5015 for a wrong length, 3008 for a request that says it is an
    /// error, 5014 for an AVP whose length lies. For the answer see [`crate::refusal`].
    pub fn parse(frame: &'a [u8]) -> Result<Self, Fault> {
        let lengths = Fault::new(ResultCode::INVALID_MESSAGE_LENGTH, "the message's length lies");
        let Some((version, length, header)) = Header::read(frame) else {
            return Err(lengths.fatal());
        };
        if version != VERSION {
            let fault = Fault::new(ResultCode::UNSUPPORTED_VERSION, "the version is not 1");
            return Err(fault.fatal());
        }
        if usize::try_from(length) != Ok(frame.len()) || !frame.len().is_multiple_of(4) {
            return Err(lengths.fatal());
        }
        if header.is_request() && header.flags.has(Flags::ERROR) {
            return Err(Fault::new(ResultCode::INVALID_HDR_BITS, "a request with the E flag"));
        }
        let body = frame.get(HEADER_LENGTH..).unwrap_or_default();
        for avp in Avps::new(body) {
            avp?;
        }
        Ok(Self { header, body, frame })
    }

    /// The header.
    pub const fn header(&self) -> Header {
        self.header
    }

    /// The whole message as it came.
    pub const fn frame(&self) -> &'a [u8] {
        self.frame
    }

    /// As [`crate::refusal`], for what only later turns out to be wrong.
    pub fn refusal(&self, fault: &Fault, us: &Identity) -> Option<Vec<u8>> {
        crate::refusal::refusal(self.frame, fault, us)
    }

    /// The outer AVPs.
    pub fn avps(&self) -> impl Iterator<Item = Avp<'a>> + use<'a> {
        Avps::new(self.body).map_while(Result::ok)
    }

    /// The first AVP of that kind.
    pub fn find(&self, definition: &Definition) -> Option<Avp<'a>> {
        self.avps().find(|avp| avp.is(definition))
    }

    /// The AVP of that kind.
    ///
    /// # Errors
    /// 5005 if there is none.
    pub fn need(&self, definition: &Definition) -> Result<Avp<'a>, Fault> {
        self.find(definition).ok_or_else(|| Fault::missing(definition))
    }

    /// The result of an answer: Result-Code, else the code in Experimental-Result.
    pub fn result_code(&self) -> Option<ResultCode> {
        let plain = self.find(&avps::RESULT_CODE);
        let code = plain.or_else(|| {
            let group = self.find(&avps::EXPERIMENTAL_RESULT)?.group();
            group.find(&avps::EXPERIMENTAL_RESULT_CODE)
        })?;
        code.unsigned32().ok().map(ResultCode)
    }

    /// The same message with another header and one more AVP at its end: what a relay sends on.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn forwarded(
        &self,
        header: &Header,
        last: Option<(&Definition, &str)>,
    ) -> Result<Vec<u8>, TooLong> {
        let mut writer = MessageWriter::new(header);
        writer.avps().raw(self.body);
        if let Some((definition, text)) = last {
            writer.avps().text(definition, text);
        }
        writer.finish()
    }
}
