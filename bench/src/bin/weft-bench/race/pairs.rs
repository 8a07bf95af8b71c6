//! What do pairs of runs say about a ratio?
//!
//! The ratio is the median of the pairs' own ratios; the interval around it holds the middle 95 %
//! of medians of pairs drawn again and again from those measured (bootstrap), always the same draws.

use serde::Serialize;

use super::sides::Enforced;
use super::work::{Run, Work};

/// Draws of the bootstrap.
const DRAWS: usize = 2000;

/// A test of weft against a rival, as `race -o json` prints it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Comparison {
    pub(super) test: &'static str,
    pub(super) unit: &'static str,
    /// Which of many times of one run `weft` and `peer_value` are: `p50` or `p99.9`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) statistic: Option<&'static str>,
    /// Bytes of a frame, Ethernet header included; 0 is a mixture of sizes (IMIX).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) frame: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) flows: Option<u16>,
    pub(super) underlay: &'static str,
    /// Medians.
    pub(super) weft: f64,
    pub(super) peer: &'static str,
    pub(super) peer_value: f64,
    /// weft to peer.
    pub(super) ratio: f64,
    pub(super) ratio_low: f64,
    pub(super) ratio_high: f64,
    /// Whether a smaller ratio is the better one.
    pub(super) lower_is_better: bool,
    pub(super) pairs: usize,
    /// What the generator hands to the loopback device of its pod, in the same unit: nobody switches
    /// that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ceiling: Option<f64>,
    pub(super) cpu_micros_per_unit: PerSide,
    /// Packets of all runs that were sent and did not arrive.
    pub(super) lost: PerSide,
    /// Packets of all runs that another of their flow overtook.
    pub(super) reordered: PerSide,
    /// Connections of all runs that did not come about or broke.
    pub(super) failed: PerSide,
    /// NetworkPolicies in force on weft.
    pub(super) policies: usize,
    /// Port ranges over all (pod, direction, class of peer) that they compiled to.
    pub(super) policy_entries: u64,
}

/// A number of each side.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct PerSide {
    pub(super) weft: f64,
    pub(super) peer: f64,
}

impl PerSide {
    fn of(pairs: &[[Run; 2]], take: impl Fn(&Run) -> f64, join: fn(Vec<f64>) -> f64) -> Self {
        let [weft, peer] = [0, 1].map(|side: usize| {
            let values = pairs.iter().filter_map(|pair| pair.get(side)).map(&take);
            join(values.collect())
        });
        Self { weft, peer }
    }
}

impl Comparison {
    /// The test's name with what tells its cases apart.
    pub(super) fn title(&self) -> String {
        match (self.frame, self.flows) {
            (Some(0), _) => format!("{}, IMIX", self.test),
            (Some(size), _) => format!("{}, {size} B", self.test),
            (None, Some(flows @ 2..)) => format!("{}, {flows} streams", self.test),
            _ => self.test.to_owned(),
        }
    }

    /// The unit, and of which times.
    pub(super) fn measure(&self) -> String {
        match self.statistic {
            Some(statistic) => format!("{}, {statistic}", self.unit),
            None => self.unit.to_owned(),
        }
    }

    /// Whether nothing happened that a network must not do: weft let a packet overtake another of
    /// its flow, or a connection failed on either side.
    pub(super) fn is_sound(&self) -> bool {
        self.reordered.weft == 0.0 && self.failed.weft + self.failed.peer == 0.0
    }

    pub(super) fn of(
        work: &Work,
        names: (&'static str, &'static str),
        enforced: Enforced,
        pairs: &[[Run; 2]],
    ) -> Self {
        let (peer, underlay) = names;
        let sum = |all: Vec<f64>| all.iter().sum();
        let values = PerSide::of(pairs, |run| run.value, median);
        let ratios: Vec<f64> = pairs.iter().map(|[a, b]| a.value / b.value).collect();
        let (low, high) = interval(&ratios);
        Self {
            test: work.name(),
            unit: work.unit(),
            statistic: work.statistic(),
            frame: work.frame(),
            flows: work.flows(),
            underlay,
            weft: values.weft,
            peer,
            peer_value: values.peer,
            ratio: median(ratios),
            ratio_low: low,
            ratio_high: high,
            lower_is_better: work.lower_is_better(),
            pairs: pairs.len(),
            ceiling: work.ceiling(),
            cpu_micros_per_unit: PerSide::of(pairs, |run| run.cpu_micros, median),
            lost: PerSide::of(pairs, |run| run.lost, sum),
            reordered: PerSide::of(pairs, |run| run.reordered, sum),
            failed: PerSide::of(pairs, |run| run.failed, sum),
            policies: enforced.policies,
            policy_entries: enforced.entries,
        }
    }
}

/// The middle value; of an even number the mean of the two in the middle; NaN of none.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.len() % 2) {
        (Some(value), 1) => *value,
        (Some(value), _) => values
            .get(middle.wrapping_sub(1))
            .map_or(*value, |below| f64::midpoint(*value, *below)),
        (None, _) => f64::NAN,
    }
}

/// Where 95 % of the medians of samples drawn from `values` lie.
fn interval(values: &[f64]) -> (f64, f64) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = || {
        // xorshift64: the same every time.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap_or(0)
    };
    let mut medians: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let drawn = (0..values.len()).filter_map(|_| values.get(draw() % values.len()));
            median(drawn.copied().collect())
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    let at = |share: usize| {
        medians
            .get(DRAWS * share / 1000)
            .copied()
            .unwrap_or(f64::NAN)
    };
    (at(25), at(975))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(vec![]).is_nan());
    }

    #[test]
    fn the_interval_holds_the_median_and_repeats() {
        let values = [0.9, 1.0, 1.05, 1.1, 0.97, 1.02, 1.01];
        let (low, high) = interval(&values);
        assert!(low <= 1.01 && 1.01 <= high && low < high);
        assert!((0.9..=1.1).contains(&low) && (0.9..=1.1).contains(&high));
        assert_eq!(interval(&values), (low, high));
        assert_eq!(interval(&[2.0]), (2.0, 2.0));
    }
}
