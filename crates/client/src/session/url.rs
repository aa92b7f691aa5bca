//! Where a manager is: `http://host:port` or, with the feature `tls`, `https`, perhaps with a path in front of its own.

use std::fmt;

use http::Uri;
use http::uri::Scheme;

/// The longest URL that is read.
const URL_MAX: usize = 512;

/// What would be right.
#[cfg(not(feature = "tls"))]
const EXAMPLE: &str = "write http://host:port";
#[cfg(feature = "tls")]
const EXAMPLE: &str = "write http://host:port or https://host:port";

/// A manager's base URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ManagerUrl {
    is_tls: bool,
    /// `host:port` with brackets around IPv6, as it stands in `Host`.
    authority: String,
    host: String,
    port: u16,
    /// Without a slash at the end; mostly empty.
    prefix: String,
}

impl ManagerUrl {
    /// Reads a URL; the fault names what would be right.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("manager URL {:?} {why}: {EXAMPLE}", unnamed(text));
        if text.len() > URL_MAX {
            return Err(format!("a manager URL is longer than {URL_MAX} characters"));
        }
        let uri: Uri = text.parse().map_err(|_| wrong("is no URL"))?;
        let is_tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS && cfg!(feature = "tls") => true,
            Some(scheme) if *scheme == Scheme::HTTPS => {
                return Err(wrong("asks for TLS, which needs the feature `tls`"));
            }
            Some(_) => return Err(wrong("has a scheme that managers do not speak")),
            None => return Err(wrong("has no scheme")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("has user info, which is not supported"));
        }
        if uri.query().is_some() {
            return Err(wrong("has a query"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(wrong("names no host"));
        }
        let port = match authority.as_str().rsplit_once(':') {
            Some((_, digits)) if !digits.ends_with(']') => {
                digits.parse().ok().filter(|port| *port > 0).ok_or_else(|| wrong("has no port"))?
            }
            _ if is_tls => 443,
            _ => 80,
        };
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { is_tls, authority: authority.as_str().to_owned(), host, port, prefix })
    }

    /// From what a standby says: `host:port`. Spoken to as the standby is, so that what it says
    /// never leads from TLS to plain text.
    pub(crate) fn of_active(address: &str, standby: &Self) -> Option<Self> {
        let url = Self::parse(&format!("{}://{address}", standby.scheme())).ok()?;
        // An address that only its owner can use.
        let is_anywhere =
            matches!(url.host.parse(), Ok(ip) if std::net::IpAddr::is_unspecified(&ip));
        (!is_anywhere && url.prefix.is_empty()).then_some(url)
    }

    fn scheme(&self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.is_tls
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// A path of the manager's below this URL.
    pub(crate) fn target(&self, path_and_query: &str) -> String {
        format!("{}{path_and_query}", self.prefix)
    }
}

/// Without user info, which may be a password.
fn unnamed(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    match rest.rsplit_once('@') {
        None => text.to_owned(),
        Some((_, rest)) if scheme.is_empty() => format!("…@{rest}"),
        Some((_, rest)) => format!("{scheme}://…@{rest}"),
    }
}

impl fmt::Display for ManagerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme(), self.authority, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_with_their_parts() {
        for (text, host, port, target) in [
            ("http://localhost:8080", "localhost", 8080, "/x"),
            ("http://localhost:8080/", "localhost", 8080, "/x"),
            ("http://[::1]:9", "::1", 9, "/x"),
            ("http://[::1]", "::1", 80, "/x"),
            ("http://manager", "manager", 80, "/x"),
            ("http://lb.example:81/governance/", "lb.example", 81, "/governance/x"),
        ] {
            let url = ManagerUrl::parse(text).unwrap();
            assert_eq!((url.host(), url.port()), (host, port), "{text}");
            assert_eq!(url.target("/x"), target, "{text}");
            assert_eq!(ManagerUrl::parse(&url.to_string()), Ok(url), "{text}");
        }
    }

    #[test]
    fn what_is_no_manager_url_is_refused_with_what_would_be_right() {
        for text in [
            "",
            "localhost:8080",
            "manager",
            "ftp://a:1",
            "http://",
            "http://u@a:1",
            "http://a:0",
            "http://a:99999",
            "http://a:1?x",
            "/x",
        ] {
            let fault = ManagerUrl::parse(text).unwrap_err();
            assert!(fault.ends_with(EXAMPLE), "{text}: {fault}");
        }
        assert!(ManagerUrl::parse(&format!("http://{}", "a".repeat(600))).is_err());
        for text in ["http://u:secret@a:1", "u:secret@a", "http://u:secret@", "ftp://u:secret@a"] {
            let fault = ManagerUrl::parse(text).unwrap_err();
            assert!(!fault.contains("secret"), "{fault}");
        }
    }

    #[test]
    fn an_active_one_is_followed_only_to_an_address_that_is_one() {
        let standby = ManagerUrl::parse("http://m:1").unwrap();
        assert!(ManagerUrl::of_active("127.0.0.1:80", &standby).is_some());
        assert!(ManagerUrl::of_active("[::1]:80", &standby).is_some());
        for text in ["0.0.0.0:80", "[::]:80", "", "a b", "a:1/x", "u@a:1", "http://a:1"] {
            assert_eq!(ManagerUrl::of_active(text, &standby), None, "{text}");
        }
    }

    #[cfg(feature = "tls")]
    #[test]
    fn tls_stays_tls() {
        let standby = ManagerUrl::parse("https://m").unwrap();
        assert_eq!((standby.port(), standby.to_string()), (443, "https://m".to_owned()));
        let active = ManagerUrl::of_active("127.0.0.1:8443", &standby).unwrap();
        assert_eq!(active.to_string(), "https://127.0.0.1:8443");
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn tls_needs_the_feature() {
        assert!(ManagerUrl::parse("https://m").unwrap_err().contains("the feature `tls`"));
    }
}
