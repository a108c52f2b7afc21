use std::time::Duration;

use super::*;
use crate::record::{InstanceState, Outcome, What};
use crate::scenario::units::Ratio;
use crate::scenario::*;

pub(super) fn expect_spread(over: SpreadOver) -> Expectation {
    Expectation::Spread(SpreadExpectation {
        over,
        errors: Ratio::fraction(0.02),
        within: Duration::from_secs(10),
    })
}

/// 200 requests a second for 90 s; `shop-1`, `shop-2`, `shop-3` die at 20, 40 and 60 s, are refused for `cost` seconds
/// and back 5 s later.
pub(super) fn each(cost: [f64; 3]) -> Sim {
    let mut sim = Sim::steady(200, 90).expect(expect_spread(SpreadOver::Instance));
    for (i, cost) in cost.into_iter().enumerate() {
        let (name, when) = (format!("shop-{}", i + 1), 20.0 * (i + 1) as f64);
        sim.inject(FaultKind::Kill, &name, when, None);
        sim.push(at(when), instance(&name, &name, InstanceState::Ended));
        let heir = format!("{name}-r1");
        sim.push(at(when + 5.0), instance(&heir, &name, InstanceState::Ready));
        sim.change_on(&name, when, when + cost, |r| r.fail(Outcome::Refused, MS));
        let others = format!("shop-{}", (i + 1) % 3 + 1);
        sim.change_on(&name, when + cost, when + 5.0, |r| {
            r.instance = others.clone()
        });
        sim.change_on(&name, when + 5.0, 90.0, |r| r.instance = heir.clone());
    }
    sim
}

#[test]
fn one_that_is_missed_fails_by_name() {
    let verdict = first(&each([0.2, 4.0, 0.2]));
    assert_ruling(&verdict, Ruling::Fail);
    insta::assert_snapshot!(verdict.because, @"instance shop-2 cannot be lost: after kill of shop-2 at 40 s 266 of 2,200 requests failed (12.1%) within 10s, limit 2%");
    insta::assert_snapshot!(evidence_of(&verdict, "shop-2 lost"), @"kill of shop-2 at 40 s: 266 of 2,200 requests failed (12.1%)");
    // A loss that hangs shows its errors when the timeouts run out.
    let mut hangs = each([0.2, 0.2, 0.2]);
    hangs.change(60.0, 61.0, |_, r| r.fail(Outcome::Timeout, 10 * S));
    let verdict = first(&hangs);
    assert_ruling(&verdict, Ruling::Fail);
    assert!(
        verdict
            .because
            .starts_with("instance shop-3 cannot be lost"),
        "{}",
        verdict.because
    );
}

#[test]
fn each_one_that_is_not_missed_passes() {
    let verdict = first(&each([0.2, 0.4, 0.2]));
    assert_ruling(&verdict, Ruling::Pass);
    insta::assert_snapshot!(verdict.because, @"each of 3 instances was lost and not missed; most: 26 of 2,200 requests failed (1.18%) after kill of shop-2 at 40 s, limit 2%");
}

#[test]
fn one_that_was_not_taken_away_is_inconclusive_by_name() {
    let mut two = each([0.2, 0.2, 0.2]);
    two.refuse(3);
    let verdict = first(&two);
    assert_ruling(&verdict, Ruling::Inconclusive);
    insta::assert_snapshot!(verdict.because, @"2 of 3 instances were taken away, and not shop-3; 1 injection could not be made (kill shop-3: keep-ready 100%)");
    // Slowing one down takes nothing away.
    let mut slow = Sim::steady(200, 90).expect(expect_spread(SpreadOver::Instance));
    let delay = FaultKind::Delay {
        latency: Duration::from_secs(1),
        jitter: Duration::ZERO,
    };
    slow.inject(delay, "shop-1", 20.0, None);
    let verdict = first(&slow);
    assert_ruling(&verdict, Ruling::Inconclusive);
    assert_eq!(verdict.because, "no instance was taken away");
    // One that fails is told, whoever was not hit.
    let mut bad = each([0.2, 4.0, 0.2]);
    bad.refuse(3);
    assert_ruling(&first(&bad), Ruling::Fail);
}

#[test]
fn too_few_requests_and_another_fault_at_the_same_time_are_inconclusive() {
    let mut few = each([0.0, 0.0, 0.0]);
    few.requests.retain(|r| r.due % S < 30 * MS);
    let verdict = first(&few);
    assert_ruling(&verdict, Ruling::Inconclusive);
    insta::assert_snapshot!(verdict.because, @"after kill of shop-3 at 60 s 0 of 66 requests failed (0%) within 10s: too few to tell");
    let mut frozen = each([0.2, 4.0, 0.2]);
    frozen.inject(FaultKind::Freeze, "shop-3", 35.0, None);
    let verdict = first(&frozen);
    assert_ruling(&verdict, Ruling::Inconclusive);
    insta::assert_snapshot!(verdict.because, @"instance shop-2 cannot be lost: after kill of shop-2 at 40 s 266 of 2,200 requests failed (12.1%) within 10s, limit 2%; but freeze of shop-3 at 35 s was in force too");
}

#[test]
fn a_loss_that_the_traffic_does_not_outlast_is_inconclusive() {
    // Of the 10 s that are looked at after the last kill, 6 are there.
    let mut sim = each([0.2, 0.2, 0.2]);
    sim.scenario.traffic = vec![flow("browse", 200, 66)];
    sim.requests.retain(|r| r.due < at(66.0));
    sim.seconds = 66;
    let verdict = first(&sim);
    assert_ruling(&verdict, Ruling::Inconclusive);
    insta::assert_snapshot!(verdict.because, @"traffic ended 6 s after kill of shop-3 at 60 s, and what it costs is looked at for 10s");
    // What is lost by then is lost.
    sim.change_on("shop-3", 60.0, 64.0, |r| r.fail(Outcome::Refused, MS));
    sim.change_on("shop-3-r1", 60.0, 66.0, |r| r.fail(Outcome::Refused, MS));
    sim.change_on("shop-1", 60.2, 64.0, |r| r.fail(Outcome::Refused, MS));
    assert_ruling(&first(&sim), Ruling::Fail);
}

#[test]
fn nodes_are_judged_by_where_their_instances_stood() {
    let nodes = |both: bool| {
        let mut sim = Sim::steady(200, 90).expect(expect_spread(SpreadOver::Node));
        for (name, node) in [("shop-1", "n1"), ("shop-2", "n2"), ("shop-3", "n2")] {
            let (instance, node) = (name.to_string(), node.to_string());
            sim.push(S, What::Placed { instance, node });
        }
        let deadline = Duration::from_secs(30);
        sim.inject(FaultKind::Drain { deadline }, "shop-1", 20.0, None);
        if both {
            sim.undo(1, "n1", 30.0);
            sim.inject(FaultKind::Drain { deadline }, "shop-2", 40.0, None);
            sim.change(40.0, 43.0, |_, r| r.fail(Outcome::Refused, MS));
        }
        first(&sim)
    };
    let verdict = nodes(true);
    assert_ruling(&verdict, Ruling::Fail);
    insta::assert_snapshot!(verdict.because, @"node n2 cannot be lost: after drain of shop-2 at 40 s 600 of 2,200 requests failed (27.3%) within 10s, limit 2%");
    let verdict = nodes(false);
    assert_ruling(&verdict, Ruling::Inconclusive);
    insta::assert_snapshot!(verdict.because, @"1 of 2 nodes were taken away, and not n2");
}
