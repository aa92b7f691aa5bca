//! One line of `API_TOKENS_FILE`: who, with what right, until when, for which services, and how it
//! is proven.

use std::fmt;
use std::sync::Arc;

use governance_domain::Timestamp;

use super::digest::Digest;

/// The longest name in a line.
const NAME_MAX: usize = 128;
/// Services that one line may name.
const SERVICES_MAX: usize = 256;

/// What a caller may do. Each holds those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// Ask.
    Read,
    /// Register, unregister, send heartbeats.
    Write,
    /// Change how the manager runs.
    Admin,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        })
    }
}

/// Which services may be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Services {
    All,
    /// Names, in which `*` stands for any characters.
    Matching(Vec<String>),
}

/// Who calls, and what that allows. Cheap to clone; stands in a request's extensions.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The line's name, or the certificate's.
    pub name: Arc<str>,
    /// The line's right.
    pub right: Right,
    services: Arc<Services>,
}

impl Caller {
    /// Somebody with a good certificate where there are no lines to say more.
    pub(super) fn unlisted(name: Arc<str>) -> Self {
        Self { name, right: Right::Write, services: Arc::new(Services::All) }
    }

    /// Whether it may register and unregister pods of a service.
    pub fn may_write(&self, service: &str) -> bool {
        self.right >= Right::Write
            && match &*self.services {
                Services::All => true,
                Services::Matching(patterns) => {
                    patterns.iter().any(|pattern| matches(pattern, service))
                }
            }
    }
}

/// How a caller shows that the line is its own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Proof {
    /// It has the token with this digest.
    Token(Digest),
    /// It has a certificate of one of the CAs, with a name that the line's name matches.
    Certificate,
}

/// A line.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) name: Arc<str>,
    right: Right,
    expires: Option<Timestamp>,
    services: Arc<Services>,
    pub(super) proof: Proof,
}

impl Grant {
    /// Reads a line. The error is what is wrong with it, to follow the line's number.
    pub(super) fn parse(line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default();
        let right = words.next().unwrap_or_default();
        let right = match right {
            "read" => Right::Read,
            "write" => Right::Write,
            "admin" => Right::Admin,
            "" => return Err("there is no right after the name: read, write or admin".to_owned()),
            other => return Err(format!("{other:?} is not a right: use read, write or admin")),
        };
        let (mut expires, mut services, mut proof) = (None, None, None);
        for word in words {
            if proof.is_some() {
                return Err("something follows sha256:… or certificate, which end a line".into());
            } else if let Some(time) = word.strip_prefix("expires=") {
                once(&mut expires, parse_time(time)?, "expires=")?;
            } else if let Some(list) = word.strip_prefix("services=") {
                once(&mut services, parse_services(list)?, "services=")?;
            } else if word == "certificate" {
                proof = Some(Proof::Certificate);
            } else {
                // Never repeated in the text: it may be the token itself.
                let digest = Digest::parse(word).ok_or(
                    "there is a word that is none of expires=…, services=…, certificate, and \
                     sha256: with 64 hexadecimal digits",
                )?;
                proof = Some(Proof::Token(digest));
            }
        }
        let proof = proof.ok_or("it does not end with sha256:… or certificate")?;
        check_name(name, proof)?;
        let services = Arc::new(services.map_or(Services::All, Services::Matching));
        Ok(Self { name: name.into(), right, expires, services, proof })
    }

    /// Whether its time is over.
    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Whoever has proven to be meant, under this name.
    pub(super) fn caller(&self, name: &Arc<str>) -> Caller {
        let (name, services) = (Arc::clone(name), Arc::clone(&self.services));
        Caller { name, right: self.right, services }
    }
}

fn once<T>(place: &mut Option<T>, value: T, word: &str) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("{word} stands twice")),
    }
}

fn check_name(name: &str, proof: Proof) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-:/@".contains(c);
    let is_pattern = matches!(proof, Proof::Certificate);
    let is_good = |c: char| is_plain(c) || (is_pattern && c == '*');
    if name.len() > NAME_MAX {
        return Err(format!("its name is longer than {NAME_MAX} characters"));
    }
    if name.chars().all(is_good) {
        return Ok(());
    }
    Err(format!("{name:?} is not a name: use letters, digits and . _ - : / @"))
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    let time: jiff::Timestamp = text.parse().map_err(|_| {
        format!("{text:?} is not a time: give one of RFC 3339, such as 2027-01-02T03:04:05Z")
    })?;
    Ok(Timestamp::from_micros(time.as_microsecond()))
}

fn parse_services(list: &str) -> Result<Vec<String>, String> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "._-*".contains(c);
    let patterns: Vec<String> = list.split(',').map(str::to_owned).collect();
    let odd = patterns.iter().find(|name| name.is_empty() || !name.chars().all(is_good));
    if let Some(odd) = odd {
        return Err(format!("{odd:?} in services= is not a service's name; * stands for any part"));
    }
    if patterns.len() > SERVICES_MAX {
        return Err(format!("services= names more than {SERVICES_MAX}"));
    }
    Ok(patterns)
}

/// Whether `*` in the pattern can stand for what makes both equal. Linear in their lengths times
/// the number of stars tried, which names of at most 255 characters bound.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(pieces.next().unwrap_or_default()) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        match rest.split_once(piece) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}
