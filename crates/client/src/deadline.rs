//! "Be done by then", told once to everybody whom it concerns.

use tokio::sync::watch;
use tokio::time::Instant;

/// Says when.
pub(crate) type Speaker = watch::Sender<Option<Instant>>;

/// Hears it; every clone hears it.
#[derive(Clone, Debug)]
pub(crate) struct Deadline(watch::Receiver<Option<Instant>>);

/// Nothing is said yet.
pub(crate) fn unset() -> (Speaker, Deadline) {
    let (speaker, deadline) = watch::channel(None);
    (speaker, Deadline(deadline))
}

impl Deadline {
    /// What was said.
    pub(crate) fn now(&self) -> Option<Instant> {
        *self.0.borrow()
    }

    /// Waits until something is said; for ever, if nobody is there to say it.
    pub(crate) async fn told(&mut self) -> Instant {
        let told = self.0.wait_for(Option::is_some).await.ok().and_then(|until| *until);
        match told {
            Some(until) => until,
            None => std::future::pending().await,
        }
    }
}
