//! `usage`: no instance uses more of its machine than it should: CPU and memory of each container against its limits,
//! its requests or an amount, throttling, and kills for memory.

use std::collections::BTreeSet;

use super::analysis::Analysis;
use super::finding::Finding;
use super::words::{bytes, counted, list, micros, percent};
use super::{Evidence, Verdict, sure};
use crate::observe::USAGE_NOT_RECORDED;
use crate::record::{Incident, Micros, What};
use crate::scenario::UsageExpectation;
use crate::scenario::units::format_duration;

mod doubts;
mod series;
mod study;
#[cfg(test)]
pub(super) mod tests;

use series::Series;
use study::{Above, Resource, Study};

/// So many rows of evidence tell what each container used.
const ROWS: usize = 20;

/// The expectation as it would be written.
pub fn written(expected: &UsageExpectation) -> String {
    let mut text = format!(
        "usage: {{ cpu: {}, memory: {}",
        expected.cpu, expected.memory
    );
    if let Some(throttled) = expected.throttled {
        text.push_str(&format!(", throttled: {throttled}"));
    }
    let lasts = format_duration(expected.lasts);
    text + &format!(", for: {lasts}, oom-kills: {} }}", expected.oom_kills)
}

/// All that a verdict rests on.
struct Case<'a> {
    analysis: &'a Analysis<'a>,
    expected: &'a UsageExpectation,
    /// The time that is judged.
    span: (Micros, Micros),
    all: &'a [Series],
    studies: Vec<Study<'a>>,
}

/// Judges what the instances used.
pub(super) fn judge(analysis: &Analysis<'_>, expected: &UsageExpectation) -> Verdict {
    let timeline = &analysis.timeline;
    let span = (timeline.judged_from, timeline.schedule_end);
    let all = series::collect(timeline.record, span);
    let studies = all.iter().flat_map(|one| study::of(one, expected, span));
    let case = Case {
        analysis,
        expected,
        span,
        all: &all,
        studies: studies.collect(),
    };
    let mut evidence = failures(&case);
    let mut finding = match failed(&evidence) {
        None => doubts::first(&case).unwrap_or_else(|| Finding::pass(passed(&case))),
        Some(because) => Finding::fail(because),
    };
    finding.doubt(analysis);
    evidence.extend(rows(&case));
    Verdict {
        oracle: "usage".into(),
        expectation: written(expected),
        verdict: finding.ruling,
        because: finding.because,
        missing: finding.missing,
        evidence,
    }
}

/// The reason for a FAIL: the worst of each kind, since who mends the first must know of the second; `None` without any.
fn failed(failures: &[Evidence]) -> Option<String> {
    let mut kinds = BTreeSet::new();
    let first = failures.iter().filter(|row| kinds.insert(&row.what));
    let first: Vec<&str> = first.map(|row| row.value.as_str()).collect();
    let text = first.join("; also: ");
    match failures.len() - first.len() {
        _ if first.is_empty() => None,
        0 => Some(text),
        more => Some(format!("{text}; {more} more")),
    }
}

/// What speaks against it; worst first.
fn failures(case: &Case<'_>) -> Vec<Evidence> {
    let mut found = Vec::new();
    let kills = kills(case);
    if kills.len() > case.expected.oom_kills as usize {
        for (at, text) in &kills {
            found.push(fact("OOM kill", text.clone(), Some(*at)));
        }
    }
    let mut above: Vec<(&Study<'_>, Above)> = { case.studies.iter() }
        .filter_map(|study| Some((study, study.above()?)))
        .collect();
    above.sort_by(|(a, x), (b, y)| (y.peak / b.limit).total_cmp(&(x.peak / a.limit)));
    for (study, above) in above {
        let what = study.resource.name();
        found.push(fact(what, too_much(case, study, &above), Some(above.from)));
    }
    found
}

/// Containers that were killed for their memory.
fn kills(case: &Case<'_>) -> Vec<(Micros, String)> {
    let (from, _) = case.span;
    let events = case.analysis.timeline.record.events.iter();
    let kills = events
        .filter(|e| e.at >= from)
        .filter_map(|e| match &e.what {
            What::Incident {
                incident: Incident::OomKilled,
                instance,
                detail,
            } => Some((e.at, instance, detail)),
            _ => None,
        });
    kills
        .map(|(at, instance, detail)| {
            let text = format!("{instance}: {detail} at {}", case.analysis.when(at));
            (at, text + &faults(case, instance, at, at))
        })
        .collect()
}

/// `container web of shop-1 used up to 950m of CPU, 95% of its limit of 1000m: above 90% of limit for 45 s from 60 s on`.
fn too_much(case: &Case<'_>, study: &Study<'_>, above: &Above) -> String {
    let name = study.series.name();
    let peak = study.words(above.peak);
    let start = case.analysis.when(above.from);
    let lasted = match (study.resource, above.samples) {
        (Resource::Memory, 1) => format!("at {start}"),
        (_, n) => format!(
            "for {} from {start} on ({})",
            micros(above.lasted),
            counted(n, "sample")
        ),
    };
    let faults = faults(case, &study.series.instance, above.from, above.to);
    match study.resource {
        Resource::Throttling => format!(
            "{name} was throttled in up to {peak}: in more than {} of them {lasted}{faults}",
            percent(study.limit)
        ),
        _ => format!(
            "{name} used up to {peak}: above {} {lasted}{faults}",
            study.bound
        ),
    }
}

/// The faults that were in force on an instance: they may be what used so much.
fn faults(case: &Case<'_>, instance: &str, from: Micros, to: Micros) -> String {
    let hit = case.analysis.injections.iter().filter(|i| {
        i.effective()
            && i.instances.iter().any(|name| name == instance)
            && i.began_us <= to
            && (!i.lasting || i.undone_us.unwrap_or(Micros::MAX) >= from)
    });
    let names: Vec<String> = hit.map(|i| i.describe()).collect();
    match names.is_empty() {
        true => String::new(),
        false => format!(", with {} in force", list(&names)),
    }
}

/// Nothing speaks against it.
fn passed(case: &Case<'_>) -> String {
    let unit = match case.all.iter().any(|s| s.container.is_some()) {
        true => "container",
        false => "instance",
    };
    let mut text = format!("{} kept to it", counted(case.all.len() as u64, unit));
    for resource in [Resource::Cpu, Resource::Memory, Resource::Throttling] {
        let most = { case.studies.iter() }
            .filter(|s| s.resource == resource)
            .filter_map(|s| Some((s, s.peak()?)))
            .max_by(|(a, x), (b, y)| (x / a.limit).total_cmp(&(y / b.limit)));
        if let Some((study, peak)) = most {
            let name = study.series.name();
            text.push_str(&format!("; at most {} ({name})", study.peak_words(peak)));
        }
    }
    if unit == "container" && !sees_throttling(case) {
        text.push_str("; throttling was not seen");
    }
    text
}

fn sees_throttling(case: &Case<'_>) -> bool {
    let mut samples = case.all.iter().flat_map(|series| &series.samples);
    samples.any(|sample| sample.throttled.is_some())
}

/// What each one used, those nearest to their bounds first.
fn rows(case: &Case<'_>) -> Vec<Evidence> {
    let mut rows = Vec::new();
    for series in case.all {
        let own = case
            .studies
            .iter()
            .filter(|s| std::ptr::eq(s.series, series));
        let peaks: Vec<_> = own.filter_map(|s| Some((s, s.peak()?))).collect();
        let nearest = peaks.iter().map(|(s, peak)| peak / s.limit);
        let nearest = nearest.fold(0.0, f64::max);
        let words: Vec<String> = peaks.iter().map(|(s, peak)| s.peak_words(*peak)).collect();
        if !words.is_empty() {
            let value = format!("{}: {}", series.name(), words.join("; "));
            rows.push((nearest, fact("at most", value, None)));
        }
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let more = rows.len().saturating_sub(ROWS);
    let mut rows: Vec<Evidence> = rows.into_iter().take(ROWS).map(|(_, row)| row).collect();
    if more > 0 {
        rows.push(fact("at most", format!("{more} more used less"), None));
    }
    let samples: usize = case.all.iter().map(|s| s.samples.len()).sum();
    let widest = case.studies.iter().filter_map(Study::widest).max();
    let mean = widest.map_or(String::new(), |widest| {
        format!(", each a mean over {} at most", micros(widest))
    });
    rows.push(sure::row(format!(
        "measured, not estimated, n = {}{mean}",
        counted(samples as u64, "sample")
    )));
    rows
}

fn fact(what: impl Into<String>, value: impl Into<String>, at_us: Option<Micros>) -> Evidence {
    Evidence {
        what: what.into(),
        value: value.into(),
        at_us,
    }
}

/// Why nothing was recorded, where the run says so.
fn not_recorded(case: &Case<'_>) -> Option<String> {
    let mut events = case.analysis.timeline.record.events.iter();
    events.find_map(|e| match &e.what {
        What::Note { text, .. } if text.starts_with(USAGE_NOT_RECORDED) => Some(text.clone()),
        _ => None,
    })
}

/// `950m of CPU`, `58.6 MiB of memory`.
fn amount(resource: Resource, value: f64) -> String {
    match resource {
        Resource::Cpu => format!("{value:.0}m of CPU"),
        Resource::Memory => format!("{} of memory", bytes(value as u64)),
        Resource::Throttling => format!("{} of its scheduling periods", percent(value)),
    }
}
