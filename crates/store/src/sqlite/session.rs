//! The connection: opened when it is needed, dropped after any fault that is the store's and not
//! the data's, so that whatever an operator mends is noticed without a restart.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use governance_domain::PodKey;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::fault::{self, OpenFault, WriteFault};
use super::ledger::Ledger;
use super::thread::Owned;
use crate::{CommitError, StoreFault};

/// How long a statement waits for another program that holds the file's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Statements kept prepared; there are fewer.
const STATEMENTS_MAX: usize = 32;
/// Bytes per page, for a file that is made now. Smaller pages were measured slower: what is saved in
/// the log is lost in deeper trees and more calls.
const PAGE_SIZE: i64 = 4096;
/// Memory for pages, in KiB.
const CACHE_KIB: i64 = 32 * 1024;
/// Pages in the write-ahead log before they are copied into the file: bounds the log (32 MiB) while
/// nobody holds a view open, and lets pages that change often be copied once. Twice as many gains
/// nothing that can be measured, half as many costs a tenth.
const CHECKPOINT_PAGES: i64 = 8000;
/// What the log's file is cut back to after it had to grow.
const LOG_BYTES_KEPT: i64 = 64 * 1024 * 1024;

/// Rows whose `service_key` is not `service_name:pod_name`, by the pod they were read as: a person
/// or another program wrote them. They go when their pod is written or deleted.
pub(super) type Strays = BTreeMap<PodKey, Vec<String>>;

/// What the store's thread owns.
pub(super) struct Session {
    path: PathBuf,
    connection: Option<Connection>,
    /// The file that the connection opened; none where that could not be found out.
    file: Option<FileId>,
    /// Its log; none before the first write.
    log: Option<FileId>,
    /// An outcome is not known, or known but perhaps not on disk. Nothing is written until the log
    /// has been copied into the file and started anew.
    is_unsettled: bool,
    /// Read when it is needed, gone with the connection and with each acquisition.
    pub(super) ledger: Option<Ledger>,
    /// Filled by each load.
    pub(super) strays: Strays,
}

/// What a transaction works with.
pub(super) struct Desk<'a> {
    pub(super) transaction: &'a Transaction<'a>,
    ledger: &'a mut Option<Ledger>,
    pub(super) strays: &'a Strays,
}

impl Desk<'_> {
    /// The ledger as of the beginning of this transaction, which must not have written to its
    /// tables yet.
    pub(super) fn ledger(&mut self) -> rusqlite::Result<&Ledger> {
        let ledger = match self.ledger.take() {
            Some(ledger) => ledger,
            None => Ledger::read(self.transaction, |_, _| {})?,
        };
        Ok(self.ledger.insert(ledger))
    }
}

impl Session {
    /// A session that has not opened anything.
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            connection: None,
            file: None,
            log: None,
            is_unsettled: false,
            ledger: None,
            strays: Strays::new(),
        }
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The connection, opened if it is not.
    pub(super) fn connection(&mut self) -> Result<&mut Connection, OpenFault> {
        let connection = match self.connection.take() {
            Some(open) => open,
            None => {
                let connection = open(&self.path)?;
                (self.file, self.log) = (FileId::of(&self.path).ok(), None);
                connection
            }
        };
        Ok(self.connection.insert(connection))
    }

    /// Whether the open file is no longer the one of that name: it was removed, or another was put
    /// in its place. What is written to it then, nobody will ever read.
    fn is_replaced(&self) -> bool {
        let opened = self.file.filter(|_| self.connection.is_some());
        opened.is_some_and(|file| file.is_replaced(&self.path))
    }

    /// Drops the connection; the next call opens another.
    pub(super) fn close(&mut self) {
        self.connection = None;
        self.ledger = None;
    }

    /// Drops the connection in the middle of something.
    pub(super) fn close_unsettled(&mut self) {
        self.is_unsettled = true;
        self.close();
    }

    /// Makes certain and durable whatever was written before: after an fsync that failed, the
    /// operating system forgets what it could not write, so the log's pages are written once more,
    /// into the file, and the log begins anew.
    pub(super) fn settle(&mut self) -> Result<(), OpenFault> {
        let is_unsettled = self.is_unsettled;
        let connection = self.connection()?;
        if !is_unsettled {
            return Ok(());
        }
        let is_busy = connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get::<_, bool>(0))?;
        if is_busy {
            return Err(OpenFault::InUse);
        }
        self.is_unsettled = false;
        Ok(())
    }

    /// Runs `work` on a view that does not move.
    pub(super) fn read<T>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T, WriteFault>,
    ) -> Result<T, CommitError> {
        self.attempt(TransactionBehavior::Deferred, |desk| work(desk.transaction))
    }

    /// Runs `work` in one transaction and commits it. Whatever goes wrong, none is left open.
    pub(super) fn transact<T>(
        &mut self,
        work: impl FnOnce(Desk<'_>) -> Result<T, WriteFault>,
    ) -> Result<T, CommitError> {
        if self.is_unsettled {
            let text = "an earlier outcome is not settled yet";
            return Err(CommitError::NotApplied(StoreFault::new(text)));
        }
        if self.is_replaced() {
            self.leave();
            let file = self.path.display();
            let text = format!("{file} was removed, or another file was put in its place");
            return Err(CommitError::Lost(StoreFault::new(text)));
        }
        let done = self.attempt(TransactionBehavior::Immediate, work)?;
        self.note_log();
        Ok(done)
    }

    /// Something was written, so that the file has a log.
    pub(super) fn note_log(&mut self) {
        if self.log.is_none() {
            self.log = FileId::of(&beside(&self.path, "-wal")).ok();
        }
    }

    /// Drops the connection to a file that is gone, with the log that belongs to it: whatever file
    /// bears the name now, SQLite would take that log for its own.
    fn leave(&mut self) {
        let log = self.log.take();
        self.close();
        let path = beside(&self.path, "-wal");
        if log.is_some_and(|log| !log.is_replaced(&path)) {
            for name in [path, beside(&self.path, "-shm")] {
                if let Err(error) = std::fs::remove_file(&name) {
                    let name = name.display();
                    tracing::warn!(%name, %error, "what is left of a removed file cannot be removed");
                }
            }
        }
    }

    fn attempt<T>(
        &mut self,
        behavior: TransactionBehavior,
        work: impl FnOnce(Desk<'_>) -> Result<T, WriteFault>,
    ) -> Result<T, CommitError> {
        if let Err(open_fault) = self.connection() {
            let fault = fault::unopened(&self.path, open_fault);
            return Err(CommitError::NotApplied(fault.into()));
        }
        let connection = self.connection.as_mut().expect("it was opened above");
        let outcome = run(connection, behavior, |transaction| {
            work(Desk { transaction, ledger: &mut self.ledger, strays: &self.strays })
        });
        outcome.map_err(|write_fault| {
            let error = fault::uncommitted(&self.path, write_fault);
            match error {
                CommitError::Unknown(_) => self.close_unsettled(),
                CommitError::NotApplied(_) => self.close(),
                CommitError::Refused { .. } | CommitError::Lost(_) => {}
            }
            error
        })
    }
}

/// The name of a file that SQLite keeps beside the one at `path`.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Which file it is, whatever its name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(super) fn of(path: &Path) -> std::io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }

    /// Whether the file of this name is certainly not this one.
    pub(super) fn is_replaced(self, path: &Path) -> bool {
        match Self::of(path) {
            Ok(found) => found != self,
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        }
    }
}

impl Owned for Session {
    fn broke_off(&mut self) {
        self.close_unsettled();
    }
}

fn run<T>(
    connection: &mut Connection,
    behavior: TransactionBehavior,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, WriteFault>,
) -> Result<T, WriteFault> {
    let transaction = connection.transaction_with_behavior(behavior)?;
    // A transaction that is dropped without a commit is rolled back.
    let done = work(&transaction)?;
    transaction.commit().map_err(WriteFault::AtCommit)?;
    Ok(done)
}

fn open(path: &Path) -> Result<Connection, OpenFault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // Begins with an empty log where nobody reads along, in case the process before this one ended
    // right after a write that did not reach the disk. Not waited for, and no fault if it fails:
    // what keeps it from being done is found out below, or does no harm.
    connection.busy_timeout(Duration::ZERO)?;
    let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()));
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // The size of a page can only be chosen before the file has its first; later this is ignored.
    connection.pragma_update(None, "page_size", PAGE_SIZE)?;
    for (name, value) in PRAGMAS {
        set(&connection, name, &value)?;
    }
    Ok(connection)
}

/// Set and read back on each open.
const PRAGMAS: [(&str, Setting); 8] = [
    ("journal_mode", Setting::Word("wal")),
    ("synchronous", Setting::Number(SYNCHRONOUS_FULL)),
    ("foreign_keys", Setting::Number(1)),
    ("locking_mode", Setting::Word("normal")),
    ("temp_store", Setting::Number(TEMP_STORE_MEMORY)),
    ("cache_size", Setting::Number(-CACHE_KIB)),
    ("wal_autocheckpoint", Setting::Number(CHECKPOINT_PAGES)),
    ("journal_size_limit", Setting::Number(LOG_BYTES_KEPT)),
];
const SYNCHRONOUS_FULL: i64 = 2;
const TEMP_STORE_MEMORY: i64 = 2;

/// The value of a pragma.
enum Setting {
    Word(&'static str),
    Number(i64),
}

/// SQLite ignores what it cannot do, so what it does is read back.
fn set(connection: &Connection, name: &str, setting: &Setting) -> Result<(), OpenFault> {
    let wanted = match setting {
        Setting::Word(word) => Value::Text((*word).to_owned()),
        Setting::Number(number) => Value::Integer(*number),
    };
    connection.pragma_update(None, name, &wanted)?;
    let actual = connection.pragma_query_value(None, name, |row| row.get::<_, Value>(0))?;
    if actual == wanted {
        return Ok(());
    }
    Err(OpenFault::Refused(format!(
        "{name} is {actual:?} where {wanted:?} is needed; is it on a network file system?"
    )))
}
