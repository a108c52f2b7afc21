//! Cases made by loops; the expected counts are worked in whole numbers.

use super::*;
use crate::judge::autoscale::{down_limit, up_limit};

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
