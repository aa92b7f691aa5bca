//! `govctl watch [SERVICE]`: a line per change, for as long as somebody reads.
//!
//! A stream that ends or breaks is opened again behind the last event that was seen. When the
//! manager cannot continue there it begins with a snapshot; what changed in between is then found by
//! comparing, so that nothing is missed and nothing is told twice.

use std::collections::BTreeMap;
use std::time::Duration;

use governance_api::{Change, Pod, SnapshotBegin, SnapshotEnd, SnapshotPage, StreamEnd, paths};
use governance_client::direct::Events;
use serde::de::DeserializeOwned;

use super::pods::status;
use crate::cli::WatchOptions;
use crate::events::{Event, Reader};
use crate::fault::{Fault, Kind, Outcome, Stop};
use crate::managers::Managers;
use crate::screen::{Format, Screen};
use crate::table::Table;
use crate::text::{encoded, endpoints, now, seconds};

/// Between two attempts to connect again, doubled up to the longest.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// The names of events. What is not named here carries nothing but its id.
const SNAPSHOT_BEGIN: &str = "snapshot-begin";
const SNAPSHOT: &str = "snapshot";
const SNAPSHOT_END: &str = "snapshot-end";
const CHANGE: &str = "change";
const END: &str = "end";

/// A pod by its names.
type Key = (String, String);

struct Watcher {
    screen: Screen,
    last_id: Option<String>,
    registry_id: Option<String>,
    /// All that is known, by snapshot and changes; none before the first snapshot.
    known: Option<BTreeMap<Key, Pod>>,
    /// A snapshot that is not whole yet.
    coming: Option<BTreeMap<Key, Pod>>,
    /// Changes still to be told; none: without an end.
    left: Option<u64>,
}

/// Whether to go on.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    On,
    /// As many changes were told as were asked for.
    Enough,
}

pub(crate) async fn run(screen: Screen, mut managers: Managers, options: WatchOptions) -> Outcome {
    let filter = options.service.as_deref().map(|name| format!("?service_name={}", encoded(name)));
    let target = format!("{}{}", paths::WATCH, filter.unwrap_or_default());
    let last_id = options.since.map(|revision| revision.to_string());
    let left = options.count;
    let (registry_id, known, coming) = (None, None, None);
    let mut watcher = Watcher { screen, last_id, registry_id, known, coming, left };
    if left == Some(0) {
        return Ok(());
    }
    let mut pause = PAUSE_MIN;
    let mut is_first = true;
    loop {
        match managers.follow(&target, watcher.last_id.as_deref()).await {
            Ok((manager, mut events)) => {
                screen.remark(&format!("watching {manager}"));
                (is_first, pause) = (false, PAUSE_MIN);
                match watcher.read(&mut events).await? {
                    (Step::Enough, _) => return Ok(()),
                    (Step::On, why) => screen.remark(&format!("{why}; connecting again")),
                }
            }
            Err(fault) if is_first || is_final(fault.kind) => return Err(fault.into()),
            Err(fault) => {
                let why = fault.causes.first().unwrap_or(&fault.what);
                screen.remark(&format!("{why}; trying again in {} s", pause.as_secs_f32()));
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// What trying again does not mend.
fn is_final(kind: Kind) -> bool {
    match kind {
        Kind::NotFound | Kind::Unidentified | Kind::Forbidden | Kind::Usage => true,
        Kind::Failed | Kind::Unreachable => false,
    }
}

impl Watcher {
    /// Reads a stream to its end; why it ended.
    async fn read(&mut self, events: &mut Events) -> Result<(Step, String), Stop> {
        let mut reader = Reader::default();
        self.coming = None;
        let mut end = "the stream ended".to_owned();
        loop {
            let piece = match events.next(Managers::silence()).await {
                Ok(Some(piece)) => piece,
                Ok(None) => return Ok((Step::On, end)),
                Err(unanswered) => return Ok((Step::On, unanswered.to_string())),
            };
            let found = match reader.take(&piece) {
                Ok(found) => found,
                Err(why) => return Ok((Step::On, why)),
            };
            for event in found {
                if event.name == END {
                    end = format!(
                        "the manager ends the stream: {}",
                        parsed::<StreamEnd>(&event)?.error
                    );
                } else if self.take(&event)? == Step::Enough {
                    return Ok((Step::Enough, end));
                }
            }
        }
    }

    fn take(&mut self, event: &Event) -> Result<Step, Stop> {
        let step = match event.name.as_str() {
            SNAPSHOT_BEGIN => {
                self.begin(&parsed::<SnapshotBegin>(event)?);
                Step::On
            }
            SNAPSHOT => {
                let pods = parsed::<SnapshotPage>(event)?.pods;
                self.coming.get_or_insert_default().extend(pods.into_iter().map(keyed));
                Step::On
            }
            SNAPSHOT_END => self.complete(parsed::<SnapshotEnd>(event)?.revision)?,
            CHANGE => self.change(&parsed(event)?)?,
            // A bookmark, or what a newer manager knows: the id counts.
            _ => Step::On,
        };
        if event.id.is_some() {
            self.last_id.clone_from(&event.id);
        }
        Ok(step)
    }

    fn begin(&mut self, state: &SnapshotBegin) {
        if self.registry_id.as_ref().is_some_and(|known| *known != state.registry_id) {
            self.screen.remark("the registry is another one now: revisions begin anew");
        }
        self.registry_id = Some(state.registry_id.clone());
        self.coming = Some(BTreeMap::new());
    }

    /// The first snapshot is where everything begins; a later one tells what was missed.
    fn complete(&mut self, revision: u64) -> Result<Step, Stop> {
        let new = self.coming.take().unwrap_or_default();
        let old = self.known.replace(new.clone());
        let Some(old) = old else {
            if let Some(id) = &self.last_id {
                let lost = "the manager does not know any more what followed revision";
                self.screen.remark(&format!("{lost} {id}: changes may be missing here"));
            }
            self.screen.remark(&format!("{} pods at revision {revision}", new.len()));
            return Ok(Step::On);
        };
        for change in differences(&old, &new, revision) {
            if self.tell(&change)? == Step::Enough {
                return Ok(Step::Enough);
            }
        }
        Ok(Step::On)
    }

    fn change(&mut self, change: &Change) -> Result<Step, Stop> {
        if let Some(known) = &mut self.known {
            let key = (change.service_name.clone(), change.pod_name.clone());
            match &change.pod {
                Some(pod) => known.insert(key, pod.clone()),
                None => known.remove(&key),
            };
        }
        self.tell(change)
    }

    fn tell(&mut self, change: &Change) -> Result<Step, Stop> {
        let name = format!("{}/{}", change.service_name, change.pod_name);
        match self.screen.format {
            Format::Json => self.screen.json_line(change)?,
            Format::Name => self.screen.line(&name)?,
            Format::Table | Format::Wide => self.screen.print(&self.row(change, &name))?,
        }
        self.left = self.left.map(|left| left.saturating_sub(1));
        Ok(if self.left == Some(0) { Step::Enough } else { Step::On })
    }

    /// A line on its own: what comes next is not known, so columns are not aligned.
    fn row(&self, change: &Change, name: &str) -> String {
        let time = change.pod.as_ref().map(|pod| pod.updated_at.clone());
        let time = seconds(&time.unwrap_or_else(|| now().to_string()));
        let state = change.pod.as_ref().map(|pod| pod.status);
        let state = state.map_or_else(|| "gone".into(), status);
        let mut row = vec![
            time.into(),
            crate::table::Cell::from(&change.kind),
            name.into(),
            state,
            crate::table::Cell::from(&change.reason),
        ];
        if self.screen.format == Format::Wide {
            let of = change.pod.as_ref().map_or_else(String::new, |pod| endpoints(&pod.providers));
            row.insert(1, change.revision.to_string().into());
            row.push(of.into());
        }
        Table::row(row).text(self.screen.has_colour())
    }
}

fn keyed(pod: Pod) -> (Key, Pod) {
    ((pod.service_name.clone(), pod.pod_name.clone()), pod)
}

/// What turns one state into the other.
fn differences(old: &BTreeMap<Key, Pod>, new: &BTreeMap<Key, Pod>, revision: u64) -> Vec<Change> {
    let change = |kind: &str, (service, pod): &Key, now: Option<&Pod>| Change {
        revision,
        kind: kind.to_owned(),
        service_name: service.clone(),
        pod_name: pod.clone(),
        pod: now.cloned(),
        reason: "found in a new snapshot".to_owned(),
    };
    let gone = old.keys().filter(|key| !new.contains_key(key));
    let mut found: Vec<_> = gone.map(|key| change("unregister", key, None)).collect();
    for (key, pod) in new {
        match old.get(key) {
            None => found.push(change("register", key, Some(pod))),
            Some(before) if !is_same(before, pod) => {
                let is_update =
                    before.registration_id == pod.registration_id && before.status != pod.status;
                found.push(change(if is_update { "update" } else { "register" }, key, Some(pod)));
            }
            Some(_) => {}
        }
    }
    found
}

/// Checks alone are no change.
fn is_same(before: &Pod, now: &Pod) -> bool {
    let plain =
        |pod: &Pod| Pod { last_health_check: None, updated_at: String::new(), ..pod.clone() };
    plain(before) == plain(now)
}

fn parsed<T: DeserializeOwned>(event: &Event) -> Result<T, Stop> {
    serde_json::from_str(&event.data).map_err(|error| {
        let what = format!("the event {:?} is not understood", event.name);
        let hint = "see that govctl is not older than the manager (`govctl status`)";
        Fault::new(Kind::Failed, what, hint).caused_by(error.to_string()).into()
    })
}

#[cfg(test)]
mod tests {
    use governance_api::Status;

    use super::*;

    fn pod(name: &str, status: Status, registration_id: u64) -> (Key, Pod) {
        keyed(Pod {
            service_key: format!("s:{name}"),
            service_name: "s".to_owned(),
            pod_name: name.to_owned(),
            providers: Vec::new(),
            health_check_url: String::new(),
            notification_url: String::new(),
            subscriptions: Vec::new(),
            status,
            last_health_check: None,
            registered_at: String::new(),
            updated_at: registration_id.to_string(),
            registration_id,
        })
    }

    #[test]
    fn a_new_snapshot_tells_what_was_missed_and_nothing_else() {
        let old = [
            pod("gone", Status::Healthy, 1),
            pod("same", Status::Healthy, 2),
            pod("ill", Status::Healthy, 3),
            pod("anew", Status::Healthy, 4),
        ];
        let new = [
            pod("same", Status::Healthy, 2),
            pod("ill", Status::Unhealthy, 3),
            pod("anew", Status::Unknown, 5),
            pod("new", Status::Unknown, 6),
        ];
        let found = differences(&BTreeMap::from(old), &BTreeMap::from(new), 9);
        let found: Vec<_> =
            found.iter().map(|change| (change.kind.as_str(), change.pod_name.as_str())).collect();
        let expected =
            [("unregister", "gone"), ("register", "anew"), ("update", "ill"), ("register", "new")];
        assert_eq!(found, expected);
    }
}
