//! Result codes (RFC 6733 §7.1; the experimental one is 3GPP's, TS 29.272 §7.4).

use std::fmt;

/// A value of the AVP Result-Code, or of Experimental-Result-Code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResultCode(pub u32);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        impl ResultCode {
            $($(#[$doc])* pub const $name: Self = Self($number);)*

            /// The name in the specification, if this is one of those used here.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// Done.
    SUCCESS = 2001, "DIAMETER_SUCCESS";
    /// The command is not known in the application.
    COMMAND_UNSUPPORTED = 3001, "DIAMETER_COMMAND_UNSUPPORTED";
    /// No peer can take the request.
    UNABLE_TO_DELIVER = 3002, "DIAMETER_UNABLE_TO_DELIVER";
    /// The realm is not known.
    REALM_NOT_SERVED = 3003, "DIAMETER_REALM_NOT_SERVED";
    /// The peer cannot take more; another may.
    TOO_BUSY = 3004, "DIAMETER_TOO_BUSY";
    /// The agent saw this request before.
    LOOP_DETECTED = 3005, "DIAMETER_LOOP_DETECTED";
    /// The application is not supported.
    APPLICATION_UNSUPPORTED = 3007, "DIAMETER_APPLICATION_UNSUPPORTED";
    /// The header's flags make no sense for the command.
    INVALID_HDR_BITS = 3008, "DIAMETER_INVALID_HDR_BITS";
    /// An AVP's flags make no sense.
    INVALID_AVP_BITS = 3009, "DIAMETER_INVALID_AVP_BITS";
    /// The peer is not known.
    UNKNOWN_PEER = 3010, "DIAMETER_UNKNOWN_PEER";
    /// An AVP with the M flag is not known.
    AVP_UNSUPPORTED = 5001, "DIAMETER_AVP_UNSUPPORTED";
    /// An AVP's value makes no sense.
    INVALID_AVP_VALUE = 5004, "DIAMETER_INVALID_AVP_VALUE";
    /// An AVP is required and not there.
    MISSING_AVP = 5005, "DIAMETER_MISSING_AVP";
    /// An AVP is there more often than allowed.
    AVP_OCCURS_TOO_MANY_TIMES = 5009, "DIAMETER_AVP_OCCURS_TOO_MANY_TIMES";
    /// The peers share no application.
    NO_COMMON_APPLICATION = 5010, "DIAMETER_NO_COMMON_APPLICATION";
    /// The version is not 1.
    UNSUPPORTED_VERSION = 5011, "DIAMETER_UNSUPPORTED_VERSION";
    /// It cannot be done, for a reason no other code names.
    UNABLE_TO_COMPLY = 5012, "DIAMETER_UNABLE_TO_COMPLY";
    /// An AVP's length is wrong.
    INVALID_AVP_LENGTH = 5014, "DIAMETER_INVALID_AVP_LENGTH";
    /// The message's length is wrong.
    INVALID_MESSAGE_LENGTH = 5015, "DIAMETER_INVALID_MESSAGE_LENGTH";
    /// 3GPP: the equipment is not known (an Experimental-Result of vendor 10415).
    EQUIPMENT_UNKNOWN = 5422, "DIAMETER_ERROR_EQUIPMENT_UNKNOWN";
}

impl ResultCode {
    /// Whether an answer with this code carries the E flag (RFC 6733 §7.1.3).
    pub const fn is_protocol_error(self) -> bool {
        self.0 / 1000 == 3
    }

    /// 2xxx.
    pub const fn is_success(self) -> bool {
        self.0 / 1000 == 2
    }
}

impl fmt::Display for ResultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{} ({name})", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}
