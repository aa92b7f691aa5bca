//! The commands that are understood, and what their requests and answers hold.

use crate::dictionary::avps;
use crate::fault::Fault;
use crate::grammar::{Grammar, many, maybe, one};
use crate::header::Header;
use crate::message::Message;
use crate::result_code::ResultCode;
use crate::{APPLICATION_BASE, APPLICATION_S13};

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// CER/CEA, RFC 6733 §5.3.
    CapabilitiesExchange,
    /// DWR/DWA, RFC 6733 §5.5.
    DeviceWatchdog,
    /// DPR/DPA, RFC 6733 §5.4.
    DisconnectPeer,
    /// ECR/ECA, TS 29.272 §7.2.19 and §7.2.20.
    IdentityCheck,
}

impl Command {
    /// Which command a header names.
    ///
    /// # Errors
    /// 3007 for an application that is not known, 3001 for a command that is not known in it.
    pub fn of(header: &Header) -> Result<Self, Fault> {
        match (header.application, header.command) {
            (APPLICATION_BASE, 257) => Ok(Self::CapabilitiesExchange),
            (APPLICATION_BASE, 280) => Ok(Self::DeviceWatchdog),
            (APPLICATION_BASE, 282) => Ok(Self::DisconnectPeer),
            (APPLICATION_S13, 324) => Ok(Self::IdentityCheck),
            (APPLICATION_BASE | APPLICATION_S13, _) => {
                Err(Fault::new(ResultCode::COMMAND_UNSUPPORTED, "the command is not known"))
            }
            _ => {
                Err(Fault::new(ResultCode::APPLICATION_UNSUPPORTED, "the application is not known"))
            }
        }
    }

    /// The command code.
    pub const fn code(self) -> u32 {
        match self {
            Self::CapabilitiesExchange => 257,
            Self::DeviceWatchdog => 280,
            Self::DisconnectPeer => 282,
            Self::IdentityCheck => 324,
        }
    }

    /// The application it belongs to.
    pub const fn application(self) -> u32 {
        match self {
            Self::CapabilitiesExchange | Self::DeviceWatchdog | Self::DisconnectPeer => {
                APPLICATION_BASE
            }
            Self::IdentityCheck => APPLICATION_S13,
        }
    }

    /// What its request holds.
    pub const fn request(self) -> &'static Grammar {
        match self {
            Self::CapabilitiesExchange => &CER,
            Self::DeviceWatchdog => &DWR,
            Self::DisconnectPeer => &DPR,
            Self::IdentityCheck => &ECR,
        }
    }

    /// What its answer holds. An answer that reports an error may leave nearly all of it out, so
    /// only what every answer has is asked for.
    pub const fn answer(self) -> &'static Grammar {
        &ANSWER
    }

    /// Which command a message is, with everything in it checked.
    ///
    /// # Errors
    /// As [`Command::of`] and [`Grammar::check`].
    pub fn check(message: &Message<'_>) -> Result<Self, Fault> {
        let header = message.header();
        let command = Self::of(&header)?;
        let grammar = if header.is_request() { command.request() } else { command.answer() };
        grammar.check(message)?;
        Ok(command)
    }
}

static CER: Grammar = Grammar {
    rules: &[
        one(&avps::ORIGIN_HOST),
        one(&avps::ORIGIN_REALM),
        many(&avps::HOST_IP_ADDRESS, 1),
        one(&avps::VENDOR_ID),
        one(&avps::PRODUCT_NAME),
        maybe(&avps::ORIGIN_STATE_ID),
        maybe(&avps::FIRMWARE_REVISION),
    ],
};

static DWR: Grammar = Grammar {
    rules: &[one(&avps::ORIGIN_HOST), one(&avps::ORIGIN_REALM), maybe(&avps::ORIGIN_STATE_ID)],
};

static DPR: Grammar = Grammar {
    rules: &[one(&avps::ORIGIN_HOST), one(&avps::ORIGIN_REALM), one(&avps::DISCONNECT_CAUSE)],
};

static ECR: Grammar = Grammar {
    rules: &[
        one(&avps::SESSION_ID),
        maybe(&avps::VENDOR_SPECIFIC_APPLICATION_ID),
        one(&avps::AUTH_SESSION_STATE),
        one(&avps::ORIGIN_HOST),
        one(&avps::ORIGIN_REALM),
        maybe(&avps::DESTINATION_HOST),
        one(&avps::DESTINATION_REALM),
        one(&avps::TERMINAL_INFORMATION),
        maybe(&avps::USER_NAME),
    ],
};

static ANSWER: Grammar = Grammar {
    rules: &[
        maybe(&avps::SESSION_ID),
        maybe(&avps::RESULT_CODE),
        maybe(&avps::EXPERIMENTAL_RESULT),
        one(&avps::ORIGIN_HOST),
        one(&avps::ORIGIN_REALM),
        maybe(&avps::EQUIPMENT_STATUS),
    ],
};
