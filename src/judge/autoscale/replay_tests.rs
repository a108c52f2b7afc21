//! The replay and the invariants against simulated controllers: the right one must never be blamed, whatever its spec
//! and load, and each broken one must be caught by the invariant meant for it.

use super::cases::{S, cpu, free, pod, sample, secs};
use super::*;
use crate::judge::Ruling;

/// What is wrong with the controller.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Defect {
    None,
    /// Forgets its recommendations.
    NoWindow,
    /// Allows three more than the maximum.
    BeyondMax,
    /// Has no tolerance.
    Nervous,
    /// Ignores the policies.
    NoRate,
    /// Rounds the other way.
    OffByOne,
    /// Somebody else scales.
    Foreign,
    /// Says that nothing limits it.
    Silent,
}

pub(super) struct Dice(pub(super) u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
    fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize].clone()
    }
}

fn some_spec(dice: &mut Dice) -> Spec {
    let mut behavior = Behavior::default();
    behavior.up.window = Some(dice.pick(&[secs(0), secs(0), secs(30), secs(60)]));
    behavior.down.window = dice.pick(&[None, Some(secs(60)), Some(secs(0)), Some(secs(120))]);
    if dice.below(2) == 0 {
        behavior.down.policies = vec![
            Policy::new(PolicyKind::Pods, 2, secs(60)),
            Policy::new(PolicyKind::Percent, 20, secs(30)),
        ];
        behavior.down.select = dice.pick(&[Select::Max, Select::Min]);
    }
    if dice.below(3) == 0 {
        behavior.up.policies = vec![Policy::new(PolicyKind::Pods, 3, secs(60))];
    }
    Spec {
        min: dice.pick(&[1, 2]),
        max: dice.pick(&[6, 12, 30]),
        behavior: (dice.below(4) > 0).then_some(behavior),
    }
}

/// Millicores wanted in all, over 40 minutes.
fn load(dice: &mut Dice) -> Vec<i64> {
    let mut level = 1_000 + dice.below(3_000) as i64;
    let mut list = Vec::new();
    for k in 0..160 {
        if k % (12 + dice.below(20)) == 0 {
            level = 300 + dice.below(15_000) as i64;
        }
        // A little noise, so that most syncs differ.
        list.push(level + dice.below(400) as i64);
    }
    list
}

/// A controller at work every 15 s, watched with up to a second of delay.
pub(super) fn simulate(spec: &Spec, load: &[i64], defect: Defect, dice: &mut Dice) -> Timeline {
    let start = 1_000 * S;
    let mut timeline = Timeline {
        created: Some(start),
        specs: vec![(0, spec.clone())],
        ..Timeline::default()
    };
    let mut broken = spec.clone();
    match defect {
        Defect::BeyondMax => broken.max += 3,
        Defect::NoRate => broken.behavior = Some(free()),
        Defect::Nervous => {
            let behavior = broken.behavior.get_or_insert_default();
            behavior.up.tolerance = Some(0.0);
            behavior.down.tolerance = Some(0.0);
        }
        _ => {}
    }
    let mut current = spec.min;
    let mut memory: Option<Memory> = None;
    for (k, wanted) in load.iter().enumerate() {
        let now = start + S + k as u64 * 15 * S;
        let seen = now + dice.below(S);
        if defect == Defect::Foreign && k == 80 {
            let to = if current > 3 {
                current - 1
            } else {
                current + 1
            };
            timeline.writes.push(Write {
                version: 0,
                at: seen - 7 * S,
                from: current,
                to,
                manager: Some("kubectl-scale".into()),
            });
            current = to;
        }
        if defect == Defect::None && dice.below(120) == 0 {
            // Another leader takes over.
            timeline.restarts.push(now - 5 * S);
            memory = None;
        }
        let memory = memory.get_or_insert_with(|| Memory::first(now, current));
        if defect == Defect::NoWindow {
            memory.recommendations.clear();
        }
        let n = current as usize;
        let samples = (0..n).map(|i| sample(i, wanted / n as i64)).collect();
        let mut inputs =
            super::cases::inputs(current, (0..n).map(pod).collect(), vec![cpu(60, samples)]);
        inputs.now = now;
        let mut decision = decide(&Controller::default(), &broken, &inputs, memory);
        if defect == Defect::OffByOne && decision.rescale && decision.desired < spec.max {
            decision.desired += 1;
            decision.rescale = decision.desired != current;
        }
        if defect == Defect::Silent {
            let limited = decision
                .conditions
                .iter_mut()
                .find(|c| c.kind == "ScalingLimited");
            if let Some(limited) = limited {
                limited.status = false;
            }
        }
        memory.note(now, &broken, &decision);
        watch(&mut timeline, &decision, seen, n as i32);
        current = decision.desired;
    }
    timeline
}

/// What is seen of a controller with this defect, under some load.
pub(super) fn simulated(seed: u64, defect: Defect, change: impl Fn(&mut Spec)) -> (Spec, Timeline) {
    let mut dice = Dice(seed);
    let mut spec = some_spec(&mut dice);
    change(&mut spec);
    let load = load(&mut dice);
    let timeline = simulate(&spec, &load, defect, &mut dice);
    (spec, timeline)
}

/// One metric, and pods that all count.
pub(super) fn all_count(n: i32) -> Groupings {
    Groupings {
        ways: vec![vec![Tally::counted(n)]],
        even: true,
    }
}

fn watch(timeline: &mut Timeline, decision: &Decision, at: u64, ready: i32) {
    let published: Vec<Published> = decision
        .proposals
        .iter()
        .flatten()
        .map(|p| Published::Utilization {
            percent: p.published as i32,
            target: 60,
        })
        .collect();
    let sync = Sync {
        at,
        current: decision.current,
        status_replicas: decision.current,
        pods: all_count(ready),
        later: all_count(ready),
        unclean: None,
        published,
        desired: decision.desired,
        conditions: decision.conditions.clone(),
    };
    let same = timeline
        .syncs
        .last()
        .is_some_and(|last| Sync { at, ..last.clone() } == sync);
    if !same {
        timeline.syncs.push(sync);
    }
    if decision.rescale {
        timeline.writes.push(Write {
            version: 0,
            at,
            from: decision.current,
            to: decision.desired,
            manager: Some("kube-controller-manager".into()),
        });
        // Events have a grain of a second.
        timeline.rescales.push(Rescale {
            at: at / S * S,
            size: decision.desired,
        });
    }
}

fn expectation() -> AutoscaleExpectation {
    AutoscaleExpectation::of("shop")
}

#[test]
fn the_right_controller_is_never_blamed() {
    let (mut checked, mut exact) = (0, 0);
    for seed in 0..500 {
        let (spec, timeline) = simulated(seed, Defect::None, |_| {});
        for check in check_all(&timeline) {
            assert_eq!(check.violations, [], "seed {seed}, {} {spec:?}", check.id);
        }
        let replayed = timeline.replay();
        checked += replayed.len();
        exact += replayed.iter().filter(|r| r.expected.is_exact()).count();
    }
    // The checks must not pass because they leave everything open.
    assert!(exact * 100 > checked * 95, "{exact} of {checked}");
}

/// In how many of 100 runs each invariant was broken.
fn broken(defect: Defect, change: impl Fn(&mut Spec)) -> Vec<(&'static str, usize)> {
    let mut counts = vec![0; 8];
    let mut ids = Vec::new();
    for seed in 0..100 {
        let (_, timeline) = simulated(seed, defect, &change);
        let checks = check_all(&timeline);
        ids = checks.iter().map(|c| c.id).collect();
        for (count, check) in counts.iter_mut().zip(&checks) {
            *count += usize::from(!check.violations.is_empty());
        }
    }
    ids.into_iter().zip(counts).collect()
}

fn caught(counts: &[(&str, usize)], id: &str) -> usize {
    counts.iter().find(|(i, _)| *i == id).map_or(0, |(_, n)| *n)
}

#[test]
fn each_broken_controller_is_caught_by_its_invariant() {
    let windowed = |spec: &mut Spec| {
        let behavior = spec.behavior.get_or_insert_default();
        behavior.down = Rules::default_down();
        spec.max = 30;
    };
    let tight = |spec: &mut Spec| spec.max = 6;
    let slow = |spec: &mut Spec| {
        let behavior = spec.behavior.get_or_insert_default();
        behavior.up.window = Some(secs(0));
        behavior.up.policies = vec![Policy::new(PolicyKind::Pods, 1, secs(60))];
        spec.max = 30;
    };
    let plain = |spec: &mut Spec| {
        spec.behavior = Some(free());
        spec.max = 30;
    };
    type Row<'a> = (Defect, fn(&mut Spec), &'a [&'a str]);
    let rows: [Row; 7] = [
        (Defect::NoWindow, windowed, &["I2", "I3"]),
        (Defect::BeyondMax, tight, &["I1", "I2"]),
        (Defect::Nervous, plain, &["I2", "I7"]),
        (Defect::NoRate, slow, &["I2", "I5"]),
        (Defect::OffByOne, plain, &["I2"]),
        (Defect::Foreign, plain, &["I8"]),
        (Defect::Silent, tight, &["I6"]),
    ];
    for (defect, change, ids) in rows {
        let counts = broken(defect, change);
        for id in ids {
            assert_eq!(caught(&counts, id), 100, "{defect:?}: {counts:?}");
        }
    }
}

#[test]
fn a_downscale_soon_after_creation_is_caught() {
    let spec = Spec {
        min: 1,
        max: 10,
        behavior: None,
    };
    let mut timeline = simulate(&spec, &[3_000; 10], Defect::None, &mut Dice(1));
    timeline.created = Some(1_000 * S);
    let check = i4_patient_at_first(&timeline);
    assert!(check.checked > 0 && check.violations.is_empty());
    // The controller found one replica; a new leader finds five and goes down at once.
    let last = timeline.syncs.last().unwrap().clone();
    timeline.restarts = vec![last.at + S];
    let five = Sync {
        at: last.at + 2 * S,
        ..last.clone()
    };
    timeline.syncs.push(five);
    let at = last.at + 17 * S;
    timeline.writes.push(Write {
        version: 0,
        at,
        from: last.current,
        to: last.current - 1,
        manager: None,
    });
    timeline.rescales.push(Rescale {
        at,
        size: last.current - 1,
    });
    let check = i4_patient_at_first(&timeline);
    assert_eq!(check.violations.len(), 1, "{:?}", check.violations);
    assert!(check.violations[0].1.contains("the window is 300 s"));
}

/// A timeline as if gathered from a record that misses nothing.
fn all(timeline: &Timeline) -> Gathered {
    Gathered {
        timeline: timeline.clone(),
        target: "Deployment/shop".into(),
        leader_seen: true,
        no_request: Vec::new(),
        troubles: Vec::new(),
        pods: Vec::new(),
        rollouts: Vec::new(),
    }
}

#[test]
fn verdicts_pass_fail_and_say_what_is_missing() {
    let mut dice = Dice(3);
    let spec = Spec {
        min: 1,
        max: 30,
        behavior: None,
    };
    let loads = load(&mut dice);
    let good = simulate(&spec, &loads, Defect::None, &mut dice);
    // Every change of the load is a step: nothing is a flap then.
    let steps = good.syncs.iter().map(|s| Step {
        at: s.at,
        until: s.at,
        up: true,
    });
    let steps: Vec<Step> = steps.collect();
    let load = Load {
        steps,
        ..Load::default()
    };
    let verdict = judge(&all(&good), &load, &expectation());
    assert_eq!(verdict.verdict, Ruling::Pass, "{}", verdict.because);
    let foreign = simulate(&spec, &loads, Defect::Foreign, &mut dice);
    let verdict = judge(&all(&foreign), &load, &expectation());
    assert_eq!(verdict.verdict, Ruling::Fail);
    assert!(
        verdict.because.contains("I8: kubectl-scale set"),
        "{}",
        verdict.because
    );
    let verdict = judge(&all(&Timeline::default()), &load, &expectation());
    assert_eq!(verdict.verdict, Ruling::Inconclusive);
    let mut blind = good.clone();
    blind.gaps = vec![(1_100 * S, 1_101 * S)];
    let verdict = judge(&all(&blind), &load, &expectation());
    assert_eq!(verdict.verdict, Ruling::Inconclusive);
    // The new pods idle: a tenth of what is theirs.
    let pinned = Load {
        after: vec![(500, false), (500, false), (25, true), (25, true)],
        ..load.clone()
    };
    let verdict = judge(&all(&good), &pinned, &expectation());
    assert!(
        verdict.because.contains("did not help"),
        "{}",
        verdict.because
    );
    // So few requests may miss them by chance.
    let quiet = Load {
        after: vec![(12, false), (3, true)],
        ..load.clone()
    };
    let verdict = judge(&all(&good), &quiet, &expectation());
    assert_eq!(verdict.verdict, Ruling::Inconclusive, "{verdict:?}");
    assert_eq!(
        verdict.missing.as_deref(),
        Some("more requests after the scale-up")
    );
    // Whatever was decided to stay, no decision to scale could be looked at.
    let mut unseen = good.clone();
    for sync in unseen.syncs.iter_mut().filter(|s| s.desired != s.current) {
        sync.unclean = Some("the spec was edited at that moment".into());
    }
    let verdict = judge(&all(&unseen), &load, &expectation());
    assert_eq!(verdict.verdict, Ruling::Inconclusive, "{verdict:?}");
    assert!(
        verdict
            .because
            .contains("none to scale could be checked: the spec was edited"),
        "{verdict:?}"
    );
}

fn change(at: u64, from: i32, to: i32) -> Write {
    Write {
        version: 0,
        at: at * S,
        from,
        to,
        manager: None,
    }
}

#[test]
fn measures_by_hand() {
    let writes = [change(10, 2, 4), change(25, 4, 9), change(400, 9, 6)];
    let at = |steps: &[u64]| steps.iter().map(|s| (s * S, s * S)).collect::<Vec<_>>();
    assert_eq!(overshoot(&writes, 0, 1_000 * S), Some(0.5));
    assert_eq!(overshoot(&[], 0, S), None);
    assert_eq!(settle(&writes, 5 * S, 300 * S), Some(20 * S));
    assert_eq!(settle(&writes, 500 * S, 900 * S), None);
    // 9 to 6 turns round after 375 s: within two windows of 300 s, and the load was constant.
    assert_eq!(flaps(&writes, &at(&[5]), 300 * S).len(), 1);
    assert_eq!(flaps(&writes, &at(&[5, 200]), 300 * S).len(), 0);
    assert_eq!(flaps(&writes, &at(&[5]), 100 * S).len(), 0);
    let even = effectiveness(&[(100, false), (100, true)]).unwrap();
    assert_eq!(even.effectiveness, 1.0);
    assert!(
        effectiveness(&[(1_000, false), (0, true)])
            .unwrap()
            .effectiveness
            < EFFECTIVE
    );
    // Three of fifteen may be chance where half is fair; 60 of 300 are not.
    let few = effectiveness(&[(12, false), (3, true)]).unwrap();
    assert!(few.effectiveness < EFFECTIVE && !few.sure, "{few:?}");
    let many = effectiveness(&[(240, false), (60, true)]).unwrap();
    assert!(many.effectiveness < EFFECTIVE && many.sure, "{many:?}");
    assert!(effectiveness(&[(0, false), (0, true)]).is_none());
    assert!(effectiveness(&[(10, false)]).is_none());
    let chain = Chain {
        load: Some(0),
        crossed: Some(20 * S),
        decided: Some(22 * S),
        scheduled: Some(23 * S),
        ready: Some(41 * S),
        served: Some(40 * S),
        ..Chain::default()
    };
    let took: Vec<u64> = chain.links().iter().map(|l| l.took / S).collect();
    assert_eq!(took, [0, 20, 2, 1, 18, 0]);
    assert_eq!(chain.slowest().unwrap().name, "metric crosses");
    assert_eq!(chain.broken_at(), Some("endpoint ready"));
    assert_eq!(Chain::default().broken_at(), None);
}
