//! The search must find a capacity that is known, must not claim one that it did not see twice, and must FAIL a service
//! that has too little.

use std::time::Duration;

use super::*;
use crate::judge::testing::Dice;
use crate::judge::testing::{Sim, at, expect_slo, flow, p99_below};
use crate::judge::{judge, summarize};
use crate::record::What;
use crate::scenario::Load;
use crate::scenario::units::{Rate, Ratio};

fn search(at_least: Option<f64>) -> Capacity {
    Capacity {
        from: Rate::per_second(50.0),
        to: Rate::per_second(5_000.0),
        hold: Duration::from_secs(10),
        resolution: Ratio::fraction(0.05),
        at_least: at_least.map(Rate::per_second),
        level: None,
    }
}

fn level_at(number: usize, rate: f64, outcome: Outcome) -> Level {
    Level {
        name: format!("level-{number:02}"),
        rate_per_s: rate,
        outcome,
        why: "the generator was saturated".into(),
        instances: Some(4),
        answered_per_s: rate,
        mean_us: 20_000.0,
        p50_us: 20_000,
        p99_us: 40_000,
        error_ratio: 0.0,
    }
}

/// Searches a service that behaves like this.
fn run(search: &Capacity, mut service: impl FnMut(f64) -> Outcome) -> CapacityResult {
    let mut levels: Vec<Level> = Vec::new();
    loop {
        let trials: Vec<Trial> = levels.iter().map(Level::trial).collect();
        let Some(rate) = next(search, &trials) else {
            break;
        };
        levels.push(level_at(levels.len() + 1, rate, service(rate)));
    }
    judge_capacity(search, vec!["p99 < 250ms".into()], levels, None)
}

fn up_to(capacity: f64) -> impl Fn(f64) -> Outcome {
    move |rate| match rate <= capacity {
        true => Outcome::Holds,
        false => Outcome::Fails,
    }
}

#[test]
fn too_little_capacity_fails() {
    let result = run(&search(Some(500.0)), up_to(200.0));
    let verdict = &result.verdicts[0];
    assert_eq!(verdict.verdict, Ruling::Fail, "{}", verdict.because);
    assert!(
        verdict.expectation.contains("at least 500/s"),
        "{verdict:?}"
    );
    assert!(!verdict.evidence.is_empty());
    // It is found all the same.
    assert!(result.held_per_s.unwrap() <= 200.0 && result.failed_per_s.unwrap() > 200.0);
    let nothing = run(&search(None), up_to(10.0));
    assert_eq!(nothing.verdicts[0].verdict, Ruling::Fail);
    assert!(
        nothing.answer.contains("not even 50/s"),
        "{}",
        nothing.answer
    );
}

#[test]
fn a_known_capacity_is_found_to_the_resolution_and_seen_twice() {
    for capacity in [51.0, 77.7, 200.0, 449.9, 500.0, 1_234.5, 4_900.0] {
        for least in [None, Some(50.0), Some(300.0)] {
            let result = run(&search(least), up_to(capacity));
            let (held, failed) = (result.held_per_s.unwrap(), result.failed_per_s.unwrap());
            assert!(
                held <= capacity && capacity < failed,
                "{held} {capacity} {failed}"
            );
            assert!(failed <= held * 1.05 + 1e-6, "{held} {failed}");
            let runs = |rate: f64| {
                result
                    .levels
                    .iter()
                    .filter(|l| l.rate_per_s == rate)
                    .count()
            };
            assert!(runs(held) >= 2 && runs(failed) >= 2);
            assert!(result.levels.len() <= 18, "{}", result.levels.len());
            let expected = match least {
                Some(least) if least > capacity => Ruling::Fail,
                _ => Ruling::Pass,
            };
            assert_eq!(result.verdicts[0].verdict, expected, "{}", result.answer);
        }
    }
    let result = run(&search(None), up_to(200.0));
    assert!(
        result.answer.starts_with("at 4 instances ")
            && result.answer.contains("5% resolution; seen 2 of 2"),
        "{}",
        result.answer
    );
}

#[test]
fn more_than_was_searched_is_said_so() {
    let result = run(&search(None), up_to(1e9));
    assert_eq!(result.verdicts[0].verdict, Ruling::Pass);
    assert_eq!(
        (result.held_per_s, result.failed_per_s),
        (Some(5_000.0), None)
    );
    assert!(
        result.answer.contains("there or above"),
        "{}",
        result.answer
    );
}

#[test]
fn a_saturated_generator_is_no_boundary() {
    let service = |rate: f64| match rate > 900.0 {
        true => Outcome::Unclear,
        false => Outcome::Holds,
    };
    let result = run(&search(None), service);
    let verdict = &result.verdicts[0];
    assert_eq!(verdict.verdict, Ruling::Inconclusive);
    assert!(
        verdict.because.contains("generator was saturated"),
        "{}",
        verdict.because
    );
    assert_eq!(result.failed_per_s, None);
    // What was seen to hold holds all the same, also twice.
    let enough = run(&search(Some(500.0)), service);
    assert_eq!(
        enough.verdicts[0].verdict,
        Ruling::Pass,
        "{}",
        enough.answer
    );
    let short = run(&search(Some(2_000.0)), service);
    assert_eq!(short.verdicts[0].verdict, Ruling::Inconclusive);
}

#[test]
fn runs_that_disagree_are_made_again() {
    // One run in ten says the wrong thing.
    let (mut near, mut confirmed) = (0, 0);
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let result = run(&search(None), |rate| {
            let right = rate <= 400.0;
            match right != (dice.next() < 0.1) {
                true => Outcome::Holds,
                false => Outcome::Fails,
            }
        });
        if let (Some(held), Some(failed)) = (result.held_per_s, result.failed_per_s) {
            let runs = |rate: f64, outcome: Outcome| {
                let at = result.levels.iter().filter(|l| l.rate_per_s == rate);
                at.filter(|l| l.outcome == outcome).count()
            };
            if result.verdicts[0].verdict == Ruling::Pass {
                confirmed += 1;
                assert!(runs(held, Outcome::Holds) >= 2 && runs(failed, Outcome::Fails) >= 2);
                near += usize::from(held <= 400.0 * 1.05 && failed >= 400.0 / 1.05);
            }
        }
        assert!(result.levels.len() <= 60);
    }
    assert!(confirmed > 150, "{confirmed}");
    assert!(near * 100 >= confirmed * 80, "{near} of {confirmed}");
}

#[test]
fn a_service_that_is_a_coin_is_not_told() {
    let mut turn = 0;
    let result = run(&search(None), |_| {
        turn += 1;
        match turn % 2 {
            0 => Outcome::Holds,
            _ => Outcome::Fails,
        }
    });
    assert_ne!(
        result.verdicts[0].verdict,
        Ruling::Pass,
        "{}",
        result.answer
    );
}

#[test]
fn other_instances_in_other_runs_are_not_one_capacity() {
    let mut levels: Vec<Level> = run(&search(None), up_to(200.0)).levels;
    levels[0].instances = Some(3);
    let result = judge_capacity(&search(None), vec!["p99 < 250ms".into()], levels, None);
    let verdict = &result.verdicts[0];
    assert_eq!(verdict.verdict, Ruling::Inconclusive);
    assert!(verdict.because.contains("(3 to 4)"), "{}", verdict.because);
    let few = vec![level_at(1, 50.0, Outcome::Holds)];
    let cut = judge_capacity(&search(None), vec![], few, Some("stopped by Ctrl-C"));
    assert_eq!(cut.verdicts[0].verdict, Ruling::Inconclusive);
    assert!(cut.verdicts[0].because.contains("Ctrl-C"));
    let none = judge_capacity(&search(None), vec![], Vec::new(), None);
    assert_eq!(none.verdicts[0].verdict, Ruling::Inconclusive);
}

fn level_of(sim: &Sim) -> Level {
    let record = sim.record();
    level("level-01", &record, &summarize(&record), &judge(&record))
}

#[test]
fn a_level_is_what_its_record_shows() {
    let calm = Sim::steady(200, 20).expect(expect_slo(p99_below(100)));
    let seen = level_of(&calm);
    assert_eq!(
        (seen.outcome, seen.rate_per_s),
        (Outcome::Holds, 200.0),
        "{}",
        seen.why
    );
    assert_eq!(seen.instances, Some(3));
    let mut slow = calm.clone();
    slow.change(0.0, 20.0, |_, request| request.latency = 150_000);
    let seen = level_of(&slow);
    assert_eq!(seen.outcome, Outcome::Fails);
    assert!(seen.why.contains("p99"), "{}", seen.why);
    // Beyond its capacity of 150/s it falls behind, and answers the rest when no more is due.
    let mut behind = calm.clone();
    behind.drain = 12;
    let mut i = 0;
    behind.change(0.0, 20.0, |_, request| {
        let answered = at(i as f64 / 150.0);
        request.latency = answered.saturating_sub(request.due).max(10_000);
        i += 1;
    });
    let seen = level_of(&behind);
    assert_eq!(seen.outcome, Outcome::Fails);
    assert!(
        (145.0..=151.0).contains(&seen.answered_per_s),
        "{}",
        seen.answered_per_s
    );
    let mut late = calm.clone();
    late.generator.lag_p99_us = 400_000;
    late.generator.lag_max_us = 400_000;
    assert_eq!(level_of(&late).outcome, Outcome::Unclear);
    let mut short = calm.clone();
    short.ended = None;
    assert_eq!(level_of(&short).outcome, Outcome::Unclear);
    let mut scaled = calm;
    let ready = (1..=5).map(|i| format!("shop-{i}")).collect();
    scaled.push(at(10.0), What::Endpoints { ready });
    let seen = level_of(&scaled);
    assert_eq!(seen.outcome, Outcome::Unclear);
    assert!(seen.why.contains("from 3 to 5"), "{}", seen.why);
}

#[test]
fn flows_keep_their_shares_of_a_level() {
    let mut sim = Sim::steady(30, 20);
    sim.scenario.traffic.push(flow("buy", 10, 5));
    assert!(sim.scenario.at_level(Rate::per_second(80.0)).is_none());
    sim.scenario.capacity = Some(search(None));
    sim.scenario.run.warm_up = Duration::from_secs(2);
    let level = sim.scenario.at_level(Rate::per_second(80.0)).unwrap();
    let rates: Vec<f64> = level
        .traffic
        .iter()
        .map(|flow| match &flow.load {
            Load::Open(open) => open.stages[0].rate.get(),
            Load::Closed(_) => 0.0,
        })
        .collect();
    assert_eq!(rates, [60.0, 20.0]);
    assert_eq!(level.duration(), Duration::from_secs(12));
    assert_eq!(level.capacity.unwrap().level, Some(Rate::per_second(80.0)));
}

/// Levels of a service that follows the law exactly: arrivals are what it answers.
fn lawful(sigma: f64, kappa: f64, n: &[f64]) -> Vec<Level> {
    let usl = Usl {
        lambda_per_s: 100.0,
        sigma,
        kappa,
        peak_in_flight: None,
        peak_per_s: None,
        tested_in_flight: 0.0,
    };
    let level = |(i, n): (usize, &f64)| {
        let x = usl.throughput(*n);
        let mut level = level_at(i, x, Outcome::Holds);
        level.mean_us = n / x * 1e6;
        level
    };
    n.iter().enumerate().map(level).collect()
}

#[test]
fn the_law_is_found_again_and_its_peak_only_near_what_was_tested() {
    let near = fit(&lawful(0.05, 0.002, &[1.0, 2.0, 4.0, 8.0, 12.0, 16.0])).unwrap();
    assert!((near.lambda_per_s - 100.0).abs() < 0.1, "{near:?}");
    assert!(
        (near.sigma - 0.05).abs() < 1e-3 && (near.kappa - 0.002).abs() < 1e-4,
        "{near:?}"
    );
    // The square root of 0.95/0.002 is 21.8, within 1.5 times 16.
    assert!(
        (near.peak_in_flight.unwrap() - 21.8).abs() < 0.2,
        "{near:?}"
    );
    let far = fit(&lawful(0.05, 0.0002, &[1.0, 2.0, 4.0, 8.0, 12.0, 16.0])).unwrap();
    assert_eq!(far.peak_in_flight, None, "68.9 is far beyond 16: {far:?}");
    assert_eq!(fit(&lawful(0.05, 0.002, &[1.0, 2.0, 4.0, 8.0, 12.0])), None);
    // Three rates that were run twice each are three, though no two runs answer the same.
    let mut twice = lawful(0.05, 0.002, &[1.0, 8.0, 16.0, 1.1, 8.2, 16.3]);
    for i in 3..6 {
        twice[i].rate_per_s = twice[i - 3].rate_per_s;
    }
    assert_eq!(fit(&twice), None);
}
