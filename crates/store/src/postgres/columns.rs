//! Values turned by a quarter: from a list of rows to one array per column, as `unnest` takes
//! them, so that a statement is the same whatever the number of rows.

use bytes::{BufMut, BytesMut};
use governance_domain::{Pod, Status, Timestamp};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

use crate::rows::{providers_json, subscriptions_json};
use crate::{AuditEntry, HealthWrite};

/// Microseconds from 1970 to 2000, where PostgreSQL counts from.
const EPOCH_2000: i64 = 946_684_800_000_000;
/// 0001-01-01 00:00:00: in the table, never checked.
const NEVER: Timestamp = Timestamp::from_micros(-62_135_596_800_000_000);
/// 9999-12-31T23:59:59.999999: the last time that every reader of the table understands.
const LATEST: Timestamp = Timestamp::from_micros(253_402_300_799_999_999);

type BoxedError = Box<dyn std::error::Error + Sync + Send>;

/// A time in a `timestamp` column, which is UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp(pub(super) Timestamp);

impl ToSql for Stamp {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, BoxedError> {
        out.put_i64(self.0.clamp(NEVER, LATEST).as_micros() - EPOCH_2000);
        Ok(IsNull::No)
    }

    accepts!(TIMESTAMP);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Stamp {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, BoxedError> {
        // The numbers for the two infinities are the last ones there are.
        let micros = i64::from_be_bytes(raw.try_into()?).saturating_add(EPOCH_2000);
        Ok(Self(Timestamp::from_micros(micros).clamp(NEVER, LATEST)))
    }

    accepts!(TIMESTAMP);
}

/// Rows of `services` and `governance_pods`.
#[derive(Debug, Default)]
pub(super) struct PodColumns<'a> {
    pub(super) service_key: Vec<String>,
    service_name: Vec<&'a str>,
    pod_name: Vec<&'a str>,
    providers: Vec<String>,
    health_check_url: Vec<&'a str>,
    notification_url: Vec<&'a str>,
    subscriptions: Vec<String>,
    status: Vec<&'static str>,
    last_health_check: Vec<Stamp>,
    registered_at: Vec<Stamp>,
    updated_at: Vec<Stamp>,
    registration_id: Vec<i64>,
    instance_id: Vec<Option<&'a str>>,
}

impl<'a> PodColumns<'a> {
    pub(super) fn of(pods: impl IntoIterator<Item = &'a Pod>) -> Self {
        let mut columns = Self::default();
        for pod in pods {
            columns.push(pod);
        }
        columns
    }

    fn push(&mut self, pod: &'a Pod) {
        let content = &*pod.content;
        self.service_key.push(pod.key.to_string());
        self.service_name.push(pod.key.service.as_str());
        self.pod_name.push(pod.key.pod.as_str());
        self.providers.push(providers_json(&content.providers));
        self.health_check_url.push(&content.health_check_url);
        self.notification_url.push(&content.notification_url);
        self.subscriptions.push(subscriptions_json(&content.subscriptions));
        self.status.push(pod.status.as_str());
        let checked = pod.last_health_check.unwrap_or(NEVER);
        self.last_health_check.push(Stamp(checked));
        self.registered_at.push(Stamp(pod.registered_at));
        self.updated_at.push(Stamp(pod.updated_at));
        self.registration_id.push(pod.registration_id.as_u64().cast_signed());
        self.instance_id.push(content.instance_id.as_deref());
    }

    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 13] {
        [
            &self.service_key,
            &self.service_name,
            &self.pod_name,
            &self.providers,
            &self.health_check_url,
            &self.notification_url,
            &self.subscriptions,
            &self.status,
            &self.last_health_check,
            &self.registered_at,
            &self.updated_at,
            &self.registration_id,
            &self.instance_id,
        ]
    }
}

/// Rows to be deleted: by key, if they are that pod's.
#[derive(Debug, Default)]
pub(super) struct GoneColumns<'a> {
    service_key: Vec<String>,
    service_name: Vec<&'a str>,
    pod_name: Vec<&'a str>,
}

impl<'a> GoneColumns<'a> {
    pub(super) fn push(&mut self, service_key: String, key: &'a governance_domain::PodKey) {
        self.service_key.push(service_key);
        self.service_name.push(key.service.as_str());
        self.pod_name.push(key.pod.as_str());
    }

    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 3] {
        [&self.service_key, &self.service_name, &self.pod_name]
    }
}

/// Rows of `governance_audit`.
#[derive(Debug, Default)]
pub(super) struct AuditColumns<'a> {
    at: Vec<Stamp>,
    action: Vec<&'static str>,
    result: Vec<&'static str>,
    service_name: Vec<Option<&'a str>>,
    pod_name: Vec<Option<&'a str>>,
    details: Vec<&'a str>,
    previous_status: Vec<Option<&'static str>>,
    new_status: Vec<Option<&'static str>>,
    request_id: Vec<Option<&'a str>>,
    remote: Vec<Option<&'a str>>,
}

impl<'a> AuditColumns<'a> {
    pub(super) fn of(entries: &'a [AuditEntry]) -> Self {
        let mut columns = Self::default();
        for entry in entries {
            columns.push(entry);
        }
        columns
    }

    fn push(&mut self, entry: &'a AuditEntry) {
        let key = entry.key.as_ref();
        self.at.push(Stamp(entry.at));
        self.action.push(entry.action.as_str());
        self.result.push(entry.result.as_str());
        self.service_name.push(key.map(|key| key.service.as_str()));
        self.pod_name.push(key.map(|key| key.pod.as_str()));
        self.details.push(&entry.details);
        self.previous_status.push(entry.previous_status.map(Status::as_str));
        self.new_status.push(entry.new_status.map(Status::as_str));
        self.request_id.push(entry.request_id.as_deref());
        self.remote.push(entry.remote.as_deref());
    }

    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 10] {
        [
            &self.at,
            &self.action,
            &self.result,
            &self.service_name,
            &self.pod_name,
            &self.details,
            &self.previous_status,
            &self.new_status,
            &self.request_id,
            &self.remote,
        ]
    }
}

/// What checks found.
#[derive(Debug, Default)]
pub(super) struct HealthColumns {
    service_key: Vec<String>,
    registration_id: Vec<i64>,
    status: Vec<&'static str>,
    checked_at: Vec<Stamp>,
    changed_at: Vec<Option<Stamp>>,
}

impl HealthColumns {
    pub(super) fn push(&mut self, service_key: String, write: &HealthWrite) {
        self.service_key.push(service_key);
        self.registration_id.push(write.registration_id.as_u64().cast_signed());
        self.status.push(write.status.as_str());
        self.checked_at.push(Stamp(write.last_health_check));
        self.changed_at.push(write.status_changed_at.map(Stamp));
    }

    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 5] {
        [&self.service_key, &self.registration_id, &self.status, &self.checked_at, &self.changed_at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(micros: i64) -> i64 {
        let mut raw = BytesMut::new();
        let stamp = Stamp(Timestamp::from_micros(micros));
        stamp.to_sql(&Type::TIMESTAMP, &mut raw).unwrap();
        Stamp::from_sql(&Type::TIMESTAMP, &raw).unwrap().0.as_micros()
    }

    #[test]
    fn times_read_back_as_written_and_those_beyond_the_calendar_become_its_ends() {
        for micros in [0, 1, -1, EPOCH_2000, NEVER.as_micros(), LATEST.as_micros()] {
            assert_eq!(round(micros), micros);
        }
        assert_eq!(round(i64::MAX), LATEST.as_micros());
        assert_eq!(round(i64::MIN), NEVER.as_micros());
    }

    #[test]
    fn infinities_are_read_as_the_ends_of_the_calendar() {
        for (raw, read) in [(i64::MAX, LATEST), (i64::MIN, NEVER)] {
            let stamp = Stamp::from_sql(&Type::TIMESTAMP, &raw.to_be_bytes()).unwrap();
            assert_eq!(stamp.0, read);
        }
    }
}
