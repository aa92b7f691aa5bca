//! Bringing the tables to this program's version, and looking at what an earlier manager left.
//!
//! INVARIANT: beyond the two tables that the lease itself needs, only the holder of the lease
//! changes tables; a standby never does. What another program made newer is left alone.

use std::collections::BTreeMap;

use tokio_postgres::{Client, Error};

use super::fault::Trouble;
use super::migrations::{AUDIT_BLOCKS, BEFORE_LEASE, MIGRATIONS, Migration};
use super::session::Session;
use super::statements;
use crate::StoreFault;

/// What this program reads and writes of `services`.
const COLUMNS: [&str; 11] = [
    "service_key",
    "service_name",
    "pod_name",
    "providers",
    "health_check_url",
    "notification_url",
    "subscriptions",
    "status",
    "last_health_check",
    "registered_at",
    "updated_at",
];

/// What is to be done before this program can work.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The tables of the lease are missing.
    pub(super) lacks_lease: bool,
    pub(super) pending: Vec<&'static Migration>,
}

/// Looks at the tables.
///
/// # Errors
/// Lasting, if this program must not work here.
pub(super) async fn inspect(session: &Session) -> Result<Plan, Trouble> {
    let Session { client, place, .. } = session;
    let explain = |error| place.explain(error);
    let ours = client.query_one(statements::INSPECT_OURS, &[]).await;
    let ours = ours.map_err(explain)?;
    let has_schema: bool = ours.try_get(0).map_err(explain)?;
    let has_lease: bool = ours.try_get(1).map_err(explain)?;
    let has_blocks: bool = ours.try_get(2).map_err(explain)?;
    let mut done =
        if has_schema { read_done(client).await.map_err(explain)? } else { BTreeMap::new() };
    check_done(&done).map_err(|message| Trouble::lasting(StoreFault::new(message)))?;
    if !has_blocks {
        // It may be left out of a backup: it is made anew.
        done.remove(&AUDIT_BLOCKS);
    }
    let is_pending = |migration: &&Migration| !done.contains_key(&migration.version);
    let plan = Plan {
        lacks_lease: !(has_schema && has_lease),
        pending: MIGRATIONS.iter().filter(is_pending).collect(),
    };
    if !plan.pending.is_empty() {
        check_services(session).await?;
    }
    Ok(plan)
}

async fn read_done(client: &Client) -> Result<BTreeMap<i32, String>, Error> {
    let rows = client.query(statements::READ_SCHEMA, &[]).await?;
    let pair = |row: &tokio_postgres::Row| Ok((row.try_get(0)?, row.try_get(2)?));
    rows.iter().map(pair).collect()
}

fn check_done(done: &BTreeMap<i32, String>) -> Result<(), String> {
    let newest = MIGRATIONS.len();
    for (version, checksum) in done {
        let ours = MIGRATIONS.iter().find(|ours| ours.version == *version);
        let Some(ours) = ours else {
            return Err(format!(
                "the tables are at version {version}, this program knows {newest}: run the newer \
                 program, or restore a backup from before it"
            ));
        };
        if ours.checksum() != *checksum {
            return Err(format!(
                "step {version} of the tables ({}) was done by another build than a released \
                 one: run that build, or restore a backup from before it",
                ours.name
            ));
        }
    }
    Ok(())
}

/// A table `services` that somebody else made must be the one we mean.
async fn check_services(session: &Session) -> Result<(), Trouble> {
    let Session { client, place, .. } = session;
    let columns = columns_of_services(client).await;
    let columns = columns.map_err(|error| place.explain(error))?;
    if columns.is_empty() {
        return Ok(());
    }
    let missing: Vec<&str> =
        COLUMNS.into_iter().filter(|column| !columns.contains_key(*column)).collect();
    if !missing.is_empty() {
        let message = format!(
            "the table services in this database has no {}: it is another program's; use another \
             database",
            missing.join(", ")
        );
        return Err(Trouble::lasting(StoreFault::new(message)));
    }
    let is_keyed = client.query_one(statements::INSPECT_KEY, &[]).await;
    let is_keyed = is_keyed.and_then(|row| row.try_get::<_, bool>(0));
    if is_keyed.map_err(|error| place.explain(error))? {
        return Ok(());
    }
    let message = "the table services has no unique service_key: ALTER TABLE services ADD PRIMARY \
                   KEY (service_key)";
    Err(Trouble::lasting(StoreFault::new(message)))
}

async fn columns_of_services(client: &Client) -> Result<BTreeMap<String, String>, Error> {
    let rows = client.query(statements::INSPECT_SERVICES, &[]).await?;
    let pair = |row: &tokio_postgres::Row| Ok((row.try_get(0)?, row.try_get(1)?));
    rows.iter().map(pair).collect()
}

/// Makes what the lease itself needs, where no manager of this kind was before.
pub(super) async fn found(session: &Session) -> Result<(), Trouble> {
    for migration in MIGRATIONS.iter().take(BEFORE_LEASE) {
        run(session, migration).await?;
    }
    Ok(())
}

/// Does the pending steps. To be called by the holder of the lease.
pub(super) async fn migrate(session: &Session, plan: &Plan) -> Result<(), Trouble> {
    let Session { client, place, .. } = session;
    for migration in &plan.pending {
        run(session, migration).await?;
        let Migration { version, name, .. } = migration;
        if *version == AUDIT_BLOCKS {
            // A table that was left there by a later life of this database, of which a backup that
            // was restored knows nothing, tells of other entries.
            client
                .batch_execute(statements::FORGET_DIGESTS)
                .await
                .map_err(|error| place.explain(error))?;
        }
        let checksum = migration.checksum();
        client
            .execute(statements::NOTE_MIGRATION, &[version, name, &checksum])
            .await
            .map_err(|error| place.explain(error))?;
        tracing::info!(version, name, "brought the tables forward");
    }
    Ok(())
}

async fn run(session: &Session, migration: &Migration) -> Result<(), Trouble> {
    let Err(error) = session.client.batch_execute(migration.sql).await else {
        return Ok(());
    };
    match error.code().map(tokio_postgres::error::SqlState::code) {
        // Two who create the same at the same moment: IF NOT EXISTS does not cover that.
        Some("42P07" | "42710" | "23505") => Ok(()),
        _ => Err(session.place.explain(error)),
    }
}

/// Puts right what others wrote: every row gets a registration, and `subscriptions` an array.
pub(super) async fn adopt(session: &Session, epoch: u32) -> Result<(), Trouble> {
    let Session { client, place, .. } = session;
    let explain = |error| place.explain(error);
    let epoch = i64::from(epoch);
    let adopted = client.execute(statements::ADOPT, &[&epoch]).await;
    let adopted = adopted.map_err(explain)?;
    let columns = columns_of_services(client).await.map_err(explain)?;
    let of_json = |column: &String| column == "json" || column == "jsonb";
    // A table of other types is left as it is: reading copes with any text.
    let changed = if columns.get("subscriptions").is_some_and(of_json) {
        let changed = client.execute(statements::NORMALISE, &[&epoch]).await;
        changed.map_err(explain)?
    } else {
        0
    };
    if adopted + changed > 0 {
        tracing::info!(adopted, changed, "took over rows that others wrote");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done() -> BTreeMap<i32, String> {
        MIGRATIONS.iter().map(|m| (m.version, m.checksum())).collect()
    }

    #[test]
    fn what_this_program_did_is_accepted_wholly_or_in_part() {
        assert_eq!(check_done(&done()), Ok(()));
        let mut part = done();
        part.split_off(&3);
        assert_eq!(check_done(&part), Ok(()));
    }

    #[test]
    fn a_newer_version_and_a_changed_step_are_refused() {
        let mut newer = done();
        newer.insert(99, "0".into());
        assert!(check_done(&newer).unwrap_err().contains("version 99"));
        let mut changed = done();
        changed.insert(3, "0".into());
        assert!(check_done(&changed).unwrap_err().contains("step 3"));
    }
}
