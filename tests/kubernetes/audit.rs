//! `squall audit` against the cluster: what is wrong is found, and what is mended is not.

use std::process::Command;

use serde_json::{Value, json};

use crate::bed::{Bed, SERVE};
use crate::harness::with_bed;

/// Exit code, findings (`rule object`) and standard error of an audit.
fn audit(bed: &Bed, namespace: &str) -> (i32, Vec<String>, String) {
    let ran = Command::new(env!("CARGO_BIN_EXE_squall"))
        .args(["audit", "--format", "json", "--namespace", namespace])
        .arg("--kubeconfig")
        .arg(&bed.kubeconfig)
        .output()
        .expect("squall");
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    let audit: Value = serde_json::from_slice(&ran.stdout).unwrap_or_default();
    eprintln!("{audit:#}{said}");
    let findings = audit["findings"].as_array().cloned().unwrap_or_default();
    let word = |f: &Value, key: &str| f[key].as_str().unwrap_or_default().to_string();
    let rules = findings
        .iter()
        .map(|f| format!("{} {}", word(f, "rule"), word(f, "object")));
    (ran.status.code().unwrap_or(-1), rules.collect(), said)
}

fn budget(bed: &Bed, namespace: &str, name: &str, app: &str, max_unavailable: Value) {
    bed.apply(
        &json!({"apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"maxUnavailable": max_unavailable, "selector": {"matchLabels": {"app": app}}}}),
    );
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn an_audit_finds_what_would_break_and_nothing_once_it_is_mended() {
    with_bed(|bed| async move {
        let ns = &*bed.namespace("t-audit");
        bed.web(ns, 1, SERVE);
        budget(&bed, ns, "web", "web", json!(0));
        budget(&bed, ns, "old", "gone", json!(1));
        let (code, found, _) = audit(&bed, ns);
        assert_eq!(code, 1);
        let expected = [
            "one-replica Deployment/web",
            "budget-forbids-drains PodDisruptionBudget/web",
            "budget-selects-nothing PodDisruptionBudget/old",
        ];
        assert_eq!(found, expected);

        budget(&bed, ns, "web", "web", json!(1));
        bed.kubectl(&["-n", ns, "delete", "poddisruptionbudget", "old"]);
        // One on each node, by force: where the scheduler puts them is not what is tried here. The old one must go
        // before its node can take a new one.
        let room = json!({"rollingUpdate": {"maxUnavailable": 1}});
        let apart = json!({"spec": {"replicas": 2, "strategy": room, "template": {"spec": {"affinity": {"podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "kubernetes.io/hostname",
                "labelSelector": {"matchLabels": {"app": "web"}}}]}}}}}});
        let apart = apart.to_string();
        bed.kubectl(&["-n", ns, "patch", "deployment", "web", "-p", &apart]);
        bed.rolled_out(ns, "deployment/web", 90);
        let (code, found, _) = audit(&bed, ns);
        assert_eq!((code, found.as_slice()), (0, &[][..]));

        let (code, _, said) = audit(&bed, "no-such-namespace");
        assert_eq!(code, 5, "{said}");
        assert!(
            said.contains("stands behind a Service in namespace no-such-namespace"),
            "{said}"
        );
    });
}
