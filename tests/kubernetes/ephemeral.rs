//! Stress in an ephemeral container beside one that has no squall. The kubelet is that of 1.20, where they are an alpha
//! feature; the API server takes a pod for them, as from 1.22 on (`deploy/testbed/ephemeral-containers.patch`).

use std::time::Duration;

use serde_json::Value;
use squall::platform::{Platform, PlatformError};
use squall::record::{InstanceState, What};
use squall::scenario::units::{Ratio, Size};
use squall::scenario::{FaultKind, KubernetesTarget, StressPlace};

use crate::bed::{Bed, DEMO, IMAGE, SERVE, script, script_with, until};
use crate::harness::{run, says, target, with_bed};
use crate::strain::{processes, usage};

/// The API server has ephemeral containers for as long as this is there.
struct Ephemeral;

impl Ephemeral {
    fn on() -> Self {
        Self::restarted(Some((
            "APISERVER_ARGS",
            "--feature-gates=EphemeralContainers=true",
        )));
        Self
    }

    fn restarted(with: Option<(&str, &str)>) {
        script("apiserver-stop.sh", &[]);
        script_with("apiserver-start.sh", &[], with);
    }
}

impl Drop for Ephemeral {
    fn drop(&mut self) {
        Self::restarted(None);
    }
}

fn cpu(percent: f64, image: &str) -> FaultKind {
    FaultKind::CpuStress {
        workers: 1,
        load: Ratio::fraction(percent / 100.0),
        place: from(image),
    }
}

fn from(image: &str) -> StressPlace {
    StressPlace {
        container: None,
        image: image.into(),
    }
}

fn pod(bed: &Bed, namespace: &str, name: &str) -> Value {
    bed.json(&["-n", namespace, "get", "pod", name])
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_stress_is_brought_to_a_pod_without_squall_and_the_pod_lives_on() {
    with_bed(|bed| async move {
        let _on = Ephemeral::on();
        let ns = &*bed.namespace("t-beside");
        bed.load_demo();
        bed.web(ns, 1, SERVE);
        let dir = tempfile::tempdir().unwrap();
        bed.grant(ns, &["rbac.yaml"]);
        let target = KubernetesTarget {
            kubeconfig: Some(bed.kubeconfig_of(ns, "squall", dir.path())),
            ..target(&bed, ns)
        };
        let run = run(&target).await;
        let name = run.names()[0].clone();
        let busy = run.apply(cpu(37.0, DEMO), &name).await.expect("cpu-stress");
        let pids = processes("--load 37%");
        assert_eq!(pids.len(), 1, "one process, in one pod");
        let before = usage(pids[0]).0;
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!(usage(pids[0]).0 > before + 20, "it uses CPU");
        // A second one in the same pod, while the first is there.
        let memory = FaultKind::MemoryStress {
            size: Size::bytes(48 << 20),
            place: from(DEMO),
        };
        let full = run.apply(memory, &name).await.expect("memory-stress");
        let held = usage(processes("--memory 50331648B")[0]).1 * 4096;
        assert!(held >= 48 << 20, "{held}");
        let now = pod(&bed, ns, &name);
        let beside = now["spec"]["ephemeralContainers"].as_array().unwrap();
        assert_eq!(beside.len(), 2, "{now:#}");
        assert!(beside.iter().all(|c| c["targetContainerName"] == "web"));

        for undo in [busy, full] {
            run.platform.undo(&undo.unwrap()).await.expect("undo");
        }
        until("the stress to be gone", || {
            processes("--load 37%").is_empty() && processes("--memory 50331648B").is_empty()
        });
        run.told("what it came to", |w| {
            matches!(w, What::Note { text, .. } if text.contains("was ended") && text.contains("s of CPU"))
        })
        .await;
        until("both containers to have ended", || {
            let now = pod(&bed, ns, &name);
            let all = now["status"]["ephemeralContainerStatuses"].as_array();
            let ended = |s: &Value| s["state"]["terminated"].is_object();
            all.is_some_and(|all| all.len() == 2 && all.iter().all(ended))
        });
        let now = pod(&bed, ns, &name);
        assert_eq!(now["status"]["containerStatuses"][0]["restartCount"], 0);
        assert!(now["status"]["containerStatuses"][0]["ready"] == true);
        let harmed = |w: &What| match w {
            What::Incident { .. } => true,
            What::Instance(e) => {
                e.state != InstanceState::Ready && e.state != InstanceState::Started
            }
            _ => false,
        };
        assert_eq!(run.count(harmed), 0, "the pod was served from all along");
        run.platform.stop().await.unwrap();
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn an_image_that_cannot_be_had_or_has_no_squall_is_said() {
    with_bed(|bed| async move {
        let _on = Ephemeral::on();
        let ns = &*bed.namespace("t-no-image");
        bed.web(ns, 1, SERVE);
        let run = run(&target(&bed, ns)).await;
        let name = run.names()[0].clone();
        for (image, why) in [("testbed.local/none:1", "none:1"), (IMAGE, "squall")] {
            let error = run.apply(cpu(10.0, image), &name).await.unwrap_err();
            assert!(matches!(error, PlatformError::Failed(_)), "{error:?}");
            eprintln!("{error}");
            says(&error, &["ephemeral container", &name, image, why]);
        }
        assert!(processes("--load 10%").is_empty());
        run.platform.stop().await.unwrap();
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn more_memory_than_the_pod_may_have_is_no_stress() {
    with_bed(|bed| async move {
        let _on = Ephemeral::on();
        let ns = &*bed.namespace("t-too-much");
        bed.load_demo();
        bed.web(ns, 1, SERVE);
        let limit = r#"{"spec": {"template": {"spec": {"containers":
            [{"name": "web", "resources": {"limits": {"memory": "64Mi"}}}]}}}}"#;
        bed.kubectl(&["-n", ns, "patch", "deployment", "web", "-p", limit]);
        bed.rolled_out(ns, "deployment/web", 90);
        until("the pod of before to be gone", || {
            bed.json(&["-n", ns, "get", "pods"])["items"]
                .as_array()
                .map(Vec::len)
                == Some(1)
        });
        let run = run(&target(&bed, ns)).await;
        let name = run.names()[0].clone();
        let memory = FaultKind::MemoryStress {
            size: Size::bytes(512 << 20),
            place: from(DEMO),
        };
        let error = run.apply(memory, &name).await.unwrap_err();
        assert!(matches!(error, PlatformError::Failed(_)), "{error:?}");
        eprintln!("{error}");
        says(&error, &[&name, "the pod may not have so much memory"]);
        run.platform.stop().await.unwrap();
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn a_squall_that_is_killed_leaves_no_stress_beside_the_service() {
    with_bed(|bed| async move {
        let _on = Ephemeral::on();
        let (ns, dir) = (bed.namespace("t-beside-left"), tempfile::tempdir().unwrap());
        bed.load_demo();
        bed.web(&ns, 2, SERVE);
        let faults = format!("  - {{ at: 1s, cpu-stress: {{ load: 31%, image: \"{DEMO}\" }} }}\n");
        let mut child = crate::whole::squall(&bed, &ns, dir.path(), 60, &faults);
        until("the stress", || processes("--load 31%").len() == 1);
        child.kill().unwrap();
        child.wait().unwrap();
        until("the stress to be gone", || {
            processes("--load 31%").is_empty()
        });
    });
}
