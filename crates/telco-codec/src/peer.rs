//! The messages between neighbours: capabilities, watchdog, farewell (RFC 6733 §5.3 to §5.5).
//!
//! Here: their contents. Not here: when they are sent and what a missing answer means.

use std::net::IpAddr;

use crate::command::Command;
use crate::dictionary::avps;
use crate::fault::Fault;
use crate::header::{Flags, Header, Serial};
use crate::identity::Identity;
use crate::message::Message;
use crate::result_code::ResultCode;
use crate::writer::MessageWriter;
use crate::{APPLICATION_RELAY, VENDOR_3GPP};

/// Applications and addresses kept of a peer; more are not looked at.
const KEPT_MAX: usize = 64;

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Who it is.
    pub identity: Identity,
    /// Where it is reached; at least one.
    pub addresses: Vec<IpAddr>,
    /// The maker's number; 0 for none.
    pub vendor: u32,
    /// The maker's name of the product.
    pub product: String,
    /// Grows with every start, so that peers notice one.
    pub state: Option<u32>,
    /// The applications, inside Vendor-Specific-Application-Id or not.
    pub applications: Vec<u32>,
}

/// Why a peer leaves (RFC 6733 §5.4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectCause {
    /// It will be back.
    Rebooting,
    /// It has other things to do.
    Busy,
    /// It wants no traffic of us.
    DoNotWantToTalk,
}

impl DisconnectCause {
    const fn number(self) -> u32 {
        match self {
            Self::Rebooting => 0,
            Self::Busy => 1,
            Self::DoNotWantToTalk => 2,
        }
    }
}

impl Capabilities {
    /// CER.
    pub fn request(&self, serial: Serial) -> Vec<u8> {
        let mut writer = MessageWriter::new(&request(Command::CapabilitiesExchange, serial));
        self.write(&mut writer);
        bounded(writer)
    }

    /// CEA with a result.
    pub fn answer(&self, to: &Message<'_>, result: ResultCode) -> Vec<u8> {
        let flags = if result.is_protocol_error() { Flags::ERROR } else { Flags::none() };
        let mut writer = MessageWriter::new(&to.header().answer(flags));
        writer.avps().unsigned32(&avps::RESULT_CODE, result.0);
        self.write(&mut writer);
        bounded(writer)
    }

    /// Of a CER or CEA that was checked.
    ///
    /// # Errors
    /// As [`Identity::origin`].
    pub fn read(message: &Message<'_>) -> Result<Self, Fault> {
        let state = message.find(&avps::ORIGIN_STATE_ID).map(|avp| avp.unsigned32());
        let vendor = message.find(&avps::VENDOR_ID).map(|avp| avp.unsigned32());
        let product = message.find(&avps::PRODUCT_NAME).map(|avp| avp.text());
        let mut addresses = Vec::new();
        let mut applications = Vec::new();
        for avp in message.avps() {
            if avp.is(&avps::HOST_IP_ADDRESS) {
                addresses.extend(avp.address()?.filter(|_| addresses.len() < KEPT_MAX));
            }
            let group = avp.is(&avps::VENDOR_SPECIFIC_APPLICATION_ID).then(|| avp.group());
            let inner = group.and_then(|group| group.find(&avps::AUTH_APPLICATION_ID));
            let outer = avp.is(&avps::AUTH_APPLICATION_ID).then_some(avp);
            if let Some(application) = inner.or(outer).filter(|_| applications.len() < KEPT_MAX) {
                applications.push(application.unsigned32()?);
            }
        }
        Ok(Self {
            identity: Identity::origin(message)?,
            addresses,
            vendor: vendor.transpose()?.unwrap_or_default(),
            product: product.transpose()?.unwrap_or_default().chars().take(KEPT_MAX).collect(),
            state: state.transpose()?,
            applications,
        })
    }

    /// Whether the two can talk: a common application, or one of them relays all (RFC 6733 §5.3).
    pub fn shares_with(&self, other: &Self) -> bool {
        let relays = |node: &Self| node.applications.contains(&APPLICATION_RELAY);
        let is_common = |application| other.applications.contains(application);
        relays(self) || relays(other) || self.applications.iter().any(is_common)
    }

    fn write(&self, writer: &mut MessageWriter) {
        let row = writer.avps();
        self.identity.write(row);
        for address in self.addresses.iter().take(KEPT_MAX) {
            row.address(&avps::HOST_IP_ADDRESS, *address);
        }
        row.unsigned32(&avps::VENDOR_ID, self.vendor);
        let product: String = self.product.chars().take(KEPT_MAX).collect();
        row.text(&avps::PRODUCT_NAME, &product);
        if let Some(state) = self.state {
            row.unsigned32(&avps::ORIGIN_STATE_ID, state);
        }
        row.unsigned32(&avps::SUPPORTED_VENDOR_ID, VENDOR_3GPP);
        for application in self.applications.iter().copied().take(KEPT_MAX) {
            // A vendor's application stands in a group with the vendor; relaying is nobody's.
            if application < 0x0100_0000 || application == APPLICATION_RELAY {
                row.unsigned32(&avps::AUTH_APPLICATION_ID, application);
            } else {
                row.group(&avps::VENDOR_SPECIFIC_APPLICATION_ID, |group| {
                    group
                        .unsigned32(&avps::VENDOR_ID, VENDOR_3GPP)
                        .unsigned32(&avps::AUTH_APPLICATION_ID, application);
                });
            }
        }
    }
}

/// DWR.
pub fn watchdog_request(us: &Identity, state: Option<u32>, serial: Serial) -> Vec<u8> {
    let mut writer = MessageWriter::new(&request(Command::DeviceWatchdog, serial));
    us.write(writer.avps());
    if let Some(state) = state {
        writer.avps().unsigned32(&avps::ORIGIN_STATE_ID, state);
    }
    bounded(writer)
}

/// DWA.
pub fn watchdog_answer(us: &Identity, state: Option<u32>, to: &Message<'_>) -> Vec<u8> {
    let mut writer = success(us, to);
    if let Some(state) = state {
        writer.avps().unsigned32(&avps::ORIGIN_STATE_ID, state);
    }
    bounded(writer)
}

/// DPR.
pub fn disconnect_request(us: &Identity, cause: DisconnectCause, serial: Serial) -> Vec<u8> {
    let mut writer = MessageWriter::new(&request(Command::DisconnectPeer, serial));
    us.write(writer.avps());
    writer.avps().unsigned32(&avps::DISCONNECT_CAUSE, cause.number());
    bounded(writer)
}

/// DPA.
pub fn disconnect_answer(us: &Identity, to: &Message<'_>) -> Vec<u8> {
    bounded(success(us, to))
}

fn success(us: &Identity, to: &Message<'_>) -> MessageWriter {
    let mut writer = MessageWriter::new(&to.header().answer(Flags::none()));
    writer.avps().unsigned32(&avps::RESULT_CODE, ResultCode::SUCCESS.0);
    us.write(writer.avps());
    writer
}

/// Requests between neighbours are never relayed: P is clear.
const fn request(command: Command, serial: Serial) -> Header {
    Header {
        flags: Flags::REQUEST,
        command: command.code(),
        application: command.application(),
        serial,
    }
}

fn bounded(writer: MessageWriter) -> Vec<u8> {
    writer.finish().expect("two names, a product and at most 64 addresses and applications fit")
}
