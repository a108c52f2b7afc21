//! How much of the requests that may fail did fail, in a run and over a series.

use serde::Serialize;

use super::{SeriesRun, fact, grounded};
use crate::judge::analysis::Analysis;
use crate::judge::bounds::{Tally, decide, limit_of};
use crate::judge::timeline::Slice;
use crate::judge::words::{count, counted, percent};
use crate::judge::{Evidence, Ruling, Verdict, sure};
use crate::record::Outcome;
use crate::scenario::{Bound, Expectation, Metric, SloExpectation};

/// Failed requests against the share that may fail.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Budget {
    /// The bound as written: `errors < 0.1%`.
    pub bound: String,
    /// Requests that ended.
    pub ended: u64,
    /// Those that failed.
    pub failed: u64,
    /// The error ratio over the share that may fail: 1 burns exactly the budget.
    pub burn_rate: f64,
    /// Those of the failed that may not be the service's.
    #[serde(skip)]
    doubtful: u64,
    #[serde(skip)]
    rule: Bound,
}

impl Budget {
    pub(super) fn new(bound: String, rule: Bound, ended: u64, failed: u64) -> Self {
        let ratio = failed as f64 / ended.max(1) as f64;
        Self {
            burn_rate: ratio / limit_of(&rule),
            bound,
            ended,
            failed,
            doubtful: 0,
            rule,
        }
    }

    /// What a bound is decided on: all that failed, or what is left of it without the doubtful.
    fn tally(&self, without: u64) -> Tally {
        Tally {
            ended: self.ended.saturating_sub(without),
            failed: self.failed.saturating_sub(without),
            ..Tally::default()
        }
    }
}

/// The error budgets of a run, in the order of the scenario's bounds on errors.
pub(super) fn budgets(analysis: &Analysis<'_>) -> Vec<Budget> {
    let expect = analysis.timeline.record.header.scenario.expect.iter();
    expect
        .filter_map(|e| match e {
            Expectation::Slo(slo)
                if slo.bound.metric == Metric::Errors
                    && slo.bound.op.is_upper_bound()
                    && limit_of(&slo.bound) > 0.0 =>
            {
                let slice = analysis.timeline.slice(&analysis.scope(slo));
                Some(Budget {
                    doubtful: doubtful(analysis, &slice),
                    ..Budget::new(scoped(slo), slo.bound, slice.ended(), slice.failed())
                })
            }
            _ => None,
        })
        .collect()
}

/// Failures that decide nothing, as for `slo`: those of the generator's own making, what was in flight at the end, and all
/// of a run whose missing part might have made up for them.
fn doubtful(analysis: &Analysis<'_>, slice: &Slice) -> u64 {
    if analysis.cut_short().is_some() {
        return slice.failed();
    }
    let waited = match analysis.generator.slow {
        true => slice.with(Outcome::Timeout),
        false => 0,
    };
    let own = slice.with(Outcome::Local);
    own.saturating_add(slice.with(Outcome::Unfinished))
        .saturating_add(waited)
}

fn scoped(slo: &SloExpectation) -> String {
    let parts = [("flow", &slo.flow), ("step", &slo.step)];
    let parts = parts
        .into_iter()
        .filter_map(|(what, name)| Some(format!(", {what} {}", name.as_ref()?)));
    let phase = slo.phase.map(|p| format!(", {p:?} faults").to_lowercase());
    format!(
        "{}{}{}",
        slo.text,
        parts.collect::<String>(),
        phase.unwrap_or_default()
    )
}

/// Each bound on errors over all runs.
pub(super) fn pooled(runs: &[SeriesRun]) -> Vec<Budget> {
    let most = runs.iter().map(|r| r.budgets.len()).max().unwrap_or(0);
    let one = |i: usize| {
        let of: Vec<&Budget> = runs.iter().filter_map(|r| r.budgets.get(i)).collect();
        let sum = |count: fn(&Budget) -> u64| of.iter().map(|b| count(b)).sum();
        let first = of.first()?;
        let (ended, failed) = (sum(|b| b.ended), sum(|b| b.failed));
        Some(Budget {
            doubtful: sum(|b| b.doubtful),
            ..Budget::new(first.bound.clone(), first.rule, ended, failed)
        })
    };
    (0..most).filter_map(one).collect()
}

pub(super) fn burnt(runs: &[SeriesRun], budget: &Budget) -> Verdict {
    let decided = |without| decide(&budget.rule, &budget.tally(without)).ruling;
    let ruling = decided(0);
    let in_doubt = ruling == Ruling::Fail && decided(budget.doubtful) != Ruling::Fail;
    let rate = |b: &Budget| format!("{:.2}", b.burn_rate);
    let each = runs.iter().filter_map(|run| {
        let own = run.budgets.iter().find(|b| b.bound == budget.bound)?;
        Some((run.name.as_str(), own))
    });
    let each: Vec<(&str, &Budget)> = each.collect();
    let worst = each
        .iter()
        .max_by(|a, b| a.1.burn_rate.total_cmp(&b.1.burn_rate));
    let mut because = format!(
        "{} of {} failed over all runs, {} of what may: burn rate {}",
        count(budget.failed),
        counted(budget.ended, "request"),
        percent((budget.burn_rate * 1000.0).round() / 1000.0),
        rate(budget),
    );
    if let Some((name, own)) = worst.filter(|(_, own)| own.burn_rate > 0.0) {
        because.push_str(&format!(", at most {} in {name}", rate(own)));
    }
    if in_doubt {
        because.push_str(&format!(
            "; but {} of them may not be the service's (the generator's own, still in flight at the end, or of a run that was \
             cut short)",
            count(budget.doubtful)
        ));
    }
    let mut evidence: Vec<Evidence> = each
        .iter()
        .map(|(name, own)| {
            let share = own.failed as f64 / own.ended.max(1) as f64;
            let value = format!("burn rate {} ({} failed)", rate(own), percent(share));
            fact(name, value)
        })
        .collect();
    evidence.push(sure::row(sure::share(
        budget.failed,
        budget.ended,
        "request",
    )));
    grounded(
        runs,
        Verdict {
            oracle: "budget".into(),
            expectation: format!("error budget of `{}` over the series", budget.bound),
            verdict: match in_doubt {
                true => Ruling::Inconclusive,
                false => ruling,
            },
            because,
            missing: match ruling {
                _ if in_doubt => {
                    Some("runs to their end, in which the generator fails nothing".into())
                }
                Ruling::Inconclusive => {
                    Some("more requests: with so few, the share that failed may be chance".into())
                }
                _ => None,
            },
            evidence,
        },
    )
}
