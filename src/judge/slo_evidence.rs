//! What an `slo` verdict rests on: when it was worst, where, and with what errors.

use std::collections::BTreeMap;

use super::Evidence;
use super::analysis::Analysis;
use super::bounds::{Tally, decide, is_latency, latency_value, limit_of};
use super::slo::shown;
use super::timeline::{Scope, Slice, end_of, outcomes, steps};
use super::words::{count, percent};
use crate::record::{Interval, Micros, Outcome, latency};
use crate::scenario::{Bound, LatencyKind, Limit, Metric, SloExpectation};

/// All that a verdict is made from.
pub(super) struct Context<'a> {
    pub analysis: &'a Analysis<'a>,
    pub slo: &'a SloExpectation,
    pub scope: Scope<'a>,
    pub slice: &'a Slice,
    pub tally: &'a Tally,
}

/// The errors' most frequent kind.
pub(super) fn dominant_error(slice: &Slice) -> Option<(Outcome, u64)> {
    let failures = slice.ended.iter().filter(|(o, n)| o.failed() && **n > 0);
    failures.map(|(o, n)| (*o, *n)).max_by_key(|(_, n)| *n)
}

/// A stretch of the run in which the bound was missed, with its worst second.
struct Stretch {
    from: Micros,
    to: Micros,
    worst_at: Micros,
    worst: f64,
}

/// `; worst from 14 s to 19 s (p99 2.1 s), all of it on shop-2`.
pub(super) fn where_and_when(c: &Context<'_>) -> String {
    let mut words = String::new();
    if let Some(stretch) = worst_stretch(c) {
        let (value, _) = shown(&c.slo.bound, stretch.worst);
        let metric = match c.slo.bound.metric {
            Metric::Errors | Metric::Throughput => value,
            metric => format!("{metric} {value}"),
        };
        words = format!(
            "; worst from {} to {} ({metric})",
            c.analysis.when(stretch.from),
            c.analysis.when(stretch.to)
        );
    }
    if c.slo.bound.metric == Metric::Errors
        && let Some((kind, n)) = dominant_error(c.slice)
    {
        words.push_str(&format!(", mostly {kind} ({})", count(n)));
    }
    if let Some((name, share)) = culprit(c) {
        words.push_str(&match share >= 0.995 {
            true => format!(", all of it on {name}"),
            false => format!(
                ", {} of it on {name}",
                percent((share * 100.0).round() / 100.0)
            ),
        });
    }
    words
}

/// The seconds of the scope with their value of the metric.
fn by_second(c: &Context<'_>) -> Vec<(Micros, Micros, f64)> {
    let t = &c.analysis.timeline;
    let mut seconds = Vec::new();
    for index in t.within(&c.scope) {
        let Some(interval) = t.seconds.get(index) else {
            continue;
        };
        let (start, end) = (interval.second.start_us, end_of(interval));
        let value = match c.slo.bound.metric {
            // While the last requests drain, nothing is due and no rate can be kept.
            Metric::Throughput if end > t.schedule_end.saturating_add(100_000) => None,
            _ => value_of_second(c, interval),
        };
        if let Some(value) = value {
            seconds.push((start, end, value));
        }
    }
    seconds
}

fn value_of_second(c: &Context<'_>, interval: &Interval) -> Option<f64> {
    let (mut ended, mut failed, mut answered) = (0u64, 0u64, 0u64);
    let mut merged = latency();
    let metric = c.slo.bound.metric;
    for (step, histograms) in steps(interval) {
        if !c.scope.takes(&step.flow, &step.step) {
            continue;
        }
        let (e, f, a) = outcomes(step);
        ended = ended.saturating_add(e);
        failed = failed.saturating_add(f);
        answered = answered.saturating_add(a);
        let Some(histograms) = histograms.filter(|_| is_latency(metric)) else {
            continue;
        };
        match c.slo.of {
            LatencyKind::Response => {
                for (outcome, histogram) in &histograms.response {
                    if outcome.in_latency() {
                        super::timeline::merge_into(&mut merged, histogram);
                    }
                }
            }
            LatencyKind::Service => {
                if let Some(histogram) = &histograms.service {
                    super::timeline::merge_into(&mut merged, histogram);
                }
            }
        }
    }
    let length = end_of(interval).saturating_sub(interval.second.start_us) as f64 / 1e6;
    match metric {
        Metric::Errors => (ended > 0).then(|| failed as f64 / ended as f64),
        Metric::Throughput => (length > 0.0).then(|| answered as f64 / length),
        metric => latency_value(metric, &merged),
    }
}

/// The worst second and the seconds around it that missed the bound too.
fn worst_stretch(c: &Context<'_>) -> Option<Stretch> {
    let bound = &c.slo.bound;
    let seconds = by_second(c);
    let misses = |value: f64| !bound.op.holds(value, limit_of(bound));
    let worse = |a: f64, b: f64| match bound.op.is_upper_bound() {
        true => a > b,
        false => a < b,
    };
    let mut worst: Option<usize> = None;
    for (i, (_, _, value)) in seconds.iter().enumerate() {
        if worst.is_none_or(|w| worse(*value, seconds[w].2)) {
            worst = Some(i);
        }
    }
    let worst = worst?;
    let (mut first, mut last) = (worst, worst);
    let touching = |a: usize, b: usize| seconds[b].0.saturating_sub(seconds[a].1) < 500_000;
    while first > 0 && misses(seconds[first - 1].2) && touching(first - 1, first) {
        first -= 1;
    }
    while last + 1 < seconds.len() && misses(seconds[last + 1].2) && touching(last, last + 1) {
        last += 1;
    }
    Some(Stretch {
        from: seconds[first].0,
        to: seconds[last].1,
        worst_at: seconds[worst].0,
        worst: seconds[worst].2,
    })
}

/// What in a second of a step is on the wrong side, by step and by instance.
fn wrong_ones(c: &Context<'_>) -> (BTreeMap<String, u64>, BTreeMap<String, u64>) {
    let t = &c.analysis.timeline;
    let (mut by_step, mut by_instance) = (BTreeMap::new(), BTreeMap::new());
    let bound = &c.slo.bound;
    let over = |histogram: &crate::record::Latency| {
        let mut tally = Tally::default();
        for bucket in histogram.iter_recorded() {
            tally.sample(bound, bucket.value_iterated_to(), bucket.count_at_value());
        }
        tally.bad
    };
    let note = |map: &mut BTreeMap<String, u64>, name: &str, n: u64| {
        if n > 0 {
            let sum = map.entry(name.to_string()).or_default();
            *sum = sum.saturating_add(n);
        }
    };
    for index in t.within(&c.scope) {
        let Some(interval) = t.seconds.get(index) else {
            continue;
        };
        for (step, histograms) in steps(interval) {
            if !c.scope.takes(&step.flow, &step.step) {
                continue;
            }
            if bound.metric == Metric::Errors {
                note(&mut by_step, &step.step, outcomes(step).1);
                for (name, counts) in &step.instances {
                    note(&mut by_instance, name, counts.failed);
                }
                continue;
            }
            let Some(histograms) = histograms else {
                continue;
            };
            let bad = match c.slo.of {
                LatencyKind::Response => histograms
                    .response
                    .iter()
                    .filter(|(outcome, _)| outcome.in_latency())
                    .fold(0u64, |sum, (_, h)| sum.saturating_add(over(h))),
                LatencyKind::Service => histograms.service.as_ref().map_or(0, over),
            };
            note(&mut by_step, &step.step, bad);
            for (name, histogram) in &histograms.instances {
                note(&mut by_instance, name, over(histogram));
            }
        }
    }
    (by_step, by_instance)
}

/// The instance with at least half of what is wrong, and its share of it.
fn culprit(c: &Context<'_>) -> Option<(String, f64)> {
    if !matches!(c.slo.bound.metric, Metric::Errors) && !matches!(c.slo.bound.limit, Limit::Time(_))
    {
        return None;
    }
    let (_, by_instance) = wrong_ones(c);
    let all = match c.slo.bound.metric {
        Metric::Errors => c.slice.failed(),
        _ => c.tally.bad,
    };
    // With a single instance there is nothing to point at.
    let known: std::collections::BTreeSet<&String> = c
        .analysis
        .timeline
        .seconds
        .iter()
        .flat_map(|s| &s.second.steps)
        .flat_map(|s| s.instances.keys())
        .collect();
    let (name, n) = by_instance.into_iter().max_by_key(|(_, n)| *n)?;
    let share = (n as f64 / all.max(1) as f64).min(1.0);
    (share >= 0.5 && known.len() > 1).then_some((name, share))
}

/// The facts, most telling first.
pub(super) fn evidence(c: &Context<'_>) -> Vec<Evidence> {
    let fact = |what: &str, value: String| Evidence {
        what: what.into(),
        value,
        at_us: None,
    };
    let (slice, bound) = (c.slice, &c.slo.bound);
    let mut facts = vec![fact("arithmetic", arithmetic(c))];
    let decision = decide(bound, c.tally);
    facts.push(fact(
        "sample size",
        format!(
            "{}, {} needed for a PASS",
            count(decision.samples),
            count(decision.needed)
        ),
    ));
    if bound.metric == Metric::Errors && slice.failed() == 0 && slice.ended() > 0 {
        let most = (3.0 / slice.ended() as f64).min(1.0);
        facts.push(fact(
            "what zero failures show",
            format!("a true ratio of at most {} (3/n, 95% sure)", percent(most)),
        ));
    }
    if let Some(worst) = worst_stretch(c) {
        facts.push(Evidence {
            what: "worst second".into(),
            value: shown(bound, worst.worst).0,
            at_us: Some(worst.worst_at),
        });
    }
    if let Some((kind, n)) = dominant_error(slice) {
        let share = percent(n as f64 / slice.failed().max(1) as f64);
        facts.push(fact(
            "most frequent error",
            format!("{kind}: {} ({share} of the failures)", count(n)),
        ));
    }
    let (by_step, by_instance) = wrong_ones(c);
    for (what, map) in [("by step", by_step), ("by instance", by_instance)] {
        if !map.is_empty() && (is_latency(bound.metric) || bound.metric == Metric::Errors) {
            facts.push(fact(&format!("on the wrong side {what}"), ranking(map)));
        }
    }
    let early = slice
        .ended
        .iter()
        .filter(|(o, _)| o.failed() && !o.in_latency());
    let early = early.fold(0u64, |sum, (_, n)| sum.saturating_add(*n));
    if is_latency(bound.metric) && early as f64 > 0.01 * slice.ended() as f64 {
        facts.push(fact(
            "warning",
            format!(
                "{} requests ({}) failed without waiting and are in no percentile; the error ratio counts them",
                count(early),
                percent(early as f64 / slice.ended().max(1) as f64)
            ),
        ));
    }
    facts
}

fn arithmetic(c: &Context<'_>) -> String {
    let slice = c.slice;
    match c.slo.bound.metric {
        Metric::Errors => format!(
            "{} failed / {} ended = {}",
            count(slice.failed()),
            count(slice.ended()),
            percent(slice.failed() as f64 / slice.ended().max(1) as f64)
        ),
        Metric::Throughput => format!(
            "{} answered / {:.1} s = {}",
            count(slice.answered()),
            slice.seconds,
            super::words::rate(slice.answered() as f64 / slice.seconds.max(1e-9))
        ),
        _ => format!(
            "{} of {} requests ({}) were not {} {}",
            count(c.tally.bad),
            count(c.tally.samples),
            percent(c.tally.bad as f64 / c.tally.samples.max(1) as f64),
            c.slo.bound.op,
            limit_words(&c.slo.bound)
        ),
    }
}

fn limit_words(bound: &Bound) -> String {
    shown(bound, -1.0).1
}

/// `shop-2: 120, shop-1: 3`: the largest first, five at most.
fn ranking(map: BTreeMap<String, u64>) -> String {
    let mut sorted: Vec<(String, u64)> = map.into_iter().collect();
    sorted.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let more = sorted.len().saturating_sub(5);
    let mut text: Vec<String> = sorted
        .into_iter()
        .take(5)
        .map(|(name, n)| format!("{name}: {}", count(n)))
        .collect();
    if more > 0 {
        text.push(format!("{more} more"));
    }
    text.join(", ")
}
