//! The AVPs that are understood: code, vendor, type, and whether they are sent with the M flag
//! (RFC 6733 §4.5; 3GPP TS 29.272 §7.3, TS 29.229 §6.3 for Supported-Features).

use crate::VENDOR_3GPP;

/// How a value is written (RFC 6733 §4.2, §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any bytes.
    OctetString,
    /// Text.
    Utf8String,
    /// A host or realm: at least one character.
    Identity,
    /// Four bytes: Unsigned32 and Enumerated.
    Unsigned32,
    /// Four bytes: seconds since 1900.
    Time,
    /// Two bytes of family and the address.
    Address,
    /// AVPs.
    Grouped,
}

/// One AVP of the dictionary.
#[derive(Debug, PartialEq, Eq)]
pub struct Definition {
    /// The name in the specification.
    pub name: &'static str,
    /// The code.
    pub code: u32,
    /// The vendor; none for those of the IETF.
    pub vendor: Option<u32>,
    /// How the value is written.
    pub kind: Kind,
    /// Whether it is sent with the M flag.
    pub is_mandatory: bool,
}

macro_rules! dictionary {
    ($($name:ident = $text:literal, $code:literal, $vendor:expr, $kind:ident, $mandatory:literal;)*) => {
        /// The AVPs by name.
        pub mod avps {
            use super::{Definition, Kind, VENDOR_3GPP};

            const IETF: Option<u32> = None;
            const TGPP: Option<u32> = Some(VENDOR_3GPP);

            $(
                #[doc = $text]
                pub static $name: Definition = Definition {
                    name: $text,
                    code: $code,
                    vendor: $vendor,
                    kind: Kind::$kind,
                    is_mandatory: $mandatory,
                };
            )*

            /// All of them.
            pub(super) static ALL: &[&Definition] = &[$(&$name),*];
        }
    };
}

dictionary! {
    USER_NAME = "User-Name", 1, IETF, Utf8String, true;
    PROXY_STATE = "Proxy-State", 33, IETF, OctetString, true;
    HOST_IP_ADDRESS = "Host-IP-Address", 257, IETF, Address, true;
    AUTH_APPLICATION_ID = "Auth-Application-Id", 258, IETF, Unsigned32, true;
    ACCT_APPLICATION_ID = "Acct-Application-Id", 259, IETF, Unsigned32, true;
    VENDOR_SPECIFIC_APPLICATION_ID =
        "Vendor-Specific-Application-Id", 260, IETF, Grouped, true;
    SESSION_ID = "Session-Id", 263, IETF, Utf8String, true;
    ORIGIN_HOST = "Origin-Host", 264, IETF, Identity, true;
    SUPPORTED_VENDOR_ID = "Supported-Vendor-Id", 265, IETF, Unsigned32, true;
    VENDOR_ID = "Vendor-Id", 266, IETF, Unsigned32, true;
    FIRMWARE_REVISION = "Firmware-Revision", 267, IETF, Unsigned32, false;
    RESULT_CODE = "Result-Code", 268, IETF, Unsigned32, true;
    PRODUCT_NAME = "Product-Name", 269, IETF, Utf8String, false;
    DISCONNECT_CAUSE = "Disconnect-Cause", 273, IETF, Unsigned32, true;
    AUTH_SESSION_STATE = "Auth-Session-State", 277, IETF, Unsigned32, true;
    ORIGIN_STATE_ID = "Origin-State-Id", 278, IETF, Unsigned32, true;
    FAILED_AVP = "Failed-AVP", 279, IETF, Grouped, true;
    PROXY_HOST = "Proxy-Host", 280, IETF, Identity, true;
    ERROR_MESSAGE = "Error-Message", 281, IETF, Utf8String, false;
    ROUTE_RECORD = "Route-Record", 282, IETF, Identity, true;
    DESTINATION_REALM = "Destination-Realm", 283, IETF, Identity, true;
    PROXY_INFO = "Proxy-Info", 284, IETF, Grouped, true;
    DESTINATION_HOST = "Destination-Host", 293, IETF, Identity, true;
    ERROR_REPORTING_HOST = "Error-Reporting-Host", 294, IETF, Identity, false;
    ORIGIN_REALM = "Origin-Realm", 296, IETF, Identity, true;
    EXPERIMENTAL_RESULT = "Experimental-Result", 297, IETF, Grouped, true;
    EXPERIMENTAL_RESULT_CODE = "Experimental-Result-Code", 298, IETF, Unsigned32, true;
    INBAND_SECURITY_ID = "Inband-Security-Id", 299, IETF, Unsigned32, true;
    DRMP = "DRMP", 301, IETF, Unsigned32, false;
    EVENT_TIMESTAMP = "Event-Timestamp", 55, IETF, Time, true;
    SUPPORTED_FEATURES = "Supported-Features", 628, TGPP, Grouped, false;
    FEATURE_LIST_ID = "Feature-List-ID", 629, TGPP, Unsigned32, false;
    FEATURE_LIST = "Feature-List", 630, TGPP, Unsigned32, false;
    TERMINAL_INFORMATION = "Terminal-Information", 1401, TGPP, Grouped, true;
    IMEI = "IMEI", 1402, TGPP, Utf8String, true;
    SOFTWARE_VERSION = "Software-Version", 1403, TGPP, Utf8String, true;
    EQUIPMENT_STATUS = "Equipment-Status", 1445, TGPP, Unsigned32, true;
    MEID = "3GPP2-MEID", 1471, TGPP, OctetString, true;
}

/// What is known of an AVP.
pub fn definition(code: u32, vendor: Option<u32>) -> Option<&'static Definition> {
    avps::ALL.iter().copied().find(|known| known.code == code && known.vendor == vendor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_definitions_share_a_code() {
        for one in avps::ALL {
            assert_eq!(definition(one.code, one.vendor), Some(*one), "{}", one.name);
        }
    }
}
