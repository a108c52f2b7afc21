//! What a verdict that did not pass says besides its reason: the rule and where that comes from, who was involved, what
//! users felt, what else it cannot have been, and where in the record it lies. One place for all oracles, so that a new
//! one cannot leave a part out; how sure a verdict is (`sure`) only its own oracle knows.

use std::collections::BTreeSet;

use super::analysis::Analysis;
use super::summary::Totals;
use super::timeline::Scope;
use super::words::{count, counted, list, micros, percent};
use super::{Evidence, Ruling, Verdict, bounds, rules};
use crate::record::{HISTOGRAM_FILE, Micros, Outcome, RECORD_FILE, View, What};
use crate::scenario::{Expectation, FaultPhase, Metric};

pub(super) const RULE: &str = "rule";
pub(super) const INSTANCES: &str = "instances";
pub(super) const FELT: &str = "users felt";
pub(super) const EXCLUDED: &str = "excluded";
pub(super) const PLACE: &str = "in the record";

/// The parts that do not depend on the rule.
pub(super) struct Grounds {
    /// Who was involved.
    pub instances: String,
    /// Latency, errors, burn rate.
    pub felt: String,
    /// What it cannot have been, and what it may have been all the same.
    pub excluded: String,
    /// Where the evidence lies.
    pub place: String,
}

/// Adds them to a verdict that did not pass.
pub(super) fn add(verdict: &mut Verdict, grounds: Grounds) {
    let rule = rules::rule(&verdict.oracle).unwrap_or("not known to this version");
    for (what, value) in [
        (RULE, rule.to_string()),
        (INSTANCES, grounds.instances),
        (FELT, grounds.felt),
        (EXCLUDED, grounds.excluded),
        (PLACE, grounds.place),
    ] {
        verdict.evidence.push(Evidence {
            what: what.into(),
            value,
            at_us: None,
        });
    }
}

/// The rows that a verdict owes besides its reason; a verdict over several runs takes them over from the worst of them.
pub(super) fn is_ground(row: &Evidence) -> bool {
    let all = [super::sure::SURE, RULE, INSTANCES, FELT, EXCLUDED, PLACE];
    all.contains(&&*row.what)
}

/// Adds its grounds to each verdict of a run that did not pass.
pub(super) fn of_run(analysis: &Analysis<'_>, verdicts: &mut [Verdict]) {
    let mut open = verdicts
        .iter_mut()
        .filter(|v| v.verdict != Ruling::Pass)
        .peekable();
    if open.peek().is_none() {
        return;
    }
    let (names, felt, excluded) = (names(analysis), felt(analysis), excluded(analysis));
    for verdict in open {
        let grounds = Grounds {
            instances: involved(verdict, &names),
            felt: felt.clone(),
            excluded: excluded.clone(),
            place: place(analysis, verdict),
        };
        add(verdict, grounds);
    }
}

/// All instances that the record knows, and their places.
fn names(analysis: &Analysis<'_>) -> BTreeSet<String> {
    let record = analysis.timeline.record;
    let served = record.intervals.iter().flat_map(|i| &i.second.steps);
    let mut names: BTreeSet<String> = served.flat_map(|s| s.instances.keys().cloned()).collect();
    for event in &record.events {
        match &event.what {
            What::Instance(i) => names.extend([i.name.clone(), i.slot.clone()]),
            What::Endpoints { ready } => names.extend(ready.iter().cloned()),
            _ => {}
        }
    }
    names
}

/// Those of them that the verdict tells of.
fn involved(verdict: &Verdict, names: &BTreeSet<String>) -> String {
    let rows = verdict.evidence.iter();
    let texts: Vec<&str> = rows
        .flat_map(|e| [&*e.what, &*e.value])
        .chain([&*verdict.because])
        .collect();
    let told: Vec<String> = { names.iter() }
        .filter(|name| texts.iter().any(|text| holds_word(text, name)))
        .cloned()
        .collect();
    match (told.is_empty(), names.len()) {
        (_, 0) => "the record names none".into(),
        (true, n) => format!("none by itself, of {}", count(n as u64)),
        (false, _) => told.join(", "),
    }
}

/// Whether a text has a name in it that is not part of a longer one: `shop-2` is not in `shop-2-r1`.
fn holds_word(text: &str, name: &str) -> bool {
    let of_name = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    text.match_indices(name).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + name.len()..]);
        !before.ends_with(of_name) && !after.starts_with(of_name)
    })
}

/// What users felt, over all and under faults.
fn felt(analysis: &Analysis<'_>) -> String {
    let totals = |seconds| {
        let scope = Scope {
            seconds,
            ..Scope::default()
        };
        analysis.timeline.slice(&scope).totals()
    };
    let all = totals(None);
    let mut text = felt_of(&all);
    if analysis.injections.iter().any(|i| i.effective()) {
        let during = totals(Some(analysis.phases.of(FaultPhase::During)));
        text.push_str(&format!("; during faults {}", felt_of(&during)));
    }
    let expect = analysis.timeline.record.header.scenario.expect.iter();
    let budget = expect.filter_map(|e| match e {
        // Its requests are those that are told of here.
        Expectation::Slo(slo) => {
            let whole = slo.flow.is_none() && slo.step.is_none() && slo.phase.is_none();
            whole.then_some(slo)
        }
        _ => None,
    });
    let budget = budget
        .filter(|slo| slo.bound.metric == Metric::Errors && slo.bound.op.is_upper_bound())
        .find(|slo| bounds::limit_of(&slo.bound) > 0.0);
    if let Some(slo) = budget {
        let rate = all.error_ratio / bounds::limit_of(&slo.bound);
        text.push_str(&format!("; burn rate {rate:.2} of `{}`", slo.text));
    }
    text
}

/// `0.08% of 20,000 requests failed, p50 4.31 ms, p99 15.4 ms, longest 5 s`.
pub(super) fn felt_of(totals: &Totals) -> String {
    let failed = format!(
        "{} of {} failed",
        percent(totals.error_ratio),
        counted(totals.ended, "request")
    );
    let r = &totals.response;
    match r.count {
        0 => format!("{failed}, no latency was recorded"),
        _ => format!(
            "{failed}, p50 {}, p99 {}, longest {}",
            micros(r.p50_us),
            micros(r.p99_us),
            micros(r.max_us)
        ),
    }
}

/// What lies to every verifier: each either excluded by a check, or said to be open.
fn excluded(analysis: &Analysis<'_>) -> String {
    let (timeline, generator) = (&analysis.timeline, &analysis.generator.summary);
    let record = timeline.record;
    let local = timeline.slice(&Scope::default()).with(Outcome::Local);
    let checks = [
        (
            "a generator at its limit",
            generator.saturated.as_ref().map(|_| "it was".to_string()),
        ),
        (
            "errors of the generator's own",
            (local > 0).then(|| counted(local, "request")),
        ),
        ("a run cut short", analysis.cut_short()),
        ("a damaged record", record.damage.first().cloned()),
        ("a gap in a watch", lost_view(analysis)),
        ("a fault that was not made", analysis.not_injected()),
    ];
    let (open, closed): (Vec<_>, Vec<_>) = checks.into_iter().partition(|(_, why)| why.is_some());
    let closed: Vec<&str> = closed.iter().map(|(what, _)| *what).collect();
    let mut text = closed.join(", ");
    for (what, why) in open {
        let apart = if text.is_empty() { "" } else { "; " };
        text.push_str(&format!(
            "{apart}not excluded: {what} ({})",
            why.unwrap_or_default()
        ));
    }
    text
}

/// The first time that some view was lost while traffic was judged.
fn lost_view(analysis: &Analysis<'_>) -> Option<String> {
    let timeline = &analysis.timeline;
    let mut events = timeline.record.events.iter();
    events.find_map(|e| match &e.what {
        What::Watch(watch) if watch.view == View::Lost && e.at < timeline.schedule_end => {
            Some(format!("of {} at {}", watch.of, analysis.when(e.at)))
        }
        _ => None,
    })
}

/// Where the evidence lies, and how it is judged again.
fn place(analysis: &Analysis<'_>, verdict: &Verdict) -> String {
    let timeline = &analysis.timeline;
    let times: Vec<Micros> = verdict.evidence.iter().filter_map(|e| e.at_us).collect();
    let whole = (timeline.judged_from, timeline.schedule_end);
    let span = times.iter().min().zip(times.iter().max());
    let (from, to) = span.map_or(whole, |(from, to)| (*from, *to));
    format!(
        "{RECORD_FILE}, t_us {from} to {to}, latencies in {HISTOGRAM_FILE}; `squall judge` and this folder judge it again"
    )
}

/// Where the evidence of several runs lies.
pub(super) fn in_runs(names: &[String]) -> String {
    format!("{RECORD_FILE} and {HISTOGRAM_FILE} of {}", list(names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_as_a_whole_word() {
        for text in ["shop-2 died", "kill of shop-2: x", "(shop-2)", "on shop-2."] {
            assert!(holds_word(text, "shop-2"), "{text}");
        }
        for text in ["shop-2-r1 died", "workshop-2", "shop-21", "nothing"] {
            assert!(!holds_word(text, "shop-2"), "{text}");
        }
    }
}
