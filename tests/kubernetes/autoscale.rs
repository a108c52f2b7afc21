//! A real HorizontalPodAutoscaler, driven through its range by load, with every decision of the real controller
//! explained from the record.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use squall::judge::autoscale::{check_all, gather};
use squall::record::Record;
use squall::scenario::{AutoscaleExpectation, Expectation};

use crate::bed::Bed;
use crate::harness::with_bed;
use crate::whole::run_of;

/// Deployment, Service and autoscaler `web`: each request burns 6 ms of CPU, and a pod is to use 30 ms a second.
fn web(bed: &Bed, namespace: &str) {
    bed.load_demo();
    let args = [
        "--address",
        "0.0.0.0",
        "--port",
        "8080",
        "--work",
        "6ms",
        "--drain-delay",
        "3s",
    ];
    bed.apply(&json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": namespace},
        "spec": {"selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
                "terminationGracePeriodSeconds": 5,
                "containers": [{"name": "web", "image": crate::bed::DEMO, "imagePullPolicy": "Never",
                    "command": ["/bin/squall", "demo"], "args": args,
                    "env": [{"name": "SQUALL_INSTANCE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                    "resources": {"requests": {"cpu": "50m"}},
                    "ports": [{"name": "http", "containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 2,
                        "timeoutSeconds": 5}}]}}}}));
    bed.service(namespace);
    bed.apply(
        &json!({"apiVersion": "autoscaling/v2beta2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 1, "maxReplicas": 6,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": 60}}}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 15}}}}),
    );
}

fn scenario(bed: &Bed, namespace: &str, stages: &str) -> String {
    format!(
        "squall: 1\nname: autoscale {namespace}\nseed: 4\ntarget:\n  kubernetes: {{ kubeconfig: {}, namespace: {namespace}, \
         service: web }}\ntraffic:\n  work:\n    arrivals: {{ stages: [ {stages} ] }}\n    timeout: 5s\n    \
         connections: per-request\n    journey: [ get: /work ]\nexpect:\n  - errors < 1%\n  \
         - autoscale: {{ hpa: web, sync: 5s, at-max: 5m }}\n",
        bed.kubeconfig.display()
    )
}

/// Runs a scenario beside what is done meanwhile; the verdict on the autoscaler, and the record.
async fn run(dir: &Path, text: &str, meanwhile: impl Future<Output = ()>) -> (Value, Record) {
    let mut child = tokio::process::Command::from(run_of(dir, text))
        .stderr(Stdio::inherit())
        .spawn()
        .expect("squall");
    meanwhile.await;
    let _ = child.wait().await.unwrap();
    let result = std::fs::read_to_string(dir.join("run/result.json")).expect("a result");
    let result: Value = serde_json::from_str(&result).unwrap();
    let verdicts = result["verdicts"].as_array().unwrap();
    let verdict = verdicts.iter().find(|v| v["oracle"] == "autoscale");
    let record = Record::load(&dir.join("run")).unwrap();
    (verdict.expect("a verdict").clone(), record)
}

/// Prints every decision of the controller against what it had to be; how many there were, and how many exact.
fn explain(record: &Record) -> (usize, usize) {
    let expect = record.header.scenario.expect.iter();
    let expect: Option<&AutoscaleExpectation> = { expect }.find_map(|e| match e {
        Expectation::Autoscale(a) => Some(a),
        _ => None,
    });
    let gathered = gather(record, expect.unwrap()).unwrap();
    let timeline = &gathered.timeline;
    let (mut exact, mut open) = (0, BTreeMap::<String, usize>::new());
    for (sync, replay) in timeline.syncs.iter().zip(timeline.replay()) {
        let why = replay.open.clone().unwrap_or_default();
        eprintln!(
            "{:>7.2} s: at {}, {:?} with pods {:?}: decided {}, expected {}; {why}",
            sync.at as f64 / 1e6,
            sync.current,
            sync.published,
            sync.pods.ways,
            sync.desired,
            replay.expected,
        );
        match replay.expected.is_exact() {
            true => exact += 1,
            false => *open.entry(why).or_default() += 1,
        }
    }
    for write in &timeline.writes {
        eprintln!(
            "{:>7.2} s: {} to {} by {:?}",
            write.at as f64 / 1e6,
            write.from,
            write.to,
            write.manager
        );
    }
    for check in check_all(timeline) {
        eprintln!(
            "{}: {} checked, {} left out, broken: {:?}",
            check.id,
            check.checked,
            check.skipped.len(),
            check.violations
        );
    }
    let all = timeline.syncs.len();
    eprintln!(
        "{all} statuses: {exact} explained exactly; not: {open:?}; leader seen: {}",
        gathered.leader_seen
    );
    (all, exact)
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn each_decision_of_the_real_controller_is_explained_and_a_foreign_writer_named() {
    with_bed(|bed| async move {
        let ns = bed.namespace("t-autoscale");
        let _metrics = crate::metrics_api::serve(bed.clone()).await;
        web(&bed, &ns);
        up_and_down(&bed, &ns).await;
        foreign(&bed, &ns).await;
    });
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn an_autoscaler_that_is_not_there_or_scales_something_else_is_refused_before_anything_starts() {
    with_bed(|bed| async move {
        let ns = bed.namespace("t-autoscale");
        bed.web(&ns, 1, crate::bed::SERVE);
        let hpa = |name: &str, of: &str| {
            bed.apply(&json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler",
                "metadata": {"name": name, "namespace": ns}, "spec": {"minReplicas": 1, "maxReplicas": 2,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": of}}}));
        };
        let text = scenario(&bed, &ns, "{ rate: 3/s, hold: 5s }");
        let refused = |words: &str| {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("scenario.yaml");
            std::fs::write(&file, &text).unwrap();
            for command in ["plan", "run"] {
                let out = std::process::Command::new(env!("CARGO_BIN_EXE_squall"))
                    .args([Path::new(command), &file])
                    .current_dir(dir.path())
                    .output()
                    .expect("squall");
                let said = String::from_utf8_lossy(&out.stderr).into_owned();
                assert_eq!(out.status.code(), Some(2), "{command}: {said}");
                assert!(said.contains(words), "{command}: no {words} in {said}");
            }
        };
        refused("there is no HorizontalPodAutoscaler web");
        hpa("other", "other");
        refused("(there: other (of Deployment/other))");
        hpa("web", "other");
        refused("scales Deployment/other, and the pods behind Service web are of Deployment/web");
    });
}

/// Up by the load and down again after it.
async fn up_and_down(bed: &Rc<Bed>, ns: &str) {
    let dir = tempfile::tempdir().unwrap();
    let stages = "{ rate: 3/s, hold: 30s }, { rate: 20/s, hold: 75s }, { rate: 3/s, hold: 55s }";
    let (verdict, record) = run(dir.path(), &scenario(bed, ns, stages), async {}).await;
    let (all, exact) = explain(&record);
    eprintln!("{verdict:#}");
    assert_eq!(verdict["verdict"], "PASS");
    assert!(all >= 8, "{all} statuses");
    assert!(exact * 2 > all, "{exact} of {all} explained exactly");
    let expect = AutoscaleExpectation::of("web");
    let writes = gather(&record, &expect).unwrap().timeline.writes;
    let ups = writes.iter().filter(|w| w.to > w.from).count();
    assert!(ups > 0 && ups < writes.len(), "up and down: {writes:?}");
}

/// Somebody else scales in the middle of it.
async fn foreign(bed: &Rc<Bed>, ns: &str) {
    let dir = tempfile::tempdir().unwrap();
    let meanwhile = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        let patch = r#"{"spec": {"replicas": 5}}"#;
        bed.kubectl(&["-n", ns, "patch", "deployment", "web", "-p", patch]);
    };
    let text = scenario(bed, ns, "{ rate: 3/s, hold: 45s }");
    let (verdict, record) = run(dir.path(), &text, meanwhile).await;
    explain(&record);
    assert_eq!(verdict["verdict"], "FAIL", "{verdict:#}");
    let because = verdict["because"].as_str().unwrap();
    assert!(
        because.contains("I8: kubectl-patch set 5 replicas"),
        "{because}"
    );
}
