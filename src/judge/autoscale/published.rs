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

/// The raw recommendation of all metrics together, where no pod was missing or unready; `None` where the controller
/// had to give up.
pub fn recommendation(
    metrics: &[Published],
    current: i32,
    status_replicas: i32,
    ready: i32,
    tolerances: Tolerances,
) -> Option<Range> {
    let one = |metric: &Published| {
        let (low, high) = ratios(metric, status_replicas)?;
        let count = |ratio: f64, total: i64, target: i64| match metric {
            Published::PerReplica { .. } if tolerances.hold(ratio) => status_replicas,
            Published::PerReplica { .. } => ceil(total as f64 / target as f64),
            Published::Value { .. } if current == 0 => ceil(ratio),
            _ if tolerances.hold(ratio) => current,
            _ => ceil(ratio * f64::from(ready)),
        };
        Some(match *metric {
            Published::PerReplica { mean, target } => {
                let (least, most) = totals(mean, status_replicas);
                Range {
                    low: count(low, least, target),
                    high: count(high, most, target),
                }
            }
            _ => Range::exactly(count(low, 0, 1)),
        })
    };
    let valid = metrics.iter().filter_map(one);
    let most = valid.reduce(Range::max)?;
    let all_valid = !metrics.contains(&Published::Invalid);
    // An unreadable metric forbids going down; it is not a recommendation then.
    (all_valid || most.low >= current).then_some(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCES: Tolerances = Tolerances { down: 0.1, up: 0.1 };

    fn of(metrics: &[Published], current: i32) -> Option<Range> {
        recommendation(metrics, current, current, current, TOLERANCES)
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
        assert_eq!(of(&[near], 3), Some(Range::exactly(5)));
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
