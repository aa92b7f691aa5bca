//! Names of services and pods, and the key made of both.
//!
//! `parse` holds the grammar for what is registered today. `stored` takes what a database already
//! holds: a row written under older rules must stay visible and removable.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::limits::{KEY_MAX, NAME_MAX};

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// Nothing there.
    #[error("must not be empty: give 1 to {NAME_MAX} characters of A-Z a-z 0-9 . _ -")]
    Empty,
    /// Longer than [`NAME_MAX`].
    #[error("is {0} characters long: at most {NAME_MAX} are allowed")]
    TooLong(usize),
    /// A character outside the grammar.
    #[error("contains {0:?} at position {1}: only A-Z a-z 0-9 . _ - are allowed")]
    Character(char, usize),
    /// The first or last character is not alphanumeric.
    #[error("must begin and end with a letter or a digit, not {0:?}")]
    Edge(char),
}

/// The grammar shared by services and pods: 1–128 of `[A-Za-z0-9._-]`, alphanumeric at both ends.
fn check(text: &str) -> Result<(), NameFault> {
    if text.is_empty() {
        return Err(NameFault::Empty);
    }
    if text.len() > NAME_MAX {
        return Err(NameFault::TooLong(text.chars().count()));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if let Some((position, c)) = text.chars().enumerate().find(|(_, c)| !allowed(*c)) {
        return Err(NameFault::Character(c, position + 1));
    }
    let edge = |c: Option<char>| c.filter(|c| !c.is_ascii_alphanumeric());
    match edge(text.chars().next()).or_else(|| edge(text.chars().next_back())) {
        Some(c) => Err(NameFault::Edge(c)),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses a name under today's grammar.
            pub fn parse(text: &str) -> Result<Self, NameFault> {
                check(text).map(|()| Self(text.into()))
            }

            /// Takes a name as a database or a request for removal has it, without grammar.
            pub fn stored(text: &str) -> Self {
                Self(text.into())
            }

            /// Whether today's grammar would accept it.
            pub fn is_regular(&self) -> bool {
                check(&self.0).is_ok()
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name! {
    /// The name of a service: a group of pods that do the same.
    ServiceName
}

name! {
    /// The name of a pod within its service.
    PodName
}

impl ServiceName {
    /// The name with ASCII letters in lower case: two services may not differ in case alone.
    pub fn folded(&self) -> Arc<str> {
        if self.0.bytes().any(|b| b.is_ascii_uppercase()) {
            self.0.to_ascii_lowercase().into()
        } else {
            Arc::clone(&self.0)
        }
    }
}

/// What identifies a pod. Kept as two parts: joined text is only for people and for the table's
/// key column, because `a:b` + `c` and `a` + `b:c` would join to the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodKey {
    /// The service the pod belongs to.
    pub service: ServiceName,
    /// The pod within it.
    pub pod: PodName,
}

impl PodKey {
    /// Joins two names; nothing is checked.
    pub fn new(service: ServiceName, pod: PodName) -> Self {
        Self { service, pod }
    }

    /// Whether the joined key fits its column.
    pub fn fits(&self) -> bool {
        self.service.as_str().len() + 1 + self.pod.as_str().len() <= KEY_MAX
    }
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.service, self.pod)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_at_the_bounds_are_accepted() {
        for text in ["a", "Z9", "a.b_c-d", &"x".repeat(NAME_MAX)] {
            assert!(ServiceName::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn each_fault_is_named() {
        let fault = |text: &str| PodName::parse(text).unwrap_err();
        assert_eq!(fault(""), NameFault::Empty);
        assert_eq!(fault(&"x".repeat(NAME_MAX + 1)), NameFault::TooLong(NAME_MAX + 1));
        assert_eq!(fault("a:b"), NameFault::Character(':', 2));
        assert_eq!(fault("a\0"), NameFault::Character('\0', 2));
        assert_eq!(fault("ä"), NameFault::Character('ä', 1));
        assert_eq!(fault("-a"), NameFault::Edge('-'));
        assert_eq!(fault("a."), NameFault::Edge('.'));
    }

    #[test]
    fn parts_that_join_to_the_same_text_are_different_keys() {
        let key = |s, p| PodKey::new(ServiceName::stored(s), PodName::stored(p));
        assert_ne!(key("a:b", "c"), key("a", "b:c"));
        assert_eq!(key("a:b", "c").to_string(), key("a", "b:c").to_string());
    }

    #[test]
    fn two_names_at_their_bound_are_one_character_too_long_together() {
        let key = |s, p| PodKey::new(ServiceName::stored(s), PodName::stored(p));
        let (name, shorter) = ("x".repeat(NAME_MAX), "x".repeat(NAME_MAX - 2));
        assert!(!key(&name, &name).fits());
        assert!(key(&name, &shorter).fits());
    }
}
