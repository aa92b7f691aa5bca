//! When the current state is repeated to a subscriber that nothing happened to: once after it
//! registered, once after the manager started, and then every interval.
//!
//! Each subscriber has its own moment in the interval, so that the requests are spread over it.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use super::subscriber::Repeat;

/// From a registration to the repetition that heals a notification which crossed its answer.
pub(super) const GREETING: Duration = Duration::from_secs(1);
/// Requests a second after a start; a little less than promised, because timers run late and
/// then in bunches.
const START_RATE: u32 = 1_900;

/// How often things are sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Between two repetitions to one subscriber; none for never.
    pub(super) interval: Option<Duration>,
    /// Between two notifications of one service to one subscriber, after the first few.
    pub(super) min_interval: Duration,
}

impl Pace {
    /// When a subscriber's turn comes again. The first turn is somewhere in the second half of
    /// the interval, by chance: those that registered together do not stay together.
    pub(super) fn next_round(
        self,
        last: Repeat,
        due: Instant,
        now: Instant,
        random: &mut Rng,
    ) -> Option<(Instant, Repeat)> {
        let interval = self.interval?;
        let next = match last {
            Repeat::Start | Repeat::Greeting => due + interval.mul_f64(1.0 - random.f64() / 2.0),
            Repeat::Round => due + interval,
        };
        // A process that was suspended does not catch up on every turn it missed.
        let next = if next > now { next } else { now + interval };
        Some((next, Repeat::Round))
    }
}

/// When a subscriber gets its first state after a start, with so many requests before it.
pub(super) fn start_offset(requests: usize) -> Duration {
    let requests = u32::try_from(requests).unwrap_or(u32::MAX);
    Duration::from_secs(1) * (requests / START_RATE)
        + Duration::from_secs(1) * (requests % START_RATE) / START_RATE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_states_are_spread_below_two_thousand_a_second() {
        assert_eq!(start_offset(0), Duration::ZERO);
        assert_eq!(start_offset(1_900), Duration::from_secs(1));
        assert_eq!(start_offset(950), Duration::from_millis(500));
        assert_eq!(start_offset(19_000_000), Duration::from_secs(10_000));
    }

    #[tokio::test(start_paused = true)]
    async fn turns_are_spread_at_first_and_then_exact() {
        let pace = Pace {
            interval: Some(Duration::from_mins(1)),
            min_interval: Duration::from_millis(250),
        };
        let mut random = Rng::with_seed(7);
        let now = Instant::now();
        let mut offsets: Vec<u64> = (0..1_000)
            .filter_map(|_| pace.next_round(Repeat::Greeting, now, now, &mut random))
            .map(|(at, _)| (at - now).as_secs())
            .collect();
        offsets.sort_unstable();
        assert!(offsets[0] == 30 && offsets[999] >= 59, "{offsets:?}");
        let (next, _) = pace.next_round(Repeat::Round, now, now, &mut random).unwrap();
        assert_eq!(next - now, Duration::from_mins(1));
        let off = Pace { interval: None, ..pace };
        assert_eq!(off.next_round(Repeat::Start, now, now, &mut random), None);
    }
}
