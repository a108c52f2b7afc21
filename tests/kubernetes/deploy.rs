//! Rollouts of the demo service in the cluster, and the loss of each of its pods and nodes, under load.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::bed::{Bed, until};
use crate::harness::with_bed;
use crate::whole::{quick_demo, run_of};

/// Four pods that take 400 ms for an answer, and 100 requests a second while they are rolled out or lost; the first verdict, once
/// more where the machine was too busy for one. `meanwhile` runs once traffic does.
fn rolled(
    bed: &Bed,
    name: &str,
    defect: &[&str],
    faults: &str,
    expect: &str,
    meanwhile: impl Fn(&str),
) -> Value {
    let mut verdict = Value::Null;
    for _ in 0..3 {
        let (ns, dir, counters) = (
            bed.namespace(name),
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
        );
        let slow = ["--defect", "slow:400ms"];
        quick_demo(bed, &ns, counters.path(), &[&slow, defect].concat());
        let text = format!(
            "squall: 1\nname: a rollout of {ns}\nseed: 4\ntarget:\n  kubernetes: {{ kubeconfig: {}, namespace: {ns}, service: web }}\n\
             traffic:\n  browse:\n    arrivals: {{ rate: 100/s, hold: 75s }}\n    timeout: 5s\n    \
             connections: {{ mode: per-user, max-age: 2s }}\n    journey: [ get: /products ]\n\
             {faults}expect: [ {expect} ]\n",
            bed.kubeconfig.display()
        );
        if defect.iter().any(|d| d.starts_with("ready-early")) {
            // The first pods are as early as those of the rollout: what they cost is not what is tried here.
            std::thread::sleep(std::time::Duration::from_secs(5));
        }
        let mut child = run_of(dir.path(), &text).spawn().expect("squall");
        until("the run's traffic", || has_traffic(dir.path()));
        meanwhile(&ns);
        child.wait().unwrap();
        let result = std::fs::read_to_string(dir.path().join("run/result.json")).expect("a result");
        let result: Value = serde_json::from_str(&result).unwrap();
        verdict = result["verdicts"][0].clone();
        eprintln!("{}: {}", verdict["verdict"], verdict["because"]);
        for fact in verdict["evidence"].as_array().unwrap() {
            eprintln!("  {}: {}", fact["what"], fact["value"]);
        }
        if verdict["verdict"] != "INCONCLUSIVE" {
            break;
        }
    }
    verdict
}

/// Some seconds of it: what fails anyway is known then.
fn has_traffic(dir: &Path) -> bool {
    let record = std::fs::read_to_string(dir.join("run/record.jsonl")).unwrap_or_default();
    record.matches("\"kind\":\"traffic\"").count() >= 5
}

#[track_caller]
fn says(verdict: &Value, ruling: &str, words: &[&str]) {
    assert_eq!(verdict["verdict"], ruling, "{verdict:#}");
    let because = verdict["because"].as_str().unwrap();
    for word in words {
        assert!(because.contains(word), "no `{word}` in: {because}");
    }
}

const DEPLOY: &str = "deploy: { within: 45s, settle: 5s }";
const RESTART: &str = "faults:\n  - { at: 8s, rollout-restart: {} }\n";

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_rollout_of_pods_that_drop_what_they_have_in_hand_fails_and_one_of_pods_that_drain_passes() {
    with_bed(|bed| async move {
        let verdict = rolled(
            &bed,
            "t-deploy-drops",
            &["--defect", "no-drain"],
            RESTART,
            DEPLOY,
            |_| {},
        );
        says(
            &verdict,
            "FAIL",
            &[
                "rollout of Deployment web at",
                "on pods told to end",
                "do not drain",
            ],
        );
        let verdict = rolled(&bed, "t-deploy-drains", &[], RESTART, DEPLOY, |_| {});
        says(
            &verdict,
            "PASS",
            &["was complete after", "cost none of", "at least 3 asked for"],
        );
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_rollout_from_outside_to_pods_that_are_ready_too_early_fails() {
    with_bed(|bed| async move {
        let restart = |ns: &str| {
            let done = Command::new("kubectl")
                .args(["-n", ns, "rollout", "restart", "deployment/web"])
                .env("KUBECONFIG", &bed.kubeconfig)
                .output();
            assert!(done.unwrap().status.success());
        };
        let verdict = rolled(
            &bed,
            "t-deploy-early",
            &["--defect", "ready-early:3s"],
            "",
            DEPLOY,
            restart,
        );
        says(&verdict, "FAIL", &["on new pods", "ready too early"]);
        let asked = &verdict["evidence"][0]["value"];
        assert!(
            asked.as_str().unwrap().contains("somebody else"),
            "{verdict:#}"
        );
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_bad_rollout_that_stops_passes_and_one_that_takes_all_pods_fails() {
    with_bed(|bed| async move {
        let faults = "faults:\n  - { at: 8s, for: 15s, bad-rollout: {} }\n";
        let verdict = rolled(&bed, "t-deploy-bad", &[], faults, DEPLOY, |_| {});
        says(&verdict, "PASS", &["2 rollouts cost nothing"]);
        // Before its time comes the strategy is made one that ends all old pods at once: the template stays as it is.
        let all =
            r#"{"spec":{"strategy":{"rollingUpdate":{"maxUnavailable":"100%","maxSurge":0}}}}"#;
        let allow_all = |ns: &str| {
            bed.kubectl(&["-n", ns, "patch", "deployment", "web", "-p", all]);
        };
        let verdict = rolled(&bed, "t-deploy-down", &[], faults, DEPLOY, allow_all);
        says(&verdict, "FAIL", &["must stop before users notice"]);
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn each_pod_and_each_node_can_be_lost() {
    with_bed(|bed| async move {
        let faults = "faults:\n  - { at: 8s, every: 11s, pod-kill: { pick: each, grace: 30s } }\nguard: { keep-ready: 3 }\n";
        let expect = "spread: { over: instance, errors: 2%, within: 8s }";
        let verdict = rolled(&bed, "t-spread-pods", &[], faults, expect, |_| {});
        says(
            &verdict,
            "PASS",
            &["each of 4 instances was lost and not missed"],
        );
        // What takes its place answers 503 for a while, to a quarter of the traffic.
        let early = ["--defect", "ready-early:6s"];
        let verdict = rolled(&bed, "t-spread-early", &early, faults, expect, |_| {});
        says(&verdict, "FAIL", &["cannot be lost"]);
        let faults =
            "faults:\n  - { at: 8s, every: 25s, for: 12s, drain: { pick: each, deadline: 20s } }\n";
        let expect = "spread: { over: node, errors: 2%, within: 15s }";
        // All pods stand on the second node when its turn comes: only a budget keeps them from going at once.
        let verdict = rolled(&bed, "t-spread-nodes", &[], faults, expect, |ns| {
            bed.budget(ns, 2);
        });
        says(
            &verdict,
            "PASS",
            &["each of 2 nodes was lost and not missed"],
        );
    });
}
