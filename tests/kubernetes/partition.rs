//! Partitions: one that nobody enforces is found out, one that is enforced cuts what it says and nothing else.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::json;
use squall::platform::kubernetes::UNDO_ANNOTATION;
use squall::platform::{Platform, PlatformError};
use squall::record::What;
use squall::scenario::{Direction, FaultKind};

use crate::bed::{Bed, IMAGE, SERVE, until};
use crate::enforcer::Enforcer;
use crate::harness::{run, says, target, with_bed};

pub fn cut(direction: Direction, from: &[(&str, &str)], to: &[(&str, &str)]) -> FaultKind {
    let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect()
    };
    FaultKind::Partition {
        direction,
        from: labels(from),
        to: labels(to),
    }
}

fn left(bed: &Bed, ns: &str) -> bool {
    let pods = bed.kubectl(&["-n", ns, "get", "pods", "-o", "json"]);
    pods.contains("squall.dev/partition")
        || pods.contains(UNDO_ANNOTATION)
        || bed.json(&["-n", ns, "get", "networkpolicies"])["items"] != json!([])
}

fn address(bed: &Bed, ns: &str, pod: &str) -> SocketAddr {
    let pod = bed.json(&["-n", ns, "get", "pod", pod]);
    format!("{}:8080", pod["status"]["podIP"].as_str().unwrap())
        .parse()
        .unwrap()
}

fn reached(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

fn reached_from(bed: &Bed, ns: &str, pod: &str, address: SocketAddr) -> bool {
    let nc = format!(
        "nc -w 1 {} {} </dev/null && echo yes || echo no",
        address.ip(),
        address.port()
    );
    bed.kubectl(&["-n", ns, "exec", pod, "--", "/bin/sh", "-c", &nc])
        .contains("yes")
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_partition_that_nobody_enforces_has_no_effect_and_says_so() {
    with_bed(|bed| async move {
        let ns = &*bed.namespace("t-idle");
        bed.web(ns, 2, SERVE);
        let run = run(&target(&bed, ns)).await;
        let name = run.names()[0].clone();
        for direction in [Direction::Ingress, Direction::Egress] {
            let kind = cut(direction, &[], &[]);
            let change = squall::platform::Change {
                kind,
                instance: name.clone(),
            };
            let undo = run.platform.undo_of(&change).unwrap().expect("an undo");
            let error = run.platform.apply(&change).await.unwrap_err();
            eprintln!("{error}");
            assert!(matches!(error, PlatformError::NoEffect(_)), "{error:?}");
            says(
                &error,
                &["enforces NetworkPolicies", &name, "still connects"],
            );
            assert!(left(&bed, ns), "it was really made");
            run.undo_as_another_process(&undo).await;
            assert!(!left(&bed, ns), "policy, label and annotation are gone");
        }
        run.platform.stop().await.unwrap();
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_partition_that_is_enforced_cuts_what_it_says_until_it_is_undone() {
    with_bed(|bed| async move {
        let ns = &*bed.namespace("t-cut");
        bed.web(ns, 2, SERVE);
        bed.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "peer", "namespace": ns, "labels": {"app": "peer"}},
            "spec": {"containers": [{"name": "peer", "image": IMAGE, "imagePullPolicy": "Never",
                "command": ["/bin/sh", "-c", "sleep 3600"]}]}}));
        bed.kubectl(&[
            "-n",
            ns,
            "wait",
            "--for=condition=Ready",
            "pod/peer",
            "--timeout=60s",
        ]);
        let _enforcer = Enforcer::start(&bed, ns);
        let run = run(&target(&bed, ns)).await;
        let (name, other) = (run.names()[0].clone(), run.names()[1].clone());
        let (to, to_other) = (address(&bed, ns, &name), address(&bed, ns, &other));
        assert!(reached(to) && reached_from(&bed, ns, "peer", to));

        let undo = run
            .apply(cut(Direction::Both, &[], &[]), &name)
            .await
            .expect("partition")
            .unwrap();
        assert!(
            !reached(to) && !reached_from(&bed, ns, "peer", to),
            "nothing comes in"
        );
        assert!(!reached_from(&bed, ns, &name, to_other), "nothing goes out");
        assert!(reached(to_other), "the other pod is well");
        run.told(
            "that it holds",
            |w| matches!(w, What::Note { text, .. } if text.contains("is cut off")),
        )
        .await;
        run.undo_as_another_process(&undo).await;
        until("connections again", || {
            reached(to) && reached_from(&bed, ns, &name, to_other)
        });
        assert!(!left(&bed, ns));

        let from = cut(Direction::Ingress, &[("app", "peer")], &[]);
        let undo = run
            .apply(from, &name)
            .await
            .expect("partition from peer")
            .unwrap();
        assert!(!reached_from(&bed, ns, "peer", to), "the peer is cut off");
        assert!(
            reached(to) && reached_from(&bed, ns, &other, to),
            "nobody else is"
        );
        run.undo_as_another_process(&undo).await;
        assert!(!left(&bed, ns));

        let error = run
            .apply(cut(Direction::Ingress, &[("app", "none")], &[]), &name)
            .await;
        says(&error.unwrap_err(), &["no ready pod", "`from`"]);
        run.platform.stop().await.unwrap();
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_run_whose_partition_nobody_enforces_is_inconclusive() {
    with_bed(|bed| async move {
        let (ns, dir) = (bed.namespace("t-idle-run"), tempfile::tempdir().unwrap());
        crate::strain::web(&bed, &ns, 3, None);
        let faults = "  - { at: 2s, for: 5s, partition: { direction: ingress } }\n";
        let child = crate::whole::squall(&bed, &ns, dir.path(), 24, faults);
        let (code, summary) = crate::whole::ended(child, dir.path());
        assert_eq!(code, 3, "{summary:#}");
        assert_eq!(summary["faults"][0]["stage"], "ineffective", "{summary:#}");
        let text = std::fs::read_to_string(dir.path().join("run/result.json")).unwrap();
        let result: serde_json::Value = serde_json::from_str(&text).unwrap();
        let verdict = &result["verdicts"][0];
        assert_eq!(verdict["verdict"], "INCONCLUSIVE", "{verdict:#}");
        assert!(
            verdict["because"]
                .as_str()
                .unwrap()
                .contains("enforces NetworkPolicies"),
            "{verdict:#}"
        );
        eprintln!("{}", verdict["because"]);
        assert!(!left(&bed, &ns));
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_node_that_is_lost_takes_its_pods_out_of_the_endpoints_and_comes_back() {
    with_bed(|bed| async move {
        let (ns, dir) = (bed.namespace("t-loss"), tempfile::tempdir().unwrap());
        crate::strain::web(&bed, &ns, 4, None);
        let bed_dir = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/testbed");
        let faults = format!(
            "  - {{ at: 4s, for: 22s, node-loss: {{ node: n2, down: \"{bed_dir}/node-down.sh {{node}}\", up: \"{bed_dir}/node-up.sh {{node}}\" }} }}\n"
        );
        let child = crate::whole::squall(&bed, &ns, dir.path(), 50, &faults);
        let (code, summary) = crate::whole::ended(child, dir.path());
        let fault = &summary["faults"][0];
        assert_eq!(fault["stage"], "injected", "{fault:#}");
        let removed = fault["endpoint_removed_us"]
            .as_u64()
            .expect("the time until its endpoints went away");
        let after = (removed - fault["injected_us"].as_u64().unwrap()) as f64 / 1e6;
        eprintln!(
            "exit code {code}; endpoints went away {after:.1} s after the node; {} requests failed",
            fault["failed_requests"]
        );
        assert!((2.0..45.0).contains(&after), "{after}");
        assert!(fault["undone_us"].is_u64(), "{fault:#}");
        let node = bed.kubectl(&["get", "node", "n2"]);
        assert!(node.contains(" Ready"), "{node}");
        assert_ne!(code, 6);
    });
}

#[tokio::test]
async fn a_command_runs_in_the_scenarios_folder_and_its_exit_code_decides() {
    let dir = tempfile::tempdir().unwrap();
    let run = squall::platform::kubernetes::run_command;
    run("test -d . && touch here", dir.path())
        .await
        .expect("well");
    assert!(dir.path().join("here").exists());
    let error = run("echo no such node: n9 >&2; exit 3", dir.path())
        .await
        .unwrap_err();
    says(&error, &["exit status: 3", "no such node: n9"]);
    // What it leaves behind may hold its standard error open.
    let began = std::time::Instant::now();
    run("sleep 20 & exit 0", dir.path()).await.expect("well");
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "nobody waits for what it left"
    );
}
