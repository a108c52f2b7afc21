//! Instances that are told to end, and what that may cost.

use std::time::Duration;

use super::*;
use crate::record::{InstanceState, Outcome, What};
use crate::scenario::*;

/// A graceful stop of `shop-2` at 30 s that takes `lost` of its requests with it.
fn stopped(lost: usize) -> Sim {
    let grace = Duration::from_secs(5);
    retired(FaultKind::Stop { grace }, lost)
}

fn retired(kind: FaultKind, lost: usize) -> Sim {
    let mut sim = Sim::steady(200, 90).expect(expect_recovery(15, 3));
    sim.inject(kind, "shop-2", 30.0, None);
    sim.push(
        at(30.0),
        instance("shop-2", "shop-2", InstanceState::Terminating),
    );
    sim.unlist("shop-2", 30.1);
    sim.push(at(30.6), instance("shop-2", "shop-2", InstanceState::Ended));
    let mut left = lost;
    sim.change_on("shop-2", 30.0, 30.6, |r| {
        if left > 0 {
            left -= 1;
            r.fail(Outcome::Closed, 5 * MS);
        } else {
            r.instance = "shop-1".into();
        }
    });
    sim.change_on("shop-2", 30.6, 33.0, |r| r.instance = "shop-3".into());
    sim.replace("shop-2", 33.0);
    sim
}

#[test]
fn timeouts_after_a_graceful_stop_may_be_those_of_a_slow_generator_and_broken_connections_are_not()
{
    let mut sim = stopped(2);
    sim.generator.lag_p99_us = 110 * MS;
    sim.generator.lag_max_us = 120 * MS;
    assert_ruling(&first(&sim), Ruling::Fail);
    for request in &mut sim.requests {
        if request.outcome == Outcome::Closed {
            request.fail(Outcome::Timeout, 400 * MS);
        }
    }
    let verdict = first(&sim);
    assert_ruling(&verdict, Ruling::Inconclusive);
    assert!(
        verdict
            .because
            .contains("by timeouts; but the generator was saturated"),
        "{}",
        verdict.because
    );
    // A generator that keeps its schedule makes none.
    sim.generator.lag_p99_us = 300;
    sim.generator.lag_max_us = 900;
    assert_ruling(&first(&sim), Ruling::Fail);
}

#[test]
fn a_proxy_that_answers_for_an_instance_that_does_not_drain_does_not_hide_it() {
    let mut sim = stopped(8);
    for request in &mut sim.requests {
        if request.outcome == Outcome::Closed {
            // 502, by the proxy, which names nobody.
            request.fail(Outcome::Status, 5 * MS);
            request.instance = String::new();
        }
    }
    let verdict = first(&sim);
    assert_ruling(&verdict, Ruling::Fail);
    assert!(
        verdict.because.contains("8 requests failed"),
        "{}",
        verdict.because
    );
    // What others answer with 503 is theirs.
    let mut others = stopped(0);
    others.change_on("shop-1", 30.1, 30.15, |r| r.fail(Outcome::Status, MS));
    assert_ruling(&first(&others), Ruling::Pass);
}

#[test]
fn a_graceful_stop_must_cost_nothing() {
    let verdict = first(&stopped(1));
    assert_ruling(&verdict, Ruling::Fail);
    insta::assert_snapshot!(verdict.because, @"a graceful stop must cost no request, but 1 request failed on the instance or its connections after stop of shop-2 at 30 s");
    assert_ruling(&first(&stopped(0)), Ruling::Pass);
    // A service that loses one in a hundred at any time did not lose those because of the stop.
    let mut noisy = stopped(2);
    noisy.scenario.expect = vec![Expectation::Recovery(RecoveryExpectation {
        slo: vec![errors_below(0.05)],
        ..match expect_recovery(15, 3) {
            Expectation::Recovery(r) => r,
            _ => unreachable!(),
        }
    })];
    noisy.change(0.0, 90.0, |i, r| {
        if i % 50 == 0 {
            r.fail(Outcome::Reset, 5 * MS);
        }
    });
    assert_ruling(&first(&noisy), Ruling::Pass);
}

#[test]
fn a_pod_that_is_told_to_end_must_cost_nothing_and_one_that_is_killed_may() {
    let pod_kill = |seconds: Option<u64>| FaultKind::PodKill {
        grace: seconds.map(Duration::from_secs),
    };
    let deadline = Duration::from_secs(30);
    for kind in [
        pod_kill(None),
        pod_kill(Some(30)),
        FaultKind::Evict { deadline },
        FaultKind::Drain { deadline },
    ] {
        let verdict = first(&retired(kind.clone(), 1));
        assert_ruling(&verdict, Ruling::Fail);
        assert!(verdict.because.contains("must cost no request"), "{kind:?}");
        assert_ruling(&first(&retired(kind, 0)), Ruling::Pass);
    }
    let killed = first(&retired(pod_kill(Some(0)), 1));
    assert_ruling(&killed, Ruling::Pass);
    assert!(!evidence_of(&killed, "cost of the kill").is_empty());
}

#[test]
fn a_pod_that_stays_listed_or_is_not_replaced_fails() {
    let kind = FaultKind::PodKill { grace: None };
    let mut listed = retired(kind.clone(), 0);
    listed
        .events
        .retain(|e| !matches!(e.what, What::Endpoints { .. }) || e.at < at(29.0));
    let verdict = first(&listed);
    assert_ruling(&verdict, Ruling::Fail);
    assert!(verdict.because.contains("still listed"), "{verdict:?}");
    let mut alone = retired(kind, 0);
    alone.events.retain(|e| {
        !matches!(&e.what, What::Instance(i) if i.state == InstanceState::Ready && e.at > at(31.0))
    });
    let verdict = first(&alone);
    assert_ruling(&verdict, Ruling::Fail);
    assert!(verdict.because.contains("capacity"), "{verdict:?}");
}

#[test]
fn failures_of_the_second_in_which_a_stop_began_do_not_excuse_it() {
    // Injections of the other tests fall on the border between two seconds, real ones anywhere.
    for moment in [30.002, 30.5, 30.9] {
        let mut sim = Sim::steady(200, 90).expect(expect_recovery(15, 3));
        sim.inject(FaultKind::PodKill { grace: None }, "shop-2", moment, None);
        sim.unlist("shop-2", moment + 0.01);
        sim.push(
            at(moment + 0.05),
            instance("shop-2", "shop-2", InstanceState::Ended),
        );
        sim.change_on("shop-2", moment, moment + 0.05, |r| {
            r.fail(Outcome::Closed, 5 * MS);
        });
        sim.change_on("shop-2", moment + 0.05, 33.0, |r| {
            r.instance = "shop-3".into();
        });
        sim.replace("shop-2", 33.0);
        let verdict = first(&sim);
        assert_ruling(&verdict, Ruling::Fail);
    }
}

#[test]
fn each_reason_of_a_failure_is_told() {
    // It loses a request, stays listed, and is not replaced.
    let mut all = retired(FaultKind::PodKill { grace: None }, 1);
    all.events.retain(|e| match &e.what {
        What::Endpoints { .. } => e.at < at(29.0),
        What::Instance(i) => i.state != InstanceState::Ready || e.at < at(31.0),
        _ => true,
    });
    let verdict = first(&all);
    assert_ruling(&verdict, Ruling::Fail);
    insta::assert_snapshot!(verdict.because, @"the balancer still listed shop-2 61 s after pod-kill of shop-2 at 30 s, limit 30 s; also: capacity not restored: no replacement of shop-2 was ready 61 s after pod-kill of shop-2 at 30 s; also: a graceful stop must cost no request, but 1 request failed on the instance or its connections after pod-kill of shop-2 at 30 s");
}
