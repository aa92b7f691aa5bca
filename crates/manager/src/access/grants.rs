//! The lines of `API_TOKENS_FILE` together: read with all faults at once, and searched.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use governance_domain::Timestamp;

use super::AccessFault;
use super::denial::Denial;
use super::digest::Digest;
use super::file;
use super::grant::{Caller, Grant, Proof, matches};

/// The most lines: every token that is sent is compared with all of them.
const GRANTS_MAX: usize = 1_000;
/// Faults that are named one by one.
const FAULTS_MAX: usize = 10;
/// The shortest token a line is made for: a hash of less can be guessed from.
const TOKEN_MIN: usize = 20;

/// The lines.
#[derive(Debug)]
pub(super) struct Grants {
    /// Those that a token proves. Apart, so that all digests are compared, and nothing else.
    tokens: Vec<(Digest, Grant)>,
    /// Those that a certificate proves, in the order of the file: the first that matches counts.
    certificates: Vec<Grant>,
}

impl Grants {
    /// Reads the file.
    pub(super) fn load(path: &Path) -> Result<Self, AccessFault> {
        let bytes = file::read(file::TOKENS, path)?;
        let text = str::from_utf8(&bytes).map_err(|_| "is not UTF-8 text".to_owned());
        text.and_then(Self::parse).map_err(|why| file::fault(file::TOKENS, path, &why))
    }

    /// Reads the text of the file: a line each, `#` begins a remark.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut grants = Self { tokens: Vec::new(), certificates: Vec::new() };
        let mut faults = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            if let Err(fault) = Grant::parse(line).and_then(|grant| grants.add(grant)) {
                faults.push(format!("line {number}: {fault}"));
            }
        }
        if !faults.is_empty() {
            return Err(together(&faults));
        }
        if grants.tokens.is_empty() && grants.certificates.is_empty() {
            return Err("holds no line, so nobody could do anything".to_owned());
        }
        Ok(grants)
    }

    fn add(&mut self, grant: Grant) -> Result<(), String> {
        if self.tokens.len() + self.certificates.len() >= GRANTS_MAX {
            return Err(format!("there are more than {GRANTS_MAX} lines"));
        }
        match grant.proof {
            Proof::Token(digest) => {
                if self.tokens.iter().any(|(other, _)| other.is(&digest)) {
                    return Err("its token stands in an earlier line, too".to_owned());
                }
                self.tokens.push((digest, grant));
            }
            Proof::Certificate => self.certificates.push(grant),
        }
        Ok(())
    }

    /// Whose token it is. Compares the digests of all lines, whichever it is, so that the time
    /// says nothing of how much was right.
    pub(super) fn by_token(&self, token: &[u8], now: Timestamp) -> Result<Caller, Denial> {
        let sent = Digest::of(token);
        let mut place = 0; // 1 for the first
        for (index, (digest, _)) in self.tokens.iter().enumerate() {
            place |= usize::from(digest.is(&sent)).wrapping_neg() & (index + 1);
        }
        let found = place.checked_sub(1).and_then(|index| self.tokens.get(index));
        let (_, grant) = found.ok_or(Denial::UnknownToken)?;
        in_time(grant, &grant.name, now)
    }

    /// What a verified certificate's name may do.
    pub(super) fn by_certificate(&self, name: &Arc<str>, now: Timestamp) -> Result<Caller, Denial> {
        let grant = self.certificates.iter().find(|grant| matches(&grant.name, name));
        let grant = grant.ok_or_else(|| Denial::Unlisted(Arc::clone(name)))?;
        in_time(grant, name, now)
    }
}

fn in_time(grant: &Grant, name: &Arc<str>, now: Timestamp) -> Result<Caller, Denial> {
    if grant.is_expired(now) {
        return Err(Denial::Expired(Arc::clone(name)));
    }
    Ok(grant.caller(name))
}

fn together(faults: &[String]) -> String {
    let mut text = faults.iter().take(FAULTS_MAX).cloned().collect::<Vec<_>>().join("; ");
    if faults.len() > FAULTS_MAX {
        let _always_works = write!(text, "; and {} more", faults.len() - FAULTS_MAX);
    }
    text
}

/// The line for a token: `beginning` is all of it but the proof.
///
/// # Errors
/// What is wrong with the token or with the beginning.
pub fn hashed_line(beginning: &str, token: &[u8]) -> Result<String, String> {
    let token = token.trim_ascii();
    if token.len() < TOKEN_MIN {
        return Err(format!(
            "a token has at least {TOKEN_MIN} characters, such as openssl rand -hex 32 prints"
        ));
    }
    if !token.iter().all(u8::is_ascii_graphic) {
        return Err("a token is one word of printable ASCII characters".to_owned());
    }
    let line = format!("{} {}", beginning.trim(), Digest::of(token));
    match Grants::parse(&line) {
        Ok(_) if !line.contains(['\n', '#']) => Ok(line),
        Ok(_) => Err("the beginning of a line has no line break and no #".to_owned()),
        Err(why) => Err(why.trim_start_matches("line 1: ").to_owned()),
    }
}
