//! Durations and failures, counted without a lock: what may stand on the way of every request.
//!
//! Plumbing that knows no slice: [`crate::ops::metrics`] shows what is counted here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many durations are told apart; each bound is twice the one before.
pub const BOUNDS: usize = 21;

/// The first bound is 2^4 = 16 µs, the last 2^24 µs, about 17 s.
const FIRST_LOG2: u32 = 4;

const NANOS_PER_SECOND: f64 = 1e9;

/// How long things took, by powers of two. One observation is two additions.
#[derive(Debug)]
pub struct Histogram {
    counts: [AtomicU64; BOUNDS + 1],
    nanos: AtomicU64,
}

impl Histogram {
    /// Nothing was observed yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { counts: [const { AtomicU64::new(0) }; BOUNDS + 1], nanos: AtomicU64::new(0) }
    }

    /// Counts something that took this long.
    pub fn observe(&self, taken: Duration) {
        let nanos = u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// What was observed until now.
    #[must_use]
    pub fn read(&self) -> Latencies {
        Latencies {
            counts: std::array::from_fn(|index| self.counts[index].load(Ordering::Relaxed)),
            nanos: self.nanos.load(Ordering::Relaxed),
        }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

/// The first bound that is not exceeded, by its index.
fn bucket(nanos: u64) -> usize {
    let micros = nanos.div_ceil(1_000);
    // The least n with micros <= 2^n.
    let log2 = u64::BITS - micros.saturating_sub(1).leading_zeros();
    usize::try_from(log2.saturating_sub(FIRST_LOG2)).unwrap_or(BOUNDS).min(BOUNDS)
}

/// What a histogram had counted at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latencies {
    /// For each bound, how many took no longer (and longer than the bound before); last: all that
    /// took longer than every bound.
    pub counts: [u64; BOUNDS + 1],
    nanos: u64,
}

impl Latencies {
    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long all of them took together, in seconds.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a sum of seconds needs no 53rd bit")]
    pub fn seconds(&self) -> f64 {
        self.nanos as f64 / NANOS_PER_SECOND
    }

    /// The bounds in seconds; after them there is none.
    pub fn bounds() -> impl Iterator<Item = f64> {
        (FIRST_LOG2..).take(BOUNDS).map(|log2| f64::from(1_u32 << log2) / 1e6)
    }
}

/// How long calls of one kind took that were answered, and how many were not.
#[derive(Debug)]
pub struct Calls {
    answered: Histogram,
    failed: AtomicU64,
}

impl Calls {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { answered: Histogram::new(), failed: AtomicU64::new(0) }
    }

    /// Counts a call that was answered.
    pub fn answered(&self, taken: Duration) {
        self.answered.observe(taken);
    }

    /// Counts a call that was not sent, not answered, or whose answer was an accident.
    pub fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Those that were answered, and how many were not.
    #[must_use]
    pub fn read(&self) -> (Latencies, u64) {
        (self.answered.read(), self.failed.load(Ordering::Relaxed))
    }
}

impl Default for Calls {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_under_the_first_bound_that_it_does_not_exceed() {
        let bounds: Vec<_> = Latencies::bounds().collect();
        assert_eq!((bounds.len(), bounds[0], bounds[10]), (BOUNDS, 16e-6, 0.016_384));
        let of = |nanos: u64| bucket(nanos);
        assert_eq!(
            [of(0), of(1), of(16_000), of(16_001), of(32_000), of(32_001)],
            [0, 0, 0, 1, 1, 2]
        );
        for (index, bound) in bounds.iter().enumerate() {
            let exactly = Duration::from_secs_f64(*bound).as_nanos();
            assert_eq!(bucket(u64::try_from(exactly).unwrap()), index, "{bound}");
        }
        assert_eq!(bucket(20_000_000_000), BOUNDS);
        assert_eq!(bucket(u64::MAX), BOUNDS);
    }

    #[test]
    fn what_was_observed_adds_up() {
        let histogram = Histogram::new();
        for millis in [1, 2, 3, 100_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let read = histogram.read();
        assert_eq!((read.count(), read.counts[BOUNDS]), (4, 1));
        assert!((read.seconds() - 100.006).abs() < 1e-9);
    }
}
