//! CPU and memory stress, and that none of it stays behind.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use squall::platform::kubernetes::KubernetesPlatform;
use squall::platform::{Platform, PlatformError};
use squall::record::{Clock, Sink, What};
use squall::scenario::units::{Ratio, Size};
use squall::scenario::{FaultKind, StressPlace};

use crate::asked;
use crate::bed::{Bed, DEMO, SERVE, until};
use crate::harness::{run, says, target, with_bed};

pub fn place() -> StressPlace {
    StressPlace {
        container: None,
        image: "squall:0".into(),
    }
}

/// Deployment and Service `web` of pods that have squall, with a limit of memory where one is given.
pub fn web(bed: &Bed, namespace: &str, replicas: u32, memory: Option<&str>) {
    bed.load_demo();
    let limits = memory.map_or(json!({}), |m| json!({"limits": {"memory": m}}));
    bed.apply(&json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": namespace},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
                "containers": [{"name": "web", "image": DEMO, "imagePullPolicy": "Never", "resources": limits,
                    "command": ["/bin/squall", "demo", "--address", "0.0.0.0", "--port", "8080"],
                    "ports": [{"name": "http", "containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1, "timeoutSeconds": 5}}]}}}}));
    bed.service(namespace);
}

/// The stress processes of this machine whose command line has this word.
pub fn processes(word: &str) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|e| e.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.starts_with("squall stress") && line.contains(word)
    })
    .collect()
}

/// Ticks of CPU that a process has used, and the pages it holds.
pub fn usage(pid: u32) -> (u64, u64) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let number = |n: usize| fields[n - 3].parse::<u64>().unwrap();
    (number(14) + number(15), number(24))
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_stress_uses_what_it_says_and_is_gone_when_it_is_undone() {
    with_bed(|bed| async move {
        let ns = &*bed.namespace("t-stress");
        web(&bed, ns, 2, Some("128Mi"));
        let run = run(&target(&bed, ns)).await;
        let name = run.names()[0].clone();
        let cpu = FaultKind::CpuStress {
            workers: 1,
            load: Ratio::fraction(0.43),
            place: place(),
        };
        let undo = run
            .apply(cpu, &name)
            .await
            .expect("cpu-stress")
            .expect("an undo");
        let pids = processes("--load 43%");
        assert_eq!(pids.len(), 1, "one process, in one pod");
        let (before, began) = (usage(pids[0]).0, Instant::now());
        tokio::time::sleep(Duration::from_secs(4)).await;
        let used = (usage(pids[0]).0 - before) as f64 / 100.0 / began.elapsed().as_secs_f64();
        eprintln!("a stress of 43% uses {:.0}% of a core", used * 100.0);
        assert!((0.1..0.6).contains(&used), "{used}");
        run.platform.undo(&undo).await.expect("undo");
        until("the stress to be gone", || {
            processes("--load 43%").is_empty()
        });
        run.told("what it came to", |w| {
            matches!(w, What::Note { text, .. } if text.contains("was ended") && text.contains("s of CPU"))
        })
        .await;
        run.platform
            .undo(&undo)
            .await
            .expect("undo of what is undone");

        let memory = |size: u64| FaultKind::MemoryStress {
            size: Size::bytes(size),
            place: place(),
        };
        let undo = run
            .apply(memory(48 << 20), &name)
            .await
            .expect("memory-stress")
            .unwrap();
        let pids = processes("--memory 50331648B");
        let held = usage(pids[0]).1 * 4096;
        eprintln!("a stress of 48 MiB holds {} MiB", held >> 20);
        assert!(held >= 48 << 20, "{held}");
        run.platform.undo(&undo).await.expect("undo");
        until("the stress to be gone", || {
            processes("--memory 50331648B").is_empty()
        });

        // More than the container may have: the kernel ends it before it is in force.
        let error = run.apply(memory(512 << 20), &name).await.unwrap_err();
        says(&error, &["memory-stress", &name]);
        assert!(matches!(error, PlatformError::Failed(_)), "{error:?}");
        run.platform.stop().await.unwrap();
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_stress_without_squall_in_the_pod_is_refused_before_anything_starts() {
    with_bed(|bed| async move {
        let ns = &*bed.namespace("t-none");
        bed.web(ns, 1, SERVE);
        let (sink, _entries) = Sink::new(Clock::start());
        let stress = asked(vec![FaultKind::CpuStress {
            workers: 1,
            load: Ratio::fraction(1.0),
            place: place(),
        }]);
        let Err(error) = KubernetesPlatform::connect(&target(&bed, ns), &stress, sink).await else {
            panic!("connected though no stress can be made");
        };
        assert!(matches!(error, PlatformError::Unsupported(_)), "{error:?}");
        says(
            &error,
            &["needs squall in the pod", "container web", "v1.20", "1.25"],
        );
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_squall_that_is_killed_leaves_no_stress() {
    with_bed(|bed| async move {
        let (ns, dir) = (bed.namespace("t-left"), tempfile::tempdir().unwrap());
        web(&bed, &ns, 2, None);
        let faults = "  - { at: 1s, cpu-stress: { load: 29% } }\n";
        let mut child = crate::whole::squall(&bed, &ns, dir.path(), 60, faults);
        until("the stress", || processes("--load 29%").len() == 1);
        child.kill().unwrap();
        child.wait().unwrap();
        let began = Instant::now();
        until("the stress to be gone", || {
            processes("--load 29%").is_empty()
        });
        eprintln!(
            "gone {:.1} s after squall was killed",
            began.elapsed().as_secs_f64()
        );
        let pods: Value = bed.json(&["-n", &ns, "get", "pods"]);
        for pod in pods["items"].as_array().unwrap() {
            assert_eq!(
                pod["status"]["containerStatuses"][0]["restartCount"], 0,
                "the service lives"
            );
        }
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn an_injection_waits_for_a_rollout_to_be_over() {
    with_bed(|bed| async move {
        let (ns, dir) = (bed.namespace("t-after"), tempfile::tempdir().unwrap());
        web(&bed, &ns, 3, None);
        let faults = "  - { at: 1s, after: rollout, within: 2s, name: too soon, pod-kill: {} }\n  \
            - { at: 4s, rollout-restart: {} }\n  \
            - { at: 4s, after: rollout, when: ready >= 3, name: after, pod-kill: { ready: true } }\n";
        let child = crate::whole::squall(&bed, &ns, dir.path(), 30, faults);
        let (_, summary) = crate::whole::ended(child, dir.path());
        let fault = |name: &str| {
            let all = summary["faults"].as_array().unwrap();
            let found = all.iter().find(|f| f["name"] == name);
            found
                .unwrap_or_else(|| panic!("no {name}: {summary:#}"))
                .clone()
        };
        let early = fault("too soon");
        assert_eq!(early["stage"], "failed", "{early:#}");
        assert!(
            early["detail"]
                .as_str()
                .unwrap()
                .contains("no rollout was seen"),
            "{early:#}"
        );
        let (restart, after) = (fault("rollout-restart"), fault("after"));
        assert_eq!(after["stage"], "injected", "{after:#}");
        let at = |f: &Value| f["injected_us"].as_u64().unwrap() as f64 / 1e6;
        eprintln!(
            "killed {:.1} s after the restart was asked for",
            at(&after) - at(&restart)
        );
        assert!(
            at(&after) - at(&restart) > 1.5,
            "three pods are not replaced at once"
        );
        // The pod that was hit is one of the new ones.
        let hit = after["instances"][0].as_str().unwrap();
        assert_ne!(restart["instances"][0], hit);
        let record = squall::record::Record::load(&dir.path().join("run")).unwrap();
        let started = record
            .events
            .iter()
            .find(|e| matches!(&e.what, What::Instance(i) if i.name == hit))
            .unwrap();
        assert!(started.at as f64 / 1e6 > at(&restart), "{started:?}");
    });
}
