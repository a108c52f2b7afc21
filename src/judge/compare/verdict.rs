//! From a comparison to the verdict and its sentences, and what is missing for one.

use super::*;
use crate::judge::{Evidence, Verdict, words};

/// Requests without which a quantile of one run has no upper bound: 299 for p99, 2,995 for p99.9.
pub(super) fn samples_needed(quantile: f64) -> u64 {
    if quantile <= 0.0 || quantile >= 1.0 {
        return 1;
    }
    (((1.0 - CONFIDENCE).ln() / quantile.ln() - 1e-9).ceil() as u64).max(1)
}

/// How often the side changes in order of time.
fn changes_of_side(baseline: &[RunFigure], candidate: &[RunFigure]) -> usize {
    let mut order: Vec<(u64, bool)> = baseline
        .iter()
        .map(|r| (r.started, false))
        .chain(candidate.iter().map(|r| (r.started, true)))
        .collect();
    order.sort();
    order.windows(2).filter(|w| w[0].1 != w[1].1).count()
}

/// Judges the candidate.
pub fn judge(
    baseline: &[RunFigure],
    candidate: &[RunFigure],
    expect: &CompareExpectation,
) -> Verdict {
    let name = quantile_name(expect.quantile);
    let mut verdict = Verdict {
        oracle: "compare".into(),
        expectation: format!(
            "{name} at most {} above the baseline",
            words::percent(expect.margin.get())
        ),
        verdict: Ruling::Inconclusive,
        because: String::new(),
        missing: None,
        evidence: Vec::new(),
    };
    if let Some((because, missing)) = unusable(baseline, candidate, expect) {
        verdict.because = because;
        verdict.missing = Some(missing);
        return verdict;
    }
    let result = compare(baseline, candidate, expect);
    verdict.verdict = result.ruling;
    verdict.because = sentence(&name, &result);
    let runs = baseline.len().min(candidate.len());
    if result.ruling == Ruling::Inconclusive {
        verdict.missing = Some(match result.runs_needed {
            Some(needed) => format!(
                "{} more runs a side, in turn",
                needed.saturating_sub(runs).max(1)
            ),
            None => format!(
                "over {MANY} runs a side: the difference is about as large as the limit of {}",
                above(result.limit)
            ),
        });
    }
    if result.ruling != Ruling::Fail {
        errors_differ(&mut verdict, baseline, candidate);
    }
    verdict.evidence.extend(rows(baseline, candidate, &result));
    verdict
}

fn unusable(
    baseline: &[RunFigure],
    candidate: &[RunFigure],
    expect: &CompareExpectation,
) -> Option<(String, String)> {
    let (a, b) = (baseline.len(), candidate.len());
    if a.min(b) < RUNS {
        let more = |n: usize, side: &str| {
            let lack = RUNS.saturating_sub(n) as u64;
            (lack > 0).then(|| words::counted(lack, &format!("more {side} run")))
        };
        let lacking = [more(a, "baseline"), more(b, "candidate")];
        return Some((
            format!(
                "{a} baseline and {b} candidate runs are too few: runs differ by more than their requests show"
            ),
            lacking
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(" and "),
        ));
    }
    let needed = samples_needed(expect.quantile);
    let short = baseline.iter().chain(candidate).min_by_key(|r| r.samples)?;
    if short.samples < needed {
        return Some((
            format!(
                "{} of {} has {}",
                quantile_name(expect.quantile),
                short.name,
                words::counted(short.samples, "sample")
            ),
            format!("runs of at least {} requests", words::count(needed)),
        ));
    }
    let changes = changes_of_side(baseline, candidate);
    if expect.interleaved && changes < a.min(b) / 2 + 1 {
        return Some((
            "the sides ran one after the other: a machine that drifts looks the same as a program that changed".into(),
            "runs of both sides in turn".into(),
        ));
    }
    None
}

fn sentence(name: &str, result: &Comparison) -> String {
    let values = format!(
        "{name} is {} against {}",
        words::micros(result.candidate_us.round() as u64),
        words::micros(result.baseline_us.round() as u64)
    );
    let interval = format!(
        "{:.3} times (95% interval {:.3} to {:.3})",
        result.ratio, result.low, result.high
    );
    match result.ruling {
        Ruling::Fail => format!(
            "{values}: {interval}, all above the limit of {:.3}",
            result.limit
        ),
        Ruling::Pass => format!(
            "{values}: {interval}, all below the limit of {:.3}",
            result.limit
        ),
        Ruling::Inconclusive => {
            format!(
                "{values}: {interval}, on both sides of the limit of {:.3}",
                result.limit
            )
        }
    }
}

/// A side that fails more answers less: its latencies are those of the work that was easy.
fn errors_differ(verdict: &mut Verdict, baseline: &[RunFigure], candidate: &[RunFigure]) {
    let typical = |runs: &[RunFigure]| {
        let mut ratios: Vec<f64> = runs.iter().map(|r| r.error_ratio).collect();
        ratios.sort_by(f64::total_cmp);
        ratios[ratios.len() / 2]
    };
    let (base, cand) = (typical(baseline), typical(candidate));
    if cand <= (2.0 * base).max(base + 0.001) {
        return;
    }
    verdict.verdict = Ruling::Inconclusive;
    verdict.because = format!(
        "the candidate failed {} of requests, the baseline {}: their latencies are not of the same work",
        words::percent(cand),
        words::percent(base)
    );
    verdict.missing = Some("runs in which the candidate answers what the baseline answers".into());
}

fn rows(baseline: &[RunFigure], candidate: &[RunFigure], result: &Comparison) -> Vec<Evidence> {
    let row = |what: &str, value: String| Evidence {
        what: what.into(),
        value,
        at_us: None,
    };
    let list = |runs: &[RunFigure]| {
        let each = runs.iter().map(|r| words::micros(r.value_us));
        each.collect::<Vec<_>>().join(", ")
    };
    vec![
        row("baseline runs", list(baseline)),
        row("candidate runs", list(candidate)),
        row("baseline against itself", above(1.0 + result.noise)),
        row("limit", above(result.limit)),
    ]
}

fn above(ratio: f64) -> String {
    format!("{} above", words::percent(ratio - 1.0))
}

pub(super) fn quantile_name(quantile: f64) -> String {
    let text = format!("{:.3}", quantile * 100.0);
    format!("p{}", text.trim_end_matches('0').trim_end_matches('.'))
}
