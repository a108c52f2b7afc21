use std::time::Duration;

use super::*;
use crate::record::{Ended, InstanceState, Outcome, What};
use crate::scenario::*;

/// 200 requests a second for 90 s and a kill at 30 s.
fn killed(detect: f64, back: Option<f64>) -> Sim {
    let mut sim = Sim::steady(200, 90).expect(expect_recovery(15, 3));
    sim.kill(30.0, detect, back);
    sim
}

#[test]
fn a_kill_that_is_found_out_too_late_fails() {
    let verdict = first(&killed(20.0, Some(25.0)));
    assert_ruling(&verdict, Ruling::Fail);
    insta::assert_snapshot!(verdict.because, @"restored only 20 s after kill of shop-2 at 30 s, limit 15 s; worst from 33 s to 34 s: 67 of 200 requests due then failed (33.5%), limit 1%");
}

/// A pod of a StatefulSet is killed at 30 s; its successor has its name. `back`: when that is ready; `told`: whether the
/// balancer's set is told without it meanwhile.
fn replaced_by_its_namesake(back: Option<f64>, told: bool) -> Sim {
    let mut sim = Sim::steady(200, 90).expect(expect_recovery(15, 3));
    let kill = FaultKind::PodKill {
        grace: Some(Duration::ZERO),
    };
    sim.inject(kill, "shop-2", 30.0, None);
    sim.push(at(30.1), instance("shop-2", "shop-2", InstanceState::Ended));
    sim.push(
        at(31.0),
        instance("shop-2", "shop-2", InstanceState::Started),
    );
    if let Some(back) = back {
        sim.push(at(back), instance("shop-2", "shop-2", InstanceState::Ready));
        if told {
            sim.unlist("shop-2", back);
        }
        sim.push(at(back), What::Endpoints { ready: names() });
    } else {
        sim.unlist("shop-2", 30.5);
    }
    sim
}

#[test]
fn a_pod_is_told_from_its_successor_of_the_same_name() {
    let dead = first(&replaced_by_its_namesake(None, true));
    assert_ruling(&dead, Ruling::Fail);
    assert!(
        dead.because.contains("capacity not restored"),
        "{}",
        dead.because
    );
    let listed = first(&replaced_by_its_namesake(Some(33.0), false));
    assert_ruling(&listed, Ruling::Fail);
    assert!(
        listed.because.contains("still listed"),
        "{}",
        listed.because
    );
    let well = replaced_by_its_namesake(Some(33.0), true);
    assert_ruling(&first(&well), Ruling::Pass);
    let fault = summarize(&well.record()).faults.remove(0);
    assert_eq!(fault.endpoint_removed_us, Some(at(33.0)));
    assert_eq!(fault.ready_again_us, Some(at(33.0)));
}

#[test]
fn pods_of_another_namespace_are_not_awaited_but_what_users_felt_is_judged() {
    // The record tells nothing of them: on the target's own instance the same would be a loss of capacity.
    let elsewhere = |errors: f64| {
        let mut sim = Sim::steady(200, 90).expect(expect_recovery(15, 3));
        sim.inject(FaultKind::PodKill { grace: None }, "db/db-0", 30.0, None);
        let fault = sim.scenario.faults.last_mut().unwrap();
        let label = (NAMESPACE_LABEL.to_string(), "db".to_string());
        fault.select.labels.extend([label]);
        sim.change(30.0, 30.0 + errors, |n, r| {
            if n % 2 == 0 {
                r.fail(Outcome::Timeout, 1_000);
            }
        });
        first(&sim)
    };
    assert_ruling(&elsewhere(20.0), Ruling::Fail);
    assert_ruling(&elsewhere(3.0), Ruling::Pass);
    assert_ruling(&elsewhere(0.0), Ruling::Pass);
}

#[test]
fn a_kill_that_is_healed_in_time_passes_with_its_timeline() {
    let record = killed(3.0, Some(8.0)).record();
    let verdict = judge(&record).remove(0);
    assert_ruling(&verdict, Ruling::Pass);
    insta::assert_snapshot!(verdict.because, @"restored 3 s after kill of shop-2 at 30 s, limit 15 s");
    let fault = summarize(&record).faults.remove(0);
    assert_eq!(fault.injected_us, Some(at(30.0)));
    assert_eq!(fault.not_ready_us, Some(at(30.0)));
    assert_eq!(fault.endpoint_removed_us, Some(at(33.0)));
    assert_eq!(fault.ready_again_us, Some(at(38.0)));
    assert_eq!(fault.restored_us, Some(at(33.0)));
    assert_eq!(fault.failed_requests, 200);
    let served = fault.first_served_us.unwrap();
    assert!(served >= at(38.0) && served < at(38.1), "{served}");
    let error = fault.first_error_us.unwrap();
    assert!(error >= at(30.0) && error < at(30.1), "{error}");
    assert_eq!(
        evidence_of(&verdict, "cost of the kill"),
        "200/s x 33.4% x 3.000 s + 2 in flight = at most 203 requests; 200 failed"
    );
}

#[test]
fn a_dead_instance_that_never_comes_back_fails_although_the_others_carry_the_load() {
    let verdict = first(&killed(0.0, None));
    assert_ruling(&verdict, Ruling::Fail);
    insta::assert_snapshot!(verdict.because, @"capacity not restored: no replacement of shop-2 was ready 61 s after kill of shop-2 at 30 s");
    let mut off = killed(0.0, None);
    if let Target::Local(local) = &mut off.scenario.target {
        local.restart.enabled = false;
    }
    let verdict = first(&off);
    assert_ruling(&verdict, Ruling::Pass);
    insta::assert_snapshot!(verdict.because, @"no bad second after kill of shop-2 at 30 s, limit 15 s");
}

#[test]
fn a_black_hole_is_not_restored_while_its_requests_hang() {
    // All instances: during the hang nothing ends at all, and the seconds after it hold the timeouts.
    let mut sim = Sim::steady(200, 90).expect(expect_recovery(5, 3));
    sim.inject(FaultKind::BlackHole, "shop-2", 30.0, None);
    sim.change_on("shop-2", 30.0, 50.0, |r| r.fail(Outcome::Timeout, 10 * S));
    let record = sim.record();
    let verdict = judge(&record).remove(0);
    assert_ruling(&verdict, Ruling::Fail);
    insta::assert_snapshot!(verdict.because, @"restored only 20 s after black-hole of shop-2 at 30 s, limit 5 s; worst from 33 s to 34 s: 67 of 200 requests due then failed (33.5%), limit 1%");
    let fault = summarize(&record).faults.remove(0);
    assert_eq!(
        fault.restored_us,
        Some(at(50.0)),
        "restored when requests due then were answered again"
    );
    // The seconds 30 to 39 hold not one error in the record: by end time they would pass for restored.
    for interval in &record.intervals[30..40] {
        assert!(
            !interval.second.steps[0]
                .ended
                .contains_key(&Outcome::Timeout)
        );
    }
}

#[test]
fn a_replacement_that_crashes_again_and_again_has_not_recovered() {
    // Out for two seconds of every six: restored just in time, for four seconds at a time.
    let mut sim = Sim::steady(200, 90).expect(expect_recovery(20, 3));
    sim.kill(20.0, 2.0, Some(3.0));
    for crash in (1..12).map(|n| 20.0 + 6.0 * f64::from(n)) {
        sim.change_on("shop-2-r1", crash, crash + 2.0, |r| {
            r.fail(Outcome::Refused, MS)
        });
    }
    let verdict = first(&sim);
    assert_ruling(&verdict, Ruling::Fail);
    insta::assert_snapshot!(verdict.because, @"not restored within 20 s after kill of shop-2 at 20 s, last bad second up to 88 s; worst from 21 s to 22 s: 67 of 200 requests due then failed (33.5%), limit 1%");
    // Once more while it is watched anyway, and never again: that is a recovery.
    let mut sim = Sim::steady(200, 90).expect(expect_recovery(20, 3));
    sim.kill(20.0, 2.0, Some(3.0));
    sim.change_on("shop-2-r1", 27.0, 29.0, |r| r.fail(Outcome::Refused, MS));
    assert_ruling(&first(&sim), Ruling::Pass);
}

#[test]
fn what_breaks_before_the_dead_are_replaced_has_not_recovered() {
    // The others carry the load for as long as their queues hold, beyond the limit.
    let broken = |from: f64, to: f64| {
        let mut sim = killed(0.0, Some(20.0));
        sim.change(from, to, |i, r| {
            if i % 3 == 0 {
                r.fail(Outcome::Timeout, S);
            }
        });
        first(&sim)
    };
    let verdict = broken(47.0, 50.0);
    assert_ruling(&verdict, Ruling::Fail);
    assert!(
        verdict
            .because
            .starts_with("restored only 20 s after kill of shop-2 at 30 s, limit 15 s"),
        "{}",
        verdict.because
    );
    // What breaks when all are there again is another matter.
    assert_ruling(&broken(60.0, 62.0), Ruling::Pass);
}

#[test]
fn a_run_that_ends_in_the_hang_is_inconclusive() {
    let mut sim = Sim::steady(200, 36).expect(expect_recovery(15, 3));
    sim.inject(FaultKind::BlackHole, "shop-2", 30.0, None);
    sim.change_on("shop-2", 30.0, 50.0, |r| r.fail(Outcome::Timeout, 10 * S));
    assert_ruling(&first(&sim), Ruling::Inconclusive);
    // Killed at 36 s: the hanging requests have no outcome at all, and must not pass for good.
    sim.cut = Some(at(36.0));
    sim.ended = None;
    let record = sim.record();
    let verdict = judge(&record).remove(0);
    assert_ruling(&verdict, Ruling::Inconclusive);
    assert_eq!(
        summarize(&record).faults[0].restored_us,
        None,
        "{}",
        verdict.because
    );
}

#[test]
fn within_counts_from_the_undo_of_a_fault_that_lasts() {
    let frozen = |well_at: f64| {
        let mut sim = Sim::steady(200, 90).expect(expect_recovery(15, 3));
        let number = sim.inject(FaultKind::Freeze, "shop-2", 20.0, Some(20));
        sim.undo(number, "shop-2", 40.0);
        sim.change_on("shop-2", 20.0, well_at, |r| r.fail(Outcome::Timeout, 3 * S));
        first(&sim)
    };
    let late = frozen(60.0);
    assert_ruling(&late, Ruling::Fail);
    insta::assert_snapshot!(late.because, @"restored only 20 s after the undo of freeze of shop-2 at 20 s, limit 15 s; worst from 21 s to 22 s: 67 of 200 requests due then failed (33.5%), limit 1%");
    let soon = frozen(44.0);
    assert_ruling(&soon, Ruling::Pass);
    insta::assert_snapshot!(soon.because, @"restored 4 s after the undo of freeze of shop-2 at 20 s, limit 15 s");
    let around = frozen(26.0);
    assert_ruling(&around, Ruling::Pass);
    insta::assert_snapshot!(around.because, @"restored 6 s after freeze of shop-2 at 20 s, limit 15 s");
}

#[test]
fn a_balancer_that_keeps_a_dead_instance_fails() {
    let listed = |seconds: f64| {
        let mut sim = Sim::steady(200, 90).expect(Expectation::Recovery(RecoveryExpectation {
            within: Duration::from_secs(15),
            slo: vec![errors_below(0.5)],
            windows: 3,
            endpoint_removed_within: Duration::from_secs(6),
        }));
        sim.inject(FaultKind::Freeze, "shop-2", 20.0, None);
        if seconds.is_finite() {
            sim.unlist("shop-2", 20.0 + seconds);
        }
        first(&sim)
    };
    let late = listed(9.0);
    assert_ruling(&late, Ruling::Fail);
    insta::assert_snapshot!(late.because, @"the balancer listed the instance for 9 s after freeze of shop-2 at 20 s, limit 6 s");
    let never = listed(f64::INFINITY);
    assert_ruling(&never, Ruling::Fail);
    insta::assert_snapshot!(never.because, @"the balancer still listed shop-2 71 s after freeze of shop-2 at 20 s, limit 6 s");
    let slow = listed(5.5);
    assert_ruling(&slow, Ruling::Pass);
    assert_eq!(
        evidence_of(&slow, "warning"),
        "the balancer let the instance go only after 5.5 s"
    );
}

#[test]
fn what_is_over_once_it_is_made_leaves_time_after_it() {
    // A container that was killed, a workload rolled out again: nothing is taken back, and the fault is over all the same.
    let kill = FaultKind::ContainerKill {
        container: None,
        signal: "KILL".into(),
    };
    for kind in [kill, FaultKind::RolloutRestart] {
        let mut sim = Sim::steady(200, 90).expect(expect_recovery(15, 3));
        sim.inject(kind, "shop-2", 30.0, None);
        let phases = crate::judge::summarize(&sim.record()).phases;
        let after = phases.iter().find(|p| p.phase == FaultPhase::After);
        assert!(after.is_some_and(|p| p.totals.ended > 1000), "{phases:?}");
    }
}

#[test]
fn injections_that_follow_too_fast_are_told_apart_or_not_judged() {
    let twice = |second: f64| {
        let mut sim = killed(3.0, Some(5.0));
        sim.inject(
            FaultKind::Delay {
                latency: Duration::from_secs(1),
                jitter: Duration::ZERO,
            },
            "shop-1",
            second,
            None,
        );
        sim
    };
    // Restored at 33 s, the next at 50 s: both are judged.
    let apart = first(&twice(50.0));
    assert_ruling(&apart, Ruling::Pass);
    insta::assert_snapshot!(apart.because, @"2 injections were recovered from; slowest: restored 3 s after kill of shop-2 at 30 s, limit 15 s");
    let close = first(&twice(34.0));
    assert_ruling(&close, Ruling::Inconclusive);
    insta::assert_snapshot!(close.because, @"not restored after kill of shop-2 at 30 s before delay of shop-1 at 34 s");
    // The same blow: restored together.
    assert_ruling(&first(&twice(30.4)), Ruling::Pass);
}

#[test]
fn a_relapse_takes_a_restoration_back() {
    let mut sim = killed(3.0, Some(8.0));
    sim.change_on("shop-2-r1", 38.0, 42.0, |r| {
        r.fail(Outcome::Status, 10 * MS)
    });
    let record = sim.record();
    assert_eq!(summarize(&record).faults[0].restored_us, Some(at(42.0)));
    assert_ruling(&judge(&record)[0], Ruling::Pass);
    sim.change_on("shop-2-r1", 38.0, 50.0, |r| {
        r.fail(Outcome::Status, 10 * MS)
    });
    let verdict = first(&sim);
    assert_ruling(&verdict, Ruling::Fail);
    insta::assert_snapshot!(verdict.because, @"restored only 20 s after kill of shop-2 at 30 s, limit 15 s; worst from 39 s to 40 s: 67 of 200 requests due then failed (33.5%), limit 1%");
}

#[test]
fn a_run_that_ends_too_early_is_inconclusive() {
    let mut sim = Sim::steady(200, 35).expect(expect_recovery(15, 3));
    sim.kill(30.0, 3.0, Some(4.0));
    let verdict = first(&sim);
    assert_ruling(&verdict, Ruling::Inconclusive);
    insta::assert_snapshot!(verdict.because, @"the traffic ended at 35 s before 3 good seconds in a row after kill of shop-2 at 30 s fitted (2 seen)");
}

#[test]
fn seconds_without_requests_decide_nothing() {
    let mut sim = killed(3.0, Some(8.0));
    sim.requests.retain(|r| r.due < at(33.0));
    let verdict = first(&sim);
    assert_ruling(&verdict, Ruling::Inconclusive);
    insta::assert_snapshot!(verdict.because, @"not seen restored after kill of shop-2 at 30 s: 56 seconds told nothing (no request, or requests that hung, were dropped or are not in the record)");
}

#[test]
fn a_change_that_a_lost_watch_told_late_or_never_fails_nothing() {
    // Found out and replaced at once, but the balancer's set is told only 40 s later.
    let mut sim = Sim::steady(200, 90).expect(expect_recovery(15, 3));
    sim.inject(FaultKind::Kill, "shop-2", 30.0, None);
    sim.push(at(30.0), instance("shop-2", "shop-2", InstanceState::Ended));
    sim.change_on("shop-2", 30.0, 90.0, |r| r.instance = "shop-1".into());
    sim.push(
        at(34.0),
        instance("shop-2-r1", "shop-2", InstanceState::Ready),
    );
    sim.unlist("shop-2", 70.5);
    let verdict = first(&sim);
    assert_ruling(&verdict, Ruling::Fail);
    let mut blind = sim.clone();
    blind.blind("endpointslices", 25.0, Some(70.0));
    let verdict = first(&blind);
    assert_ruling(&verdict, Ruling::Inconclusive);
    insta::assert_snapshot!(verdict.because, @"the balancer listed the instance for 40.5 s after kill of shop-2 at 30 s, limit 30 s; but the watch of endpointslices was lost at 25 s, so that a change came late or not at all");
    // One that was back in time hides nothing of the rest.
    let mut seen = sim.clone();
    seen.blind("endpointslices", 20.0, Some(22.0));
    assert_ruling(&first(&seen), Ruling::Fail);
    // Nor does anybody know of a replacement while the pods are not watched.
    let mut gone = killed(3.0, None);
    assert_ruling(&first(&gone), Ruling::Fail);
    gone.blind("pods", 31.0, None);
    let verdict = first(&gone);
    assert_ruling(&verdict, Ruling::Inconclusive);
    assert!(
        verdict
            .because
            .contains("the watch of pods was lost at 31 s"),
        "{}",
        verdict.because
    );
}

#[test]
fn no_fault_and_refused_faults_are_inconclusive() {
    let mut sim = Sim::steady(200, 60).expect(expect_recovery(15, 3));
    let verdict = first(&sim);
    assert_ruling(&verdict, Ruling::Inconclusive);
    assert_eq!(verdict.because, "no fault was injected");
    let number = sim.inject(FaultKind::Kill, "shop-1", 20.0, None);
    sim.refuse(number);
    let verdict = first(&sim);
    assert_ruling(&verdict, Ruling::Inconclusive);
    insta::assert_snapshot!(verdict.because, @"no fault was injected: 1 injection could not be made (kill shop-1: keep-ready 100%)");
    // One refused and one made: the one that was refused is still to be recovered from.
    sim.kill(30.0, 2.0, Some(4.0));
    let verdict = first(&sim);
    assert_ruling(&verdict, Ruling::Inconclusive);
    insta::assert_snapshot!(verdict.because, @"restored 2 s after kill of shop-2 at 30 s, limit 15 s; 1 injection could not be made (kill shop-1: keep-ready 100%); but the fault `kill shop-1` was not made: keep-ready 100%");
    assert_eq!(
        verdict.missing.as_deref(),
        Some("a run in which each fault is made")
    );
}

#[test]
fn a_target_without_instances_is_judged_on_its_traffic() {
    let mut sim = killed(3.0, Some(8.0));
    sim.scenario.target = Target::Url(UrlTarget {
        url: "http://127.0.0.1:1".into(),
        common: TargetCommon::default(),
    });
    sim.events
        .retain(|e| !matches!(e.what, What::Endpoints { .. } | What::Instance(_)));
    let verdict = first(&sim);
    assert_ruling(&verdict, Ruling::Pass);
    assert_eq!(
        evidence_of(&verdict, "endpoint removal"),
        "not judged: the platform shows no endpoints"
    );
    assert_eq!(
        evidence_of(&verdict, "replacement"),
        "not judged: nothing restarts the dead here"
    );
}

#[test]
fn a_failure_in_each_second_is_a_pattern() {
    // One of a hundred a second is no proof against `errors < 1%`... but two in each of five seconds are.
    let build = |each: usize| {
        let mut sim = Sim::steady(100, 60).expect(Expectation::Recovery(RecoveryExpectation {
            within: Duration::from_secs(10),
            slo: vec![errors_below(0.01)],
            windows: 5,
            endpoint_removed_within: Duration::from_secs(30),
        }));
        sim.inject(
            FaultKind::Delay {
                latency: Duration::from_millis(1),
                jitter: Duration::ZERO,
            },
            "shop-1",
            20.0,
            None,
        );
        for second in 20..60 {
            let from = f64::from(second) + 0.3;
            sim.change(from, from + 0.01 * each as f64, |_, r| {
                r.fail(Outcome::Reset, MS)
            });
        }
        first(&sim)
    };
    let verdict = build(2);
    assert_ruling(&verdict, Ruling::Fail);
    insta::assert_snapshot!(verdict.because, @"not restored within 10 s after delay of shop-1 at 20 s; from 20 s to 25 s: 10 of 500 requests due then failed (2%), limit 1%");
    assert_ruling(&build(0), Ruling::Pass);
}

#[test]
fn what_held_though_the_fault_had_no_effect_is_not_passed() {
    let mut sim = Sim::steady(200, 60)
        .expect(expect_recovery(15, 3))
        .expect(expect_slo(p99_below(250)));
    let cut = FaultKind::Partition {
        direction: Direction::Both,
        from: Default::default(),
        to: Default::default(),
    };
    let injection = sim.inject(cut, "shop-2", 30.0, Some(5));
    sim.undo(injection, "shop-2", 35.0);
    assert_eq!(exit_code(&judge(&sim.record()), Some(&Ended::Completed)), 0);
    sim.idle(injection, "nobody enforces it");
    for verdict in &judge(&sim.record())[..2] {
        assert_ruling(verdict, Ruling::Inconclusive);
        assert!(
            verdict.because.contains("nobody enforces it"),
            "{verdict:?}"
        );
    }
    // What failed all the same did fail.
    sim.change_on("shop-2", 10.0, 50.0, |r| r.latency = 2_100 * MS);
    assert_eq!(exit_code(&judge(&sim.record()), Some(&Ended::Completed)), 1);
}
