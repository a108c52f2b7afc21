//! A series FAILs when one of its runs does, and says what its runs show together.

use super::*;
use crate::judge::testing::{Sim, errors_below, expect_recovery, expect_slo};
use crate::judge::{judge, summarize};
use crate::record::Outcome;

fn verdict(oracle: &str, ruling: Ruling) -> Verdict {
    Verdict {
        oracle: oracle.into(),
        expectation: format!("the {oracle}"),
        verdict: ruling,
        because: format!("{oracle} said so"),
        missing: (ruling == Ruling::Inconclusive).then(|| "samples".to_string()),
        evidence: Vec::new(),
    }
}

/// A run with one verdict, so many failed of 10,000 requests under `errors < 1%`, and these recoveries.
fn run(number: u32, ruling: Ruling, failed: u64, recovered: &[Option<u64>]) -> SeriesRun {
    SeriesRun {
        name: format!("run-{number:02}"),
        seed: number.into(),
        verdict: Some(ruling),
        ended: Some(Ended::Completed),
        all: Totals::default(),
        verdicts: vec![verdict("recovery", ruling)],
        budgets: vec![Budget::new(
            "errors < 1%".into(),
            errors_below(0.01),
            10_000,
            failed,
        )],
        recovered_us: recovered.to_vec(),
    }
}

fn find<'a>(series: &'a SeriesResult, oracle: &str) -> &'a Verdict {
    series.verdicts.iter().find(|v| v.oracle == oracle).unwrap()
}

#[test]
fn one_failed_run_fails_the_series_and_is_named() {
    let runs = vec![
        run(1, Ruling::Pass, 0, &[]),
        run(2, Ruling::Fail, 0, &[]),
        run(3, Ruling::Inconclusive, 0, &[]),
    ];
    let series = judge_series(runs, 3, None);
    let recovery = find(&series, "recovery");
    assert_eq!(recovery.verdict, Ruling::Fail);
    assert!(
        recovery
            .because
            .starts_with("held in 1 of 3 runs; failed in run-02"),
        "{}",
        recovery.because
    );
    assert_eq!(recovery.evidence.len(), 2, "each run that did not pass");
}

#[test]
fn none_that_failed_only_bounds_how_many_would() {
    let second = Some(1_000_000);
    let runs = (1..=5).map(|i| run(i, Ruling::Pass, 0, &[second, second, Some(3_000_000)]));
    let series = judge_series(runs.collect(), 5, None);
    let recovery = find(&series, "recovery");
    assert_eq!(recovery.verdict, Ruling::Pass);
    // 15 injections: 1 - 0.05^(1/15) = 18.1%, about 3/15; 5 runs: 45.1%.
    for part in [
        "held in all 5 runs",
        "15 injections",
        "1 s (median), 3 s at worst",
        "18.1%",
    ] {
        assert!(
            recovery.because.contains(part),
            "{part}: {}",
            recovery.because
        );
    }
    assert!(recovery.evidence[0].value.contains("45.1%"), "{recovery:?}");
    assert!((at_most(300) - 0.01).abs() < 0.001, "three over n");
}

#[test]
fn an_injection_that_was_not_mended_is_counted() {
    let runs = vec![run(1, Ruling::Fail, 0, &[Some(1_000_000), None])];
    let series = judge_series(runs, 1, None);
    assert!(
        find(&series, "recovery")
            .because
            .contains("1 not seen restored")
    );
}

#[test]
fn a_budget_is_burnt_over_all_runs() {
    // 0.5% in all: half of the budget, though one run alone burnt more than its share.
    let runs = vec![run(1, Ruling::Pass, 0, &[]), run(2, Ruling::Pass, 101, &[])];
    let series = judge_series(runs, 2, None);
    let budget = find(&series, "budget");
    assert_eq!(budget.verdict, Ruling::Pass, "{}", budget.because);
    assert!(
        budget.because.contains("burn rate 0.51"),
        "{}",
        budget.because
    );
    assert!(
        budget.because.contains("1.01 in run-02"),
        "{}",
        budget.because
    );
    let runs = vec![
        run(1, Ruling::Pass, 150, &[]),
        run(2, Ruling::Pass, 150, &[]),
    ];
    let series = judge_series(runs, 2, None);
    let budget = find(&series, "budget");
    assert_eq!(budget.verdict, Ruling::Fail, "{}", budget.because);
    assert_eq!(series.budgets[0].burn_rate, 1.5);
}

#[test]
fn a_budget_is_burnt_by_the_service_only() {
    let broken_by = |outcome| {
        let mut sim = Sim::steady(200, 60).expect(expect_slo(errors_below(0.01)));
        sim.change_on("shop-2", 10.0, 20.0, |r| r.outcome = outcome);
        sim
    };
    let burnt = |sim: &Sim| {
        let record = sim.record();
        let (summary, verdicts) = (summarize(&record), judge(&record));
        let run = series_run("run-01", &record, &summary, &verdicts);
        let series = judge_series(vec![run], 1, None);
        let budget = find(&series, "budget").clone();
        assert_eq!(
            budget.verdict, verdicts[0].verdict,
            "{budget:?} {verdicts:?}"
        );
        budget
    };
    assert_eq!(burnt(&broken_by(Outcome::Status)).verdict, Ruling::Fail);
    assert_eq!(burnt(&broken_by(Outcome::Ok)).verdict, Ruling::Pass);
    // For want of ports of the generator.
    let own = burnt(&broken_by(Outcome::Local));
    assert_eq!(own.verdict, Ruling::Inconclusive);
    assert!(own.because.contains("666 of them may not be"), "{own:?}");
    assert!(own.missing.is_some());
    // 200 in flight when the graceful stop was over.
    let mut open = broken_by(Outcome::Ok);
    open.drain = 0;
    open.change(59.0, 60.0, |_, r| r.latency = 5_000_000);
    assert_eq!(burnt(&open).verdict, Ruling::Inconclusive);
    // The rest of the run would have had room for what failed.
    let mut cut = broken_by(Outcome::Status);
    cut.change_on("shop-2", 10.5, 20.0, |r| r.outcome = Outcome::Ok);
    assert_eq!(burnt(&cut).verdict, Ruling::Pass);
    cut.ended = Some(Ended::Aborted {
        reason: "Ctrl-C".into(),
    });
    cut.cut = Some(crate::judge::testing::at(12.0));
    assert_eq!(burnt(&cut).verdict, Ruling::Inconclusive);
}

#[test]
fn a_series_that_is_not_whole_passes_nothing() {
    let series = judge_series(vec![run(1, Ruling::Pass, 0, &[])], 3, Some("Ctrl-C".into()));
    let whole = find(&series, "series");
    assert_eq!(whole.verdict, Ruling::Inconclusive);
    assert!(whole.because.contains("1 of 3 runs") && whole.because.contains("Ctrl-C"));
    let mut cut = run(1, Ruling::Pass, 0, &[]);
    cut.ended = None;
    let series = judge_series(vec![cut], 1, None);
    assert!(find(&series, "series").because.contains("run-01"));
    let empty = judge_series(Vec::new(), 2, None);
    assert_eq!(empty.verdicts.len(), 1);
}

#[test]
fn what_a_series_keeps_of_a_run_comes_from_its_record() {
    let mut sim = Sim::steady(200, 90)
        .expect(expect_recovery(15, 3))
        .expect(expect_slo(errors_below(0.05)));
    sim.kill(30.0, 3.0, Some(8.0));
    let record = sim.record();
    let (summary, verdicts) = (summarize(&record), judge(&record));
    let run = series_run("run-01", &record, &summary, &verdicts);
    assert_eq!(run.verdict, Some(Ruling::Pass), "{verdicts:?}");
    assert_eq!(run.recovered_us, [Some(3_000_000)]);
    let [budget] = &run.budgets[..] else {
        panic!("{:?}", run.budgets);
    };
    assert_eq!((budget.ended, budget.failed), (18_000, 200));
    assert_eq!(budget.burn_rate, 200.0 / 18_000.0 / 0.05);
}
