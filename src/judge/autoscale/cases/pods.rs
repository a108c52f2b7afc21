//! From pods and metrics to the recommendation, worked by hand.

use super::*;

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
#[rustfmt::skip]
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
        ("lost readiness", |p| p.ready = state(false, 100), groups(3, 0, 0), 6),
        ("node lost", |p| { p.ready = Some(Readiness { status: None, since: NOW, }) }, groups(3, 0, 0), 6),
        // Turned unready 29 s after its start: it never was ready. At 30 s it may have been.
        ("never ready", |p| p.ready = state(false, 3_571), groups(2, 1, 0), 4),
        ("ready for a moment", |p| p.ready = state(false, 3_570), groups(3, 0, 0), 6),
        // Younger than 5 min: the sample (10 s old, over 30 s) must begin after it became ready.
        ("young, unready", |p| young(p, false, 100), groups(2, 1, 0), 4),
        ("young, sample from before", |p| young(p, true, 39), groups(2, 1, 0), 4),
        ("young, sample from after", |p| young(p, true, 40), groups(3, 0, 0), 6),
        // Exactly 5 min old: no longer young.
        ("grown up", |p| { p.started = Some(NOW - 300 * S); p.ready = state(true, 5); }, groups(3, 0, 0), 6),
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
#[rustfmt::skip]
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
#[rustfmt::skip]
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
        (vec![asks(8), asks(3), asks(6)], Path::Metrics, 8, "ValidMetricFound"),
        (vec![asks(3), asks(2)], Path::Metrics, 3, "ValidMetricFound"),
        (vec![asks(8), broken()], Path::Metrics, 8, "ValidMetricFound"),
        (vec![broken(), asks(5)], Path::Metrics, 5, "ValidMetricFound"),
        (vec![broken(), asks(4)], Path::Failed, 5, "FailedGetPodsMetric"),
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
