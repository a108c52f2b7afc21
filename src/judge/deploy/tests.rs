//! Rollouts of Deployment `shop`, whose pods are those of [`Sim::steady`]: for each rule the one that breaks it first.

use std::time::Duration;

use serde_json::{Value, json};

use crate::judge::testing::*;
use crate::judge::{Ruling, Verdict, judge};
use crate::record::{
    Incident, InstanceState, ObjectChange, ObjectEvent, Outcome, View, WatchEvent, What,
};
use crate::scenario::*;

/// How a rollout goes.
#[derive(Clone, Copy)]
struct Way {
    /// From the start of a new pod until it is ready, seconds.
    start: f64,
    /// From the new pod's readiness until its predecessor is told to end; negative: before it.
    handover: f64,
    /// From then until the predecessor is gone.
    drain: f64,
}

const HEALTHY: Way = Way {
    start: 3.0,
    handover: 0.1,
    drain: 3.0,
};

fn rolling(unavailable: Value, surge: Value) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}})
}

/// Deployment `shop` as a watch tells of it.
fn deployment(template: &str, rollout: &str, strategy: &Value) -> What {
    let facts = json!({"replicas": 3, "serves": true, "template": template, "rollout": rollout, "strategy": strategy});
    What::Object(ObjectEvent {
        object: "Deployment".into(),
        name: "shop".into(),
        change: ObjectChange::Changed,
        version: "1".into(),
        facts: serde_json::from_value(facts).unwrap(),
    })
}

/// 200 requests a second for 90 s to three pods of version `a`; a rollout must be complete within 30 s.
fn shop(strategy: &Value) -> Sim {
    let mut sim = Sim::steady(200, 90).expect(Expectation::Deploy(DeployExpectation {
        within: Duration::from_secs(30),
        settle: Duration::from_secs(10),
    }));
    sim.push(S, deployment("a", "complete", strategy));
    sim
}

fn one_more() -> Value {
    rolling(json!(0), json!(1))
}

/// Version `b` from `when` on, one pod after the other.
fn roll(sim: &mut Sim, when: f64, strategy: &Value, way: Way) {
    sim.push(at(when), deployment("b", "under-way", strategy));
    let mut now = when;
    for n in 1..=3 {
        let (old, new) = (format!("shop-{n}"), format!("new-{n}"));
        let ready = now + way.start;
        sim.push(at(now), instance(&new, "shop-4", InstanceState::Started));
        sim.push(at(ready), instance(&new, "shop-4", InstanceState::Ready));
        let told = ready + way.handover;
        sim.push(at(told), instance(&old, &old, InstanceState::Terminating));
        sim.push(
            at(told + way.drain),
            instance(&old, &old, InstanceState::Ended),
        );
        sim.change_on(&old, ready, 1e6, |r| r.instance = new.clone());
        now = ready + way.handover.max(0.0) + 0.1;
    }
    sim.push(at(now), deployment("b", "complete", strategy));
}

/// A healthy rollout at 30 s that squall asked for.
fn restarted() -> Sim {
    let strategy = one_more();
    let mut sim = shop(&strategy);
    sim.inject(FaultKind::RolloutRestart, "shop-1", 30.0, None);
    roll(&mut sim, 30.0, &strategy, HEALTHY);
    sim
}

fn verdict(sim: &Sim) -> Verdict {
    judge(&sim.record()).remove(0)
}

#[track_caller]
fn ruled(verdict: &Verdict, ruling: Ruling) -> String {
    assert_eq!(verdict.verdict, ruling, "{}", verdict.because);
    assert_eq!(verdict.missing.is_some(), ruling == Ruling::Inconclusive);
    verdict.because.clone()
}

/// What a pod has in hand when it is told to end is lost.
pub(in crate::judge) fn not_drained() -> Sim {
    let mut sim = restarted();
    sim.change(32.9, 33.1, |_, r| {
        if r.instance == "new-1" {
            r.instance = "shop-1".into();
            r.fail(Outcome::Reset, 200 * MS);
        }
    });
    sim
}

#[test]
fn pods_that_do_not_drain_fail() {
    let sim = not_drained();
    let because = ruled(&verdict(&sim), Ruling::Fail);
    insta::assert_snapshot!(because, @"rollout of Deployment shop at 30 s cost 7 of 4,600 requests (7 on pods told to end; before it 0 of 5,798): pods that are told to end do not drain, or not for long enough");
}

#[test]
fn what_the_generator_could_not_send_is_not_the_rollouts() {
    let mut sim = restarted();
    sim.change(32.9, 32.91, |_, r| r.fail(Outcome::Local, MS));
    ruled(&verdict(&sim), Ruling::Pass);
}

#[test]
fn pods_that_are_called_ready_too_early_fail() {
    let mut sim = restarted();
    for n in 1..=3 {
        sim.change_on(&format!("new-{n}"), 0.0, 45.0, |r| {
            r.fail(Outcome::Status, MS)
        });
    }
    let because = ruled(&verdict(&sim), Ruling::Fail);
    insta::assert_snapshot!(because, @"rollout of Deployment shop at 30 s cost 1,761 of 4,600 requests (1,761 on new pods; before it 0 of 5,798): new pods are called ready too early");
    // The last pod is ready when the rollout is complete: its first errors come after that.
    let mut sim = restarted();
    sim.change_on("new-3", 40.0, 42.0, |r| r.fail(Outcome::Status, MS));
    assert!(ruled(&verdict(&sim), Ruling::Fail).contains("on new pods"));
}

#[test]
fn fewer_ready_pods_than_the_strategy_allows_fail() {
    let strategy = one_more();
    let mut sim = shop(&strategy);
    let way = Way {
        handover: -1.0,
        ..HEALTHY
    };
    roll(&mut sim, 30.0, &strategy, way);
    let because = ruled(&verdict(&sim), Ruling::Fail);
    insta::assert_snapshot!(because, @"at 32 s only 2 pods were ready in the rollout of Deployment shop at 30 s, and its strategy asks for 3 all the time (maxUnavailable 0, maxSurge 1)");
    // The same rollout where one may be missing.
    let strategy = rolling(json!("34%"), json!(1));
    let mut sim = shop(&strategy);
    roll(&mut sim, 30.0, &strategy, way);
    ruled(&verdict(&sim), Ruling::Pass);
    // One that fails its probe in the middle is one too few, too.
    let mut sim = restarted();
    sim.push(
        at(34.5),
        instance("shop-3", "shop-3", InstanceState::NotReady),
    );
    sim.push(at(35.0), instance("shop-3", "shop-3", InstanceState::Ready));
    let because = ruled(&verdict(&sim), Ruling::Fail);
    assert!(
        because.contains("shop-3 had become not ready without being told to end"),
        "{because}"
    );
}

#[test]
fn what_else_is_wrong_is_told_after_the_errors() {
    let strategy = one_more();
    let mut sim = shop(&strategy);
    let way = Way {
        start: 11.0,
        handover: -1.0,
        drain: 3.0,
    };
    roll(&mut sim, 30.0, &strategy, way);
    sim.change(40.0, 40.2, |_, r| r.fail(Outcome::Refused, MS));
    let because = ruled(&verdict(&sim), Ruling::Fail);
    insta::assert_snapshot!(because, @"rollout of Deployment shop at 30 s cost 40 of 9,200 requests (40 that name no pod; before it 0 of 5,998); also: at 40 s only 2 pods were ready in the rollout of Deployment shop at 30 s, and its strategy asks for 3 all the time (maxUnavailable 0, maxSurge 1); also: rollout of Deployment shop at 30 s was complete only after 33.3 s, limit 30 s");
}

#[test]
fn more_pods_than_the_strategy_allows_fail_unless_for_a_moment() {
    let extra = |seconds: f64| {
        let mut sim = restarted();
        sim.push(at(31.0), instance("more", "shop-5", InstanceState::Started));
        sim.push(
            at(31.0 + seconds),
            instance("more", "shop-5", InstanceState::Terminating),
        );
        verdict(&sim)
    };
    let because = ruled(&extra(2.05), Ruling::Fail);
    insta::assert_snapshot!(because, @"from 31 s on there were 5 pods in the rollout of Deployment shop at 30 s, and its strategy allows 4 (maxUnavailable 0, maxSurge 1)");
    ruled(&extra(0.4), Ruling::Pass);
}

#[test]
fn a_rollout_that_is_late_or_never_complete_fails() {
    let strategy = one_more();
    let mut sim = shop(&strategy);
    let slow = Way {
        start: 11.0,
        ..HEALTHY
    };
    roll(&mut sim, 30.0, &strategy, slow);
    let because = ruled(&verdict(&sim), Ruling::Fail);
    insta::assert_snapshot!(because, @"rollout of Deployment shop at 30 s was complete only after 33.6 s, limit 30 s");

    let stuck = |when: f64| {
        let mut sim = shop(&strategy);
        sim.push(at(when), deployment("b", "under-way", &strategy));
        sim.push(
            at(when),
            instance("new-1", "shop-4", InstanceState::Started),
        );
        sim.push(
            at(when + 1.0),
            What::Incident {
                incident: Incident::ImagePull,
                instance: "new-1".into(),
                detail: "container shop: not found".into(),
            },
        );
        verdict(&sim)
    };
    let because = ruled(&stuck(30.0), Ruling::Fail);
    insta::assert_snapshot!(because, @"rollout of Deployment shop at 30 s was not complete within 30 s: new-1 is not ready, its image cannot be pulled (container shop: not found)");
    // The run ends before it is late.
    let because = ruled(&stuck(75.0), Ruling::Inconclusive);
    insta::assert_snapshot!(because, @"rollout of Deployment shop at 75 s was not complete when the run ended 16 s later");
}

/// A rollout of an image that does not exist, from 30 s to 50 s.
fn bad(strategy: &Value) -> Sim {
    let mut sim = shop(strategy);
    let image = "none".to_string();
    let number = sim.inject(FaultKind::BadRollout { image }, "shop-1", 30.0, Some(20));
    sim.push(at(30.01), deployment("b", "under-way", strategy));
    sim.push(
        at(30.1),
        instance("new-1", "shop-4", InstanceState::Started),
    );
    sim.undo(number, "shop", 50.0);
    sim.push(at(50.01), deployment("a", "under-way", strategy));
    sim.push(
        at(50.1),
        instance("new-1", "shop-4", InstanceState::Terminating),
    );
    sim.push(at(50.2), instance("new-1", "shop-4", InstanceState::Ended));
    sim
}

#[test]
fn a_bad_rollout_that_takes_the_service_down_fails_and_one_that_stops_passes() {
    let all = rolling(json!("100%"), json!(0));
    let mut sim = bad(&all);
    for name in names() {
        sim.push(at(30.2), instance(&name, &name, InstanceState::Terminating));
        sim.push(at(30.3), instance(&name, &name, InstanceState::Ended));
        sim.push(
            at(54.0),
            instance(&format!("{name}-b"), &name, InstanceState::Ready),
        );
    }
    sim.change(30.3, 54.0, |_, r| r.fail(Outcome::Refused, MS));
    sim.push(at(54.1), deployment("a", "complete", &all));
    let because = ruled(&verdict(&sim), Ruling::Fail);
    insta::assert_snapshot!(because, @"rollout of Deployment shop at 30 s cost 4,140 of 4,202 requests (4,140 that name no pod; before it 0 of 5,798); a version that cannot work must stop before users notice");

    let mut sim = bad(&one_more());
    sim.push(at(50.5), deployment("a", "complete", &one_more()));
    let verdict = verdict(&sim);
    let because = ruled(&verdict, Ruling::Pass);
    insta::assert_snapshot!(because, @"2 rollouts cost nothing; longest: rollout of Deployment shop at 30 s stopped by itself and cost none of 4,200 requests; never fewer than 3 pods ready, at least 3 asked for");
    let asked: Vec<&str> = verdict
        .evidence
        .iter()
        .filter(|e| e.what.starts_with("rollout of"))
        .map(|e| e.value.as_str())
        .collect();
    insta::assert_debug_snapshot!(asked, @r#"
    [
        "injection 1: bad-rollout, which is not meant to finish",
        "the undo of injection 1",
    ]
    "#);
}

#[test]
fn recreate_is_told_and_fails_for_its_errors() {
    let strategy = json!({"type": "Recreate"});
    let mut sim = shop(&strategy);
    sim.push(at(30.0), deployment("b", "under-way", &strategy));
    for n in 1..=3 {
        let old = format!("shop-{n}");
        sim.push(at(30.1), instance(&old, &old, InstanceState::Terminating));
        sim.push(at(30.2), instance(&old, &old, InstanceState::Ended));
        sim.push(
            at(34.0),
            instance(&format!("new-{n}"), &old, InstanceState::Started),
        );
        sim.push(
            at(35.0),
            instance(&format!("new-{n}"), &old, InstanceState::Ready),
        );
    }
    sim.change(30.1, 35.0, |_, r| r.fail(Outcome::Refused, MS));
    sim.push(at(35.1), deployment("b", "complete", &strategy));
    let because = ruled(&verdict(&sim), Ruling::Fail);
    insta::assert_snapshot!(because, @"rollout of Deployment shop at 30 s cost 980 of 3,200 requests (980 that name no pod; before it 0 of 5,998); the strategy Recreate ends all pods before it starts new ones");
}

#[test]
fn a_healthy_rollout_passes_whoever_asked_for_it() {
    let asked = verdict(&restarted());
    insta::assert_snapshot!(ruled(&asked, Ruling::Pass), @"rollout of Deployment shop at 30 s was complete after 9.6 s and cost none of 4,600 requests; never fewer than 3 pods ready, at least 3 asked for");
    let facts: Vec<String> = asked
        .evidence
        .iter()
        .map(|e| format!("{}: {}", e.what, e.value))
        .collect();
    insta::assert_snapshot!(facts.join("\n"), @r"
    rollout of Deployment shop: injection 1: rollout-restart
    strategy: maxUnavailable 0, maxSurge 1
    fewest pods ready: 3, at least 3 asked for
    most pods not ending: 4, at most 4 allowed
    pods: 3 told to end, 3 started
    slowest pod to become ready: new-3, 3 s after it was seen first
    complete: 9.6 s after it began
    last old pod gone: 12.5 s after it began
    requests failed until it had settled: 0 of 4,600
    how sure: of failed requests 95% interval 0% to 0.083%, n = 4,600 requests; before it 95% interval 0% to 0.066%, n = 5,798 requests; pods and times counted from their watch, n = 6 pods
    ");
    let strategy = one_more();
    let mut sim = shop(&strategy);
    roll(&mut sim, 30.0, &strategy, HEALTHY);
    ruled(&verdict(&sim), Ruling::Pass);
    // Slow to start, slow to end, and still in time.
    let mut sim = shop(&strategy);
    let slow = Way {
        start: 9.0,
        handover: 0.2,
        drain: 15.0,
    };
    roll(&mut sim, 30.0, &strategy, slow);
    ruled(&verdict(&sim), Ruling::Pass);
}

#[test]
fn what_fails_anyway_is_not_the_rollouts() {
    let mut sim = restarted();
    sim.change(0.0, 90.0, |i, r| {
        if i % 50 == 7 {
            r.fail(Outcome::Status, MS);
        }
    });
    let because = ruled(&verdict(&sim), Ruling::Pass);
    insta::assert_snapshot!(because, @"rollout of Deployment shop at 30 s was complete after 9.6 s and cost none of 4,600 requests more than before (92 of 4,600, 116 of 5,798 before); never fewer than 3 pods ready, at least 3 asked for");
}

#[test]
fn another_fault_at_the_same_time_is_named_and_its_own_errors_are_not_the_rollouts() {
    let killed = |mut sim: Sim| {
        sim.inject(FaultKind::Kill, "shop-3", 34.0, None);
        sim.push(at(34.0), instance("shop-3", "shop-3", InstanceState::Ended));
        sim.push(at(38.0), instance("heir", "shop-3", InstanceState::Ready));
        sim.change_on("shop-3", 34.0, 35.0, |r| r.fail(Outcome::Refused, MS));
        sim.change_on("shop-3", 35.0, 90.0, |r| r.instance = "new-1".into());
        verdict(&sim)
    };
    let because = ruled(&killed(restarted()), Ruling::Inconclusive);
    insta::assert_snapshot!(because, @"rollout of Deployment shop at 30 s cost 67 of 4,000 requests (67 that name no pod; before it 0 of 5,798); but kill of shop-3 at 34 s came at the same time, and they cannot be told apart");
    // Pods that the kill did not touch fail, too: that is the rollout's own.
    let mut sim = restarted();
    sim.change_on("new-1", 33.0, 34.0, |r| r.fail(Outcome::Status, MS));
    let because = ruled(&killed(sim), Ruling::Fail);
    insta::assert_snapshot!(because, @"rollout of Deployment shop at 30 s cost 134 of 4,000 requests (67 on new pods, 67 that name no pod; before it 0 of 5,798): new pods are called ready too early; 67 of them on pods that kill of shop-3 at 34 s did not hit");
}

#[test]
fn what_was_not_seen_is_inconclusive() {
    let unclear = |sim: &Sim| ruled(&verdict(sim), Ruling::Inconclusive);
    insta::assert_snapshot!(unclear(&shop(&one_more())), @"no rollout of the target's workload was seen while traffic ran");

    let mut gap = restarted();
    for (when, view) in [(32.0, View::Lost), (33.0, View::Relisted)] {
        let (of, detail) = ("pods".into(), String::new());
        gap.push(at(when), What::Watch(WatchEvent { of, view, detail }));
    }
    insta::assert_snapshot!(unclear(&gap), @"the watch of pods was lost at 32 s during the rollout of Deployment shop at 30 s: what happened then is not known");

    let mut under_way = shop(&one_more());
    under_way
        .events
        .retain(|e| !matches!(e.what, What::Object(_)));
    under_way.push(S, deployment("b", "under-way", &one_more()));
    under_way.push(at(5.0), deployment("b", "complete", &one_more()));
    insta::assert_snapshot!(unclear(&under_way), @"rollout of Deployment shop from before the run: complete 6 s later, but when it began was not seen");

    let mut quiet = restarted();
    quiet
        .requests
        .retain(|r| r.due < at(29.0) || r.due > at(60.0));
    insta::assert_snapshot!(unclear(&quiet), @"only 0 requests ended during the rollout of Deployment shop at 30 s");

    let mut late = shop(&one_more());
    roll(&mut late, 76.0, &one_more(), HEALTHY);
    insta::assert_snapshot!(unclear(&late), @"traffic ended at 90 s, less than 10 s after the rollout of Deployment shop at 76 s was over");

    let mut short = restarted();
    short.push(
        at(29.0),
        instance("shop-2", "shop-2", InstanceState::NotReady),
    );
    insta::assert_snapshot!(unclear(&short), @"only 2 of 3 pods were ready when the rollout of Deployment shop at 30 s began, and its strategy asks for 3 all the time");

    let strategy = json!({"type": "OnDelete"});
    let mut waits = shop(&strategy);
    waits.push(at(30.0), deployment("b", "under-way", &strategy));
    insta::assert_snapshot!(unclear(&waits), @"rollout of Deployment shop at 30 s waits for somebody to delete its pods: its strategy is OnDelete");
}

#[test]
fn other_workloads_and_scaling_are_no_rollouts() {
    let mut sim = shop(&one_more());
    let mut other = deployment("x", "complete", &one_more());
    let mut scaled = deployment("a", "replaced", &one_more());
    if let (What::Object(other), What::Object(scaled)) = (&mut other, &mut scaled) {
        other.name = "db".into();
        other.facts.insert("serves".into(), false.into());
        scaled.facts.insert("replicas".into(), 5.into());
    }
    sim.push(at(20.0), other.clone());
    if let What::Object(other) = &mut other {
        other.facts.insert("template".into(), "y".into());
    }
    sim.push(at(30.0), other);
    sim.push(at(40.0), scaled);
    let because = ruled(&verdict(&sim), Ruling::Inconclusive);
    assert!(because.starts_with("no rollout"), "{because}");
}
