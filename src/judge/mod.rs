//! From a record to verdicts: pure functions, no clock, no network, no files.
//!
//! [`summarize`] gives the run in numbers, [`judge`] one verdict for each expectation and one on the generator,
//! [`explain()`] what an oracle checks and how it can be wrong. One place per oracle: `slo`, `recovery`, `balance`,
//! `deploy`, `spread`, `alert`, `autoscale`, `usage`,
//! `generator`; below them [`timeline`] lays a record out in time and [`bounds`] decides a bound on counts. How verdicts are
//! printed is for `report`.

use serde::{Deserialize, Serialize};

use crate::record::{Ended, FaultStage, Micros, Record};
use crate::scenario::{Expectation, FaultPhase};
use injection::unmade;

pub mod alert;
mod analysis;
pub mod autoscale;
pub mod balance;
pub mod bounds;
pub mod capacity;
pub mod compare;
mod compute;
mod deploy;
mod explain;
mod finding;
mod generator;
mod grounds;
mod impact;
mod injection;
mod recovery;
mod recovery_evidence;
mod restore;
mod rules;
pub mod series;
mod slo;
mod slo_evidence;
mod spread;
mod stats;
mod summary;
mod sure;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod timeline;
mod trace;
pub mod usage;
pub mod words;

pub use explain::{ORACLES, explain};
pub use summary::*;

/// The run in numbers.
pub fn summarize(record: &Record) -> Summary {
    compute::summary(&analysis::Analysis::new(record))
}

/// Judges every expectation of the record's scenario, in its order, and the generator last.
pub fn judge(record: &Record) -> Vec<Verdict> {
    let analysis = analysis::Analysis::new(record);
    let expect = record.header.scenario.expect.iter();
    let mut verdicts: Vec<Verdict> = expect
        .map(|expectation| {
            let verdict = judge_one(&analysis, expectation);
            without_effect(&analysis, expectation, verdict)
        })
        .map(|verdict| damaged(&analysis, verdict))
        .chain(std::iter::once(generator::verdict(&analysis.generator)))
        .collect();
    grounds::of_run(&analysis, &mut verdicts);
    verdicts
}

/// The verdict of an expectation's own oracle.
fn judge_one(analysis: &analysis::Analysis<'_>, expectation: &Expectation) -> Verdict {
    match expectation {
        Expectation::Slo(expected) => slo::judge(analysis, expected),
        Expectation::Recovery(expected) => recovery::judge(analysis, expected),
        Expectation::Balance(expected) => balance::judge_run(analysis, expected),
        Expectation::Deploy(expected) => deploy::judge(analysis, expected),
        Expectation::Spread(expected) => spread::judge(analysis, expected),
        Expectation::Alert(expected) => alert::judge(analysis, expected),
        Expectation::Autoscale(expected) => autoscale::judge_run(analysis, expected),
        Expectation::Usage(expected) => usage::judge(analysis, expected),
    }
}

/// What held though a fault had no effect, or was never made, was not put to the test: that is no PASS. What is expected
/// before the first fault rests on none.
fn without_effect(
    analysis: &analysis::Analysis<'_>,
    expectation: &Expectation,
    mut verdict: Verdict,
) -> Verdict {
    let before =
        matches!(expectation, Expectation::Slo(slo) if slo.phase == Some(FaultPhase::Before));
    if verdict.verdict != Ruling::Pass || before {
        return verdict;
    }
    let mut all = analysis.injections.iter();
    if let Some(idle) = all.find(|i| i.stage == FaultStage::Ineffective) {
        let why = idle.detail.as_deref().unwrap_or("no reason recorded");
        let why = format!("{} had no effect: {why}", idle.describe());
        verdict.take_back(&why, "a cluster in which the fault takes effect");
    } else if let Some((name, why)) = unmade(analysis.timeline.record, &analysis.injections) {
        let why = format!("the fault `{name}` was not made: {why}");
        verdict.take_back(&why, "a run in which each fault is made");
    }
    verdict
}

/// A line that cannot be read may have held what would decide otherwise: an error, a change of an instance. Requests
/// that were seen to fail have failed all the same.
fn damaged(analysis: &analysis::Analysis<'_>, mut verdict: Verdict) -> Verdict {
    let sure = verdict.verdict == Ruling::Inconclusive
        || (verdict.verdict == Ruling::Fail && verdict.oracle == "slo");
    if let (false, Some(damage)) = (sure, analysis.lost_event()) {
        let why = format!("the record is damaged: {damage}");
        verdict.take_back(&why, "the damaged part of the record");
    }
    verdict
}

/// The verdict over all: the worst of them, and no better than INCONCLUSIVE for a run that did not complete. `None`
/// where nothing was expected, so that nothing was judged.
pub fn overall(verdicts: &[Verdict], ended: Option<&Ended>) -> Option<Ruling> {
    let worst = worst(verdicts).filter(|_| !nothing_expected(verdicts))?;
    match ended {
        Some(Ended::Completed) => Some(worst),
        _ => Some(worst.max(Ruling::Inconclusive)),
    }
}

/// Whether only the generator was judged, as it is in every run: that it kept its schedule says nothing of the service.
pub fn nothing_expected(verdicts: &[Verdict]) -> bool {
    let well = |v: &Verdict| v.oracle == "generator" && v.verdict == Ruling::Pass;
    verdicts.iter().all(well)
}

/// The worst of some verdicts; `None` for none.
pub fn worst(verdicts: &[Verdict]) -> Option<Ruling> {
    verdicts.iter().map(|v| v.verdict).max()
}

/// The exit code that a run's verdicts and its end stand for (ARCHITECTURE.md). A record that stops in the middle
/// is inconclusive unless something failed for certain. What went wrong outside the verdicts (bad input, a failed
/// undo) has codes of its own, and goes before.
pub fn exit_code(verdicts: &[Verdict], ended: Option<&Ended>) -> u8 {
    match (ended, overall(verdicts, ended)) {
        (Some(Ended::Aborted { .. }), _) => 4,
        (_, Some(Ruling::Fail)) => 1,
        (_, Some(Ruling::Inconclusive)) | (None, _) => 3,
        (Some(Ended::Completed), _) => 0,
    }
}

/// PASS, FAIL or INCONCLUSIVE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Ruling {
    /// It held.
    Pass,
    /// It cannot be told; the verdict says what is missing.
    Inconclusive,
    /// It did not hold.
    Fail,
}

/// One judged expectation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// `slo`, `recovery`, `balance`, ...
    pub oracle: String,
    /// The expectation as written: `p99 < 250ms`.
    pub expectation: String,
    /// The verdict.
    pub verdict: Ruling,
    /// One sentence: what was observed against what was expected, when, how much.
    pub because: String,
    /// What is missing, for INCONCLUSIVE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    /// The evidence, most telling first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
}

impl Verdict {
    /// Turns what was decided into "cannot be told", keeping what was seen.
    fn take_back(&mut self, why: &str, missing: impl Into<String>) {
        self.verdict = Ruling::Inconclusive;
        self.because = format!("{}; but {why}", self.because);
        self.missing = Some(missing.into());
    }
}

/// A fact that a verdict rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// What: `first error`, `endpoint removed`.
    pub what: String,
    /// How much, with its unit.
    pub value: String,
    /// When, on the run's clock, if it has a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_us: Option<Micros>,
}
