//! Latencies of one measured round in fixed, logarithmic buckets.
//!
//! All connections record into one histogram through relaxed atomics: 256 private ones would push
//! the working set of the load generator out of the processor's cache. Nothing here knows about
//! HTTP or rounds.
//!
//! Invariant: a reported percentile is never below the recorded value and at most 1/128 above it;
//! values above [`LONGEST_NS`] are counted as that value.

use std::sync::atomic::{AtomicU64, Ordering};

/// Each power of two is cut into this many equal steps.
const STEPS: u64 = 128;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// About 137 s; a request that takes longer is beyond what this tool waits for.
const LONGEST_NS: u64 = (1 << 37) - 1;

/// Counts of latencies in nanoseconds.
pub(crate) struct Histogram {
    buckets: Vec<AtomicU64>,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        let size = bucket_of(LONGEST_NS) + 1;
        Self { buckets: (0..size).map(|_| AtomicU64::new(0)).collect() }
    }

    pub(crate) fn record(&self, nanoseconds: u64) {
        if let Some(bucket) = self.buckets.get(bucket_of(nanoseconds.min(LONGEST_NS))) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The latency that `per_mille` of the recorded ones do not exceed, in nanoseconds; 0 when
    /// nothing was recorded.
    pub(crate) fn at_per_mille(&self, per_mille: u64) -> u64 {
        let counts: Vec<u64> =
            self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return 0;
        }
        let rank = (total * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (index, count) in counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper_bound_of(index);
            }
        }
        LONGEST_NS
    }
}

/// Values below `STEPS` have a bucket each; above, the leading eight bits choose it.
fn bucket_of(value: u64) -> usize {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(STEP_BITS + 1);
    let index = u64::from(shift) * STEPS + (value >> shift);
    usize::try_from(index).expect("the index is below 4,096 for every value up to LONGEST_NS")
}

/// The largest value that falls into the bucket.
fn upper_bound_of(index: usize) -> u64 {
    let index = index as u64;
    if index < 2 * STEPS {
        return index;
    }
    let shift = index / STEPS - 1;
    let step = index % STEPS + STEPS;
    ((step + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_values_are_reported_exactly() {
        let histogram = Histogram::new();
        for value in 1..=100 {
            histogram.record(value);
        }
        assert_eq!(histogram.at_per_mille(500), 50);
        assert_eq!(histogram.at_per_mille(990), 99);
        assert_eq!(histogram.at_per_mille(999), 100);
        assert_eq!(histogram.at_per_mille(0), 1);
    }

    #[test]
    fn percentiles_are_never_below_and_at_most_one_step_above() {
        let histogram = Histogram::new();
        for value in 1..=100_000_u64 {
            histogram.record(value * 1_000);
        }
        for (per_mille, exact) in [(500, 50_000_000), (990, 99_000_000), (999, 99_900_000)] {
            let reported = histogram.at_per_mille(per_mille);
            assert!(reported >= exact, "{reported} < {exact}");
            assert!(reported <= exact + exact / STEPS + 1, "{reported} is far above {exact}");
        }
    }

    #[test]
    fn every_value_lies_within_the_bounds_of_its_bucket() {
        for value in (0..37).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, (1 << bit) + 1]) {
            let index = bucket_of(value);
            assert!(upper_bound_of(index) >= value, "{value}");
            assert!(index == 0 || upper_bound_of(index - 1) < value, "{value}");
        }
    }

    #[test]
    fn one_outlier_shows_in_the_tail_only() {
        let histogram = Histogram::new();
        (0..998).for_each(|_| histogram.record(10));
        (0..2).for_each(|_| histogram.record(u64::MAX));
        assert_eq!(histogram.at_per_mille(990), 10);
        assert_eq!(histogram.at_per_mille(999), LONGEST_NS);
    }

    #[test]
    fn an_empty_histogram_reports_zero() {
        assert_eq!(Histogram::new().at_per_mille(999), 0);
    }
}
