//! When something may be sent again: the pace of one subscription, and the pauses after failures.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

/// Notifications of one service to one subscriber that may go at once.
const BURST: u32 = 4;
/// The longest pause before the first retry.
const RETRY_FIRST: Duration = Duration::from_millis(250);
/// The longest pause before any retry.
const RETRY_MAX: Duration = Duration::from_mins(1);
/// The longest pause that a subscriber can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(5);

/// A token bucket: [`BURST`] at once, then one per interval. Kept as the moment at which it is
/// full again (the generic cell rate algorithm, ITU-T I.371 annex A); none when it is full.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    full_at: Option<Instant>,
}

impl Bucket {
    /// When the next token is there; none for now.
    pub(super) fn next(self, now: Instant, interval: Duration) -> Option<Instant> {
        let to_full = self.full_at?.saturating_duration_since(now);
        let wait = to_full.saturating_sub(interval * (BURST - 1));
        (!wait.is_zero()).then(|| now + wait)
    }

    /// Takes a token, whether there is one or not.
    pub(super) fn take(&mut self, now: Instant, interval: Duration) {
        let full_at = self.full_at.map_or(now, |at| at.max(now));
        self.full_at = Some(full_at + interval);
    }
}

/// Pauses after failures, each a random part of twice the bound before ("full jitter"), so that
/// subscribers that failed together do not come back together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    until: Option<Instant>,
}

impl Backoff {
    /// How many failures there were since the last success.
    pub(super) fn failures(self) -> u32 {
        self.failures
    }

    /// When the next attempt may be made; none for now.
    pub(super) fn next(self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }

    /// Notes a failure; `wish` is how long the subscriber asked to be left alone.
    pub(super) fn fail(&mut self, now: Instant, wish: Option<Duration>, random: &mut Rng) {
        let bound = RETRY_FIRST * 2_u32.saturating_pow(self.failures.min(16));
        let pause = bound.min(RETRY_MAX).mul_f64(random.f64());
        let wish = wish.unwrap_or_default().min(RETRY_AFTER_MAX);
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now + pause.max(wish));
    }

    /// Forgets all failures.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(250);

    #[tokio::test(start_paused = true)]
    async fn four_go_at_once_and_then_one_per_interval() {
        let begun = Instant::now();
        let mut bucket = Bucket::default();
        let mut sent = Vec::new();
        for _ in 0..7 {
            let at = bucket.next(begun, INTERVAL).unwrap_or(begun);
            bucket.take(at, INTERVAL);
            sent.push(at.duration_since(begun).as_millis());
        }
        assert_eq!(sent, [0, 0, 0, 0, 250, 500, 750]);
        assert_eq!(bucket.next(begun + INTERVAL * 10, INTERVAL), None);
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_a_minute_and_a_wish_is_a_lower_bound_of_five_minutes_at_most() {
        let now = Instant::now();
        let mut random = Rng::with_seed(1);
        let mut longest = Vec::new();
        for failures in 0..12 {
            let pauses = (0..2_000).map(|_| {
                let mut backoff = Backoff { failures, until: None };
                backoff.fail(now, None, &mut random);
                backoff.next(now).map_or(Duration::ZERO, |until| until - now)
            });
            longest.push(pauses.max().unwrap().as_secs_f64());
        }
        for (failures, longest) in longest.iter().enumerate() {
            let bound = (0.25 * f64::from(1 << failures)).min(60.0);
            assert!(*longest <= bound && *longest > bound * 0.97, "{failures}: {longest}");
        }
        for (wish, pause) in [(90, 90), (10_000, 300)] {
            let mut backoff = Backoff::default();
            backoff.fail(now, Some(Duration::from_secs(wish)), &mut random);
            assert_eq!(backoff.next(now), Some(now + Duration::from_secs(pause)));
        }
    }
}
