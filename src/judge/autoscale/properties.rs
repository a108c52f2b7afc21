//! What must hold of the oracle for any input.

use proptest::prelude::*;

use super::cases::{NOW, S, cpu, inputs, pod, sample, secs, starting};
use super::*;

fn rules() -> impl Strategy<Value = Rules> {
    let policy = (any::<bool>(), 1..200i32, 1..1_800u64).prop_map(|(pods, value, period)| {
        let kind = if pods {
            PolicyKind::Pods
        } else {
            PolicyKind::Percent
        };
        Policy::new(kind, value, secs(period))
    });
    let select = prop_oneof![Just(Select::Max), Just(Select::Min), Just(Select::Disabled)];
    (
        prop::option::of(0..600u64),
        select,
        prop::collection::vec(policy, 1..4),
    )
        .prop_map(|(window, select, policies)| Rules {
            window: window.map(secs),
            select,
            policies,
            tolerance: None,
        })
}

fn spec() -> impl Strategy<Value = Spec> {
    let behavior = (rules(), rules()).prop_map(|(up, down)| Behavior { up, down });
    (0..20i32, 0..40i32, prop::option::of(behavior)).prop_map(|(min, more, behavior)| Spec {
        min,
        max: (min + more).max(1),
        behavior,
    })
}

fn history() -> impl Strategy<Value = Vec<(u64, i32)>> {
    let entry = (0..700u64, 0..60i32).prop_map(|(age, n)| (NOW - age * S, n));
    prop::collection::vec(entry, 0..12)
}

fn memory() -> impl Strategy<Value = Memory> {
    (history(), history(), history()).prop_map(|(recommendations, ups, downs)| Memory {
        recommendations,
        ups,
        downs,
    })
}

/// Some ready pods with usages, some without a value, some starting.
fn read(values: &[i64], missing: usize, unready: usize, current: i32) -> Inputs {
    let counted = values.len() + missing;
    let mut pods: Vec<Pod> = (0..counted).map(pod).collect();
    pods.extend((counted..counted + unready).map(starting));
    let samples = values.iter().enumerate().map(|(i, v)| sample(i, *v));
    inputs(current, pods, vec![cpu(50, samples.collect())])
}

/// Limits that hold this count, and a behavior: the legacy path catches up with older recommendations.
fn around(spec: &mut Spec, current: i32) {
    spec.min = spec.min.min(current);
    spec.max = spec.max.max(current);
    spec.behavior.get_or_insert_default();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn never_outside_the_limits(
        spec in spec(),
        memory in memory(),
        current in 0..80i32,
        values in prop::collection::vec(0..4_000i64, 1..20),
        missing in 0..5usize,
        unready in 0..5usize,
    ) {
        let inputs = read(&values, missing, unready, current);
        let decision = decide(&Controller::default(), &spec, &inputs, &memory);
        match decision.path {
            Path::Disabled => prop_assert_eq!(decision.desired, 0),
            // Not moved, so it is where it was: between the limits, or the first two paths had taken it.
            _ => prop_assert!(
                (spec.min..=spec.max).contains(&decision.desired),
                "{:?}", decision
            ),
        }
        prop_assert_eq!(decision.rescale, decision.desired != current);
    }

    #[test]
    fn more_load_never_asks_for_fewer(
        values in prop::collection::vec(0..4_000i64, 1..20),
        more in 0..2_000i64,
        missing in 0..5usize,
        unready in 0..5usize,
    ) {
        let current = (values.len() + missing + unready) as i32;
        let raised: Vec<i64> = values.iter().map(|v| v + more).collect();
        let raw = |values: &[i64]| {
            let inputs = read(values, missing, unready, current);
            decide(&Controller::default(), &super::cases::wide(), &inputs, &Memory::default()).raw
        };
        prop_assert!(raw(&raised) >= raw(&values), "{:?} {:?}", raw(&raised), raw(&values));
    }

    #[test]
    fn nothing_moves_within_tolerance(
        mut spec in spec(),
        memory in memory(),
        percent in 45..=55i64,
        n in 1..40usize,
    ) {
        around(&mut spec, n as i32);
        let inputs = read(&vec![percent * 10; n], 0, 0, n as i32);
        let decision = decide(&Controller::default(), &spec, &inputs, &memory);
        prop_assert_eq!(decision.raw, Some(n as i32));
        prop_assert_eq!(decision.desired, n as i32);
        prop_assert!(!decision.rescale);
    }

    #[test]
    fn it_never_moves_against_what_is_asked(
        mut spec in spec(),
        memory in memory(),
        values in prop::collection::vec(0..4_000i64, 1..20),
    ) {
        let current = values.len() as i32;
        around(&mut spec, current);
        let inputs = read(&values, 0, 0, current);
        let decision = decide(&Controller::default(), &spec, &inputs, &memory);
        let raw = decision.raw.unwrap();
        let towards = (decision.desired - current).signum();
        prop_assert!(towards == 0 || towards == (raw - current).signum());
        prop_assert!((decision.desired - current).abs() <= (raw - current).abs());
    }
}
