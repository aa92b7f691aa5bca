//! What a pod does while it is a member, and the order in which that ends.
//!
//! INVARIANT: a pod leaves before it stops answering, so that nobody is sent to a pod that is gone;
//! the requests under way are answered before connections to others are closed.

use governance_client::Member;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::diameter::Trunk;
use crate::fleet::Place;

/// The tasks that serve, from the registration to the end.
#[derive(Debug, Default)]
pub struct Duty {
    servers: CancellationToken,
    tasks: TaskTracker,
}

impl Duty {
    /// Runs what serves until its token says that nobody is sent here any more.
    pub fn spawn<F>(&self, serve: impl FnOnce(CancellationToken) -> F)
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(serve(self.servers.clone()));
    }

    /// Serves until `stop`, then ends in order: leaves the fleet, finishes what is under way,
    /// closes `trunk`.
    pub async fn until(
        self,
        stop: CancellationToken,
        place: &Place,
        member: Member,
        trunk: Option<&Trunk>,
    ) {
        stop.cancelled().await;
        place.leave(&member).await;
        self.servers.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        if let Some(trunk) = trunk {
            trunk.close().await;
        }
        // Already said in the log if it was in vain.
        let _ = member.shutdown().await;
        tracing::info!("stopped");
    }
}
