//! The suite of all stores, passed by the one that keeps nothing.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use governance_store::contract::Site;
use governance_store::{MemoryStore, Store};

struct Nowhere;

impl Site for Nowhere {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Store>> {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        ready(store).boxed()
    }
}

governance_store::volatile_store_contract! { Nowhere }
