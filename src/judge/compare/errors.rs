//! Does the candidate fail more requests than the baseline? The unit is the run here too: errors come in clusters.

use serde::Serialize;

use super::*;
use crate::judge::stats::{requests_for_ratio, too_many};

/// The shares of failed requests in numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ErrorComparison {
    /// Mean over the baseline's runs.
    pub baseline_ratio: f64,
    /// Mean over the candidate's runs.
    pub candidate_ratio: f64,
    /// Candidate less baseline.
    pub difference: f64,
    /// Interval of the difference.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// So much more is fine: PASS below.
    pub margin: f64,
    /// The same, or what the noise explains where that is more: FAIL above.
    pub limit: f64,
    /// The candidate's requests.
    pub requests: u64,
    /// Requests without which the margin cannot be confirmed.
    pub requests_needed: u64,
    /// Requests that were in flight when their runs were over, where they could turn the ruling; else 0.
    pub unfinished: u64,
    /// The ruling.
    pub ruling: Ruling,
    /// Runs a side at which the interval would be clear of the limit; `None` where that takes too many.
    pub runs_needed: Option<usize>,
}

/// Compares the shares of failed requests. What was in flight when a run was over counts as failed, and must not turn the
/// ruling: neither where all of the candidate's had been answered, nor where all of the baseline's had.
pub fn compare_errors(
    baseline: &[RunFigure],
    candidate: &[RunFigure],
    expect: &CompareExpectation,
) -> ErrorComparison {
    let mut seen = compare_ended(baseline, candidate, expect);
    let open = baseline.iter().chain(candidate).map(|r| r.unfinished);
    let open = open.fold(0, u64::saturating_add);
    if open == 0 {
        return seen;
    }
    let finished = |runs: &[RunFigure]| runs.iter().map(RunFigure::finished).collect::<Vec<_>>();
    let other_ways = [
        compare_ended(baseline, &finished(candidate), expect),
        compare_ended(&finished(baseline), candidate, expect),
    ];
    if other_ways.iter().any(|way| way.ruling != seen.ruling) {
        seen.unfinished = open;
        seen.ruling = Ruling::Inconclusive;
    }
    seen
}

fn compare_ended(
    baseline: &[RunFigure],
    candidate: &[RunFigure],
    expect: &CompareExpectation,
) -> ErrorComparison {
    let ratios = |runs: &[RunFigure]| runs.iter().map(RunFigure::error_ratio).collect::<Vec<_>>();
    let (base, cand) = (ratios(baseline), ratios(candidate));
    let mut dice = Dice(expect.seed);
    let seen = interval(&mut dice, &cand, &base, expect.confidence);
    let margin = expect.error_margin.get();
    let limit = margin.max(noise(&mut dice, &base, expect.confidence));
    let sum = |of: fn(&RunFigure) -> u64| candidate.iter().map(of).fold(0, u64::saturating_add);
    let (failed, requests) = (sum(|r| r.failed), sum(|r| r.ended));
    // Zero failures in n requests only bounds their share by 3/n.
    let requests_needed = requests_for_ratio(margin);
    let ruling = if seen.low > limit && too_many(failed, requests, mean(&base) + limit) {
        Ruling::Fail
    } else if seen.high < margin && requests >= requests_needed {
        Ruling::Pass
    } else {
        Ruling::Inconclusive
    };
    let runs = base.len().min(cand.len());
    ErrorComparison {
        baseline_ratio: mean(&base),
        candidate_ratio: mean(&cand),
        difference: seen.middle,
        low: seen.low,
        high: seen.high,
        margin,
        limit,
        requests,
        requests_needed,
        unfinished: 0,
        ruling,
        runs_needed: more_runs(runs, seen, (margin, limit), requests, requests_needed),
    }
}

/// Runs a side for a clear interval and for enough requests.
fn more_runs(
    runs: usize,
    seen: bootstrap::Interval,
    limits: (f64, f64),
    requests: u64,
    requests_needed: u64,
) -> Option<usize> {
    let clear = runs_needed(runs, seen, limits, (RUNS, MANY))?;
    let each = (requests / runs.max(1) as u64).max(1);
    let enough = usize::try_from(requests_needed.div_ceil(each)).ok()?;
    let needed = clear.max(enough);
    (needed <= MANY).then_some(needed)
}
