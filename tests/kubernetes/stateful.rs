//! Pods of a StatefulSet: each that is replaced comes back under its name.

use std::time::Duration;

use serde_json::json;
use squall::platform::{Platform, PlatformError};
use squall::record::{InstanceState, What};
use squall::scenario::FaultKind;

use crate::bed::{Bed, IMAGE, SERVE};
use crate::harness::{run, says, target, with_bed};

/// StatefulSet and Service `web`, rolled out.
fn web(bed: &Bed, ns: &str, replicas: u32) {
    bed.apply(&json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web", "namespace": ns},
        "spec": {"replicas": replicas, "serviceName": "web", "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
                "terminationGracePeriodSeconds": 10,
                "containers": [{"name": "web", "image": IMAGE, "imagePullPolicy": "Never",
                    "command": ["/bin/sh", "-c", SERVE],
                    "ports": [{"name": "http", "containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"path": "/index.html", "port": "http"}, "periodSeconds": 1}}]}}}}));
    bed.apply(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": ns},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}}));
    bed.rolled_out(ns, "statefulset/web", 90);
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_killed_pod_of_a_stateful_set_is_told_from_its_successor() {
    with_bed(|bed| async move {
        let ns = &*bed.namespace("t-stateful");
        web(&bed, ns, 2);
        let run = run(&target(&bed, ns)).await;
        run.told_now("both to be ready", |r| {
            r.platform.instances().iter().filter(|i| i.ready).count() == 2
        })
        .await;
        let kill = FaultKind::PodKill {
            grace: Some(Duration::ZERO),
        };
        // Chosen before, and replaced before the change is made: its successor is not hit in its place.
        let change = squall::platform::Change {
            kind: kill.clone(),
            instance: "web-0".into(),
        };
        assert_eq!(run.platform.undo_of(&change).unwrap(), None);
        bed.kubectl(&[
            "-n",
            ns,
            "delete",
            "pod",
            "web-0",
            "--grace-period=0",
            "--force",
        ]);
        let states = |r: &crate::harness::Running, state| {
            r.count(|w| matches!(w, What::Instance(e) if e.name == "web-0" && e.state == state))
        };
        run.told_now("its successor to be ready", |r| {
            states(r, InstanceState::Ready) == 2
        })
        .await;
        assert_eq!(states(&run, InstanceState::Ended), 1);
        assert_eq!(states(&run, InstanceState::Started), 2);
        let successors = bed.uids(ns);
        let error = run.platform.apply(&change).await.unwrap_err();
        assert!(matches!(error, PlatformError::Failed(_)), "{error:?}");
        says(&error, &["web-0", "another of its name"]);
        assert_eq!(bed.uids(ns), successors, "nothing was done");

        // Chosen anew it is the successor that is meant.
        run.apply(kill, "web-0")
            .await
            .expect("a kill of the successor");
        run.told_now("the third to be ready", |r| {
            states(r, InstanceState::Ready) == 3
        })
        .await;
        assert_eq!(states(&run, InstanceState::Ended), 2);
        let left = run.count(
            |w| matches!(w, What::Endpoints { ready } if !ready.contains(&"web-0".to_string())),
        );
        assert!(left >= 2, "each left the set: {left}");
        run.platform.stop().await.unwrap();
    });
}
