//! Query parameters: decoded, each at most once, all faults at once. Unknown ones are ignored.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::place::{Faults, Place};
use super::problem::Problem;

/// The longest value: no name, id or cursor is longer.
const VALUE_MAX: usize = 1_100;

/// The parameters of one request, and what is wrong with them.
pub(super) struct Query<'a> {
    pairs: Vec<(Cow<'a, str>, Option<Cow<'a, str>>)>,
    faults: Faults,
}

impl<'a> Query<'a> {
    /// Splits the part of a URI after `?`.
    pub(super) fn new(query: Option<&'a str>) -> Self {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let decode = |pair: &'a str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decoded(name)?, decoded(value)))
        };
        Self { pairs: pairs.filter_map(decode).collect(), faults: Faults::default() }
    }

    /// A parameter that may be absent; present, it is neither empty nor repeated.
    pub(super) fn optional(&mut self, name: &'static str) -> Option<Cow<'a, str>> {
        let mut values = self.pairs.iter().filter(|(other, _)| other == name).map(|(_, v)| v);
        let value = values.next()?;
        let fault = match value {
            _ if values.next().is_some() => "is given more than once: give it once".to_owned(),
            None => "is not valid UTF-8 after percent-decoding".to_owned(),
            Some(value) if value.is_empty() => "must not be empty: give a value".to_owned(),
            Some(value) if value.len() > VALUE_MAX => {
                format!("is longer than {VALUE_MAX} bytes: shorten it")
            }
            Some(value) if value.contains('\0') => "must not contain NUL".to_owned(),
            Some(value) => return Some(value.clone()),
        };
        self.faults.add(&Place::ROOT.field(name), fault);
        None
    }

    /// A parameter that must be there.
    pub(super) fn required(&mut self, name: &'static str) -> Option<Cow<'a, str>> {
        if self.pairs.iter().any(|(other, _)| other == name) {
            return self.optional(name);
        }
        self.fault(name, format!("is missing: add the query parameter {name}=…"));
        None
    }

    /// A parameter that `parse` makes something of.
    pub(super) fn parsed<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.optional(name)?;
        self.faults.take(&Place::ROOT.field(name), parse(&value))
    }

    /// Notes a fault of a parameter.
    pub(super) fn fault(&mut self, name: &'static str, message: String) {
        self.faults.add(&Place::ROOT.field(name), message);
    }

    /// The problem, if there was a fault.
    pub(super) fn finish(self) -> Result<(), Problem> {
        if self.faults.0.is_empty() { Ok(()) } else { Err(Problem::invalid(self.faults.0)) }
    }
}

/// Decodes `%41` and `+`; none if the result is not UTF-8.
fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
    Some(Cow::Owned(decoded.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_faults_are_collected() {
        let text = "a=x%2Fy+z&b=&c=1&c=2&d=%ff&&e=%00&unknown&f=%";
        let mut query = Query::new(Some(text));
        assert_eq!(query.required("a").as_deref(), Some("x/y z"));
        assert_eq!(query.optional("absent"), None);
        assert_eq!(query.optional("f").as_deref(), Some("%"));
        for name in ["b", "c", "d", "e", "g"] {
            assert_eq!(query.required(name), None, "{name}");
        }
        let pointers: Vec<_> = query.faults.0.iter().map(|fault| &*fault.pointer).collect();
        assert_eq!(pointers, ["/b", "/c", "/d", "/e", "/g"]);
    }
}
