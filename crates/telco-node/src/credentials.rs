//! Who a service says it is, to managers that ask, and which managers it believes: read from files,
//! once, at the start.
//!
//! INVARIANT: nothing here shows a token or a key.

use std::fmt;
use std::fs::File;
use std::io::Read as _;

use governance_client::Builder;

use crate::settings::Settings;

/// The most that is read of a file; a system's own CAs are a quarter of a megabyte.
const FILE_MAX: u64 = 4 * 1024 * 1024;

/// What is shown to managers, and what they must show.
#[derive(Clone, Default)]
pub struct Credentials {
    token: Option<String>,
    authorities: Option<Vec<u8>>,
    /// Certificate and key.
    own: Option<(Vec<u8>, Vec<u8>)>,
}

impl Credentials {
    /// Reads the settings that every service has, and the files that they name.
    pub fn read(settings: &mut Settings) -> Self {
        let token = settings.text("GOVERNANCE_TOKEN");
        let token = match file(settings, "GOVERNANCE_TOKEN_FILE") {
            Some(bytes) => match String::from_utf8(bytes) {
                Ok(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
                Ok(_) | Err(_) => {
                    settings.wrong("GOVERNANCE_TOKEN_FILE", "the file holds no token");
                    None
                }
            },
            None => token,
        };
        let authorities = certificates(settings, "GOVERNANCE_CA_FILE");
        let certificate = certificates(settings, "GOVERNANCE_CERT_FILE");
        let key = file(settings, "GOVERNANCE_KEY_FILE");
        let own = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => {
                settings.needed("GOVERNANCE_KEY_FILE", "it is the key of GOVERNANCE_CERT_FILE");
                None
            }
            (None, Some(_)) => {
                settings.needed("GOVERNANCE_CERT_FILE", "it belongs to GOVERNANCE_KEY_FILE");
                None
            }
        };
        Self { token, authorities, own }
    }

    /// Has a member use them.
    pub(crate) fn show(&self, mut builder: Builder) -> Builder {
        if let Some(token) = &self.token {
            builder = builder.token(token);
        }
        if let Some(authorities) = &self.authorities {
            builder = builder.trust(authorities.clone());
        }
        if let Some((certificate, key)) = &self.own {
            builder = builder.certificate(certificate.clone(), key.clone());
        }
        builder
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("has_token", &self.token.is_some())
            .field("has_authorities", &self.authorities.is_some())
            .field("has_certificate", &self.own.is_some())
            .finish()
    }
}

/// The content of a file that must hold certificates.
fn certificates(settings: &mut Settings, name: &str) -> Option<Vec<u8>> {
    const MARK: &[u8] = b"-----BEGIN CERTIFICATE-----";
    let content = file(settings, name)?;
    if content.windows(MARK.len()).any(|part| part == MARK) {
        return Some(content);
    }
    settings.wrong(name, "the file holds no certificate in PEM form");
    None
}

/// The content of the file that a setting names, if it is set.
fn file(settings: &mut Settings, name: &str) -> Option<Vec<u8>> {
    let path = settings.text(name)?;
    let mut content = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(FILE_MAX).read_to_end(&mut content));
    match read {
        Ok(_) => Some(content),
        Err(error) => {
            settings.wrong(name, format!("{path} cannot be read: {error}"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[(&str, &str)]) -> (Credentials, Result<(), String>) {
        let owned = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut settings = Settings::new(owned);
        let credentials = Credentials::read(&mut settings);
        (credentials, settings.finish().map_err(|fault| fault.to_string()))
    }

    #[test]
    fn a_token_file_wins_over_the_variable_and_nothing_shows_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "from-the-file\n").unwrap();
        let path = file.path().to_str().unwrap();
        let both = [("GOVERNANCE_TOKEN", "from-outside"), ("GOVERNANCE_TOKEN_FILE", path)];
        let (credentials, faults) = read(&both);
        assert_eq!(faults, Ok(()));
        assert_eq!(credentials.token.as_deref(), Some("from-the-file"));
        let shown = format!("{credentials:?}");
        assert!(shown.contains("has_token: true") && !shown.contains("from"), "{shown}");
    }

    #[test]
    fn what_is_wrong_with_the_files_is_named_at_once() {
        let (_, faults) = read(&[
            ("GOVERNANCE_TOKEN_FILE", "/dev/null"),
            ("GOVERNANCE_CA_FILE", "/nowhere/ca.pem"),
            ("GOVERNANCE_CERT_FILE", "/dev/null"),
            ("GOVERNANCE_KEY_FILE", "/dev/null"),
        ]);
        let text = faults.unwrap_err();
        for part in [
            "GOVERNANCE_TOKEN_FILE: the file holds no token",
            "GOVERNANCE_CA_FILE: /nowhere/ca.pem cannot be read",
            "GOVERNANCE_CERT_FILE: the file holds no certificate in PEM form",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
