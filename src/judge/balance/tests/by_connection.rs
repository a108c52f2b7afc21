//! The connection is what a balancer chooses for.

use std::time::Duration;

use super::*;
use crate::judge::balance::share::{Epoch, units_needed};
use crate::judge::balance::sim::{Dice, at, names};
use crate::judge::timeline::ENDPOINTS;
use crate::platform::Undo;
use crate::record::{FaultEvent, FaultStage, InstanceState, UndoEvent, View, WatchEvent, What};
use crate::scenario::ConnectionMode::PerRequest;

fn drawn(weights: &[f64], n: u64, seed: u64) -> Epoch {
    let mut dice = Dice(seed.wrapping_mul(0xabcd_ef12_3456_789b));
    let eligible = names(weights.len());
    let total: f64 = weights.iter().sum();
    let mut counts = vec![0; weights.len()];
    for _ in 0..n {
        let mut left = dice.next() * total;
        let chosen = weights.iter().position(|w| {
            left -= w;
            left < 0.0
        });
        counts[chosen.unwrap_or(weights.len() - 1)] += 1;
    }
    Epoch {
        counts: eligible.iter().cloned().zip(counts).collect(),
        eligible,
    }
}

#[test]
fn a_fair_random_balancer_never_fails_and_is_seldom_unclear_at_the_default_size() {
    for k in [2, 3, 5, 10] {
        let n = units_needed(k, k, BAND);
        let fair = vec![1.0; k];
        let (failed, unclear) =
            over_seeds(|seed| judge_shares(&[drawn(&fair, n, seed)], BAND, 1.0).ruling);
        assert_eq!(failed, 0, "{k} instances");
        assert!(unclear * 20 < SEEDS, "{unclear} of {SEEDS}, {k} instances");
    }
}

#[test]
fn a_fair_balancer_never_fails_at_any_size() {
    for (k, n) in [
        (2, 3),
        (3, 10),
        (3, 40),
        (10, 8),
        (10, 60),
        (10, 300),
        (50, 100),
    ] {
        let fair = vec![1.0; k];
        let (failed, _) =
            over_seeds(|seed| judge_shares(&[drawn(&fair, n, seed)], BAND, 1.0).ruling);
        assert_eq!(failed, 0, "{n} over {k} instances");
    }
}

#[test]
fn every_uneven_balancer_is_caught_at_the_default_size() {
    for weights in [
        vec![0.0, 1.0, 1.0],
        vec![1.0, 1.0, 2.0],
        vec![0.4, 1.0, 1.0],
        vec![1.0, 0.0, 0.0],
        [vec![0.0], vec![1.0; 9]].concat(),
        [vec![2.0], vec![1.0; 9]].concat(),
    ] {
        let n = units_needed(weights.len(), weights.len(), BAND);
        for seed in 0..SEEDS {
            let shares = judge_shares(&[drawn(&weights, n, seed)], BAND, 1.0);
            assert_eq!(shares.ruling, Ruling::Fail, "{weights:?}, seed {seed}");
        }
    }
}

/// A fair minute over three instances.
fn fair() -> Sim {
    let mut sim = Sim::new(3, PerRequest, 1);
    sim.run(60, 100, 1, Sim::random);
    sim
}

fn uniform(sim: &Sim) -> crate::judge::Verdict {
    crate::judge::balance::judge(&sim.record, &BalanceExpectation::default())
}

#[test]
fn an_instance_that_does_not_give_its_name_is_not_starved() {
    let mut sim = fair();
    for step in sim
        .record
        .intervals
        .iter_mut()
        .flat_map(|i| &mut i.second.steps)
    {
        step.instances.remove("shop-3");
    }
    let verdict = uniform(&sim);
    assert_eq!(verdict.verdict, Ruling::Inconclusive, "{}", verdict.because);
    assert!(
        verdict.because.contains("more named no instance"),
        "{}",
        verdict.because
    );
    // Without those answers it got nothing for certain.
    for step in sim
        .record
        .intervals
        .iter_mut()
        .flat_map(|i| &mut i.second.steps)
    {
        step.connections = step.instances.values().map(|i| i.connections).sum();
    }
    assert_eq!(uniform(&sim).verdict, Ruling::Fail);
    // A few of nobody's change nothing, many could all be one's.
    for (more, ruling) in [(1, Ruling::Pass), (30, Ruling::Inconclusive)] {
        let mut sim = fair();
        for step in sim
            .record
            .intervals
            .iter_mut()
            .flat_map(|i| &mut i.second.steps)
        {
            step.connections += more;
        }
        let verdict = uniform(&sim);
        assert_eq!(verdict.verdict, ruling, "{more}: {}", verdict.because);
    }
}

/// Nobody watches the set from then to then.
fn unwatched(sim: &mut Sim, from: u64, to: u64) {
    for (when, view) in [(from, View::Lost), (to, View::Relisted)] {
        let watch = WatchEvent {
            of: ENDPOINTS.into(),
            view,
            detail: String::new(),
        };
        sim.event(at(when), What::Watch(watch));
    }
}

#[test]
fn a_time_in_which_the_set_was_not_watched_tells_nothing() {
    // shop-3 leaves for 20 s, and nobody sees it.
    let away = |seen: bool| {
        let mut sim = Sim::new(3, PerRequest, 1);
        sim.run(20, 100, 1, Sim::random);
        sim.set = names(2);
        sim.run(20, 100, 1, Sim::random);
        sim.set = names(3);
        sim.run(20, 100, 1, Sim::random);
        if !seen {
            unwatched(&mut sim, 20, 40);
        }
        uniform(&sim)
    };
    assert_eq!(away(true).verdict, Ruling::Fail);
    let verdict = away(false);
    assert_eq!(verdict.verdict, Ruling::Pass, "{}", verdict.because);
    let row = verdict.evidence.iter().find(|e| e.what == "left out");
    assert!(row.unwrap().value.contains("while nobody watched it"));
}

#[test]
fn a_dead_instance_is_not_kept_for_a_view_that_was_lost() {
    let listed = |seen: bool| {
        let mut sim = Sim::new(3, PerRequest, 1);
        sim.run(10, 100, 1, Sim::random);
        sim.state(at(10), "shop-3", "shop-3", InstanceState::Ended);
        sim.set = names(2);
        sim.run(50, 100, 1, Sim::random);
        sim.endpoints(at(50), &names(2));
        if !seen {
            unwatched(&mut sim, 9, 50);
        }
        sim.record.events.sort_by_key(|e| e.at);
        uniform(&sim)
    };
    let verdict = listed(true);
    assert!(
        verdict.because.contains("keeps a dead instance"),
        "{}",
        verdict.because
    );
    let verdict = listed(false);
    assert_ne!(verdict.verdict, Ruling::Fail, "{}", verdict.because);
}

#[test]
fn fair_runs_with_a_rollout_in_the_middle() {
    // Ten connections a second; each of three instances is replaced, in turn, under its own place.
    let (mut failed, mut unclear) = (0, 0);
    for seed in 0..100 {
        let mut sim = Sim::new(3, PerRequest, seed);
        let mut set = names(3);
        sim.run(60, 10, 1, Sim::random);
        for i in 0..3 {
            let old = set[i].clone();
            let without: Vec<String> = set.iter().filter(|n| **n != old).cloned().collect();
            let now = at(sim.now());
            sim.endpoints(now, &without);
            sim.state(now, &old, &old, InstanceState::Terminating);
            sim.run(10, 10, 1, Sim::random);
            set[i] = format!("{old}-r1");
            let now = at(sim.now());
            sim.state(now, &old, &old, InstanceState::Ended);
            sim.state(now, &set[i].clone(), &old, InstanceState::Ready);
            sim.endpoints(now, &set);
            sim.run(10, 10, 1, Sim::random);
        }
        sim.run(80, 10, 1, Sim::random);
        match by_connection(&sim).verdict {
            Ruling::Fail => failed += 1,
            Ruling::Inconclusive => unclear += 1,
            Ruling::Pass => {}
        }
    }
    assert_eq!(failed, 0);
    assert!(unclear <= 5, "{unclear} of 100");
}

#[test]
fn pods_replaced_under_new_names_are_judged_each() {
    let mut sim = Sim::new(3, PerRequest, 7);
    sim.run(100, 30, 1, Sim::in_turn);
    let fresh: Vec<String> = (4..=6).map(|i| format!("shop-{i}")).collect();
    for name in &fresh {
        sim.state(at(100), name, name, InstanceState::Ready);
    }
    sim.endpoints(at(100), &fresh);
    sim.run(100, 30, 1, Sim::in_turn);
    let verdict = by_connection(&sim);
    assert_eq!(verdict.verdict, Ruling::Pass, "{verdict:?}");
    assert!(!evidence(&verdict, "shop-1").is_empty());
    assert!(!evidence(&verdict, "shop-6").is_empty());
    assert!(evidence(&verdict, "left out").starts_with("150 connections in the 5 s"));
}

#[test]
fn round_robin_passes() {
    let mut sim = Sim::new(3, PerRequest, 1);
    sim.run(60, 20, 1, Sim::in_turn);
    let verdict = by_connection(&sim);
    assert_eq!(verdict.verdict, Ruling::Pass);
    assert!(
        verdict
            .because
            .contains("1,200 connections over 3 instances")
    );
}

#[test]
fn sticky_by_source_fails_and_says_what_else_it_may_be() {
    let mut sim = Sim::new(3, PerRequest, 1);
    sim.run(60, 5, 1, |_| "shop-2".into());
    let verdict = by_connection(&sim);
    assert_eq!(verdict.verdict, Ruling::Fail);
    assert!(evidence(&verdict, "one for all").contains("ClientIP"));
    assert!(
        verdict.because.contains("got none of 300 connections"),
        "{}",
        verdict.because
    );
}

#[test]
fn a_starved_instance_is_caught_in_every_seed() {
    for seed in 0..100 {
        let mut sim = Sim::new(3, PerRequest, seed);
        sim.run(60, 5, 1, |s| {
            let i = s.dice.below(2);
            s.set[i].clone()
        });
        let verdict = by_connection(&sim);
        assert_eq!(verdict.verdict, Ruling::Fail);
        assert!(
            verdict.because.starts_with("shop-3 got none of 300"),
            "{}",
            verdict.because
        );
    }
}

#[test]
fn a_dead_instance_that_stays_listed_is_named() {
    let mut sim = Sim::new(3, PerRequest, 3);
    sim.run(20, 10, 1, Sim::random);
    sim.state(at(20), "shop-2", "shop-2", InstanceState::Ended);
    for _ in 0..40 {
        // What goes to the dead one is refused, and no instance is named.
        let got: Vec<_> = (0..10).map(|_| (sim.random(), 1, 1)).collect();
        let alive: Vec<_> = got.iter().filter(|g| g.0 != "shop-2").cloned().collect();
        let lost = got.len() - alive.len();
        sim.second(&alive, lost as u64);
    }
    let verdict = by_connection(&sim);
    assert_eq!(verdict.verdict, Ruling::Fail);
    assert!(
        verdict.because.starts_with(
            "the balancer keeps a dead instance: shop-2 ended and was still listed when traffic ended, 40 s later"
        ),
        "{}",
        verdict.because
    );
}

#[test]
fn a_dead_instance_removed_in_time_is_no_finding() {
    let mut sim = Sim::new(3, PerRequest, 3);
    sim.run(60, 20, 1, Sim::random);
    sim.state(at(60), "shop-2", "shop-2", InstanceState::Ended);
    let left = vec!["shop-1".to_string(), "shop-3".to_string()];
    sim.endpoints(at(62), &left);
    sim.run(60, 20, 1, Sim::random);
    let verdict = by_connection(&sim);
    assert_eq!(verdict.verdict, Ruling::Pass, "{verdict:?}");
    assert!(sim.observed().kept.is_empty());
}

#[test]
fn a_fault_that_swallows_answers_is_not_blamed_on_the_balancer() {
    let fault = |stage| {
        What::Fault(FaultEvent {
            injection: 1,
            spec: 0,
            name: "hole".into(),
            fault: "black-hole".into(),
            stage,
            instances: vec!["shop-2".into()],
            detail: None,
        })
    };
    let undo = What::Undo(UndoEvent {
        injection: 1,
        undo: Undo::RestoreRoute {
            instance: "shop-2".into(),
            fault: "black-hole".into(),
        },
        done: Some(true),
        detail: None,
    });
    for (undone, expected) in [(true, Ruling::Pass), (false, Ruling::Inconclusive)] {
        let mut sim = Sim::new(3, PerRequest, 9);
        sim.run(5, 20, 1, Sim::random);
        sim.event(at(5), fault(FaultStage::Injecting));
        sim.event(at(5), fault(FaultStage::Injected));
        for _ in 0..30 {
            let got: Vec<_> = (0..20).map(|_| (sim.random(), 1, 1)).collect();
            let named: Vec<_> = got.iter().filter(|g| g.0 != "shop-2").cloned().collect();
            sim.second(&named, (got.len() - named.len()) as u64);
        }
        if undone {
            sim.event(at(35), undo.clone());
        }
        sim.run(80, 20, 1, |s| {
            let one = s.random();
            if !undone && one == "shop-2" {
                "shop-1".into()
            } else {
                one
            }
        });
        let verdict = by_connection(&sim);
        assert_eq!(verdict.verdict, expected, "{}", verdict.because);
        assert!(evidence(&verdict, "left out").contains("hide who was chosen"));
    }
}

#[test]
fn connections_to_an_instance_that_left_fail() {
    let mut sim = Sim::new(3, PerRequest, 3);
    sim.run(40, 20, 1, Sim::random);
    let left = vec!["shop-1".to_string(), "shop-3".to_string()];
    sim.endpoints(at(40), &left);
    sim.run(40, 20, 1, |s| match s.dice.below(10) {
        0 => "shop-2".into(),
        _ => s.random(),
    });
    let verdict = by_connection(&sim);
    assert_eq!(verdict.verdict, Ruling::Fail);
    assert!(
        verdict.because.contains("went to shop-2 in a time"),
        "{}",
        verdict.because
    );
}

#[test]
fn client_affinity_is_checked_from_one_address() {
    let sticky = BalanceExpectation {
        kind: Kind::ClientIp(Duration::from_secs(10_800)),
        ..BalanceExpectation::default()
    };
    let mut kept = Sim::new(3, PerRequest, 1);
    kept.run(60, 5, 1, |_| "shop-2".into());
    assert_eq!(judge(&kept.record, &sticky).verdict, Ruling::Pass);
    for seed in 0..100 {
        let mut random = Sim::new(3, PerRequest, seed);
        random.run(60, 5, 1, Sim::random);
        let verdict = judge(&random.record, &sticky);
        assert_eq!(verdict.verdict, Ruling::Fail);
        assert!(verdict.because.contains("could still be chosen"));
    }
    // Its instance left: the client may move.
    let mut moved = Sim::new(3, PerRequest, 1);
    moved.run(40, 5, 1, |_| "shop-2".into());
    moved.endpoints(at(40), &["shop-1".to_string(), "shop-3".to_string()]);
    moved.run(40, 5, 1, |_| "shop-1".into());
    assert_eq!(judge(&moved.record, &sticky).verdict, Ruling::Pass);
}

#[test]
fn what_cannot_be_judged_is_said() {
    let mut unnamed = Sim::new(3, PerRequest, 1);
    unnamed.second(&[], 0);
    let verdict = by_connection(&unnamed);
    assert_eq!(verdict.verdict, Ruling::Inconclusive);
    assert!(verdict.because.contains("x-squall-instance"));

    let mut unwatched = Sim::new(3, PerRequest, 1);
    unwatched.run(10, 10, 1, Sim::random);
    unwatched.record.events.clear();
    assert!(by_connection(&unwatched).because.contains("does not tell"));

    let mut alias = Sim::new(2, PerRequest, 1);
    alias.run(10, 10, 1, |_| "10.0.0.1".into());
    assert!(by_connection(&alias).because.contains("nothing ties"));

    let mut single = Sim::new(1, PerRequest, 1);
    single.run(10, 10, 1, Sim::random);
    assert!(by_connection(&single).because.contains("more than one"));
}
