//! What may PASS.

use super::*;

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
