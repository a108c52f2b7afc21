//! The oracle against worked cases: some generated, with the expected count from whole-number arithmetic that shares
//! nothing with the oracle's floats, some worked by hand.

use std::collections::BTreeMap;
use std::time::Duration;

use super::decide::{decide, down_limit, up_limit};
use super::types::*;

pub const NOW: u64 = 100_000_000_000;
pub const S: u64 = 1_000_000;

pub fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A pod that has been ready for long, requesting one core and 1 GiB.
pub fn pod(i: usize) -> Pod {
    Pod {
        name: format!("pod-{i}"),
        phase: Phase::Running,
        deleted: false,
        ready: Some(Readiness {
            status: Some(true),
            since: NOW - 3_500 * S,
        }),
        started: Some(NOW - 3_600 * S),
        requests: BTreeMap::from([("cpu".to_string(), 1_000), ("memory".to_string(), 1_000)]),
    }
}

pub fn sample(i: usize, value: i64) -> Sample {
    Sample {
        pod: format!("pod-{i}"),
        value,
        at: NOW - 10 * S,
        window: secs(30),
    }
}

/// A pod that is running but was never ready.
pub fn starting(i: usize) -> Pod {
    Pod {
        ready: Some(Readiness {
            status: Some(false),
            since: NOW - 60 * S,
        }),
        started: Some(NOW - 60 * S),
        ..pod(i)
    }
}

pub fn cpu(target: i32, samples: Vec<Sample>) -> Metric {
    Metric::Resource {
        name: "cpu".into(),
        container: None,
        target: ResourceTarget::Utilization(target),
        samples: Some(samples),
    }
}

pub fn inputs(current: i32, pods: Vec<Pod>, metrics: Vec<Metric>) -> Inputs {
    Inputs {
        now: NOW,
        current,
        status_replicas: current,
        pods,
        metrics,
    }
}

pub fn wide() -> Spec {
    Spec {
        min: 1,
        max: 1_000_000,
        behavior: Some(free()),
    }
}

/// No window, no limit: what is left is the metric.
pub fn free() -> Behavior {
    let all = |kind| vec![Policy::new(kind, 1_000_000, secs(15))];
    Behavior {
        up: Rules {
            window: Some(secs(0)),
            policies: all(PolicyKind::Pods),
            ..Rules::default_up()
        },
        down: Rules {
            window: Some(secs(0)),
            policies: all(PolicyKind::Pods),
            ..Rules::default_down()
        },
    }
}

pub fn run(spec: &Spec, inputs: &Inputs, memory: &Memory) -> Decision {
    decide(&Controller::default(), spec, inputs, memory)
}

/// The smallest whole number that is not below `ratio_up / ratio_down * pods`, by counting. Where that is exact the
/// controller's floats may land a hair above it: then it takes one more.
fn ceiling(up: i64, down: i64, pods: i64) -> i32 {
    let mut n = up * pods / down;
    while n * down < up * pods {
        n += 1;
    }
    let float = up as f64 / down as f64 * pods as f64;
    let exact = n * down == up * pods;
    (if exact && float > n as f64 { n + 1 } else { n }) as i32
}

/// Whether up/down is within 10%, both ends included, in whole numbers.
fn tolerated(up: i64, down: i64) -> bool {
    10 * up >= 9 * down && 10 * up <= 11 * down
}

/// Utilization, all pods ready: every target, load and size.
fn utilization_cases() -> usize {
    let mut cases = 0;
    for target in [30, 50, 60, 70, 80, 95, 150] {
        for pods in [1usize, 2, 3, 7, 10, 33] {
            for usage in [
                0, 1, 269, 449, 450, 500, 549, 550, 551, 559, 700, 881, 1_100, 2_345,
            ] {
                let samples = (0..pods).map(|i| sample(i, usage)).collect();
                let inputs = inputs(
                    pods as i32,
                    (0..pods).map(pod).collect(),
                    vec![cpu(target, samples)],
                );
                let util = usage * pods as i64 * 100 / (1_000 * pods as i64);
                let expected = if tolerated(util, i64::from(target)) {
                    pods as i32
                } else {
                    ceiling(util, i64::from(target), pods as i64)
                };
                let decision = run(&wide(), &inputs, &Memory::default());
                let what = format!("{usage}m of 1000m on {pods} pods, target {target}%");
                assert_eq!(decision.raw, Some(expected), "{what}");
                assert_eq!(decision.desired, expected.max(1), "{what}");
                let proposal = decision.proposals[0].as_ref().unwrap();
                assert_eq!(proposal.published, util, "{what}");
                cases += 1;
            }
        }
    }
    cases
}

/// Average values of pods metrics and of memory, all pods counted: ready or not makes no difference to them.
fn average_cases() -> usize {
    let mut cases = 0;
    for target in [7_000, 10_000, 100_000] {
        for pods in [1usize, 4, 9] {
            for total in [
                0, 5_000, 36_000, 39_600, 40_000, 44_000, 44_001, 90_001, 777_777,
            ] {
                for memory in [false, true] {
                    let each = total / pods as i64;
                    let rest = total - each * (pods as i64 - 1);
                    let samples: Vec<Sample> = (0..pods)
                        .map(|i| sample(i, if i == 0 { rest } else { each }))
                        .collect();
                    let metric = if memory {
                        Metric::Resource {
                            name: "memory".into(),
                            container: None,
                            target: ResourceTarget::AverageValue(target),
                            samples: Some(samples),
                        }
                    } else {
                        Metric::Pods {
                            target,
                            samples: Some(samples),
                        }
                    };
                    let pods_now = (0..pods).map(starting).collect();
                    let inputs = inputs(pods as i32, pods_now, vec![metric]);
                    let mean = total / pods as i64;
                    let expected = if tolerated(mean, target) {
                        pods as i32
                    } else {
                        ceiling(mean, target, pods as i64)
                    };
                    let decision = run(&wide(), &inputs, &Memory::default());
                    assert_eq!(decision.raw, Some(expected), "{total} on {pods}, {target}");
                    cases += 1;
                }
            }
        }
    }
    cases
}

/// Object and external metrics, by value and by average value.
fn total_cases() -> usize {
    let mut cases = 0;
    for target in [10_000, 33_000] {
        for current in [1i32, 4, 10] {
            for value in [0, 8_999, 9_000, 11_000, 11_001, 50_000, 363_000, 400_001] {
                for by_average in [false, true] {
                    for external in [false, true] {
                        let aim = if by_average {
                            Target::AverageValue(target)
                        } else {
                            Target::Value(target)
                        };
                        let metric = if external {
                            Metric::External {
                                target: aim,
                                values: Some(vec![value - value / 3, value / 3]),
                            }
                        } else {
                            Metric::Object {
                                target: aim,
                                value: Some(value),
                            }
                        };
                        let pods: Vec<Pod> = (0..current as usize).map(pod).collect();
                        let inputs = inputs(current, pods, vec![metric]);
                        let n = i64::from(current);
                        let expected = match by_average {
                            true if tolerated(value, target * n) => current,
                            true => ceiling(value, target, 1),
                            false if tolerated(value, target) => current,
                            false => ceiling(value, target, n),
                        };
                        let raw = run(&wide(), &inputs, &Memory::default()).raw;
                        let what = format!("{value} of {target} at {current}, {by_average}");
                        assert_eq!(raw, Some(expected), "{what}");
                        cases += 1;
                    }
                }
            }
        }
    }
    cases
}

/// Some pods without a value, some unready: worked in whole percents of the pods' requests.
fn missing_and_unready_cases() -> usize {
    let mut cases = 0;
    for ready in [2usize, 4, 10] {
        for missing in [0usize, 1, 5] {
            for unready in [0usize, 1, 6] {
                for percent in [10i64, 40, 44, 46, 50, 54, 56, 80, 200] {
                    let target = 50;
                    let n = ready + missing + unready;
                    let mut pods: Vec<Pod> = (0..ready + missing).map(pod).collect();
                    pods.extend((ready + missing..n).map(starting));
                    let mut samples: Vec<Sample> =
                        (0..ready).map(|i| sample(i, percent * 10)).collect();
                    // A starting pod has a value, and it must not count.
                    samples.extend((ready + missing..n).map(|i| sample(i, 5_000)));
                    let inputs = inputs(n as i32, pods, vec![cpu(target, samples)]);
                    let expected = by_hand(percent, target, ready, missing, unready, n as i32);
                    let raw = run(&wide(), &inputs, &Memory::default()).raw;
                    let what = format!("{ready}+{missing}+{unready} at {percent}%");
                    assert_eq!(raw, Some(expected), "{what}");
                    cases += 1;
                }
            }
        }
    }
    cases
}

/// The same rules as a sentence each, in whole percents.
fn by_hand(
    percent: i64,
    target: i32,
    ready: usize,
    missing: usize,
    unready: usize,
    current: i32,
) -> i32 {
    let t = i64::from(target);
    let (ready, missing, unready) = (ready as i64, missing as i64, unready as i64);
    let down = percent < t;
    if missing == 0 && (down || percent == t || unready == 0) {
        return match tolerated(percent, t) {
            true => current,
            false => ceiling(percent, t, ready),
        };
    }
    // Going up, who has no value has none; going down, the missing use all they asked for.
    let (sum, pods) = if down {
        (percent * ready + 100 * missing, ready + missing)
    } else if percent > t {
        let unready = if unready > 0 { unready } else { 0 };
        (percent * ready, ready + missing + unready)
    } else {
        (percent * ready, ready)
    };
    let mean = sum / pods;
    let turned = (down && mean > t) || (percent > t && mean < t);
    if tolerated(mean, t) || turned {
        return current;
    }
    let wanted = ceiling(mean, t, pods);
    if (mean < t && wanted > current) || (mean > t && wanted < current) {
        return current;
    }
    wanted
}

/// Every policy kind and selection, with changes inside and outside of the period.
fn policy_cases() -> usize {
    let mut cases = 0;
    for current in [1i32, 3, 10, 40] {
        for (pods, percent) in [(1, 10), (4, 100), (5, 33), (2, 250)] {
            for select in [Select::Max, Select::Min, Select::Disabled] {
                for (added, removed) in [(0, 0), (3, 0), (0, 2), (6, 1)] {
                    let memory = Memory {
                        recommendations: Vec::new(),
                        // One inside the period; one exactly as old as it, which no longer counts.
                        ups: vec![(NOW - 59 * S, added), (NOW - 60 * S, 17)],
                        downs: vec![(NOW - S, removed), (NOW - 61 * S, 23)],
                    };
                    let rules = Rules {
                        window: Some(secs(0)),
                        select,
                        policies: vec![
                            Policy::new(PolicyKind::Pods, pods, secs(60)),
                            Policy::new(PolicyKind::Percent, percent, secs(60)),
                        ],
                        tolerance: None,
                    };
                    let start = current - added + removed;
                    // Hundredths: up rounds away from the start, down towards zero.
                    let hundredths = i64::from(start) * i64::from(100 + percent);
                    let grown = hundredths.div_euclid(100) + i64::from(hundredths % 100 != 0);
                    let left = i64::from(start) * i64::from(100 - percent) / 100;
                    let up = [i64::from(start + pods), grown];
                    let down = [i64::from(start - pods), left];
                    let (up, down) = match select {
                        Select::Max => (up[0].max(up[1]), down[0].min(down[1])),
                        Select::Min => (up[0].min(up[1]), down[0].max(down[1])),
                        Select::Disabled => (i64::from(current), i64::from(current)),
                    };
                    let what = format!(
                        "{current}, {pods} pods, {percent}%, {select:?}, +{added} -{removed}"
                    );
                    let got = up_limit(&rules, NOW, current, &memory);
                    // 1.1 * 10 is a hair more than 11 in floats, and is rounded up.
                    let float = f64::from(start) * (1.0 + f64::from(percent) / 100.0);
                    let hair = hundredths % 100 == 0 && float > grown as f64;
                    let slack = i64::from(hair && i64::from(got) != up);
                    assert_eq!(i64::from(got), up + slack, "up: {what}");
                    let got = down_limit(&rules, NOW, current, &memory);
                    let float = f64::from(start) * (1.0 - f64::from(percent) / 100.0);
                    let hair = (i64::from(start) * i64::from(100 - percent)) % 100 == 0
                        && (float.abs() as i64) < left.abs();
                    let slack = i64::from(hair && i64::from(got) != down);
                    assert_eq!(i64::from(got), down - slack * left.signum(), "down: {what}");
                    cases += 2;
                }
            }
        }
    }
    cases
}

#[test]
fn generated_cases_agree_with_whole_number_arithmetic() {
    let groups = [
        utilization_cases(),
        average_cases(),
        total_cases(),
        missing_and_unready_cases(),
        policy_cases(),
    ];
    assert_eq!(groups, [588, 162, 192, 243, 384]);
}

/// One external metric that asks for `wanted` whatever runs.
pub fn asks(current: i32, wanted: i32) -> Inputs {
    inputs(
        current,
        (0..current.max(0) as usize).map(pod).collect(),
        vec![Metric::External {
            target: Target::AverageValue(1_000),
            values: Some(vec![i64::from(wanted) * 1_000]),
        }],
    )
}

fn limited(spec: &Spec, current: i32, wanted: i32, memory: &Memory) -> (i32, String, String) {
    let decision = run(spec, &asks(current, wanted), memory);
    let reason = |kind: &str| {
        let found = decision.conditions.iter().find(|c| c.kind == kind);
        found.map_or(String::new(), |c| format!("{}:{}", c.status, c.reason))
    };
    (
        decision.desired,
        reason("AbleToScale"),
        reason("ScalingLimited"),
    )
}

fn ago(seconds: u64, n: i32) -> (u64, i32) {
    (NOW - seconds * S, n)
}

fn recommended(list: &[(u64, i32)]) -> Memory {
    Memory {
        recommendations: list.iter().map(|(s, n)| ago(*s, *n)).collect(),
        ..Memory::default()
    }
}

/// Legacy path: (current, wanted, recommendations, min, max) -> desired and conditions.
#[test]
fn legacy_path_by_hand() {
    type Row<'a> = (i32, i32, &'a [(u64, i32)], i32, i32, i32, &'a str, &'a str);
    let rows: &[Row] = &[
        // At most double a sync, but four from one or two.
        (
            1,
            9,
            &[],
            1,
            100,
            4,
            "true:SucceededRescale",
            "true:ScaleUpLimit",
        ),
        (
            2,
            9,
            &[],
            1,
            100,
            4,
            "true:SucceededRescale",
            "true:ScaleUpLimit",
        ),
        (
            3,
            9,
            &[],
            1,
            100,
            6,
            "true:SucceededRescale",
            "true:ScaleUpLimit",
        ),
        (
            5,
            10,
            &[],
            1,
            100,
            10,
            "true:SucceededRescale",
            "false:DesiredWithinRange",
        ),
        (
            5,
            11,
            &[],
            1,
            100,
            10,
            "true:SucceededRescale",
            "true:ScaleUpLimit",
        ),
        // The maximum names itself where it is the tighter one, and where both are the same.
        (
            5,
            11,
            &[],
            1,
            10,
            10,
            "true:SucceededRescale",
            "true:TooManyReplicas",
        ),
        (
            5,
            11,
            &[],
            1,
            8,
            8,
            "true:SucceededRescale",
            "true:TooManyReplicas",
        ),
        (
            8,
            11,
            &[],
            1,
            8,
            8,
            "true:ReadyForNewScale",
            "true:TooManyReplicas",
        ),
        // Going down there is no rate, but the window.
        (
            50,
            2,
            &[],
            1,
            100,
            2,
            "true:SucceededRescale",
            "false:DesiredWithinRange",
        ),
        (
            50,
            2,
            &[],
            3,
            100,
            3,
            "true:SucceededRescale",
            "true:TooFewReplicas",
        ),
        (
            50,
            2,
            &[(299, 50)],
            1,
            100,
            50,
            "true:ScaleDownStabilized",
            "false:DesiredWithinRange",
        ),
        (
            50,
            2,
            &[(300, 50)],
            1,
            100,
            50,
            "true:ScaleDownStabilized",
            "false:DesiredWithinRange",
        ),
        (
            50,
            2,
            &[(301, 50)],
            1,
            100,
            2,
            "true:SucceededRescale",
            "false:DesiredWithinRange",
        ),
        (
            50,
            2,
            &[(301, 90), (10, 30)],
            1,
            100,
            30,
            "true:SucceededRescale",
            "false:DesiredWithinRange",
        ),
        // The legacy window can even scale up: an old, higher recommendation that the limit held back.
        (
            4,
            4,
            &[(15, 9)],
            1,
            100,
            8,
            "true:SucceededRescale",
            "true:ScaleUpLimit",
        ),
        (
            4,
            4,
            &[(15, 7)],
            1,
            100,
            7,
            "true:SucceededRescale",
            "false:DesiredWithinRange",
        ),
        (
            10,
            10,
            &[],
            1,
            100,
            10,
            "true:ReadyForNewScale",
            "false:DesiredWithinRange",
        ),
        (
            2,
            0,
            &[],
            1,
            100,
            1,
            "true:SucceededRescale",
            "true:TooFewReplicas",
        ),
        (
            2,
            0,
            &[],
            0,
            100,
            0,
            "true:SucceededRescale",
            "false:DesiredWithinRange",
        ),
        (
            1,
            0,
            &[],
            1,
            100,
            1,
            "true:ReadyForNewScale",
            "true:TooFewReplicas",
        ),
    ];
    for (current, wanted, history, min, max, desired, able, scaling) in rows {
        let spec = Spec {
            min: *min,
            max: *max,
            behavior: None,
        };
        let got = limited(&spec, *current, *wanted, &recommended(history));
        let expected = (*desired, able.to_string(), scaling.to_string());
        assert_eq!(
            got, expected,
            "{current} -> {wanted}, {history:?}, {min}..{max}"
        );
    }
}

/// With the default behavior: stabilization, rate, limits.
#[test]
fn behavior_path_by_hand() {
    type Row<'a> = (i32, i32, &'a [(u64, i32)], i32, i32, i32, &'a str, &'a str);
    let rows: &[Row] = &[
        (
            1,
            99,
            &[],
            1,
            100,
            5,
            "true:SucceededRescale",
            "true:ScaleUpLimit",
        ),
        (
            4,
            99,
            &[],
            1,
            100,
            8,
            "true:SucceededRescale",
            "true:ScaleUpLimit",
        ),
        (
            5,
            99,
            &[],
            1,
            100,
            10,
            "true:SucceededRescale",
            "true:ScaleUpLimit",
        ),
        (
            5,
            9,
            &[],
            1,
            100,
            9,
            "true:SucceededRescale",
            "false:DesiredWithinRange",
        ),
        (
            5,
            99,
            &[],
            1,
            7,
            7,
            "true:SucceededRescale",
            "true:TooManyReplicas",
        ),
        (
            5,
            99,
            &[],
            1,
            10,
            10,
            "true:SucceededRescale",
            "true:TooManyReplicas",
        ),
        (
            7,
            99,
            &[],
            1,
            7,
            7,
            "true:ReadyForNewScale",
            "true:TooManyReplicas",
        ),
        // Down: the window holds at the highest of the last 300 s; exactly 300 s ago no longer counts here.
        (
            50,
            2,
            &[(299, 50)],
            1,
            100,
            50,
            "true:ScaleDownStabilized",
            "false:DesiredWithinRange",
        ),
        (
            50,
            2,
            &[(300, 50)],
            1,
            100,
            2,
            "true:SucceededRescale",
            "false:DesiredWithinRange",
        ),
        (
            50,
            2,
            &[(200, 30)],
            1,
            100,
            30,
            "true:SucceededRescale",
            "false:DesiredWithinRange",
        ),
        (
            50,
            2,
            &[(200, 70)],
            1,
            100,
            50,
            "true:ScaleDownStabilized",
            "false:DesiredWithinRange",
        ),
        (
            50,
            2,
            &[],
            9,
            100,
            9,
            "true:SucceededRescale",
            "true:TooFewReplicas",
        ),
        (
            9,
            2,
            &[],
            9,
            100,
            9,
            "true:ReadyForNewScale",
            "true:TooFewReplicas",
        ),
        // Unlike the legacy path, an old higher recommendation does not scale up.
        (
            4,
            4,
            &[(15, 9)],
            1,
            100,
            4,
            "true:ReadyForNewScale",
            "false:DesiredWithinRange",
        ),
        (
            10,
            10,
            &[],
            1,
            100,
            10,
            "true:ReadyForNewScale",
            "false:DesiredWithinRange",
        ),
    ];
    for (current, wanted, history, min, max, desired, able, scaling) in rows {
        let spec = Spec {
            min: *min,
            max: *max,
            behavior: Some(Behavior::default()),
        };
        let got = limited(&spec, *current, *wanted, &recommended(history));
        let expected = (*desired, able.to_string(), scaling.to_string());
        assert_eq!(
            got, expected,
            "{current} -> {wanted}, {history:?}, {min}..{max}"
        );
    }
}

#[test]
fn windows_both_ways_by_hand() {
    let mut behavior = Behavior::default();
    behavior.up.window = Some(secs(60));
    behavior.down.window = Some(secs(120));
    behavior.up.policies = vec![Policy::new(PolicyKind::Pods, 100, secs(15))];
    let spec = Spec {
        min: 1,
        max: 100,
        behavior: Some(behavior),
    };
    type Row<'a> = (i32, i32, &'a [(u64, i32)], i32, &'a str);
    let rows: &[Row] = &[
        // Up: the lowest of the last 60 s.
        (4, 10, &[(59, 6)], 6, "true:SucceededRescale"),
        (4, 10, &[(59, 2)], 4, "true:ScaleUpStabilized"),
        (4, 10, &[(60, 6)], 10, "true:SucceededRescale"),
        (4, 10, &[(30, 20), (15, 8)], 8, "true:SucceededRescale"),
        // Down: the highest of the last 120 s.
        (10, 4, &[(119, 7)], 7, "true:SucceededRescale"),
        (10, 4, &[(119, 12)], 10, "true:ScaleDownStabilized"),
        (10, 4, &[(120, 12)], 4, "true:SucceededRescale"),
        // Both windows at once: recommendations around the current count keep it.
        (10, 12, &[(30, 8)], 10, "true:ScaleUpStabilized"),
        (10, 8, &[(30, 12)], 10, "true:ScaleDownStabilized"),
    ];
    for (current, wanted, history, desired, able) in rows {
        let got = limited(&spec, *current, *wanted, &recommended(history));
        assert_eq!(
            (got.0, got.1.as_str()),
            (*desired, *able),
            "{current} -> {wanted}, {history:?}"
        );
    }
}

#[test]
fn disabled_and_exhausted_policies_hold() {
    let mut behavior = free();
    behavior.down.select = Select::Disabled;
    behavior.up.policies = vec![Policy::new(PolicyKind::Pods, 4, secs(60))];
    let spec = Spec {
        min: 1,
        max: 100,
        behavior: Some(behavior),
    };
    let fresh = Memory::default();
    let held = limited(&spec, 10, 2, &fresh);
    assert_eq!(
        held,
        (
            10,
            "true:ReadyForNewScale".into(),
            "true:ScaleDownLimit".into()
        )
    );
    // Three of four used up: one more. More than that used up (the policy was edited): none, and never fewer.
    for (added, desired) in [(3, 11), (4, 10), (9, 10)] {
        let memory = Memory {
            ups: vec![ago(30, added)],
            ..Memory::default()
        };
        assert_eq!(limited(&spec, 10, 50, &memory).0, desired, "{added}");
    }
}

#[test]
fn what_goes_before_the_metrics() {
    let spec = Spec {
        min: 3,
        max: 10,
        behavior: Some(Behavior::default()),
    };
    for (current, path, desired) in [
        (0, Path::Disabled, 0),
        (12, Path::AboveMax, 10),
        (500, Path::AboveMax, 10),
        (2, Path::BelowMin, 3),
        (3, Path::Metrics, 7),
    ] {
        let decision = run(&spec, &asks(current, 7), &recommended(&[(10, 500)]));
        assert_eq!(
            (decision.path, decision.desired),
            (path, desired),
            "{current}"
        );
        assert_eq!(decision.raw.is_some(), path == Path::Metrics);
    }
}

#[test]
fn ten_replicas_of_which_four_are_ready_ask_for_four() {
    // Six unready pods are left out going down: 0.8 * 4 = 3.2, rounded up, is 4. It looks wrong and is right.
    let mut pods: Vec<Pod> = (0..4).map(pod).collect();
    pods.extend((4..10).map(starting));
    let samples = (0..10).map(|i| sample(i, 400)).collect();
    let decision = run(
        &wide(),
        &inputs(10, pods, vec![cpu(50, samples)]),
        &Memory::default(),
    );
    assert_eq!(decision.raw, Some(4));
    let proposal = decision.proposals[0].as_ref().unwrap();
    assert_eq!((proposal.groups.ready, proposal.groups.unready), (4, 6));
    assert!((proposal.ratio - 0.8).abs() < 1e-12 && proposal.second_ratio.is_none());
}

#[test]
fn groups_of_pods_by_hand() {
    type Change = fn(&mut Pod);
    // Two healthy pods at 100% of a target of 50%, and a third one that has a sample too.
    let rows: &[(&str, Change, Groups, i32)] = &[
        ("healthy", |_| {}, groups(3, 0, 0), 6),
        ("deleted", |p| p.deleted = true, groups(2, 0, 1), 4),
        ("failed", |p| p.phase = Phase::Failed, groups(2, 0, 1), 4),
        ("pending", |p| p.phase = Phase::Pending, groups(2, 1, 0), 4),
        ("no condition yet", |p| p.ready = None, groups(2, 1, 0), 4),
        ("not started", |p| p.started = None, groups(2, 1, 0), 4),
        // Older than 5 min: a pod that was ready once counts although it is not ready now.
        (
            "lost readiness",
            |p| p.ready = state(false, 100),
            groups(3, 0, 0),
            6,
        ),
        (
            "node lost",
            |p| {
                p.ready = Some(Readiness {
                    status: None,
                    since: NOW,
                })
            },
            groups(3, 0, 0),
            6,
        ),
        // Turned unready 29 s after its start: it never was ready. At 30 s it may have been.
        (
            "never ready",
            |p| p.ready = state(false, 3_571),
            groups(2, 1, 0),
            4,
        ),
        (
            "ready for a moment",
            |p| p.ready = state(false, 3_570),
            groups(3, 0, 0),
            6,
        ),
        // Younger than 5 min: the sample (10 s old, over 30 s) must begin after it became ready.
        (
            "young, unready",
            |p| young(p, false, 100),
            groups(2, 1, 0),
            4,
        ),
        (
            "young, sample from before",
            |p| young(p, true, 39),
            groups(2, 1, 0),
            4,
        ),
        (
            "young, sample from after",
            |p| young(p, true, 40),
            groups(3, 0, 0),
            6,
        ),
        // Exactly 5 min old: no longer young.
        (
            "grown up",
            |p| {
                p.started = Some(NOW - 300 * S);
                p.ready = state(true, 5);
            },
            groups(3, 0, 0),
            6,
        ),
    ];
    for (name, change, expected, raw) in rows {
        let mut pods: Vec<Pod> = (0..3).map(pod).collect();
        change(&mut pods[2]);
        let samples = (0..3).map(|i| sample(i, 1_000)).collect();
        let decision = run(
            &wide(),
            &inputs(3, pods, vec![cpu(50, samples)]),
            &Memory::default(),
        );
        let proposal = decision.proposals[0].as_ref().unwrap();
        assert_eq!(proposal.groups, *expected, "{name}");
        assert_eq!(decision.raw, Some(*raw), "{name}");
    }
}

fn groups(ready: usize, unready: usize, ignored: usize) -> Groups {
    Groups {
        ready,
        unready,
        missing: 0,
        ignored,
    }
}

fn state(ready: bool, seconds_ago: u64) -> Option<Readiness> {
    Some(Readiness {
        status: Some(ready),
        since: NOW - seconds_ago * S,
    })
}

fn young(pod: &mut Pod, ready: bool, seconds_ago: u64) {
    pod.started = Some(NOW - 299 * S);
    pod.ready = state(ready, seconds_ago);
}

#[test]
fn a_killed_container_still_counts_and_pulls_the_ratio_down() {
    let samples = vec![sample(0, 800), sample(1, 800), sample(2, 0)];
    let pods = (0..3).map(pod).collect();
    let decision = run(
        &wide(),
        &inputs(3, pods, vec![cpu(80, samples)]),
        &Memory::default(),
    );
    // 1600 / 3000 = 53%: 0.6625 * 3 = 1.99.
    assert_eq!(decision.raw, Some(2));
}

#[test]
fn missing_pods_by_hand() {
    // (usages of pods with a value, pods without, target) -> raw, why.
    let rows: &[(&[i64], usize, i32, i32, Why)] = &[
        // Down: 20% of 2, missing 2 at 100%: 60% over 50%: the direction turns, hold.
        (&[200, 200], 2, 50, 4, Why::Reversed),
        // Down: 10% of 9, one missing at 100%: 19%: 0.38 * 10.
        (&[100; 9], 1, 50, 4, Why::Scaled),
        // A target over 100%: the missing one counts as the target, not as 100%: (9 * 100 + 200) / 10 = 110 of 200.
        (&[1_000; 9], 1, 200, 6, Why::Scaled),
        // Up: 100% of 2, two missing at 0: 50% of 50%: within tolerance, hold.
        (&[1_000, 1_000], 2, 50, 4, Why::ToleratedThen),
        // Up: 300% of 2, two at 0: 150%: 3 * 4.
        (&[3_000, 3_000], 2, 50, 12, Why::Scaled),
        // Exactly on target with a missing pod: it stays left out.
        (&[500, 500], 2, 50, 4, Why::ToleratedThen),
    ];
    for (values, missing, target, raw, why) in rows {
        let n = values.len() + missing;
        let samples = values
            .iter()
            .enumerate()
            .map(|(i, v)| sample(i, *v))
            .collect();
        let pods = (0..n).map(pod).collect();
        let decision = run(
            &wide(),
            &inputs(n as i32, pods, vec![cpu(*target, samples)]),
            &Memory::default(),
        );
        let proposal = decision.proposals[0].as_ref().unwrap();
        assert_eq!(
            (decision.raw, proposal.why),
            (Some(*raw), *why),
            "{values:?} {missing}"
        );
    }
}

#[test]
fn several_metrics_take_the_most_and_an_invalid_one_forbids_going_down() {
    let asks = |wanted: i64| Metric::External {
        target: Target::AverageValue(1_000),
        values: Some(vec![wanted * 1_000]),
    };
    let broken = || Metric::Pods {
        target: 1,
        samples: None,
    };
    let pods: Vec<Pod> = (0..5).map(pod).collect();
    let rows: Vec<(Vec<Metric>, Path, i32, &str)> = vec![
        (
            vec![asks(8), asks(3), asks(6)],
            Path::Metrics,
            8,
            "ValidMetricFound",
        ),
        (vec![asks(3), asks(2)], Path::Metrics, 3, "ValidMetricFound"),
        (
            vec![asks(8), broken()],
            Path::Metrics,
            8,
            "ValidMetricFound",
        ),
        (
            vec![broken(), asks(5)],
            Path::Metrics,
            5,
            "ValidMetricFound",
        ),
        (
            vec![broken(), asks(4)],
            Path::Failed,
            5,
            "FailedGetPodsMetric",
        ),
        (vec![broken()], Path::Failed, 5, "FailedGetPodsMetric"),
    ];
    for (metrics, path, desired, reason) in rows {
        let what = format!("{metrics:?}");
        let decision = run(
            &wide(),
            &inputs(5, pods.clone(), metrics),
            &Memory::default(),
        );
        assert_eq!((decision.path, decision.desired), (path, desired), "{what}");
        let active = decision
            .conditions
            .iter()
            .find(|c| c.kind == "ScalingActive");
        assert_eq!(active.unwrap().reason, reason, "{what}");
    }
}

#[test]
fn without_requests_utilization_has_no_base() {
    let mut pods: Vec<Pod> = (0..3).map(pod).collect();
    pods[1].requests.clear();
    let samples: Vec<Sample> = (0..3).map(|i| sample(i, 900)).collect();
    let decision = run(
        &wide(),
        &inputs(3, pods.clone(), vec![cpu(50, samples.clone())]),
        &Memory::default(),
    );
    assert_eq!(decision.path, Path::Failed);
    let invalid = decision.proposals[0].as_ref().unwrap_err();
    assert_eq!(invalid.reason, "FailedGetResourceMetric");
    assert_eq!(invalid.detail, "missing request for cpu in pod-1");
    // An average value needs none.
    let average = Metric::Resource {
        name: "cpu".into(),
        container: Some("app".into()),
        target: ResourceTarget::AverageValue(300),
        samples: Some(samples),
    };
    assert_eq!(
        run(&wide(), &inputs(3, pods, vec![average]), &Memory::default()).raw,
        Some(9)
    );
}

#[test]
fn a_sample_of_a_pod_that_is_gone_counts_in_the_number_of_samples_alone() {
    // 100% of one pod, one missing at 0, one sample of a pod that is no longer listed: 50% of 20%, times three samples.
    let samples = vec![sample(0, 1_000), sample(77, 9_000)];
    let decision = run(
        &wide(),
        &inputs(2, (0..2).map(pod).collect(), vec![cpu(20, samples)]),
        &Memory::default(),
    );
    assert_eq!(decision.raw, Some(8));
}

#[test]
fn from_zero_and_to_zero() {
    let spec = Spec {
        min: 0,
        max: 10,
        behavior: Some(free()),
    };
    let value = |v: i64| Metric::External {
        target: Target::Value(10_000),
        values: Some(vec![v]),
    };
    for (current, v, desired) in [
        (0, 0, 0),
        (0, 1, 1),
        (0, 10_500, 2),
        (0, 25_000, 3),
        (2, 0, 0),
    ] {
        let pods = (0..current as usize).map(pod).collect();
        let decision = run(
            &spec,
            &inputs(current, pods, vec![value(v)]),
            &Memory::default(),
        );
        assert_eq!(decision.desired, desired, "{current} at {v}");
    }
}

#[test]
fn own_tolerances_are_inclusive_each_way() {
    let mut behavior = free();
    behavior.up.tolerance = Some(0.05);
    behavior.down.tolerance = Some(0.5);
    let spec = Spec {
        min: 1,
        max: 100,
        behavior: Some(behavior),
    };
    for (value, desired) in [(105, 100), (106, 106), (50, 100), (49, 49), (0, 1)] {
        let decision = run(&spec, &asks(100, value), &Memory::default());
        assert_eq!(decision.desired, desired.min(100), "{value}");
        assert_eq!(
            decision.raw,
            Some(if value == 105 || value == 50 {
                100
            } else {
                value
            })
        );
    }
}

#[test]
fn memory_holds_what_the_next_syncs_need() {
    let spec = Spec {
        min: 1,
        max: 100,
        behavior: Some(Behavior::default()),
    };
    let mut memory = Memory::first(NOW - 15 * S, 2);
    let up = run(&spec, &asks(2, 50), &memory);
    assert_eq!(up.desired, 6);
    memory.note(NOW, &spec, &up);
    assert_eq!(memory.recommendations, [(NOW - 15 * S, 2), (NOW, 50)]);
    assert_eq!(memory.ups, [(NOW, 4)]);
    // Five seconds later the period's four are used up, and 100% of the 2 it began with is less.
    let mut again = asks(6, 50);
    again.now = NOW + 5 * S;
    assert_eq!(run(&spec, &again, &memory).desired, 6);
    again.now = NOW + 15 * S;
    assert_eq!(run(&spec, &again, &memory).desired, 12);
}
