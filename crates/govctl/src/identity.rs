//! Who asks, and whom this program believes to be a manager: what options and environment name, read
//! from files.
//!
//! Not here: which managers there are (`managers`), and what a refusal means (`refusal`).
//! INVARIANT: a token is never part of a text that is printed. There is no option for one, because
//! everybody on the machine sees the words of a command.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use governance_client::direct::{CredentialFault, Credentials};

use crate::cli::AccessOptions;
use crate::fault::{Fault, Kind};

/// The token itself, in the environment.
pub(crate) const TOKEN_VARIABLE: &str = "GOVERNANCE_TOKEN";
/// The largest file that is read: a bundle of all CAs of the world is a fifth of it.
const FILE_MAX: u64 = 1024 * 1024;
/// The longest token; a manager takes no longer line in a request's head.
const TOKEN_MAX: usize = 4096;

/// A file, and who named it.
#[derive(Clone, Debug)]
struct Named {
    path: PathBuf,
    /// What it is, for people.
    what: &'static str,
    option: &'static str,
    variable: &'static str,
}

/// Where the token stands.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// In the environment.
    Variable,
    /// In a file.
    File(PathBuf),
}

/// Who asks; by default nobody. Debug shows no token, because credentials do not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identity {
    credentials: Credentials,
    pub(crate) token: Option<Origin>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) cert_file: Option<PathBuf>,
    /// The token may go to other machines in clear text.
    pub(crate) may_send_plainly: bool,
    /// For people, once.
    pub(crate) warnings: Vec<String>,
}

/// What was named, by options or else by the environment.
struct Names {
    token: Option<Named>,
    ca: Option<Named>,
    certificate: Option<Named>,
    key: Option<Named>,
}

impl Identity {
    /// Reads what was named. `has_tls` says whether a manager is asked over TLS; only then files
    /// for it have to be usable, but all have to be readable.
    pub(crate) fn load(options: &AccessOptions, has_tls: bool) -> Result<Self, Fault> {
        let names = Names::of(options);
        let mut warnings: Vec<_> = names.token.iter().filter_map(Named::exposure).collect();
        let (mut credentials, mut token) = (Credentials::default(), None);
        if let Some((text, origin)) = token_of(options, names.token.as_ref())? {
            credentials = credentials.with_token(&text).map_err(|_| odd_token(&origin))?;
            token = Some(origin);
        }
        let authorities = names.ca.as_ref().map(Named::read).transpose()?;
        let own = match (&names.certificate, &names.key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => {
                warnings.extend(key.exposure());
                Some((certificate.read()?, key.read()?))
            }
            (Some(_), None) => return Err(half("a client certificate is named without its key")),
            (None, Some(_)) => return Err(half("a key is named without its client certificate")),
        };
        if has_tls {
            let own = own.as_ref().map(|(certificate, key)| (&certificate[..], &key[..]));
            let secured = credentials.with_tls(authorities.as_deref(), own);
            credentials = secured.map_err(|fault| names.blame(fault))?;
        }
        let path = |named: Option<Named>| named.map(|named| named.path);
        let (ca_file, cert_file) = (path(names.ca), path(names.certificate));
        let may_send_plainly = options.plain_token;
        Ok(Self { credentials, token, ca_file, cert_file, may_send_plainly, warnings })
    }

    /// For requests.
    pub(crate) fn credentials(&self) -> Credentials {
        self.credentials.clone()
    }
}

impl Names {
    fn of(options: &AccessOptions) -> Self {
        let named = |given: &Option<PathBuf>, what, option, variable: &'static str| {
            let set = || std::env::var_os(variable).filter(|text| !text.is_empty());
            let path = given.clone().or_else(|| set().map(PathBuf::from))?;
            Some(Named { path, what, option, variable })
        };
        Self {
            token: named(&options.token_file, "token", "--token-file", "GOVERNANCE_TOKEN_FILE"),
            ca: named(&options.ca_file, "CA", "--ca-file", "GOVERNANCE_CA_FILE"),
            certificate: named(
                &options.cert_file,
                "certificate",
                "--cert-file",
                "GOVERNANCE_CERT_FILE",
            ),
            key: named(&options.key_file, "key", "--key-file", "GOVERNANCE_KEY_FILE"),
        }
    }

    /// A fault with the file that it is in.
    fn blame(&self, fault: CredentialFault) -> Fault {
        let (named, why) = match fault {
            CredentialFault::Authorities(why) => (&self.ca, why),
            CredentialFault::NoAuthority => {
                (&self.ca, "none of its certificates can be used".to_owned())
            }
            CredentialFault::Certificate(why) | CredentialFault::Pair(why) => {
                (&self.certificate, why)
            }
            CredentialFault::Key(why) => (&self.key, why),
            other @ (CredentialFault::Token | _) => (&None, other.to_string()),
        };
        if let Some(named) = named {
            return named.fault("cannot be used").caused_by(why);
        }
        let what = "this machine has no CAs, so no manager at https can be believed";
        let hint = "name the CA of the managers' certificates with --ca-file or GOVERNANCE_CA_FILE";
        Fault::new(Kind::Usage, what, hint)
    }
}

impl Named {
    fn read(&self) -> Result<Vec<u8>, Fault> {
        let mut bytes = Vec::new();
        let opened = File::open(&self.path);
        let read = opened.and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes));
        let read = read.map_err(|error| error.to_string());
        let read = read.and_then(|_| {
            if bytes.len() as u64 > FILE_MAX {
                return Err(format!("it is larger than {FILE_MAX} bytes"));
            }
            Ok(bytes)
        });
        read.map_err(|why| self.fault("cannot be read").caused_by(why))
    }

    fn fault(&self, verb: &str) -> Fault {
        let Self { path, what, option, variable } = self;
        let hint = match *what {
            "token" => "a file with the token alone",
            "CA" => "a PEM file with the CAs that sign the managers' certificates",
            "certificate" => {
                "a PEM file with the client certificate and those between it and its CA"
            }
            _ => "a PEM file with the private key of the client certificate",
        };
        let text = format!("the {what} file {} {verb}", path.display());
        Fault::new(Kind::Usage, text, format!("name {hint} with {option} or {variable}"))
    }

    /// A warning if everybody on this machine can read it.
    fn exposure(&self) -> Option<String> {
        let is_open = is_readable_by_all(&self.path);
        let (what, path) = (self.what, self.path.display());
        is_open.then(|| {
            format!(
                "warning: every user of this machine can read the {what} file {path}; `chmod o-r` ends \
                 that"
            )
        })
    }
}

/// Pipes, such as a shell's `<(…)`, are nobody else's.
#[cfg(unix)]
fn is_readable_by_all(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    const READ_BY_OTHERS: u32 = 0o004;
    let found = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file);
    found.is_some_and(|found| found.permissions().mode() & READ_BY_OTHERS != 0)
}

#[cfg(not(unix))]
fn is_readable_by_all(_: &Path) -> bool {
    false
}

/// The option, else the one variable that is set.
fn token_of(
    options: &AccessOptions,
    named: Option<&Named>,
) -> Result<Option<(String, Origin)>, Fault> {
    let set = std::env::var_os(TOKEN_VARIABLE).filter(|text| !text.is_empty());
    let (bytes, origin) = match (named, set) {
        (None, None) => return Ok(None),
        (Some(Named { variable, .. }), Some(_)) if options.token_file.is_none() => {
            let what = format!("{TOKEN_VARIABLE} and {variable} are both set");
            return Err(Fault::new(Kind::Usage, what, "unset one of them: they may differ"));
        }
        (Some(named), _) => (named.read()?, Origin::File(named.path.clone())),
        (None, Some(text)) => (text.into_encoded_bytes(), Origin::Variable),
    };
    let bytes = bytes.trim_ascii();
    let is_word = (1..=TOKEN_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    let text = str::from_utf8(bytes).ok().filter(|_| is_word);
    let text = text.ok_or_else(|| odd_token(&origin))?;
    Ok(Some((text.to_owned(), origin)))
}

fn odd_token(origin: &Origin) -> Fault {
    let place = match origin {
        Origin::Variable => TOKEN_VARIABLE.to_owned(),
        Origin::File(path) => path.display().to_string(),
    };
    let what = format!("{place} holds no token");
    let hint = "a token is one word of printable characters, such as `openssl rand -hex 32` prints";
    Fault::new(Kind::Usage, what, hint)
        .caused_by(format!("it is empty, longer than {TOKEN_MAX} characters, or not one word"))
}

fn half(what: &str) -> Fault {
    let hint = "name both: --cert-file and --key-file, or GOVERNANCE_CERT_FILE and \
                GOVERNANCE_KEY_FILE";
    Fault::new(Kind::Usage, what, hint)
}
