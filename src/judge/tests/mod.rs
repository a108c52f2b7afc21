//! Verdicts on synthetic runs: for each, the broken service fails first, then the healthy one passes, then what
//! cannot be told is INCONCLUSIVE.

use super::testing::*;
use super::*;

mod broken_records;
mod generator_tests;
mod grounds_tests;
mod properties;
mod recovery_tests;
mod retirement_tests;
mod slo_tests;
mod spread_tests;
mod summary_tests;
mod timeline_tests;

/// The first verdict of a run: its only expectation's.
fn first(sim: &Sim) -> Verdict {
    judge(&sim.record()).remove(0)
}

/// Asserts a verdict's ruling, showing its reason when it is another.
#[track_caller]
fn assert_ruling(verdict: &Verdict, ruling: Ruling) {
    assert_eq!(verdict.verdict, ruling, "{}", verdict.because);
    let missing = verdict.missing.is_some();
    assert_eq!(
        missing,
        ruling == Ruling::Inconclusive,
        "missing: {:?}",
        verdict.missing
    );
}

#[track_caller]
fn evidence_of<'v>(verdict: &'v Verdict, what: &str) -> &'v str {
    let found = verdict.evidence.iter().find(|e| e.what == what);
    &found
        .unwrap_or_else(|| panic!("no `{what}` in {:#?}", verdict.evidence))
        .value
}
