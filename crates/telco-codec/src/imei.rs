//! The identity of an equipment: IMEI and IMEISV (3GPP TS 23.003 §6.2).

use std::fmt;

/// Digits of TAC and serial number together.
const DIGITS: usize = 14;

/// Why a text is no IMEI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an IMEI is 14 digits, 15 with its check digit, or 16 with a software version")]
pub struct ImeiFault;

/// An equipment: eight digits of type (TAC) and six of serial number, and a software version where
/// one was given. The check digit is not part of it: networks send a zero or nothing in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Imei {
    /// Below 10^14.
    number: u64,
    /// 0 to 99.
    software: Option<u8>,
}

impl Imei {
    /// Reads 14 digits, 15 (the last is not looked at) or 16 (an IMEISV).
    ///
    /// # Errors
    /// When it is anything else.
    pub fn parse(text: &str) -> Result<Self, ImeiFault> {
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ImeiFault);
        }
        let (number, rest) = text.split_at_checked(DIGITS).ok_or(ImeiFault)?;
        let software = match rest.len() {
            0 | 1 => None,
            2 => Some(rest.parse().map_err(|_| ImeiFault)?),
            _ => return Err(ImeiFault),
        };
        Ok(Self { number: number.parse().map_err(|_| ImeiFault)?, software })
    }

    /// The same equipment with the version of its software, two digits.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn with_software(self, text: &str) -> Result<Self, ImeiFault> {
        if text.len() != 2 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ImeiFault);
        }
        Ok(Self { software: text.parse().ok(), ..self })
    }

    /// TAC and serial number as one number below 10^14.
    pub const fn number(self) -> u64 {
        self.number
    }

    /// The 14 digits.
    pub fn digits(self) -> String {
        format!("{:014}", self.number)
    }

    /// The two digits of the software version, where there is one.
    pub fn software(self) -> Option<String> {
        self.software.map(|version| format!("{version:02}"))
    }
}

impl fmt::Display for Imei {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:014}", self.number)?;
        self.software.map_or(Ok(()), |version| write!(f, "{version:02}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_digit_is_not_part_of_the_equipment() {
        let plain = Imei::parse("35209900176148").unwrap();
        assert_eq!(Imei::parse("352099001761481"), Ok(plain));
        assert_eq!(Imei::parse("352099001761480"), Ok(plain));
        assert_eq!(plain.digits(), "35209900176148");
    }

    #[test]
    fn an_imeisv_has_a_software_version() {
        let imei = Imei::parse("0104900017614823").unwrap();
        assert_eq!(imei.software().as_deref(), Some("23"));
        assert_eq!(imei.to_string(), "0104900017614823");
        assert_eq!(Imei::parse("01049000176148").unwrap().with_software("23"), Ok(imei));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "3520990017614", "35209900176148123", "3520990017614x", "３5209900176148"]
        {
            assert_eq!(Imei::parse(text), Err(ImeiFault), "{text:?}");
        }
        assert!(Imei::parse("35209900176148").unwrap().with_software("1").is_err());
    }
}
