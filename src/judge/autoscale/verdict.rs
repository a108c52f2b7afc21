//! From the checks and measures to one verdict.

use serde::{Deserialize, Serialize};

use super::invariants::{Check, check_all};
use super::measures::*;
use super::timeline::Timeline;
use crate::judge::{Evidence, Ruling, Verdict, words};
use crate::record::Micros;

/// What is expected of an autoscaler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AutoscaleExpectation {
    /// Its name.
    pub hpa: String,
}

/// What the load did, and who carried it: the part of the judgement that the autoscaler's own objects do not tell.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Load {
    /// When the load changed.
    pub steps: Vec<Micros>,
    /// The chain of each step up.
    pub chains: Vec<Chain>,
    /// Requests by pod, and whether it is new, from 60 s after the scale-up on; empty where that is not known.
    pub after: Vec<(u64, bool)>,
}

/// Judges a run of an autoscaler.
pub fn judge(timeline: &Timeline, load: &Load, expect: &AutoscaleExpectation) -> Verdict {
    let checks = check_all(timeline);
    let mut verdict = Verdict {
        oracle: "autoscale".into(),
        expectation: format!("autoscale: {{ hpa: {} }}", expect.hpa),
        verdict: Ruling::Pass,
        because: String::new(),
        missing: None,
        evidence: Vec::new(),
    };
    let mut faults = Vec::new();
    for check in &checks {
        verdict.evidence.extend(rows(check));
        if let Some((_, text)) = check.violations.first() {
            faults.push(match check.violations.len() {
                1 => format!("{}: {text}", check.id),
                n => format!("{}: {text}; {} more", check.id, n - 1),
            });
        }
    }
    measure(timeline, load, &mut verdict, &mut faults);
    let decided = checks
        .iter()
        .find(|c| c.id == "I2")
        .map_or(0, |c| c.checked);
    let left: usize = checks.iter().map(|c| c.skipped.len()).sum();
    if !faults.is_empty() {
        verdict.verdict = Ruling::Fail;
        verdict.because = faults.join("; ");
    } else if timeline.syncs.is_empty() || decided == 0 {
        verdict.verdict = Ruling::Inconclusive;
        verdict.because = "no decision of the autoscaler could be checked".into();
        verdict.missing = Some(match checks.iter().find_map(|c| c.skipped.first()) {
            Some((_, why)) => format!("decisions from a clean state; here: {why}"),
            None => "the autoscaler's statuses: was it watched, and did the metric move?".into(),
        });
    } else if !timeline.gaps.is_empty() {
        verdict.verdict = Ruling::Inconclusive;
        verdict.because = format!(
            "{} held, but the watch was blind {}",
            words::counted(decided, "decision"),
            words::counted(timeline.gaps.len() as u64, "time")
        );
        verdict.missing = Some("a run without a gap in its watches".into());
    } else {
        verdict.because = format!(
            "{} and {} are what the algorithm gives; {} could not be checked",
            words::counted(decided, "decision"),
            words::counted(timeline.writes.len() as u64, "change"),
            words::count(left as u64)
        );
    }
    verdict
}

fn rows(check: &Check) -> Vec<Evidence> {
    let broken = check.violations.iter().take(3).map(|(at, text)| Evidence {
        what: format!("{} broken", check.id),
        value: text.clone(),
        at_us: Some(*at),
    });
    let mut rows: Vec<Evidence> = broken.collect();
    let mut value = format!("{}: {} checked", check.rule, check.checked);
    if let Some((_, why)) = check.skipped.first() {
        value += &format!(", {} left out (such as: {why})", check.skipped.len());
    }
    rows.push(Evidence {
        what: check.id.into(),
        value,
        at_us: None,
    });
    rows
}

fn measure(timeline: &Timeline, load: &Load, verdict: &mut Verdict, faults: &mut Vec<String>) {
    let mut fact = |what: &str, value: String, at_us: Option<Micros>| {
        verdict.evidence.push(Evidence {
            what: what.into(),
            value,
            at_us,
        });
    };
    let window = timeline
        .specs
        .last()
        .map_or(0, |(_, s)| timeline.windows(s).1);
    let flaps = flaps(&timeline.writes, &load.steps, window);
    if let Some(flap) = flaps.first() {
        let (a, b, c) = flap.counts;
        let text = format!(
            "{} at constant load, such as {a} to {b} to {c}",
            words::counted(flaps.len() as u64, "turn")
        );
        if flaps.len() >= FLAPS {
            faults.push(format!("flapping: {text}"));
        }
        fact("flaps", text, Some(flap.at));
    }
    if let Some(overshoot) = overshoot(&timeline.writes) {
        fact("overshoot", words::percent(overshoot), None);
    }
    for (i, step) in load.steps.iter().enumerate() {
        let until = load.steps.get(i + 1).copied().unwrap_or(Micros::MAX);
        if let Some(took) = settle(&timeline.writes, *step, until) {
            fact("settled after", words::micros(took), Some(*step));
        }
    }
    for chain in &load.chains {
        for link in chain.links().iter().skip(1) {
            fact(
                link.name,
                format!("{} later", words::micros(link.took)),
                Some(link.at),
            );
        }
        if let Some(name) = chain.broken_at() {
            fact("chain ends before", name.into(), chain.load);
        }
    }
    if let Some(effect) = effectiveness(&load.after) {
        let text = format!(
            "the new pods got {} of {}, their share is {}",
            words::percent(effect.share),
            words::counted(effect.requests, "request"),
            words::percent(effect.fair)
        );
        if effect.effectiveness < EFFECTIVE {
            faults.push(format!(
                "the scale-up did not help: {text}; connections that stay open keep their requests at the old pods"
            ));
        }
        fact(
            "effectiveness",
            format!("{:.2}: {text}", effect.effectiveness),
            None,
        );
    }
}
