//! What the writer has written behind its commits: health, old audit entries going, digests of the
//! younger ones, the lease.
//!
//! One statement of health or audit at a time, one renewal at a time; neither waits for a commit.
//! Nothing here is needed to answer a caller.
//!
//! INVARIANT: entries are never deleted while digests are made of others.

use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use governance_domain::Timestamp;
use governance_store::{AuditEntry, CommitError, HealthWrite, Renewal, Store, StoreFault, Tenure};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, error, warn};

use super::entries::takeover;
use super::flight::no_answer;
use super::lease::{Lease, Term};
use super::soft::{SoftWrites, TRANSITION_DELAY};
use super::standing::Post;
use super::tenure::{STORE_CALL_MAX, chain};
use crate::clock::Stamp;

/// How often old audit entries are looked for, and how many go at once.
const PRUNE_PAUSE: Duration = Duration::from_secs(10);
const PRUNE_MAX: usize = 2_000;
/// How often blocks of the audit without a digest are looked for, and how many get one at once: the
/// fuller the audit was found, the sooner again. Ten million entries of an earlier version take ten
/// minutes, and a registry that changes all the time is followed with a few milliseconds a second.
const DIGEST_PAUSE: Duration = Duration::from_secs(10);
const DIGEST_PAUSE_IF_BEHIND: Duration = Duration::from_secs(1);
const DIGEST_BLOCKS: usize = 4;
/// How long nothing is digested after it failed. Nobody needs it but those who search.
const DIGEST_PAUSE_AFTER_FAULT: Duration = Duration::from_mins(1);
/// How long the last writes may take when the process ends.
const FAREWELL_MAX: Duration = Duration::from_secs(5);

/// The statements behind the commits.
pub(super) struct Background {
    /// What checks found and is not written yet.
    pub(super) soft: SoftWrites,
    chore: Option<Chore>,
    /// Digests that are made, beside the chores: they are read first, and perhaps behind somebody
    /// who reads much.
    digests: Option<BoxFuture<'static, Result<usize, CommitError>>>,
    next_soft: Instant,
    /// When time was last turned into an allowance of touches.
    refilled: Instant,
    next_prune: Instant,
    next_digest: Instant,
    audit_retention: Duration,
    lease: Option<Lease>,
    /// Told for how long this manager may act.
    post: Arc<Post>,
}

/// A statement that is under way, with what to write again if it fails.
struct Chore {
    rows: Vec<HealthWrite>,
    audit: Vec<AuditEntry>,
    call: BoxFuture<'static, Result<usize, CommitError>>,
}

/// What happened in the background.
pub(super) enum BackgroundEvent {
    /// It is time for [`Background::turn`].
    Timer,
    /// A statement ended well.
    Done,
    /// A statement failed; what it was to write waits again.
    Failed(CommitError),
    /// The lease could not be renewed in time, and somebody else is there to take it.
    LeaseEnded,
}

impl Background {
    pub(super) fn new(
        tenure: &Tenure,
        begun: Stamp,
        audit_retention: Duration,
        post: Arc<Post>,
    ) -> Self {
        let now = Instant::now();
        let background = Self {
            soft: SoftWrites::default(),
            chore: None,
            digests: None,
            next_soft: now + TRANSITION_DELAY,
            refilled: now,
            next_prune: now + PRUNE_PAUSE,
            next_digest: now + DIGEST_PAUSE,
            audit_retention,
            lease: Lease::of(tenure, begun),
            post,
        };
        background.grant();
        background
    }

    /// Says for how long this manager may act.
    fn grant(&self) {
        self.post.grant(self.lease.as_ref().map_or(Term::Always, Lease::term));
    }

    /// The store refused a write, because somebody else may have the right to it.
    pub(super) fn refused(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.refuse();
        }
        self.grant();
    }

    /// A new epoch was taken: the lease runs anew.
    pub(super) fn renewed(&mut self, tenure: &Tenure, begun: Stamp) {
        let standby_is_alive = self.lease.as_ref().is_some_and(|lease| lease.standby_is_alive);
        self.lease = Lease::of(tenure, begun);
        if let Some(lease) = &mut self.lease {
            lease.standby_is_alive = standby_is_alive;
        }
        self.grant();
    }

    pub(super) fn note_takeover(&mut self, now: Timestamp, epoch: u32) {
        self.soft.note_entry(takeover(now, format!("epoch {epoch}")));
    }

    /// Waits for the next thing to happen. Safe to drop and call again.
    pub(super) async fn next(&mut self) -> BackgroundEvent {
        let timer = self.next_timer();
        let chore_landed = async {
            match &mut self.chore {
                Some(chore) => poll_fn(|context| chore.call.poll_unpin(context)).await,
                None => pending().await,
            }
        };
        let digests_landed = async {
            match &mut self.digests {
                Some(call) => poll_fn(|context| call.poll_unpin(context)).await,
                None => pending().await,
            }
        };
        let lease_landed = async {
            match &mut self.lease {
                Some(Lease { call: Some((begun, call)), .. }) => {
                    (*begun, poll_fn(|context| call.poll_unpin(context)).await)
                }
                _ => pending().await,
            }
        };
        tokio::select! {
            result = chore_landed => self.chore_landed(result),
            result = digests_landed => self.digests_landed(result),
            (begun, result) = lease_landed => self.lease_landed(begun, result),
            () = sleep_until(timer) => self.timer(),
        }
    }

    fn next_timer(&self) -> Instant {
        let mut next = self.next_soft;
        if let Some(lease) = &self.lease {
            if lease.call.is_none() {
                next = next.min(lease.next);
            }
            next = next.min(lease.ends().max(Instant::now() + Duration::from_millis(10)));
        }
        next
    }

    fn timer(&mut self) -> BackgroundEvent {
        let Some(lease) = &mut self.lease else { return BackgroundEvent::Timer };
        lease.look();
        let is_forfeit = lease.is_forfeit();
        self.grant();
        if is_forfeit { BackgroundEvent::LeaseEnded } else { BackgroundEvent::Timer }
    }

    fn chore_landed(&mut self, result: Result<usize, CommitError>) -> BackgroundEvent {
        let Some(chore) = self.chore.take() else { return BackgroundEvent::Done };
        match result {
            Ok(_) => {
                // A storm of transitions is written statement after statement, without a pause.
                if self.soft.has_transitions() {
                    self.next_soft = Instant::now();
                }
                BackgroundEvent::Done
            }
            Err(error) => {
                if matches!(error, CommitError::Lost(_)) {
                    self.refused();
                }
                self.soft.put_back(chore.rows, chore.audit);
                self.next_soft = Instant::now() + TRANSITION_DELAY * 5;
                BackgroundEvent::Failed(error)
            }
        }
    }

    /// Says nothing about the store: reading alone may have failed, or gone well. Nor about the
    /// right to write, because a later tenure may have begun meanwhile.
    fn digests_landed(&mut self, result: Result<usize, CommitError>) -> BackgroundEvent {
        self.digests = None;
        let pause = match result {
            Ok(made) if made < DIGEST_BLOCKS => DIGEST_PAUSE,
            Ok(_) => DIGEST_PAUSE_IF_BEHIND,
            Err(error) => {
                debug!(why = chain(&error), "the audit was not digested, it is tried again");
                DIGEST_PAUSE_AFTER_FAULT
            }
        };
        self.next_digest = Instant::now() + pause;
        BackgroundEvent::Timer
    }

    fn lease_landed(
        &mut self,
        begun: Stamp,
        result: Result<Renewal, CommitError>,
    ) -> BackgroundEvent {
        let Some(lease) = &mut self.lease else { return BackgroundEvent::Done };
        lease.call = None;
        lease.landed(begun, &result);
        self.grant();
        result.map_or_else(BackgroundEvent::Failed, |_| BackgroundEvent::Done)
    }

    /// Starts what is due.
    pub(super) fn turn(&mut self, store: &Arc<dyn Store>, tenure: &Tenure, clock: Timestamp) {
        let now = Instant::now();
        self.turn_lease(store, tenure, now);
        if now < self.next_soft {
            return;
        }
        self.soft.refill(now - self.refilled);
        self.refilled = now;
        self.next_soft = now + TRANSITION_DELAY;
        if self.chore.is_some() {
            return;
        }
        // Before health, which never ends where many pods are checked; it is written right after.
        if now >= self.next_prune && self.digests.is_none() {
            self.next_prune = now + PRUNE_PAUSE;
            self.prune(store, tenure, clock);
            return;
        }
        if !self.soft.is_empty() {
            self.write_soft(store, tenure, false);
        }
        if now >= self.next_digest && self.digests.is_none() {
            self.next_digest = now + DIGEST_PAUSE;
            self.digest(store, tenure);
        }
    }

    fn digest(&mut self, store: &Arc<dyn Store>, tenure: &Tenure) {
        let (store, tenure) = (Arc::clone(store), *tenure);
        let call = async move {
            let made = store.digest_audit(&tenure, DIGEST_BLOCKS);
            timeout(STORE_CALL_MAX, made).await.unwrap_or_else(|_| Err(no_answer()))
        };
        self.digests = Some(call.boxed());
    }

    fn turn_lease(&mut self, store: &Arc<dyn Store>, tenure: &Tenure, now: Instant) {
        let Some(lease) = &mut self.lease else { return };
        if lease.call.is_none() && lease.next <= now {
            let (store, tenure) = (Arc::clone(store), *tenure);
            let call = async move {
                let answer = timeout(STORE_CALL_MAX, store.renew(&tenure)).await;
                answer.unwrap_or_else(|_| Err(no_answer()))
            };
            lease.call = Some((Stamp::now(), call.boxed()));
        }
    }

    fn write_soft(&mut self, store: &Arc<dyn Store>, tenure: &Tenure, everything: bool) {
        let (rows, audit) = self.soft.take(everything);
        if rows.is_empty() && audit.is_empty() {
            return;
        }
        if self.soft.dropped_audit > 0 {
            let entries = std::mem::take(&mut self.soft.dropped_audit);
            warn!(entries, "audit entries of health were dropped: more came than the store took");
        }
        let (store, tenure) = (Arc::clone(store), *tenure);
        let (sent_rows, sent_audit) = (rows.clone(), audit.clone());
        let call = async move {
            let written = store.write_health(&tenure, sent_rows, sent_audit);
            let answer = timeout(STORE_CALL_MAX, written).await;
            answer.unwrap_or_else(|_| Err(no_answer())).map(|()| 0)
        };
        self.chore = Some(Chore { rows, audit, call: call.boxed() });
    }

    fn prune(&mut self, store: &Arc<dyn Store>, tenure: &Tenure, clock: Timestamp) {
        let retention = i64::try_from(self.audit_retention.as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp::from_micros(clock.as_micros().saturating_sub(retention));
        let (store, tenure) = (Arc::clone(store), *tenure);
        let call = async move {
            let pruned = store.prune_audit(&tenure, before, PRUNE_MAX);
            timeout(STORE_CALL_MAX, pruned).await.unwrap_or_else(|_| Err(no_answer()))
        };
        self.chore = Some(Chore { rows: Vec::new(), audit: Vec::new(), call: call.boxed() });
    }

    /// The process ends: writes what is soft and gives the right to write back.
    pub(super) async fn farewell(&mut self, store: &Arc<dyn Store>, tenure: &Tenure) {
        let written = timeout(FAREWELL_MAX, self.write_everything(store, tenure)).await;
        match written {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => {
                error!(why = chain(&fault), "the last health results could not be written");
            }
            Err(_elapsed) => error!("the last health results were not written in time"),
        }
        match timeout(FAREWELL_MAX, store.release(tenure)).await {
            Ok(Ok(())) => debug!("the right to write was given back"),
            Ok(Err(fault)) => warn!(why = chain(&fault), "the lease could not be given back"),
            Err(_elapsed) => warn!("the lease was not given back in time: it will expire"),
        }
    }

    async fn write_everything(
        &mut self,
        store: &Arc<dyn Store>,
        tenure: &Tenure,
    ) -> Result<(), CommitError> {
        if let Some(chore) = self.chore.take()
            && let Err(error) = chore.call.await
        {
            self.soft.put_back(chore.rows, chore.audit);
            debug!(why = chain(&error), "a write of health failed at the end, trying once more");
        }
        while !self.soft.is_empty() {
            self.write_soft(store, tenure, true);
            let Some(chore) = self.chore.take() else {
                return Err(CommitError::NotApplied(StoreFault::new("health results are left")));
            };
            chore.call.await?;
        }
        Ok(())
    }
}
