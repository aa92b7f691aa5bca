//! Who may do what over HTTP: TLS, client certificates, API tokens, and what they grant.
//!
//! All of it is off until a setting names a file, because the field's pods carry no tokens. Here:
//! the files, read at the start and again when they change; who a caller is; what a refusal is
//! called. Not here: which path needs which right, and how a refusal is answered (`http`).
//!
//! INVARIANT: a file that cannot be used never replaces one that is in force.
//! INVARIANT: a certificate is nobody's until [`tls::Tls`] has verified it; see `certificate`.

mod certificate;
mod denial;
mod digest;
mod file;
mod grant;
mod grants;
mod refusals;
mod tls;
mod watching;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

pub use certificate::Presented;
pub use denial::Denial;
pub use grant::{Caller, Right};
pub use grants::hashed_line;
pub use refusals::Refusals;
pub use tls::{HandshakeFault, Tls};

use crate::clock::Clock;
use crate::config::{Access as Settings, TlsFiles};
use digest::Digest;
use grants::Grants;
use watching::Watched;

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: {why}")]
pub struct AccessFault {
    setting: &'static str,
    why: String,
}

impl AccessFault {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self.setting {
            file::TOKENS => "each line of API_TOKENS_FILE is: NAME read|write|admin \
                             [expires=TIME] [services=NAME,NAME*] sha256:… or certificate; \
                             --hash-token makes one"
                .to_owned(),
            file::CLIENT_CA => {
                "TLS_CLIENT_CA_FILE names a PEM file with certificates of CAs".to_owned()
            }
            _ => "TLS_CERT_FILE names a PEM file with the certificate and those between it and \
                  its CA, TLS_KEY_FILE one with its private key"
                .to_owned(),
        }
    }
}

/// What is in force now.
pub struct Access {
    clock: Arc<dyn Clock>,
    settings: Settings,
    tls: Option<Tls>,
    /// Lines of `API_TOKENS_FILE`; written by `watching`.
    grants: Option<ArcSwap<Grants>>,
    refusals: Refusals,
    /// What was in the TLS files and in the tokens file just before they were read first.
    first: [Digest; 2],
}

impl Access {
    /// Reads the files; none if no setting names one. Blocks.
    ///
    /// # Errors
    /// When a file cannot be read, or what is in it cannot be used.
    pub fn load(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Option<Self>, AccessFault> {
        let first = [tls_paths(settings), tokens_paths(settings)];
        let first = first.map(|paths| watching::fingerprint(&paths));
        let tls = settings.tls.as_ref().map(|files| Tls::load(files, Arc::clone(&clock)));
        let grants = settings.tokens_file.as_deref().map(Grants::load).transpose()?;
        let (tls, grants) = (tls.transpose()?, grants.map(ArcSwap::from_pointee));
        if tls.is_none() && grants.is_none() {
            return Ok(None);
        }
        let settings = settings.clone();
        Ok(Some(Self { clock, settings, tls, grants, refusals: Refusals::default(), first }))
    }

    /// What connections are wrapped in.
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Whether callers have to say who they are.
    pub fn asks_for_identity(&self) -> bool {
        self.grants.is_some() || self.tls.as_ref().is_some_and(Tls::asks_for_certificate)
    }

    /// Who was refused, and how many.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Who calls: by the token, if one is sent, else by the certificate of the connection.
    ///
    /// # Errors
    /// When neither says who it is.
    pub fn identify(
        &self,
        authorization: Option<&[u8]>,
        presented: Option<&Presented>,
    ) -> Result<Caller, Denial> {
        let grants = self.grants.as_ref().map(ArcSwap::load);
        if let Some(sent) = authorization {
            let token = bearer(sent).ok_or(Denial::Malformed)?;
            let grants = grants.as_ref().ok_or(Denial::UnknownToken)?;
            return grants.by_token(token, self.clock.now());
        }
        match presented {
            None | Some(Presented::None) => Err(Denial::Missing),
            Some(Presented::Refused(why)) => Err(Denial::Certificate(Arc::clone(why))),
            Some(Presented::Valid(name)) => match &grants {
                Some(grants) => grants.by_certificate(name, self.clock.now()),
                // Nobody said more about the names than that the CA knows them.
                None => Ok(Caller::unlisted(Arc::clone(name))),
            },
        }
    }

    /// Looks at the files again and again until it is told to stop, and takes what changed.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let [tls, tokens] = self.first;
        let (tls, tokens) =
            ((tls_paths(&self.settings), tls), (tokens_paths(&self.settings), tokens));
        let (for_tls, for_tokens) = (Arc::clone(&self), Arc::clone(&self));
        let watched = vec![
            Watched::new("the TLS certificate", tls, move || for_tls.reload_tls()),
            Watched::new(file::TOKENS, tokens, move || for_tokens.reload_grants()),
        ];
        watching::run(watched, &self.refusals, stop).await;
    }

    fn reload_tls(&self) -> Result<(), AccessFault> {
        match &self.tls {
            Some(tls) => tls.reload(),
            None => Ok(()),
        }
    }

    fn reload_grants(&self) -> Result<(), AccessFault> {
        if let (Some(grants), Some(path)) = (&self.grants, &self.settings.tokens_file) {
            grants.store(Arc::new(Grants::load(path)?));
        }
        Ok(())
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn tls_paths(settings: &Settings) -> Vec<PathBuf> {
    settings.tls.iter().flat_map(TlsFiles::paths).map(ToOwned::to_owned).collect()
}

fn tokens_paths(settings: &Settings) -> Vec<PathBuf> {
    settings.tokens_file.iter().cloned().collect()
}

/// The token of `Authorization: Bearer TOKEN` (RFC 6750 §2.1). The scheme's case does not matter.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}
