//! Whole records of an autoscaled service: what is broken must FAIL, for its own reason; what is in order must not.

use serde_json::{Value, json};

use super::*;
use crate::judge::autoscale::invariants::check_all;
use crate::judge::testing::S;
use crate::judge::testing::autoscaled::{Plan, expected, run};
use crate::judge::{Ruling, Verdict};
use crate::record::{Event, WatchEvent};

fn verdict_of(record: &Record) -> Verdict {
    let verdicts = crate::judge::judge(record);
    let found = verdicts.into_iter().find(|v| v.oracle == "autoscale");
    found.expect("a verdict on the autoscaler")
}

/// The verdict of a plan must be this, with these words.
fn judged(plan: Plan, ruling: Ruling, words: &str) -> Verdict {
    let verdict = verdict_of(&run(plan));
    assert_eq!(verdict.verdict, ruling, "{verdict:#?}");
    assert!(verdict.because.contains(words), "{words}: {verdict:#?}");
    verdict
}

fn window(seconds: u64) -> Value {
    let mut spec = Plan::default().spec;
    spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] = seconds.into();
    spec
}

#[test]
fn a_controller_that_ignores_its_window_fails() {
    let plan = Plan {
        tamper: Box::new(|_, decision, memory| {
            memory.recommendations.clear();
            if let Some(raw) = decision.raw.filter(|raw| *raw < decision.current) {
                decision.desired = raw.max(1);
            }
        }),
        spec: window(200),
        ..Plan::default()
    };
    judged(plan, Ruling::Fail, "I3: went down from");
}

#[test]
fn a_foreign_writer_fails_by_name() {
    let foreign = |manager| Plan {
        foreign: Some((300, 2, manager)),
        ..Plan::default()
    };
    let named = "I8: kubectl-patch set 2 replicas (before: 5)";
    judged(foreign(Some("kubectl-patch")), Ruling::Fail, named);
    judged(
        foreign(None),
        Ruling::Fail,
        "I8: an unknown writer set 2 replicas",
    );
}

#[test]
fn a_maximum_that_is_too_low_fails() {
    let mut spec = Plan::default().spec;
    spec["maxReplicas"] = 2.into();
    let plan = Plan {
        spec,
        ..Plan::default()
    };
    judged(plan, Ruling::Fail, "maxReplicas 2 is too low for this load");
}

#[test]
fn a_metric_that_does_not_follow_the_load_fails() {
    let plan = Plan {
        wanted: Box::new(|_| 500),
        failing: 130..400,
        ..Plan::default()
    };
    judged(plan, Ruling::Fail, "the metric does not follow this load");
}

#[test]
fn flapping_fails_though_each_decision_is_right() {
    let plan = Plan {
        wanted: Box::new(|t| match (t / 30) % 2 {
            0 => 2_600,
            _ => 300,
        }),
        steps: vec![(0, 4)],
        spec: window(0),
        ..Plan::default()
    };
    judged(plan, Ruling::Fail, "flapping:");
}

#[test]
fn never_going_down_fails_though_its_status_never_changes() {
    let plan = Plan {
        tamper: Box::new(|_, decision, _| {
            if decision.desired < decision.current {
                decision.desired = decision.current;
                decision.conditions.retain(|c| c.kind != "AbleToScale");
            }
        }),
        ..Plan::default()
    };
    judged(plan, Ruling::Fail, "stayed at 5 replicas");
}

#[test]
fn a_target_that_is_not_there_fails() {
    let plan = Plan {
        no_target: true,
        ..Plan::default()
    };
    judged(
        plan,
        Ruling::Fail,
        "cannot scale its target Deployment/shop (FailedGetScale)",
    );
}

#[test]
fn a_utilization_of_nothing_fails() {
    let plan = Plan {
        request: None,
        ..Plan::default()
    };
    let verdict = judged(plan, Ruling::Fail, "requests no cpu");
    assert!(verdict.because.contains("container web of pod shop-1"));
}

#[test]
fn a_scale_up_that_gets_no_traffic_fails() {
    let plan = Plan {
        pinned: true,
        ..Plan::default()
    };
    judged(plan, Ruling::Fail, "the scale-up did not help");
}

#[test]
fn a_scale_up_that_gets_no_traffic_fails_though_a_pod_too_many_is_taken_back() {
    let plan = Plan {
        pinned: true,
        spec: window(30),
        wanted: Box::new(|t| match t {
            120..140 => 2_600,
            140..420 => 1_900,
            _ => 300,
        }),
        ..Plan::default()
    };
    let record = run(plan);
    let counts = gather(&record, &expected()).unwrap().timeline.writes;
    let counts: Vec<i32> = counts.iter().map(|w| w.to).collect();
    assert_eq!(counts[..2], [5, 4]);
    let verdict = verdict_of(&record);
    assert_eq!(verdict.verdict, Ruling::Fail, "{verdict:#?}");
    assert!(
        verdict.because.contains("the scale-up did not help"),
        "{verdict:#?}"
    );
}

#[test]
fn one_that_scales_with_its_load_passes() {
    let record = run(Plan::default());
    let verdict = verdict_of(&record);
    assert_eq!(verdict.verdict, Ruling::Pass, "{verdict:#?}");
    let gathered = gather(&record, &expected()).unwrap();
    let timeline = &gathered.timeline;
    let counts: Vec<i32> = timeline.writes.iter().map(|w| w.to).collect();
    assert_eq!(counts, [5, 1]);
    let replayed = timeline.replay();
    let exact = replayed.iter().filter(|r| r.expected.is_exact()).count();
    // Not so the one before there was a sample, and one at which the new pods' samples had just come.
    assert!(
        exact + 2 >= replayed.len(),
        "{exact} of {}: {replayed:#?}",
        replayed.len()
    );
    let links: Vec<&str> = verdict.evidence.iter().map(|e| e.what.as_str()).collect();
    for link in [
        "metric crosses",
        "autoscaler decides",
        "pod ready",
        "first request served",
    ] {
        assert!(links.contains(&link), "{link}: {links:?}");
    }
}

#[test]
fn what_is_in_order_passes_at_its_edges() {
    let plan = |spec: Value| Plan {
        spec,
        ..Plan::default()
    };
    // A window of whole periods: the last high recommendation is exactly as old as the window when it is left.
    judged(plan(window(45)), Ruling::Pass, "");
    let rollout = Plan {
        rollout: Some(250),
        ..Plan::default()
    };
    judged(rollout, Ruling::Pass, "");
    let leader = Plan {
        leader_change: Some(200),
        ..Plan::default()
    };
    judged(leader, Ruling::Pass, "");
    let legacy = {
        let mut spec = Plan::default().spec;
        spec.as_object_mut().unwrap().remove("behavior");
        Plan {
            spec,
            seconds: 1_100,
            ..Plan::default()
        }
    };
    judged(legacy, Ruling::Pass, "");
}

#[test]
fn what_this_run_scaled_itself_is_no_foreign_writer() {
    let mut record = run(Plan {
        foreign: Some((300, 2, Some("squall"))),
        ..Plan::default()
    });
    record.events.push(Event {
        at: 300 * S - 1,
        what: What::Fault(crate::record::FaultEvent {
            injection: 1,
            spec: 0,
            name: "scale web".into(),
            fault: "scale".into(),
            stage: FaultStage::Injecting,
            instances: vec!["shop-1".into()],
            detail: None,
        }),
    });
    record.events.sort_by_key(|e| e.at);
    let gathered = gather(&record, &expected()).unwrap();
    for check in check_all(&gathered.timeline) {
        assert_eq!(check.violations, [], "{}", check.id);
    }
}

#[test]
fn what_cannot_be_known_is_inconclusive() {
    // One decision as a controller would make it that has just begun.
    let forgetful = |leader_seen| Plan {
        leader_seen,
        // What it forgets makes it wait for longer than it had to.
        leader_change: Some(470),
        ..Plan::default()
    };
    judged(forgetful(true), Ruling::Pass, "");
    let why = "a restart of the controller, which was not watched";
    judged(forgetful(false), Ruling::Inconclusive, why);
    let still = Plan {
        wanted: Box::new(|_| 500),
        ..Plan::default()
    };
    judged(still, Ruling::Inconclusive, "had nothing to do");

    let mut blind = run(Plan::default());
    for (at, view) in [(200 * S, View::Lost), (201 * S, View::Resumed)] {
        let what = What::Watch(WatchEvent {
            of: "horizontalpodautoscalers".into(),
            view,
            detail: String::new(),
        });
        blind.events.push(Event { at, what });
    }
    blind.events.sort_by_key(|e| e.at);
    let verdict = verdict_of(&blind);
    assert_eq!(verdict.verdict, Ruling::Inconclusive, "{verdict:#?}");

    let mut none = run(Plan::default());
    none.events
        .retain(|e| !matches!(&e.what, What::Object(o) if o.object == HPA));
    let verdict = verdict_of(&none);
    assert_eq!(verdict.verdict, Ruling::Inconclusive);
    assert!(
        verdict
            .because
            .contains("tells of no HorizontalPodAutoscaler")
    );
}

#[test]
fn published_metrics_are_found_by_what_they_are() {
    let spec = json!({"metrics": [
        {"type": "Pods", "pods": {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "10"}}},
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}},
        {"type": "External", "external": {"metric": {"name": "lag"}, "target": {"type": "Value", "value": "30"}}},
        {"type": "ContainerResource", "containerResource": {"name": "memory", "container": "web",
            "target": {"type": "AverageValue", "averageValue": "64Mi"}}}]});
    let asked = metrics::asked(&spec);
    let status = json!([
        {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 77, "averageValue": "77m"}}},
        {"type": ""},
        {"type": "ContainerResource", "containerResource": {"name": "memory", "container": "web",
            "current": {"averageValue": "32Mi"}}},
        {"type": "Pods", "pods": {"metric": {"name": "queue"}, "current": {"averageValue": "2500m"}}}]);
    let mib = 1024 * 1024 * 1000;
    let expected = [
        Published::Average {
            mean: 2_500,
            target: 10_000,
        },
        Published::Utilization {
            percent: 77,
            target: 50,
        },
        Published::Invalid,
        Published::Average {
            mean: 32 * mib,
            target: 64 * mib,
        },
    ];
    assert_eq!(metrics::published(&asked, Some(&status)), expected);
    assert_eq!(metrics::published(&asked, None), []);
}

#[test]
fn metrics_of_one_name_are_told_apart_by_their_series() {
    let queue =
        |name: &str| json!({"name": "length", "selector": {"matchLabels": {"queue": name}}});
    let service = |name: &str| json!({"kind": "Service", "name": name, "apiVersion": "v1"});
    let target = json!({"type": "Value", "value": "30"});
    let asked = metrics::asked(&json!({"metrics": [
        {"type": "External", "external": {"metric": queue("orders"), "target": target}},
        {"type": "External", "external": {"metric": queue("mails"), "target": target}},
        {"type": "Object", "object": {"metric": {"name": "rate"}, "describedObject": service("a"), "target": target}},
        {"type": "Object", "object": {"metric": {"name": "rate"}, "describedObject": service("b"), "target": target}}]}));
    let status = json!([
        {"type": "External", "external": {"metric": queue("mails"), "current": {"value": "1"}}},
        {"type": "Object", "object": {"metric": {"name": "rate"}, "describedObject": service("b"), "current": {"value": "2"}}},
        {"type": "External", "external": {"metric": queue("orders"), "current": {"value": "90"}}},
        {"type": ""}]);
    let value = |value| Published::Value {
        value,
        target: 30_000,
    };
    assert_eq!(
        metrics::published(&asked, Some(&status)),
        [
            value(90_000),
            value(1_000),
            Published::Invalid,
            value(2_000)
        ]
    );
}
