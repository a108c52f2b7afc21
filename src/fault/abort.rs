//! When the run must be given up: the guard's abort conditions, second by second. Pure.

use std::time::Duration;

use crate::platform::Surroundings;
use crate::record::{Interval, Micros, latency};
use crate::scenario::{AbortOn, AbortWhen, Bound, Limit, Metric, Seen};

/// Watches the seconds of traffic for the guard's abort conditions.
///
/// A condition must hold in so many seconds one after the other. A second without traffic (nothing ended, nothing
/// in flight) neither adds to that nor breaks it. A second in which requests are in flight and none has ended is a
/// service that hangs: errors count as 100%, latency as longer than any limit, throughput as zero; a hang must
/// not keep the guard from seeing what a crash would show it.
///
/// What the cluster shows is there at each look, so the time from look to look counts. Time in which it cannot be looked at
/// neither adds nor breaks, but not for long: a guard that cannot see guards nothing.
pub struct AbortMonitor {
    conditions: Vec<Condition>,
    /// The last look.
    looked: Option<Micros>,
}

/// A condition that cannot be looked at for so long ends the run.
pub const BLIND: Duration = Duration::from_secs(60);

struct Condition {
    when: AbortWhen,
    /// It must hold for so long, in whole seconds.
    needed: Duration,
    /// It has held for so long.
    held: Duration,
    /// Since when; `None`: it does not hold.
    since: Option<Micros>,
}

impl AbortMonitor {
    /// A monitor of these conditions.
    pub fn new(conditions: &[AbortWhen]) -> Self {
        let condition = |when: &AbortWhen| Condition {
            when: when.clone(),
            needed: Duration::from_secs((when.lasts.as_secs_f64().ceil() as u64).max(1)),
            held: Duration::ZERO,
            since: None,
        };
        let conditions = conditions.iter().map(condition).collect();
        Self {
            conditions,
            looked: None,
        }
    }

    /// Takes in a second of traffic; the reason to abort, once there is one.
    pub fn observe(&mut self, interval: &Interval) -> Option<String> {
        let second = &interval.second;
        let mut reason = None;
        for condition in &mut self.conditions {
            let AbortOn::Bound(bound) = condition.when.on else {
                continue;
            };
            let Some(value) = measure(bound.metric, interval) else {
                continue;
            };
            let last = || {
                let shown = show(bound.metric, value);
                format!("in the last second {} was {shown}", bound.metric)
            };
            condition.note(holds(bound, value), second.start_us);
            if condition.since.is_some() {
                condition.held += Duration::from_secs(1);
            }
            reason = reason.or_else(|| condition.reason(second.end_us, last));
        }
        reason
    }

    /// Takes in what is seen around the target at a moment; the reason to abort, once there is one.
    pub fn look(&mut self, seen: &Surroundings, now: Micros) -> Option<String> {
        let mut reason = None;
        let last_look = self.looked.replace(now).unwrap_or(now);
        for condition in &mut self.conditions {
            let AbortOn::Seen { what, op, count } = condition.when.on else {
                continue;
            };
            if let Some(unseen) = seen.unseen.get(&what) {
                let is_blind = *unseen >= BLIND;
                reason = reason.or_else(|| is_blind.then(|| condition.blind(*unseen)));
                continue;
            }
            let found = match what {
                Seen::NodesNotReady => &seen.nodes_not_ready,
                Seen::OthersDegraded => &seen.others_degraded,
            };
            let held = condition.since.is_some();
            condition.note(op.holds(found.len() as u64, u64::from(count)), now);
            if held && condition.since.is_some() {
                condition.held += Duration::from_micros(now.saturating_sub(last_look));
            }
            let last = || format!("at the end there were {}", found.join(", "));
            reason = reason.or_else(|| condition.reason(now, last));
        }
        reason
    }
}

impl Condition {
    /// Whether it holds now; it may have begun to at `from`.
    fn note(&mut self, holds: bool, from: Micros) {
        if !holds {
            (self.since, self.held) = (None, Duration::ZERO);
        } else if self.since.is_none() {
            self.since = Some(from);
        }
    }

    /// Why to abort where it cannot be looked at.
    fn blind(&self, unseen: Duration) -> String {
        format!(
            "abort-when {}: the cluster does not show it for {} s now: a guard that cannot see guards nothing",
            self.when.text,
            unseen.as_secs()
        )
    }

    /// Why to abort, once it has held for its time.
    fn reason(&self, now: Micros, last: impl Fn() -> String) -> Option<String> {
        let since = self.since.filter(|_| self.held >= self.needed)?;
        Some(format!(
            "abort-when {}: it held from {:.1} s to {:.1} s, {}",
            self.when.text,
            since as f64 / 1e6,
            now as f64 / 1e6,
            last(),
        ))
    }
}

/// The metric over one second, in the unit of its limit (microseconds, fraction, per second). `None`: the second
/// says nothing about it.
fn measure(metric: Metric, interval: &Interval) -> Option<f64> {
    let second = &interval.second;
    let (mut ended, mut failed, mut answered, mut in_flight) = (0, 0, 0, 0);
    for step in &second.steps {
        in_flight += step.in_flight;
        for (outcome, &n) in &step.ended {
            ended += n;
            failed += if outcome.failed() { n } else { 0 };
            answered += if outcome.answered() { n } else { 0 };
        }
    }
    if ended == 0 && in_flight == 0 {
        return None;
    }
    let hangs = ended == 0;
    match metric {
        Metric::Errors if hangs => Some(1.0),
        Metric::Errors => Some(failed as f64 / ended as f64),
        Metric::Throughput => {
            let seconds = second.end_us.saturating_sub(second.start_us) as f64 / 1e6;
            (seconds > 0.0).then(|| answered as f64 / seconds)
        }
        _ if hangs => Some(f64::INFINITY),
        Metric::Percentile(_) | Metric::Mean | Metric::Max => {
            let mut all = latency();
            all.auto(true);
            let responses = interval.histograms.iter().flat_map(|h| &h.response);
            for (_, histogram) in responses.filter(|(outcome, _)| outcome.in_latency()) {
                // Cannot fail: the sum resizes itself.
                let _ = all.add(histogram);
            }
            if all.is_empty() {
                return None;
            }
            Some(match metric {
                Metric::Percentile(p) => all.value_at_quantile(p / 100.0) as f64,
                Metric::Mean => all.mean(),
                _ => all.max() as f64,
            })
        }
    }
}

fn holds(bound: Bound, value: f64) -> bool {
    let limit = match bound.limit {
        Limit::Time(time) => time.as_secs_f64() * 1e6,
        Limit::Share(share) => share.get(),
        Limit::Rate(rate) => rate.get(),
    };
    bound.op.holds(value, limit)
}

fn show(metric: Metric, value: f64) -> String {
    match metric {
        Metric::Errors => format!("{:.1}%", value * 100.0),
        Metric::Throughput => format!("{value:.1}/s"),
        _ if value.is_infinite() => "without end (requests in flight, none answered)".into(),
        _ => format!("{:.1}ms", value / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Outcome, StepHistograms, StepSecond, TrafficSecond};
    use crate::scenario::Op;
    use crate::scenario::units::{Rate, Ratio};

    /// A second: requests that ended well and badly, those in flight, and the response time of those that ended.
    fn second(n: u64, ok: u64, refused: u64, in_flight: u64, ms: u64) -> Interval {
        let mut step = StepSecond {
            in_flight,
            ..Default::default()
        };
        let mut all = StepHistograms::default();
        for (outcome, count) in [(Outcome::Ok, ok), (Outcome::Refused, refused)] {
            if count > 0 {
                step.ended.insert(outcome, count);
                let mut h = latency();
                h.record_n(ms * 1000, count).unwrap();
                all.response.insert(outcome, h);
            }
        }
        let (start_us, end_us) = (n * 1_000_000, (n + 1) * 1_000_000);
        let second = TrafficSecond {
            start_us,
            end_us,
            steps: vec![step],
            ..Default::default()
        };
        Interval {
            second,
            histograms: vec![all],
        }
    }

    /// The number of the second that aborts.
    fn aborts(
        metric: Metric,
        op: Op,
        limit: Limit,
        lasts: u64,
        seconds: &[(u64, u64, u64, u64)],
    ) -> Option<usize> {
        let when = AbortWhen {
            text: "this".into(),
            on: AbortOn::Bound(Bound { metric, op, limit }),
            lasts: Duration::from_secs(lasts),
        };
        let mut monitor = AbortMonitor::new(&[when]);
        seconds
            .iter()
            .enumerate()
            .position(|(n, &(ok, refused, in_flight, ms))| {
                monitor
                    .observe(&second(n as u64, ok, refused, in_flight, ms))
                    .is_some()
            })
    }

    const WELL: (u64, u64, u64, u64) = (100, 0, 2, 10);
    const BAD: (u64, u64, u64, u64) = (40, 60, 2, 10);
    const HALF: (u64, u64, u64, u64) = (50, 50, 2, 10);
    const IDLE: (u64, u64, u64, u64) = (0, 0, 0, 0);
    const HANG: (u64, u64, u64, u64) = (0, 0, 9, 0);
    const DEAD: (u64, u64, u64, u64) = (0, 99, 0, 1);

    #[test]
    fn errors_abort_when_they_hold_in_every_second_for_so_long() {
        let half = Limit::Share(Ratio::fraction(0.5));
        let errors = |seconds: &[_]| aborts(Metric::Errors, Op::More, half, 3, seconds);
        assert_eq!(
            errors(&[WELL, BAD, BAD, WELL, BAD, BAD, BAD, WELL]),
            Some(6)
        );
        assert_eq!(errors(&[BAD, BAD, HALF, BAD, BAD]), None);
        assert_eq!(errors(&[BAD, IDLE, BAD, IDLE, BAD]), Some(4));
        assert_eq!(errors(&[IDLE; 10]), None);
        assert_eq!(errors(&[WELL, HANG, HANG, HANG]), Some(3));
        assert_eq!(errors(&[BAD, HANG, DEAD]), Some(2));
    }

    #[test]
    fn latency_aborts_on_slowness_and_on_a_hang_but_not_on_refusals() {
        let slow = (100, 0, 2, 900);
        let limit = Limit::Time(Duration::from_millis(500));
        let p99 = |seconds: &[_]| aborts(Metric::Percentile(99.0), Op::More, limit, 2, seconds);
        assert_eq!(p99(&[WELL, slow, slow]), Some(2));
        assert_eq!(p99(&[WELL, slow, WELL, slow]), None);
        assert_eq!(p99(&[slow, HANG]), Some(1));
        // Refused requests say nothing about latency: they neither add nor break.
        assert_eq!(p99(&[slow, DEAD, slow]), Some(2));
        assert_eq!(p99(&[DEAD; 5]), None);
        let mean = |seconds: &[_]| aborts(Metric::Mean, Op::AtLeast, limit, 1, seconds);
        assert_eq!(mean(&[WELL, slow]), Some(1));
        let max = |seconds: &[_]| aborts(Metric::Max, Op::More, limit, 0, seconds);
        assert_eq!(max(&[WELL, slow]), Some(1));
    }

    #[test]
    fn throughput_aborts_when_it_falls_but_not_before_there_is_traffic() {
        let limit = Limit::Rate(Rate::per_second(50.0));
        let falls = |seconds: &[_]| aborts(Metric::Throughput, Op::Less, limit, 2, seconds);
        assert_eq!(falls(&[IDLE, IDLE, WELL, WELL]), None);
        assert_eq!(falls(&[WELL, HANG, DEAD]), Some(2));
        assert_eq!(falls(&[WELL, HALF, BAD, BAD]), Some(3));
    }

    #[test]
    fn the_reason_says_since_when_and_how_bad() {
        let when = AbortWhen {
            text: "errors > 50% for 2s".into(),
            on: AbortOn::Bound(Bound {
                metric: Metric::Errors,
                op: Op::More,
                limit: Limit::Share(Ratio::fraction(0.5)),
            }),
            lasts: Duration::from_secs(2),
        };
        let mut monitor = AbortMonitor::new(&[when]);
        assert_eq!(monitor.observe(&second(4, 40, 60, 0, 1)), None);
        assert_eq!(
            monitor.observe(&second(5, 20, 80, 0, 1)).unwrap(),
            "abort-when errors > 50% for 2s: it held from 4.0 s to 6.0 s, in the last second errors was 80.0%"
        );
    }

    #[test]
    fn what_the_cluster_shows_aborts_when_each_look_saw_it_for_so_long() {
        let when = |what, count| AbortWhen {
            text: format!("{what:?}"),
            on: AbortOn::Seen {
                what,
                op: Op::More,
                count,
            },
            lasts: Duration::from_secs(10),
        };
        let mut monitor =
            AbortMonitor::new(&[when(Seen::NodesNotReady, 0), when(Seen::OthersDegraded, 1)]);
        let names = |n: usize| (0..n).map(|n| format!("x{n}")).collect();
        let mut look = |second: u64, nodes: usize, others: usize| {
            let seen = Surroundings {
                nodes_not_ready: names(nodes),
                others_degraded: names(others),
                ..Surroundings::default()
            };
            monitor.look(&seen, second * 1_000_000)
        };
        assert_eq!(look(0, 1, 1), None);
        assert_eq!(look(9, 1, 1), None);
        assert_eq!(look(9, 0, 1), None, "ready again: it begins anew");
        assert_eq!(look(12, 2, 1), None);
        assert_eq!(look(21, 2, 1), None, "one that is degraded is allowed here");
        assert_eq!(
            look(22, 2, 1).unwrap(),
            "abort-when NodesNotReady: it held from 12.0 s to 22.0 s, at the end there were x0, x1"
        );
        assert!(look(23, 0, 2).is_none() && look(33, 0, 2).unwrap().contains("OthersDegraded"));
    }

    #[test]
    fn what_cannot_be_looked_at_neither_adds_nor_breaks_and_ends_the_run_in_the_end() {
        let when = AbortWhen {
            text: "nodes-not-ready > 0 for 10s".into(),
            on: AbortOn::Seen {
                what: Seen::NodesNotReady,
                op: Op::More,
                count: 0,
            },
            lasts: Duration::from_secs(10),
        };
        let look = |monitor: &mut AbortMonitor, second: u64, nodes: usize, unseen: Option<u64>| {
            let unseen = unseen.map(|s| (Seen::NodesNotReady, Duration::from_secs(s)));
            let seen = Surroundings {
                nodes_not_ready: vec!["n1".into(); nodes],
                unseen: unseen.into_iter().collect(),
                ..Surroundings::default()
            };
            monitor.look(&seen, second * 1_000_000)
        };
        // Not ready for 5 s, then out of sight for 20 s: what was seen last is no evidence for that time.
        let mut monitor = AbortMonitor::new(std::slice::from_ref(&when));
        assert_eq!(look(&mut monitor, 0, 1, None), None);
        assert_eq!(look(&mut monitor, 5, 1, None), None);
        for second in 6..=25 {
            assert_eq!(look(&mut monitor, second, 1, Some(second - 5)), None);
        }
        assert_eq!(look(&mut monitor, 26, 1, None), None);
        assert_eq!(look(&mut monitor, 29, 1, None), None);
        let reason = look(&mut monitor, 30, 1, None).expect("10 s that were seen");
        assert!(reason.contains("it held from 0.0 s to 30.0 s"), "{reason}");
        // All was well when it was seen last: nobody knows whether it is.
        let mut monitor = AbortMonitor::new(&[when]);
        assert_eq!(look(&mut monitor, 0, 0, None), None);
        assert_eq!(look(&mut monitor, 60, 0, Some(59)), None);
        assert_eq!(
            look(&mut monitor, 61, 0, Some(60)).unwrap(),
            "abort-when nodes-not-ready > 0 for 10s: the cluster does not show it for 60 s now: a guard that cannot see \
             guards nothing"
        );
    }
}
