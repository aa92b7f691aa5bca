//! Waiting for a condition, with a deadline: the only pause in the tests.

use std::time::{Duration, Instant};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks until the condition holds; false if it does not within the time.
#[expect(clippy::disallowed_methods, reason = "the pause between two looks at a condition")]
pub fn until(time: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + time;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
}
