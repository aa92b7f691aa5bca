//! Every statement that is sent, in one place, so that what we ask of a server can be read at a
//! glance: no advisory locks, no notifications, no explicit table or row locks, no change of
//! tables together with a change of data. Engines that only speak PostgreSQL's protocol can run
//! them; `CockroachDB` needs `sql.multiple_modifications_of_table.enabled`, because a batch may
//! delete from and insert into one table (never the same row).
//!
//! INVARIANT: every statement that changes data starts with the fence `lease`, on which all else
//! in it depends: without the right to write nothing happens. The fence updates the lease's row,
//! so that such statements follow each other, and the taking of the lease waits for them.
//!
//! INVARIANT: ids of audit entries are taken behind that fence only, by whoever holds the lease's
//! row until its transaction ends. So ids are committed in their order, and who sees an entry knows
//! that no earlier one is still to come; digests of the audit rest on it.

use std::time::Duration;

/// What kind of server it is.
pub(super) const INSPECT_SERVER: &str = "
SELECT pg_is_in_recovery(),
       current_setting('transaction_read_only', true) = 'on',
       current_setting('fsync', true) = 'off'";

/// What our promises rest on; a server that refuses one of these cannot be used.
pub(super) fn required_settings(statement_timeout: Duration) -> String {
    let millis = statement_timeout.as_millis().max(1);
    format!(
        "SET synchronous_commit = on;
         SET statement_timeout = {millis};
         SET idle_in_transaction_session_timeout = {millis};
         SET default_transaction_isolation = 'read committed';
         SET client_min_messages = warning;
         SET timezone = 'UTC'"
    )
}

/// Ends dead connections sooner, on the server's side. Wishes: an engine may not know them, and
/// none decides over right or wrong.
pub(super) const WISHES: [&str; 3] = [
    "SET tcp_keepalives_idle = 10",
    "SET tcp_keepalives_interval = 3",
    "SET tcp_user_timeout = 10000",
];

/// Wishes for the connection that writes. One plan per statement, made once; and since everything
/// is asked for by key there, none that was made while the tables were small may read a whole
/// table when they are large.
pub(super) const WRITING_WISHES: [&str; 5] = [
    "SET plan_cache_mode = force_generic_plan",
    "SET enable_seqscan = off",
    "SET enable_hashjoin = off",
    "SET enable_mergejoin = off",
    "SET jit = off",
];

/// Wishes for the connection that reads the audit for people: it cannot change anything, and takes
/// no second processor from those who write.
/// The audit is read along its key, newest first: whatever the planner believes of a table that
/// nobody has analysed yet, it must not read and sort all of it for a page.
pub(super) const READING_WISHES: [&str; 6] = [
    "SET default_transaction_read_only = on",
    "SET enable_seqscan = off",
    "SET enable_bitmapscan = off",
    "SET enable_sort = off",
    "SET max_parallel_workers_per_gather = 0",
    "SET jit = off",
];

/// An identifier in quotes.
pub(super) fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// Where the database is missing.
pub(super) fn create_database(name: &str) -> String {
    format!("CREATE DATABASE {}", quoted(name))
}

/// Takes the lease if it is free, over, or our own already, unless it is in an earlier state than
/// we saw in another's hands. Waits for whatever holds its row, so that the sequence it returns is
/// final. Put back to before a tenure that we remember, it begins a new registry behind that one.
pub(super) const TAKE_LEASE: &str = "
UPDATE governance_lease
   SET owner = $1, address = $2,
       epoch = CASE WHEN registry_id = $6::text
           AND (epoch < $7::bigint OR epoch = $7::bigint AND sequence < $9::bigint)
           THEN $7::bigint ELSE epoch END + 1,
       registry_id = CASE WHEN registry_id = $6::text
           AND (epoch < $7::bigint OR epoch = $7::bigint AND sequence < $9::bigint)
           THEN $8::text ELSE registry_id END,
       expires_at = clock_timestamp() + $3::float8 * interval '1 second'
 WHERE id = 1 AND (owner = $1 OR expires_at <= clock_timestamp())
   AND (epoch > $4::bigint OR epoch = $4::bigint AND sequence >= $5::bigint)
RETURNING registry_id, epoch, sequence";

/// Tells the holder that somebody would take over.
pub(super) const MARK_STANDBY: &str = "
UPDATE governance_lease SET standby_seen_at = clock_timestamp()
 WHERE id = 1 AND owner <> $1 AND expires_at > clock_timestamp()
RETURNING address, epoch, sequence, registry_id";

pub(super) const READ_LEASE: &str = "SELECT epoch, sequence FROM governance_lease WHERE id = 1";

/// The lease's only row, held by nobody.
pub(super) const ADD_LEASE: &str = "
INSERT INTO governance_lease (id, registry_id, owner, address, epoch, sequence, expires_at)
VALUES (1, $1, '', '', 0, 0, clock_timestamp()) ON CONFLICT (id) DO NOTHING";

/// Held back too when the sequence is lower than a committed one: the database went back to an
/// earlier state of the same epoch, and that must not wait for the next batch to be noticed.
pub(super) const RENEW_LEASE: &str = "
UPDATE governance_lease SET expires_at = clock_timestamp() + $2::float8 * interval '1 second'
 WHERE id = 1 AND epoch = $1::bigint AND sequence >= $4::bigint
RETURNING coalesce(standby_seen_at > clock_timestamp() - $3::float8 * interval '1 second', false)";

pub(super) const RELEASE_LEASE: &str = "
UPDATE governance_lease SET expires_at = clock_timestamp()
 WHERE id = 1 AND epoch = $1::bigint
RETURNING epoch";

/// A whole batch. No row: the right to write was lost.
pub(super) const COMMIT: &str = "
WITH lease AS (
    UPDATE governance_lease SET sequence = $2::bigint
     WHERE id = 1 AND epoch = $1::bigint AND sequence = $2::bigint - 1
    RETURNING sequence
), put AS MATERIALIZED (
    SELECT r.*, lease.sequence
      FROM lease, unnest(
        $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
        $10::text[], $11::timestamp[], $12::timestamp[], $13::timestamp[], $14::bigint[],
        $15::text[]
      ) AS r(service_key, service_name, pod_name, providers, health_check_url, notification_url,
        subscriptions, status, last_health_check, registered_at, updated_at, registration_id,
        instance_id)
), gone AS MATERIALIZED (
    SELECT d.*, lease.sequence
      FROM lease, unnest($17::text[], $18::text[], $19::text[])
        AS d(service_key, service_name, pod_name)
), deleted AS (
    DELETE FROM services s USING gone
     WHERE s.service_key = gone.service_key
       AND s.service_name = gone.service_name AND s.pod_name = gone.pod_name
), stored AS (
    INSERT INTO services AS s (service_key, service_name, pod_name, providers, health_check_url,
        notification_url, subscriptions, status, last_health_check, registered_at, updated_at)
    SELECT service_key, service_name, pod_name, providers::jsonb, health_check_url,
        notification_url, subscriptions::jsonb, status, last_health_check, registered_at,
        updated_at
      FROM put
    ON CONFLICT (service_key) DO UPDATE SET
        service_name = excluded.service_name, pod_name = excluded.pod_name,
        providers = excluded.providers, health_check_url = excluded.health_check_url,
        notification_url = excluded.notification_url, subscriptions = excluded.subscriptions,
        status = CASE WHEN s.service_key = ANY($16::text[])
            THEN s.status ELSE excluded.status END,
        last_health_check = CASE WHEN s.service_key = ANY($16::text[])
            THEN s.last_health_check ELSE excluded.last_health_check END,
        registered_at = excluded.registered_at, updated_at = excluded.updated_at
), ours AS (
    INSERT INTO governance_pods AS g (service_key, registration_id, instance_id, sequence, deleted)
    SELECT service_key, registration_id, instance_id, sequence, NULL::timestamp FROM put
    UNION ALL
    SELECT service_key, 0, NULL, sequence, clock_timestamp()::timestamp FROM gone
    ON CONFLICT (service_key) DO UPDATE SET
        registration_id = CASE WHEN excluded.deleted IS NULL
            THEN excluded.registration_id ELSE g.registration_id END,
        instance_id = excluded.instance_id, sequence = excluded.sequence,
        deleted = excluded.deleted
), noted AS (
    INSERT INTO governance_audit (at, action, result, service_name, pod_name, details,
        previous_status, new_status, request_id, remote)
    SELECT a.* FROM lease, unnest($20::timestamp[], $21::text[], $22::text[], $23::text[],
        $24::text[], $25::text[], $26::text[], $27::text[], $28::text[], $29::text[]) AS a
)
SELECT sequence FROM lease";

/// What checks found, for registrations that are still there.
pub(super) const WRITE_HEALTH: &str = "
WITH lease AS (
    UPDATE governance_lease SET epoch = epoch WHERE id = 1 AND epoch = $1::bigint RETURNING epoch
), found AS MATERIALIZED (
    SELECT f.* FROM lease, unnest($2::text[], $3::bigint[], $4::text[], $5::timestamp[],
        $6::timestamp[]) AS f(service_key, registration_id, status, checked_at, changed_at)
), stored AS (
    UPDATE services s
       SET status = found.status, last_health_check = found.checked_at,
           updated_at = greatest(found.changed_at, s.updated_at)
      FROM found LEFT JOIN governance_pods g
        ON g.service_key = found.service_key AND g.deleted IS NULL
     WHERE s.service_key = found.service_key
       AND coalesce(g.registration_id, 0) = found.registration_id
), noted AS (
    INSERT INTO governance_audit (at, action, result, service_name, pod_name, details,
        previous_status, new_status, request_id, remote)
    SELECT a.* FROM lease, unnest($7::timestamp[], $8::text[], $9::text[], $10::text[],
        $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[]) AS a
)
SELECT epoch FROM lease";

/// Removes the oldest entries, and tombstones of more than an hour; and digests of blocks without
/// entries before this statement, or that no entry follows, because somebody emptied the table.
pub(super) const PRUNE_AUDIT: &str = "
WITH lease AS (
    UPDATE governance_lease SET epoch = epoch WHERE id = 1 AND epoch = $1::bigint RETURNING epoch
), oldest AS MATERIALIZED (
    SELECT a.id, a.at FROM governance_audit a ORDER BY a.id LIMIT $3::bigint
), pruned AS (
    DELETE FROM governance_audit a USING lease, oldest
     WHERE a.id = oldest.id AND oldest.at < $2::timestamp
    RETURNING a.id
), forgotten AS (
    DELETE FROM governance_pods g USING lease
     WHERE g.deleted < clock_timestamp()::timestamp - interval '1 hour'
), passed AS (
    DELETE FROM governance_audit_blocks b USING lease
     WHERE b.block < coalesce((SELECT min(id) >> 12 FROM governance_audit), 9223372036854775807)
        OR b.block >= coalesce((SELECT max(id) >> 12 FROM governance_audit), 0)
)
SELECT (SELECT count(*) FROM pruned) FROM lease";

/// The first and the last entry.
pub(super) const AUDIT_ENDS: &str =
    "SELECT (SELECT min(id) FROM governance_audit), (SELECT max(id) FROM governance_audit)";

/// The next entry from an id on.
pub(super) const AUDIT_NEXT: &str =
    "SELECT id, at FROM governance_audit WHERE id >= $1 ORDER BY id LIMIT 1";

/// Entries that match, newest first. `columns` may be `1`, to count them.
pub(super) fn audit_matches(columns: &str) -> String {
    format!(
        "SELECT {columns} FROM governance_audit
          WHERE id >= $1::bigint AND id < $2::bigint
            AND ($3::timestamp IS NULL OR at >= $3) AND ($4::timestamp IS NULL OR at <= $4)
            AND (cardinality($5::text[]) = 0 OR action = ANY($5))
            AND (cardinality($6::text[]) = 0 OR result = ANY($6))
            AND ($7::text IS NULL OR service_name = $7) AND ($8::text IS NULL OR pod_name = $8)
          ORDER BY id DESC LIMIT $9::bigint OFFSET $10::bigint"
    )
}

/// Digests of some blocks, newest first.
pub(super) const AUDIT_DIGESTS: &str = "
SELECT block, digest FROM governance_audit_blocks
 WHERE block >= $1 AND block < $2 ORDER BY block DESC LIMIT $3::bigint";

/// The newest of some blocks that have a digest.
pub(super) const DIGESTED: &str = "
SELECT block FROM governance_audit_blocks
 WHERE block >= $1 AND block <= $2 ORDER BY block DESC LIMIT $3::bigint";

/// The last entry before an id.
pub(super) const AUDIT_LAST_BEFORE: &str = "SELECT max(id) FROM governance_audit WHERE id < $1";

/// What a digest tells of the entries of a block.
pub(super) const AUDIT_BLOCK: &str = "
SELECT service_name, pod_name, action, result, at
  FROM governance_audit WHERE id >= $1 AND id < $2";

/// Keeps digests; one that is there stays.
pub(super) const STORE_DIGESTS: &str = "
WITH lease AS (
    UPDATE governance_lease SET epoch = epoch WHERE id = 1 AND epoch = $1::bigint RETURNING epoch
), stored AS (
    INSERT INTO governance_audit_blocks (block, digest)
    SELECT d.block, d.digest FROM lease, unnest($2::bigint[], $3::bytea[]) AS d(block, digest)
    ON CONFLICT (block) DO NOTHING
    RETURNING block
)
SELECT (SELECT count(*) FROM stored) FROM lease";

/// All digests; they are made anew.
pub(super) const FORGET_DIGESTS: &str = "DELETE FROM governance_audit_blocks";

/// Throws away ids that a connection was given and has not used, on engines that give many at once.
pub(super) const FORGET_IDS: &str = "DISCARD SEQUENCES";

/// What a page shows of an entry.
pub(super) const AUDIT_COLUMNS: &str = "id, at, action, result, service_name, pod_name, details, \
    previous_status, new_status, request_id, remote";

/// Everything. Casts and defaults make the types the same whatever an earlier manager chose.
pub(super) const LOAD: &str = "
SELECT s.service_key::text, coalesce(s.service_name::text, ''), coalesce(s.pod_name::text, ''),
       coalesce(s.providers::text, 'null'), coalesce(s.health_check_url::text, ''),
       coalesce(s.notification_url::text, ''), coalesce(s.subscriptions::text, 'null'),
       coalesce(s.status::text, ''), s.last_health_check::timestamp, s.registered_at::timestamp,
       s.updated_at::timestamp, coalesce(g.registration_id, 0), g.instance_id
  FROM services s
  LEFT JOIN governance_pods g ON g.service_key = s.service_key AND g.deleted IS NULL";

/// Makes `subscriptions` an array wherever it is something else, as earlier managers left it.
pub(super) const NORMALISE: &str = "
WITH lease AS (
    UPDATE governance_lease SET epoch = epoch WHERE id = 1 AND epoch = $1::bigint RETURNING epoch
)
UPDATE services s
   SET subscriptions = CASE
        WHEN s.subscriptions IS NULL OR jsonb_typeof(s.subscriptions::jsonb) = 'null'
        THEN '[]'::jsonb ELSE jsonb_build_array(s.subscriptions::jsonb) END
  FROM lease
 WHERE s.subscriptions IS NULL OR jsonb_typeof(s.subscriptions::jsonb) <> 'array'";

/// Gives rows that earlier managers or people wrote a registration of their own, below those of
/// the first epoch. A tombstone of the same key ended with the row's return.
pub(super) const ADOPT: &str = "
WITH lease AS (
    UPDATE governance_lease SET epoch = epoch WHERE id = 1 AND epoch = $1::bigint
    RETURNING sequence
), known AS (
    SELECT coalesce(max(registration_id), 0) AS last_id
      FROM governance_pods WHERE registration_id < 4294967296
)
INSERT INTO governance_pods (service_key, registration_id, sequence, deleted)
SELECT s.service_key, known.last_id + row_number() OVER (ORDER BY s.service_key),
       lease.sequence, NULL
  FROM lease, known, services s
  LEFT JOIN governance_pods g ON g.service_key = s.service_key
 WHERE g.service_key IS NULL OR g.deleted IS NOT NULL
ON CONFLICT (service_key) DO UPDATE SET
    registration_id = excluded.registration_id, instance_id = NULL,
    sequence = excluded.sequence, deleted = NULL";

/// Columns of `services` with their types, of whatever made the table.
pub(super) const INSPECT_SERVICES: &str = "
SELECT a.attname::text, format_type(a.atttypid, NULL)
  FROM pg_attribute a
 WHERE a.attrelid = to_regclass('services') AND a.attnum > 0 AND NOT a.attisdropped";

/// Whether `service_key` alone identifies a row of `services`.
pub(super) const INSPECT_KEY: &str = "
SELECT count(*) > 0
  FROM pg_index i
  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
 WHERE i.indrelid = to_regclass('services') AND i.indisunique AND i.indnatts = 1
   AND i.indpred IS NULL AND a.attname = 'service_key'";

/// Which of our first two tables are there.
pub(super) const INSPECT_OURS: &str = "
SELECT to_regclass('governance_schema') IS NOT NULL, to_regclass('governance_lease') IS NOT NULL,
    to_regclass('governance_audit_blocks') IS NOT NULL";

pub(super) const READ_SCHEMA: &str =
    "SELECT version, name, checksum FROM governance_schema ORDER BY version";

pub(super) const NOTE_MIGRATION: &str = "
INSERT INTO governance_schema (version, name, checksum, applied_at)
VALUES ($1, $2, $3, clock_timestamp()::timestamp) ON CONFLICT (version) DO NOTHING";

pub(super) const DELETE_SERVICES: &str = "
DELETE FROM services WHERE service_key IN (SELECT service_key FROM services LIMIT $1::bigint)";

pub(super) const DELETE_PODS: &str = "
DELETE FROM governance_pods
 WHERE service_key IN (SELECT service_key FROM governance_pods LIMIT $1::bigint)";

/// Part of a rewrite, which ends with the fence in the same transaction.
pub(super) const REWRITE_PART: &str = "
WITH put AS MATERIALIZED (
    SELECT r.*
      FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
        $8::text[], $9::timestamp[], $10::timestamp[], $11::timestamp[], $12::bigint[],
        $13::text[]
      ) AS r(service_key, service_name, pod_name, providers, health_check_url, notification_url,
        subscriptions, status, last_health_check, registered_at, updated_at, registration_id,
        instance_id)
), ours AS (
    INSERT INTO governance_pods (service_key, registration_id, instance_id, sequence)
    SELECT service_key, registration_id, instance_id, $14::bigint FROM put
)
INSERT INTO services (service_key, service_name, pod_name, providers, health_check_url,
    notification_url, subscriptions, status, last_health_check, registered_at, updated_at)
SELECT service_key, service_name, pod_name, providers::jsonb, health_check_url,
    notification_url, subscriptions::jsonb, status, last_health_check, registered_at, updated_at
  FROM put";

pub(super) const REWRITE_AUDIT: &str = "
INSERT INTO governance_audit (at, action, result, service_name, pod_name, details,
    previous_status, new_status, request_id, remote)
SELECT a.* FROM unnest($1::timestamp[], $2::text[], $3::text[], $4::text[], $5::text[],
    $6::text[], $7::text[], $8::text[], $9::text[], $10::text[]) AS a";

/// The fence of a rewrite, behind all but its entries: until then a standby can take over and a
/// renewal pass.
pub(super) const REWRITE_LEASE: &str = "
UPDATE governance_lease
   SET registry_id = $2, sequence = $3::bigint,
       expires_at = greatest(expires_at, clock_timestamp() + $4::float8 * interval '1 second')
 WHERE id = 1 AND epoch = $1::bigint
RETURNING epoch";
