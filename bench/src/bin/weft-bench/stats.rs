//! What do many measurements say together?

use std::time::Duration;

use weft_switch::runtime::Clock;

/// Durations of the same action.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn add(&mut self, took: Duration) {
        self.0.push(took);
    }

    pub(crate) fn extend(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    /// Milliseconds that `percent` of the measurements did not exceed (nearest rank); 0 without
    /// any.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
        sorted.get(rank).copied().map_or(0.0, millis)
    }

    /// All of them together, in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        self.0.iter().sum::<Duration>().as_secs_f64()
    }
}

impl FromIterator<Duration> for Samples {
    fn from_iter<I: IntoIterator<Item = Duration>>(durations: I) -> Self {
        Self(durations.into_iter().collect())
    }
}

/// How long `clock` has gone.
pub(crate) fn elapsed(clock: Clock) -> Duration {
    Duration::from_nanos(clock.now().as_nanos())
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The slope of the line through `points` with the least squares; 0 where there is none.
pub(crate) fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let covariance: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    let variance: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
    if variance > 0.0 {
        covariance / variance
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let samples: Samples = (1..=200).rev().map(Duration::from_millis).collect();
        let got = [50, 99, 100].map(|percent| samples.percentile(percent));
        assert_eq!(got, [100.0, 198.0, 200.0]);
        assert_eq!(Samples::default().percentile(99), 0.0);
    }

    #[test]
    fn a_line_has_its_slope() {
        let line: Vec<_> = (0..10)
            .map(|x| (f64::from(x), 3.0 - 2.0 * f64::from(x)))
            .collect();
        assert!((slope(&line) + 2.0).abs() < 1e-9);
        assert_eq!(slope(&line[..1]), 0.0);
        assert_eq!(slope(&[]), 0.0);
    }
}
