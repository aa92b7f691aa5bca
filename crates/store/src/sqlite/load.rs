//! Reading everything. No row stops it: what cannot be read as it should is read as well as can be.
//!
//! What is ours of a row is found through the ledger, which is read on the way.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use governance_domain::{Pod, PodKey, RegistrationId, Timestamp};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::ledger::{Current, Ledger};
use super::session::{Session, Strays};
use crate::rows::{ODDITIES_KEPT, StoredRow, is_never, read_time};
use crate::{CommitError, Loaded, StoreFault};

const SELECT: &str = "SELECT service_key, service_name, pod_name, providers, health_check_url, \
    notification_url, subscriptions, status, last_health_check, registered_at, updated_at, rowid \
    FROM services";

/// See [`crate::Store::load`].
pub(super) fn load(session: &mut Session) -> Result<Loaded, StoreFault> {
    let read = session.read(|connection| Ok(read_all(connection)?));
    let (loaded, ledger, strays) = read.map_err(|error| match error {
        CommitError::NotApplied(fault)
        | CommitError::Unknown(fault)
        | CommitError::Lost(fault)
        | CommitError::Refused { fault, .. } => fault,
    })?;
    session.ledger = Some(ledger);
    session.strays = strays;
    Ok(loaded)
}

fn read_all(connection: &Connection) -> rusqlite::Result<(Loaded, Ledger, Strays)> {
    let mut instances = HashMap::new();
    let ledger = Ledger::read(connection, |row, instance| {
        instances.insert(row, Box::from(instance));
    })?;
    let ours = Ours { ledger: &ledger, instances: &instances };
    let mut loaded = Loaded::default();
    let mut stray_pods = Vec::new();
    let mut statement = connection.prepare_cached(SELECT)?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let (service_key, pod, oddity) = read_row(row, &ours)?;
        note(&mut loaded, oddity);
        match service_key {
            None => loaded.pods.push(pod),
            Some(service_key) => stray_pods.push((service_key, pod)),
        }
    }
    let strays = add_strays(&mut loaded, stray_pods);
    Ok((loaded, ledger, strays))
}

/// Adds the pods of rows under a wrong key, unless there is a row under the right one.
fn add_strays(loaded: &mut Loaded, stray_pods: Vec<(String, Pod)>) -> Strays {
    let mut strays = Strays::new();
    if stray_pods.is_empty() {
        return strays;
    }
    let mut keys: HashSet<PodKey> = loaded.pods.iter().map(|pod| pod.key.clone()).collect();
    for (service_key, pod) in stray_pods {
        strays.entry(pod.key.clone()).or_default().push(service_key);
        if keys.insert(pod.key.clone()) {
            loaded.pods.push(pod);
        }
    }
    strays
}

fn note(loaded: &mut Loaded, oddity: Option<String>) {
    let Some(oddity) = oddity else { return };
    loaded.odd_count += 1;
    if loaded.oddities.len() < ODDITIES_KEPT {
        loaded.oddities.push(oddity);
    }
}

/// What we keep beside `services`.
struct Ours<'a> {
    ledger: &'a Ledger,
    instances: &'a HashMap<i64, Box<str>>,
}

/// The pod of a row, its key if that is not the pod's, and what is odd.
fn read_row(
    row: &Row<'_>,
    ours: &Ours<'_>,
) -> rusqlite::Result<(Option<String>, Pod, Option<String>)> {
    let service_key = text(row, 0)?;
    let service_name = text(row, 1)?;
    let pod_name = text(row, 2)?;
    let last_health_check = time(row, 8)?;
    let registered_at = time(row, 9)?;
    let updated_at = time(row, 10)?;
    let current = match ours.ledger.current(&service_key) {
        Some(current) => current,
        None => Current { row: None, registration_id: row.get(11)? },
    };
    let instance = current.row.and_then(|row| ours.instances.get(&row));
    let stored = StoredRow {
        service_name: &service_name,
        pod_name: &pod_name,
        providers: &text(row, 3)?,
        health_check_url: &text(row, 4)?,
        notification_url: &text(row, 5)?,
        subscriptions: &text(row, 6)?,
        status: &text(row, 7)?,
        last_health_check: last_health_check.filter(|time| !is_never(*time)),
        registered_at: registered_at.unwrap_or(Timestamp::from_micros(0)),
        updated_at: updated_at.unwrap_or(Timestamp::from_micros(0)),
        registration_id: RegistrationId::from_u64(current.registration_id.cast_unsigned()),
        instance_id: instance.map(AsRef::as_ref),
    };
    let (pod, mut oddity) = stored.read();
    if last_health_check.is_none() || registered_at.is_none() || updated_at.is_none() {
        oddity.get_or_insert_with(|| format!("{}: a time is not one", pod.key));
    }
    let key = service_key.strip_prefix(&*service_name).and_then(|rest| rest.strip_prefix(':'));
    if key == Some(&pod_name) {
        return Ok((None, pod, oddity));
    }
    oddity.get_or_insert_with(|| format!("{}: its service_key is {service_key:?}", pod.key));
    Ok((Some(service_key.into_owned()), pod, oddity))
}

/// A column as text whatever it holds: SQLite lets a person store anything anywhere.
fn text<'a>(row: &'a Row<'_>, column: usize) -> rusqlite::Result<Cow<'a, str>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Null => Cow::Borrowed(""),
        ValueRef::Integer(number) => number.to_string().into(),
        ValueRef::Real(number) => number.to_string().into(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes),
    })
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(read_time(&text(row, column)?))
}
