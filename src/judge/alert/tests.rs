//! Runs whose alerts are known: what must FAIL first, then what cannot be told, then what may PASS.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::judge::testing::*;
use crate::judge::{Ruling, Verdict, judge};
use crate::record::{AlertEvent, AlertState, Ended, View, WatchEvent, What};
use crate::scenario::*;

use AlertSource::{Alertmanager, Prometheus};
use AlertState::{Firing, Pending, Resolved, Suppressed};

const DOWN: &str = "Down";

fn expected() -> AlertExpectation {
    AlertExpectation {
        name: DOWN.into(),
        labels: BTreeMap::from([("instance".into(), "{instance}".into())]),
        fires_within: Duration::from_secs(15),
        resolves_within: Some(Duration::from_secs(10)),
        fault: None,
        ignore: Vec::new(),
    }
}

fn api() -> Option<AlertApi> {
    Some(AlertApi {
        url: "http://127.0.0.1:9093".into(),
        authorization: None,
        tls: Tls::default(),
    })
}

fn view(source: AlertSource, view: View, when: f64) -> (u64, What) {
    let what = What::Watch(WatchEvent {
        of: source.key().into(),
        view,
        detail: "connection refused".into(),
    });
    (at(when), what)
}

/// A source is seen from then to then.
fn watched(sim: &mut Sim, source: AlertSource, from: f64, to: f64) {
    for (when, seen) in [(from, View::Relisted), (to, View::Lost)] {
        let (moment, what) = view(source, seen, when);
        sim.push(moment, what);
    }
}

/// A minute of traffic in which `shop-2` is killed at 20 s and replaced at 30 s; Alertmanager is seen throughout.
fn killed() -> Sim {
    let mut sim = seen(Sim::steady(20, 60), -1.5, 60.0);
    sim.kill(20.0, 0.2, Some(10.0));
    sim
}

/// The same, and the alert never fires.
pub(in crate::judge) fn silent() -> Sim {
    killed().expect(Expectation::Alert(expected()))
}

/// Alertmanager is seen between two times.
fn seen(mut sim: Sim, from: f64, to: f64) -> Sim {
    sim.scenario.observe.alertmanager = api();
    watched(&mut sim, Alertmanager, from, to);
    sim
}

/// The alert for an instance changes, seen at `when` and not a second before.
fn change(mut sim: Sim, name: &str, instance: &str, state: AlertState, when: f64) -> Sim {
    push(
        &mut sim,
        Alertmanager,
        name,
        instance,
        state,
        when,
        Some(when - 1.0),
    );
    sim
}

fn push(
    sim: &mut Sim,
    source: AlertSource,
    name: &str,
    instance: &str,
    state: AlertState,
    when: f64,
    not_before: Option<f64>,
) {
    let labels = [("instance", instance), ("job", "shop")];
    let event = AlertEvent {
        source,
        name: name.into(),
        labels: labels.map(|(k, v)| (k.to_string(), v.to_string())).into(),
        state,
        not_before_us: not_before.map(at),
    };
    sim.push(at(when), What::Alert(event));
}

#[test]
fn what_may_have_fired_before_the_fault_while_nobody_looked_is_inconclusive() {
    let expected = AlertExpectation {
        resolves_within: None,
        ..expected()
    };
    let fired = |lost: f64, back: f64| {
        let mut sim = seen(Sim::steady(20, 60), -1.5, lost);
        watched(&mut sim, Alertmanager, back, 60.0);
        sim.kill(20.0, 0.2, Some(10.0));
        push(
            &mut sim,
            Alertmanager,
            DOWN,
            "shop-2",
            Firing,
            back,
            Some(lost - 0.5),
        );
        verdict_of(sim, expected.clone())
    };
    let verdict = fired(10.0, 25.0);
    assert_eq!(verdict.verdict, Ruling::Inconclusive, "{}", verdict.because);
    assert!(
        verdict
            .because
            .contains("fired, maybe before kill of shop-2"),
        "{}",
        verdict.because
    );
    // Not there when last looked at, after the fault.
    let verdict = fired(21.0, 25.0);
    assert_eq!(verdict.verdict, Ruling::Pass, "{}", verdict.because);
}

fn verdict_of(sim: Sim, expected: AlertExpectation) -> Verdict {
    judge(&sim.expect(Expectation::Alert(expected)).record()).remove(0)
}

#[track_caller]
fn ruled(sim: Sim, ruling: Ruling, part: &str) {
    let verdict = verdict_of(sim, expected());
    assert_eq!(verdict.verdict, ruling, "{verdict:#?}");
    assert!(verdict.because.contains(part), "{verdict:#?}");
    assert_eq!(verdict.missing.is_some(), ruling == Ruling::Inconclusive);
    assert!(!verdict.evidence.is_empty());
}

#[track_caller]
fn fails(sim: Sim, part: &str) {
    ruled(sim, Ruling::Fail, part);
}

#[track_caller]
fn unclear(sim: Sim, part: &str) {
    ruled(sim, Ruling::Inconclusive, part);
}

#[track_caller]
fn passes(sim: Sim, part: &str) {
    ruled(sim, Ruling::Pass, part);
}

/// As it should be: fires after 8 s, is gone 4 s after the replacement is ready.
fn healthy() -> Sim {
    let sim = change(killed(), DOWN, "shop-2", Firing, 28.0);
    change(sim, DOWN, "shop-2", Resolved, 34.0)
}

#[test]
fn an_alert_that_never_fires_fails() {
    fails(
        killed(),
        "did not fire within 15 s after kill of shop-2 at 20 s",
    );
}

#[test]
fn an_alert_that_fires_late_fails() {
    let sim = change(killed(), DOWN, "shop-2", Firing, 37.5);
    fails(
        sim,
        "fired only 17.5 s after kill of shop-2 at 20 s, limit 15 s",
    );
}

#[test]
fn an_alert_for_the_wrong_instance_fails_and_shows_what_it_named() {
    let sim = change(killed(), DOWN, "shop-3", Firing, 28.0);
    fails(sim, "it fired with {instance=\"shop-3\", job=\"shop\"}");
}

#[test]
fn an_alert_of_another_name_does_not_count() {
    fails(
        change(killed(), "Slow", "shop-2", Firing, 28.0),
        "did not fire within 15 s",
    );
}

#[test]
fn an_alert_that_never_resolves_or_late_fails() {
    let sim = change(killed(), DOWN, "shop-2", Firing, 28.0);
    fails(
        sim.clone(),
        "still firing 30 s after the fault was over, limit 10 s",
    );
    let late = change(sim.clone(), DOWN, "shop-2", Resolved, 45.0);
    fails(
        late,
        "resolved only 15 s after the fault was over, limit 10 s",
    );
    // Gone, and back again.
    let sim = change(sim, DOWN, "shop-2", Resolved, 34.0);
    let sim = change(sim, DOWN, "shop-2", Firing, 36.0);
    fails(sim, "still firing");
}

#[test]
fn a_false_alarm_before_the_fault_fails() {
    let sim = change(healthy(), DOWN, "shop-2", Firing, 8.0);
    let sim = change(sim, DOWN, "shop-2", Resolved, 12.0);
    fails(sim, "fired at 8 s, before any fault");
}

#[test]
fn another_alert_before_the_fault_fails_unless_it_is_ignored() {
    let sim = change(healthy(), "Slow", "shop-1", Firing, 8.0);
    fails(
        sim.clone(),
        "Slow{instance=\"shop-1\", job=\"shop\"} fired at 8 s, before any fault",
    );
    let ignore = vec!["Slow".into()];
    let verdict = verdict_of(
        sim,
        AlertExpectation {
            ignore,
            ..expected()
        },
    );
    assert_eq!(verdict.verdict, Ruling::Pass, "{verdict:#?}");
    // The same alert for an instance that was not hit is another alert.
    let sim = change(healthy(), DOWN, "shop-1", Firing, 8.0);
    fails(sim, "Down{instance=\"shop-1\", job=\"shop\"} fired at 8 s");
}

#[test]
fn a_silenced_alert_fails_because_nobody_is_told() {
    fails(
        change(killed(), DOWN, "shop-2", Suppressed, 28.0),
        "silenced or inhibited",
    );
}

#[test]
fn what_prometheus_had_explains_a_failure() {
    let with = |changes: &[(AlertState, f64)]| {
        let mut sim = killed();
        sim.scenario.observe.prometheus = api();
        for (state, when) in changes {
            push(
                &mut sim,
                Prometheus,
                DOWN,
                "shop-2",
                *state,
                *when,
                Some(when - 1.0),
            );
        }
        sim
    };
    fails(with(&[]), "its condition never held at Prometheus");
    fails(with(&[(Pending, 22.0)]), "was pending 2 s after the fault");
    fails(
        with(&[(Pending, 22.0), (Firing, 26.0)]),
        "at Prometheus it fired 6 s after the fault: it did not reach Alertmanager",
    );
}

#[test]
fn what_was_there_before_the_fault_cannot_be_its_doing() {
    // Since before the run.
    let mut sim = healthy();
    push(&mut sim, Alertmanager, DOWN, "shop-2", Firing, -1.5, None);
    unclear(sim, "was firing already before kill of shop-2");
    // Its condition has held since before the fault.
    let mut sim = healthy();
    sim.scenario.observe.prometheus = api();
    push(
        &mut sim,
        Prometheus,
        DOWN,
        "shop-2",
        Pending,
        18.0,
        Some(17.0),
    );
    unclear(sim, "was pending already before kill of shop-2");
}

#[test]
fn a_gap_in_which_it_may_have_fired_is_inconclusive() {
    let gap = |sim: Sim| {
        let mut sim = sim;
        for (moment, what) in [
            view(Alertmanager, View::Lost, 25.0),
            view(Alertmanager, View::Relisted, 40.0),
        ] {
            sim.push(moment, what);
        }
        sim
    };
    unclear(
        gap(killed()),
        "nothing was seen of Alertmanager from 25 s to 40 s: connection refused",
    );
    let mut sim = gap(killed());
    push(
        &mut sim,
        Alertmanager,
        DOWN,
        "shop-2",
        Firing,
        40.0,
        Some(25.0),
    );
    unclear(sim, "nothing was seen of Alertmanager");
    // Up to the end of the run.
    let mut sim = seen(Sim::steady(20, 60), -1.5, 25.0);
    sim.kill(20.0, 0.2, Some(10.0));
    unclear(sim, "nothing was seen of Alertmanager from 25 s to 60 s");
    // It fired before, and was gone at some time in the gap: the limit lies within it, at 40 s.
    let mut sim = gap(change(killed(), DOWN, "shop-2", Firing, 24.0));
    push(
        &mut sim,
        Alertmanager,
        DOWN,
        "shop-2",
        Resolved,
        40.5,
        Some(25.0),
    );
    unclear(sim, "within one look of the limit");
}

#[test]
fn a_change_that_may_lie_on_either_side_of_the_limit_is_inconclusive() {
    let sim = change(killed(), DOWN, "shop-2", Firing, 35.4);
    unclear(
        sim,
        "first seen firing 15.4 s after kill of shop-2 at 20 s, within one look",
    );
    let sim = change(killed(), DOWN, "shop-2", Firing, 28.0);
    unclear(
        change(sim, DOWN, "shop-2", Resolved, 40.4),
        "first seen resolved",
    );
}

#[test]
fn a_run_that_ends_before_the_time_is_up_is_inconclusive() {
    let short = |to: u64| {
        let mut sim = Sim::steady(20, to);
        sim.drain = 0;
        let mut sim = seen(sim, -1.5, to as f64);
        sim.kill(20.0, 0.2, Some(10.0));
        sim
    };
    unclear(
        short(30),
        "had not fired 10 s after kill of shop-2 at 20 s, when the run ended",
    );
    let sim = change(short(37), DOWN, "shop-2", Firing, 28.0);
    unclear(
        sim,
        "still firing 7 s after the fault was over, when the run ended",
    );
    // Aborted: what was seen of it was well.
    let mut sim = healthy();
    sim.cut = Some(at(50.0));
    sim.ended = Some(Ended::Aborted {
        reason: "Ctrl-C".into(),
    });
    unclear(sim, "the run was aborted");
}

#[test]
fn a_fault_that_is_never_over_leaves_the_end_open() {
    let mut sim = seen(Sim::steady(20, 60), -1.5, 60.0);
    sim.kill(20.0, 0.2, None);
    let sim = change(sim, DOWN, "shop-2", Firing, 28.0);
    unclear(sim, "still firing at 60 s, but what ended was not replaced");
    let mut sim = seen(Sim::steady(20, 60), -1.5, 60.0);
    sim.inject(FaultKind::Freeze, "shop-2", 20.0, Some(60));
    let sim = change(sim, DOWN, "shop-2", Firing, 28.0);
    unclear(sim, "but the fault was not undone");
}

#[test]
fn without_a_fault_or_a_look_nothing_can_be_told() {
    unclear_without_evidence(
        seen(Sim::steady(20, 60), -1.5, 60.0),
        "no fault was injected",
    );
    let mut sim = Sim::steady(20, 60);
    sim.kill(20.0, 0.2, Some(10.0));
    unclear(
        sim,
        "nothing was seen of Alertmanager before kill of shop-2",
    );
    let mut refused = healthy();
    refused.refuse(1);
    unclear_without_evidence(refused, "keep-ready 100%");
}

#[track_caller]
fn unclear_without_evidence(sim: Sim, part: &str) {
    let verdict = verdict_of(sim, expected());
    assert_eq!(verdict.verdict, Ruling::Inconclusive, "{verdict:#?}");
    assert!(verdict.because.contains(part), "{verdict:#?}");
}

#[test]
fn an_alert_after_the_next_fault_may_be_that_ones() {
    let mut sim = killed();
    sim.inject(FaultKind::Freeze, "shop-3", 24.0, Some(2));
    let sim = change(sim, DOWN, "shop-2", Firing, 28.0);
    let verdict = verdict_of(sim, of_the_kill());
    assert_eq!(verdict.verdict, Ruling::Inconclusive, "{verdict:#?}");
    let part = "fired only after freeze of shop-3 at 24 s too";
    assert!(verdict.because.contains(part), "{verdict:#?}");
}

/// Only the kill must raise it.
fn of_the_kill() -> AlertExpectation {
    AlertExpectation {
        fault: Some("kill shop-2".into()),
        ..expected()
    }
}

#[test]
fn a_lost_line_of_the_record_takes_back_either_verdict() {
    for (sim, sure) in [(healthy(), Ruling::Pass), (killed(), Ruling::Fail)] {
        let mut record = sim.expect(Expectation::Alert(expected())).record();
        assert_eq!(judge(&record)[0].verdict, sure);
        record.damage = vec!["record.jsonl line 7: not an event: x".into()];
        assert_eq!(judge(&record)[0].verdict, Ruling::Inconclusive);
    }
}

#[test]
fn in_time_for_the_right_instance_and_gone_in_time_passes() {
    passes(
        healthy(),
        "fired 8 s after kill of shop-2 at 20 s, limit 15 s; resolved 4 s after the fault was over, limit 10 s",
    );
}

#[test]
fn what_was_gone_before_the_fault_or_came_in_the_warm_up_does_not_matter() {
    let mut sim = healthy();
    push(&mut sim, Alertmanager, DOWN, "shop-2", Firing, -1.5, None);
    passes(
        change(sim, DOWN, "shop-2", Resolved, 4.0),
        "fired 8 s after",
    );
    let mut sim = change(healthy(), "Slow", "shop-1", Firing, 8.0);
    sim.scenario.run.warm_up = Duration::from_secs(10);
    passes(sim, "fired 8 s after");
    // One that always fires.
    let mut sim = healthy();
    push(
        &mut sim,
        Alertmanager,
        "Watchdog",
        "none",
        Firing,
        -1.5,
        None,
    );
    passes(sim, "fired 8 s after");
}

#[test]
fn of_several_faults_the_one_that_is_named_counts() {
    let mut sim = healthy();
    sim.inject(FaultKind::Freeze, "shop-1", 50.0, Some(2));
    sim.undo(2, "shop-1", 52.0);
    // All: the freeze raises nothing, and the run ends before 15 s after it: it cannot be told.
    unclear(sim.clone(), "had not fired 10 s after freeze of shop-1");
    let verdict = verdict_of(sim, of_the_kill());
    assert_eq!(verdict.verdict, Ruling::Pass, "{verdict:#?}");
}

#[test]
fn prometheus_counts_where_there_is_no_alertmanager() {
    let sim = |fires: bool| {
        let mut sim = Sim::steady(20, 60);
        sim.scenario.observe.prometheus = api();
        watched(&mut sim, Prometheus, -1.5, 60.0);
        sim.kill(20.0, 0.2, Some(10.0));
        push(
            &mut sim,
            Prometheus,
            DOWN,
            "shop-2",
            Pending,
            22.0,
            Some(21.0),
        );
        if fires {
            push(
                &mut sim,
                Prometheus,
                DOWN,
                "shop-2",
                Firing,
                28.0,
                Some(27.0),
            );
        }
        push(
            &mut sim,
            Prometheus,
            DOWN,
            "shop-2",
            Resolved,
            34.0,
            Some(33.0),
        );
        sim
    };
    fails(sim(false), "was pending 2 s after the fault");
    passes(sim(true), "fired 8 s after kill of shop-2");
}
