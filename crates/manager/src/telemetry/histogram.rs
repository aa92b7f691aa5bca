//! How often a quantity was how large: a few counters, cheap to write from any thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts per bucket, and their sum. Readers may see a sample in one and not yet in the other.
#[derive(Debug)]
pub struct Histogram {
    /// Upper ends, rising; what is larger than the last has a bucket without an end.
    bounds: &'static [f64],
    counts: Box<[AtomicU64]>,
    /// In millionths of the unit.
    sum_micros: AtomicU64,
}

impl Histogram {
    /// An empty one with these upper ends.
    pub fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum_micros: AtomicU64::new(0) }
    }

    /// Notes a time, in seconds.
    pub fn note(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.add(time.as_secs_f64(), micros);
    }

    /// Notes a number of things.
    pub fn note_count(&self, count: usize) {
        let whole = u32::try_from(count).unwrap_or(u32::MAX);
        self.add(f64::from(whole), u64::from(whole) * 1_000_000);
    }

    fn add(&self, value: f64, micros: u64) {
        let bucket = self.bounds.iter().position(|bound| value <= *bound);
        if let Some(count) = self.counts.get(bucket.unwrap_or(self.bounds.len())) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Each upper end with how many samples are not above it; the last end is infinite.
    pub fn cumulative(&self) -> Vec<(f64, u64)> {
        let ends = self.bounds.iter().copied().chain([f64::INFINITY]);
        let mut sum = 0;
        let running = |(end, count): (f64, &AtomicU64)| {
            sum += count.load(Ordering::Relaxed);
            (end, sum)
        };
        ends.zip(self.counts.iter()).map(running).collect()
    }

    /// The sum of all samples.
    pub fn sum(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "exact for the first 285 years of seconds")]
        let micros = self.sum_micros.load(Ordering::Relaxed) as f64;
        micros / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_counted_up_to_and_with_the_upper_end() {
        let histogram = Histogram::new(&[0.1, 1.0]);
        for millis in [0, 100, 101, 1_000, 5_000] {
            histogram.note(Duration::from_millis(millis));
        }
        assert_eq!(histogram.cumulative(), [(0.1, 2), (1.0, 4), (f64::INFINITY, 5)]);
        assert!((histogram.sum() - 6.201).abs() < 1e-9);
        let counts = Histogram::new(&[1.0]);
        counts.note_count(1);
        counts.note_count(7);
        assert_eq!(counts.cumulative(), [(1.0, 1), (f64::INFINITY, 2)]);
        assert!((counts.sum() - 8.0).abs() < 1e-9);
    }
}
