//! How late checks begin: a small histogram over the last seconds.

use std::time::Duration;

use super::tick::Tick;

/// How long a sample is remembered, at least; twice that at most.
const WINDOW: Duration = Duration::from_secs(15);
/// Steps per doubling: a figure is at most an eighth too high.
const STEPS: u64 = 8;
const STEPS_LOG2: u32 = 3;
/// Enough for a day in milliseconds.
const BUCKETS: usize = 224;

/// Samples of two windows: the one being filled, and the one before.
#[derive(Debug)]
pub(super) struct Lag {
    current: Box<[u32; BUCKETS]>,
    previous: Box<[u32; BUCKETS]>,
    turned: Tick,
}

impl Lag {
    pub(super) fn new() -> Self {
        Self {
            current: Box::new([0; BUCKETS]),
            previous: Box::new([0; BUCKETS]),
            turned: Tick::default(),
        }
    }

    /// A check began, or should have begun, so late.
    pub(super) fn note(&mut self, now: Tick, lag: Duration) {
        self.turn(now);
        if let Some(count) = self.current.get_mut(bucket_of(lag)) {
            *count = count.saturating_add(1);
        }
    }

    /// Median, 99th percentile and maximum of what is remembered.
    pub(super) fn figures(&mut self, now: Tick) -> [Duration; 3] {
        self.turn(now);
        let counts =
            || self.current.iter().zip(self.previous.iter()).map(|(a, b)| u64::from(a + b));
        let total: u64 = counts().sum();
        let reach = |wanted: u64| {
            let mut seen = 0;
            let reached = |(bucket, count): (usize, u64)| {
                seen += count;
                (seen >= wanted && count > 0).then_some(bucket)
            };
            counts().enumerate().find_map(reached).map_or(Duration::ZERO, upper_end)
        };
        if total == 0 {
            return [Duration::ZERO; 3];
        }
        [reach(total.div_ceil(2)), reach((total * 99).div_ceil(100)), reach(total)]
    }

    fn turn(&mut self, now: Tick) {
        let passed = now.since(self.turned);
        if passed < WINDOW {
            return;
        }
        std::mem::swap(&mut self.current, &mut self.previous);
        self.current.fill(0);
        if passed >= WINDOW * 2 {
            self.previous.fill(0);
        }
        self.turned = now;
    }
}

fn bucket_of(lag: Duration) -> usize {
    let millis = u64::try_from(lag.as_millis()).unwrap_or(u64::MAX);
    if millis < STEPS {
        return usize::try_from(millis).unwrap_or(0);
    }
    let doublings = millis.ilog2() - STEPS_LOG2;
    let bucket = u64::from(doublings + 1) * STEPS + ((millis >> doublings) - STEPS);
    usize::try_from(bucket).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

fn upper_end(bucket: usize) -> Duration {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return Duration::from_millis(bucket + 1);
    }
    let doublings = bucket / STEPS - 1;
    Duration::from_millis((bucket % STEPS + STEPS + 1) << doublings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::default().after(Duration::from_secs(seconds))
    }

    #[test]
    fn figures_are_at_most_an_eighth_above_the_samples() {
        for millis in [0, 1, 7, 8, 9, 100, 999, 1_000, 30_000, 3_600_000, 86_400_000] {
            let mut lag = Lag::new();
            lag.note(at(0), Duration::from_millis(millis));
            let [_, _, max] = lag.figures(at(0));
            let shown = u64::try_from(max.as_millis()).unwrap();
            assert!(shown > millis && shown <= millis + millis / 8 + 1, "{millis}: {shown}");
        }
    }

    #[test]
    fn one_late_check_of_a_hundred_and_one_is_the_maximum_but_not_the_percentile() {
        let mut lag = Lag::new();
        for _ in 0..100 {
            lag.note(at(0), Duration::from_millis(3));
        }
        lag.note(at(0), Duration::from_mins(1));
        let [median, p99, max] = lag.figures(at(0));
        assert_eq!((median, p99), (Duration::from_millis(4), Duration::from_millis(4)));
        assert!(max > Duration::from_secs(59));
    }

    #[test]
    fn what_was_late_long_ago_is_forgotten() {
        let mut lag = Lag::new();
        lag.note(at(1), Duration::from_mins(1));
        assert!(lag.figures(at(16))[2] > Duration::ZERO);
        assert_eq!(lag.figures(at(50)), [Duration::ZERO; 3]);
    }
}
