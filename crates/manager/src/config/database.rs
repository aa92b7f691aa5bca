//! Where PostgreSQL is and who we are to it. Whether it is used at all is storage's business,
//! connecting the store's.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use super::rule::{Choice, PATH, Reason, Text, Whole, is_host, plain};
use super::setting::{Described, Setting};
use super::source::{Origin, Reader};

/// The most servers a list may name.
const MAX_HOSTS: usize = 16;
/// So much of a password file is read: enough to see that it is too long.
const MAX_PASSWORD_FILE_BYTES: u64 = 8192;
/// The longest password.
const MAX_PASSWORD_BYTES: usize = 4096;

/// How to reach PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Names or addresses (IPv6 without brackets) with their ports; at least one.
    pub hosts: Vec<(String, u16)>,
    /// The database's name.
    pub name: String,
    /// The role to log in as.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// Whether to encrypt, and what to verify.
    pub ssl_mode: SslMode,
    /// A PEM file with the CAs to trust; `None` stands for the system's.
    pub ssl_root_cert: Option<PathBuf>,
}

/// The value of `DB_SSL_MODE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// No encryption.
    Disable,
    /// Encryption; the certificate is verified only if a CA is named.
    Require,
    /// The certificate must come from a trusted CA.
    VerifyCa,
    /// And it must be for the host's name.
    VerifyFull,
}

/// A text that does not show up in logs or dumps.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one who must send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

type Hosts = Vec<(String, Option<u16>)>;

static DB_HOST: Setting<Text<Hosts>> = Setting::new(
    "DB_HOST",
    "localhost",
    "PostgreSQL host, or several (`a,b:5433`), of which the writable one is used",
    Text {
        allowed: "a host, a host:port, or a list of them with commas",
        parse: parse_hosts,
        show: show_hosts,
    },
)
.earlier_keys(&["database.host"]);

static DB_PORT: Setting<Whole<u16>> = Setting::new(
    "DB_PORT",
    "5432",
    "PostgreSQL port, of every host that names none itself",
    Whole::between("a port", 1, u16::MAX),
)
.earlier_keys(&["database.port"]);

const IDENTIFIER: Text<String> = Text {
    allowed: "a name of at most 63 bytes",
    parse: |text| plain(text, 63),
    show: String::clone,
};

static DB_NAME: Setting<Text<String>> =
    Setting::new("DB_NAME", "governance_db", "Database name", IDENTIFIER)
        .earlier_keys(&["database.name", "database.database"]);

static DB_USER: Setting<Text<String>> =
    Setting::new("DB_USER", "postgres", "Database user", IDENTIFIER)
        .earlier_keys(&["database.user", "database.username"]);

static DB_PASSWORD: Setting<Text<Secret>> = Setting::new(
    "DB_PASSWORD",
    "postgres",
    "Database password; not a flag, because command lines can be seen by others",
    Text {
        allowed: "a text",
        parse: |text| plain(text, MAX_PASSWORD_BYTES).map(Secret),
        show: |_| "(hidden)".to_owned(),
    },
)
.earlier_keys(&["database.password"])
.secret();

static DB_PASSWORD_FILE: Setting<Text<PathBuf>> = Setting::new(
    "DB_PASSWORD_FILE",
    "",
    "File that holds the database password, instead of `DB_PASSWORD`; one line end is cut off",
    PATH,
);

static DB_SSL_MODE: Setting<Choice<SslMode>> = Setting::new(
    "DB_SSL_MODE",
    "disable",
    "SSL mode; require verifies the certificate only if `DB_SSL_ROOT_CERT` is set",
    Choice {
        words: &[
            ("disable", SslMode::Disable),
            ("require", SslMode::Require),
            ("verify-ca", SslMode::VerifyCa),
            ("verify-full", SslMode::VerifyFull),
        ],
        aliases: &[],
    },
)
.earlier_keys(&["database.ssl_mode"]);

static DB_SSL_ROOT_CERT: Setting<Text<PathBuf>> = Setting::new(
    "DB_SSL_ROOT_CERT",
    "",
    "PEM file with the CAs to trust for the database; unset: the system's",
    PATH,
)
.environment_alias("PGSSLROOTCERT");

pub(super) static SETTINGS: &[&dyn Described] = &[
    &DB_HOST,
    &DB_PORT,
    &DB_NAME,
    &DB_USER,
    &DB_PASSWORD,
    &DB_PASSWORD_FILE,
    &DB_SSL_MODE,
    &DB_SSL_ROOT_CERT,
];

/// Whether somebody pointed us at a PostgreSQL. A password in a file is a password.
pub(super) fn is_any_set(reader: &Reader<'_>) -> bool {
    let cards = [
        &DB_HOST.card,
        &DB_PORT.card,
        &DB_NAME.card,
        &DB_USER.card,
        &DB_PASSWORD.card,
        &DB_PASSWORD_FILE.card,
        &DB_SSL_MODE.card,
    ];
    cards.into_iter().any(|card| reader.origin(card).is_some())
}

impl Database {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let hosts = reader.read(&DB_HOST);
        let default_port = reader.read(&DB_PORT);
        let ssl_mode = reader.read(&DB_SSL_MODE);
        let ssl_root_cert = reader.read_optional(&DB_SSL_ROOT_CERT);
        if ssl_mode == SslMode::Disable && ssl_root_cert.is_some() {
            let text = "DB_SSL_ROOT_CERT is given but not used, because DB_SSL_MODE is disable";
            reader.warnings.push(text.to_owned());
        } else if let Some(path) = &ssl_root_cert {
            reader.require_authorities(&DB_SSL_ROOT_CERT.card, path);
        }
        Self {
            hosts: hosts.into_iter().map(|(h, port)| (h, port.unwrap_or(default_port))).collect(),
            name: reader.read(&DB_NAME),
            user: reader.read(&DB_USER),
            password: read_password(reader),
            ssl_mode,
            ssl_root_cert,
        }
    }
}

/// The password from the one of the two settings that was set at the higher level.
fn read_password(reader: &mut Reader<'_>) -> Secret {
    let direct = reader.read(&DB_PASSWORD);
    let Some(path) = reader.read_optional(&DB_PASSWORD_FILE) else {
        return direct;
    };
    let rank = |origin: Option<&Origin>| origin.map(Origin::rank);
    let direct_rank = rank(reader.origin(&DB_PASSWORD.card));
    let file_rank = rank(reader.origin(&DB_PASSWORD_FILE.card));
    if direct_rank == file_rank {
        let problem = "must not be set together with DB_PASSWORD: one of them is enough";
        reader.refuse(&DB_PASSWORD_FILE.card, problem.to_owned());
        return direct;
    }
    if direct_rank > file_rank {
        return direct;
    }
    match password_from(&path) {
        Ok(password) => {
            let origin = Origin::Indirect(DB_PASSWORD_FILE.card.name);
            reader.note(&DB_PASSWORD.card, "(hidden)".to_owned(), origin);
            password
        }
        Err(problem) => {
            reader.refuse(&DB_PASSWORD_FILE.card, problem);
            direct
        }
    }
}

fn password_from(path: &Path) -> Result<Secret, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_PASSWORD_FILE_BYTES).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot be read: {error}"))?;
    let text = String::from_utf8(bytes).map_err(|_| "does not hold UTF-8 text".to_owned())?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err("is empty".to_owned());
    }
    let password = plain(line, MAX_PASSWORD_BYTES);
    password
        .map(Secret)
        .map_err(|reason| format!("does not hold a password: {}", reason.unwrap_or_default()))
}

fn parse_hosts(text: &str) -> Result<Hosts, Reason> {
    if text.contains("://") {
        return Err(Some("it is a URL; user, name and port have settings of their own".to_owned()));
    }
    let items: Vec<&str> = text.split(',').map(str::trim).collect();
    if items.len() > MAX_HOSTS {
        return Err(Some(format!("at most {MAX_HOSTS} hosts")));
    }
    items.into_iter().map(parse_host).collect()
}

fn parse_host(item: &str) -> Result<(String, Option<u16>), Reason> {
    let unreadable = || Some(format!("{item:?} is not a host"));
    if item.parse::<Ipv6Addr>().is_ok() {
        return Ok((item.to_owned(), None));
    }
    let (host, port) = match item.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, after)) => {
            host.parse::<Ipv6Addr>().map_err(|_| unreadable())?;
            let port = after.strip_prefix(':');
            if port.is_none() && !after.is_empty() {
                return Err(unreadable());
            }
            (host, port)
        }
        None => item.split_once(':').map_or((item, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map(|text| text.parse::<u16>().ok().filter(|port| *port > 0));
    match port {
        _ if !is_host(host) => Err(unreadable()),
        Some(None) => Err(Some(format!("the port of {item:?} is not one, 1 to 65535"))),
        Some(Some(port)) => Ok((host.to_owned(), Some(port))),
        None => Ok((host.to_owned(), None)),
    }
}

fn show_hosts(hosts: &Hosts) -> String {
    let shown = hosts.iter().map(|(host, port)| match (host.contains(':'), port) {
        (true, Some(port)) => format!("[{host}]:{port}"),
        (false, Some(port)) => format!("{host}:{port}"),
        (true, None) => format!("[{host}]"),
        (false, None) => host.clone(),
    });
    shown.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_with_and_without_ports_and_brackets() {
        let hosts = parse_hosts("a, b:5433 ,[::1],[fe80::1]:6000,::2,10.0.0.1:1").unwrap();
        assert_eq!(show_hosts(&hosts), "a,b:5433,[::1],[fe80::1]:6000,[::2],10.0.0.1:1");
        assert_eq!(hosts[3], ("fe80::1".to_owned(), Some(6000)));
        assert_eq!(parse_hosts(&show_hosts(&hosts)), Ok(hosts));
    }

    #[test]
    fn what_is_not_a_host_is_named() {
        for wrong in ["", "a,,b", "a b", "[::1", "[::1]x", "[a]:1", "/var/run/postgresql", ":5432"]
        {
            assert!(parse_hosts(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(parse_hosts("a,b!").unwrap_err().unwrap(), "\"b!\" is not a host");
        for port in ["0", "65536", "x", ""] {
            let reason = parse_hosts(&format!("a:{port}")).unwrap_err().unwrap();
            assert!(reason.starts_with("the port of"), "{reason}");
        }
        assert!(
            parse_hosts("postgres://u:p@h/db").unwrap_err().unwrap().starts_with("it is a URL")
        );
        assert_eq!(parse_hosts(&["a"; 17].join(",")), Err(Some("at most 16 hosts".to_owned())));
    }

    #[test]
    fn a_secret_does_not_show_when_it_is_dumped() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "(hidden)");
    }
}
