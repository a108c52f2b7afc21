//! Right controllers at the edges of what a run sees of them: begun before it, of another version, edited meanwhile.
//! None may be blamed for what was not seen.

use super::cases::{S, free, secs};
use super::replay_tests::{Defect, Dice, all_count, simulate, simulated};
use super::*;

/// What a run sees that begins `late` after a decision to scale: the last status as it stands, and what comes then.
fn begun_after(whole: &Timeline, decision: usize, late: u64) -> Timeline {
    let from = whole.syncs[decision].at + late;
    let mut seen = whole.clone();
    seen.created = None;
    seen.restarts.retain(|at| *at > from);
    seen.syncs.drain(..decision);
    seen.syncs[0].at = from;
    seen.syncs[0].unclean = Some("decided before the run began".into());
    seen.writes.retain(|w| w.at > from);
    seen.rescales.retain(|r| r.at > from);
    seen.scaled_before = Some(whole.syncs[decision].at as i64);
    seen
}

#[test]
fn what_was_scaled_before_the_run_is_not_held_against_it() {
    let (mut blamed, mut exact) = (0, 0);
    for seed in 0..200 {
        let (spec, whole) = simulated(seed, Defect::None, |_| {});
        let scaled = (10..whole.syncs.len()).find(|i| {
            let sync = &whole.syncs[*i];
            sync.current != sync.desired
        });
        let Some(scaled) = scaled else { continue };
        let mut seen = begun_after(&whole, scaled, 5 * S);
        for check in check_all(&seen) {
            assert_eq!(check.violations, [], "seed {seed}, {} {spec:?}", check.id);
        }
        exact += seen
            .replay()
            .iter()
            .filter(|r| r.expected.is_exact())
            .count();
        seen.scaled_before = None;
        blamed += usize::from(check_all(&seen).iter().any(|c| !c.violations.is_empty()));
    }
    // It would be for some, and most decisions can still be told exactly.
    assert!(blamed > 0 && exact > 200 * 50, "{blamed} {exact}");
}

#[test]
fn older_versions_are_allowed_for() {
    let mut behavior = free();
    behavior.up.policies = vec![Policy::new(PolicyKind::Pods, 3, secs(60))];
    let spec = Spec {
        min: 1,
        max: 30,
        behavior: Some(behavior),
    };
    let rescale = |at: u64, from, to| {
        (
            Write {
                version: 0,
                at: at * S,
                from,
                to,
                manager: None,
            },
            Rescale {
                at: at * S,
                size: to,
            },
        )
    };
    let (down, told_down) = rescale(1_000, 4, 2);
    let (up, told_up) = rescale(1_030, 2, 3);
    let timeline = Timeline {
        specs: vec![(0, spec.clone())],
        writes: vec![down, up],
        rescales: vec![told_down, told_up],
        ..Timeline::default()
    };
    // 60 s before there were four; up to 1.23 what was taken away meanwhile did not count.
    let own = timeline.own_writes();
    let rate = timeline.rate(&own, &spec, 1_030 * S, 2, true);
    assert_eq!(rate, Range { low: 5, high: 7 });
    // At the very edge of the tolerance they move.
    let mut edge = timeline.clone();
    edge.writes.remove(0);
    edge.syncs = vec![Sync {
        at: 1_030 * S,
        current: 2,
        status_replicas: 2,
        pods: all_count(2),
        later: all_count(2),
        unclean: None,
        published: vec![Published::Utilization {
            percent: 66,
            target: 60,
        }],
        desired: 3,
        conditions: Vec::new(),
    }];
    for check in check_all(&edge) {
        assert_eq!(check.violations, [], "{}", check.id);
    }
    edge.syncs[0].published = vec![Published::Utilization {
        percent: 65,
        target: 60,
    }];
    let wrong = check_all(&edge).into_iter();
    let wrong = wrong.filter(|c| !c.violations.is_empty()).map(|c| c.id);
    assert_eq!(wrong.collect::<Vec<_>>(), ["I2", "I7"]);
}

#[test]
fn a_write_that_was_under_way_when_the_spec_was_edited_obeys_the_old_one() {
    let spec = Spec {
        min: 1,
        max: 30,
        behavior: Some(free()),
    };
    let mut loads = [600; 40];
    loads[10..20].fill(6_000);
    let whole = simulate(&spec, &loads, Defect::Foreign, &mut Dice(1));
    let down = whole
        .own_writes()
        .into_iter()
        .find(|w| w.to < w.from)
        .unwrap()
        .at;
    let mut strict = free();
    strict.down.window = Some(secs(600));
    strict.down.policies = vec![Policy::new(PolicyKind::Pods, 1, secs(30))];
    strict.down.tolerance = Some(1.0);
    let blamed = |before: u64| {
        let mut edited = whole.clone();
        let spec = Spec {
            behavior: Some(strict.clone()),
            ..spec.clone()
        };
        edited.specs.push((down - before, spec));
        let checks = check_all(&edited).into_iter();
        let ids = checks.filter(|c| c.violations.iter().any(|(at, _)| *at == down));
        ids.map(|c| c.id)
            .filter(|id| *id != "I2")
            .collect::<Vec<_>>()
    };
    assert_eq!(blamed(10 * S), ["I3", "I5", "I7"]);
    assert_eq!(blamed(S), [""; 0]);
}
