//! The guard: what is not to be broken is not, and what suffers beside the target ends the run.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use squall::platform::kubernetes::Limits;
use squall::platform::{Platform, PlatformError};
use squall::record::InstanceState;
use squall::scenario::{FaultKind, KeepReady, KubernetesTarget, OptIn, Reach};

use crate::bed::{Bed, IMAGE, SERVE, script, until};
use crate::harness::{run, run_within, says, target, with_bed};
use crate::whole::run_of;

pub fn squall(bed: &Bed, ns: &str, dir: &Path, faults: &str, guard: &str) -> Child {
    let text = format!(
        "squall: 1\nname: a guarded run in {ns}\nseed: 7\n\
         target:\n  kubernetes: {{ kubeconfig: {}, namespace: {ns}, service: web }}\n\
         traffic:\n  slow:\n    arrivals: {{ rate: 2/s, hold: 3m }}\n    journey: [ get: /index.html ]\n\
         faults:\n{faults}guard: {{ {guard} }}\nexpect: [ errors < 99% ]\n",
        bed.kubeconfig.display()
    );
    run_of(dir, &text)
        .stderr(Stdio::piped())
        .spawn()
        .expect("squall")
}

/// Waits for the end of an aborted run; what it said of why.
pub fn aborted(child: Child, dir: &Path) -> String {
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(4), "{said}");
    let record = squall::record::Record::load(&dir.join("run")).unwrap();
    let end = format!("{:?}", record.events.last().unwrap().what);
    eprintln!("{end}");
    end
}

/// Deployment `db` beside the target, of one pod that is ready while it has the file that its probe asks for.
fn bystander(bed: &Bed, ns: &str) {
    bed.apply(&json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "db", "namespace": ns},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": {
                "containers": [{"name": "db", "image": IMAGE, "imagePullPolicy": "Never",
                    "command": ["/bin/sh", "-c", SERVE],
                    "readinessProbe": {"httpGet": {"path": "/index.html", "port": 8080}, "periodSeconds": 1}}]}}}}));
    bed.rolled_out(ns, "deployment/db", 90);
}

fn replicas(bed: &Bed, ns: &str) -> Value {
    bed.json(&["-n", ns, "get", "deployment", "web"])["spec"]["replicas"].clone()
}

const SCALE: &str = "  - { at: 1s, for: 2m, scale: { replicas: 2 } }\n";

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_run_beside_which_another_workload_degrades_is_undone_and_over() {
    with_bed(|bed| async move {
        let (ns, dir) = (&*bed.namespace("t-others"), tempfile::tempdir().unwrap());
        bed.web(ns, 3, SERVE);
        bystander(&bed, ns);
        let guard = "abort-when: others-degraded > 0 for 3s";
        let mut child = squall(&bed, ns, dir.path(), SCALE, guard);
        until("the scaled Deployment", || replicas(&bed, ns) == 2);
        // The target itself has lost a pod, as it was meant to; longer than the condition lasts.
        std::thread::sleep(Duration::from_secs(5));
        assert!(
            child.try_wait().unwrap().is_none(),
            "nothing else suffers: it goes on"
        );
        let began = Instant::now();
        bed.kubectl(&[
            "-n",
            ns,
            "exec",
            "deployment/db",
            "--",
            "/bin/busybox",
            "rm",
            "/tmp/w/index.html",
        ]);
        let end = aborted(child, dir.path());
        eprintln!(
            "over {:.1} s after the other was broken",
            began.elapsed().as_secs_f64()
        );
        assert!(
            end.contains("others-degraded > 0 for 3s") && end.contains("Deployment/db"),
            "{end}"
        );
        assert_eq!(replicas(&bed, ns), 3, "undone");
        assert_eq!(bed.json(&["-n", ns, "get", "leases"])["items"], json!([]));
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_run_during_which_a_node_is_lost_is_undone_and_over() {
    with_bed(|bed| async move {
        let (ns, dir) = (&*bed.namespace("t-nodes"), tempfile::tempdir().unwrap());
        bed.web(ns, 3, SERVE);
        let guard = "abort-when: nodes-not-ready > 0 for 2s";
        let child = squall(&bed, ns, dir.path(), SCALE, guard);
        until("the scaled Deployment", || replicas(&bed, ns) == 2);
        script("node-down.sh", &["2"]);
        let end = aborted(child, dir.path());
        script("node-up.sh", &["2"]);
        assert!(
            end.contains("nodes-not-ready > 0 for 2s") && end.contains("n2"),
            "{end}"
        );
        assert_eq!(replicas(&bed, ns), 3, "undone");
        until("the node to be back", || {
            !bed.kubectl(&["get", "nodes"]).contains("NotReady")
        });
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_node_is_not_emptied_of_what_another_workload_needs() {
    with_bed(|bed| async move {
        let ns = &*bed.namespace("t-keeps");
        bed.web(ns, 4, SERVE);
        bystander(&bed, ns);
        let limits = Limits {
            keep_ready: Some(KeepReady::Count(1)),
            ..Limits::default()
        };
        let run = run_within(&target(&bed, ns), limits).await;
        let db = bed.json(&["-n", ns, "get", "pods", "-l", "app=db"]);
        let node = db["items"][0]["spec"]["nodeName"].as_str().unwrap();
        let (beside, elsewhere): (Vec<_>, Vec<_>) = run
            .platform
            .instances()
            .into_iter()
            .partition(|i| i.labels["squall.node"] == node);
        let deadline = Duration::from_secs(60);
        let drain = FaultKind::Drain { deadline };
        let (down, up) = ("false".into(), "true".into());
        let before = bed.uids(ns);
        for fault in [drain.clone(), FaultKind::NodeLoss { down, up }] {
            let error = run.apply(fault, &beside[0].name).await.unwrap_err();
            assert!(matches!(error, PlatformError::Refused(_)), "{error:?}");
            says(&error, &["keep-ready 1", "Deployment/db", node]);
        }
        let nodes = bed.kubectl(&["get", "nodes"]);
        assert!(!nodes.contains("SchedulingDisabled"), "{nodes}");
        assert_eq!(bed.uids(ns), before, "nothing was done");
        // With one on each node one may be taken, but not both at the same moment.
        bed.kubectl(&["-n", ns, "scale", "deployment/db", "--replicas=2"]);
        bed.rolled_out(ns, "deployment/db", 90);
        let both = futures_util::future::join(
            run.apply(drain.clone(), &beside[0].name),
            run.apply(drain.clone(), &elsewhere[0].name),
        );
        let (mut done, refused): (Vec<_>, Vec<_>) = <[_; 2]>::from(both.await)
            .into_iter()
            .partition(Result::is_ok);
        for error in refused.iter().map(|r| r.as_ref().unwrap_err()) {
            assert!(matches!(error, PlatformError::Refused(_)), "{error:?}");
        }
        assert!(done.len() < 2, "both nodes were drained");
        if done.is_empty() {
            done.push(run.apply(drain, &beside[0].name).await);
        }
        let undo = done.remove(0).expect("one alone").expect("an undo");
        run.platform.undo(&undo).await.unwrap();
        run.platform.stop().await.unwrap();
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn only_what_has_opted_in_is_broken() {
    with_bed(|bed| async move {
        let ns = &*bed.namespace("t-opt-in");
        bed.web(ns, 2, SERVE);
        let limits = Limits {
            opt_in: Some(OptIn {
                key: "squall.dev/allow".into(),
                value: "true".into(),
            }),
            ..Limits::default()
        };
        let kill = FaultKind::PodKill {
            grace: Some(Duration::ZERO),
        };
        let before = bed.uids(ns);
        let run = run_within(&target(&bed, ns), limits).await;
        let names = run.names();
        for fault in [
            kill.clone(),
            FaultKind::Cordon,
            FaultKind::Drain {
                deadline: Duration::from_secs(9),
            },
        ] {
            let error = run.apply(fault, &names[0]).await.unwrap_err();
            assert!(matches!(error, PlatformError::Refused(_)), "{error:?}");
            says(
                &error,
                &["squall.dev/allow=true", &names[0], "guard.opt-in"],
            );
        }
        assert_eq!(bed.uids(ns), before, "nothing was done");
        // A pod by its own label, then all of them by their owner's.
        bed.kubectl(&["-n", ns, "label", "pod", &names[0], "squall.dev/allow=true"]);
        run.told_now("the label", |r| {
            let all = r.platform.instances();
            all.iter()
                .any(|i| i.labels.contains_key("squall.dev/allow"))
        })
        .await;
        run.apply(kill.clone(), &names[0])
            .await
            .expect("it has opted in");
        run.state(&names[0], InstanceState::Ended).await;
        assert!(run.apply(kill.clone(), &names[1]).await.is_err());
        bed.kubectl(&[
            "-n",
            ns,
            "label",
            "deployment",
            "web",
            "squall.dev/allow=true",
        ]);
        let end = Instant::now() + Duration::from_secs(30);
        while let Err(error) = run.apply(kill.clone(), &names[1]).await {
            assert!(
                Instant::now() < end,
                "the label of its owner is not seen: {error}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        run.state(&names[1], InstanceState::Ended).await;
        run.platform.stop().await.unwrap();
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_fault_in_another_namespace_hits_that_and_is_undone_there() {
    with_bed(|bed| async move {
        let (ns, other) = (&*bed.namespace("t-front"), &*bed.namespace("t-back"));
        bed.web(ns, 2, SERVE);
        bed.web(other, 2, SERVE);
        let (own, theirs) = (bed.uids(ns), bed.uids(other));
        let faults = format!(
            "  - {{ at: 1s, pod-kill: {{ namespace: {other}, grace: 0s }} }}\n  \
             - {{ at: 4s, for: 3s, scale: {{ namespace: {other}, replicas: 1 }} }}\n"
        );
        let dir = tempfile::tempdir().unwrap();
        let guard = format!("namespaces: [{ns}, {other}]");
        let mut child = squall(&bed, ns, dir.path(), &faults, &guard);
        until("the other namespace to be scaled", || {
            replicas(&bed, other) == 1
        });
        let now = bed.uids(other);
        assert!(
            !theirs.iter().all(|uid| now.contains(uid)),
            "one of theirs was killed"
        );
        until("it to be undone", || replicas(&bed, other) == 2);
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(bed.uids(ns), own, "the target itself was left alone");

        // Nothing there is broken where the guard does not name it.
        let dir = tempfile::tempdir().unwrap();
        let child = squall(
            &bed,
            ns,
            dir.path(),
            &faults,
            &format!("namespaces: [{ns}]"),
        );
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(2), "{said}");
        assert!(
            said.contains(&format!("nothing in namespace `{other}` may be broken")),
            "{said}"
        );
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn what_is_critical_to_the_system_is_left_alone() {
    with_bed(|bed| async move {
        let ns = &*bed.namespace("t-guard");
        bed.web(ns, 1, SERVE);
        let class = "system-cluster-critical";
        let patch = format!(
            r#"{{"spec": {{"template": {{"spec": {{"priorityClassName": "{class}"}}}}}}}}"#
        );
        bed.kubectl(&["-n", ns, "patch", "deployment", "web", "-p", &patch]);
        bed.rolled_out(ns, "deployment/web", 90);
        until("the old pod to be gone", || bed.uids(ns).len() == 1);
        let before = bed.uids(ns);
        let kill = FaultKind::PodKill {
            grace: Some(Duration::ZERO),
        };
        let soon = Duration::from_secs(30);
        {
            let run = run(&target(&bed, ns)).await;
            let name = run.names()[0].clone();
            for fault in [
                kill.clone(),
                FaultKind::Evict { deadline: soon },
                FaultKind::Drain { deadline: soon },
            ] {
                let error = run.apply(fault, &name).await.unwrap_err();
                assert!(matches!(error, PlatformError::Refused(_)), "{error:?}");
                says(&error, &[class, &name, "guard.priority-classes"]);
            }
            assert_eq!(bed.uids(ns), before, "nothing was done");
            let nodes = bed.kubectl(&["get", "nodes"]);
            assert!(!nodes.contains("SchedulingDisabled"), "{nodes}");
            run.platform.stop().await.unwrap();
        }
        {
            let limits = Limits {
                namespaces: Some(vec!["other".into()]),
                ..Limits::default()
            };
            let run = run_within(&target(&bed, ns), limits).await;
            let error = run.apply(kill.clone(), &run.names()[0]).await.unwrap_err();
            assert!(matches!(error, PlatformError::Refused(_)), "{error:?}");
            says(&error, &[ns, "other"]);
            run.platform.stop().await.unwrap();
        }
        let limits = Limits {
            priority_classes: vec![class.into()],
            ..Limits::default()
        };
        let run = run_within(&target(&bed, ns), limits).await;
        let name = run.names()[0].clone();
        run.apply(kill, &name)
            .await
            .expect("named, so it may be broken");
        run.state(&name, InstanceState::Ended).await;
        run.platform.stop().await.unwrap();
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn the_node_that_traffic_comes_over_is_not_taken_away() {
    with_bed(|bed| async move {
        let ns = &*bed.namespace("t-way");
        bed.web(ns, 4, SERVE);
        bed.apply(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": ns},
            "spec": {"type": "NodePort", "selector": {"app": "web"},
                "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}}));
        let target = KubernetesTarget {
            reach: Reach::NodePort,
            ..target(&bed, ns)
        };
        let run = run(&target).await;
        let addresses = bed.json(&["get", "nodes"]);
        let mut nodes = addresses["items"].as_array().unwrap().iter();
        let on_way = nodes.find(|n| {
            let mut all = n["status"]["addresses"].as_array().unwrap().iter();
            all.any(|a| {
                let host = format!("http://{}:", a["address"].as_str().unwrap());
                a["type"] == "InternalIP" && run.endpoint.base_url.starts_with(&host)
            })
        });
        let on_way = &on_way.expect("the node of the address")["metadata"]["name"];
        let (there, elsewhere): (Vec<_>, Vec<_>) = run
            .platform
            .instances()
            .into_iter()
            .partition(|i| *on_way == *i.labels["squall.node"]);
        let lost = FaultKind::NodeLoss {
            down: "true".into(),
            up: "true".into(),
        };
        let error = run.apply(lost.clone(), &there[0].name).await.unwrap_err();
        assert!(matches!(error, PlatformError::Refused(_)), "{error:?}");
        says(&error, &["traffic comes over node"]);
        let undo = run.apply(lost, &elsewhere[0].name).await;
        run.platform.undo(&undo.unwrap().unwrap()).await.unwrap();
        run.platform.stop().await.unwrap();
    });
}
