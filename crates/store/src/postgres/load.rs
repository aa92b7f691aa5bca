//! Reading everything, whoever wrote it. No row stops it; what is odd is kept, shown and told.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::pin::pin;

use futures_util::TryStreamExt;
use governance_domain::{Pod, PodKey, RegistrationId, Timestamp};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

use super::columns::Stamp;
use super::odd_keys::OddKeys;
use super::session::Purpose;
use super::write::silence;
use super::{PostgresStore, statements};
use crate::rows::{ODDITIES_KEPT, StoredRow, is_never};
use crate::{Loaded, StoreFault};

impl PostgresStore {
    pub(super) async fn load_all(&self) -> Result<Loaded, StoreFault> {
        let session = self.bulk().await.map_err(|trouble| trouble.fault)?;
        let mut harvest = Harvest::default();
        let read = async {
            let none: [&(dyn ToSql + Sync); 0] = [];
            let rows = session.client.query_raw(statements::LOAD, none).await?;
            let mut rows = pin!(rows);
            while let Some(row) = rows.try_next().await? {
                harvest.take(&row)?;
            }
            Ok::<(), Error>(())
        };
        match tokio::time::timeout(self.patience(Purpose::Bulk), read).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(session.place.explain(error).fault),
            Err(_) => return Err(silence(&session.place)),
        }
        *self.odd_keys() = harvest.odd_keys;
        Ok(harvest.loaded)
    }
}

/// What was read so far.
#[derive(Default)]
struct Harvest {
    loaded: Loaded,
    odd_keys: OddKeys,
    /// Where each pod stands in `loaded`, and whether its row has the regular key.
    positions: HashMap<PodKey, (usize, bool)>,
}

impl Harvest {
    fn take(&mut self, row: &Row) -> Result<(), Error> {
        let service_key: &str = row.try_get(0)?;
        let (pod, mut oddity) = read(row)?;
        let key = pod.key.clone();
        let is_regular = !self.odd_keys.note(service_key, &key);
        if !is_regular {
            oddity.get_or_insert_with(|| format!("{key}: service_key is {service_key:?}"));
        }
        self.place(pod, is_regular, &mut oddity);
        if let Some(oddity) = oddity {
            self.loaded.odd_count += 1;
            if self.loaded.oddities.len() < ODDITIES_KEPT {
                self.loaded.oddities.push(oddity);
            }
        }
        Ok(())
    }

    /// Several rows may name one pod. The one with the regular key counts, else the newest: that is
    /// the one that a registration would have replaced.
    fn place(&mut self, pod: Pod, is_regular: bool, oddity: &mut Option<String>) {
        let pods = &mut self.loaded.pods;
        match self.positions.entry(pod.key.clone()) {
            Entry::Vacant(free) => {
                free.insert((pods.len(), is_regular));
                pods.push(pod);
            }
            Entry::Occupied(mut taken) => {
                let (position, was_regular) = *taken.get();
                oddity.get_or_insert_with(|| format!("{}: stands in several rows", pod.key));
                let Some(shown) = pods.get_mut(position) else {
                    return;
                };
                if (is_regular, pod.updated_at) > (was_regular, shown.updated_at) {
                    *shown = pod;
                    taken.insert((position, is_regular));
                }
            }
        }
    }
}

fn read(row: &Row) -> Result<(Pod, Option<String>), Error> {
    let start = Timestamp::from_micros(0);
    let time = |index: usize| Ok(row.try_get::<_, Option<Stamp>>(index)?.map(|stamp| stamp.0));
    let stored = StoredRow {
        service_name: row.try_get(1)?,
        pod_name: row.try_get(2)?,
        providers: row.try_get(3)?,
        health_check_url: row.try_get(4)?,
        notification_url: row.try_get(5)?,
        subscriptions: row.try_get(6)?,
        status: row.try_get(7)?,
        last_health_check: time(8)?.filter(|at| !is_never(*at)),
        registered_at: time(9)?.unwrap_or(start),
        updated_at: time(10)?.unwrap_or(start),
        registration_id: RegistrationId::from_u64(row.try_get::<_, i64>(11)?.cast_unsigned()),
        instance_id: row.try_get(12)?,
    };
    Ok(stored.read())
}
