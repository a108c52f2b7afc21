use std::time::Duration;

use super::*;
use crate::record::{Event, Level, Outcome, What};
use crate::scenario::FaultPhase;

#[test]
fn counts_add_up_in_every_view() {
    let mut sim = Sim::steady(200, 60);
    sim.kill(20.0, 2.0, Some(5.0));
    sim.change_on("shop-3", 40.0, 41.0, |r| r.outcome = Outcome::Status);
    let summary = summarize(&sim.record());
    let all = &summary.all;
    assert_eq!((all.due, all.ended), (12_000, 12_000));
    assert_eq!(all.answered + all.errors[&Outcome::Refused], 12_000);
    assert_eq!(all.failed, all.errors.values().sum::<u64>());
    assert_eq!(all.statuses.values().sum::<u64>(), all.answered);
    assert_eq!(all.response.count, all.answered);
    assert!((all.throughput_per_s - all.answered as f64 / 60.0).abs() < 1e-9);
    assert_eq!(
        summary.steps.iter().map(|s| s.totals.ended).sum::<u64>(),
        12_000
    );
    assert_eq!(
        summary.phases.iter().map(|p| p.totals.ended).sum::<u64>(),
        12_000
    );
    assert_eq!(
        summary.instances.iter().map(|i| i.answered).sum::<u64>(),
        all.answered
    );
    assert!((summary.instances.iter().map(|i| i.share).sum::<f64>() - 1.0).abs() < 1e-9);
    let names: Vec<&str> = summary.instances.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(names, ["shop-1", "shop-2", "shop-3", "shop-2-r1"]);
    assert_eq!(summary.instances[3].slot.as_deref(), Some("shop-2"));
}

#[test]
fn phases_are_whole_seconds_around_the_fault() {
    let mut sim = Sim::steady(200, 60);
    sim.kill(20.5, 2.0, Some(5.0));
    let phases = summarize(&sim.record()).phases;
    let seconds = |i: usize| (phases[i].phase, phases[i].totals.seconds.round() as u64);
    assert_eq!(seconds(0), (FaultPhase::Before, 20));
    // From the second of the kill to the restoration at 23 s.
    assert_eq!(seconds(1), (FaultPhase::During, 3));
    assert_eq!(seconds(2), (FaultPhase::After, 37));
    assert!(summarize(&Sim::steady(10, 10).record()).phases.is_empty());
}

#[test]
fn an_error_outside_the_faults_reach_is_not_its() {
    let mut sim = Sim::steady(200, 60);
    sim.kill(20.0, 2.0, Some(5.0));
    sim.change(10.0, 10.01, |_, r| r.outcome = Outcome::Status);
    sim.change(50.0, 50.01, |_, r| r.outcome = Outcome::Status);
    let fault = summarize(&sim.record()).faults.remove(0);
    assert!(fault.first_error_us.unwrap() >= at(20.0));
    assert!(fault.last_error_us.unwrap() < at(23.0));
}

#[test]
fn usage_is_averaged_over_judged_traffic() {
    let mut sim = Sim::steady(100, 20);
    sim.scenario.run.warm_up = Duration::from_secs(2);
    for (when, cpu) in [(1.0, 5_000), (5.0, 100), (6.0, 300)] {
        sim.events.push(Event {
            at: at(when),
            what: What::Usage {
                instance: "shop-1".into(),
                cpu_millicores: cpu,
                memory_bytes: 1 << 20,
            },
        });
    }
    let summary = summarize(&sim.record());
    let one = &summary.instances[0];
    assert_eq!(
        (one.cpu_mean_millicores, one.cpu_max_millicores),
        (200, 300)
    );
    assert_eq!(one.memory_max_bytes, 1 << 20);
}

#[test]
fn notes_hold_what_is_wrong_with_the_record() {
    let mut sim = Sim::steady(100, 60);
    sim.cut = Some(at(23.4));
    sim.ended = None;
    let mut record = sim.record();
    record.damage.push("line 812 is torn".into());
    let notes = summarize(&record).notes;
    assert!(notes.contains(&(
        Level::Warning,
        "the record is damaged: line 812 is torn".into()
    )));
    assert!(
        notes.iter().any(|(level, text)| *level == Level::Error
            && text.starts_with("the record stops at 23 s of 60 s")),
        "{notes:?}"
    );
}

#[test]
fn where_nothing_was_expected_nothing_was_judged() {
    let record = Sim::steady(200, 20).record();
    let verdicts = judge(&record);
    let ended = summarize(&record).ended;
    assert_eq!(verdicts.len(), 1, "the generator");
    assert_eq!(overall(&verdicts, ended.as_ref()), None);
    assert_eq!(exit_code(&verdicts, ended.as_ref()), 0);
    // What is known to be doubtful is said all the same.
    let mut late = Sim::steady(200, 20);
    late.generator.lag_p99_us = 900 * MS;
    let verdicts = judge(&late.record());
    assert_eq!(
        overall(&verdicts, ended.as_ref()),
        Some(Ruling::Inconclusive)
    );
}
