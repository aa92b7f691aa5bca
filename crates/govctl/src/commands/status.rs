//! `govctl status`: each manager that was named, asked by itself.

use governance_api::{Health, Problem, Ready, Role, ServiceList, Status, Version, paths};
use governance_client::direct::{Address, Answer};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::pods::word;
use crate::fault::{Fault, Kind, Outcome};
use crate::identity::Identity;
use crate::managers::Managers;
use crate::refusal::{self, Miss};
use crate::screen::{Format, Screen};
use crate::table::{BAD, Cell, GOOD, OPEN, Table};
use crate::text::span;

/// What a manager says of itself.
#[derive(Debug, Default, Serialize)]
struct Standing {
    manager: String,
    /// Why it says nothing; none if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
    health: Option<Health>,
    is_ready: bool,
    /// `available`, `unavailable`, or nothing if it is not ready.
    writes: Option<String>,
    /// Why it is not ready or does not take writes.
    reason: Option<String>,
    version: Option<Version>,
    revision: Option<u64>,
    registry_id: Option<String>,
    pods: Option<Pods>,
    /// Why the pods are not counted, if the manager refuses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_counted: Option<String>,
    /// For the hint to `fault`.
    #[serde(skip)]
    miss: Option<Miss>,
    /// For the hint to `not_counted`.
    #[serde(skip)]
    refusal: Option<Fault>,
}

#[derive(Debug, Serialize)]
struct Pods {
    healthy: usize,
    unhealthy: usize,
    unknown: usize,
}

pub(crate) async fn run(screen: Screen, mut managers: Managers) -> Outcome {
    let mut found = Vec::new();
    for manager in managers.named().to_vec() {
        found.push(ask(&mut managers, &manager).await);
    }
    match screen.format {
        Format::Json => screen.json(&found)?,
        Format::Name => {
            let ready = found.iter().filter(|standing| standing.is_ready);
            ready.into_iter().try_for_each(|standing| screen.line(&standing.manager))?;
        }
        Format::Table | Format::Wide => screen.table(&table(&found, screen.format))?,
    }
    if let Some(refusal) = found.iter().find_map(|standing| standing.refusal.as_ref()) {
        screen.remark(&format!("hint: {}", refusal.hint));
    }
    verdict(found, managers.identity())
}

async fn ask(managers: &mut Managers, manager: &Address) -> Standing {
    let mut standing = Standing { manager: manager.to_string(), ..Standing::default() };
    match managers.ask_only(manager, paths::HEALTH).await {
        Ok(answer) => standing.health = parsed(&answer),
        Err(miss) => {
            (standing.fault, standing.miss) = (Some(miss.text().to_owned()), Some(miss));
            return standing;
        }
    }
    if standing.health.is_none() {
        standing.fault = Some(format!("what answers at {manager} is no governance manager"));
        return standing;
    }
    match managers.ask_only(manager, paths::READY).await {
        Ok(answer) => standing.note_ready(&answer),
        Err(miss) => standing.reason = Some(miss.text().to_owned()),
    }
    if let Ok(answer) = managers.ask_only(manager, paths::VERSION).await {
        standing.version = parsed(&answer);
    }
    if standing.is_ready {
        count(managers, manager, &mut standing).await;
    }
    standing
}

/// `limit=1` with a filter: the count is of all matches, whatever the size of the page.
async fn count(managers: &mut Managers, manager: &Address, standing: &mut Standing) {
    let mut counts = [0; 3];
    let all = [Status::Healthy, Status::Unhealthy, Status::Unknown];
    for (status, count) in all.into_iter().zip(&mut counts) {
        let target = format!("{}?limit=1&status={}", paths::SERVICES, word(status));
        let Ok(answer) = managers.ask_only(manager, &target).await else { return };
        let Some(list) = parsed::<ServiceList>(&answer) else {
            let refusal = refusal::of(manager, &answer, managers.identity());
            let why = refusal.causes.first().unwrap_or(&refusal.what);
            standing.not_counted = Some(format!("pods are not counted: {why}"));
            standing.refusal = Some(refusal);
            return;
        };
        *count = list.count;
        (standing.revision, standing.registry_id) = (Some(list.revision), Some(list.registry_id));
    }
    let [healthy, unhealthy, unknown] = counts;
    standing.pods = Some(Pods { healthy, unhealthy, unknown });
}

impl Standing {
    fn note_ready(&mut self, answer: &Answer) {
        if let Some(ready) = parsed::<Ready>(answer) {
            self.is_ready = true;
            (self.writes, self.reason) = (Some(ready.writes), ready.reason);
        } else {
            let problem: Option<Problem> = serde_json::from_slice(&answer.body).ok();
            self.reason = problem.map(|problem| problem.detail);
        }
    }
}

fn parsed<T: DeserializeOwned>(answer: &Answer) -> Option<T> {
    serde_json::from_slice(&answer.body).ok().filter(|_| answer.status.is_success())
}

fn table(found: &[Standing], format: Format) -> Table {
    let is_wide = format == Format::Wide;
    let mut head = vec!["MANAGER", "ROLE", "READY", "WRITES", "STORAGE", "EPOCH", "REVISION"];
    head.extend(["PODS", "HEALTHY", "UNHEALTHY", "UNKNOWN", "UPTIME", "VERSION"]);
    head.extend(["REGISTRY"].iter().filter(|_| is_wide));
    head.push("REMARK");
    let mut table = Table::new(&head);
    for standing in found {
        table.push(row(standing, is_wide));
    }
    table
}

fn row(standing: &Standing, is_wide: bool) -> Vec<Cell> {
    let health = standing.health.as_ref();
    let nothing = || Cell::from("-");
    let number = |number: Option<u64>| number.map_or_else(nothing, |n| Cell::from(n.to_string()));
    let count = |of: fn(&Pods) -> usize| number(standing.pods.as_ref().map(|pods| of(pods) as u64));
    let ready = match (health, standing.is_ready) {
        (None, _) => nothing(),
        (_, true) => Cell::styled("yes", GOOD),
        (_, false) => Cell::styled("no", OPEN),
    };
    let writes = standing.writes.as_deref().map_or_else(nothing, |writes| {
        Cell::styled(writes, if writes == "available" { GOOD } else { BAD })
    });
    let mut row = vec![
        Cell::from(&standing.manager),
        health.map_or_else(|| Cell::styled("silent", BAD), |health| role(health.role)),
        ready,
        writes,
        health.map_or_else(nothing, |health| storage(health).into()),
        number(health.map(|health| u64::from(health.epoch))),
        number(standing.revision),
        count(|pods| pods.healthy + pods.unhealthy + pods.unknown),
        count(|pods| pods.healthy),
        count(|pods| pods.unhealthy),
        count(|pods| pods.unknown),
        health.map_or_else(nothing, |health| uptime(health.uptime_seconds).into()),
        standing.version.as_ref().map_or_else(nothing, |version| Cell::from(&version.version)),
    ];
    if is_wide {
        row.push(standing.registry_id.as_ref().map_or_else(nothing, Cell::from));
    }
    let remark = standing.fault.as_ref().or(standing.reason.as_ref());
    let remark = remark.or(standing.not_counted.as_ref());
    row.push(remark.map_or_else(|| "".into(), Cell::from));
    row
}

fn role(role: Role) -> Cell {
    match role {
        Role::Active => Cell::styled("active", GOOD),
        Role::Standby => "standby".into(),
        Role::Loading => Cell::styled("loading", OPEN),
        Role::Stopping => Cell::styled("stopping", OPEN),
    }
}

fn storage(health: &Health) -> String {
    let away = if health.storage.reachable { "" } else { " (away)" };
    format!("{}{away}", health.storage.kind)
}

fn uptime(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    span(jiff::SignedDuration::from_secs(seconds))
}

/// Good is: all answer, and one is active.
fn verdict(found: Vec<Standing>, identity: &Identity) -> Outcome {
    let (all, has_ready) = (found.len(), found.iter().any(|standing| standing.is_ready));
    let misses = found.iter().filter_map(|standing| standing.miss.as_ref());
    let hint = misses.into_iter().find_map(|miss| miss.hint(identity));
    let silent: Vec<_> = found.into_iter().filter_map(|standing| standing.fault).collect();
    if !silent.is_empty() {
        let what = match (silent.len(), all) {
            (1, 1) => "the manager does not answer".to_owned(),
            (1, all) => format!("1 of {all} managers does not answer"),
            (silent, all) => format!("{silent} of {all} managers do not answer"),
        };
        let hint = hint.unwrap_or_else(|| {
            "see that each runs and that the URLs are right; the active one goes on alone"
                .to_owned()
        });
        let fault = Fault::new(Kind::Unreachable, what, hint);
        return Err(silent.into_iter().fold(fault, Fault::caused_by).into());
    }
    if has_ready {
        return Ok(());
    }
    let hint = "a standby takes over within seconds when the active one is gone; name all managers \
                with --manager to see which one it is";
    Err(Fault::new(Kind::Failed, "no manager that was named is ready", hint).into())
}
