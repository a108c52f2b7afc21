//! Requests, which a proxy chooses for one by one, and which follow their connections behind anything else.

use super::*;
use crate::scenario::ConnectionMode::{PerUser, Pooled};

#[test]
fn few_long_connections_are_not_a_fault_of_the_balancer() {
    // 50 connections of 200 requests over 10 instances, chosen fairly: over requests chi-square "proves" a fault in
    // every such run.
    let mut significant = 0;
    for seed in 0..SEEDS {
        let mut sim = Sim::new(10, PerUser, seed);
        sim.users = 50;
        sim.connect(50, 200, Sim::random);
        for unit in [By::Connection, By::Request] {
            let verdict = judge(&sim.record, &by(unit));
            assert_eq!(verdict.verdict, Ruling::Inconclusive, "{unit:?} {seed}");
            assert!(verdict.missing.unwrap().contains("needed"));
        }
        let naive = judge_shares(&sim.observed().epochs(|c| &c.requests), BAND, 1.0);
        significant += u64::from(naive.chi_square_p < 0.01);
    }
    assert_eq!(significant, SEEDS);
}

#[test]
fn what_the_connection_mode_does_is_said_in_words() {
    let mut sim = Sim::new(3, PerUser, 1);
    let got = [("shop-1", 62), ("shop-2", 70), ("shop-3", 68)];
    let got: Vec<_> = got.map(|(n, c)| (n.to_string(), c, c * 100)).to_vec();
    sim.second(&got, 0);
    let verdict = by_connection(&sim);
    assert_eq!(
        evidence(&verdict, "connections"),
        "200 users pinned 200 connections: shop-1 got 31% of requests because it holds 31% of connections"
    );
    assert_eq!(
        verdict.missing.as_deref(),
        Some("1,100 more connections: about 1,300 are needed to judge 3 instances to 25%")
    );
}

#[test]
fn a_layer_7_balancer_is_judged_by_requests_even_on_few_connections() {
    let (mut failed, mut unclear) = (0, 0);
    for seed in 0..100 {
        let mut sim = Sim::new(3, Pooled(20), seed);
        let first: Vec<_> = (0..20).map(|_| (sim.random(), 1, 0)).collect();
        sim.second(&first, 0);
        sim.moved = 66;
        for _ in 0..30 {
            let got: Vec<_> = (0..100).map(|_| (sim.random(), 0, 1)).collect();
            sim.second(&got, 0);
        }
        match judge(&sim.record, &by(By::Request)).verdict {
            Ruling::Fail => failed += 1,
            Ruling::Inconclusive => unclear += 1,
            Ruling::Pass => {}
        }
    }
    assert_eq!((failed, unclear), (0, 0));
}

#[test]
fn an_uneven_layer_7_balancer_is_told_from_pinned_requests_by_the_moves() {
    // 50 users keep their connections to a proxy that sends shop-3 half of its share. First responses are shared out
    // just so: without the moves it looks like requests that follow their connections.
    for (moved, expected) in [(0, Ruling::Inconclusive), (62, Ruling::Fail)] {
        let mut sim = Sim::new(3, PerUser, 3);
        sim.users = 50;
        let got = |n: u64| {
            [
                ("shop-1", n * 2 / 5),
                ("shop-2", n * 2 / 5),
                ("shop-3", n / 5),
            ]
        };
        let first: Vec<_> = got(50).map(|(name, n)| (name.to_string(), n, 0)).to_vec();
        sim.second(&first, 0);
        sim.moved = moved;
        for _ in 0..30 {
            let each: Vec<_> = got(100).map(|(name, n)| (name.to_string(), 0, n)).to_vec();
            sim.second(&each, 0);
        }
        let verdict = judge(&sim.record, &by(By::Request));
        assert_eq!(verdict.verdict, expected, "{}", verdict.because);
    }
}

#[test]
fn requests_that_are_placed_anew_now_and_then_count_as_few_choices() {
    // A proxy that stays with an instance for 20 requests or so: 3,000 requests are 150 choices.
    let mut sim = Sim::new(3, PerUser, 3);
    let first: Vec<_> = (0..20).map(|_| (sim.random(), 1, 0)).collect();
    sim.second(&first, 0);
    sim.moved = 3;
    for _ in 0..30 {
        let got: Vec<_> = [("shop-1", 43), ("shop-2", 33), ("shop-3", 24)]
            .map(|(name, n)| (name.to_string(), 0, n))
            .to_vec();
        sim.second(&got, 0);
    }
    let verdict = judge(&sim.record, &by(By::Request));
    assert_eq!(verdict.verdict, Ruling::Inconclusive, "{}", verdict.because);
}

#[test]
fn pinned_requests_that_miss_an_instance_fail_when_the_connections_are_enough() {
    let mut sim = Sim::new(3, PerUser, 5);
    sim.connect(200, 100, |s| {
        let i = s.dice.below(2);
        s.set[i].clone()
    });
    let verdict = judge(&sim.record, &by(By::Request));
    assert_eq!(verdict.verdict, Ruling::Fail);
    assert!(verdict.because.starts_with("shop-3 got none"));
}

#[test]
fn requests_on_short_kept_connections_are_no_independent_choices() {
    // Fifty users who are drawn at random for 60 or 120 requests, and stay where a fair balancer has put them.
    for requests in [60, 120] {
        let (failed, _) = over_seeds(|seed| {
            let mut sim = Sim::new(3, PerUser, seed);
            let mut of_user = [0; 50];
            for _ in 0..requests {
                of_user[sim.dice.below(50)] += 1;
            }
            let used = of_user.into_iter().filter(|n| *n > 0);
            let got: Vec<_> = used.map(|n| (sim.random(), 1, n)).collect();
            sim.second(&got, 0);
            judge(&sim.record, &by(By::Request)).verdict
        });
        assert_eq!(failed, 0, "{requests} requests");
    }
    let (failed, _) = over_seeds(|seed| {
        let mut sim = Sim::new(3, PerUser, seed);
        sim.connect(24, 4, Sim::random);
        judge(&sim.record, &by(By::Request)).verdict
    });
    assert_eq!(failed, 0, "four on each connection");
}

#[test]
fn few_kept_connections_starve_nobody_under_least_request() {
    // Ten connections to three instances miss one of them in one run of twenty.
    let least = BalanceExpectation {
        by: By::Request,
        kind: Kind::LeastRequest,
        ..BalanceExpectation::default()
    };
    let (failed, _) = over_seeds(|seed| {
        let mut sim = Sim::new(3, Pooled(10), seed);
        sim.in_flight = 12;
        sim.slow = vec![("shop-2".into(), 80_000)];
        sim.connect(10, 100, Sim::random);
        judge(&sim.record, &least).verdict
    });
    assert_eq!(failed, 0);
}

#[test]
fn least_request_must_spare_the_slow_instance() {
    let least = BalanceExpectation {
        by: By::Request,
        kind: Kind::LeastRequest,
        ..BalanceExpectation::default()
    };
    for seed in 0..10 {
        for (blind, expected) in [(true, Ruling::Fail), (false, Ruling::Pass)] {
            let mut sim = Sim::new(3, Pooled(20), seed);
            sim.in_flight = 12;
            sim.slow = vec![("shop-2".into(), 80_000)];
            sim.run(60, 100, 1, |s| {
                let one = s.random();
                // Two choices, the busy one refused.
                if !blind && one == "shop-2" {
                    s.random()
                } else {
                    one
                }
            });
            let verdict = judge(&sim.record, &least);
            assert_eq!(verdict.verdict, expected, "{}", verdict.because);
            assert!(
                verdict
                    .because
                    .contains("shop-2 answers 8.0 times as slowly")
            );
        }
    }
    let mut idle = Sim::new(3, Pooled(20), 1);
    idle.slow = vec![("shop-2".into(), 80_000)];
    idle.run(60, 100, 1, Sim::random);
    let verdict = judge(&idle.record, &least);
    assert_eq!(verdict.verdict, Ruling::Inconclusive);
    assert!(verdict.missing.unwrap().contains("under way"));
}
