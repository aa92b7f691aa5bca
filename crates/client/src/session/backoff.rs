//! How long to wait after so many failures: full jitter, so that a fleet whose manager comes back
//! does not come back all at once.

use std::time::Duration;

use fastrand::Rng;

/// A manager may ask for a pause; it is not believed beyond this.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(1);

/// The bounds of a pause.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pauses {
    /// The longest first one; doubled with each failure.
    pub(crate) first: Duration,
    /// The longest of all.
    pub(crate) longest: Duration,
}

/// Counts failures in a row.
#[derive(Debug)]
pub(super) struct Backoff {
    pauses: Pauses,
    failures: u32,
    random: Rng,
}

impl Backoff {
    pub(super) fn new(pauses: Pauses, random: Rng) -> Self {
        Self { pauses, failures: 0, random }
    }

    pub(super) fn succeed(&mut self) {
        self.failures = 0;
    }

    /// One more failure; the pause before the next attempt, at least what was asked for.
    pub(super) fn fail(&mut self, asked: Option<Duration>) -> Duration {
        let doubled = self.pauses.first.saturating_mul(1_u32 << self.failures.min(20));
        self.failures = self.failures.saturating_add(1);
        let most = doubled.min(self.pauses.longest);
        let pause = most.mul_f64(self.random.f64());
        asked.map_or(pause, |asked| asked.min(RETRY_AFTER_MAX) + pause)
    }

    /// A pause for what time alone does not mend.
    pub(super) fn longest(&mut self) -> Duration {
        self.pauses.longest.mul_f64(0.5 + self.random.f64() / 2.0)
    }

    /// The interval, or up to a tenth less, so that a fleet that started at once spreads.
    pub(super) fn spread(&mut self, interval: Duration) -> Duration {
        interval.mul_f64(1.0 - self.random.f64() / 10.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSES: Pauses =
        Pauses { first: Duration::from_millis(250), longest: Duration::from_secs(30) };

    #[test]
    fn pauses_are_spread_over_everything_up_to_a_bound_that_doubles() {
        for seed in 0..50 {
            let mut backoff = Backoff::new(PAUSES, Rng::with_seed(seed));
            let mut most = PAUSES.first;
            for _ in 0..100 {
                assert!(backoff.fail(None) <= most, "seed {seed}");
                most = (most * 2).min(PAUSES.longest);
            }
            backoff.succeed();
            assert!(backoff.fail(None) <= PAUSES.first);
        }
        let pauses: Vec<_> =
            (0..200).map(|seed| Backoff::new(PAUSES, Rng::with_seed(seed)).fail(None)).collect();
        assert!(pauses.iter().any(|pause| *pause < PAUSES.first / 4));
        assert!(pauses.iter().any(|pause| *pause > PAUSES.first * 3 / 4));
    }

    #[test]
    fn what_the_manager_asks_for_is_the_least_and_is_bounded() {
        let mut backoff = Backoff::new(PAUSES, Rng::with_seed(1));
        assert!(backoff.fail(Some(Duration::from_secs(5))) >= Duration::from_secs(5));
        assert!(backoff.fail(Some(Duration::from_hours(5))) <= Duration::from_secs(61));
    }
}
