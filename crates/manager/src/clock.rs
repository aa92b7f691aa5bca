//! Wall-clock time, in one place so that tests can own it. Durations are measured with tokio's
//! monotonic clock, never with this one.
//!
//! That clock stands still while the machine is suspended. What must not outlive such a pause is
//! measured from a [`Stamp`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use governance_domain::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The time now, in UTC.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Timestamp {
        let micros = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |m| -m),
        };
        Timestamp::from_micros(micros)
    }
}

/// A moment on two clocks: tokio's, which tests may own, and one that runs also while the machine
/// is suspended.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    running: Instant,
    /// Since the machine started.
    always: Duration,
}

impl Stamp {
    /// This moment.
    pub fn now() -> Self {
        Self { running: Instant::now(), always: since_boot() }
    }

    /// How long ago that was, by the clock that counted more.
    pub fn elapsed(self) -> Duration {
        self.running.elapsed().max(since_boot().saturating_sub(self.always))
    }

    /// The moment on tokio's clock, for timers.
    pub fn instant(self) -> Instant {
        self.running
    }
}

/// `CLOCK_BOOTTIME` of Linux: monotonic, and it counts the time in suspension.
fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stamp_believes_the_clock_that_counted_more() {
        let stamp = Stamp::now();
        tokio::time::advance(Duration::from_mins(1)).await;
        assert!(stamp.elapsed() >= Duration::from_mins(1));
        // As after a suspension: tokio's clock did not run, the other one did.
        let suspended = Stamp {
            running: Instant::now(),
            always: since_boot().saturating_sub(Duration::from_mins(1)),
        };
        assert!(suspended.elapsed() >= Duration::from_mins(1).min(since_boot()));
    }
}
