//! How long did most of them take?
//!
//! Counts in buckets a 32nd of an octave wide: a percentile is at most 3 % too high. Allocates
//! once.

use std::time::Duration;

const STEPS: u32 = 32;
const OCTAVES: u32 = 40;

/// Durations, counted.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    counts: Box<[u64]>,
    total: u64,
}

impl Histogram {
    pub(super) fn new() -> Self {
        let buckets = usize::try_from(STEPS * OCTAVES).unwrap_or(0);
        Self {
            counts: vec![0; buckets].into(),
            total: 0,
        }
    }

    pub(super) fn add(&mut self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1);
        let last = self.counts.len() - 1;
        if let Some(count) = self.counts.get_mut(bucket(nanos).min(last)) {
            *count += 1;
            self.total += 1;
        }
    }

    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    /// Microseconds that so many thousandths of them did not exceed; 0 without any.
    pub(super) fn micros(&self, thousandths: u64) -> f64 {
        let rank = (self.total * thousandths).div_ceil(1000);
        let mut seen = 0;
        for (number, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank && *count > 0 {
                return upper(number) / 1e3;
            }
        }
        0.0
    }
}

/// Below 32 ns one bucket each nanosecond, above it 32 for each doubling.
fn bucket(nanos: u64) -> usize {
    let octave = nanos.ilog2();
    let bucket = if octave < STEPS.ilog2() {
        nanos
    } else {
        let within = (nanos >> (octave - STEPS.ilog2())) - u64::from(STEPS);
        u64::from(STEPS * (octave - STEPS.ilog2() + 1)) + within
    };
    usize::try_from(bucket).unwrap_or(usize::MAX)
}

/// The largest duration of a bucket, in nanoseconds.
fn upper(bucket: usize) -> f64 {
    let steps = f64::from(STEPS);
    let bucket = bucket as f64;
    if bucket < steps {
        return bucket;
    }
    let octave = (bucket / steps).floor() - 1.0;
    let within = bucket % steps;
    (steps + within + 1.0) * octave.exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_close_above_the_true_one() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.micros(500), 0.0);
        for micros in 1..=1000 {
            histogram.add(Duration::from_micros(micros));
        }
        for (thousandths, exact) in [(500, 500.0), (990, 990.0), (999, 999.0), (1000, 1000.0)] {
            let got = histogram.micros(thousandths);
            assert!(
                got >= exact * 0.999 && got < exact * 1.04,
                "{thousandths}: {got}"
            );
        }
    }

    #[test]
    fn every_duration_has_a_bucket_that_holds_it() {
        for nanos in (0..40).map(|bit| 1_u64 << bit).chain(1..2000) {
            let at = bucket(nanos);
            assert!(
                upper(at) >= nanos as f64 && upper(at) <= nanos as f64 * 1.04 + 1.0,
                "{nanos}"
            );
        }
    }
}
