//! How sure a figure is, in words: its interval, and the n that it rests on.

use super::balance::interval::wilson;
use super::bounds::{Tally, value_at};
use super::words::{count, counted, micros, percent};
use super::{Evidence, timeline::Slice};
use crate::scenario::{Bound, LatencyKind, Metric};

/// The row of a verdict's evidence that says how sure it is.
pub(super) const SURE: &str = "how sure";

/// So many standard deviations hold 95 % of a normal variable.
const Z: f64 = 1.96;

/// The row itself.
pub(super) fn row(value: String) -> Evidence {
    Evidence {
        what: SURE.into(),
        value,
        at_us: None,
    }
}

/// A share of some things: `95% interval 1.1% to 1.9%, n = 986 requests`.
pub(super) fn share(part: u64, n: u64, what: &str) -> String {
    let (low, high) = wilson(part as f64, n as f64, Z);
    format!(
        "95% interval {} to {}, n = {}",
        percent(low),
        percent(high),
        counted(n, what)
    )
}

/// The value that a bound is held against.
pub(super) fn bounded(bound: &Bound, kind: LatencyKind, slice: &Slice, tally: &Tally) -> String {
    let n = counted(tally.samples, "request");
    let between =
        |low: u64, high: u64| format!("95% interval {} to {}, n = {n}", micros(low), micros(high));
    match bound.metric {
        Metric::Errors => share(tally.failed, tally.ended, "request"),
        Metric::Throughput => format!(
            "counted, not estimated, n = {} answers",
            count(tally.answered)
        ),
        Metric::Mean => {
            let (mean, error) = (tally.mean(), tally.standard_error());
            between(
                (mean - Z * error).max(0.0) as u64,
                (mean + Z * error) as u64,
            )
        }
        Metric::Percentile(p) if p > 0.0 && p < 100.0 => {
            // The sample's own quantiles, as far from the one asked for as chance puts it.
            let q = p / 100.0;
            let half = Z * (q * (1.0 - q) / tally.samples.max(1) as f64).sqrt();
            let at = |q: f64| value_at(slice.latency(kind), q.clamp(0.0, 1.0));
            between(at(q - half), at(q + half))
        }
        Metric::Percentile(_) | Metric::Max => {
            format!("a fact of this run, not an estimate, n = {n}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::testing::{Sim, errors_below, p99_below};
    use crate::judge::timeline::{Scope, Timeline};

    #[test]
    fn intervals_hold_the_value_and_narrow_with_n() {
        assert_eq!(
            share(0, 3_000, "request"),
            "95% interval 0% to 0.13%, n = 3,000 requests"
        );
        assert_eq!(
            share(10, 100, "request"),
            "95% interval 5.52% to 17.4%, n = 100 requests"
        );
        let mut sim = Sim::steady(100, 30);
        for (i, request) in sim.requests.iter_mut().enumerate() {
            request.latency = (i as u64 % 1_000 + 1) * 1_000;
        }
        let record = sim.record();
        let timeline = Timeline::new(&record);
        let slice = timeline.slice(&Scope::default());
        let told = |bound: Bound| {
            let tally = slice.tally(&bound, LatencyKind::Response);
            bounded(&bound, LatencyKind::Response, &slice, &tally)
        };
        // 0.99 -+ 1.96 x sqrt(0.99 x 0.01 / 3,000) are 0.9864 and 0.9936.
        assert_eq!(
            told(p99_below(250)),
            "95% interval 987 ms to 994 ms, n = 3,000 requests"
        );
        assert!(told(errors_below(0.01)).starts_with("95% interval 0% to 0.13%"));
    }
}
