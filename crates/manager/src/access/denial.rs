//! Why a request is refused: in the caller's words, and in one word for the metrics.

use std::sync::Arc;

use super::grant::Right;

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// No token and no certificate.
    Missing,
    /// An `Authorization` header that is no bearer token, or two of them.
    Malformed,
    /// A token that no line holds.
    UnknownToken,
    /// The line's time is over; whose.
    Expired(Arc<str>),
    /// A certificate that the CAs do not vouch for; why.
    Certificate(Arc<str>),
    /// A good certificate whose name no line has.
    Unlisted(Arc<str>),
    /// A right below the one that is needed.
    TooLittle {
        /// Who.
        name: Arc<str>,
        /// What it has.
        has: Right,
        /// What it needs.
        needs: Right,
    },
    /// The caller is tied to other services.
    OtherService {
        /// Who.
        name: Arc<str>,
        /// Which service.
        service: String,
    },
}

impl Denial {
    /// All words for the metrics.
    pub const REASONS: [&'static str; 8] = [
        "missing",
        "malformed",
        "unknown_token",
        "expired",
        "certificate",
        "unlisted",
        "right",
        "service",
    ];

    /// The word for the metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::UnknownToken => "unknown_token",
            Self::Expired(_) => "expired",
            Self::Certificate(_) => "certificate",
            Self::Unlisted(_) => "unlisted",
            Self::TooLittle { .. } => "right",
            Self::OtherService { .. } => "service",
        }
    }

    /// Whether it is known who calls: 403, else 401.
    pub const fn is_identified(&self) -> bool {
        matches!(self, Self::Unlisted(_) | Self::TooLittle { .. } | Self::OtherService { .. })
    }

    /// Who was refused, where that is known.
    pub const fn name(&self) -> Option<&Arc<str>> {
        match self {
            Self::Expired(name)
            | Self::Unlisted(name)
            | Self::TooLittle { name, .. }
            | Self::OtherService { name, .. } => Some(name),
            Self::Missing | Self::Malformed | Self::UnknownToken | Self::Certificate(_) => None,
        }
    }

    /// What is wrong and what to do, for the caller. Tells nothing of other callers.
    pub fn detail(&self) -> String {
        match self {
            Self::Missing => "say who you are: send Authorization: Bearer TOKEN, or connect with \
                              a client certificate where the manager asks for one"
                .to_owned(),
            Self::Malformed => {
                "the Authorization header cannot be read: send it once, as Bearer TOKEN".to_owned()
            }
            Self::UnknownToken => {
                "this token is not known: it was mistyped, or taken out of API_TOKENS_FILE"
                    .to_owned()
            }
            Self::Expired(name) => {
                format!("the time of {name} in API_TOKENS_FILE is over: ask for a new line")
            }
            Self::Certificate(why) => format!("the client certificate is not accepted: {why}"),
            Self::Unlisted(name) => format!(
                "the certificate is good, but no line of API_TOKENS_FILE is for {name}: add one \
                 that ends with the word certificate"
            ),
            Self::TooLittle { name, has, needs } => {
                format!("{name} has the right {has}, and this needs {needs}")
            }
            Self::OtherService { name, service } => format!(
                "{name} may not write service {service}: services= of its line does not name it"
            ),
        }
    }
}
