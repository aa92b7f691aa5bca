//! A JSON document as it was sent: borrowed, with the difference between whole and other numbers.
//!
//! Requests are not read into typed values by serde, because it stops at the first fault, and a
//! caller is told all of them. Bounds: the body's size is the caller's business; depth is 128.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::problem::Problem;

/// Fields up to which names are compared one by one; beyond, a set is worth its allocation.
const LINEAR_MAX: usize = 16;

/// A value.
#[derive(Debug, PartialEq)]
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    /// A number without fraction or exponent that fits.
    Whole(i64),
    /// Any other number.
    Fraction(f64),
    Text(Cow<'a, str>),
    List(Vec<Json<'a>>),
    /// Fields in the order they were sent; no name stands twice.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

impl Json<'_> {
    /// What it is, for a sentence.
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Whole(_) => "a number",
            Self::Fraction(_) => "not a whole number",
            Self::Text(_) => "a string",
            Self::List(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

/// Parses a body.
pub(super) fn parse(body: &[u8]) -> Result<Json<'_>, Problem> {
    let text = std::str::from_utf8(body).map_err(|fault| {
        let position = fault.valid_up_to();
        Problem::malformed_json(format!(
            "the body is not valid UTF-8 at byte {position}: send JSON in UTF-8"
        ))
    })?;
    if text.trim_ascii().is_empty() {
        return Err(Problem::malformed_json("the body is empty: send a JSON object"));
    }
    serde_json::from_str(text).map_err(|fault| {
        let fault = fault.to_string();
        if fault.starts_with("recursion limit exceeded") {
            Problem::malformed_json("the body is nested more than 127 levels deep: send less depth")
        } else {
            Problem::malformed_json(format!("the body is not valid JSON: {fault}"))
        }
    })
}

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Document)
    }
}

/// A field's name: borrowed unless it has escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if let Json::Text(name) = deserializer.deserialize_str(Document)? {
            return Ok(Self(name));
        }
        Err(D::Error::custom("a field's name is a string"))
    }
}

struct Document;

impl<'de> Visitor<'de> for Document {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Whole(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(Json::Whole(i64::try_from(value).unwrap_or(i64::MAX))) // out of every range we know
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json<'de>, E> {
        Ok(Json::Fraction(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Json<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Json<'de>, A::Error> {
        let mut object: Vec<(Cow<'de, str>, Json<'de>)> = Vec::new();
        let mut seen: HashSet<Cow<'de, str>> = HashSet::new();
        while let Some(Name(name)) = fields.next_key()? {
            let is_repeated = if object.len() < LINEAR_MAX {
                object.iter().any(|(other, _)| *other == name)
            } else {
                if seen.is_empty() {
                    seen.extend(object.iter().map(|(other, _)| other.clone()));
                }
                !seen.insert(name.clone())
            };
            if is_repeated {
                let fault = format!("the field {name:?} stands twice in one object");
                return Err(A::Error::custom(fault));
            }
            object.push((name, fields.next_value()?));
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(body: &[u8]) -> String {
        let problem = parse(body).expect_err("it is not a document");
        String::from_utf8(problem.body("id")).unwrap()
    }

    #[test]
    fn texts_without_escapes_are_borrowed() {
        let Json::Object(fields) = parse(br#"{"a":"b","\u0061b":"\n"}"#).unwrap() else { panic!() };
        assert!(matches!(&fields[0], (Cow::Borrowed("a"), Json::Text(Cow::Borrowed("b")))));
        assert_eq!(fields[1], ("ab".into(), Json::Text("\n".into())));
    }

    #[test]
    fn whole_numbers_are_told_from_others() {
        let body = b"[1,-2,18446744073709551615,1.0,1e2,99999999999999999999]";
        let Json::List(list) = parse(body).unwrap() else { panic!() };
        assert_eq!(list[..3], [Json::Whole(1), Json::Whole(-2), Json::Whole(i64::MAX)]);
        assert!(list[3..].iter().all(|number| matches!(number, Json::Fraction(_))));
    }

    #[test]
    fn repeated_fields_are_found_in_small_and_large_objects() {
        assert!(fault(br#"{"a":1,"a":1}"#).contains("stands twice"));
        assert!(fault(br#"{"a":1,"\u0061":1}"#).contains("stands twice"));
        let many: Vec<String> = (0..5_000).map(|n| format!("\"{n}\":0")).collect();
        let many = many.join(",");
        assert!(parse(format!("{{{many}}}").as_bytes()).is_ok());
        for again in [3, 20, 4_999] {
            let body = format!("{{{many},\"{again}\":0}}");
            assert!(fault(body.as_bytes()).contains("stands twice"), "{again}");
        }
    }

    #[test]
    fn what_is_not_json_is_named() {
        for (body, part) in [
            (&b""[..], "the body is empty"),
            (b" \n", "the body is empty"),
            (b"{", "EOF"),
            (b"{\"a\":1}x", "trailing characters"),
            (b"\"\xff\"", "not valid UTF-8 at byte 1"),
            (b"{\"a\":01}", "not valid JSON"),
            (b"\"\\ud800\"", "not valid JSON"),
            (b"\"\x01\"", "control character"),
            (b"1e999", "number out of range"),
            (&vec![b'['; 60_000], "127 levels deep"),
        ] {
            let fault = fault(body);
            assert!(fault.contains(part), "{fault}");
        }
    }

    #[test]
    fn depth_of_127_is_accepted_and_128_is_not() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse(nested(127).as_bytes()).is_ok());
        assert!(fault(nested(128).as_bytes()).contains("127 levels"));
    }
}
