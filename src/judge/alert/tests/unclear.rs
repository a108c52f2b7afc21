//! What cannot be told.

use super::*;

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

#[test]
fn a_lost_line_of_the_record_takes_back_either_verdict() {
    for (sim, sure) in [(healthy(), Ruling::Pass), (killed(), Ruling::Fail)] {
        let mut record = sim.expect(Expectation::Alert(expected())).record();
        assert_eq!(judge(&record)[0].verdict, sure);
        record.damage = vec!["record.jsonl line 7: not an event: x".into()];
        assert_eq!(judge(&record)[0].verdict, Ruling::Inconclusive);
    }
}

#[track_caller]
fn unclear_without_evidence(sim: Sim, part: &str) {
    let verdict = verdict_of(sim, expected());
    assert_eq!(verdict.verdict, Ruling::Inconclusive, "{verdict:#?}");
    assert!(verdict.because.contains(part), "{verdict:#?}");
}
