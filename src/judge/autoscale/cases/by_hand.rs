//! From the recommendation to the decision: windows, policies, limits, worked by hand.

use super::*;

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
#[rustfmt::skip]
fn legacy_path_by_hand() {
    type Row<'a> = (i32, i32, &'a [(u64, i32)], i32, i32, i32, &'a str, &'a str);
    let rows: &[Row] = &[
        // At most double a sync, but four from one or two.
        (1, 9, &[], 1, 100, 4, "true:SucceededRescale", "true:ScaleUpLimit"),
        (2, 9, &[], 1, 100, 4, "true:SucceededRescale", "true:ScaleUpLimit"),
        (3, 9, &[], 1, 100, 6, "true:SucceededRescale", "true:ScaleUpLimit"),
        (5, 10, &[], 1, 100, 10, "true:SucceededRescale", "false:DesiredWithinRange"),
        (5, 11, &[], 1, 100, 10, "true:SucceededRescale", "true:ScaleUpLimit"),
        // The maximum names itself where it is the tighter one, and where both are the same.
        (5, 11, &[], 1, 10, 10, "true:SucceededRescale", "true:TooManyReplicas"),
        (5, 11, &[], 1, 8, 8, "true:SucceededRescale", "true:TooManyReplicas"),
        (8, 11, &[], 1, 8, 8, "true:ReadyForNewScale", "true:TooManyReplicas"),
        // Going down there is no rate, but the window.
        (50, 2, &[], 1, 100, 2, "true:SucceededRescale", "false:DesiredWithinRange"),
        (50, 2, &[], 3, 100, 3, "true:SucceededRescale", "true:TooFewReplicas"),
        (50, 2, &[(299, 50)], 1, 100, 50, "true:ScaleDownStabilized", "false:DesiredWithinRange"),
        (50, 2, &[(300, 50)], 1, 100, 50, "true:ScaleDownStabilized", "false:DesiredWithinRange"),
        (50, 2, &[(301, 50)], 1, 100, 2, "true:SucceededRescale", "false:DesiredWithinRange"),
        (50, 2, &[(301, 90), (10, 30)], 1, 100, 30, "true:SucceededRescale", "false:DesiredWithinRange"),
        // The legacy window can even scale up: an old, higher recommendation that the limit held back.
        (4, 4, &[(15, 9)], 1, 100, 8, "true:SucceededRescale", "true:ScaleUpLimit"),
        (4, 4, &[(15, 7)], 1, 100, 7, "true:SucceededRescale", "false:DesiredWithinRange"),
        (10, 10, &[], 1, 100, 10, "true:ReadyForNewScale", "false:DesiredWithinRange"),
        (2, 0, &[], 1, 100, 1, "true:SucceededRescale", "true:TooFewReplicas"),
        (2, 0, &[], 0, 100, 0, "true:SucceededRescale", "false:DesiredWithinRange"),
        (1, 0, &[], 1, 100, 1, "true:ReadyForNewScale", "true:TooFewReplicas"),
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
#[rustfmt::skip]
fn behavior_path_by_hand() {
    type Row<'a> = (i32, i32, &'a [(u64, i32)], i32, i32, i32, &'a str, &'a str);
    let rows: &[Row] = &[
        (1, 99, &[], 1, 100, 5, "true:SucceededRescale", "true:ScaleUpLimit"),
        (4, 99, &[], 1, 100, 8, "true:SucceededRescale", "true:ScaleUpLimit"),
        (5, 99, &[], 1, 100, 10, "true:SucceededRescale", "true:ScaleUpLimit"),
        (5, 9, &[], 1, 100, 9, "true:SucceededRescale", "false:DesiredWithinRange"),
        (5, 99, &[], 1, 7, 7, "true:SucceededRescale", "true:TooManyReplicas"),
        (5, 99, &[], 1, 10, 10, "true:SucceededRescale", "true:TooManyReplicas"),
        (7, 99, &[], 1, 7, 7, "true:ReadyForNewScale", "true:TooManyReplicas"),
        // Down: the window holds at the highest of the last 300 s; exactly 300 s ago no longer counts here.
        (50, 2, &[(299, 50)], 1, 100, 50, "true:ScaleDownStabilized", "false:DesiredWithinRange"),
        (50, 2, &[(300, 50)], 1, 100, 2, "true:SucceededRescale", "false:DesiredWithinRange"),
        (50, 2, &[(200, 30)], 1, 100, 30, "true:SucceededRescale", "false:DesiredWithinRange"),
        (50, 2, &[(200, 70)], 1, 100, 50, "true:ScaleDownStabilized", "false:DesiredWithinRange"),
        (50, 2, &[], 9, 100, 9, "true:SucceededRescale", "true:TooFewReplicas"),
        (9, 2, &[], 9, 100, 9, "true:ReadyForNewScale", "true:TooFewReplicas"),
        // Unlike the legacy path, an old higher recommendation does not scale up.
        (4, 4, &[(15, 9)], 1, 100, 4, "true:ReadyForNewScale", "false:DesiredWithinRange"),
        (10, 10, &[], 1, 100, 10, "true:ReadyForNewScale", "false:DesiredWithinRange"),
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
#[rustfmt::skip]
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
