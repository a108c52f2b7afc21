//! The comparison as a whole: latency and errors of each step, with intervals that hold together.

use std::collections::BTreeSet;

use serde::Serialize;

use super::*;
use crate::judge::grounds::{self, Grounds};
use crate::judge::{Evidence, Verdict, words};

/// Two sides compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// What was asked for.
    pub settings: CompareExpectation,
    /// The baseline's runs that count.
    pub baseline: Vec<String>,
    /// The candidate's.
    pub candidate: Vec<String>,
    /// Runs left out, of both sides.
    pub excluded: Vec<Excluded>,
    /// By step, in numbers.
    pub parts: Vec<ComparedPart>,
    /// By step, latency and errors.
    pub verdicts: Vec<Verdict>,
}

/// A step compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparedPart {
    /// Flow.
    pub flow: String,
    /// Step.
    pub step: String,
    /// Latency; `None` where a side has too few runs for an interval.
    pub latency: Option<Comparison>,
    /// Failed requests.
    pub errors: Option<ErrorComparison>,
}

/// Compares two sides, step by step.
pub fn compare_sides(baseline: &Side, candidate: &Side, expect: &CompareExpectation) -> Compared {
    let parts: BTreeSet<(&str, &str)> = [baseline, candidate]
        .into_iter()
        .flat_map(|side| side.runs.iter().flat_map(|run| &run.parts))
        .map(|part| (part.flow.as_str(), part.step.as_str()))
        .collect();
    // Each step is judged twice; together they are to be wrong no more often than one alone.
    let expect = CompareExpectation {
        confidence: 1.0 - (1.0 - CONFIDENCE) / (2 * parts.len()).max(1) as f64,
        ..expect.clone()
    };
    let elsewhere = other_machine(baseline, candidate, &expect);
    let overloaded = overloaded(candidate);
    let mut compared = Compared {
        baseline: names(baseline),
        candidate: names(candidate),
        excluded: [&baseline.excluded[..], &candidate.excluded].concat(),
        parts: Vec::new(),
        verdicts: Vec::new(),
        settings: expect,
    };
    for (flow, step) in parts {
        let (base, cand) = (
            figures(baseline, flow, step),
            figures(candidate, flow, step),
        );
        let expect = &compared.settings;
        let (of_latency, latency) = judge(&base, &cand, expect);
        let (of_errors, errors) = judge_errors(&base, &cand, expect);
        for mut verdict in [of_latency, of_errors] {
            verdict.expectation = format!("{flow} / {step}: {}", verdict.expectation);
            if let Some(why) = &elsewhere {
                verdict.verdict = Ruling::Inconclusive;
                verdict.because = format!("{why}; {}", verdict.because);
                verdict.missing = Some("runs of both sides in turn on one machine".into());
            }
            if let Some((why, runs)) = &overloaded {
                // Less load makes nothing worse: what is worse all the same is so.
                if verdict.verdict != Ruling::Fail {
                    verdict.verdict = Ruling::Inconclusive;
                    verdict.because = format!("{why}; {}", verdict.because);
                    verdict.missing = Some("a load that the candidate can hold".into());
                }
                verdict.evidence.extend(runs.iter().cloned());
            }
            verdict.evidence.extend(left_out(&compared.excluded));
            if verdict.verdict != Ruling::Pass {
                grounds::add(&mut verdict, grounds_of(&compared, (&base, &cand)));
            }
            compared.verdicts.push(verdict);
        }
        let (flow, step) = (flow.into(), step.into());
        compared.parts.push(ComparedPart {
            flow,
            step,
            latency,
            errors,
        });
    }
    if compared.parts.is_empty() {
        let mut verdict = verdict::open("runs of both sides that can be compared".into());
        verdict.because = "no run of either side can be used".into();
        verdict.missing = Some(format!("{RUNS} runs a side that ended as planned"));
        verdict.evidence = left_out(&compared.excluded);
        grounds::add(&mut verdict, grounds_of(&compared, (&[], &[])));
        compared.verdicts.push(verdict);
    }
    compared
}

/// What a comparison that did not pass says besides its reason.
fn grounds_of(compared: &Compared, (base, cand): (&[RunFigure], &[RunFigure])) -> Grounds {
    let settings = &compared.settings;
    let name = quantile_name(settings.quantile);
    let felt = |side: &str, runs: &[RunFigure]| {
        let sum = |of: fn(&RunFigure) -> u64| runs.iter().map(of).fold(0, u64::saturating_add);
        let longest = runs.iter().map(|r| r.value_us).max().unwrap_or(0);
        let (failed, ended) = (sum(|r| r.failed), sum(|r| r.ended));
        format!(
            "{side}: {} of {} failed, {name} {} in its slowest run",
            words::percent(failed as f64 / ended.max(1) as f64),
            words::counted(ended, "request"),
            words::micros(longest)
        )
    };
    let turn = match settings.interleaved {
        true => "a machine that drifts (runs in turn), another machine, ",
        false => "",
    };
    Grounds {
        instances: "not told apart: steps are compared, over all instances".into(),
        felt: format!("{}; {}", felt("candidate", cand), felt("baseline", base)),
        excluded: format!(
            "{turn}other traffic or faults, runs cut short or damaged, a generator at its limit; not excluded: load of \
             others on this machine"
        ),
        place: grounds::in_runs(&[&compared.candidate[..], &compared.baseline].concat()),
    }
}

fn names(side: &Side) -> Vec<String> {
    side.runs.iter().map(|run| run.name.clone()).collect()
}

/// The figures of a step, one a run; a run without it has none, and then there are too few.
fn figures(side: &Side, flow: &str, step: &str) -> Vec<RunFigure> {
    let parts = side.runs.iter().flat_map(|run| &run.parts);
    parts
        .filter(|part| part.flow == flow && part.step == step)
        .map(|part| part.figure.clone())
        .collect()
}

/// What tells the sides apart besides the program.
fn other_machine(baseline: &Side, candidate: &Side, expect: &CompareExpectation) -> Option<String> {
    let machines = |side: &Side| -> BTreeSet<String> {
        side.runs.iter().map(|run| run.machine.clone()).collect()
    };
    let (a, b) = (machines(baseline), machines(candidate));
    let list = |of: &BTreeSet<String>| of.iter().cloned().collect::<Vec<_>>().join(" and ");
    (expect.interleaved && !a.is_empty() && !b.is_empty() && a != b).then(|| {
        format!(
            "the baseline ran on {}, the candidate on {}",
            list(&a),
            list(&b)
        )
    })
}

/// The candidate's runs that had less to do than the baseline's, since they could not keep up.
fn overloaded(candidate: &Side) -> Option<(String, Vec<Evidence>)> {
    let facts: Vec<Evidence> = candidate
        .runs
        .iter()
        .filter_map(|run| {
            Some(Evidence {
                what: format!("{} had less to do", run.name),
                value: run.overloaded.clone()?,
                at_us: None,
            })
        })
        .collect();
    (!facts.is_empty()).then(|| {
        let why = format!(
            "arrivals were dropped in {} of {} candidate runs, which look better for it",
            facts.len(),
            candidate.runs.len()
        );
        (why, facts)
    })
}

fn left_out(excluded: &[Excluded]) -> Vec<Evidence> {
    let facts = excluded.iter().map(|e| Evidence {
        what: format!("{} is left out", e.run),
        value: e.why.clone(),
        at_us: None,
    });
    facts.collect()
}
