//! Deciding one bound on counts alone: point estimate, sample size, chance. Used for whole runs by `slo` and for
//! windows of one second by `recovery`, so that both mean the same by `p99 < 250ms`.

use super::Ruling;
use super::stats::{ALPHA, binomial_tail, rank, requests_for_ratio, samples_for_quantile};
use crate::record::Latency;
use crate::scenario::{Bound, Limit, Metric, Op};

/// What a bound is decided on. Tallies of disjoint traffic add up.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tally {
    /// Latency samples.
    pub samples: u64,
    /// Those on the wrong side of the bound.
    pub bad: u64,
    /// Their sum, microseconds.
    pub sum_us: f64,
    /// The sum of their squares.
    pub sum_squares: f64,
    /// Requests that ended.
    pub ended: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that were answered.
    pub answered: u64,
    /// Wall time.
    pub seconds: f64,
}

impl Tally {
    /// Adds another part of the traffic.
    pub fn add(&mut self, other: &Tally) {
        self.samples = self.samples.saturating_add(other.samples);
        self.bad = self.bad.saturating_add(other.bad);
        self.sum_us += other.sum_us;
        self.sum_squares += other.sum_squares;
        self.ended = self.ended.saturating_add(other.ended);
        self.failed = self.failed.saturating_add(other.failed);
        self.answered = self.answered.saturating_add(other.answered);
        self.seconds += other.seconds;
    }
    /// Counts a latency `times` times.
    pub fn sample(&mut self, bound: &Bound, value_us: u64, times: u64) {
        self.samples = self.samples.saturating_add(times);
        if !latency_holds(bound, value_us) {
            self.bad = self.bad.saturating_add(times);
        }
        let value = value_us as f64;
        self.sum_us += value * times as f64;
        self.sum_squares += value * value * times as f64;
    }
    /// The mean of the latencies.
    pub fn mean(&self) -> f64 {
        self.sum_us / self.samples.max(1) as f64
    }
    /// How far the mean is from the true one, give or take.
    pub fn standard_error(&self) -> f64 {
        self.deviation() / (self.samples.max(1) as f64).sqrt()
    }
    fn deviation(&self) -> f64 {
        let n = self.samples as f64;
        ((self.sum_squares - self.sum_us * self.sum_us / n) / (n - 1.0))
            .max(0.0)
            .sqrt()
    }
}

/// Whether one latency is on the right side of the bound. Values come as a histogram gives them: the highest that
/// is equal to the measured one within its three digits.
fn latency_holds(bound: &Bound, value_us: u64) -> bool {
    match bound.limit {
        Limit::Time(limit) => bound
            .op
            .holds(value_us as f64, limit.as_nanos() as f64 / 1e3),
        // Validation refuses such a bound; a foreign record is not worth a panic.
        Limit::Share(_) | Limit::Rate(_) => true,
    }
}

/// Whether the metric is a latency.
pub fn is_latency(metric: Metric) -> bool {
    matches!(metric, Metric::Percentile(_) | Metric::Mean | Metric::Max)
}

/// The bound's limit as a number: microseconds, a fraction, or events per second.
pub fn limit_of(bound: &Bound) -> f64 {
    match bound.limit {
        Limit::Time(limit) => limit.as_nanos() as f64 / 1e3,
        Limit::Share(share) => share.get(),
        Limit::Rate(rate) => rate.get(),
    }
}

/// The quantile of a latency metric that has one; the maximum is p100.
fn quantile(metric: Metric) -> Option<f64> {
    match metric {
        Metric::Percentile(p) if p.is_finite() => Some((p / 100.0).clamp(0.0, 1.0)),
        Metric::Percentile(_) => Some(1.0),
        Metric::Max => Some(1.0),
        Metric::Mean | Metric::Errors | Metric::Throughput => None,
    }
}

/// The value at a quantile, the same way as [`decide`] counts. Zero for an empty histogram.
pub fn value_at(histogram: &Latency, q: f64) -> u64 {
    if histogram.is_empty() {
        return 0;
    }
    let wanted = rank(q, histogram.len());
    let mut seen = 0;
    for bucket in histogram.iter_recorded() {
        seen += bucket.count_at_value();
        if seen >= wanted {
            return bucket.value_iterated_to();
        }
    }
    histogram.max()
}

/// What the metric is in a histogram, microseconds; `None` for a metric that is not a latency or without samples.
pub fn latency_value(metric: Metric, histogram: &Latency) -> Option<f64> {
    if histogram.is_empty() || !is_latency(metric) {
        return None;
    }
    Some(match quantile(metric) {
        Some(q) => value_at(histogram, q) as f64,
        None => histogram.mean(),
    })
}

/// A bound decided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// PASS, FAIL, or INCONCLUSIVE for too few samples.
    pub ruling: Ruling,
    /// Samples that a PASS takes.
    pub needed: u64,
    /// Samples there are.
    pub samples: u64,
}

/// Whether the point estimate is on the right side; `None` without samples.
pub fn point_holds(bound: &Bound, tally: &Tally) -> Option<bool> {
    let limit = limit_of(bound);
    match bound.metric {
        Metric::Errors => (tally.ended > 0).then(|| {
            bound
                .op
                .holds(tally.failed as f64 / tally.ended as f64, limit)
        }),
        Metric::Throughput => (tally.seconds > 0.0)
            .then(|| bound.op.holds(tally.answered as f64 / tally.seconds, limit)),
        Metric::Mean => (tally.samples > 0).then(|| bound.op.holds(tally.mean(), limit)),
        Metric::Percentile(_) | Metric::Max => {
            let n = tally.samples;
            let q = quantile(bound.metric).unwrap_or(1.0);
            // The sample at the rank holds exactly when enough samples lie on the right side, counted from its end.
            (n > 0).then(|| match bound.op {
                op if op.is_upper_bound() => n - tally.bad >= rank(q, n),
                Op::More | Op::AtLeast => tally.bad < rank(q, n),
                _ => tally.bad == 0,
            })
        }
    }
}

/// Decides a bound. PASS takes enough samples to be sure; FAIL takes them too, or so many bad ones among few that
/// chance produces them in less than one of twenty cases; all else is INCONCLUSIVE.
pub fn decide(bound: &Bound, tally: &Tally) -> Decision {
    let (samples, needed) = sample_rule(bound, tally);
    let ruling = match point_holds(bound, tally) {
        None => Ruling::Inconclusive,
        Some(true) if samples >= needed => Ruling::Pass,
        Some(false) if samples >= needed || chance(bound, tally) < ALPHA => Ruling::Fail,
        Some(_) => Ruling::Inconclusive,
    };
    Decision {
        ruling,
        needed,
        samples,
    }
}

/// Samples there are, and samples needed to be sure.
fn sample_rule(bound: &Bound, tally: &Tally) -> (u64, u64) {
    let upper = bound.op.is_upper_bound();
    match bound.metric {
        // The maximum (and minimum) of a run is a fact about that run, not an estimate.
        Metric::Max => (tally.samples, 1),
        Metric::Percentile(p) if p >= 100.0 || p <= 0.0 => (tally.samples, 1),
        Metric::Percentile(p) if upper => (tally.samples, samples_for_quantile(p / 100.0)),
        Metric::Percentile(p) => (tally.samples, samples_for_quantile(1.0 - p / 100.0)),
        // From 30 on the mean of most distributions is near enough to normal.
        Metric::Mean => (tally.samples, 30),
        Metric::Errors if upper || limit_of(bound) == 0.0 => {
            (tally.ended, requests_for_ratio(limit_of(bound)))
        }
        Metric::Errors => (tally.ended, 30),
        Metric::Throughput => (tally.seconds as u64, 1),
    }
}

/// How likely so many bad ones are where the bound just holds; 1 where no such number is known.
pub fn chance(bound: &Bound, tally: &Tally) -> f64 {
    let upper = bound.op.is_upper_bound();
    match bound.metric {
        Metric::Errors if upper || limit_of(bound) == 0.0 => {
            let limit = limit_of(bound);
            match too_many_is_possible(tally.failed, tally.ended, limit) {
                true => binomial_tail(tally.failed, tally.ended, limit),
                false => 1.0,
            }
        }
        Metric::Percentile(_) | Metric::Max => {
            let q = quantile(bound.metric).unwrap_or(1.0);
            let p = if upper { 1.0 - q } else { q };
            match bound.op {
                Op::Equal => 1.0,
                _ if !too_many_is_possible(tally.bad, tally.samples, p) => 1.0,
                _ => binomial_tail(tally.bad, tally.samples, p),
            }
        }
        Metric::Mean if tally.samples >= 5 => {
            // Two standard errors: one of forty by chance on this side.
            match (tally.mean() - limit_of(bound)).abs() > 2.0 * tally.standard_error() {
                true => 0.0,
                false => 1.0,
            }
        }
        Metric::Mean | Metric::Errors | Metric::Throughput => 1.0,
    }
}

fn too_many_is_possible(k: u64, n: u64, p: f64) -> bool {
    k as f64 > n as f64 * p
}

/// How a short window (one second, few requests) stands to a bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum WindowCall {
    /// It holds, or is missed by no more than chance explains in so few requests.
    Good,
    /// It is missed, and chance explains it in fewer cases than this.
    Bad(f64),
}

/// Calls a window. A p99 over 50 requests is their maximum, so one slow request must not make a second bad: it is
/// bad when the bound is missed and chance would do that in less than one of twenty cases.
pub fn call_window(bound: &Bound, tally: &Tally) -> WindowCall {
    if point_holds(bound, tally) != Some(false) {
        return WindowCall::Good;
    }
    let upper = bound.op.is_upper_bound();
    let chance = match bound.metric {
        Metric::Mean | Metric::Throughput => 0.0,
        Metric::Errors if !upper && limit_of(bound) > 0.0 => 0.0,
        _ if bound.op == Op::Equal => 0.0,
        _ => chance(bound, tally),
    };
    if chance < ALPHA {
        WindowCall::Bad(chance)
    } else {
        WindowCall::Good
    }
}

/// Failures in a part of a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Losses {
    /// Requests that failed.
    pub failed: u64,
    /// Those of them that had no answer: the connection broke, or there was none.
    pub unanswered: u64,
    /// Requests that ended.
    pub ended: u64,
}

/// Whether more failed in a part of a run than before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// No more than chance explains.
    None,
    /// It may be chance.
    Perhaps,
    /// More than before.
    Sure,
}

/// What is called more than before must be so in all but one of a thousand runs of a service that did not change.
const SURE: f64 = 0.001;

/// Compares two parts of a run, neither of which tells the service's own failure rate exactly: of all failures of both,
/// so many fall into the second part by chance as it has of the requests. Connections do not break by themselves: one
/// that does where none did before is no chance.
pub fn excess(here: Losses, before: Losses) -> Excess {
    if here.failed == 0 {
        return Excess::None;
    }
    if before.ended == 0 || (here.unanswered > 0 && before.unanswered == 0) {
        return Excess::Sure;
    }
    let all = here.failed.saturating_add(before.failed);
    let part = here.ended as f64 / (here.ended as f64 + before.ended as f64);
    match binomial_tail(here.failed, all, part) {
        chance if chance < SURE => Excess::Sure,
        chance if chance < ALPHA || before.failed == 0 => Excess::Perhaps,
        _ => Excess::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::latency;
    use crate::scenario::units::{Rate, Ratio};
    use std::time::Duration;

    fn p99_below(ms: u64) -> Bound {
        Bound {
            metric: Metric::Percentile(99.0),
            op: Op::Less,
            limit: Limit::Time(Duration::from_millis(ms)),
        }
    }

    fn errors(op: Op, share: f64) -> Bound {
        Bound {
            metric: Metric::Errors,
            op,
            limit: Limit::Share(Ratio::fraction(share)),
        }
    }

    fn latencies(samples: u64, bad: u64) -> Tally {
        let mut tally = Tally::default();
        let bound = p99_below(250);
        tally.sample(&bound, 300_000, bad);
        tally.sample(&bound, 10_000, samples - bad);
        tally
    }

    fn requests(ended: u64, failed: u64) -> Tally {
        Tally {
            ended,
            failed,
            ..Tally::default()
        }
    }

    #[test]
    fn percentiles_by_sample_size() {
        let rule = |n, bad| decide(&p99_below(250), &latencies(n, bad)).ruling;
        assert_eq!(rule(1000, 11), Ruling::Fail);
        assert_eq!(rule(1000, 10), Ruling::Pass);
        assert_eq!(rule(299, 2), Ruling::Pass);
        assert_eq!(rule(298, 2), Ruling::Inconclusive);
        assert_eq!(rule(298, 0), Ruling::Inconclusive);
        // Few samples, but far too many of them bad.
        assert_eq!(rule(20, 2), Ruling::Fail);
        assert_eq!(rule(20, 1), Ruling::Inconclusive);
        assert_eq!(rule(0, 0), Ruling::Inconclusive);
        assert_eq!(decide(&p99_below(250), &latencies(20, 0)).needed, 299);
    }

    #[test]
    fn error_ratios_by_the_rule_of_three() {
        let rule = |op, share, n, bad| decide(&errors(op, share), &requests(n, bad)).ruling;
        assert_eq!(rule(Op::Less, 0.001, 3000, 3), Ruling::Fail);
        assert_eq!(rule(Op::Less, 0.001, 3000, 2), Ruling::Pass);
        assert_eq!(rule(Op::Less, 0.001, 2999, 0), Ruling::Inconclusive);
        assert_eq!(rule(Op::Less, 0.001, 100, 2), Ruling::Fail);
        assert_eq!(rule(Op::Less, 0.001, 100, 1), Ruling::Inconclusive);
        assert_eq!(rule(Op::AtMost, 0.0, 10, 1), Ruling::Fail);
        assert_eq!(rule(Op::AtMost, 0.0, 1, 0), Ruling::Pass);
        assert_eq!(rule(Op::Equal, 0.0, 5, 0), Ruling::Pass);
        assert_eq!(rule(Op::More, 0.5, 100, 60), Ruling::Pass);
        assert_eq!(rule(Op::More, 0.5, 100, 40), Ruling::Fail);
    }

    #[test]
    fn mean_max_and_throughput() {
        let bound = |metric, op, limit| Bound { metric, op, limit };
        let max = bound(
            Metric::Max,
            Op::Less,
            Limit::Time(Duration::from_millis(250)),
        );
        assert_eq!(decide(&max, &latencies(5, 1)).ruling, Ruling::Fail);
        assert_eq!(decide(&max, &latencies(5, 0)).ruling, Ruling::Pass);
        let mean = bound(
            Metric::Mean,
            Op::Less,
            Limit::Time(Duration::from_millis(100)),
        );
        assert_eq!(decide(&mean, &latencies(100, 50)).ruling, Ruling::Fail);
        assert_eq!(decide(&mean, &latencies(100, 1)).ruling, Ruling::Pass);
        assert_eq!(decide(&mean, &latencies(10, 10)).ruling, Ruling::Fail);
        assert_eq!(
            decide(&mean, &latencies(10, 0)).ruling,
            Ruling::Inconclusive
        );
        let rate = bound(
            Metric::Throughput,
            Op::AtLeast,
            Limit::Rate(Rate::per_second(50.0)),
        );
        let run = |answered| Tally {
            answered,
            seconds: 10.0,
            ..Tally::default()
        };
        assert_eq!(decide(&rate, &run(499)).ruling, Ruling::Fail);
        assert_eq!(decide(&rate, &run(500)).ruling, Ruling::Pass);
        assert_eq!(
            decide(&rate, &Tally::default()).ruling,
            Ruling::Inconclusive
        );
    }

    #[test]
    fn the_value_shown_is_the_value_decided_on() {
        let mut histogram = latency();
        for i in 1..=1000u64 {
            histogram.record(i * 337).unwrap();
        }
        for p in [50.0, 90.0, 99.0, 99.9, 100.0] {
            for limit in [100_000u64, 168_000, 303_000, 333_600, 337_000, 340_000] {
                let bound = Bound {
                    metric: Metric::Percentile(p),
                    op: Op::Less,
                    limit: Limit::Time(Duration::from_micros(limit)),
                };
                let mut tally = Tally::default();
                for bucket in histogram.iter_recorded() {
                    tally.sample(&bound, bucket.value_iterated_to(), bucket.count_at_value());
                }
                let shown = value_at(&histogram, p / 100.0);
                assert_eq!(
                    point_holds(&bound, &tally),
                    Some(shown < limit),
                    "p{p} < {limit}"
                );
            }
        }
    }

    #[test]
    fn one_slow_request_does_not_make_a_second_bad() {
        let bound = p99_below(250);
        assert_eq!(call_window(&bound, &latencies(50, 1)), WindowCall::Good);
        assert!(matches!(
            call_window(&bound, &latencies(50, 3)),
            WindowCall::Bad(_)
        ));
        assert!(matches!(
            call_window(&bound, &latencies(3, 3)),
            WindowCall::Bad(_)
        ));
        let zero = errors(Op::AtMost, 0.0);
        assert!(matches!(
            call_window(&zero, &requests(500, 1)),
            WindowCall::Bad(_)
        ));
    }

    #[test]
    fn more_than_before_is_a_question_of_both_parts() {
        let losses = |failed, unanswered, ended| Losses {
            failed,
            unanswered,
            ended,
        };
        // A service that answers one of two hundred with 500, looked at for a few seconds and then for longer.
        let before = losses(1, 0, 678);
        assert_eq!(excess(losses(7, 0, 1372), before), Excess::None);
        assert_eq!(
            excess(losses(3, 0, 1372), losses(0, 0, 678)),
            Excess::Perhaps
        );
        assert_eq!(excess(losses(40, 0, 1372), before), Excess::Sure);
        assert_eq!(excess(losses(0, 0, 1372), before), Excess::None);
        // One connection that breaks where none did before, and one where some did.
        assert_eq!(excess(losses(1, 1, 1372), before), Excess::Sure);
        assert_eq!(excess(losses(5, 5, 1372), losses(3, 3, 678)), Excess::None);
        assert_eq!(excess(losses(1, 0, 10), Losses::default()), Excess::Sure);
    }
}
