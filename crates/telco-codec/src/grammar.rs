//! What a command must and may hold (the ABNF of RFC 6733 §3.2), and the check of it.
//!
//! Every command here ends in `*[ AVP ]`: an AVP that no rule names may be there if it is in the
//! dictionary, or does not insist on being understood. Failed-AVP is not looked into: its contents
//! are wrong by nature.

use crate::avp::{Avp, Avps};
use crate::dictionary::{Definition, Kind, avps};
use crate::fault::Fault;
use crate::message::Message;
use crate::result_code::ResultCode;

/// How deep groups in groups are followed; what goes deeper is refused. Specifications use three.
pub const GROUP_DEPTH_MAX: usize = 8;

/// How often one AVP stands in a message.
#[derive(Debug)]
pub struct Rule {
    /// Which.
    pub avp: &'static Definition,
    /// At least.
    pub least: usize,
    /// At most.
    pub most: usize,
}

/// The rules of one command or group.
#[derive(Debug)]
pub struct Grammar {
    /// One for each AVP that the specification names.
    pub rules: &'static [Rule],
}

/// Exactly once.
pub(crate) const fn one(avp: &'static Definition) -> Rule {
    Rule { avp, least: 1, most: 1 }
}

/// Not more than once.
pub(crate) const fn maybe(avp: &'static Definition) -> Rule {
    Rule { avp, least: 0, most: 1 }
}

/// As often as it likes, but at least so many times.
pub(crate) const fn many(avp: &'static Definition, least: usize) -> Rule {
    Rule { avp, least, most: usize::MAX }
}

/// Terminal-Information without an IMEI is no question.
static TERMINAL: Grammar =
    Grammar { rules: &[one(&avps::IMEI), maybe(&avps::SOFTWARE_VERSION), maybe(&avps::MEID)] };
static EXPERIMENTAL: Grammar =
    Grammar { rules: &[one(&avps::VENDOR_ID), one(&avps::EXPERIMENTAL_RESULT_CODE)] };
static PROXY: Grammar = Grammar { rules: &[one(&avps::PROXY_HOST), one(&avps::PROXY_STATE)] };
static VENDOR_APPLICATION: Grammar = Grammar {
    rules: &[
        // RFC 6733 has one; RFC 3588 allowed several and some still send them.
        many(&avps::VENDOR_ID, 1),
        maybe(&avps::AUTH_APPLICATION_ID),
        maybe(&avps::ACCT_APPLICATION_ID),
    ],
};
static ANYTHING: Grammar = Grammar { rules: &[] };

impl Grammar {
    /// Checks a message.
    ///
    /// # Errors
    /// 5001 for an AVP that is not known and insists, 5014 and 5004 for wrong values, 5009 for too
    /// many, 5005 for too few; the first that is found, with Failed-AVP.
    pub fn check(&self, message: &Message<'_>) -> Result<(), Fault> {
        self.check_row(|| message.avps().map(Ok), true, 1)
    }

    fn check_row<'a, I>(
        &self,
        row: impl Fn() -> I,
        is_strict: bool,
        depth: usize,
    ) -> Result<(), Fault>
    where
        I: Iterator<Item = Result<Avp<'a>, Fault>>,
    {
        for avp in row() {
            check_one(&avp?, is_strict, depth)?;
        }
        for rule in self.rules {
            let mut same = row().map_while(Result::ok).filter(|avp| avp.is(rule.avp));
            // The one too many, if there is one.
            if let Some(surplus) = same.nth(rule.most) {
                let reason = "an AVP occurs too many times";
                let code = ResultCode::AVP_OCCURS_TOO_MANY_TIMES;
                return Err(Fault::new(code, reason).with(&surplus));
            }
            let count = row().map_while(Result::ok).filter(|avp| avp.is(rule.avp));
            if count.take(rule.least).count() < rule.least {
                return Err(Fault::missing(rule.avp));
            }
        }
        Ok(())
    }
}

/// One AVP: known or harmless, of a length its type has, and the same inside if it is a group.
fn check_one(avp: &Avp<'_>, is_strict: bool, depth: usize) -> Result<(), Fault> {
    let Some(definition) = avp.definition() else {
        if avp.is_mandatory && is_strict {
            let reason = "an AVP that must be understood is not known";
            return Err(Fault::new(ResultCode::AVP_UNSUPPORTED, reason).with(avp));
        }
        return Ok(());
    };
    match definition.kind {
        Kind::OctetString => Ok(()),
        Kind::Identity if avp.data.is_empty() => Err(avp.wrong_length()),
        Kind::Utf8String | Kind::Identity => avp.text().map(drop),
        Kind::Unsigned32 | Kind::Time => avp.unsigned32().map(drop),
        Kind::Address => avp.address().map(drop),
        Kind::Grouped if *definition == avps::FAILED_AVP => Ok(()),
        Kind::Grouped => check_group(avp, definition, is_strict, depth),
    }
}

fn check_group(
    avp: &Avp<'_>,
    definition: &Definition,
    is_strict: bool,
    depth: usize,
) -> Result<(), Fault> {
    if !avp.data.len().is_multiple_of(4) {
        return Err(avp.wrong_length());
    }
    if depth >= GROUP_DEPTH_MAX {
        return Err(avp.wrong_value("groups are nested too deeply"));
    }
    let grammar = match definition.code {
        1401 => &TERMINAL,
        297 => &EXPERIMENTAL,
        284 => &PROXY,
        260 => &VENDOR_APPLICATION,
        _ => &ANYTHING,
    };
    // A group that does not insist may hold what insists inside it (RFC 6733 §4.4).
    let row = || -> Avps<'_> { avp.group() };
    let checked = grammar.check_row(row, is_strict && avp.is_mandatory, depth + 1);
    checked.map_err(|fault| fault.within(definition))
}
