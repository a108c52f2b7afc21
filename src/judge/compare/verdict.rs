//! From a comparison to the verdict and its sentences, and what is missing for one.

use super::*;
use crate::judge::stats::samples_for_quantile;
use crate::judge::{Evidence, Verdict, words};

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

/// Judges the candidate's latency.
pub fn judge(
    baseline: &[RunFigure],
    candidate: &[RunFigure],
    expect: &CompareExpectation,
) -> (Verdict, Option<Comparison>) {
    let name = quantile_name(expect.quantile);
    let mut verdict = open(format!(
        "{name} at most {} or {} above the baseline",
        words::percent(expect.margin.get()),
        words::micros(expect.floor.as_micros() as u64)
    ));
    let lacking = too_few(baseline, candidate)
        .or_else(|| too_short(baseline, candidate, expect))
        .or_else(|| not_in_turn(baseline, candidate, expect));
    let Some(result) =
        (both(baseline, candidate) > 1).then(|| compare(baseline, candidate, expect))
    else {
        return (lacking_of(verdict, lacking), None);
    };
    if lacking.is_some() {
        return (lacking_of(verdict, lacking), Some(result));
    }
    verdict.verdict = result.ruling;
    verdict.because = sentence(&name, &result, expect);
    if result.ruling == Ruling::Inconclusive {
        let runs = both(baseline, candidate);
        verdict.missing = Some(more(runs, result.runs_needed, &above(result.limit)));
    }
    other_work(&mut verdict, baseline, candidate);
    verdict
        .evidence
        .extend(rows(baseline, candidate, &result, expect));
    (verdict, Some(result))
}

/// Judges the candidate's share of failed requests.
pub fn judge_errors(
    baseline: &[RunFigure],
    candidate: &[RunFigure],
    expect: &CompareExpectation,
) -> (Verdict, Option<ErrorComparison>) {
    let mut verdict = open(format!(
        "errors at most {} of requests above the baseline",
        words::percent(expect.error_margin.get())
    ));
    let lacking = too_few(baseline, candidate).or_else(|| not_in_turn(baseline, candidate, expect));
    let Some(result) =
        (both(baseline, candidate) > 1).then(|| compare_errors(baseline, candidate, expect))
    else {
        return (lacking_of(verdict, lacking), None);
    };
    if lacking.is_some() {
        return (lacking_of(verdict, lacking), Some(result));
    }
    let side = match result.ruling {
        Ruling::Fail => "all above",
        Ruling::Pass => "all below",
        Ruling::Inconclusive if result.unfinished > 0 => "against",
        Ruling::Inconclusive if result.high < result.margin => "too few requests to confirm",
        Ruling::Inconclusive => "on both sides of",
    };
    let points = |v: f64| {
        format!(
            "{}{}",
            if v < 0.0 { "-" } else { "+" },
            words::percent(v.abs())
        )
    };
    verdict.verdict = result.ruling;
    verdict.because = format!(
        "{} of requests failed against {}: {} ({} interval {} to {}), {side} the limit of {}",
        words::percent(result.candidate_ratio),
        words::percent(result.baseline_ratio),
        points(result.difference),
        sure(expect),
        points(result.low),
        points(result.high),
        points(if result.ruling == Ruling::Fail {
            result.limit
        } else {
            result.margin
        }),
    );
    if result.unfinished > 0 {
        verdict.because.push_str(&format!(
            "; but {} still in flight when the graceful stop was over",
            words::counted(result.unfinished, "request")
        ));
        verdict.missing = Some("a longer `graceful-stop`, or longer runs".into());
    } else if result.ruling == Ruling::Inconclusive {
        let runs = both(baseline, candidate);
        verdict.missing = Some(match result.high < result.margin {
            true => format!(
                "{} of the candidate, {} so far",
                words::counted(result.requests_needed, "request"),
                words::count(result.requests)
            ),
            false => more(runs, result.runs_needed, &points(result.limit)),
        });
    }
    let list = |runs: &[RunFigure]| {
        let each = runs.iter().map(|r| words::percent(r.error_ratio()));
        each.collect::<Vec<_>>().join(", ")
    };
    verdict.evidence = vec![
        row("baseline runs", list(baseline)),
        row("candidate runs", list(candidate)),
        how_sure(baseline, candidate, expect),
    ];
    (verdict, Some(result))
}

/// Runs that both sides have.
fn both(baseline: &[RunFigure], candidate: &[RunFigure]) -> usize {
    baseline.len().min(candidate.len())
}

/// INCONCLUSIVE for what is lacking.
fn lacking_of(mut verdict: Verdict, lacking: Option<(String, String)>) -> Verdict {
    if let Some((because, missing)) = lacking {
        verdict.because = because;
        verdict.missing = Some(missing);
    }
    verdict
}

pub(super) fn open(expectation: String) -> Verdict {
    Verdict {
        oracle: "compare".into(),
        expectation,
        verdict: Ruling::Inconclusive,
        because: String::new(),
        missing: None,
        evidence: Vec::new(),
    }
}

fn more(runs: usize, needed: Option<usize>, limit: &str) -> String {
    match needed {
        Some(needed) => {
            let lack = needed.saturating_sub(runs).max(1) as u64;
            format!("{} a side, in turn", words::counted(lack, "more run"))
        }
        None => {
            format!(
                "over {MANY} runs a side: the difference is about as large as the limit of {limit}"
            )
        }
    }
}

fn too_few(baseline: &[RunFigure], candidate: &[RunFigure]) -> Option<(String, String)> {
    let (a, b) = (baseline.len(), candidate.len());
    if a.min(b) >= RUNS {
        return None;
    }
    let more = |n: usize, side: &str| {
        let lack = RUNS.saturating_sub(n) as u64;
        (lack > 0).then(|| words::counted(lack, &format!("more {side} run")))
    };
    let lacking = [more(a, "baseline"), more(b, "candidate")];
    let lacking: Vec<String> = lacking.into_iter().flatten().collect();
    Some((
        format!(
            "{a} baseline and {b} candidate runs are too few: runs differ by more than their requests show"
        ),
        lacking.join(" and "),
    ))
}

fn too_short(
    baseline: &[RunFigure],
    candidate: &[RunFigure],
    expect: &CompareExpectation,
) -> Option<(String, String)> {
    let needed = samples_for_quantile(expect.quantile);
    let short = baseline.iter().chain(candidate).min_by_key(|r| r.samples)?;
    (short.samples < needed).then(|| {
        (
            format!(
                "{} of {} has {}",
                quantile_name(expect.quantile),
                short.name,
                words::counted(short.samples, "sample")
            ),
            format!("runs with at least {} requests each", words::count(needed)),
        )
    })
}

fn not_in_turn(
    baseline: &[RunFigure],
    candidate: &[RunFigure],
    expect: &CompareExpectation,
) -> Option<(String, String)> {
    let least = both(baseline, candidate) / 2 + 1;
    (expect.interleaved && changes_of_side(baseline, candidate) < least).then(|| {
        (
            "the sides ran one after the other: a machine that drifts looks the same as a program that changed".into(),
            "runs of both sides in turn (`squall run CANDIDATE --repeat 5 --against BASELINE`)".into(),
        )
    })
}

fn sentence(name: &str, result: &Comparison, expect: &CompareExpectation) -> String {
    let values = format!(
        "{name} is {} against {}",
        words::micros(result.candidate_us.round() as u64),
        words::micros(result.baseline_us.round() as u64)
    );
    let (side, limit) = match result.ruling {
        Ruling::Fail => ("all above", result.limit),
        Ruling::Pass => ("all below", result.margin),
        Ruling::Inconclusive => ("on both sides of", result.margin),
    };
    format!(
        "{values}: {:.3} times ({} interval {:.3} to {:.3}), {side} the limit of {limit:.3}",
        result.ratio,
        sure(expect),
        result.low,
        result.high
    )
}

/// How sure an interval is: `95%`, `98.75%`.
fn sure(expect: &CompareExpectation) -> String {
    let percent = format!("{:.2}", expect.confidence * 100.0);
    format!("{}%", percent.trim_end_matches('0').trim_end_matches('.'))
}

/// A side that fails more answers less: its latencies are those of the work that was easy. It takes back a PASS where
/// that is the candidate, a FAIL where it is the baseline.
fn other_work(verdict: &mut Verdict, baseline: &[RunFigure], candidate: &[RunFigure]) {
    let typical = |runs: &[RunFigure]| {
        let mut ratios: Vec<f64> = runs.iter().map(RunFigure::error_ratio).collect();
        ratios.sort_by(f64::total_cmp);
        ratios[ratios.len() / 2]
    };
    let (base, cand) = (typical(baseline), typical(candidate));
    let more = |a: f64, b: f64| a > (2.0 * b).max(b + 0.001);
    let doubtful = match verdict.verdict {
        Ruling::Fail => more(base, cand),
        _ => more(cand, base),
    };
    if !doubtful {
        return;
    }
    verdict.verdict = Ruling::Inconclusive;
    verdict.because = format!(
        "the candidate failed {} of requests, the baseline {}: their latencies are not of the same work",
        words::percent(cand),
        words::percent(base)
    );
    verdict.missing = Some("runs in which both sides answer the same requests".into());
}

/// The interval itself is in the sentence.
fn how_sure(
    baseline: &[RunFigure],
    candidate: &[RunFigure],
    expect: &CompareExpectation,
) -> Evidence {
    crate::judge::sure::row(format!(
        "{} interval, from whole runs drawn again and again, n = {} runs against {}",
        sure(expect),
        candidate.len(),
        baseline.len()
    ))
}

fn rows(
    baseline: &[RunFigure],
    candidate: &[RunFigure],
    result: &Comparison,
    expect: &CompareExpectation,
) -> Vec<Evidence> {
    let list = |runs: &[RunFigure]| {
        let each = runs.iter().map(|r| words::micros(r.value_us));
        each.collect::<Vec<_>>().join(", ")
    };
    vec![
        row("baseline runs", list(baseline)),
        row("candidate runs", list(candidate)),
        row("baseline against itself", above(1.0 + result.noise)),
        row("limit", above(result.limit)),
        how_sure(baseline, candidate, expect),
    ]
}

fn row(what: &str, value: String) -> Evidence {
    Evidence {
        what: what.into(),
        value,
        at_us: None,
    }
}

fn above(ratio: f64) -> String {
    format!("{} above", words::percent(ratio - 1.0))
}

/// A quantile's usual name: `p99.9`.
pub fn quantile_name(quantile: f64) -> String {
    let text = format!("{:.3}", quantile * 100.0);
    format!("p{}", text.trim_end_matches('0').trim_end_matches('.'))
}
