//! Asking the managers: one after the other until the active one answers.
//!
//! A standby names the active one, and that is asked next. A request that changes something is
//! given up where it may have been carried out; one that only reads goes on to the next manager.

use std::time::Duration;

use bytes::Bytes;
use governance_api::Problem;
use governance_client::direct::{Address, Answer, Events, Followed, Line, Request, Unanswered};
use governance_client::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::fault::{Fault, Kind};
use crate::refusal;

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
    Next(String),
}

impl Managers {
    /// Reads a list of URLs with commas between them.
    pub(crate) fn parse(list: &str) -> Result<Self, Fault> {
        let hint = "write --manager http://HOST:PORT, or set GOVERNANCE_URL; several with commas";
        let usage = |what: String| Fault::new(Kind::Usage, what, hint);
        if list.split(',').any(|text| text.trim().starts_with("https:")) {
            let what = "govctl does not speak TLS yet".to_owned();
            let hint = "ask over http on the manager's own machine, or through a tunnel to it";
            return Err(Fault::new(Kind::Usage, what, hint));
        }
        let texts = list.split(',').map(str::trim).filter(|text| !text.is_empty());
        let named: Result<Vec<_>, _> = texts.map(Address::parse).collect();
        let named = named.map_err(usage)?;
        match named.len() {
            0 => Err(usage("no manager is named".to_owned())),
            1..=MANAGERS_MAX => Ok(Self { named, current: None, line: Line::new(PATIENCE) }),
            _ => Err(usage(format!("more than {MANAGERS_MAX} managers are named"))),
        }
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
        Err(refusal::nobody(missed))
    }

    /// Asks one and no other: for what is about that manager.
    pub(crate) async fn ask_only(
        &mut self,
        manager: &Address,
        target: &str,
    ) -> Result<Answer, Unanswered> {
        self.line.ask(manager, &Request::new(Method::GET, target)).await
    }

    /// Opens a stream of events at the active one.
    pub(crate) async fn follow(
        &mut self,
        target: &str,
        last_id: Option<&str>,
    ) -> Result<(Address, Events), Fault> {
        let mut missed = Vec::new();
        for manager in self.candidates() {
            let mut next = Some(manager);
            while let Some(manager) = next.take() {
                match Events::open(&manager, target, last_id, PATIENCE).await {
                    Ok(Followed::Events(events)) => {
                        self.current = Some(manager.clone());
                        return Ok((manager, events));
                    }
                    Ok(Followed::Refused(answer)) => match standby(&manager, &answer) {
                        Some(Standby { active }) => {
                            missed.push(format!("the manager at {manager} is not the active one"));
                            next = active.filter(|active| *active != manager);
                        }
                        None => return Err(refusal::of(&manager, &answer)),
                    },
                    Err(unanswered) => missed.push(unanswered.to_string()),
                }
            }
        }
        Err(refusal::nobody(missed))
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
            Err(unanswered) => return undecided(request, &unanswered),
        };
        let Some(Standby { active }) = standby(manager, &answer) else {
            return Ok(Attempt::Answered(manager.clone(), answer));
        };
        let why = format!("the manager at {manager} is not the active one");
        let Some(active) = active.filter(|active| active != manager) else {
            return Ok(Attempt::Next(why));
        };
        match self.line.ask(&active, request).await {
            Ok(answer) if standby(&active, &answer).is_some() => Ok(Attempt::Next(why)),
            Ok(answer) => Ok(Attempt::Answered(active, answer)),
            Err(unanswered) => undecided(request, &unanswered),
        }
    }

    fn accept(&mut self, from: Address, answer: &Answer) -> Result<Heard, Fault> {
        if answer.status.is_success() {
            self.current = Some(from.clone());
            return Ok(Heard { from, body: answer.body.clone() });
        }
        Err(refusal::of(&from, answer))
    }
}

/// No answer: the next manager may have one, unless something may have been changed.
fn undecided(request: &Request, unanswered: &Unanswered) -> Result<Attempt<Answer>, Fault> {
    match unanswered {
        Unanswered::NoAnswer(why) if request.method != Method::GET => {
            let hint = "look with `govctl pod SERVICE POD` whether it was, then repeat it";
            let what = "it is not known whether the change was made";
            Err(Fault::new(Kind::Unreachable, what, hint).caused_by(why))
        }
        Unanswered::NoAnswer(why) | Unanswered::NotSent(why) => Ok(Attempt::Next(why.clone())),
    }
}

/// What a standby says.
struct Standby {
    /// The active one, if it names one that can be reached.
    active: Option<Address>,
}

/// Whether an answer is a standby's.
fn standby(from: &Address, answer: &Answer) -> Option<Standby> {
    if answer.status != StatusCode::SERVICE_UNAVAILABLE {
        return None;
    }
    let problem: Problem = serde_json::from_slice(&answer.body).ok()?;
    let active = problem.active.as_deref().and_then(|active| from.of_active(active));
    (problem.error == "not_active").then_some(Standby { active })
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
