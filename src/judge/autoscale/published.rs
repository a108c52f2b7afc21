//! From what an autoscaler's status publishes back to what it recommended. Percentages and per-pod averages are
//! published exactly as they were used; a total over replicas is published rounded up, which leaves a range.

use serde::{Deserialize, Serialize};

use super::replicas::{Tolerances, ceil};

/// One entry of `status.currentMetrics` with its target. Values in thousandths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Published {
    /// Resource utilization: the truncated percent that the controller used.
    Utilization {
        /// Percent.
        percent: i32,
        /// Target percent.
        target: i32,
    },
    /// Average value of a resource or pods metric: the truncated mean that the controller used.
    Average {
        /// Mean.
        mean: i64,
        /// Target.
        target: i64,
    },
    /// Value of an object or external metric.
    Value {
        /// Value.
        value: i64,
        /// Target.
        target: i64,
    },
    /// Average value of an object or external metric: the total over `status.replicas`, rounded up.
    PerReplica {
        /// Mean, rounded up.
        mean: i64,
        /// Target.
        target: i64,
    },
    /// The controller could not read it.
    Invalid,
}

/// From at least to at most, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// At least.
    pub low: i32,
    /// At most.
    pub high: i32,
}

impl Range {
    /// Nothing is known.
    pub const ANY: Range = Range {
        low: 0,
        high: i32::MAX,
    };
    /// Exactly one value.
    pub fn exactly(n: i32) -> Self {
        Self { low: n, high: n }
    }
    /// Whether it is one value.
    pub fn is_exact(&self) -> bool {
        self.low == self.high
    }
    /// Whether a value lies in it.
    pub fn has(&self, n: i32) -> bool {
        self.low <= n && n <= self.high
    }
    fn max(self, other: Self) -> Self {
        Self {
            low: self.low.max(other.low),
            high: self.high.max(other.high),
        }
    }
    /// From the lower of both to the higher.
    pub fn or(self, other: Self) -> Self {
        Self {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
        }
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.low, self.high) {
            (low, high) if low == high => write!(f, "{low}"),
            (low, i32::MAX) => write!(f, "at least {low}"),
            (low, high) => write!(f, "{low} to {high}"),
        }
    }
}

/// The ratio of value to target, as far as it is known: lowest and highest.
pub fn ratios(metric: &Published, status_replicas: i32) -> Option<(f64, f64)> {
    let exact = |ratio: f64| Some((ratio, ratio));
    match *metric {
        Published::Utilization { percent, target } => exact(f64::from(percent) / f64::from(target)),
        Published::Average { mean, target } => exact(mean as f64 / target as f64),
        Published::Value { value, target } => exact(value as f64 / target as f64),
        // Over no replicas, or over a number that is not known, a mean tells of no total.
        Published::PerReplica { .. } if status_replicas <= 0 => None,
        Published::PerReplica { mean, target } => {
            let (low, high) = totals(mean, status_replicas);
            let all = target as f64 * f64::from(status_replicas);
            Some((low as f64 / all, high as f64 / all))
        }
        Published::Invalid => None,
    }
}

/// Totals that are published as this mean.
fn totals(mean: i64, replicas: i32) -> (i64, i64) {
    let n = i64::from(replicas);
    ((mean - 1) * n + 1, mean * n)
}

/// The pods of a metric by group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tally {
    /// With a value that counts.
    pub counted: i32,
    /// Not ready yet.
    pub unready: i32,
    /// Without a value.
    pub missing: i32,
}

impl Tally {
    /// All of them count.
    pub fn counted(n: i32) -> Self {
        Self {
            counted: n,
            unready: 0,
            missing: 0,
        }
    }
}

/// What may be known of the pods at a decision: for each metric, all the ways in which they may have been grouped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Groupings {
    /// By metric, in the spec's order.
    pub ways: Vec<Vec<Tally>>,
    /// All pods request the same: a percentage of their sum can be taken apart.
    pub even: bool,
}

/// What was recommended before windows, rates and limits, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Raw {
    /// Nothing: the metrics could not be read, or were not asked.
    Nothing,
    /// Something, and what is not known.
    Unknown,
    /// So many replicas.
    Known(Range),
}

impl Raw {
    /// The range, where something known was recommended.
    pub fn known(self) -> Option<Range> {
        match self {
            Raw::Known(range) => Some(range),
            _ => None,
        }
    }
    /// One or the other.
    pub fn or(self, other: Raw) -> Raw {
        match (self, other) {
            (Raw::Known(a), Raw::Known(b)) => Raw::Known(a.or(b)),
            (a, b) if a == b => a,
            _ => Raw::Unknown,
        }
    }
}

/// The raw recommendation of all metrics together.
pub fn recommendation(
    metrics: &[Published],
    pods: &Groupings,
    current: i32,
    status_replicas: i32,
    tolerances: Tolerances,
) -> Raw {
    let mut most: Option<Range> = None;
    for (i, metric) in metrics.iter().enumerate() {
        let ways = pods.ways.get(i).map_or(&[][..], Vec::as_slice);
        let one = match *metric {
            Published::Invalid => continue,
            Published::PerReplica { .. } if status_replicas <= 0 => None,
            Published::PerReplica { mean, target } => {
                let (low, high) = totals(mean, status_replicas);
                let count = |total: i64| {
                    let ratio = total as f64 / (target as f64 * f64::from(status_replicas));
                    let kept = Range::exactly(status_replicas);
                    let moved = Range::exactly(ceil(total as f64 / target as f64));
                    kept_or_moved(tolerances.holds(ratio), kept, moved)
                };
                Some(count(low).or(count(high)))
            }
            Published::Value { value, target } => {
                let ratio = value as f64 / target as f64;
                match current {
                    0 => Some(Range::exactly(ceil(ratio))),
                    _ => ways
                        .iter()
                        .map(|way| scaled(ratio, way.counted, current, tolerances))
                        .reduce(Range::or),
                }
            }
            Published::Utilization { percent, target } => {
                let gauge = Gauge {
                    value: i64::from(percent),
                    target: i64::from(target),
                    // What 1.36 assumes of a missing pod, and what older versions do.
                    assumed: (100, i64::from(target.max(100))),
                };
                gauge.all_ways(ways, pods.even, current, tolerances)
            }
            Published::Average { mean, target } => {
                let gauge = Gauge {
                    value: mean,
                    target,
                    assumed: (target, target),
                };
                gauge.all_ways(ways, true, current, tolerances)
            }
        };
        let Some(one) = one else {
            return Raw::Unknown;
        };
        most = Some(most.map_or(one, |m| m.max(one)));
    }
    let Some(most) = most else {
        return Raw::Nothing;
    };
    // An unreadable metric forbids going down (before 1.36 it did not); it is not a recommendation then.
    match metrics.contains(&Published::Invalid) {
        true if most.low < current => Raw::Unknown,
        _ => Raw::Known(most),
    }
}

/// Ratio times pods, or the current count within tolerance.
fn scaled(ratio: f64, pods: i32, current: i32, tolerances: Tolerances) -> Range {
    let moved = Range::exactly(ceil(ratio * f64::from(pods)));
    kept_or_moved(tolerances.holds(ratio), Range::exactly(current), moved)
}

/// What a ratio asks for that is within tolerance, or is not; both where versions disagree on it.
fn kept_or_moved(holds: Option<bool>, kept: Range, moved: Range) -> Range {
    match holds {
        Some(true) => kept,
        Some(false) => moved,
        None => moved.or(kept),
    }
}

/// A value per pod.
struct Gauge {
    value: i64,
    target: i64,
    /// What a missing pod counts as when the load seems low: least and most.
    assumed: (i64, i64),
}

impl Gauge {
    fn all_ways(
        &self,
        ways: &[Tally],
        even: bool,
        current: i32,
        tolerances: Tolerances,
    ) -> Option<Range> {
        let each = ways
            .iter()
            // With no pod that counts there would be no value.
            .filter(|way| way.counted > 0)
            .map(|way| self.one_way(way, even, current, tolerances));
        let all: Option<Vec<Range>> = each.collect();
        all?.into_iter().reduce(Range::or)
    }

    /// The recommendation for one grouping; `None` where the pods' requests differ and it depends on whose value is
    /// whose.
    fn one_way(
        &self,
        way: &Tally,
        even: bool,
        current: i32,
        tolerances: Tolerances,
    ) -> Option<Range> {
        let ratio = self.value as f64 / self.target as f64;
        let up_with_unready = way.unready > 0 && ratio > 1.0;
        if !up_with_unready && way.missing == 0 {
            return Some(scaled(ratio, way.counted, current, tolerances));
        }
        if !even {
            return None;
        }
        let missing = if ratio == 1.0 { 0 } else { way.missing };
        let unready = if up_with_unready { way.unready } else { 0 };
        let total = way.counted + missing + unready;
        let (counted, n) = (i64::from(way.counted), i64::from(total));
        let (least, most) = match ratio < 1.0 {
            true => self.assumed,
            false => (0, 0),
        };
        // What is published is cut off: the sum was at least that of the value, and less than of one more.
        let low = (self.value * counted + least * i64::from(missing)) / n;
        let high = ((self.value + 1) * counted - 1 + most * i64::from(missing)) / n;
        let again = |value: i64| {
            let second = value as f64 / self.target as f64;
            let turned = (ratio < 1.0 && second > 1.0) || (ratio > 1.0 && second < 1.0);
            let moved = scaled(second, total, current, tolerances);
            let against =
                (second < 1.0 && moved.high > current) || (second > 1.0 && moved.low < current);
            match turned || against {
                true => Range::exactly(current),
                false => moved,
            }
        };
        // A few values at most: of n pods' sum only the part below one each is not known.
        (low..=high).map(again).reduce(Range::or)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCES: Tolerances = Tolerances { down: 0.1, up: 0.1 };

    fn of(metrics: &[Published], current: i32) -> Option<Range> {
        with(metrics, Tally::counted(current), current).known()
    }

    fn with(metrics: &[Published], tally: Tally, current: i32) -> Raw {
        let pods = Groupings {
            ways: vec![vec![tally]; metrics.len()],
            even: true,
        };
        recommendation(metrics, &pods, current, current, TOLERANCES)
    }

    #[test]
    fn exact_ones_are_exact() {
        let util = Published::Utilization {
            percent: 90,
            target: 50,
        };
        assert_eq!(of(std::slice::from_ref(&util), 5), Some(Range::exactly(9)));
        let mean = Published::Average {
            mean: 10_999,
            target: 10_000,
        };
        assert_eq!(of(std::slice::from_ref(&mean), 5), Some(Range::exactly(5)));
        assert_eq!(of(&[mean, util.clone()], 5), Some(Range::exactly(9)));
        assert_eq!(of(&[Published::Invalid], 5), None);
        assert_eq!(of(&[util, Published::Invalid], 5), Some(Range::exactly(9)));
        let low = Published::Value {
            value: 10,
            target: 100,
        };
        assert_eq!(of(&[low, Published::Invalid], 5), None);
    }

    #[test]
    fn a_rounded_mean_leaves_a_range() {
        // ceil(total / 3) = 1500: the total was 4498 to 4500, over a target of 900: 4.998 to 5.
        let near = Published::PerReplica {
            mean: 1_500,
            target: 900,
        };
        assert_eq!(of(std::slice::from_ref(&near), 3), Some(Range::exactly(5)));
        // At the very edge of the tolerance older versions move.
        let edge = Published::PerReplica {
            mean: 11_000,
            target: 10_000,
        };
        assert_eq!(of(&[edge], 1), Some(Range { low: 1, high: 2 }));
        // Of a target whose `status.replicas` is not seen, nothing can be told.
        let pods = Groupings::default();
        let unseen = recommendation(std::slice::from_ref(&near), &pods, 3, 0, TOLERANCES);
        assert_eq!(unseen, Raw::Unknown);
        assert_eq!(ratios(&near, 0), None);
        // 4501 to 4503 over 900.2...: with a target of 901, 4.996 to 4.998; with 900: 5.001 to 5.003.
        let above = Published::PerReplica {
            mean: 1_501,
            target: 900,
        };
        assert_eq!(of(&[above], 3), Some(Range::exactly(6)));
        // 100 replicas: the total was 1001 to 1100 over a target of 1: all in between is possible.
        let coarse = Published::PerReplica {
            mean: 11,
            target: 5,
        };
        assert_eq!(
            of(&[coarse], 100),
            Some(Range {
                low: 201,
                high: 220
            })
        );
    }
}
