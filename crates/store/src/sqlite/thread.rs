//! A thread of the store's own: SQLite blocks, so no call of it happens on the caller's. One owns the
//! session that writes, another the one that reads for people.
//!
//! Jobs run one after the other in the order they were asked. A job that panics loses its
//! connection and its answer; the thread goes on with the next one.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use crate::StoreFault;

/// Jobs that wait. The engine has a handful under way at once; more means that nobody waits for
/// the answers.
const QUEUE_MAX: usize = 64;

type Job<S> = Box<dyn FnOnce(&mut S) + Send>;

/// What a thread owns and lends to its jobs.
pub(super) trait Owned: Send + 'static {
    /// A job broke off in the middle: whatever it left behind must not be met by the next one.
    fn broke_off(&mut self);
}

/// Why there is no answer to a job.
pub(super) enum NoAnswer {
    /// It never began.
    NotStarted(StoreFault),
    /// It began, and may have done its work.
    Interrupted(StoreFault),
}

/// The thread; dropping it waits until what was asked is done and the file is closed.
pub(super) struct StoreThread<S> {
    /// None only while dropping.
    jobs: Option<SyncSender<Job<S>>>,
    /// None only while dropping.
    thread: Option<JoinHandle<()>>,
}

impl<S: Owned> StoreThread<S> {
    /// Starts it.
    pub(super) fn start(name: &str, owned: S) -> Result<Self, StoreFault> {
        let (jobs, waiting) = sync_channel(QUEUE_MAX);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(owned, &waiting))
            .map_err(|error| StoreFault::because("cannot start the thread of the store", error))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Queues a job at once and returns its answer. Dropping the future does not undo the job.
    pub(super) fn ask<T, E>(
        &self,
        job: impl FnOnce(&mut S) -> Result<T, E> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, E>>
    where
        T: Send + 'static,
        E: From<NoAnswer> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job<S> = Box::new(move |session| {
            // Nobody may be waiting any more.
            let _ = answer.send(job(session));
        });
        let refusal = match self.jobs.as_ref().map(|jobs| jobs.try_send(job)) {
            Some(Ok(())) => None,
            Some(Err(TrySendError::Full(_))) => Some("too many calls wait for the store"),
            Some(Err(TrySendError::Disconnected(_))) | None => {
                Some("the thread of the store has ended")
            }
        };
        if let Some(text) = refusal {
            let no_answer = NoAnswer::NotStarted(StoreFault::new(text));
            return std::future::ready(Err(no_answer.into())).boxed();
        }
        async {
            answered.await.unwrap_or_else(|_| {
                let text = "the store broke off; its log line of the panic says why";
                Err(NoAnswer::Interrupted(StoreFault::new(text)).into())
            })
        }
        .boxed()
    }
}

impl<S> fmt::Debug for StoreThread<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreThread").finish_non_exhaustive()
    }
}

impl<S> Drop for StoreThread<S> {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A panic outside of a job has nothing left to tell.
            let _ = thread.join();
        }
    }
}

fn run<S: Owned>(mut owned: S, jobs: &Receiver<Job<S>>) {
    while let Ok(job) = jobs.recv() {
        // What is owned is made safe below.
        if catch_unwind(AssertUnwindSafe(|| job(&mut owned))).is_err() {
            owned.broke_off();
        }
    }
}
