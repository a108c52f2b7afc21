//! Somebody else has a hand in it: what a fault has changed is changed again, removed or spoilt while it is in force.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use squall::platform::kubernetes::UNDO_ANNOTATION;
use squall::platform::{Change, Platform, PlatformError};
use squall::record::What;
use squall::scenario::{Direction, FaultKind};

use crate::bed::{Bed, DEMO, IMAGE, SERVE, until};
use crate::guarded::{aborted, squall};
use crate::harness::{run, says, target, with_bed};
use crate::killed::{prepared, replicas};
use crate::partition::cut;
use crate::whole::run_of;

fn leases(bed: &Bed, ns: &str) -> Value {
    bed.json(&["-n", ns, "get", "leases"])["items"].clone()
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn what_cannot_be_taken_back_keeps_nothing_else_in_place() {
    with_bed(|bed| async move {
        let (ns, dir) = (&*prepared(&bed, "t-spoilt"), tempfile::tempdir().unwrap());
        let text = format!(
            "squall: 1\nname: spoilt in {ns}\nseed: 7\n\
             target:\n  kubernetes: {{ kubeconfig: {}, namespace: {ns}, service: web, \
             guardian: {{ image: \"{DEMO}\", pull: never }} }}\n\
             traffic:\n  slow:\n    arrivals: {{ rate: 2/s, hold: 3m }}\n    journey: [ get: /index.html ]\n\
             faults:\n  - {{ at: 1s, for: 2m, scale: {{ replicas: 2 }} }}\n  - {{ at: 3s, for: 2m, cordon: {{}} }}\n\
             expect: [ errors < 99% ]\n",
            bed.kubeconfig.display()
        );
        let mut child = run_of(dir.path(), &text).spawn().unwrap();
        let mut node = String::new();
        until("the node to be cordoned", || {
            let nodes = bed.json(&["get", "nodes"]);
            let mut all = nodes["items"].as_array().unwrap().iter();
            let found = all.find(|n| n["spec"]["unschedulable"] == true);
            let name = found.and_then(|n| n["metadata"]["name"].as_str());
            node = name.unwrap_or_default().into();
            !node.is_empty() && replicas(&bed, ns) == 2
        });
        // The later change, which is taken back first.
        let spoilt = format!("{UNDO_ANNOTATION}={{");
        bed.kubectl(&["annotate", "node", &node, "--overwrite", &spoilt]);
        let killed = Instant::now();
        child.kill().unwrap();
        child.wait().unwrap();
        until("the Deployment to be put back", || replicas(&bed, ns) == 3);
        eprintln!(
            "put back {:.1} s after the kill",
            killed.elapsed().as_secs_f64()
        );
        let ledger =
            leases(&bed, ns)[0]["metadata"]["annotations"]["squall.dev/ledger"].to_string();
        assert!(
            ledger.contains("Node") && !ledger.contains("Deployment"),
            "{ledger}"
        );
        // Once somebody has put that right, all is over.
        let gone = format!("{UNDO_ANNOTATION}-");
        bed.kubectl(&["annotate", "node", &node, &gone]);
        bed.kubectl(&["uncordon", &node]);
        until("the lease to be gone", || leases(&bed, ns) == json!([]));
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn what_somebody_else_decides_meanwhile_is_not_overwritten() {
    with_bed(|bed| async move {
        let ns = &*bed.namespace("t-decides");
        bed.web(ns, 2, SERVE);
        let run = run(&target(&bed, ns)).await;
        let name = run.names()[0].clone();
        let undo = run.apply(FaultKind::Scale { replicas: 1 }, &name).await;
        let undo = undo.expect("scale").expect("an undo");
        bed.kubectl(&["-n", ns, "scale", "deployment/web", "--replicas=4"]);
        run.platform.undo(&undo).await.expect("undo");
        let web = bed.json(&["-n", ns, "get", "deployment", "web"]);
        assert_eq!(web["spec"]["replicas"], 4, "that is what they asked for");
        assert_eq!(web["metadata"]["annotations"].get(UNDO_ANNOTATION), None);
        let said = "Deployment web was changed by somebody else";
        run.told(
            "a word of it",
            |w| matches!(w, What::Note { text, .. } if text.starts_with(said)),
        )
        .await;

        // Its pods are left behind, the workload itself is gone: nothing is there to be scaled.
        bed.rolled_out(ns, "deployment/web", 60);
        bed.kubectl(&["-n", ns, "delete", "deployment", "web", "--cascade=orphan"]);
        let left = run
            .platform
            .instances()
            .into_iter()
            .find(|i| i.ready)
            .unwrap();
        let scaled = run
            .apply(FaultKind::Scale { replicas: 0 }, &left.name)
            .await;
        says(
            &scaled.unwrap_err(),
            &["Deployment web is gone", "nothing was done"],
        );
        run.platform.stop().await.unwrap();
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_run_that_has_lost_its_target_to_another_is_undone_and_over() {
    with_bed(|bed| async move {
        let (ns, dir) = (&*bed.namespace("t-lost"), tempfile::tempdir().unwrap());
        bed.web(ns, 3, SERVE);
        let faults = "  - { at: 1s, for: 2m, scale: { replicas: 2 } }\n";
        let child = squall(&bed, ns, dir.path(), faults, "max-faults: 9");
        until("the scaled Deployment", || replicas(&bed, ns) == 2);
        let holder = r#"{"spec": {"holderIdentity": "another run"}}"#;
        bed.kubectl(&[
            "-n",
            ns,
            "patch",
            "lease",
            "squall-web",
            "--type=merge",
            "-p",
            holder,
        ]);
        let end = aborted(child, dir.path());
        assert!(end.contains("lost to another run"), "{end}");
        assert_eq!(replicas(&bed, ns), 3, "undone");
        let lease = &leases(&bed, ns)[0];
        assert_eq!(
            lease["spec"]["holderIdentity"], "another run",
            "theirs is left alone"
        );
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_pod_that_nothing_would_bring_back_is_not_taken_away() {
    with_bed(|bed| async move {
        let ns = &*bed.namespace("t-solo");
        bed.web(ns, 1, SERVE);
        bed.apply(&json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "solo", "namespace": ns, "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": IMAGE, "imagePullPolicy": "Never",
                "command": ["/bin/sh", "-c", SERVE], "ports": [{"name": "http", "containerPort": 8080}]}]}}));
        let run = run(&target(&bed, ns)).await;
        run.told_now("the pod to be ready", |r| {
            let mut all = r.platform.instances().into_iter();
            all.any(|i| i.name == "solo" && i.ready)
        })
        .await;
        let (before, deadline) = (bed.uids(ns), Duration::from_secs(9));
        for fault in [
            FaultKind::PodKill { grace: None },
            FaultKind::Evict { deadline },
            FaultKind::Drain { deadline },
        ] {
            let error = run.apply(fault, "solo").await.unwrap_err();
            assert!(matches!(error, PlatformError::Refused(_)), "{error:?}");
            says(&error, &["pod solo belongs to no workload"]);
        }
        assert_eq!(bed.uids(ns), before, "nothing was done");
        let nodes = bed.kubectl(&["get", "nodes"]);
        assert!(!nodes.contains("SchedulingDisabled"), "{nodes}");
        run.platform.stop().await.unwrap();
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_partition_of_a_pod_that_is_marked_already_leaves_no_policy() {
    with_bed(|bed| async move {
        let ns = &*bed.namespace("t-marked");
        bed.web(ns, 2, SERVE);
        let run = run(&target(&bed, ns)).await;
        let change = Change {
            kind: cut(Direction::Ingress, &[], &[]),
            instance: run.names()[0].clone(),
        };
        let mark = "squall.dev/changed=7";
        bed.kubectl(&["-n", ns, "label", "pod", &change.instance, mark]);
        let undo = run.platform.undo_of(&change).unwrap().expect("an undo");
        let error = run.platform.apply(&change).await.unwrap_err();
        says(&error, &["changed already"]);
        run.platform.undo(&undo).await.expect("undo");
        let policies = bed.json(&["-n", ns, "get", "networkpolicies"]);
        assert_eq!(policies["items"], json!([]), "{error:?}");
        run.platform.stop().await.unwrap();
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_note_that_a_rollback_has_put_back_is_none() {
    with_bed(|bed| async move {
        let ns = &*bed.namespace("t-rollback");
        bed.web(ns, 2, SERVE);
        let run = run(&target(&bed, ns)).await;
        let scaled = FaultKind::Scale { replicas: 1 };
        let undo = run.apply(scaled.clone(), &run.names()[0]).await;
        let undo = undo.expect("scale").expect("an undo");
        until("the scaled Deployment to be seen", || {
            let sets = bed.kubectl(&["-n", ns, "get", "replicasets", "-o", "yaml"]);
            sets.contains(UNDO_ANNOTATION)
        });
        run.platform.undo(&undo).await.expect("undo");
        // Back to what its pods were made from before, with the annotations of that time.
        bed.kubectl(&["-n", ns, "rollout", "restart", "deployment/web"]);
        bed.rolled_out(ns, "deployment/web", 90);
        bed.kubectl(&["-n", ns, "rollout", "undo", "deployment/web"]);
        bed.rolled_out(ns, "deployment/web", 90);
        let web = || bed.json(&["-n", ns, "get", "deployment", "web"]);
        assert!(web()["metadata"]["annotations"][UNDO_ANNOTATION].is_string());
        run.told_now("two pods", |r| r.names().len() == 2).await;
        let undo = run.apply(scaled, &run.names()[0]).await;
        let undo = undo.expect("no fault is in force").expect("an undo");
        assert_eq!(web()["spec"]["replicas"], 1);
        run.undo_as_another_process(&undo).await;
        let web = web();
        assert_eq!(web["spec"]["replicas"], 2);
        for marks in ["annotations", "labels"] {
            let left = web["metadata"][marks].to_string();
            assert!(!left.contains("squall.dev"), "{left}");
        }
        run.platform.stop().await.unwrap();
    });
}
