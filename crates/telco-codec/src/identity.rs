//! Who a Diameter node is: its host and realm (`DiameterIdentity`, RFC 6733 §4.3.1).

use crate::dictionary::avps;
use crate::fault::Fault;
use crate::message::Message;
use crate::writer::AvpWriter;

/// A DNS name is at most this long (RFC 1035 §2.3.4).
const NAME_MAX: usize = 255;

/// Why a text is no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no DiameterIdentity: 1 to {NAME_MAX} letters, digits, `.`, `-` or `_`")]
pub struct IdentityFault(String);

/// Host and realm of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    host: String,
    realm: String,
}

impl Identity {
    /// Checks both.
    ///
    /// # Errors
    /// Which of them is none.
    pub fn new(host: &str, realm: &str) -> Result<Self, IdentityFault> {
        Ok(Self { host: checked(host)?, realm: checked(realm)? })
    }

    /// The host, a full name.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The realm.
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// Whether a host named in a message is this one; names are compared without case.
    pub fn is_host(&self, name: &str) -> bool {
        self.host.eq_ignore_ascii_case(name)
    }

    /// Who sent a message.
    ///
    /// # Errors
    /// 5005 if it does not say, 5004 if it cannot be a name.
    pub fn origin(message: &Message<'_>) -> Result<Self, Fault> {
        let host = message.need(&avps::ORIGIN_HOST)?;
        let realm = message.need(&avps::ORIGIN_REALM)?;
        let reason = "an identity is no name";
        Ok(Self {
            host: checked(host.text()?).map_err(|_| host.wrong_value(reason))?,
            realm: checked(realm.text()?).map_err(|_| realm.wrong_value(reason))?,
        })
    }

    /// Writes Origin-Host and Origin-Realm.
    pub(crate) fn write(&self, avps: &mut AvpWriter) {
        avps.text(&avps::ORIGIN_HOST, &self.host).text(&avps::ORIGIN_REALM, &self.realm);
    }
}

fn checked(name: &str) -> Result<String, IdentityFault> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(is_plain) {
        let shown = name.chars().take(NAME_MAX).collect();
        return Err(IdentityFault(shown));
    }
    Ok(name.to_owned())
}
