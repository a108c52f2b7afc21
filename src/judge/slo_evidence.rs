//! What an `slo` verdict rests on: when it was worst, where, and with what errors.

use std::collections::BTreeMap;

use super::Evidence;
use super::analysis::Analysis;
use super::bounds::{Tally, decide, is_latency, latency_value, point_holds};
use super::slo::shown;
use super::sure;
use super::timeline::{Scope, Slice, due_between, end_of, outcomes, steps, windows};
use super::words::{count, percent};
use crate::record::{Latency, Micros, Outcome};
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

/// The kind in words; of refused statuses the most frequent one.
fn kind_in_words(kind: Outcome, slice: &Slice) -> String {
    let errors = slice.statuses.iter().filter(|(status, _)| **status >= 400);
    match (kind, errors.max_by_key(|(_, n)| **n)) {
        (Outcome::Status, Some((status, _))) => format!("status {status}"),
        _ => kind.to_string(),
    }
}

/// A stretch of the run in which the bound was missed, with its worst second.
struct Stretch {
    from: Micros,
    to: Micros,
    /// Over all of it.
    value: f64,
    worst_at: Micros,
    /// In its worst second.
    worst: f64,
}

/// `; worst from 14 s to 19 s (p99 2.1 s), all of it on shop-2`.
pub(super) fn where_and_when(c: &Context<'_>) -> String {
    let mut words = String::new();
    if let Some(stretch) = worst_stretch(c) {
        let (value, _) = shown(&c.slo.bound, stretch.value);
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
        let kind = kind_in_words(kind, c.slice);
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

/// The seconds of the scope with what the bound is decided on. Response times and errors by when requests were due:
/// a hang is worst while it lasts, not when its timeouts end. Service time and throughput as they were recorded.
fn by_second(c: &Context<'_>) -> Vec<(Micros, Micros, Tally)> {
    let t = &c.analysis.timeline;
    let bound = &c.slo.bound;
    if c.slo.of == LatencyKind::Response && bound.metric != Metric::Throughput {
        return windows(t, &c.scope, std::slice::from_ref(bound))
            .into_iter()
            .map(|w| (w.start_us, w.end_us, w.tallies[0]))
            .collect();
    }
    let mut seconds = Vec::new();
    for index in t.within(&c.scope) {
        let Some(interval) = t.seconds.get(index) else {
            continue;
        };
        let (start, end) = (interval.second.start_us, end_of(interval));
        // While the last requests drain, nothing is due and no rate can be kept.
        if bound.metric != Metric::Throughput || end <= t.schedule_end.saturating_add(100_000) {
            let only = [index];
            let scope = Scope {
                seconds: Some(&only),
                ..c.scope
            };
            seconds.push((start, end, t.slice(&scope).tally(bound, c.slo.of)));
        }
    }
    seconds
}

/// How far a second is from its bound: the share on the wrong side, or the value itself.
fn badness(bound: &Bound, tally: &Tally) -> Option<f64> {
    let per = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
    let worth = match bound.metric {
        Metric::Errors => per(tally.failed as f64, tally.ended as f64)?,
        Metric::Throughput => per(tally.answered as f64, tally.seconds)?,
        Metric::Mean => per(tally.sum_us, tally.samples as f64)?,
        Metric::Percentile(_) | Metric::Max => {
            return per(tally.bad as f64, tally.samples as f64);
        }
    };
    Some(match bound.op.is_upper_bound() {
        true => worth,
        false => -worth,
    })
}

/// The worst second and the seconds around it that missed the bound too; `None` where none missed it.
fn worst_stretch(c: &Context<'_>) -> Option<Stretch> {
    let bound = &c.slo.bound;
    let seconds = by_second(c);
    let misses = |i: usize| point_holds(bound, &seconds[i].2) == Some(false);
    let mut worst: Option<(usize, f64)> = None;
    for (i, (_, _, tally)) in seconds.iter().enumerate().filter(|(i, _)| misses(*i)) {
        if let Some(badness) = badness(bound, tally)
            && worst.is_none_or(|(_, most)| badness > most)
        {
            worst = Some((i, badness));
        }
    }
    let (worst, _) = worst?;
    let (mut first, mut last) = (worst, worst);
    let touching = |a: usize, b: usize| seconds[b].0.saturating_sub(seconds[a].1) < 500_000;
    while first > 0 && misses(first - 1) && touching(first - 1, first) {
        first -= 1;
    }
    while last + 1 < seconds.len() && misses(last + 1) && touching(last, last + 1) {
        last += 1;
    }
    let (from, to) = (seconds[first].0, seconds[last].1);
    let worst_at = seconds[worst].0;
    Some(Stretch {
        from,
        to,
        worst_at,
        worst: value_in(c, worst_at, seconds[worst].1, &seconds[worst].2)?,
        value: {
            let mut sum = Tally::default();
            seconds[first..=last].iter().for_each(|s| sum.add(&s.2));
            value_in(c, from, to, &sum)?
        },
    })
}

/// The metric's value in a part of the run.
fn value_in(c: &Context<'_>, from: Micros, to: Micros, tally: &Tally) -> Option<f64> {
    let t = &c.analysis.timeline;
    match (c.slo.bound.metric, c.slo.of) {
        (Metric::Errors, _) => (tally.ended > 0).then(|| tally.failed as f64 / tally.ended as f64),
        (Metric::Throughput, _) => {
            (tally.seconds > 0.0).then(|| tally.answered as f64 / tally.seconds)
        }
        (metric, LatencyKind::Response) => {
            latency_value(metric, &due_between(t, &c.scope, from, to))
        }
        (metric, LatencyKind::Service) => {
            let within = |i: &usize| {
                let second = &t.seconds[*i].second;
                second.start_us >= from && second.start_us < to
            };
            let seconds: Vec<usize> = t.within(&c.scope).into_iter().filter(within).collect();
            let scope = Scope {
                seconds: Some(&seconds),
                ..c.scope
            };
            latency_value(metric, &t.slice(&scope).service)
        }
    }
}

/// What in a second of a step is on the wrong side, by step and by instance.
fn wrong_ones(c: &Context<'_>) -> (BTreeMap<String, u64>, BTreeMap<String, u64>) {
    let t = &c.analysis.timeline;
    let (mut by_step, mut by_instance) = (BTreeMap::new(), BTreeMap::new());
    let bound = &c.slo.bound;
    let over = |histogram: &Latency| {
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
    facts.push(sure::row(format!(
        "{}, {} needed for a PASS",
        sure::bounded(bound, c.slo.of, slice, c.tally),
        count(decision.needed)
    )));
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
        Metric::Throughput => {
            let (answered, seconds) = slice.paced();
            format!(
                "{} answered / {seconds:.1} s = {}",
                count(answered),
                super::words::rate(answered as f64 / seconds.max(1e-9))
            )
        }
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
