//! S13: an MME or a gateway asks for the status of an equipment (3GPP TS 29.272 §6 and §7).

use std::fmt;

use crate::command::Command;
use crate::dictionary::avps;
use crate::fault::Fault;
use crate::header::{Flags, Header, Serial};
use crate::identity::Identity;
use crate::imei::Imei;
use crate::message::Message;
use crate::refusal::{begin_answer, end_answer};
use crate::result_code::ResultCode;
use crate::writer::{AvpWriter, MessageWriter, TooLong};
use crate::{APPLICATION_S13, VENDOR_3GPP};

/// No state is kept between requests (RFC 6733 §8.11).
const NO_STATE_MAINTAINED: u32 = 1;

/// What the register says of an equipment (TS 29.272 §7.3.51).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EquipmentStatus {
    /// May be used.
    Whitelisted,
    /// Must not be used.
    Blacklisted,
    /// May be used and is watched.
    Greylisted,
}

impl EquipmentStatus {
    /// The value on the wire.
    pub const fn number(self) -> u32 {
        match self {
            Self::Whitelisted => 0,
            Self::Blacklisted => 1,
            Self::Greylisted => 2,
        }
    }

    /// The name in TS 29.511 §6.1.6.3.3 as in TS 29.272.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Whitelisted => "WHITELISTED",
            Self::Blacklisted => "BLACKLISTED",
            Self::Greylisted => "GREYLISTED",
        }
    }

    const fn of(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Whitelisted),
            1 => Some(Self::Blacklisted),
            2 => Some(Self::Greylisted),
            _ => None,
        }
    }
}

impl fmt::Display for EquipmentStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// ME-Identity-Check-Request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckRequest {
    /// Names this question for ever: `host;high;low`.
    pub session: String,
    /// Who asks.
    pub origin: Identity,
    /// Where the register is.
    pub destination_realm: String,
    /// Which register, if it matters.
    pub destination_host: Option<String>,
    /// The equipment.
    pub imei: Imei,
    /// The subscriber (IMSI), if it is known.
    pub user: Option<String>,
}

impl CheckRequest {
    /// A question within the asker's own realm.
    pub fn new(session: &str, origin: Identity, imei: Imei) -> Self {
        let destination_realm = origin.realm().to_owned();
        let session = session.to_owned();
        Self { session, origin, destination_realm, destination_host: None, imei, user: None }
    }

    /// The message.
    ///
    /// # Errors
    /// When it does not fit, which takes a text of tens of thousands of bytes.
    pub fn write(&self, serial: Serial) -> Result<Vec<u8>, TooLong> {
        let header = Header {
            flags: Flags::REQUEST.with(Flags::PROXIABLE),
            command: Command::IdentityCheck.code(),
            application: APPLICATION_S13,
            serial,
        };
        let mut writer = MessageWriter::new(&header);
        let row = writer.avps();
        row.text(&avps::SESSION_ID, &self.session);
        write_application(row);
        row.unsigned32(&avps::AUTH_SESSION_STATE, NO_STATE_MAINTAINED);
        self.origin.write(row);
        if let Some(host) = &self.destination_host {
            row.text(&avps::DESTINATION_HOST, host);
        }
        row.text(&avps::DESTINATION_REALM, &self.destination_realm);
        row.group(&avps::TERMINAL_INFORMATION, |group| {
            group.text(&avps::IMEI, &self.imei.digits());
            if let Some(version) = self.imei.software() {
                group.text(&avps::SOFTWARE_VERSION, &version);
            }
        });
        if let Some(user) = &self.user {
            row.text(&avps::USER_NAME, user);
        }
        writer.finish()
    }

    /// Of a request that was checked.
    ///
    /// # Errors
    /// 5004 for an IMEI or a software version that is none, with Failed-AVP.
    pub fn read(message: &Message<'_>) -> Result<Self, Fault> {
        let text = |definition| {
            let found = message.find(definition).map(|avp| avp.text().map(str::to_owned));
            found.transpose()
        };
        let host = message.find(&avps::DESTINATION_HOST);
        Ok(Self {
            session: message.need(&avps::SESSION_ID)?.text()?.to_owned(),
            origin: Identity::origin(message)?,
            destination_realm: message.need(&avps::DESTINATION_REALM)?.text()?.to_owned(),
            destination_host: host.map(|avp| avp.text().map(str::to_owned)).transpose()?,
            imei: read_imei(message)?,
            user: text(&avps::USER_NAME)?,
        })
    }
}

fn read_imei(message: &Message<'_>) -> Result<Imei, Fault> {
    let group = message.need(&avps::TERMINAL_INFORMATION)?.group();
    let missing = || Fault::missing(&avps::IMEI).within(&avps::TERMINAL_INFORMATION);
    let digits = group.clone().find(&avps::IMEI).ok_or_else(missing)?;
    let wrong = |fault: Fault| fault.within(&avps::TERMINAL_INFORMATION);
    // Sixteen digits would be an IMEISV, which goes into two AVPs here (§7.3.4, §7.3.5).
    let imei = Some(digits.text()?).filter(|text| text.len() < 16).map(Imei::parse);
    let Some(Ok(imei)) = imei else {
        return Err(wrong(digits.wrong_value("an IMEI is not 14 or 15 digits")));
    };
    let Some(version) = group.find(&avps::SOFTWARE_VERSION) else {
        return Ok(imei);
    };
    let reason = "a software version is not two digits";
    imei.with_software(version.text()?).map_err(|_| wrong(version.wrong_value(reason)))
}

/// What an ME-Identity-Check-Answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckOutcome {
    /// The equipment is in the register.
    Known(EquipmentStatus),
    /// It is not: Experimental-Result 5422.
    Unknown,
    /// The question was not answered, for this reason.
    Failed(ResultCode),
}

impl CheckOutcome {
    /// The answer to a request.
    ///
    /// # Errors
    /// When what is sent back of the request does not fit.
    pub fn write(self, request: &Message<'_>, us: &Identity) -> Result<Vec<u8>, TooLong> {
        let code = match self {
            Self::Known(_) => ResultCode::SUCCESS,
            Self::Unknown => ResultCode::EQUIPMENT_UNKNOWN,
            Self::Failed(code) => code,
        };
        let mut writer = begin_answer(request, code);
        let row = writer.avps();
        write_application(row);
        if self == Self::Unknown {
            row.group(&avps::EXPERIMENTAL_RESULT, |group| {
                group
                    .unsigned32(&avps::VENDOR_ID, VENDOR_3GPP)
                    .unsigned32(&avps::EXPERIMENTAL_RESULT_CODE, code.0);
            });
        } else {
            row.unsigned32(&avps::RESULT_CODE, code.0);
        }
        row.unsigned32(&avps::AUTH_SESSION_STATE, NO_STATE_MAINTAINED);
        us.write(row);
        if let Self::Known(status) = self {
            row.unsigned32(&avps::EQUIPMENT_STATUS, status.number());
        }
        end_answer(request, &mut writer);
        writer.finish()
    }

    /// Of an answer that was checked.
    ///
    /// # Errors
    /// 5005 without a result, or with success and no status; 5004 for a status that is none.
    pub fn read(message: &Message<'_>) -> Result<Self, Fault> {
        let code = message.result_code().ok_or_else(|| Fault::missing(&avps::RESULT_CODE))?;
        if code == ResultCode::EQUIPMENT_UNKNOWN {
            return Ok(Self::Unknown);
        }
        if !code.is_success() {
            return Ok(Self::Failed(code));
        }
        let status = message.need(&avps::EQUIPMENT_STATUS)?;
        let known = EquipmentStatus::of(status.unsigned32()?);
        known.map(Self::Known).ok_or_else(|| status.wrong_value("a status that is none"))
    }
}

fn write_application(row: &mut AvpWriter) {
    row.group(&avps::VENDOR_SPECIFIC_APPLICATION_ID, |group| {
        group
            .unsigned32(&avps::VENDOR_ID, VENDOR_3GPP)
            .unsigned32(&avps::AUTH_APPLICATION_ID, APPLICATION_S13);
    });
}
