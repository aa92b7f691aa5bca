//! The suite of all stores, passed by the embedded one in a directory of its own per test.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use governance_store::contract::{DurableSite, Site};
use governance_store::{SqliteStore, Store};
use tempfile::TempDir;

struct Directory(TempDir);

impl Directory {
    fn new() -> Self {
        Self(TempDir::new().expect("a temporary directory"))
    }
}

impl Site for Directory {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Store>> {
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(self.0.path()).expect("a thread for the store"));
        ready(store).boxed()
    }
}

impl DurableSite for Directory {
    fn execute<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, ()> {
        let file = self.0.path().join("governance.db");
        let connection = rusqlite::Connection::open(file).expect("the file of the store");
        connection.execute_batch(sql).expect("SQL that SQLite understands");
        ready(()).boxed()
    }
}

governance_store::durable_store_contract! { Directory::new() }
