//! The long-lived tasks of the process: one named set. One that ends by itself or panics ends the
//! process; at the end they are told to stop one after the other, in the order they were added.

use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long one part may take to end. Each bounds its own work below this.
const PART_END_MAX: Duration = Duration::from_secs(20);

/// The set.
#[derive(Default)]
pub(crate) struct Parts {
    tasks: JoinSet<(&'static str, anyhow::Result<()>)>,
    /// In the order in which they end.
    stops: Vec<(&'static str, CancellationToken)>,
}

impl Parts {
    /// Starts a part, which ends soon after its token is cancelled.
    pub(crate) fn spawn<F>(&mut self, name: &'static str, part: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let task = part(stop.clone());
        self.stops.push((name, stop));
        self.tasks.spawn(async move { (name, task.await) });
    }

    /// The name of the next part that ends well.
    ///
    /// # Errors
    /// Which part broke, and why.
    pub(crate) async fn next_end(&mut self) -> anyhow::Result<&'static str> {
        let ended = self.tasks.join_next().await.context("nothing is running")?;
        let (name, result) = ended.context("a part of the manager broke")?;
        result.with_context(|| format!("{name} cannot go on"))?;
        Ok(name)
    }

    /// Ends one part after the other.
    ///
    /// # Errors
    /// When a part breaks, takes too long, or ends out of its turn.
    pub(crate) async fn stop_in_order(&mut self) -> anyhow::Result<()> {
        for (name, stop) in std::mem::take(&mut self.stops) {
            stop.cancel();
            let ended = tokio::time::timeout(PART_END_MAX, self.next_end()).await;
            let ended = ended.with_context(|| format!("{name} did not end in time"))??;
            anyhow::ensure!(ended == name, "{ended} ended by itself");
        }
        Ok(())
    }
}
