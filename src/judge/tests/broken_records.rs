use super::*;
use crate::record::{Ended, Outcome, What};
use crate::scenario::*;

/// A run of 60 s whose record stops at 23 s.
fn killed(bound: Bound) -> Sim {
    let mut sim = Sim::steady(200, 60).expect(expect_slo(bound));
    sim.cut = Some(at(23.4));
    sim.ended = None;
    sim
}

#[test]
fn a_record_that_stops_passes_nothing() {
    let sim = killed(p99_below(250));
    let verdict = first(&sim);
    assert_ruling(&verdict, Ruling::Inconclusive);
    insta::assert_snapshot!(verdict.because, @"p99 was 14 ms, limit 250 ms, over 4,598 requests; but the record stops at 23 s of 60 s");
    let verdicts = judge(&sim.record());
    assert_eq!(exit_code(&verdicts, None), 3);
}

#[test]
fn a_definite_failure_stays_one() {
    let mut sim = killed(errors_below(0.001));
    // 80 of at most 12,000: too many however well the rest had gone.
    sim.change(10.0, 10.4, |_, r| r.outcome = Outcome::Status);
    let verdict = first(&sim);
    assert_ruling(&verdict, Ruling::Fail);
    assert_eq!(exit_code(&judge(&sim.record()), None), 1);
    // 6 of the 4,600 seen are too many; of 12,000 they would not be.
    let mut sim = killed(errors_below(0.001));
    sim.change(10.0, 10.03, |_, r| r.outcome = Outcome::Status);
    assert_ruling(&first(&sim), Ruling::Inconclusive);
}

#[test]
fn an_aborted_run_says_why() {
    let mut sim = killed(p99_below(250));
    sim.ended = Some(Ended::Aborted {
        reason: "errors > 50% for 10s".into(),
    });
    let record = sim.record();
    let verdicts = judge(&record);
    assert_ruling(&verdicts[0], Ruling::Inconclusive);
    insta::assert_snapshot!(verdicts[0].because, @"p99 was 14 ms, limit 250 ms, over 4,598 requests; but the run was aborted at 23 s of 60 s (errors > 50% for 10s)");
    assert_eq!(exit_code(&verdicts, summarize(&record).ended.as_ref()), 4);
}

#[test]
fn what_was_over_before_the_record_stopped_is_judged() {
    let mut sim = killed(p99_below(250));
    sim.scenario.traffic.push(flow("later", 10, 60));
    sim.scenario.traffic[0] = flow("browse", 200, 20);
    sim.requests.retain(|r| r.due < at(20.0));
    sim.scenario.expect = vec![Expectation::Slo(SloExpectation {
        flow: Some("browse".into()),
        ..slo(p99_below(250))
    })];
    // The other flow goes on.
    sim.requests.push(Request {
        due: at(22.9),
        latency: MS,
        outcome: Outcome::Ok,
        instance: "shop-1".into(),
        step: "get",
    });
    assert_ruling(&first(&sim), Ruling::Pass);
}

#[test]
fn recovery_in_a_record_that_stops() {
    let mut sim = killed(p99_below(250));
    sim.scenario.expect = vec![expect_recovery(10, 3)];
    sim.kill(15.0, 2.0, Some(4.0));
    let verdict = first(&sim);
    assert_ruling(&verdict, Ruling::Inconclusive);
    insta::assert_snapshot!(verdict.because, @"restored 2 s after kill of shop-2 at 15 s, limit 10 s; but the record stops at 23 s of 60 s");
    let mut bad = killed(p99_below(250));
    bad.scenario.expect = vec![expect_recovery(5, 3)];
    bad.kill(10.0, 30.0, None);
    assert_ruling(&first(&bad), Ruling::Fail);
}

#[test]
fn lost_histograms_are_doubted_unless_they_change_nothing() {
    let mut record = Sim::steady(200, 60)
        .expect(expect_slo(p99_below(250)))
        .record();
    // One second of 60 holds more samples than the 1 % that may be slow.
    record.intervals[7].histograms.clear();
    assert_ruling(&judge(&record)[0], Ruling::Inconclusive);
    insta::assert_snapshot!(judge(&record)[0].because, @"p99 was 14 ms, limit 250 ms, over 11,800 requests; but the record lacks the latencies of 200 requests");
    let mut record = Sim::steady(200, 60)
        .expect(expect_slo(bound(
            Metric::Percentile(90.0),
            Op::Less,
            Limit::Time(std::time::Duration::from_millis(250)),
        )))
        .record();
    record.intervals[7].histograms.clear();
    assert_ruling(&judge(&record)[0], Ruling::Pass);
}

#[test]
fn a_line_that_cannot_be_read_lets_nothing_pass_and_only_seen_errors_fail() {
    let mut sim = Sim::steady(200, 60)
        .expect(expect_slo(errors_below(0.01)))
        .expect(expect_recovery(10, 3));
    sim.kill(20.0, 0.2, Some(4.0));
    let mut record = sim.record();
    let lost = "record.jsonl line 7: not an event: expected value at line 1 column 1";
    let rulings = |record: &Record| {
        judge(record)[..2]
            .iter()
            .map(|v| v.verdict)
            .collect::<Vec<_>>()
    };
    assert_eq!(rulings(&record), [Ruling::Pass; 2]);
    record.damage = vec!["record.jsonl line 9, the last, is cut off".into()];
    assert_eq!(rulings(&record), [Ruling::Pass; 2]);
    record.damage = vec![lost.into()];
    for verdict in &judge(&record)[..2] {
        assert_ruling(verdict, Ruling::Inconclusive);
        assert!(verdict.because.ends_with(lost), "{}", verdict.because);
    }
    // The line may have told of the replacement; of the errors it took nothing back.
    let mut sim = Sim::steady(200, 60)
        .expect(expect_slo(errors_below(0.01)))
        .expect(expect_recovery(5, 3));
    sim.kill(20.0, 10.0, None);
    let mut record = sim.record();
    assert_eq!(rulings(&record), [Ruling::Fail; 2]);
    record.damage = vec![lost.into()];
    assert_eq!(rulings(&record), [Ruling::Fail, Ruling::Inconclusive]);
}

#[test]
fn what_no_fault_put_to_the_test_does_not_pass() {
    let mut sim = Sim::steady(200, 60).expect(expect_slo(p99_below(250)));
    let number = sim.inject(FaultKind::Kill, "shop-1", 20.0, None);
    assert_ruling(&first(&sim), Ruling::Pass);
    sim.refuse(number);
    let verdict = first(&sim);
    assert_ruling(&verdict, Ruling::Inconclusive);
    insta::assert_snapshot!(verdict.because, @"p99 was 14 ms, limit 250 ms, over 12,000 requests; but the fault `kill shop-1` was not made: keep-ready 100%");
    // Nor does what only another fault put to the test.
    sim.kill(30.0, 0.2, Some(4.0));
    assert_ruling(&first(&sim), Ruling::Inconclusive);
    // What is expected before the first fault rests on none.
    let mut before = slo(p99_below(250));
    before.phase = Some(FaultPhase::Before);
    sim.scenario.expect.push(Expectation::Slo(before));
    assert_ruling(&judge(&sim.record())[1], Ruling::Pass);
}

#[test]
fn a_fault_made_at_times_is_made_and_one_whose_time_never_came_is_not() {
    let mut sim = Sim::steady(200, 60).expect(expect_slo(p99_below(250)));
    sim.inject(FaultKind::Kill, "shop-1", 20.0, None);
    let again = sim.inject(FaultKind::Kill, "shop-1", 40.0, None);
    // The guard refused the second of a fault that comes again and again.
    sim.scenario.faults.pop();
    for event in &mut sim.events {
        if let What::Fault(fault) = &mut event.what {
            fault.spec = 0;
        }
    }
    sim.refuse(again);
    assert_ruling(&first(&sim), Ruling::Pass);
    // One that waits for what is never seen leaves no trace in the record.
    let mut waits = sim.scenario.faults[0].clone();
    waits.name = "late".into();
    sim.scenario.faults.push(waits);
    let verdict = first(&sim);
    assert_ruling(&verdict, Ruling::Inconclusive);
    assert!(
        verdict
            .because
            .ends_with("but the fault `late` was not made: its time did not come"),
        "{}",
        verdict.because
    );
}

#[test]
fn exit_codes_follow_the_worst_verdict() {
    let verdict = |ruling| Verdict {
        oracle: "slo".into(),
        expectation: "p99 < 250ms".into(),
        verdict: ruling,
        because: String::new(),
        missing: None,
        evidence: Vec::new(),
    };
    let (pass, fail, unclear) = (
        verdict(Ruling::Pass),
        verdict(Ruling::Fail),
        verdict(Ruling::Inconclusive),
    );
    let done = Ended::Completed;
    assert_eq!(exit_code(&[], Some(&done)), 0);
    assert_eq!(exit_code(std::slice::from_ref(&pass), Some(&done)), 0);
    assert_eq!(exit_code(&[pass.clone(), unclear.clone()], Some(&done)), 3);
    assert_eq!(exit_code(&[unclear, fail, pass.clone()], Some(&done)), 1);
    assert_eq!(exit_code(&[pass], None), 3);
}
