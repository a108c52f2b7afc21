use std::time::Duration;

use super::*;
use crate::record::Outcome;
use crate::scenario::*;

/// 200 requests a second for 60 s; from 14 s to 19 s `shop-2` is slow.
fn slow_instance(bound: Bound) -> Sim {
    let mut sim = Sim::steady(200, 60).expect(expect_slo(bound));
    sim.change_on("shop-2", 14.0, 19.0, |r| r.latency = 2_100 * MS);
    sim
}

#[test]
fn a_slow_instance_fails_the_percentile_and_is_named() {
    let verdict = first(&slow_instance(p99_below(250)));
    assert_ruling(&verdict, Ruling::Fail);
    insta::assert_snapshot!(verdict.because, @"p99 was 2.1 s, limit 250 ms, over 12,000 requests; worst from 14 s to 20 s (p99 2.1 s), all of it on shop-2");
    assert!(evidence_of(&verdict, "on the wrong side by instance").starts_with("shop-2: 33"));
    // The same with a limit that it keeps.
    assert_ruling(&first(&slow_instance(p99_below(2_500))), Ruling::Pass);
}

#[test]
fn a_healthy_service_passes_with_its_numbers() {
    let verdict = first(&Sim::steady(200, 60).expect(expect_slo(p99_below(250))));
    assert_ruling(&verdict, Ruling::Pass);
    insta::assert_snapshot!(verdict.because, @"p99 was 14 ms, limit 250 ms, over 12,000 requests");
}

#[test]
fn too_few_requests_are_inconclusive_and_say_how_many_it_takes() {
    let verdict = first(&Sim::steady(10, 20).expect(expect_slo(p99_below(250))));
    assert_ruling(&verdict, Ruling::Inconclusive);
    insta::assert_snapshot!(verdict.because, @"p99 was 14 ms, limit 250 ms, over 200 requests: too few to tell, a p99 takes 299 requests");
    assert_eq!(verdict.missing.as_deref(), Some("a p99 takes 299 requests"));
}

#[test]
fn few_requests_and_far_too_many_slow_ones_fail() {
    let mut sim = Sim::steady(10, 20).expect(expect_slo(p99_below(250)));
    sim.change(0.0, 2.0, |_, r| r.latency = S);
    assert_ruling(&first(&sim), Ruling::Fail);
}

#[test]
fn errors_fail_with_kind_and_place() {
    let mut sim = Sim::steady(200, 60).expect(expect_slo(errors_below(0.001)));
    sim.change_on("shop-3", 30.0, 33.0, |r| r.outcome = Outcome::Status);
    let verdict = first(&sim);
    assert_ruling(&verdict, Ruling::Fail);
    insta::assert_snapshot!(verdict.because, @"errors were 1.67%, limit 0.1%, over 12,000 requests (200 failed); worst from 30 s to 34 s (25%), mostly status 503 (200), all of it on shop-3");
    assert_eq!(
        evidence_of(&verdict, "arithmetic"),
        "200 failed / 12,000 ended = 1.67%"
    );

    let healthy = first(&Sim::steady(200, 60).expect(expect_slo(errors_below(0.001))));
    assert_ruling(&healthy, Ruling::Pass);
    insta::assert_snapshot!(healthy.because, @"errors were 0%, limit 0.1%, over 12,000 requests (none failed)");

    let few = first(&Sim::steady(10, 60).expect(expect_slo(errors_below(0.001))));
    assert_ruling(&few, Ruling::Inconclusive);
    insta::assert_snapshot!(few.because, @"errors were 0%, limit 0.1%, over 600 requests (none failed): too few to tell, an error ratio of 0.1% takes 3,000 requests");
}

#[test]
fn no_errors_at_all_is_a_fact_about_the_run() {
    let none = bound(
        Metric::Errors,
        Op::AtMost,
        Limit::Share(units::Ratio::fraction(0.0)),
    );
    let mut sim = Sim::steady(100, 60).expect(expect_slo(none));
    let verdict = first(&sim);
    assert_ruling(&verdict, Ruling::Pass);
    assert_eq!(
        evidence_of(&verdict, "what zero failures show"),
        "a true ratio of at most 0.05% (3/n, 95% sure)"
    );
    sim.requests[77].outcome = Outcome::Check;
    assert_ruling(&first(&sim), Ruling::Fail);
}

#[test]
fn throughput_is_over_the_schedules_wall_time() {
    let mut sim = Sim::steady(200, 60).expect(expect_slo(throughput(Op::AtLeast, 195.0)));
    // Not a single second of draining may count.
    sim.requests.last_mut().unwrap().latency = 9 * S;
    assert_ruling(&first(&sim), Ruling::Pass);
    sim.change(20.0, 25.0, |_, r| r.fail(Outcome::Refused, MS));
    let verdict = first(&sim);
    assert_ruling(&verdict, Ruling::Fail);
    insta::assert_snapshot!(verdict.because, @"throughput was 183/s, limit 195/s, over 11,000 requests answered in 60 s; worst from 20 s to 25 s (0.4/s)");
}

#[test]
fn a_backlog_that_is_answered_after_the_schedule_is_no_throughput() {
    // 400/s are due, 200/s are served: the queue goes on for ten seconds after the last one was due.
    let mut sim = Sim::steady(400, 10).expect(expect_slo(throughput(Op::AtLeast, 300.0)));
    for (i, request) in sim.requests.iter_mut().enumerate() {
        request.latency = START + (i as u64 + 1) * S / 200 - request.due;
    }
    let verdict = first(&sim);
    assert_ruling(&verdict, Ruling::Fail);
    insta::assert_snapshot!(verdict.because, @"throughput was 202/s, limit 300/s, over 2,020 requests answered in 10 s (1,980 more when nothing was due any more); worst from 0 s to 10 s (200/s)");
    // A service that keeps up answers the last ones after the schedule too, and holds all that is asked of it.
    for request in &mut sim.requests {
        request.latency = 300 * MS;
    }
    sim.scenario.expect = vec![expect_slo(throughput(Op::AtLeast, 400.0))];
    assert_ruling(&first(&sim), Ruling::Pass);
}

#[test]
fn a_service_that_answers_nothing_fails_its_latency_bound() {
    let mut sim = Sim::steady(50, 20).expect(expect_slo(p99_below(250)));
    sim.change(0.0, 20.0, |_, r| r.fail(Outcome::Refused, MS));
    let verdict = first(&sim);
    assert_ruling(&verdict, Ruling::Fail);
    insta::assert_snapshot!(verdict.because, @"no request was answered: all 1,000 failed (1,000 refused)");
    // Where the generator itself could not send, nothing is known of the service.
    sim.change(0.0, 20.0, |_, r| r.fail(Outcome::Local, MS));
    assert_ruling(&first(&sim), Ruling::Inconclusive);
}

#[test]
fn timeouts_are_in_the_percentile_and_refusals_are_pointed_out() {
    let mut sim = Sim::steady(200, 60).expect(expect_slo(p99_below(250)));
    sim.change(10.0, 12.0, |_, r| r.fail(Outcome::Timeout, 5 * S));
    assert_ruling(&first(&sim), Ruling::Fail);
    sim.change(10.0, 12.0, |_, r| r.fail(Outcome::Refused, MS));
    let verdict = first(&sim);
    assert_ruling(&verdict, Ruling::Pass);
    assert!(
        evidence_of(&verdict, "warning").starts_with("400 requests (3.33%) failed without waiting")
    );
}

#[test]
fn what_the_end_cut_off_decides_nothing() {
    // Each takes 200 ms, and none has time to finish once the schedule is over: the last 40 of 2,000.
    let cut_off = |bound| {
        let mut sim = Sim::steady(200, 10).expect(expect_slo(bound));
        sim.drain = 0;
        sim.change(0.0, 10.0, |_, r| r.latency = 200 * MS);
        sim
    };
    let verdict = first(&cut_off(errors_below(0.01)));
    assert_ruling(&verdict, Ruling::Inconclusive);
    insta::assert_snapshot!(verdict.because, @"errors were 2%, limit 1%, over 2,000 requests (40 failed); worst from 9 s to 10 s (16.7%), mostly unfinished (40); but 40 requests were still in flight when the graceful stop was over");
    // They may have been slower than the bound, too.
    assert_ruling(&first(&cut_off(p99_below(250))), Ruling::Inconclusive);
    // Where they change nothing, nothing changes.
    assert_ruling(&first(&cut_off(errors_below(0.03))), Ruling::Pass);
    assert_ruling(&first(&cut_off(p99_below(150))), Ruling::Fail);
    let mut failing = cut_off(errors_below(0.01));
    failing.change(2.0, 3.0, |_, r| r.outcome = Outcome::Status);
    assert_ruling(&first(&failing), Ruling::Fail);
    // One that has hung for longer than the bound allows was too slow, whatever would have become of it.
    let mut hanging = cut_off(p99_below(250));
    hanging.change(5.0, 10.0, |_, r| r.latency = 60 * S);
    assert_ruling(&first(&hanging), Ruling::Fail);
}

#[test]
fn a_mean_that_what_was_in_flight_could_turn_is_inconclusive() {
    // 12,000 requests of 12 ms in the mean; the last second's 40 on one instance hang, for up to 10 s more.
    let hanging = |bound| {
        let mut sim = Sim::steady(200, 60).expect(expect_slo(bound));
        sim.drain = 1;
        sim.change_on("shop-2", 59.4, 60.0, |r| r.latency = 60 * S);
        sim
    };
    let mean = |op, ms| bound(Metric::Mean, op, Limit::Time(Duration::from_millis(ms)));
    let verdict = first(&hanging(mean(Op::Less, 25)));
    assert_ruling(&verdict, Ruling::Inconclusive);
    insta::assert_snapshot!(verdict.because, @"mean was 16.3 ms, limit 25 ms, over 12,000 requests; but 40 requests were still in flight when the graceful stop was over");
    // A mean above the limit by what had been waited till then stays above it; one that no timeout lifts so far stays below.
    assert_ruling(&first(&hanging(mean(Op::Less, 14))), Ruling::Fail);
    assert_ruling(&first(&hanging(mean(Op::Less, 100))), Ruling::Pass);
    // The other way round.
    assert_ruling(&first(&hanging(mean(Op::More, 14))), Ruling::Pass);
    assert_ruling(&first(&hanging(mean(Op::More, 25))), Ruling::Inconclusive);
    assert_ruling(&first(&hanging(mean(Op::More, 100))), Ruling::Fail);
}

#[test]
fn the_warm_up_does_not_count() {
    let mut sim = Sim::steady(200, 60).expect(expect_slo(p99_below(250)));
    sim.change(0.0, 4.0, |_, r| r.latency = 900 * MS);
    assert_ruling(&first(&sim), Ruling::Fail);
    sim.scenario.run.warm_up = Duration::from_secs(5);
    assert_ruling(&first(&sim), Ruling::Pass);
    sim.scenario.run.warm_up = Duration::from_secs(500);
    let verdict = first(&sim);
    assert_ruling(&verdict, Ruling::Inconclusive);
    insta::assert_snapshot!(verdict.because, @"no request was due after the warm-up");
}

#[test]
fn steps_and_flows_are_judged_apart() {
    let of_step = |step: &str| {
        Expectation::Slo(SloExpectation {
            flow: Some("browse".into()),
            step: Some(step.into()),
            ..slo(p99_below(250))
        })
    };
    let build = |step: &str| {
        let mut sim = Sim::steady(200, 60).expect(of_step(step));
        sim.change(0.0, 60.0, |i, r| {
            if i % 2 == 0 {
                r.step = "pay";
                r.latency = 800 * MS;
            }
        });
        sim
    };
    let verdict = first(&build("pay"));
    assert_ruling(&verdict, Ruling::Fail);
    insta::assert_snapshot!(verdict.because, @"p99 in step `pay` of flow `browse` was 800 ms, limit 250 ms, over 6,000 requests; worst from 0 s to 60 s (p99 800 ms)");
    assert_ruling(&first(&build("get")), Ruling::Pass);
    assert_ruling(&first(&build("unknown")), Ruling::Inconclusive);
}

#[test]
fn service_time_leaves_the_waiting_out() {
    let of = |of| {
        Expectation::Slo(SloExpectation {
            of,
            ..slo(p99_below(250))
        })
    };
    let mut sim = Sim::steady(200, 60)
        .expect(of(LatencyKind::Response))
        .expect(of(LatencyKind::Service));
    sim.change(0.0, 60.0, |_, r| r.latency = 400 * MS);
    let mut record = sim.record();
    // Late sends: the service took 20 ms each time.
    for histograms in record.intervals.iter_mut().flat_map(|i| &mut i.histograms) {
        if let Some(service) = &mut histograms.service {
            let n = service.len();
            service.clear();
            service.record_n(20 * MS, n).unwrap();
        }
    }
    let verdicts = judge(&record);
    assert_ruling(&verdicts[0], Ruling::Fail);
    assert_ruling(&verdicts[1], Ruling::Pass);
    assert!(
        verdicts[1]
            .because
            .starts_with("service time p99 was 20 ms"),
        "{}",
        verdicts[1].because
    );
}

#[test]
fn phases_keep_a_faults_errors_to_themselves() {
    let in_phase = |phase, bound| {
        let mut sim = Sim::steady(200, 90).expect(Expectation::Slo(SloExpectation {
            phase: Some(phase),
            ..slo(bound)
        }));
        sim.kill(30.0, 3.5, Some(8.0));
        first(&sim)
    };
    let during = in_phase(FaultPhase::During, errors_below(0.001));
    assert_ruling(&during, Ruling::Fail);
    insta::assert_snapshot!(during.because, @"errors during faults were 23.3%, limit 0.1%, over 1,000 requests (233 failed); worst from 30 s to 34 s (29.1%), mostly refused (233)");
    assert_ruling(
        &in_phase(FaultPhase::Before, errors_below(0.001)),
        Ruling::Pass,
    );
    assert_ruling(
        &in_phase(FaultPhase::After, errors_below(0.001)),
        Ruling::Pass,
    );
    let mut calm = Sim::steady(200, 60).expect(Expectation::Slo(SloExpectation {
        phase: Some(FaultPhase::During),
        ..slo(errors_below(0.001))
    }));
    let verdict = first(&calm);
    assert_ruling(&verdict, Ruling::Inconclusive);
    insta::assert_snapshot!(verdict.because, @"no request was due during faults: no fault was injected");
    let number = calm.inject(FaultKind::Kill, "shop-1", 20.0, None);
    calm.refuse(number);
    insta::assert_snapshot!(first(&calm).because, @"no request was due during faults: 1 injection could not be made (kill shop-1: keep-ready 100%)");
}

#[test]
fn what_hung_in_a_fault_is_not_held_against_the_time_after_it() {
    let mut sim = Sim::steady(200, 90).expect(Expectation::Slo(SloExpectation {
        phase: Some(FaultPhase::After),
        ..slo(errors_below(0.001))
    }));
    let number = sim.inject(FaultKind::BlackHole, "shop-2", 20.0, Some(10));
    sim.undo(number, "shop-2", 30.0);
    // Each waits for its timeout, so that errors are recorded until 40 s.
    sim.change_on("shop-2", 20.0, 30.0, |r| r.fail(Outcome::Timeout, 10 * S));
    assert_ruling(&first(&sim), Ruling::Pass);
    // An error that was due after the undo is the service's own again.
    sim.change(50.0, 51.0, |_, r| r.fail(Outcome::Status, 20 * MS));
    assert_ruling(&first(&sim), Ruling::Fail);
}
