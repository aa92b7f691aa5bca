//! Waiting for a condition, with a deadline: the only pause in the tests.

use std::time::{Duration, Instant};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);
/// One look counts for no more than this: a machine that was asleep as a whole had no time to do
/// anything.
const LOOK_MAX: Duration = Duration::from_secs(5);

/// Looks until the condition holds; false if it does not within the time.
#[expect(clippy::disallowed_methods, reason = "the pause between two looks at a condition")]
pub fn until(time: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let mut left = time;
    loop {
        let begun = Instant::now();
        if holds() {
            return true;
        }
        if left.is_zero() {
            return false;
        }
        std::thread::sleep(PAUSE.min(left));
        left = left.saturating_sub(begun.elapsed().min(LOOK_MAX));
    }
}
