//! The tables and how they come to be: numbered migrations that only ever add, so that the program
//! before this one still runs on what this one made. Each is applied once, in a transaction with
//! the row in `governance_schema` that says so.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::fault::OpenFault;

/// One step.
struct Migration {
    version: i64,
    sql: &'static str,
}

const MIGRATIONS: [Migration; 2] = [
    Migration { version: 1, sql: include_str!("migrations/0001.sql") },
    Migration { version: 2, sql: include_str!("migrations/0002.sql") },
];

const SCHEMA_TABLE: &str = "CREATE TABLE IF NOT EXISTS governance_schema (
    version    INTEGER PRIMARY KEY,
    checksum   TEXT NOT NULL,
    applied_at TEXT NOT NULL
)";

/// Brings the file to this program's version.
///
/// # Errors
/// [`OpenFault::Refused`] when a newer program was here, or a step was applied in another form.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), OpenFault> {
    let newest = MIGRATIONS.last().map_or(0, |migration| migration.version);
    if is_current(connection, newest)? {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(SCHEMA_TABLE)?;
    for migration in &MIGRATIONS {
        let applied = transaction
            .query_row(
                "SELECT 1 FROM governance_schema WHERE version = ?1",
                [migration.version],
                |_| Ok(()),
            )
            .optional()?;
        if applied.is_none() {
            transaction.execute_batch(migration.sql)?;
            transaction.execute(
                "INSERT INTO governance_schema (version, checksum, applied_at) \
                 VALUES (?1, ?2, strftime('%Y-%m-%d %H:%M:%f', 'now'))",
                (migration.version, checksum(migration.sql)),
            )?;
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Whether nothing is to be done, having looked at all that was applied.
fn is_current(connection: &Connection, newest: i64) -> Result<bool, OpenFault> {
    let has_table = connection
        .query_row(
            "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'governance_schema'",
            (),
            |_| Ok(()),
        )
        .optional()?;
    if has_table.is_none() {
        return Ok(false);
    }
    let mut statement =
        connection.prepare("SELECT version, checksum FROM governance_schema ORDER BY version")?;
    let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let applied = rows.collect::<Result<Vec<(i64, String)>, _>>()?;
    let found = applied.last().map_or(0, |(version, _)| *version);
    if found > newest {
        return Err(OpenFault::Refused(format!(
            "its schema has version {found}, this program knows up to {newest}: run a newer program"
        )));
    }
    for migration in &MIGRATIONS {
        let recorded = applied.iter().find(|(version, _)| *version == migration.version);
        if let Some((version, recorded)) = recorded
            && *recorded != checksum(migration.sql)
        {
            return Err(OpenFault::Refused(format!(
                "version {version} of its schema was made by another program than this one"
            )));
        }
    }
    Ok(applied.len() == MIGRATIONS.len())
}

/// FNV-1a, 64 bits: tells texts apart that differ by mistake, which is all that is needed.
fn checksum(sql: &str) -> String {
    let hash = sql.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_published_one() {
        assert_eq!(checksum(""), "cbf29ce484222325");
        assert_eq!(checksum("foobar"), "85944171f73967e8");
    }

    #[test]
    fn migrations_are_numbered_from_one_and_only_add() {
        for (position, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(migration.version, i64::try_from(position).unwrap() + 1);
            for statement in statements(migration.sql) {
                let creates = ["TABLE", "INDEX", "TRIGGER", "UNIQUE INDEX"]
                    .map(|kind| format!("CREATE {kind} IF NOT EXISTS "))
                    .iter()
                    .any(|beginning| statement.starts_with(beginning));
                assert!(creates, "{statement}");
            }
        }
    }

    /// Without comments; what a trigger does belongs to it.
    fn statements(sql: &str) -> Vec<String> {
        let lines = sql.lines().filter(|line| !line.starts_with("--"));
        let text = lines.collect::<Vec<_>>().join("\n").to_ascii_uppercase();
        let mut statements: Vec<String> = Vec::new();
        for part in text.split_inclusive(';') {
            let (trimmed, last) = (part.trim_start(), statements.last_mut());
            match last.filter(|last| last.contains("BEGIN") && !last.ends_with("END;")) {
                Some(open) => open.push_str(part),
                None if trimmed.is_empty() => {}
                None => statements.push(trimmed.to_owned()),
            }
        }
        statements
    }

    #[test]
    fn released_steps_are_never_changed() {
        let checksums = MIGRATIONS.map(|migration| checksum(migration.sql));
        assert_eq!(checksums, ["9fd9d5d3c904781f", "6f3be9688b32b297"]);
    }

    #[test]
    fn migrating_twice_is_migrating_once() {
        let mut connection = Connection::open_in_memory().unwrap();
        for _ in 0..2 {
            assert!(migrate(&mut connection).is_ok());
        }
        let count =
            connection.query_row("SELECT count(*) FROM governance_schema", (), |row| row.get(0));
        assert_eq!(count, Ok(i64::try_from(MIGRATIONS.len()).unwrap()));
    }

    #[test]
    fn a_step_in_another_form_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        assert!(migrate(&mut connection).is_ok());
        connection.execute("UPDATE governance_schema SET checksum = 'x'", ()).unwrap();
        assert!(matches!(migrate(&mut connection), Err(OpenFault::Refused(_))));
    }
}
