//! The contract of stores, kept by PostgreSQL: a server and a database of its own for each test.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic says that the test failed"
)]

mod postgres_common;

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt, ready};
use governance_store::contract::{DurableSite, Site};
use governance_store::{PostgresStore, Store};
use governance_testkit::postgres::Cluster;
use postgres_common::{DATABASE, settings};

struct Server(Cluster);

impl Server {
    fn start() -> Self {
        let cluster = Cluster::start().unwrap();
        cluster.sql("postgres", &format!("CREATE DATABASE {DATABASE}")).unwrap();
        Self(cluster)
    }
}

impl Site for Server {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Store>> {
        let store: Arc<dyn Store> = Arc::new(PostgresStore::new(settings(self.0.address())));
        ready(store).boxed()
    }
}

impl DurableSite for Server {
    fn execute<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, ()> {
        self.0.sql(DATABASE, sql).unwrap();
        ready(()).boxed()
    }
}

governance_store::durable_store_contract! { Server::start() }
