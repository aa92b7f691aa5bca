//! Following the registry: a snapshot, then every change, to any number of watchers at little cost.
//!
//! `ring` keeps the last changes, `hub` stands between the writer and the watchers, `seat` is a
//! watcher as the hub knows it, `stream` what one is sent, `text` how that is written. Not here:
//! HTTP; who may watch.
//!
//! What it costs: the writer, a clone of a pointer per change and one bell per batch; one task that
//! looks at each change once; and a watcher of a quiet service nothing at all, however much happens
//! to others.

mod hub;
mod ring;
mod seat;
mod stream;
mod text;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use governance_domain::Revision;
use tokio_util::sync::CancellationToken;

use crate::engine::{EngineHandle, Observer};
use hub::Hub;
pub use hub::TooMany;
pub use stream::Stream;

/// The way to a stream of changes.
#[derive(Clone)]
pub struct Watch {
    hub: Arc<Hub>,
    engine: EngineHandle,
}

/// How watching goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchFigures {
    /// Streams that are open.
    pub watchers: usize,
    /// Streams that were ended because their reader was too slow, since the start.
    pub cut_off: u64,
}

impl Watch {
    /// Nobody watches yet.
    pub fn new(engine: EngineHandle) -> Self {
        Self { hub: Arc::default(), engine }
    }

    /// One that keeps fewer changes.
    #[cfg(test)]
    fn keeping(engine: EngineHandle, changes_max: usize) -> Self {
        Self { hub: Arc::new(Hub::new(changes_max)), engine }
    }

    /// To be told of what is published.
    pub fn observer(&self) -> Arc<dyn Observer> {
        Arc::clone(&self.hub) as Arc<dyn Observer>
    }

    /// Tells watchers of changes until `stop`; then every stream ends, and says why.
    pub async fn run(self, stop: CancellationToken) {
        self.hub.run(stop).await;
    }

    /// A stream of what happens to `service`, or to all. Resumes after `last_seen` if all that
    /// followed is still known; else it begins with a snapshot.
    ///
    /// # Errors
    /// When there are too many streams already.
    pub fn open(
        &self,
        service: Option<Box<str>>,
        last_seen: Option<Revision>,
    ) -> Result<Stream, TooMany> {
        let seat = self.hub.sit_down(service)?;
        Ok(Stream::new(Arc::clone(&self.hub), self.engine.clone(), seat, last_seen))
    }

    /// How it goes.
    pub fn figures(&self) -> WatchFigures {
        let cut_off = self.hub.cut_off.load(Ordering::Relaxed);
        WatchFigures { watchers: self.hub.count(), cut_off }
    }
}
