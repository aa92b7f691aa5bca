//! Diameter (RFC 6733) and the S13 check of an equipment's identity (3GPP TS 29.272): bytes in,
//! values out.
//!
//! Here: cutting a stream of bytes into messages ([`Splitter`]), the header and the AVPs
//! ([`Message`], [`Avp`]), what a command must hold ([`Grammar`]), the messages between neighbours
//! ([`peer`]), S13 ([`s13`]), and the answer to a request that cannot be understood
//! ([`refusal`]). Deliberately not here: sockets, timers, routing, which answer a valid request
//! gets.
//!
//! Invariants: no unsafe code, no I/O, no clock. A message is at most [`MESSAGE_MAX`] bytes, and
//! nothing is allocated for a length before that length was checked against what is there. Reading
//! borrows from the frame; groups are followed at most [`GROUP_DEPTH_MAX`] deep.
//!
//! ```
//! use telco_codec::s13::{CheckOutcome, CheckRequest, EquipmentStatus};
//! use telco_codec::{Identity, Imei, Message, Serial};
//!
//! let us = Identity::new("gw.example.net", "example.net")?;
//! let request = CheckRequest::new("gw.example.net;1;1", us.clone(), Imei::parse("35209900176148")?);
//! let frame = request.write(Serial { hop_by_hop: 1, end_to_end: 2 })?;
//!
//! let message = Message::parse(&frame)?;
//! let answer = CheckOutcome::Known(EquipmentStatus::Whitelisted).write(&message, &us)?;
//! let answer = CheckOutcome::read(&Message::parse(&answer)?)?;
//! assert_eq!(answer, CheckOutcome::Known(EquipmentStatus::Whitelisted));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod avp;
mod command;
mod dictionary;
mod fault;
mod frame;
mod grammar;
mod header;
mod identity;
mod imei;
mod message;
pub mod peer;
mod refusal;
mod result_code;
pub mod s13;
mod writer;

pub use avp::{Avp, Avps};
pub use command::Command;
pub use dictionary::{Definition, Kind, avps, definition};
pub use fault::Fault;
pub use frame::{FrameFault, MESSAGE_MAX, Splitter};
pub use grammar::{GROUP_DEPTH_MAX, Grammar, Rule};
pub use header::{Flags, HEADER_LENGTH, Header, Serial};
pub use identity::{Identity, IdentityFault};
pub use imei::{Imei, ImeiFault};
pub use message::Message;
pub use refusal::refusal;
pub use result_code::ResultCode;
pub use writer::{AvpWriter, MessageWriter, TooLong};

/// The base protocol's application (RFC 6733 §2.4).
pub const APPLICATION_BASE: u32 = 0;
/// What a relay advertises: it forwards every application (RFC 6733 §2.4).
pub const APPLICATION_RELAY: u32 = 0xffff_ffff;
/// S13/S13' (3GPP TS 29.272 §7.1.8).
pub const APPLICATION_S13: u32 = 16_777_252;
/// 3GPP's number among the vendors (IANA private enterprise numbers).
pub const VENDOR_3GPP: u32 = 10_415;
