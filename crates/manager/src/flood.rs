//! What a flood may fill: of many equal things in a second, so many are told, and with the next one
//! how many were not.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Told in a window.
const TOLD_MAX: u32 = 10;
/// The length of a window.
const WINDOW: Duration = Duration::from_secs(1);

/// Counts one kind of things.
#[derive(Debug, Default)]
pub struct Flood(Mutex<Option<Window>>);

#[derive(Debug)]
struct Window {
    since: Instant,
    told: u32,
    /// Since the last one that was told.
    untold: u64,
}

impl Flood {
    /// Whether to tell of one now; with how many were not told of before it.
    pub fn tell(&self) -> Option<u64> {
        let now = Instant::now();
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let window = window.get_or_insert(Window { since: now, told: 0, untold: 0 });
        if now.duration_since(window.since) >= WINDOW {
            (window.since, window.told) = (now, 0);
        }
        if window.told >= TOLD_MAX {
            window.untold += 1;
            return None;
        }
        window.told += 1;
        Some(std::mem::take(&mut window.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn of_a_flood_ten_a_second_are_told_and_how_many_more_there_were() {
        let flood = Flood::default();
        let told = |count: usize| (0..count).filter_map(|_| flood.tell()).collect::<Vec<_>>();
        assert_eq!(told(1_000), [0; 10]);
        tokio::time::advance(WINDOW).await;
        assert_eq!(told(3), [990, 0, 0]);
    }
}
