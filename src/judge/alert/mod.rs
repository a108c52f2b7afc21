//! Did the fault raise the alert that it must raise, in time, for the right target, and did its end clear it?
//!
//! What counts is what Alertmanager lists; where only Prometheus is watched, its own list of firing alerts. Each change
//! lies between the look that did not show it and the look that did, and is judged as that span.

use std::collections::BTreeMap;

use super::analysis::Analysis;
use super::finding::Finding;
use super::words::counted;
use super::{Ruling, Verdict};
use crate::record::{AlertEvent, Micros};
use crate::scenario::units::format_duration;
use crate::scenario::{AlertExpectation, AlertSource};

mod case;
mod evidence;
mod sight;
#[cfg(test)]
pub(super) mod tests;

use case::{Case, Held};
use sight::Sight;

/// All that is known while one expectation is judged.
struct Context<'a> {
    analysis: &'a Analysis<'a>,
    expected: &'a AlertExpectation,
    /// What counts.
    sight: Sight<'a>,
    /// What Prometheus had, where it is watched.
    prometheus: Option<Sight<'a>>,
}

impl Context<'_> {
    /// Whether Prometheus is what counts.
    fn only_prometheus(&self) -> bool {
        self.sight.source == AlertSource::Prometheus
    }

    /// When the first fault of all was made: what fires before is a false alarm.
    fn first_us(&self) -> Micros {
        let effective = self.analysis.injections.iter().filter(|i| i.effective());
        effective.map(|i| i.began_us).min().unwrap_or(Micros::MAX)
    }
}

/// Judges one expectation over all injections of its fault.
pub(super) fn judge(analysis: &Analysis<'_>, expected: &AlertExpectation) -> Verdict {
    let observe = &analysis.timeline.record.header.scenario.observe;
    let source = observe.alerts().map(|(source, _)| source).next();
    let sight = |source| Sight::of(&analysis.timeline, source);
    let context = Context {
        analysis,
        expected,
        sight: sight(source.unwrap_or(AlertSource::Alertmanager)),
        prometheus: observe
            .prometheus
            .as_ref()
            .map(|_| sight(AlertSource::Prometheus)),
    };
    let cases = cases(&context);
    let (subject, mut finding) = decide(&context, &cases);
    if let (Ruling::Pass, Some(cut)) = (finding.ruling, analysis.cut_short()) {
        let because = format!("{}; but {cut}", finding.because);
        finding = Finding::unclear(because, format!("the rest of the run: {cut}"));
    }
    if !cases.is_empty()
        && let Some(without) = analysis.not_injected()
    {
        finding.because = format!("{}; {without}", finding.because);
    }
    Verdict {
        oracle: "alert".into(),
        expectation: written(expected),
        verdict: finding.ruling,
        because: finding.because,
        missing: finding.missing,
        evidence: evidence::evidence(&context, &cases, subject),
    }
}

/// The alerts that each injection must raise.
fn cases<'a>(context: &'a Context<'a>) -> Vec<Case<'a>> {
    let expected = context.expected;
    let injections = context.analysis.injections.iter().enumerate();
    let meant = injections.filter(|(_, i)| {
        i.effective() && expected.fault.as_ref().is_none_or(|name| *name == i.name)
    });
    let hits = |value: &String| value.contains(AlertExpectation::INSTANCE);
    let each = expected.labels.values().any(hits);
    meant
        .flat_map(|(index, injection)| {
            let sets: Vec<BTreeMap<String, String>> = match each {
                false => vec![expected.labels.clone()],
                true => injection
                    .instances
                    .iter()
                    .map(|i| filled(expected, i))
                    .collect(),
            };
            sets.into_iter()
                .map(move |labels| Case::new(context, index, labels))
        })
        .collect()
}

/// The labels expected where this instance was hit.
fn filled(expected: &AlertExpectation, instance: &str) -> BTreeMap<String, String> {
    let labels = expected.labels.iter();
    labels
        .map(|(key, value)| {
            (
                key.clone(),
                value.replace(AlertExpectation::INSTANCE, instance),
            )
        })
        .collect()
}

/// The worst of what is found, or the slowest of what held.
fn decide(context: &Context<'_>, cases: &[Case<'_>]) -> (Option<usize>, Finding) {
    if cases.is_empty() {
        let because = match context.analysis.not_injected() {
            Some(why) => format!("no fault was injected that must raise it: {why}"),
            None => "no fault was injected that must raise it".into(),
        };
        return (None, Finding::unclear(because, "an injection"));
    }
    let mut worst: Option<(Option<usize>, Finding)> =
        other_before(context, cases).map(|f| (None, f));
    let mut slowest: Option<(usize, Held)> = None;
    for (i, case) in cases.iter().enumerate() {
        match case.judge() {
            Err(finding) if worst.as_ref().is_none_or(|w| finding.ruling > w.1.ruling) => {
                worst = Some((Some(i), finding));
            }
            Err(_) => {}
            Ok(held) if slowest.as_ref().is_none_or(|s| held.took > s.1.took) => {
                slowest = Some((i, held));
            }
            Ok(_) => {}
        }
    }
    match (worst, slowest) {
        (Some(worst), _) => worst,
        (None, Some((i, held))) => {
            let because = match cases.len() {
                1 => held.because,
                n => format!(
                    "{} were raised; slowest: {}",
                    counted(n as u64, "alert"),
                    held.because
                ),
            };
            (Some(i), Finding::pass(because))
        }
        // Each case is one or the other.
        (None, None) => (
            None,
            Finding::unclear("nothing was judged".into(), "an injection"),
        ),
    }
}

/// Another alert that began to fire before any fault: a false alarm, or a system that was not well.
fn other_before(context: &Context<'_>, cases: &[Case<'_>]) -> Option<Finding> {
    let (analysis, first) = (context.analysis, context.first_us());
    let mut others = context.sight.alerts().into_iter().filter(|alert| {
        !context.expected.ignore.contains(&alert.name) && !cases.iter().any(|c| c.wants(alert))
    });
    others.find_map(|alert| {
        let episodes = context.sight.episodes(|event| same(event, alert));
        let told = episodes.iter().filter_map(|e| e.told).map(|(seen, _)| seen);
        let early = |seen: &sight::Seen| {
            seen.by <= first && seen.surely_from(analysis.timeline.judged_from)
        };
        let seen = told.into_iter().find(early)?;
        Some(Finding::fail(format!(
            "{} fired at {}, before any fault",
            named(&alert.name, &alert.labels),
            analysis.when(seen.by)
        )))
    })
}

fn same(a: &AlertEvent, b: &AlertEvent) -> bool {
    a.name == b.name && a.labels == b.labels
}

/// The expectation in words: `alert Down{service="shop"} fires within 30s, resolves within 1m`.
pub fn written(expected: &AlertExpectation) -> String {
    let mut text = format!(
        "alert {} fires within {}",
        named(&expected.name, &expected.labels),
        format_duration(expected.fires_within)
    );
    if let Some(within) = expected.resolves_within {
        text.push_str(&format!(", resolves within {}", format_duration(within)));
    }
    if let Some(fault) = &expected.fault {
        text.push_str(&format!(", for the fault {fault}"));
    }
    text
}

/// An alert as Prometheus writes it.
fn named(name: &str, labels: &BTreeMap<String, String>) -> String {
    match labels.is_empty() {
        true => name.to_string(),
        false => format!("{name}{}", shown_labels(labels)),
    }
}

fn shown_labels(labels: &BTreeMap<String, String>) -> String {
    let each: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v:?}")).collect();
    format!("{{{}}}", each.join(", "))
}
