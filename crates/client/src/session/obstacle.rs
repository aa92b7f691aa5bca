//! What kept a request from being answered: words for people, and a kind that a tool can act on.
//!
//! Not here: whether the request may have arrived; that is [`Failure`](super::Failure)'s.

use std::error::Error;
use std::fmt;

/// What is in the way, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ObstacleKind {
    /// The network, time, or something that has no kind of its own: the text says it.
    Other,
    /// No CA that is believed here has signed the manager's certificate.
    UnknownAuthority,
    /// The certificate is for other names.
    WrongName,
    /// The certificate's time is over, or has not begun.
    OutOfTime,
    /// A client certificate is demanded, and none was given.
    CertificateDemanded,
    /// The client certificate that was given is refused.
    CertificateRefused,
    /// What answers at an https URL does not speak TLS.
    NotTls,
    /// What answers at an http URL does not speak HTTP: it may speak TLS.
    NotHttp,
}

/// What is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    text: String,
    kind: ObstacleKind,
}

impl Obstacle {
    pub(super) fn new(kind: ObstacleKind, text: impl Into<String>) -> Self {
        Self { text: text.into(), kind }
    }

    /// Of no kind of its own.
    pub(super) fn other(text: impl Into<String>) -> Self {
        Self::new(ObstacleKind::Other, text)
    }

    /// The same with other words around it.
    pub(super) fn told(self, text: impl FnOnce(&str) -> String) -> Self {
        Self { text: text(&self.text), kind: self.kind }
    }

    /// What kind of obstacle.
    pub fn kind(&self) -> ObstacleKind {
        self.kind
    }

    /// Of a connection that HTTP is spoken on.
    pub(super) fn of_http(fault: &hyper::Error) -> Self {
        let mut text = fault.to_string();
        let mut cause = Error::source(fault);
        while let Some(inner) = cause {
            #[cfg(feature = "tls")]
            if let Some(found) = tls::within(inner) {
                return found;
            }
            // The whole chain in one line: the outermost says little.
            text = format!("{text}: {inner}");
            cause = inner.source();
        }
        if fault.is_parse() {
            return Self::new(
                ObstacleKind::NotHttp,
                format!("what it answers is no HTTP ({text})"),
            );
        }
        Self::other(text)
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(feature = "tls")]
pub(super) mod tls {
    //! What TLS says when it fails, in words that tell what to do.

    use std::error::Error;
    use std::io;

    use rustls::{AlertDescription, CertificateError, InvalidMessage};

    use super::{Obstacle, ObstacleKind};

    /// Of a handshake.
    pub(in crate::session) fn of_handshake(fault: &io::Error) -> Obstacle {
        if let Some(found) = within(fault) {
            return found;
        }
        let is_end =
            matches!(fault.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset);
        if is_end {
            let text = "it closes the connection instead of speaking TLS";
            return Obstacle::new(ObstacleKind::NotTls, text);
        }
        Obstacle::other(fault.to_string())
    }

    /// If it is a fault of TLS.
    pub(super) fn within(fault: &(dyn Error + 'static)) -> Option<Obstacle> {
        // Its own source() leaves out what it wraps.
        let wrapped = fault.downcast_ref::<io::Error>()?.get_ref()?;
        wrapped.downcast_ref().map(of)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "what is not named is told as it is")]
    fn of(fault: &rustls::Error) -> Obstacle {
        use rustls::Error as Tls;
        match fault {
            Tls::InvalidCertificate(fault) => of_certificate(fault),
            Tls::AlertReceived(AlertDescription::CertificateRequired) => Obstacle::new(
                ObstacleKind::CertificateDemanded,
                "it demands a client certificate, and none was given",
            ),
            Tls::AlertReceived(
                alert @ (AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied
                | AlertDescription::DecryptError),
            ) => Obstacle::new(
                ObstacleKind::CertificateRefused,
                format!("it refuses the client certificate ({alert:?})"),
            ),
            Tls::InvalidMessage(InvalidMessage::InvalidContentType) => {
                Obstacle::new(ObstacleKind::NotTls, "what it answers is no TLS")
            }
            other => Obstacle::other(format!("TLS: {other}")),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "what is not named is told as it is")]
    fn of_certificate(fault: &CertificateError) -> Obstacle {
        use CertificateError as Bad;
        let out_of_time = |text| Obstacle::new(ObstacleKind::OutOfTime, text);
        match fault {
            // The second is commonly a CA that was made anew under its old name.
            Bad::UnknownIssuer | Bad::BadSignature => Obstacle::new(
                ObstacleKind::UnknownAuthority,
                "no CA that is trusted here has signed its certificate",
            ),
            Bad::Expired | Bad::ExpiredContext { .. } => {
                out_of_time("the time of its certificate is over")
            }
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                out_of_time("the time of its certificate has not begun")
            }
            Bad::NotValidForName => {
                Obstacle::new(ObstacleKind::WrongName, "its certificate is for another name")
            }
            Bad::NotValidForNameContext { expected, presented } => {
                let names: Vec<_> = presented.iter().map(|name| plain(name)).collect();
                let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
                let text = format!("its certificate is for {names}, not for {}", expected.to_str());
                Obstacle::new(ObstacleKind::WrongName, text)
            }
            other => Obstacle::other(format!("its certificate is not accepted: {other}")),
        }
    }

    /// `DnsName("a")` and `IpAddress(b)` as `a` and `b`.
    fn plain(name: &str) -> &str {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
        inner.unwrap_or(name).trim_matches('"')
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn kind(fault: rustls::Error) -> ObstacleKind {
            of_handshake(&io::Error::other(fault)).kind()
        }

        #[test]
        fn what_tls_says_has_a_kind() {
            let alert = |alert| kind(rustls::Error::AlertReceived(alert));
            let bad = |fault| kind(rustls::Error::InvalidCertificate(fault));
            let demanded = AlertDescription::CertificateRequired;
            assert_eq!(alert(demanded), ObstacleKind::CertificateDemanded);
            assert_eq!(alert(AlertDescription::UnknownCA), ObstacleKind::CertificateRefused);
            assert_eq!(alert(AlertDescription::InternalError), ObstacleKind::Other);
            assert_eq!(bad(CertificateError::UnknownIssuer), ObstacleKind::UnknownAuthority);
            assert_eq!(bad(CertificateError::NotValidYet), ObstacleKind::OutOfTime);
            assert_eq!(bad(CertificateError::NotValidForName), ObstacleKind::WrongName);
            assert_eq!(bad(CertificateError::Revoked), ObstacleKind::Other);
            let eof = io::Error::from(io::ErrorKind::UnexpectedEof);
            assert_eq!(of_handshake(&eof).kind(), ObstacleKind::NotTls);
            let gone = io::Error::from(io::ErrorKind::BrokenPipe);
            assert_eq!(of_handshake(&gone).kind(), ObstacleKind::Other);
        }

        #[test]
        fn names_are_shown_as_they_are_written() {
            assert_eq!(plain("DnsName(\"a.example\")"), "a.example");
            assert_eq!(plain("IpAddress(127.0.0.1)"), "127.0.0.1");
            assert_eq!(plain("odd"), "odd");
        }
    }
}
