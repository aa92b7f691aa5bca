//! The merge: flags over environment over configuration file over defaults, with the origin of
//! each value, and the reader through which the sections turn texts into values.
//!
//! An empty value is an unset value, at every level. What a single setting allows is not decided
//! here. INVARIANT: every text that is refused becomes a fault; reading never stops at the first.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::fault::Fault;
use super::file;
use super::rule::{PATH, Reason, Rule, Text};
use super::setting::{Card, Secrecy, Setting};
use super::table;

/// The most that is read of a file with CAs; a system's own is a quarter of a megabyte.
const AUTHORITIES_MAX: u64 = 16 * 1024 * 1024;

/// The configuration file to read.
pub(super) static CONFIG_FILE: Setting<Text<std::path::PathBuf>> = Setting::new(
    "CONFIG_FILE",
    "",
    "YAML file with any of these settings; flags and environment variables win over it",
    PATH,
);

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File {
        /// Its path as it was given.
        path: Arc<str>,
        /// Counted from 1.
        line: u64,
    },
    /// Read from the file that another setting names, such as `DB_PASSWORD_FILE`.
    Indirect(&'static str),
    /// An environment variable.
    Environment,
    /// The command line.
    Flag,
}

impl Origin {
    /// The higher one wins.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File { .. } => 1,
            Self::Indirect(_) => 2,
            Self::Environment => 3,
            Self::Flag => 4,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{path} line {line}"),
            Self::Indirect(name) => write!(f, "from {name}"),
            Self::Environment => f.write_str("environment"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// A text that somebody set.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) text: String,
    pub(super) origin: Origin,
}

/// The texts that are in effect, by the name of their setting.
#[derive(Debug, Default)]
pub(super) struct Values {
    given: BTreeMap<&'static str, Given>,
    pub(super) faults: Vec<Fault>,
    pub(super) warnings: Vec<String>,
}

impl Values {
    /// Merges all sources. Reads the configuration file, and nothing else from outside.
    pub(super) fn merge(
        mut flags: BTreeMap<&'static str, OsString>,
        environment: &BTreeMap<OsString, OsString>,
    ) -> Self {
        let mut values = Self::default();
        for setting in table::settings() {
            let card = setting.card();
            if let Some(raw) = flags.remove(card.name) {
                values.offer(card, &raw, Origin::Flag);
            }
            for name in [Some(card.name), card.environment_alias].into_iter().flatten() {
                let raw = environment.get(OsStr::new(name));
                if let Some(raw) = raw.filter(|raw| !values.is_injected_address(card, raw)) {
                    values.offer(card, raw, Origin::Environment);
                }
            }
        }
        values.add_file();
        values
    }

    /// Container platforms set `DB_PORT=tcp://10.0.0.7:5432` for a service called "db".
    fn is_injected_address(&mut self, card: &Card, raw: &OsStr) -> bool {
        let is_port = matches!(card.name, "DB_PORT" | "SERVER_PORT");
        let text = raw.to_string_lossy();
        let mut schemes = ["tcp://", "udp://", "sctp://"].iter();
        let is_injected = is_port && schemes.any(|scheme| text.trim().starts_with(scheme));
        if is_injected {
            self.warnings.push(format!(
                "{}={:?} (environment) is ignored: it looks like the address of a service that \
                 the container platform announces, not like a port",
                card.name,
                text.trim()
            ));
        }
        is_injected
    }

    fn add_file(&mut self) {
        let Some(Given { text, origin }) = self.given.get(CONFIG_FILE.card.name).cloned() else {
            return;
        };
        match file::read(Path::new(&text)) {
            Ok(contents) => {
                self.warnings.extend(contents.warnings);
                self.faults.extend(contents.faults);
                for (card, given) in contents.values {
                    self.offer_text(card, given.text, given.origin);
                }
            }
            Err(problem) => {
                self.faults.push(Fault::new(&CONFIG_FILE.card, &text, &origin, problem));
            }
        }
    }

    fn offer(&mut self, card: &'static Card, raw: &OsStr, origin: Origin) {
        match raw.to_str() {
            Some(text) => self.offer_text(card, text.to_owned(), origin),
            None => {
                let problem = "must be UTF-8 text".to_owned();
                self.faults.push(Fault::new(card, &raw.to_string_lossy(), &origin, problem));
            }
        }
    }

    /// Takes the value unless it is empty or a source of higher rank has set it.
    fn offer_text(&mut self, card: &'static Card, text: String, origin: Origin) {
        let text = match card.secrecy {
            Secrecy::Open => text.trim().to_owned(),
            Secrecy::Secret => text, // a space may be part of a password
        };
        if !text.is_empty() {
            self.given.entry(card.name).or_insert(Given { text, origin });
        }
    }
}

/// One line of `--check-config`.
#[derive(Debug)]
pub(super) struct Effective {
    pub(super) card: &'static Card,
    pub(super) shown: String,
    pub(super) origin: Origin,
}

/// Turns texts into values for the sections, and collects what is wrong with them.
pub(super) struct Reader<'a> {
    values: &'a Values,
    pub(super) faults: Vec<Fault>,
    pub(super) warnings: Vec<String>,
    pub(super) effective: Vec<Effective>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(values: &'a Values) -> Self {
        Self {
            values,
            faults: values.faults.clone(),
            warnings: values.warnings.clone(),
            effective: Vec::new(),
        }
    }

    /// A setting's value: what was set, else its default, also in place of what is refused.
    pub(super) fn read<R: Rule>(&mut self, setting: &'static Setting<R>) -> R::Value {
        self.read_given(setting).unwrap_or_else(|| {
            let value = setting.rule.parse(setting.card.default);
            let value = value.expect("a default is allowed: a test reads every one of them");
            self.note(&setting.card, setting.rule.show(&value), Origin::Default);
            value
        })
    }

    /// The same for a setting without a default.
    pub(super) fn read_optional<R: Rule>(
        &mut self,
        setting: &'static Setting<R>,
    ) -> Option<R::Value> {
        let value = self.read_given(setting);
        if value.is_none() {
            self.note(&setting.card, String::new(), Origin::Default);
        }
        value
    }

    fn read_given<R: Rule>(&mut self, setting: &'static Setting<R>) -> Option<R::Value> {
        let Given { text, origin } = self.values.given.get(setting.card.name)?;
        match setting.rule.parse(text) {
            Ok(value) => {
                self.note(&setting.card, setting.rule.show(&value), origin.clone());
                Some(value)
            }
            Err(reason) => {
                let problem = refusal(&setting.rule.allowed(), reason);
                self.faults.push(Fault::new(&setting.card, text, origin, problem));
                None
            }
        }
    }

    /// Shows a setting that has no effect in this program as it was given, and does not judge it.
    pub(super) fn pass_over(&mut self, card: &'static Card) {
        let given = self.values.given.get(card.name);
        let shown = match (given, card.secrecy) {
            (Some(given), Secrecy::Open) => given.text.clone(),
            (Some(_), Secrecy::Secret) => "(hidden)".to_owned(),
            (None, _) => String::new(),
        };
        let origin = given.map_or(Origin::Default, |given| given.origin.clone());
        self.note(card, shown, origin);
    }

    /// Where a setting's text comes from, if somebody set it.
    pub(super) fn origin(&self, card: &Card) -> Option<&'a Origin> {
        self.values.given.get(card.name).map(|given| &given.origin)
    }

    /// Adds a fault that only shows when several settings are seen together.
    pub(super) fn refuse(&mut self, card: &'static Card, problem: String) {
        if let Some(given) = self.values.given.get(card.name) {
            self.faults.push(Fault::new(card, &given.text, &given.origin, problem));
        }
    }

    /// A file of CAs that cannot be read, or holds none, is a wrong value; whom they make
    /// believable is judged by who uses them.
    pub(super) fn require_authorities(&mut self, card: &'static Card, path: &Path) {
        if let Err(why) = authorities(path) {
            self.refuse(card, why);
        }
    }

    /// Records what `--check-config` says; a later note for the same setting replaces it.
    pub(super) fn note(&mut self, card: &'static Card, shown: String, origin: Origin) {
        self.effective.retain(|line| line.card.name != card.name);
        self.effective.push(Effective { card, shown, origin });
    }
}

fn refusal(allowed: &str, reason: Reason) -> String {
    match reason {
        Some(reason) => format!("must be {allowed}: {reason}"),
        None => format!("must be {allowed}"),
    }
}
/// Looks whether the file holds the certificate of a CA.
fn authorities(path: &Path) -> Result<(), String> {
    let mut pem = Vec::new();
    let read = File::open(path).and_then(|file| file.take(AUTHORITIES_MAX).read_to_end(&mut pem));
    read.map_err(|error| format!("cannot be read: {error}"))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|error| format!("is no good PEM file: {error}"))?;
    let (usable, _) = RootCertStore::empty().add_parsable_certificates(certificates);
    if usable == 0 {
        return Err("holds no certificate of use: give a PEM file with those of the CAs".to_owned());
    }
    Ok(())
}
