//! Looking at the files for changes, by what is in them: orchestrators swap links and keep times,
//! so neither names nor times tell.
//!
//! What changed is taken once it is the same at two looks: a file is written in pieces, and a
//! certificate and its key one after the other.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::digest::Digest;
use super::refusals::Refusals;
use super::{AccessFault, file};

/// The time between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Files that belong together.
pub(super) struct Watched {
    what: &'static str,
    paths: Vec<PathBuf>,
    reload: Arc<dyn Fn() -> Result<(), AccessFault> + Send + Sync>,
    /// What was tried last.
    tried: Digest,
    /// What was seen at the last look, if it is something else.
    seen: Option<Digest>,
    is_failing: bool,
}

impl Watched {
    pub(super) fn new(
        what: &'static str,
        (paths, tried): (Vec<PathBuf>, Digest),
        reload: impl Fn() -> Result<(), AccessFault> + Send + Sync + 'static,
    ) -> Self {
        let reload = Arc::new(reload);
        Self { what, paths, reload, tried, seen: None, is_failing: false }
    }

    async fn look(&mut self) {
        let paths = self.paths.clone();
        let Ok(now) = spawn_blocking(move || fingerprint(&paths)).await else { return };
        if self.tried.is(&now) {
            self.seen = None;
        } else if self.seen.is_some_and(|seen| seen.is(&now)) {
            (self.tried, self.seen) = (now, None);
            self.take().await;
        } else {
            self.seen = Some(now);
        }
    }

    async fn take(&mut self) {
        let reload = Arc::clone(&self.reload);
        let what = self.what;
        match spawn_blocking(move || reload()).await {
            Ok(Ok(())) => {
                self.is_failing = false;
                info!(what, "read anew, and in force");
            }
            Ok(Err(fault)) => {
                self.is_failing = true;
                let hint = fault.hint();
                error!(
                    what, %fault, hint,
                    "a file that changed cannot be used; what was read before stays in force"
                );
            }
            Err(fault) => error!(what, %fault, "reading it anew broke; this is a bug"),
        }
    }
}

/// Stands for what is in the files, or that they cannot be read. Blocks.
pub(super) fn fingerprint(paths: &[PathBuf]) -> Digest {
    let mut all = Vec::new();
    for path in paths {
        let (kind, bytes) = match file::contents(path) {
            Ok(bytes) => (b'+', bytes),
            Err(why) => (b'-', why.into_bytes()),
        };
        all.push(kind);
        all.extend_from_slice(&bytes.len().to_le_bytes());
        all.extend_from_slice(&bytes);
    }
    Digest::of(&all)
}

/// Looks until it is told to stop.
pub(super) async fn run(mut watched: Vec<Watched>, refusals: &Refusals, stop: CancellationToken) {
    let mut tick = interval(PAUSE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        for files in &mut watched {
            files.look().await;
        }
        refusals.set_reload_failing(watched.iter().any(|files| files.is_failing));
    }
}
