//! Tests of errors, of what may be compared at all, and of the comparison as a whole.

use super::tests::{fixed, judge, sides as simulated};
use super::*;
use crate::judge::Verdict;

/// Runs that failed so many of 10,000 requests each.
fn failing(failed: &[u64], first: u64) -> Vec<RunFigure> {
    let mut runs = fixed(&vec![100_000; failed.len()], first);
    for (run, failed) in runs.iter_mut().zip(failed) {
        run.failed = *failed;
    }
    runs
}

fn judge_errors(
    baseline: &[RunFigure],
    candidate: &[RunFigure],
    expect: &CompareExpectation,
) -> Verdict {
    super::judge_errors(baseline, candidate, expect).0
}

fn errors(baseline: &[u64], candidate: &[u64]) -> Verdict {
    let expect = CompareExpectation::default();
    judge_errors(&failing(baseline, 0), &failing(candidate, 1), &expect)
}

#[test]
fn more_failed_requests_fail_and_as_many_pass() {
    let worse = errors(&[10; 5], &[300, 310, 290, 305, 295]);
    assert_eq!(worse.verdict, Ruling::Fail, "{}", worse.because);
    assert!(
        worse.because.contains("3% of requests"),
        "{}",
        worse.because
    );
    let same = errors(&[10, 12, 9, 11, 8], &[11, 9, 10, 12, 8]);
    assert_eq!(same.verdict, Ruling::Pass, "{}", same.because);
    // A baseline whose errors come in clusters may show as much by itself.
    let clustered = errors(&[0, 0, 400, 0, 10], &[0, 350, 0, 20, 0]);
    assert_eq!(clustered.verdict, Ruling::Inconclusive);
    // One bad run of five is luck or not: it cannot be told.
    let once = errors(&[0; 5], &[0, 0, 0, 0, 500]);
    assert_eq!(once.verdict, Ruling::Inconclusive, "{}", once.because);
    assert!(once.missing.is_some());
}

#[test]
fn no_failure_in_few_requests_shows_little() {
    let mut runs = (failing(&[0; 5], 0), failing(&[0; 5], 1));
    for run in runs.0.iter_mut().chain(&mut runs.1) {
        run.ended = 500;
    }
    let verdict = judge_errors(&runs.0, &runs.1, &CompareExpectation::default());
    assert_eq!(verdict.verdict, Ruling::Inconclusive);
    let missing = verdict.missing.unwrap();
    assert!(missing.contains("3,000 requests"), "{missing}");
}

#[test]
fn errors_of_equal_programs_do_not_fail() {
    let mut failed = 0;
    for seed in 0..500 {
        let mut dice = Dice(seed * 7919);
        let mut draw = |_| (0..2_000).filter(|_| dice.below(500) == 0).count() as u64;
        let (mut base, mut cand) = (failing(&[0; 5], 0), failing(&[0; 5], 1));
        for (i, run) in base.iter_mut().chain(&mut cand).enumerate() {
            run.ended = 2_000;
            run.failed = draw(i);
        }
        let verdict = judge_errors(&base, &cand, &CompareExpectation::default());
        failed += u64::from(verdict.verdict == Ruling::Fail);
    }
    assert!(failed * 20 < 500, "{failed} of 500");
}

/// A side of digests made of simulated runs, each with these steps.
fn digests(name: &str, runs: Vec<RunFigure>, steps: &[&str]) -> Vec<Digest> {
    let digest = |run: RunFigure| Digest {
        name: format!("{name}/{}", run.name),
        started: run.started,
        seed: run.started,
        machine: "2 cores".into(),
        plan: serde_json::json!({ "traffic": { "browse": { "rate": "100/s" } } }),
        unusable: None,
        overloaded: None,
        parts: steps
            .iter()
            .map(|step| Part {
                flow: "browse".into(),
                step: (*step).into(),
                figure: run.clone(),
            })
            .collect(),
    };
    runs.into_iter().map(digest).collect()
}

fn all_of(baseline: Vec<Digest>, candidate: Vec<Digest>) -> Compared {
    let (a, b) = sides(baseline, candidate, &Wanted::default()).unwrap();
    compare_sides(&a, &b, &CompareExpectation::default())
}

#[test]
fn equal_programs_do_not_fail_in_any_of_many_steps() {
    let steps = ["a", "b"];
    let mut failed = 0;
    for seed in 0..120 {
        // Steps of a run share its luck; a 2% shift from run to run.
        let (base, cand) = simulated(seed, 5, 100_000.0, 1.0, 0.02);
        let compared = all_of(digests("a", base, &steps), digests("b", cand, &steps));
        assert_eq!(compared.verdicts.len(), 4);
        failed += u64::from(compared.verdicts.iter().any(|v| v.verdict == Ruling::Fail));
    }
    assert!(failed * 20 < 120, "{failed} of 120");
}

#[test]
fn what_was_in_flight_at_the_end_fails_no_candidate() {
    let expect = CompareExpectation::default();
    let base = fixed(&[100_000; 5], 0);
    let with = |failed, unfinished| {
        let mut runs = fixed(&[110_000; 5], 1);
        for run in &mut runs {
            (run.failed, run.unfinished) = (failed, unfinished);
        }
        judge_errors(&base, &runs, &expect)
    };
    // 2% more failed. Where they were cut off by the end of the run, nobody knows.
    assert_eq!(with(210, 0).verdict, Ruling::Fail);
    let cut = with(210, 200);
    assert_eq!(cut.verdict, Ruling::Inconclusive, "{}", cut.because);
    assert!(
        cut.because
            .ends_with("but 1,000 requests still in flight when the graceful stop was over"),
        "{}",
        cut.because
    );
    assert!(cut.missing.unwrap().contains("graceful-stop"));
    // What failed besides is enough; and what changes nothing is nothing.
    assert_eq!(with(410, 200).verdict, Ruling::Fail);
    assert_eq!(with(12, 2).verdict, Ruling::Pass);
}

#[test]
fn a_run_whose_fault_was_not_made_is_left_out() {
    let mut sim = crate::judge::testing::Sim::steady(200, 30);
    let number = sim.inject(crate::scenario::FaultKind::Kill, "shop-1", 10.0, None);
    assert_eq!(digest("a", &sim.record(), 0.99).unusable, None);
    sim.refuse(number);
    let why = digest("a", &sim.record(), 0.99).unusable;
    assert_eq!(why.as_deref(), Some("its fault `kill shop-1` was not made"));
}

/// Two steps, of which the candidate is twice as slow in one.
pub(in crate::judge) fn one_slow_step() -> Compared {
    let (base, cand) = simulated(3, 5, 100_000.0, 1.0, 0.02);
    let (base, mut cand) = (
        digests("a", base, &["x", "y"]),
        digests("b", cand, &["x", "y"]),
    );
    for run in &mut cand {
        run.parts[1].figure.value_us *= 2;
    }
    all_of(base, cand)
}

#[test]
fn one_slow_step_of_many_fails_and_is_named() {
    let failed: Vec<_> = one_slow_step().verdicts;
    let failed: Vec<_> = failed
        .iter()
        .filter(|v| v.verdict == Ruling::Fail)
        .collect();
    assert_eq!(failed.len(), 1);
    assert!(
        failed[0].expectation.starts_with("browse / y: p99"),
        "{failed:?}"
    );
    assert!(failed[0].because.contains("98.75% interval"), "{failed:?}");
}

#[test]
fn runs_that_cannot_be_used_are_left_out_by_name() {
    let (base, cand) = simulated(3, 5, 100_000.0, 2.0, 0.02);
    let (base, mut cand) = (digests("a", base, &["x"]), digests("b", cand, &["x"]));
    cand[2].unusable = Some("its generator was saturated (no CPU left)".into());
    let compared = all_of(base.clone(), cand.clone());
    assert!(
        compared
            .verdicts
            .iter()
            .all(|v| v.verdict == Ruling::Inconclusive)
    );
    assert_eq!(
        compared.verdicts[0].missing.as_deref(),
        Some("1 more candidate run")
    );
    let facts = format!("{:?}", compared.verdicts[0].evidence);
    assert!(
        facts.contains(&cand[2].name) && facts.contains("saturated"),
        "{facts}"
    );
    for run in &mut cand {
        run.unusable = Some("it was aborted".into());
    }
    let mut none = base.clone();
    none.iter_mut()
        .for_each(|run| run.unusable = Some("it was aborted".into()));
    let compared = all_of(none, cand);
    assert_eq!(compared.verdicts.len(), 1);
    assert_eq!(compared.verdicts[0].verdict, Ruling::Inconclusive);
}

#[test]
fn a_candidate_that_cannot_keep_up_fails_all_the_same_and_never_passes() {
    let overload = |runs: &mut [Digest]| {
        for run in runs {
            run.overloaded = Some("30% of arrivals were dropped".into());
        }
    };
    let (base, cand) = simulated(3, 5, 100_000.0, 2.0, 0.02);
    let (base, mut cand) = (digests("a", base, &["x"]), digests("b", cand, &["x"]));
    overload(&mut cand);
    let worse = all_of(base.clone(), cand.clone()).verdicts;
    assert_eq!(worse[0].verdict, Ruling::Fail, "{}", worse[0].because);
    let facts = format!("{:?}", worse[0].evidence);
    assert!(
        facts.contains(&format!("{} had less to do", cand[0].name)),
        "{facts}"
    );
    let (_, equal) = simulated(3, 5, 100_000.0, 1.0, 0.02);
    let mut equal = digests("c", equal, &["x"]);
    assert_eq!(
        all_of(base.clone(), equal.clone()).verdicts[0].verdict,
        Ruling::Pass
    );
    overload(&mut equal[..1]);
    let doubted = &all_of(base.clone(), equal).verdicts[0];
    assert_eq!(doubted.verdict, Ruling::Inconclusive, "{}", doubted.because);
    assert!(
        doubted.because.contains("1 of 5 candidate runs"),
        "{}",
        doubted.because
    );
    // A baseline that looks better than it is shows nothing.
    let mut good = base;
    overload(&mut good);
    let nothing = all_of(good, cand).verdicts;
    assert!(nothing.iter().all(|v| v.verdict == Ruling::Inconclusive));
}

#[test]
fn runs_that_did_something_else_or_are_the_same_are_refused_by_name() {
    let (base, cand) = simulated(3, 5, 100_000.0, 1.0, 0.02);
    let (base, cand) = (digests("a", base, &["x"]), digests("b", cand, &["x"]));
    let refused = |a: &[Digest], b: &[Digest], wanted: &Wanted| {
        sides(a.to_vec(), b.to_vec(), wanted).unwrap_err().0
    };
    let mut other = cand.clone();
    other[3].plan["traffic"]["browse"]["rate"] = "120/s".into();
    let text = refused(&base, &other, &Wanted::default());
    assert!(text.contains(&other[3].name), "{text}");
    assert!(
        text.contains("traffic.browse.rate is 120/s, not 100/s"),
        "{text}"
    );
    let text = refused(&base, &base, &Wanted::default());
    assert!(text.contains("the same run"), "{text}");
    let step = Some("z".to_string());
    let text = refused(&base, &cand, &Wanted { flow: None, step });
    assert!(text.contains("browse / x"), "{text}");
    assert!(refused(&[], &cand, &Wanted::default()).contains("both sides"));
}

#[test]
fn sides_on_different_machines_are_not_told_apart() {
    let (base, cand) = simulated(3, 5, 100_000.0, 2.0, 0.02);
    let (base, mut cand) = (digests("a", base, &["x"]), digests("b", cand, &["x"]));
    cand.iter_mut()
        .for_each(|run| run.machine = "64 cores".into());
    let verdicts = all_of(base, cand).verdicts;
    assert!(verdicts.iter().all(|v| v.verdict == Ruling::Inconclusive));
    assert!(verdicts[0].because.contains("64 cores"), "{verdicts:?}");
}

#[test]
fn a_noisy_baseline_excuses_but_passes_nothing() {
    // The baseline differs from itself by more than the margin: 14% slower is then no FAIL, and no PASS either.
    let base = fixed(&[100_000, 130_000, 90_000, 120_000, 85_000], 0);
    let cand = fixed(&[114_000; 5], 1);
    let expect = CompareExpectation::default();
    let result = compare(&base, &cand, &expect);
    assert!(result.limit > result.margin, "{result:?}");
    assert_eq!(judge(&base, &cand, &expect).verdict, Ruling::Inconclusive);
}
