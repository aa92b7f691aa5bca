//! Asking the managers: one after the other until the active one answers.
//!
//! A standby names the active one, and that is asked next. A request that changes something is
//! given up where it may have been carried out; one that only reads goes on to the next manager.
//!
//! INVARIANT: a token goes in clear text to this machine alone, unless the person allows more; also
//! where a standby leads elsewhere.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use governance_api::Problem;
use governance_client::direct::{Address, Answer, Events, Followed, Line, Request, Unanswered};
use governance_client::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::fault::{Fault, Kind};
use crate::identity::Identity;
use crate::refusal::{self, Miss, MissKind};

/// How long a manager may take: more than its own `REQUEST_TIMEOUT` of eight seconds.
const PATIENCE: Duration = Duration::from_secs(12);
/// A stream brings a bookmark every ten seconds.
const SILENCE: Duration = Duration::from_secs(35);
/// The most managers in a list.
const MANAGERS_MAX: usize = 16;

/// The managers that were named, and the line to the one that answered last.
#[derive(Debug)]
pub(crate) struct Managers {
    named: Vec<Address>,
    /// Who answered last; asked first.
    current: Option<Address>,
    identity: Identity,
    line: Line,
}

/// An answer of success, and whose it is.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) from: Address,
    pub(crate) body: Bytes,
}

/// What became of asking one manager.
enum Attempt<T> {
    Answered(Address, T),
    /// Another one may know.
    Next(Miss),
}

impl Managers {
    /// Asks these, as somebody.
    pub(crate) fn new(named: Vec<Address>, identity: Identity) -> Result<Self, Fault> {
        let line = Line::new(PATIENCE, identity.credentials());
        let managers = Self { named, current: None, identity, line };
        match managers.named.iter().find(|manager| managers.would_tell(manager)) {
            None => Ok(managers),
            Some(manager) => {
                let what = format!("the token would go to {manager} in clear text");
                let hint = "write https:// if the manager speaks TLS, or go through a tunnel to \
                            it; --plain-token sends it all the same";
                Err(Fault::new(Kind::Usage, what, hint))
            }
        }
    }

    /// Whether a token would be sent to it where others can read it.
    fn would_tell(&self, manager: &Address) -> bool {
        let is_secret = self.identity.token.is_some() && !self.identity.may_send_plainly;
        is_secret && !manager.is_tls() && !is_here(manager.host())
    }

    /// All that were named.
    pub(crate) fn named(&self) -> &[Address] {
        &self.named
    }

    /// Reads something.
    pub(crate) async fn get<T: DeserializeOwned>(&mut self, target: &str) -> Result<T, Fault> {
        let heard = self.ask(&Request::new(Method::GET, target)).await?;
        read(&heard.from, &heard.body)
    }

    /// Sends a document.
    pub(crate) async fn post(
        &mut self,
        target: &str,
        body: &impl Serialize,
    ) -> Result<Heard, Fault> {
        let body = serde_json::to_vec(body).map_err(|error| {
            let hint = "report this: every document that was read can be written";
            Fault::new(Kind::Failed, "the document cannot be written", hint)
                .caused_by(error.to_string())
        })?;
        let mut request = Request::new(Method::POST, target);
        request.body = Some(body.into());
        self.ask(&request).await
    }

    /// Asks until one answers with success or refuses.
    pub(crate) async fn ask(&mut self, request: &Request) -> Result<Heard, Fault> {
        let mut missed = Vec::new();
        for manager in self.candidates() {
            match self.try_one(&manager, request).await? {
                Attempt::Answered(from, answer) => return self.accept(from, &answer),
                Attempt::Next(why) => missed.push(why),
            }
        }
        Err(refusal::nobody(missed, &self.identity))
    }

    /// Who asks.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Asks one and no other: for what is about that manager.
    pub(crate) async fn ask_only(
        &mut self,
        manager: &Address,
        target: &str,
    ) -> Result<Answer, Miss> {
        let asked = self.line.ask(manager, &Request::new(Method::GET, target)).await;
        let answer = asked.map_err(|unanswered| Miss::of(&unanswered))?;
        match self.judge(manager, &answer) {
            Verdict::Miss(miss) if miss.kind == MissKind::TlsRequired => Err(miss),
            Verdict::Final | Verdict::Miss(_) | Verdict::Leads(..) => Ok(answer),
        }
    }

    /// Opens a stream of events at the active one.
    pub(crate) async fn follow(
        &mut self,
        target: &str,
        last_id: Option<&str>,
    ) -> Result<(Address, Events), Fault> {
        let mut missed = Vec::new();
        for manager in self.candidates() {
            let (mut next, mut has_followed) = (Some(manager), false);
            while let Some(manager) = next.take() {
                let answer = match self.line.follow(&manager, target, last_id).await {
                    Ok(Followed::Events(events)) => {
                        self.current = Some(manager.clone());
                        return Ok((manager, events));
                    }
                    Ok(Followed::Refused(answer)) => answer,
                    Err(unanswered) => {
                        missed.push(Miss::of(&unanswered));
                        continue;
                    }
                };
                match self.judge(&manager, &answer) {
                    Verdict::Final => {
                        return Err(refusal::of(&manager, &answer, &self.identity));
                    }
                    Verdict::Miss(miss) => missed.push(miss),
                    Verdict::Leads(active, miss) => {
                        missed.push(miss);
                        // Standbys that name one another would keep it busy.
                        next = (!has_followed).then_some(active);
                        has_followed = true;
                    }
                }
            }
        }
        Err(refusal::nobody(missed, &self.identity))
    }

    /// How long a stream may bring nothing.
    pub(crate) fn silence() -> Duration {
        SILENCE
    }

    fn candidates(&self) -> Vec<Address> {
        let others = self.named.iter().filter(|named| Some(*named) != self.current.as_ref());
        self.current.iter().chain(others).cloned().collect()
    }

    async fn try_one(
        &mut self,
        manager: &Address,
        request: &Request,
    ) -> Result<Attempt<Answer>, Fault> {
        let answer = match self.line.ask(manager, request).await {
            Ok(answer) => answer,
            Err(unanswered) => return undecided(request, &unanswered, &self.identity),
        };
        let (active, miss) = match self.judge(manager, &answer) {
            Verdict::Final => return Ok(Attempt::Answered(manager.clone(), answer)),
            Verdict::Miss(miss) => return Ok(Attempt::Next(miss)),
            Verdict::Leads(active, miss) => (active, miss),
        };
        match self.line.ask(&active, request).await {
            Ok(answer) => Ok(match self.judge(&active, &answer) {
                Verdict::Final => Attempt::Answered(active, answer),
                // That is why; that the first one is a standby is no fault.
                Verdict::Miss(why) if why.kind != MissKind::NotActive => Attempt::Next(why),
                Verdict::Miss(_) | Verdict::Leads(..) => Attempt::Next(miss),
            }),
            Err(unanswered) => undecided(request, &unanswered, &self.identity),
        }
    }

    /// What an answer says of who is to be asked.
    fn judge(&self, from: &Address, answer: &Answer) -> Verdict {
        if answer.status.is_success() {
            return Verdict::Final;
        }
        let Ok(problem) = serde_json::from_slice::<Problem>(&answer.body) else {
            return Verdict::Final;
        };
        let miss = |kind, text: &str| Miss::new(kind, format!("the manager at {from} {text}"));
        match (answer.status, problem.error.as_str()) {
            (StatusCode::SERVICE_UNAVAILABLE, "not_active") => {
                let miss = miss(MissKind::NotActive, "is not the active one");
                let active = problem.active.as_deref().and_then(|active| from.of_active(active));
                match active.filter(|active| active != from) {
                    None => Verdict::Miss(miss),
                    Some(active) if self.would_tell(&active) => Verdict::Miss(Miss::new(
                        MissKind::ClearText,
                        format!(
                            "the manager at {from} says that {active} is active, where the token \
                             would go in clear text"
                        ),
                    )),
                    Some(active) => Verdict::Leads(active, miss),
                }
            }
            // Read before anything else of a request.
            (StatusCode::BAD_REQUEST, "tls_required") => {
                Verdict::Miss(miss(MissKind::TlsRequired, "speaks TLS alone"))
            }
            _ => Verdict::Final,
        }
    }

    fn accept(&mut self, from: Address, answer: &Answer) -> Result<Heard, Fault> {
        if answer.status.is_success() {
            self.current = Some(from.clone());
            return Ok(Heard { from, body: answer.body.clone() });
        }
        Err(refusal::of(&from, answer, &self.identity))
    }
}

/// What an answer says of who is to be asked.
enum Verdict {
    /// It is the answer, of success or not.
    Final,
    /// Another one may know.
    Miss(Miss),
    /// Another one is active; and what it says of this one.
    Leads(Address, Miss),
}

/// No answer: the next manager may have one, unless something may have been changed. Also what is no
/// HTTP may be the answer to a request that was carried out: a header may be all that is wrong.
fn undecided(
    request: &Request,
    unanswered: &Unanswered,
    identity: &Identity,
) -> Result<Attempt<Answer>, Fault> {
    let miss = Miss::of(unanswered);
    let may_have_arrived = matches!(unanswered, Unanswered::NoAnswer(_));
    if may_have_arrived && request.method != Method::GET {
        let look = "look with `govctl pod SERVICE POD` whether it was, then repeat it";
        let hint = miss.hint(identity).map_or_else(String::new, |hint| format!("{hint}; "));
        let what = "it is not known whether the change was made";
        let fault = Fault::new(Kind::Unreachable, what, format!("{hint}{look}"));
        return Err(fault.caused_by(miss.text()));
    }
    Ok(Attempt::Next(miss))
}

/// Reads a list of URLs with commas between them.
pub(crate) fn addresses(list: &str) -> Result<Vec<Address>, Fault> {
    let hint = "write --manager http://HOST:PORT or https://HOST:PORT, or set GOVERNANCE_URL; \
                several with commas";
    let usage = |what: String| Fault::new(Kind::Usage, what, hint);
    let texts = list.split(',').map(str::trim).filter(|text| !text.is_empty());
    let named: Result<Vec<_>, _> = texts.map(Address::parse).collect();
    let named = named.map_err(usage)?;
    match named.len() {
        0 => Err(usage("no manager is named".to_owned())),
        1..=MANAGERS_MAX => Ok(named),
        _ => Err(usage(format!("more than {MANAGERS_MAX} managers are named"))),
    }
}

/// Whether what is sent to a host stays on this machine.
fn is_here(host: &str) -> bool {
    let is_local_name = host.eq_ignore_ascii_case("localhost");
    is_local_name
        || host.parse().is_ok_and(|ip: IpAddr| {
            let ip = ip.to_canonical();
            ip.is_loopback() || ip.is_unspecified()
        })
}

/// An answer of success in its type.
pub(crate) fn read<T: DeserializeOwned>(from: &Address, body: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| {
        let what = format!("the answer of {from} is not understood");
        let hint = "check that the URL is that of a governance manager, and that govctl is not \
                    older than the manager";
        Fault::new(Kind::Failed, what, hint).caused_by(error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_on_this_machine_is_here() {
        for host in ["localhost", "LocalHost", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]
        {
            assert!(is_here(host), "{host}");
        }
        for host in ["localhost.example", "10.0.0.1", "fe80::1", "manager", "128.0.0.1", ""] {
            assert!(!is_here(host), "{host}");
        }
    }

    #[test]
    fn a_list_of_managers_is_short_and_each_is_a_url() {
        assert_eq!(addresses("http://a, https://b:1,,").unwrap().len(), 2);
        for list in ["", ",", "a", "http://a,b"] {
            assert_eq!(addresses(list).unwrap_err().kind, Kind::Usage, "{list}");
        }
        let many = vec!["http://a"; MANAGERS_MAX + 1].join(",");
        assert!(addresses(&many).unwrap_err().what.contains("more than 16"));
    }
}
