//! What must FAIL.

use super::*;

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
