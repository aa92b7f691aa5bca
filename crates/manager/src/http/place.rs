//! Where in a JSON document a fault is, and the faults found so far.
//!
//! A place is a chain of steps on the stack; it becomes a JSON pointer (RFC 6901) only when there
//! is a fault, because most documents have none.

use std::fmt::{self, Display, Write as _};

use governance_api::Fault;

/// A place in a document.
#[derive(Clone, Copy)]
pub(super) struct Place<'a>(Option<(&'a Place<'a>, Step<'a>)>);

#[derive(Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    Item(usize),
}

impl Place<'static> {
    /// The whole document.
    pub(super) const ROOT: Self = Self(None);
}

impl<'a> Place<'a> {
    /// A field of the object here.
    pub(super) fn field(&'a self, name: &'a str) -> Place<'a> {
        Place(Some((self, Step::Field(name))))
    }

    /// An element of the list here.
    pub(super) fn item(&'a self, index: usize) -> Place<'a> {
        Place(Some((self, Step::Item(index))))
    }
}

impl Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((parent, step)) = self.0 else { return Ok(()) };
        Display::fmt(parent, f)?;
        f.write_char('/')?;
        match step {
            Step::Item(index) => write!(f, "{index}"),
            Step::Field(name) => f.write_str(&name.replace('~', "~0").replace('/', "~1")),
        }
    }
}

/// The faults found so far.
#[derive(Default)]
pub(super) struct Faults(pub(super) Vec<Fault>);

impl Faults {
    /// Notes a fault.
    pub(super) fn add(&mut self, place: &Place<'_>, message: impl Into<String>) {
        self.0.push(Fault { pointer: place.to_string(), message: message.into() });
    }

    /// The value, or a fault noted.
    pub(super) fn take<T>(
        &mut self,
        place: &Place<'_>,
        result: Result<T, impl Display>,
    ) -> Option<T> {
        result.map_err(|fault| self.add(place, fault.to_string())).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_is_written_as_a_json_pointer() {
        let root = Place::ROOT;
        let list = root.field("a/b~c");
        let item = list.item(3);
        assert_eq!(item.field("port").to_string(), "/a~1b~0c/3/port");
        assert_eq!(root.to_string(), "");
    }
}
