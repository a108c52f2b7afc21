//! Equal programs must not FAIL, slower ones must, and the rest must say what is missing.

use std::time::Duration;

use super::bootstrap::Dice;
use super::bootstrap::student;
use super::{
    CompareExpectation, Ruling, RunFigure, compare, figure, normal_quantile, quantile_name,
};
use crate::judge::Verdict;
use crate::judge::balance::sim::Sim;
use crate::judge::timeline::{Scope, Timeline};
use crate::record::{Outcome, latency};
use crate::scenario::ConnectionMode;

const SEEDS: u64 = 600;

pub(super) fn judge(
    baseline: &[RunFigure],
    candidate: &[RunFigure],
    expect: &CompareExpectation,
) -> Verdict {
    super::judge(baseline, candidate, expect).0
}

impl Dice {
    fn unit(&mut self) -> f64 {
        (self.below(1 << 53) as f64 + 0.5) / (1u64 << 53) as f64
    }
    fn normal(&mut self) -> f64 {
        normal_quantile(self.unit())
    }
}

/// Requests of a simulated run.
const REQUESTS: u64 = 10_000;

/// The p99 of a run of log-normal latencies around `median_us`, all of them shifted by the run's own luck. The p99 of
/// a sample is where the sample's luck puts it, drawn without drawing all requests.
fn run(dice: &mut Dice, started: u64, median_us: f64, shift: f64, requests: u64) -> RunFigure {
    let luck = (shift * dice.normal()).exp();
    let place = 0.99 + (0.99 * 0.01 / requests as f64).sqrt() * dice.normal();
    let tail = (0.5 * normal_quantile(place.clamp(0.5, 0.9999))).exp();
    RunFigure {
        name: format!("run-{started}"),
        started,
        samples: requests,
        value_us: (median_us * luck * tail) as u64,
        ended: requests,
        failed: 0,
        unfinished: 0,
    }
}

/// So many runs a side, in turn; the candidate takes `times` as long.
pub(super) fn sides(
    seed: u64,
    runs: usize,
    median_us: f64,
    times: f64,
    shift: f64,
) -> (Vec<RunFigure>, Vec<RunFigure>) {
    let mut dice = Dice(seed.wrapping_mul(0xd134_2543_de82_ef95));
    let pairs = (0..runs as u64).map(|i| {
        (
            run(&mut dice, 2 * i, median_us, shift, REQUESTS),
            run(&mut dice, 2 * i + 1, median_us * times, shift, REQUESTS),
        )
    });
    pairs.unzip()
}

/// FAIL, INCONCLUSIVE, PASS over all seeds.
fn tally(runs: usize, median_us: f64, times: f64, shift: f64) -> [u64; 3] {
    let mut counts = [0; 3];
    for seed in 0..SEEDS {
        let (base, cand) = sides(seed, runs, median_us, times, shift);
        let expect = CompareExpectation {
            seed,
            ..CompareExpectation::default()
        };
        let place = match judge(&base, &cand, &expect).verdict {
            Ruling::Fail => 0,
            Ruling::Inconclusive => 1,
            Ruling::Pass => 2,
        };
        counts[place] += 1;
    }
    counts
}

#[test]
fn equal_programs_do_not_fail() {
    // Runs that differ by 2% of themselves, as on a quiet machine.
    let [failed, unclear, _] = tally(5, 100_000.0, 1.0, 0.02);
    assert_eq!(failed, 0);
    assert!(unclear * 20 < SEEDS, "{unclear} of {SEEDS}");
    // A noisy machine may leave it open and must not FAIL.
    let [failed, ..] = tally(5, 100_000.0, 1.0, 0.15);
    assert!(failed * 100 < SEEDS, "{failed} of {SEEDS}");
}

#[test]
fn slower_programs_fail() {
    assert_eq!(tally(5, 100_000.0, 1.3, 0.02), [SEEDS, 0, 0]);
    let [failed, unclear, passed] = tally(10, 100_000.0, 1.2, 0.02);
    assert_eq!(passed, 0);
    assert!(failed * 100 > SEEDS * 95, "{failed}, {unclear}");
}

#[test]
fn what_nobody_feels_is_no_failure() {
    // 1 ms to 2 ms: twice as long, and under the floor of 5 ms.
    let (base, cand) = sides(1, 5, 300.0, 2.0, 0.02);
    let verdict = judge(&base, &cand, &CompareExpectation::default());
    assert_eq!(verdict.verdict, Ruling::Pass, "{}", verdict.because);
    let strict = CompareExpectation {
        floor: Duration::ZERO,
        ..CompareExpectation::default()
    };
    assert_eq!(judge(&base, &cand, &strict).verdict, Ruling::Fail);
}

pub(super) fn fixed(values: &[u64], first: u64) -> Vec<RunFigure> {
    let runs = values.iter().enumerate().map(|(i, v)| RunFigure {
        name: format!("run-{i}"),
        started: first + 2 * i as u64,
        samples: 10_000,
        value_us: *v,
        ended: 10_000,
        failed: 10,
        unfinished: 0,
    });
    runs.collect()
}

#[test]
fn one_bad_run_is_not_a_slow_program() {
    let base = fixed(&[100_000, 101_000, 99_000, 100_500, 99_500], 0);
    let cand = fixed(&[100_000, 101_000, 99_000, 100_500, 400_000], 1);
    let verdict = judge(&base, &cand, &CompareExpectation::default());
    assert_eq!(verdict.verdict, Ruling::Inconclusive);
    assert!(verdict.missing.unwrap().contains("runs a side"));
}

#[test]
fn too_little_is_said_to_be_too_little() {
    let expect = CompareExpectation::default();
    let base = fixed(&[100_000; 5], 0);
    let few = judge(&base[..3], &fixed(&[200_000; 4], 1), &expect);
    assert_eq!(few.verdict, Ruling::Inconclusive);
    assert_eq!(
        few.missing.as_deref(),
        Some("2 more baseline runs and 1 more candidate run")
    );
    let mut short = fixed(&[200_000; 5], 1);
    short[2].samples = 298;
    let verdict = judge(&base, &short, &expect);
    assert_eq!(verdict.verdict, Ruling::Inconclusive);
    assert!(
        verdict.because.contains("298 samples"),
        "{}",
        verdict.because
    );
    let after = fixed(&[200_000; 5], 1_000);
    let verdict = judge(&base, &after, &expect);
    assert_eq!(verdict.verdict, Ruling::Inconclusive);
    assert!(verdict.because.contains("one after the other"));
    let known = CompareExpectation {
        interleaved: false,
        ..expect
    };
    assert_eq!(judge(&base, &after, &known).verdict, Ruling::Fail);
}

#[test]
fn a_fast_failure_is_no_improvement() {
    let base = fixed(&[100_000; 5], 0);
    let mut cand = fixed(&[10_000; 5], 1);
    let verdict = judge(&base, &cand, &CompareExpectation::default());
    assert_eq!(verdict.verdict, Ruling::Pass);
    for run in &mut cand {
        run.failed = 4_000;
    }
    let verdict = judge(&base, &cand, &CompareExpectation::default());
    assert_eq!(verdict.verdict, Ruling::Inconclusive);
    assert!(
        verdict.because.contains("40% of requests"),
        "{}",
        verdict.because
    );
    // Nor is it slower work where the baseline is the one that failed: it did less of it.
    let verdict = judge(&cand, &base, &CompareExpectation::default());
    assert_eq!(verdict.verdict, Ruling::Inconclusive, "{}", verdict.because);
}

#[test]
fn the_runs_asked_for_are_enough() {
    // Ask, run as many as was said, judge again: most are settled then.
    let (mut asked, mut settled) = (0, 0);
    for seed in 0..200 {
        let (base, cand) = sides(seed, 5, 100_000.0, 1.2, 0.05);
        let expect = CompareExpectation::default();
        let first = compare(&base, &cand, &expect);
        let (Ruling::Inconclusive, Some(needed)) = (first.ruling, first.runs_needed) else {
            continue;
        };
        assert!(needed > 5);
        asked += 1;
        let (base, cand) = sides(seed, 2 * needed, 100_000.0, 1.2, 0.05);
        settled += usize::from(compare(&base, &cand, &expect).ruling != Ruling::Inconclusive);
    }
    assert!(
        asked > 20 && settled * 10 > asked * 5,
        "{settled} of {asked}"
    );
}

#[test]
fn the_same_runs_give_the_same_verdict() {
    let (base, cand) = sides(4, 5, 100_000.0, 1.1, 0.05);
    let expect = CompareExpectation::default();
    assert_eq!(judge(&base, &cand, &expect), judge(&base, &cand, &expect));
}

#[test]
fn sizes_and_names_are_those_of_the_books() {
    for (degrees, t) in [(4.0, 2.776), (8.0, 2.306), (18.0, 2.101)] {
        assert!(
            (student(1.959_964, degrees) / t - 1.0).abs() < 0.01,
            "{degrees}"
        );
    }
    assert_eq!(quantile_name(0.99), "p99");
    assert_eq!(quantile_name(0.999), "p99.9");
}

#[test]
fn the_figure_of_a_run_is_its_quantile_without_the_warm_up() {
    let mut sim = Sim::new(1, ConnectionMode::PerRequest, 1);
    for second in 0..10u64 {
        sim.second(&[("shop-1".into(), 1, 100)], 0);
        let interval = sim.record.intervals.last_mut().unwrap();
        let mut response = latency();
        let slow = if second < 2 { 90_000 } else { 10_000 };
        response.record_n(slow, 98).unwrap();
        response.record_n(50_000, 2).unwrap();
        interval.histograms[0]
            .response
            .insert(Outcome::Ok, response);
        // Refused at once: an error, and no latency.
        let mut refused = latency();
        refused.record_n(100, 900).unwrap();
        interval.histograms[0]
            .response
            .insert(Outcome::Refused, refused);
        let ended = &mut interval.second.steps[0].ended;
        ended.insert(Outcome::Refused, 100);
    }
    let read = |record: &crate::record::Record, q: f64| {
        figure("run", &Timeline::new(record), &Scope::default(), q)
    };
    let all = read(&sim.record, 0.5);
    assert_eq!((all.samples, all.error_ratio()), (1_000, 0.5));
    assert_eq!(read(&sim.record, 0.98).value_us / 1_000, 90);
    sim.record.header.scenario.run.warm_up = Duration::from_secs(2);
    let warm = read(&sim.record, 0.99);
    assert_eq!((warm.samples, warm.value_us / 1_000), (800, 50));
    assert_eq!(warm.started, 1_767_225_600_000_000);
}
