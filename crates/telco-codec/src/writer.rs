//! Writing AVPs and messages. Lengths and padding are put in here and nowhere else.

use std::net::IpAddr;

use crate::avp::Avp;
use crate::dictionary::Definition;
use crate::frame::MESSAGE_MAX;
use crate::header::Header;

/// A message would be longer than [`MESSAGE_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message would be longer than {MESSAGE_MAX} bytes")]
pub struct TooLong;

/// A row of AVPs. What would make it longer than a message can be is left out and remembered.
#[derive(Debug, Default)]
pub struct AvpWriter {
    bytes: Vec<u8>,
    is_too_long: bool,
}

impl AvpWriter {
    /// Bytes as they are.
    pub fn octets(&mut self, definition: &Definition, data: &[u8]) -> &mut Self {
        self.octets_as(definition.code, definition.vendor, definition.is_mandatory, data)
    }

    /// Text or an identity.
    pub fn text(&mut self, definition: &Definition, text: &str) -> &mut Self {
        self.octets(definition, text.as_bytes())
    }

    /// Unsigned32 or Enumerated.
    pub fn unsigned32(&mut self, definition: &Definition, value: u32) -> &mut Self {
        self.octets(definition, &value.to_be_bytes())
    }

    /// An address with its family.
    pub fn address(&mut self, definition: &Definition, address: IpAddr) -> &mut Self {
        let mut data = Vec::with_capacity(18);
        match address {
            IpAddr::V4(address) => {
                data.extend([0, 1]);
                data.extend(address.octets());
            }
            IpAddr::V6(address) => {
                data.extend([0, 2]);
                data.extend(address.octets());
            }
        }
        self.octets(definition, &data)
    }

    /// A group with what `fill` puts into it.
    pub fn group(&mut self, definition: &Definition, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let mut inner = Self::default();
        fill(&mut inner);
        self.is_too_long |= inner.is_too_long;
        self.octets(definition, &inner.bytes)
    }

    /// An AVP as it came.
    pub fn copy(&mut self, avp: &Avp<'_>) -> &mut Self {
        self.octets_as(avp.code, avp.vendor, avp.is_mandatory, avp.data)
    }

    /// The bytes so far.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn octets_as(
        &mut self,
        code: u32,
        vendor: Option<u32>,
        is_mandatory: bool,
        data: &[u8],
    ) -> &mut Self {
        let length = data.len() + if vendor.is_some() { 12 } else { 8 };
        if self.bytes.len() + length > MESSAGE_MAX {
            self.is_too_long = true;
            return self;
        }
        let flags = u8::from(vendor.is_some()) << 7 | u8::from(is_mandatory) << 6;
        let length = u32::try_from(length).expect("below the longest message");
        self.bytes.extend(code.to_be_bytes());
        self.bytes.extend((u32::from_be_bytes([flags, 0, 0, 0]) | length).to_be_bytes());
        if let Some(vendor) = vendor {
            self.bytes.extend(vendor.to_be_bytes());
        }
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    /// AVPs that are written already.
    pub(crate) fn raw(&mut self, avps: &[u8]) {
        if self.bytes.len() + avps.len() > MESSAGE_MAX {
            self.is_too_long = true;
        } else {
            self.bytes.extend_from_slice(avps);
        }
    }
}

/// A message on its way.
#[derive(Debug)]
pub struct MessageWriter {
    avps: AvpWriter,
}

impl MessageWriter {
    /// Begins with the header.
    pub fn new(header: &Header) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend(header.write());
        Self { avps: AvpWriter { bytes, is_too_long: false } }
    }

    /// What follows the header.
    pub const fn avps(&mut self) -> &mut AvpWriter {
        &mut self.avps
    }

    /// The whole message.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn finish(self) -> Result<Vec<u8>, TooLong> {
        let AvpWriter { mut bytes, is_too_long } = self.avps;
        if is_too_long || bytes.len() > MESSAGE_MAX {
            return Err(TooLong);
        }
        let length = u32::try_from(bytes.len()).map_err(|_| TooLong)?;
        if let Some(place) = bytes.get_mut(1..4) {
            let [_, length @ ..] = length.to_be_bytes();
            place.copy_from_slice(&length);
        }
        Ok(bytes)
    }
}
