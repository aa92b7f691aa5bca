//! `register`, `unregister`, `import` and `export`: registrations in and out.
//!
//! Each registration of a file is sent by itself, in the order of the file; a refusal is told and
//! the rest goes on, and the exit code says at the end whether there was one. When no manager
//! answers any more, or none knows who asks, the rest is not tried.

use std::collections::HashSet;

use governance_api::{Registered, Unregistered, paths};
use governance_client::Method;
use governance_client::direct::Request;
use serde::Serialize;

use super::pods::each_page;
use crate::cli::{ImportOptions, RegisterOptions, UnregisterOptions};
use crate::documents::{self, Document};
use crate::fault::{Fault, Kind, Outcome};
use crate::managers::{self, Managers};
use crate::screen::{Format, Screen};
use crate::text::{counted, encoded};

/// What became of one registration, as `-o json` prints it.
#[derive(Debug, Serialize)]
struct Fate<'a> {
    service_name: Option<&'a str>,
    pod_name: Option<&'a str>,
    /// `registered`, `kept` or `refused`.
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    registration_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
}

/// How many of each.
#[derive(Debug, Default)]
struct Tally {
    registered: usize,
    kept: usize,
    refused: usize,
    /// What to do where one was refused because of who asked.
    forbidden: Option<String>,
}

pub(crate) async fn register(
    screen: Screen,
    mut managers: Managers,
    options: &RegisterOptions,
) -> Outcome {
    let documents = documents::read(&options.file)?;
    let tally = send_all(screen, &mut managers, &documents, &HashSet::new()).await?;
    tally.verdict()
}

pub(crate) async fn import(
    screen: Screen,
    mut managers: Managers,
    options: &ImportOptions,
) -> Outcome {
    let documents = documents::read(&options.file)?;
    let mut known = HashSet::new();
    if !options.replace {
        each_page(&mut managers, "", |page| {
            known.extend(page.services.into_iter().map(|pod| (pod.service_name, pod.pod_name)));
        })
        .await?;
    }
    let tally = send_all(screen, &mut managers, &documents, &known).await?;
    let Tally { registered, kept, refused, .. } = tally;
    screen.remark(&format!("{registered} registered, {kept} kept, {refused} refused"));
    tally.verdict()
}

async fn send_all(
    screen: Screen,
    managers: &mut Managers,
    documents: &[Document],
    known: &HashSet<(String, String)>,
) -> Result<Tally, crate::fault::Stop> {
    let mut tally = Tally::default();
    for (index, document) in documents.iter().enumerate() {
        if is_known(document, known) {
            tally.kept += 1;
            tell(screen, document, "kept", Ok(None))?;
            continue;
        }
        match send(managers, document).await {
            Ok(registered) => {
                tally.registered += 1;
                tell(screen, document, "registered", Ok(Some(&registered)))?;
            }
            Err(fault) if matches!(fault.kind, Kind::Unreachable | Kind::Unidentified) => {
                let left = counted(documents.len() - index, "registration");
                return Err(fault.caused_by(format!("{left} of the file not done")).into());
            }
            Err(fault) => {
                tally.refused += 1;
                tell(screen, document, "refused", Err(&fault))?;
                if fault.kind == Kind::Forbidden {
                    tally.forbidden.get_or_insert(fault.hint);
                }
            }
        }
    }
    Ok(tally)
}

fn is_known(document: &Document, known: &HashSet<(String, String)>) -> bool {
    let (Some(service), Some(pod)) = document.key() else { return false };
    known.contains(&(service.to_owned(), pod.to_owned()))
}

async fn send(managers: &mut Managers, document: &Document) -> Result<Registered, Fault> {
    let heard = managers.post(paths::REGISTER, &document.0).await?;
    managers::read(&heard.from, &heard.body)
}

fn tell(
    screen: Screen,
    document: &Document,
    result: &'static str,
    fate: Result<Option<&Registered>, &Fault>,
) -> Outcome {
    let (service_name, pod_name) = document.key();
    let answer = fate.ok().flatten();
    let reasons = fate.err().map(reasons).unwrap_or_default();
    match screen.format {
        Format::Json => screen.json_line(&Fate {
            service_name,
            pod_name,
            result,
            registration_id: answer.map(|answer| answer.registration_id),
            revision: answer.map(|answer| answer.revision),
            reasons,
        }),
        Format::Name if result != "registered" => Ok(()),
        Format::Name => screen.line(&document.name()),
        Format::Table | Format::Wide => {
            let name = document.name();
            let more = match answer {
                Some(answer) => format!(" (registration {})", answer.registration_id),
                None if result == "kept" => ": it is registered already".to_owned(),
                None => format!(": {}", reasons.join("; ")),
            };
            screen.line(&format!("{name} {result}{more}"))
        }
    }
}

/// Why it was refused: the faults of the input, or else what the manager says.
fn reasons(fault: &Fault) -> Vec<String> {
    if fault.causes.is_empty() { vec![fault.what.clone()] } else { fault.causes.clone() }
}

impl Tally {
    fn verdict(&self) -> Outcome {
        if self.refused == 0 {
            return Ok(());
        }
        let all = self.registered + self.kept + self.refused;
        let what = format!("{} of {all} refused", counted(self.refused, "registration"));
        let hint = self.forbidden.as_deref();
        let hint = hint.unwrap_or(
            "correct what is named above and give the file again: what is registered stays",
        );
        Err(Fault::new(Kind::Failed, what, hint).into())
    }
}

pub(crate) async fn unregister(
    screen: Screen,
    mut managers: Managers,
    options: &UnregisterOptions,
) -> Outcome {
    let (service, pod) = (encoded(&options.name.service), encoded(&options.name.pod));
    let id = options.registration_id.map(|id| format!("&registration_id={id}"));
    let id = id.unwrap_or_default();
    let target = format!("{}?service_name={service}&pod_name={pod}{id}", paths::UNREGISTER);
    let heard = managers.ask(&Request::new(Method::DELETE, target)).await?;
    let answer: Unregistered = managers::read(&heard.from, &heard.body)?;
    let name = format!("{}/{}", answer.service_name, answer.pod_name);
    match screen.format {
        Format::Json => screen.json(&answer),
        Format::Name => screen.line(&name),
        Format::Table | Format::Wide => {
            screen.line(&format!("{name} unregistered (registration {})", answer.registration_id))
        }
    }
}

/// One registration a line, in the order of the list. With `-o name` the names alone.
pub(crate) async fn export(screen: Screen, mut managers: Managers) -> Outcome {
    let mut pods = Vec::new();
    each_page(&mut managers, "", |page| pods.extend(page.services)).await?;
    for pod in pods {
        match screen.format {
            Format::Name => screen.line(&format!("{}/{}", pod.service_name, pod.pod_name))?,
            Format::Json | Format::Table | Format::Wide => {
                screen.json_line(&documents::of_pod(pod))?;
            }
        }
    }
    Ok(())
}
