//! Several runs of one scenario, judged together.
//!
//! An expectation holds over a series if it holds in each run. What more runs show: how sure that is (nothing failed in
//! n only bounds the share that would by about 3/n, and n counts runs or injections, since requests of one run share
//! its luck), how much of the error budget was burnt, and how recovery spreads over all injections.

use serde::Serialize;

use super::analysis::Analysis;
use super::grounds::{self, Grounds};
use super::summary::Totals;
use super::words::{counted, list, micros, percent};
use super::{Evidence, Ruling, Summary, Verdict, overall, sure};
use crate::record::{Ended, Micros, Record};

mod budget;
#[cfg(test)]
mod tests;

pub use budget::Budget;
use budget::{budgets, burnt, pooled};

/// A run of a series, as judged by itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeriesRun {
    /// Its folder's name.
    pub name: String,
    /// Its seed.
    pub seed: u64,
    /// Its verdict over all.
    pub verdict: Option<Ruling>,
    /// How it ended; `None` where its record stops in the middle.
    pub ended: Option<Ended>,
    /// Its traffic.
    pub all: Totals,
    /// Its verdicts, in the order of the scenario's expectations.
    #[serde(skip)]
    pub verdicts: Vec<Verdict>,
    /// Its error budgets, in the order of the scenario's bounds on errors.
    pub budgets: Vec<Budget>,
    /// From each injection (its undo, where it lasts) to the restoration; `None` where that was not seen.
    pub recovered_us: Vec<Option<Micros>>,
}

/// A series judged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeriesResult {
    /// Runs asked for.
    pub asked: u32,
    /// Why there are fewer, where that is known.
    pub stopped: Option<String>,
    /// The runs.
    pub runs: Vec<SeriesRun>,
    /// The error budgets over all runs.
    pub budgets: Vec<Budget>,
    /// By expectation, then the budgets, then whether the series is whole.
    #[serde(skip)]
    pub verdicts: Vec<Verdict>,
}

/// Reduces a judged run to what a series needs of it.
pub fn series_run(
    name: &str,
    record: &Record,
    summary: &Summary,
    verdicts: &[Verdict],
) -> SeriesRun {
    let analysis = Analysis::new(record);
    SeriesRun {
        name: name.into(),
        seed: summary.seed,
        verdict: overall(verdicts, summary.ended.as_ref()),
        ended: summary.ended.clone(),
        all: summary.all.clone(),
        verdicts: verdicts.to_vec(),
        budgets: budgets(&analysis),
        recovered_us: recovered(&analysis),
    }
}

/// How long each injection that did something took to be mended.
fn recovered(analysis: &Analysis<'_>) -> Vec<Option<Micros>> {
    let all = analysis.injections.iter().filter(|i| i.effective());
    all.map(|injection| {
        let faults = &analysis.faults;
        let fault = faults.iter().find(|f| f.injection == injection.number)?;
        let from = match injection.lasts {
            Some(_) => injection.undone_us?,
            None => injection.at(),
        };
        Some(fault.restored_us?.saturating_sub(from))
    })
    .collect()
}

/// Judges a series.
pub fn judge_series(runs: Vec<SeriesRun>, asked: u32, stopped: Option<String>) -> SeriesResult {
    let mut verdicts: Vec<Verdict> = Vec::new();
    let expectations = runs.iter().map(|r| r.verdicts.len()).max().unwrap_or(0);
    for i in 0..expectations {
        verdicts.extend(each_run(&runs, i));
    }
    let budgets = pooled(&runs);
    verdicts.extend(budgets.iter().map(|budget| burnt(&runs, budget)));
    verdicts.extend(whole(&runs, asked, stopped.as_deref()));
    SeriesResult {
        asked,
        stopped,
        runs,
        budgets,
        verdicts,
    }
}

fn fact(what: &str, value: String) -> Evidence {
    Evidence {
        what: what.into(),
        value,
        at_us: None,
    }
}

/// One expectation over all runs: the worst of its verdicts.
fn each_run(runs: &[SeriesRun], i: usize) -> Option<Verdict> {
    let judged: Vec<(&SeriesRun, &Verdict)> = runs
        .iter()
        .filter_map(|run| Some((run, run.verdicts.get(i)?)))
        .collect();
    let (in_run, worst) = judged.iter().max_by_key(|(_, v)| v.verdict)?;
    let of = |ruling: Ruling| -> Vec<String> {
        let those = judged.iter().filter(|(_, v)| v.verdict == ruling);
        those.map(|(run, _)| run.name.clone()).collect()
    };
    let (all, held) = (judged.len() as u64, of(Ruling::Pass).len());
    let mut because = match worst.verdict {
        Ruling::Pass if all == 1 => "held in the one run".into(),
        Ruling::Pass => format!("held in all {all} runs"),
        ruling => {
            let word = match ruling {
                Ruling::Fail => "failed",
                _ => "could not be told",
            };
            let those = of(ruling);
            format!(
                "held in {held} of {}; {word} in {}: {}",
                counted(all, "run"),
                list(&those),
                worst.because
            )
        }
    };
    if worst.oracle == "recovery" {
        because.push_str(&spread(runs));
    }
    let others = judged.iter().filter(|(_, v)| v.verdict != Ruling::Pass);
    let mut evidence: Vec<Evidence> = others
        .map(|(run, v)| fact(&run.name, v.because.clone()))
        .collect();
    if worst.verdict == Ruling::Pass && worst.oracle != "generator" {
        evidence.push(fact(
            "what that shows",
            format!(
                "no failure in {}: a service that fails in {} of runs would show that one time in twenty",
                counted(all, "run"),
                percent(at_most(all))
            ),
        ));
    }
    // What the worst of the runs says besides its reason.
    let own = worst.evidence.iter().filter(|row| grounds::is_ground(row));
    evidence.extend(own.map(|row| fact(&row.what, format!("{}: {}", in_run.name, row.value))));
    Some(Verdict {
        because,
        evidence,
        ..(*worst).clone()
    })
}

/// The largest share of failures that none in `n` leaves possible, at 95%: about 3/n.
fn at_most(n: u64) -> f64 {
    let exact = 1.0 - 0.05_f64.powf(1.0 / n.max(1) as f64);
    (exact * 1000.0).round() / 1000.0
}

/// How recovery spreads over all injections. The unit is the injection: the requests that one of them costs share
/// its luck.
fn spread(runs: &[SeriesRun]) -> String {
    let all: Vec<Option<Micros>> = runs.iter().flat_map(|r| r.recovered_us.clone()).collect();
    let mut times: Vec<Micros> = all.iter().copied().flatten().collect();
    times.sort_unstable();
    let (Some(longest), n) = (times.last(), all.len() as u64) else {
        return String::new();
    };
    let median = times[times.len() / 2];
    let seen = format!(
        "; {} in all, restored after {} (median), {} at worst",
        counted(n, "injection"),
        micros(median),
        micros(*longest)
    );
    match n - times.len() as u64 {
        0 => format!(
            "{seen}: none that was not, which leaves up to {} of injections possible",
            percent(at_most(n))
        ),
        not => format!("{seen}, {not} not seen restored"),
    }
}

/// Adds what a verdict over all runs that did not pass says besides its reason.
fn grounded(runs: &[SeriesRun], mut verdict: Verdict) -> Verdict {
    if verdict.verdict == Ruling::Pass {
        return verdict;
    }
    let worst = { runs.iter() }.max_by(|a, b| a.all.error_ratio.total_cmp(&b.all.error_ratio));
    let felt = worst.map_or("nothing was run".into(), |run| {
        format!("most in {}: {}", run.name, grounds::felt_of(&run.all))
    });
    let cut = runs.iter().filter(|r| r.ended != Some(Ended::Completed));
    let excluded = match cut.count() {
        0 => "runs cut short",
        _ => "not excluded: what runs that were cut short would have shown",
    };
    let names: Vec<String> = runs.iter().map(|r| r.name.clone()).collect();
    let grounds = Grounds {
        instances: "told by the verdicts of each run: `squall judge` and its folder".into(),
        felt,
        excluded: excluded.into(),
        place: grounds::in_runs(&names),
    };
    grounds::add(&mut verdict, grounds);
    verdict
}

/// A series that is not whole passes nothing.
fn whole(runs: &[SeriesRun], asked: u32, stopped: Option<&str>) -> Option<Verdict> {
    let cut = runs.iter().filter(|r| r.ended != Some(Ended::Completed));
    let cut: Vec<String> = cut.map(|r| r.name.clone()).collect();
    let made = runs.len() as u64;
    if cut.is_empty() && made >= u64::from(asked) {
        return None;
    }
    let mut because = format!("{made} of {} were made", counted(asked.into(), "run"));
    if !cut.is_empty() {
        because.push_str(&format!(", not to its end: {}", list(&cut)));
    }
    if let Some(why) = stopped {
        because.push_str(&format!(" ({why})"));
    }
    let verdict = Verdict {
        oracle: "series".into(),
        expectation: format!("{} from beginning to end", counted(asked.into(), "run")),
        verdict: Ruling::Inconclusive,
        because,
        missing: Some("the rest of the series".into()),
        evidence: vec![sure::row(format!(
            "counted, not estimated; n = {}",
            counted(made, "run")
        ))],
    };
    Some(grounded(runs, verdict))
}
