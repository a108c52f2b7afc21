//! Why it cannot be told whether too much was used.

use super::series::{Sample, Series};
use super::study::{Bound, Resource, Study, bound};
use super::{Case, not_recorded, sees_throttling};
use crate::judge::finding::Finding;
use crate::judge::timeline::{self, PODS, micros as micros_of};
use crate::judge::words::{list, micros};
use crate::record::Micros;
use crate::scenario::Most;
use crate::scenario::units::format_duration;

/// What a cluster knows of a container begins with its second sample, and its last one is told late: so much of the
/// beginning and of the end is not seen.
const EDGE: Micros = 35_000_000;

/// The first reason why it cannot be told.
pub(super) fn first(case: &Case<'_>) -> Option<Finding> {
    unseen(case)
        .or_else(|| baseless(case))
        .or_else(|| short(case))
        .or_else(|| unthrottled(case))
        .or_else(|| gaps(case))
        .or_else(|| coarse(case))
        .or_else(|| blind(case))
}

/// Nothing was recorded.
fn unseen(case: &Case<'_>) -> Option<Finding> {
    let mut samples = case.all.iter().flat_map(|series| &series.samples);
    if samples.any(|s| s.used.cpu.is_some() || s.used.memory.is_some()) {
        return None;
    }
    let why = not_recorded(case);
    let because = why.unwrap_or("what the instances used is not in the record".into());
    let missing = "samples: `metrics.k8s.io` in the cluster, or leave to `get nodes/proxy`, for its kubelets \
                   (deploy/kubernetes/rbac-kubelets.yaml)";
    Some(Finding::unclear(because, missing))
}

/// A part of nothing: it cannot fail, so it cannot pass either.
fn baseless(case: &Case<'_>) -> Option<Finding> {
    let expected = case.expected;
    let without = |series: &Series| {
        let cpu = bound(expected.cpu, series, |a| a.cpu);
        let memory = bound(expected.memory, series, |a| a.memory);
        match (cpu, memory) {
            (Bound::Baseless(what), _) => Some(("cpu", "CPU", what)),
            (_, Bound::Baseless(what)) => Some(("memory", "memory", what)),
            _ => None,
        }
    };
    let (key, name, what) = case.all.iter().find_map(without)?;
    let same = case
        .all
        .iter()
        .filter(|s| without(s).is_some_and(|w| w.0 == key));
    let names: Vec<String> = same.map(Series::name).collect();
    let verb = if names.len() == 1 { "has" } else { "have" };
    let because = format!(
        "{} {verb} no {name} {what}, of which use could be too large a part: this cannot fail",
        list(&names)
    );
    let (other, amount) = match key {
        "cpu" => ("150% of request", "500m"),
        _ => ("150% of request", "200MiB"),
    };
    let missing = format!(
        "a {name} {what} in the pods' spec, or a bound that can be missed (`{key}: {other}`, `{key}: {amount}`), or \
         `{key}: any`"
    );
    Some(Finding::unclear(because, missing))
}

/// No time above a bound could have been long enough.
fn short(case: &Case<'_>) -> Option<Finding> {
    let judged = case.span.1.saturating_sub(case.span.0);
    let looks = case.expected.cpu != Most::Any || case.expected.throttled.is_some();
    (looks && judged < micros_of(case.expected.lasts)).then(|| {
        let lasts = format_duration(case.expected.lasts);
        let because = format!("{} are judged, less than `for` ({lasts})", micros(judged));
        Finding::unclear(
            because,
            format!("traffic that lasts longer than {lasts} after the warm-up"),
        )
    })
}

/// A container whose CPU, or memory, was not seen for a time in which it may have been above its bound.
fn gaps(case: &Case<'_>) -> Option<Finding> {
    // Who is not limited is not throttled, and who did not ask for it is told that it was not seen.
    let asked = |s: &&Study<'_>| {
        s.resource != Resource::Throttling
            || (case.expected.throttled.is_some() && s.series.limits.cpu.is_some())
    };
    let (study, (from, until)) = { case.studies.iter() }.filter(asked).find_map(|study| {
        let lives = study.series.lives.iter();
        let gap = { lives }.find_map(|life| gap(study, *life, case))?;
        Some((study, gap))
    })?;
    let because = format!(
        "the {} of {} was not seen for {} from {} on",
        study.resource.name(),
        study.series.name(),
        micros(until - from),
        case.analysis.when(from)
    );
    Some(Finding::unclear(because, "samples without such a gap"))
}

/// The first time, long enough to matter, in which a container ran and was not sampled.
fn gap(study: &Study<'_>, life: (Micros, Micros), case: &Case<'_>) -> Option<(Micros, Micros)> {
    let allowed = micros_of(case.expected.lasts);
    let edge = allowed.max(EDGE);
    let (begin, end) = life;
    if end - begin <= edge {
        return None;
    }
    let telling = |s: &&Sample| study.resource.of(s).is_some();
    let mut seen = 0;
    let mut at = begin;
    let mut first = true;
    for sample in study.series.samples.iter().filter(telling) {
        let (from, to) = (sample.from.max(begin), sample.to.min(end));
        if to <= from {
            continue;
        }
        let limit = if first { edge } else { allowed };
        if from > at.saturating_add(limit) {
            return Some((at, from));
        }
        seen += to - from.max(at).min(to);
        at = at.max(to);
        first = false;
    }
    let unseen_end = end.saturating_sub(at) > edge;
    (unseen_end || seen < (end - begin) / 2)
        .then_some((at, end))
        .filter(|(a, b)| a < b)
}

/// A mean over more time than `for` may hide what is above the bound for that long.
fn coarse(case: &Case<'_>) -> Option<Finding> {
    let lasts = micros_of(case.expected.lasts);
    let cpu = case.studies.iter().filter(|s| s.resource == Resource::Cpu);
    let widest = cpu.filter_map(|s| s.widest()).max()?;
    // A kubelet's own pace varies.
    (widest > lasts.saturating_add(lasts / 4)).then(|| {
        let because = format!(
            "samples are means over up to {}: CPU above its bound for {} may not show",
            micros(widest),
            format_duration(case.expected.lasts)
        );
        let missing = format!("`for` of {} or more, or samples more often", micros(widest));
        Finding::unclear(because, missing)
    })
}

/// Throttling was asked for and not seen, of containers that can be throttled.
fn unthrottled(case: &Case<'_>) -> Option<Finding> {
    case.expected.throttled?;
    let limited = |s: &&Series| s.limits.cpu.is_some();
    let unseen = |s: &&Series| s.samples.iter().all(|s| s.throttled.is_none());
    let series = case.all.iter().filter(limited).find(unseen)?;
    let because = match sees_throttling(case) {
        true => format!("throttling of {} was not seen", series.name()),
        false => "throttling was not seen".to_string(),
    };
    let missing = "leave to `get nodes/proxy`: kubelets tell of throttling";
    Some(Finding::unclear(because, missing))
}

/// A time without a view of the pods, in which one may have been killed for its memory unseen.
fn blind(case: &Case<'_>) -> Option<Finding> {
    let (from, until) = case.span;
    let mut gaps = timeline::gaps(case.analysis.timeline.record, &[PODS]).into_iter();
    let gap = gaps.find(|gap| !gap.told_late && gap.touches(from, until))?;
    let at = case.analysis.when(gap.from);
    let because = format!("the pods were not watched for a time from {at} on");
    Some(Finding::unclear(because, "a run without such a gap"))
}
