//! The lease as its holder sees it: it ends here before it can end for anybody else.
//!
//! Measured from the moment when it was asked for, on clocks of which one runs while the machine
//! is suspended. Not here: what is written to the store to renew it (`background` does that).
//!
//! INVARIANT: a [`Term`] ends by itself. Whoever was stopped or suspended in the middle of a step
//! finds it over, before the writer had a chance to notice anything.

use std::time::Duration;

use futures_util::future::BoxFuture;
use governance_store::{CommitError, Renewal, Tenure};
use tokio::time::Instant;

use crate::clock::Stamp;

/// For how long this manager may act for the registry: check, and tell subscribers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Term {
    /// Not now.
    Never,
    /// Until somebody says otherwise: nobody else can write to this store.
    Always,
    /// For so long from then on.
    For(Stamp, Duration),
}

impl Term {
    pub(super) fn holds(self) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::For(begun, length) => begun.elapsed() < length,
        }
    }
}

/// A renewal that is under way, and when it began.
type Call = (Stamp, BoxFuture<'static, Result<Renewal, CommitError>>);

/// The lease. Written by the writer alone.
pub(super) struct Lease {
    pub(super) length: Duration,
    /// From when on it lasts, at the earliest.
    begun: Stamp,
    /// When it is to be renewed.
    pub(super) next: Instant,
    /// Whether the last renewal told of a manager that would take it.
    pub(super) standby_is_alive: bool,
    pub(super) call: Option<Call>,
    /// When the writer last looked.
    looked: Stamp,
    /// Since when it is not known whether somebody else took it: this process did not run for a
    /// while, or the store said so. A renewal that begins later settles it.
    doubt: Option<Doubt>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    /// The process did not run; until then.
    Stalled(Instant),
    /// The store refused a write.
    Refused,
}

impl Lease {
    /// None: the store knows no leases, because nobody else can write to it.
    pub(super) fn of(tenure: &Tenure, begun: Stamp) -> Option<Self> {
        tenure.lease.map(|length| Self {
            length,
            begun,
            next: begun.instant() + length / 4,
            standby_is_alive: false,
            call: None,
            looked: Stamp::now(),
            doubt: None,
        })
    }

    /// When it ends, on the clock of timers.
    pub(super) fn ends(&self) -> Instant {
        self.begun.instant() + self.length
    }

    /// Whether it ended, by any clock.
    pub(super) fn has_ended(&self) -> bool {
        self.begun.elapsed() >= self.length
    }

    /// Whether it ended and somebody is there to take it.
    pub(super) fn is_forfeit(&self) -> bool {
        self.has_ended() && self.standby_is_alive
    }

    /// To be called several times in each [`Lease::patience`]: a longer pause means that this
    /// process did not run, and a standby may have come and taken over meanwhile.
    pub(super) fn look(&mut self) {
        if self.looked.elapsed() > self.patience() && self.doubt.is_none() {
            self.doubt = Some(Doubt::Stalled(Instant::now()));
        }
        self.looked = Stamp::now();
    }

    /// A renewal ended.
    pub(super) fn landed(&mut self, begun: Stamp, result: &Result<Renewal, CommitError>) {
        match result {
            Ok(renewal) => {
                self.begun = begun;
                self.next = begun.instant() + self.length / 4;
                self.standby_is_alive = renewal.standby_is_alive;
                self.doubt = None;
            }
            Err(CommitError::Lost(_)) => self.refuse(),
            Err(_) => {
                self.next = Instant::now() + self.length / 20;
                // The store is away, and knew of no standby when it was there last.
                let is_settled =
                    matches!(self.doubt, Some(Doubt::Stalled(until)) if begun.instant() >= until);
                if is_settled {
                    self.doubt = None;
                }
            }
        }
    }

    /// The store says that somebody else may have it.
    pub(super) fn refuse(&mut self) {
        self.doubt = Some(Doubt::Refused);
        self.next = Instant::now() + self.length / 20;
    }

    /// For how long this manager may act. While the store is away and no standby is known, that is
    /// beyond the end of the lease, but only as long as the writer keeps looking.
    pub(super) fn term(&self) -> Term {
        match self.doubt {
            Some(Doubt::Refused) => Term::Never,
            None if self.has_ended() && !self.standby_is_alive => {
                Term::For(self.looked, self.patience())
            }
            Some(Doubt::Stalled(_)) | None => Term::For(self.begun, self.length),
        }
    }

    fn patience(&self) -> Duration {
        self.length / 4
    }
}

#[cfg(test)]
mod tests {
    use governance_store::{StoreFault, Uuid};
    use tokio::time::advance;

    use super::*;

    const LENGTH: Duration = Duration::from_secs(5);
    const STEP: Duration = Duration::from_millis(100);

    fn lease() -> Lease {
        let tenure =
            Tenure { registry_id: Uuid::nil(), epoch: 1, sequence: 1, lease: Some(LENGTH) };
        Lease::of(&tenure, Stamp::now()).unwrap()
    }

    /// The writer looks every now and then, as it does while the process runs.
    async fn run(lease: &mut Lease, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            advance(STEP).await;
            lease.look();
        }
    }

    fn away() -> CommitError {
        CommitError::NotApplied(StoreFault::new("away"))
    }

    #[tokio::test(start_paused = true)]
    async fn with_a_standby_the_term_ends_with_the_lease_and_without_one_it_goes_on() {
        for standby_is_alive in [false, true] {
            let mut lease = lease();
            lease.landed(Stamp::now(), &Ok(Renewal { standby_is_alive }));
            run(&mut lease, LENGTH.saturating_sub(STEP)).await;
            assert!(lease.term().holds());
            run(&mut lease, STEP).await;
            assert_eq!(lease.term().holds(), !standby_is_alive);
            assert_eq!(lease.is_forfeit(), standby_is_alive);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_term_is_over_for_whoever_was_stopped_before_the_writer_looks_again() {
        let mut lease = lease();
        run(&mut lease, STEP).await;
        let term = lease.term();
        advance(LENGTH).await;
        assert!(!term.holds());
        // And the writer itself does not go on before it asked.
        lease.look();
        assert!(!lease.term().holds());
        lease.landed(Stamp::now(), &Ok(Renewal { standby_is_alive: true }));
        assert!(lease.term().holds());
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_stop_an_answer_to_a_question_from_before_does_not_settle_it() {
        let mut lease = lease();
        let before = Stamp::now();
        advance(LENGTH).await;
        lease.look();
        lease.landed(before, &Err(away()));
        assert!(!lease.term().holds());
        lease.landed(Stamp::now(), &Err(away()));
        assert!(lease.term().holds(), "without a standby it goes on while the store is away");
        // That, too, ends by itself.
        let term = lease.term();
        advance(LENGTH).await;
        assert!(!term.holds());
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_refuses_ends_the_term_at_once() {
        let mut lease = lease();
        lease.landed(Stamp::now(), &Err(CommitError::Lost(StoreFault::new("taken"))));
        assert!(!lease.term().holds());
        lease.landed(Stamp::now(), &Err(away()));
        assert!(!lease.term().holds());
        lease.landed(Stamp::now(), &Ok(Renewal { standby_is_alive: false }));
        assert!(lease.term().holds());
    }
}
