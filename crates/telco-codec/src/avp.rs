//! One attribute-value pair and a walk over a row of them (RFC 6733 §4). Borrowed from the message.
//!
//! The walk trusts nothing: each length is held against what is left. Padding bytes are skipped
//! whatever they hold: RFC 6733 wants zeros written and says nothing of those who read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::dictionary::{Definition, definition};
use crate::fault::Fault;
use crate::header::word;
use crate::result_code::ResultCode;

const FLAG_VENDOR: u8 = 0x80;
const FLAG_MANDATORY: u8 = 0x40;
/// Bytes of an AVP's header without and with a vendor.
const HEAD: usize = 8;
const HEAD_VENDOR: usize = 12;

/// One AVP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avp<'a> {
    /// The code, meaningful together with the vendor.
    pub code: u32,
    /// The vendor, if the V flag is set.
    pub vendor: Option<u32>,
    /// The M flag: who does not understand it must refuse the message.
    pub is_mandatory: bool,
    /// The value, without padding.
    pub data: &'a [u8],
}

impl<'a> Avp<'a> {
    /// Whether it is that one.
    pub fn is(&self, definition: &Definition) -> bool {
        self.code == definition.code && self.vendor == definition.vendor
    }

    /// What is known of it.
    pub fn definition(&self) -> Option<&'static Definition> {
        definition(self.code, self.vendor)
    }

    /// An Unsigned32 or Enumerated.
    ///
    /// # Errors
    /// 5014 unless it has four bytes.
    pub fn unsigned32(&self) -> Result<u32, Fault> {
        let bytes: &[u8; 4] = self.data.try_into().map_err(|_| self.wrong_length())?;
        Ok(u32::from_be_bytes(*bytes))
    }

    /// A `UTF8String` or `DiameterIdentity`.
    ///
    /// # Errors
    /// 5004 unless it is UTF-8.
    pub fn text(&self) -> Result<&'a str, Fault> {
        std::str::from_utf8(self.data).map_err(|_| self.wrong_value("a text is not UTF-8"))
    }

    /// An Address of IPv4 or IPv6; none for another family.
    ///
    /// # Errors
    /// 5014 when the length does not fit the family.
    pub fn address(&self) -> Result<Option<IpAddr>, Fault> {
        match self.data {
            [0, 1, rest @ ..] => {
                let bytes: &[u8; 4] = rest.try_into().map_err(|_| self.wrong_length())?;
                Ok(Some(Ipv4Addr::from(*bytes).into()))
            }
            [0, 2, rest @ ..] => {
                let bytes: &[u8; 16] = rest.try_into().map_err(|_| self.wrong_length())?;
                Ok(Some(Ipv6Addr::from(*bytes).into()))
            }
            [_, _, ..] => Ok(None),
            _ => Err(self.wrong_length()),
        }
    }

    /// The AVPs inside a Grouped one.
    pub const fn group(&self) -> Avps<'a> {
        Avps::new(self.data)
    }

    /// 5014 about this AVP.
    pub(crate) fn wrong_length(&self) -> Fault {
        Fault::new(ResultCode::INVALID_AVP_LENGTH, "an AVP's length does not fit its type")
            .with_example(self.code, self.vendor, self.is_mandatory)
    }

    /// 5004 about this AVP.
    pub fn wrong_value(&self, reason: &'static str) -> Fault {
        Fault::new(ResultCode::INVALID_AVP_VALUE, reason).with(self)
    }
}

/// A walk over AVPs that stand one after the other; it ends at the first fault.
#[derive(Clone, Debug)]
pub struct Avps<'a> {
    rest: &'a [u8],
}

impl<'a> Avps<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The first of that kind, as far as the walk goes without a fault.
    pub fn find(self, definition: &Definition) -> Option<Avp<'a>> {
        self.map_while(Result::ok).find(|avp| avp.is(definition))
    }

    fn read(&mut self) -> Result<Avp<'a>, Fault> {
        let bytes = self.rest;
        let Some((code, rest)) = word(bytes) else {
            // Less than a code: only a group or a message of a wrong length ends so.
            return Err(wrong(0, None, false));
        };
        let Some((second, rest)) = word(rest) else {
            return Err(wrong(code, None, false));
        };
        let [flags, ..] = second.to_be_bytes();
        let length = usize::try_from(second & 0x00ff_ffff).unwrap_or(usize::MAX);
        let is_mandatory = flags & FLAG_MANDATORY != 0;
        let vendor = match flags & FLAG_VENDOR {
            0 => None,
            _ => Some(word(rest).ok_or_else(|| wrong(code, None, is_mandatory))?.0),
        };
        let head = if vendor.is_some() { HEAD_VENDOR } else { HEAD };
        let data = bytes.get(head..length).ok_or_else(|| wrong(code, vendor, is_mandatory))?;
        // A message and a group are multiples of four, so the padding is there; where it is not,
        // the walk ends here and whoever checks the group's length says so.
        self.rest = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Ok(Avp { code, vendor, is_mandatory, data })
    }
}

impl<'a> Iterator for Avps<'a> {
    type Item = Result<Avp<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let avp = self.read();
        if avp.is_err() {
            self.rest = &[];
        }
        Some(avp)
    }
}

fn wrong(code: u32, vendor: Option<u32>, is_mandatory: bool) -> Fault {
    Fault::new(ResultCode::INVALID_AVP_LENGTH, "an AVP's length lies").with_example(
        code,
        vendor,
        is_mandatory,
    )
}
