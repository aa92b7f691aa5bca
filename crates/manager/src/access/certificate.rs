//! Client certificates: whom one names, and a verifier that lets the handshake succeed with any.
//!
//! A handshake that fails tells a client nothing but a number. So every certificate passes there,
//! if only its holder has the key, and is verified right after it: a client with one that is not
//! good enough gets an answer that says why. INVARIANT: nothing but the outcome of that second
//! step, [`Presented`], leaves this room.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, Error};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// The longest name of a client.
const NAME_MAX: usize = 128;
/// `commonName` (X.520).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// What came of a connection's client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presented {
    /// The client has none, or was not asked.
    None,
    /// One of the CAs vouches for this name.
    Valid(Arc<str>),
    /// The certificate is not good enough; why.
    Refused(Arc<str>),
}

impl Presented {
    /// Verifies what a client sent in the handshake; the first is its own.
    pub(super) fn verify(
        verifier: &dyn ClientCertVerifier,
        chain: Option<&[CertificateDer<'static>]>,
        now: UnixTime,
    ) -> Self {
        let Some((own, others)) = chain.and_then(<[_]>::split_first) else { return Self::None };
        if let Err(fault) = verifier.verify_client_cert(own, others, now) {
            return Self::Refused(words(&fault).into());
        }
        match name_in(own) {
            Some(name) => Self::Valid(name.into()),
            None => Self::Refused(
                "it has no name: give it a DNS name, a URI or a common name of printable \
                 characters"
                    .into(),
            ),
        }
    }
}

/// Passes every certificate whose key the client has; see the head of this file.
#[derive(Debug)]
pub(super) struct Lenient(pub(super) Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Lenient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _own: &CertificateDer<'_>,
        _others: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, own, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, own, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// The first DNS name, else the first URI (3GPP TS 33.310 §6.1.3c.3 has both for network
/// functions), else the common name.
#[expect(clippy::wildcard_enum_match_arm, reason = "only two kinds of names name a client")]
fn name_in(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let body = &certificate.tbs_certificate;
    let alternatives = body.get::<SubjectAltName>().ok()?.map(|(_, names)| names.0);
    let alternatives = alternatives.unwrap_or_default();
    let dns = alternatives.iter().find_map(|name| match name {
        GeneralName::DnsName(name) => Some(name.as_str()),
        _ => None,
    });
    let uri = alternatives.iter().find_map(|name| match name {
        GeneralName::UniformResourceIdentifier(name) => Some(name.as_str()),
        _ => None,
    });
    let mut attributes = body.subject.0.iter().flat_map(|part| part.0.iter());
    let common = attributes.rfind(|attribute| attribute.oid == COMMON_NAME);
    let common = common.and_then(|attribute| str::from_utf8(attribute.value.value()).ok());
    let name = dns.or(uri).or(common)?;
    let is_usable = name.bytes().all(|byte| byte.is_ascii_graphic());
    (is_usable && (1..=NAME_MAX).contains(&name.len())).then(|| name.to_owned())
}

/// When a certificate's time is over, in seconds since 1970.
pub(super) fn expiry_of(certificate: &CertificateDer<'_>) -> Option<u64> {
    let certificate = Certificate::from_der(certificate).ok()?;
    Some(certificate.tbs_certificate.validity.not_after.to_unix_duration().as_secs())
}

/// What the client's operator can act on.
#[expect(clippy::wildcard_enum_match_arm, reason = "what is not named is treated alike")]
fn words(fault: &Error) -> String {
    let Error::InvalidCertificate(fault) = fault else { return fault.to_string() };
    match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its time is over".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its time has not begun".to_owned()
        }
        // The second is commonly a CA that was made anew under its old name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "no CA of TLS_CLIENT_CA_FILE has signed it".to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it is not made for clients".to_owned()
        }
        other => other.to_string(),
    }
}
