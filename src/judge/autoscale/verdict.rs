//! From the checks, the findings and the measures to one verdict.

use super::findings;
use super::gather::{Gathered, gather};
use super::invariants::{Check, check_all};
use super::load::{Load, load};
use super::measures::*;
use super::published::Range;
use crate::judge::analysis::Analysis;
use crate::judge::{Evidence, Ruling, Verdict, sure, words};
use crate::record::Micros;
use crate::scenario::AutoscaleExpectation;
use crate::scenario::units::format_duration;

/// The expectation as it would be written: what is not said by default.
pub fn written(expect: &AutoscaleExpectation) -> String {
    let usual = AutoscaleExpectation::of(&expect.hpa);
    let mut text = format!("autoscale: {{ hpa: {}", expect.hpa);
    let flags = [
        ("sync", expect.sync, usual.sync),
        (
            "downscale-stabilization",
            expect.downscale_stabilization,
            usual.downscale_stabilization,
        ),
        (
            "cpu-initialization",
            expect.cpu_initialization,
            usual.cpu_initialization,
        ),
        (
            "initial-readiness-delay",
            expect.initial_readiness_delay,
            usual.initial_readiness_delay,
        ),
        ("at-max", expect.at_max, usual.at_max),
    ];
    for (key, value, usual) in flags {
        if value != usual {
            text.push_str(&format!(", {key}: {}", format_duration(value)));
        }
    }
    if expect.tolerance != usual.tolerance {
        text.push_str(&format!(", tolerance: {}", expect.tolerance));
    }
    text + " }"
}

/// Judges a run of an autoscaler.
pub(in crate::judge) fn judge_run(
    analysis: &Analysis<'_>,
    expect: &AutoscaleExpectation,
) -> Verdict {
    match gather(analysis.timeline.record, expect) {
        Ok(gathered) => judge(&gathered, &load(analysis, &gathered), expect),
        Err(why) => Verdict {
            missing: Some("a run that watched the autoscaler".into()),
            ..plain(expect, Ruling::Inconclusive, why)
        },
    }
}

fn plain(expect: &AutoscaleExpectation, verdict: Ruling, because: String) -> Verdict {
    Verdict {
        oracle: "autoscale".into(),
        expectation: written(expect),
        verdict,
        because,
        missing: None,
        evidence: Vec::new(),
    }
}

/// Judges what was gathered.
pub fn judge(gathered: &Gathered, load: &Load, expect: &AutoscaleExpectation) -> Verdict {
    let timeline = &gathered.timeline;
    let checks = check_all(timeline);
    let mut verdict = plain(expect, Ruling::Pass, String::new());
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
    let forgetful = !gathered.leader_seen && findings::explained_by_restart(timeline, &checks);
    let broken = faults.len();
    let decided: u64 = { checks.iter() }
        .filter(|c| c.id == "I2")
        .map(|c| c.checked)
        .sum();
    verdict.evidence.push(sure::row(format!(
        "computed from what the controller published, not estimated; n = {} and {}",
        words::counted(decided, "decision"),
        words::counted(timeline.writes.len() as u64, "change")
    )));
    measure(gathered, load, &mut verdict, &mut faults);
    for finding in findings::all(gathered, load, expect) {
        verdict.evidence.push(Evidence {
            what: finding.what.into(),
            value: finding.text.clone(),
            at_us: Some(finding.at),
        });
        faults.push(finding.text);
    }
    if forgetful && faults.len() == broken {
        verdict.verdict = Ruling::Inconclusive;
        verdict.because = format!(
            "{}; a restart of the controller, which was not watched, would explain it",
            faults.join("; ")
        );
        let lease = "leave to read the lease kube-system/kube-controller-manager";
        verdict.missing = Some(format!("{lease}, which tells of a restart"));
    } else if !faults.is_empty() {
        verdict.verdict = Ruling::Fail;
        verdict.because = faults.join("; ");
    } else {
        decide(gathered, load, &checks, &mut verdict);
    }
    verdict
}

/// Where nothing speaks against the autoscaler: whether enough was seen to say so.
fn decide(gathered: &Gathered, load: &Load, checks: &[Check], verdict: &mut Verdict) {
    let timeline = &gathered.timeline;
    let of = |id: &str| checks.iter().find(|c| c.id == id);
    let decided = of("I2").map_or(0, |c| c.checked);
    let left: usize = checks.iter().map(|c| c.skipped.len()).sum();
    let own = timeline.own_writes().len() as u64;
    let replayed = timeline.replay();
    let told = timeline.syncs.iter().zip(&replayed);
    let changes = told.filter(|(sync, _)| sync.desired != sync.current);
    let (known, open): (Vec<_>, Vec<_>) = changes.partition(|(_, r)| r.expected != Range::ANY);
    let idle = effectiveness(&load.after).filter(|effect| effect.effectiveness < EFFECTIVE);
    let mut doubt = |because: String, missing: String| {
        verdict.verdict = Ruling::Inconclusive;
        verdict.because = because;
        verdict.missing = Some(missing);
    };
    if timeline.syncs.is_empty() || decided == 0 {
        let because = "no decision of the autoscaler could be checked".into();
        let missing = match (
            gathered.troubles.last(),
            of("I2").and_then(|c| c.skipped.first()),
        ) {
            (Some(trouble), _) => format!("metrics; the autoscaler says: {}", trouble.message),
            (None, Some((_, why))) => format!("decisions from a clean state; here: {why}"),
            (None, None) => {
                "the autoscaler's statuses: was it watched, and did the metric move?".into()
            }
        };
        doubt(because, missing);
    } else if !timeline.gaps.is_empty() {
        let because = format!(
            "{} held, but the watch was blind {}",
            words::counted(decided, "decision"),
            words::counted(timeline.gaps.len() as u64, "time")
        );
        doubt(because, "a run without a gap in its watches".into());
    } else if own == 0 {
        let because = format!(
            "the autoscaler had nothing to do: {} to stay at its number of replicas",
            words::counted(decided, "decision")
        );
        let missing = "a load that moves its metric beyond the tolerance";
        doubt(because, missing.into());
    } else if known.is_empty() {
        let why = open.first().and_then(|(_, replay)| replay.open.clone());
        let because = format!(
            "{} to stay held, but none to scale could be checked: {}",
            words::counted(decided, "decision"),
            why.unwrap_or_else(|| "its status was not seen".into())
        );
        doubt(because, "a decision to scale from a clean state".into());
    } else if let Some(effect) = idle {
        let because = format!(
            "the new pods got {} of {}, their share is {}: that may be chance",
            words::percent(effect.share),
            words::counted(effect.requests, "request"),
            words::percent(effect.fair)
        );
        doubt(because, "more requests after the scale-up".into());
    } else {
        verdict.because = format!(
            "{} and {} are what the algorithm gives; {} could not be checked",
            words::counted(decided, "decision"),
            words::counted(own, "change"),
            words::count(left as u64)
        );
    }
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

fn measure(gathered: &Gathered, load: &Load, verdict: &mut Verdict, faults: &mut Vec<String>) {
    let timeline = &gathered.timeline;
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
    let flaps = flaps(&timeline.writes, &load.moving(), window.max(60_000_000));
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
    for (i, step) in load.steps.iter().enumerate() {
        let later = load.steps[i + 1..].iter().find(|s| s.at > step.at);
        let until = later.map_or(Micros::MAX, |s| s.at);
        if step.up
            && let Some(over) = overshoot(&timeline.writes, step.at, until)
        {
            fact("overshoot", words::percent(over), Some(step.at));
        }
        if let Some(took) = settle(&timeline.writes, step.at, until) {
            fact("settled after", words::micros(took), Some(step.at));
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
        if effect.effectiveness < EFFECTIVE && effect.sure {
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
    if !gathered.leader_seen {
        let text = "not watched: a restart of the autoscaler's controller would not be known";
        fact("controller", text.into(), None);
    }
}
